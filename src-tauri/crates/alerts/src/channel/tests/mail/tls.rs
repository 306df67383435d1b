//! Mail servers that speak TLS, with certificates made here.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::{path::PathBuf, sync::Arc};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What shows a certificate for this name.
fn acceptor(authority: &Authority, name: &str) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// What a client said before the handshake and after it.
type Said = (Vec<String>, Vec<String>);

/// A mail server that speaks TLS from the first byte, or when it is asked to.
async fn secure(acceptor: TlsAcceptor, tls: SmtpTls) -> (u16, mpsc::UnboundedReceiver<Said>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (mut open, mut closed) = (Vec::new(), Vec::new());
            // A client that refuses the certificate goes.
            let _ = serve(stream, &acceptor, tls, &mut open, &mut closed).await;
            let _ = tell.send((open, closed));
        }
    });
    (port, told)
}

async fn serve(
    stream: tokio::net::TcpStream,
    acceptor: &TlsAcceptor,
    tls: SmtpTls,
    open: &mut Vec<String>,
    closed: &mut Vec<String>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let greeting = b"220 mail.test ESMTP\r\n";
    if tls == SmtpTls::Starttls {
        stream.write_all(greeting).await?;
        let offer = "250-mail.test\r\n250-STARTTLS\r\n250 8BITMIME";
        converse(&mut stream, offer, "250 taken", open).await?;
    }
    let mut stream = BufReader::new(acceptor.accept(stream.into_inner()).await?);
    if tls == SmtpTls::Tls {
        stream.write_all(greeting).await?;
        stream.flush().await?;
    }
    let offer = "250-mail.test\r\n250-AUTH PLAIN\r\n250 8BITMIME";
    converse(&mut stream, offer, "250 taken", closed).await
}

fn spec(port: u16, tls: SmtpTls, ca: Option<&PathBuf>) -> Smtp {
    Smtp {
        tls,
        ca: ca.map(|path| path.display().to_string()),
        login: Some(login("${secret:HOOK}")),
        ..smtp(port)
    }
}

async fn tried(spec: Smtp) -> Result<(), String> {
    let (channels, _) = near();
    channels.set(&[channel("mail", ChannelKind::Smtp(spec))]);
    let test = message(Severity::Info, AlertState::Firing);
    let sent = channels.test("mail", &test).await;
    sent.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_mail_goes_through_tls_that_the_authority_of_the_channel_signed() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority("ours");
    // One of another name, and one of the same with another key.
    let (other, again) = (authority("other"), authority("ours"));
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = file("ca.pem", &ours.pem());
    let wrong = file("other.pem", &other.pem());
    let again = file("again.pem", &again.pem());
    let both = file("both.pem", &format!("{}{}", other.pem(), ours.pem()));
    for tls in [SmtpTls::Starttls, SmtpTls::Tls] {
        let (port, mut told) = secure(acceptor(&ours, "127.0.0.1"), tls).await;
        for trusted in [&ca, &both] {
            tried(spec(port, tls, Some(trusted))).await.unwrap();
            let (open, closed) = told.recv().await.unwrap();
            // Nothing but the wish for TLS is told in the open; the login and the mail are not.
            let verbs: Vec<&str> = open.iter().map(|line| &line[..4]).collect();
            let expected: &[&str] = match tls {
                SmtpTls::Starttls => &["EHLO", "STAR"],
                _ => &[],
            };
            assert_eq!(verbs, expected, "{open:?}");
            assert!(
                closed.contains(&"AUTH PLAIN AG1lAGtleQ==".to_owned()),
                "{closed:?}"
            );
            assert!(closed.contains(&".".to_owned()), "{closed:?}");
        }
        for ca in [None, Some(&wrong), Some(&again)] {
            let why = match ca {
                None => "is signed by an authority that this machine does not trust; name the certificate of that authority, a file in PEM, in ca".to_owned(),
                Some(ca) => format!("is signed by none of the authorities in {}; ca is to name the certificate of the one that signed it", ca.display()),
            };
            let why = format!("the certificate of 127.0.0.1 {why}");
            assert_eq!(tried(spec(port, tls, ca)).await, Err(why));
            let (_, closed) = told.recv().await.unwrap();
            assert!(closed.is_empty(), "{closed:?}");
        }
        let (port, mut told) = secure(acceptor(&ours, "mail.other.example"), tls).await;
        assert_eq!(
            tried(spec(port, tls, Some(&ca))).await,
            Err("the certificate of 127.0.0.1 is for another name; host is to be a name that stands in the certificate".into())
        );
        let (_, closed) = told.recv().await.unwrap();
        assert!(closed.is_empty(), "{closed:?}");
    }
}

#[tokio::test]
async fn what_is_no_file_of_certificates_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let shown = path.display().to_string();
    let why = || tried(spec(9, SmtpTls::Tls, Some(&path)));
    let begins = async |start: &str| {
        let why = why().await.unwrap_err();
        assert!(why.starts_with(&format!("ca: {shown} {start}")), "{why}");
    };
    begins("cannot be read: No such file").await;
    std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    begins("holds no certificate in PEM; accepted is").await;
    std::fs::write(
        &path,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    begins("holds a broken certificate: ").await;
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    begins("cannot be read: it is no file").await;
}

#[tokio::test]
async fn there_is_no_way_back_to_plain_text() {
    // STARTTLS is offered, and refused when it is asked for.
    let (port, mut told) = server("250-mail.test\r\n250 STARTTLS", &["454 not now"]).await;
    let why = tried(spec(port, SmtpTls::Starttls, None))
        .await
        .unwrap_err();
    assert_eq!(why, "the mail server answered 454: not now");
    let said = told.recv().await.unwrap();
    let verbs: Vec<&str> = said
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert!(verbs.starts_with(&["EHLO", "STARTTLS"]), "{said:?}");
    assert!(
        !verbs
            .iter()
            .any(|verb| matches!(*verb, "AUTH" | "MAIL" | "DATA")),
        "{said:?}"
    );
    // Plain text where TLS is to begin at once.
    let (port, _told) = server("250 mail.test", &["250 taken"]).await;
    let why = tried(spec(port, SmtpTls::Tls, None)).await.unwrap_err();
    assert!(
        why.starts_with("127.0.0.1 does not begin with TLS at port ")
            && why.ends_with("tls = \"starttls\" is for a server that does so later"),
        "{why}"
    );
}
