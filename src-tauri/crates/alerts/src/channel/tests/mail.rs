//! E-mail, to a mail server that speaks the protocol.

use super::*;
use flotilla_contract::alert::{Login, Mailbox, Smtp, SmtpTls};
use std::io;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader};

mod tls;

/// What a client says, and how it is answered: the greeting, and the end of a mail, by these lines. A client that wants to go on in TLS is let.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    greeting: &str,
    end: &str,
    said: &mut Vec<String>,
) -> io::Result<()> {
    let mut mail = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end_matches(['\r', '\n']).to_owned();
        let verb = line.split([' ', ':']).next().unwrap().to_ascii_uppercase();
        let answer = match (mail, verb.as_str()) {
            (true, ".") => {
                mail = false;
                end
            }
            (true, _) => "",
            (_, "EHLO") => greeting,
            (_, "AUTH") => "235 known",
            (_, "DATA") => {
                mail = true;
                "354 go on"
            }
            (_, "STARTTLS") if end.starts_with("454") => end,
            (_, "QUIT") => "221 bye",
            _ => "250 fine",
        };
        let begins = verb == "STARTTLS";
        said.push(line);
        if !answer.is_empty() {
            stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
            stream.flush().await?;
        }
        if begins && answer.starts_with('2') {
            return Ok(());
        }
    }
}

/// Answers the end of each mail with one of these lines, and gives the lines that clients said.
async fn server(
    greeting: &'static str,
    ends: &'static [&'static str],
) -> (u16, mpsc::UnboundedReceiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for end in ends {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            stream.write_all(b"220 mail.test ESMTP\r\n").await.unwrap();
            let mut said = Vec::new();
            // A client that goes has said what it said.
            let _ = converse(&mut stream, greeting, end, &mut said).await;
            let _ = tell.send(said);
        }
    });
    (port, told)
}

fn smtp(port: u16) -> Smtp {
    let mailbox = |text: &str| text.parse::<Mailbox>().unwrap();
    Smtp {
        host: "127.0.0.1".into(),
        port,
        tls: SmtpTls::None,
        ca: None,
        login: None,
        from: mailbox("Flotille à voile <fleet@x.example>"),
        to: vec![mailbox("a@x.example"), mailbox("B <b@y.example>")],
    }
}

fn login(password: &str) -> Login {
    Login {
        user: "me".into(),
        password: Credential::of(password.into()),
    }
}

/// The value of a header, unfolded.
fn header(mail: &[String], name: &str) -> Option<String> {
    let head: Vec<&String> = mail.iter().take_while(|line| !line.is_empty()).collect();
    let at = head
        .iter()
        .position(|line| line.starts_with(&format!("{name}: ")))?;
    let rest = head[at + 1..]
        .iter()
        .take_while(|line| line.starts_with([' ', '\t']));
    let value = rest.fold(head[at].clone(), |all, line| all + line);
    Some(value[name.len() + 2..].to_owned())
}

#[tokio::test]
async fn a_mail_is_tried_again_and_is_the_same_mail() {
    let (port, mut told) = server(
        "250-mail.test\r\n250-AUTH PLAIN\r\n250 8BITMIME",
        &["451 later", "250 taken"],
    )
    .await;
    let (channels, _) = near();
    let spec = Smtp {
        login: Some(login("${secret:HOOK}")),
        ..smtp(port)
    };
    channels.set(&[channel("mail", ChannelKind::Smtp(spec))]);
    let mut message = message(Severity::Critical, AlertState::Firing);
    // The name of a server is a stranger's, and so is what a rule says of it.
    let alert = &mut message.alerts[0];
    alert.labels.insert(
        "server".into(),
        "x\r\nBcc: evil@x.example\r\n\r\nhello".into(),
    );
    alert.summary = "x\r\nBcc: evil@x.example\r\n.\r\nRSET is hot".into();
    alert.description = ".\r\n.\r\nQUIT".into();
    channels.tell(&message);
    let (first, second) = (told.recv().await.unwrap(), told.recv().await.unwrap());
    let view = until(&channels, |view| view.sent == 1).await;
    assert_eq!((view.sent, view.lost, view.error), (1, 0, None));
    assert_eq!(view.to, "a@x.example, b@y.example by 127.0.0.1");

    let begin = |said: &[String]| said.iter().position(|line| line == "DATA").unwrap() + 1;
    assert_eq!(
        first[begin(&first)..first.len() - 1],
        second[begin(&second)..second.len() - 1]
    );
    let envelope = &second[..begin(&second)];
    assert!(envelope[0].starts_with("EHLO "), "{envelope:?}");
    // "\0me\0key"
    assert_eq!(envelope[1], "AUTH PLAIN AG1lAGtleQ==");
    assert!(
        envelope[2].starts_with("MAIL FROM:<fleet@x.example>"),
        "{envelope:?}"
    );
    assert_eq!(
        envelope[3..],
        ["RCPT TO:<a@x.example>", "RCPT TO:<b@y.example>", "DATA"]
    );
    let mail = &second[begin(&second)..];
    assert_eq!(
        header(mail, "Date").unwrap(),
        "Thu, 01 Jan 1970 00:00:00 +0000"
    );
    let id = header(mail, "Message-ID").unwrap();
    assert!(id.starts_with('<') && id.ends_with("@x.example>"), "{id}");
    assert_ne!(header(mail, "References").unwrap(), id);
    assert_eq!(header(mail, "To").unwrap(), "a@x.example, B <b@y.example>");
    assert_eq!(header(mail, "Auto-Submitted").unwrap(), "auto-generated");
    assert_eq!(header(mail, "MIME-Version").unwrap(), "1.0");
    assert_eq!(
        header(mail, "Content-Type").unwrap(),
        "text/plain; charset=utf-8"
    );
    assert_eq!(header(mail, "Bcc"), None);
    let subject = header(mail, "Subject").unwrap();
    assert_eq!(
        subject,
        "[Flotilla] critical: x  Bcc: evil@x.example  .  RSET is hot"
    );
    // All of it arrived, and nothing of it was taken for a command: the first line with a dot alone is the end.
    let end = mail.iter().position(|line| line == ".").unwrap();
    assert_eq!(mail[end + 1..], ["QUIT"]);
    assert!(mail[..end].iter().any(|line| line == "QUIT"), "{mail:?}");
}

#[tokio::test]
async fn what_a_mail_server_refuses_for_good_is_a_dead_letter() {
    let (port, mut told) = server("250 mail.test", &["554 no such\tluck"]).await;
    let (channels, _) = near();
    channels.set(&[channel("mail", ChannelKind::Smtp(smtp(port)))]);
    channels.tell(&message(Severity::Critical, AlertState::Firing));
    told.recv().await.unwrap();
    let view = until(&channels, |view| view.lost == 1).await;
    assert_eq!(
        view.dead[0].error,
        "the mail server answered 554: no such luck"
    );
    assert_eq!(view.dead[0].alerts, ["Hot firing: it is hot"]);
}

#[tokio::test]
async fn nothing_is_told_to_a_server_that_has_no_tls() {
    let (port, mut told) = server("250 mail.test", &["250 taken"]).await;
    let (channels, _) = near();
    let spec = Smtp {
        tls: SmtpTls::Starttls,
        login: Some(login("key")),
        ..smtp(port)
    };
    channels.set(&[channel("mail", ChannelKind::Smtp(spec))]);
    let test = message(Severity::Info, AlertState::Firing);
    let why = channels.test("mail", &test).await.unwrap_err().to_string();
    assert!(why.contains("STARTTLS"), "{why}");
    let said = told.recv().await.unwrap();
    assert!(
        said.iter()
            .all(|line| line.starts_with("EHLO ") || line == "QUIT"),
        "{said:?}"
    );
}
