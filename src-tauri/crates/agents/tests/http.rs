//! Requests of workflow steps, to a server that says what it was asked.

use flotilla_agents::work::{Place, Said, Web, WorkError, http};
use flotilla_contract::{host::HostPattern, workflow::Failure};
use flotilla_os::Mark;
use serde_json::{Value, json};
use std::{
    fs,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

/// A server that gives an answer for each path, and keeps what it was sent.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new(elsewhere: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut bytes = vec![0; 8 << 10];
                let mut read = 0;
                let asked = loop {
                    let more = socket.read(&mut bytes[read..]).await.unwrap_or(0);
                    read += more;
                    let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                    let length = text.to_lowercase();
                    let length = length.split("content-length: ").nth(1);
                    let length = length.and_then(|l| l.lines().next()?.parse().ok());
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
                    if more == 0 || body.is_some_and(|body| body >= length.unwrap_or(0)) {
                        break text;
                    }
                };
                let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
                kept.lock().expect("a lock").push(asked);
                let answer = match path.as_str() {
                    "/json" => "200 OK\r\ncontent-type: application/json\r\nset-cookie: a=b\r\nx-twice: 1\r\nx-twice: s3cr3t-value\r\ncontent-length: 24\r\n\r\n{\"key\": \"s3cr3t-value\"}\n".to_owned(),
                    "/large" => format!("200 OK\r\ncontent-length: 5000\r\n\r\n{}", "x".repeat(5000)),
                    "/busy" => "503 No\r\ncontent-length: 9\r\n\r\ntry later".to_owned(),
                    "/none" => "404 No\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    "/broken" => "200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned(),
                    "/round" => "302 Found\r\nlocation: /round\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    "/moved" => "302 Found\r\nlocation: /json\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    "/away" => format!("307 T\r\nlocation: http://127.0.0.1:{elsewhere}/json\r\ncontent-length: 0\r\n\r\n"),
                    "/metadata" => "302 T\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    _ => "200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
                };
                let answer = format!(
                    "HTTP/1.1 {}",
                    answer.replacen("\r\n", "\r\nconnection: close\r\n", 1)
                );
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, heard }
    }

    fn heard(&self) -> String {
        self.heard.lock().expect("a lock").concat()
    }
}

fn secret(name: &str) -> Result<String, String> {
    match name {
        "token" => Ok("s3cr3t-value".into()),
        _ => Err(format!("no secret is named {name:?}")),
    }
}

async fn ask(root: &TempDir, hosts: &[&str], input: Value) -> Result<Value, WorkError> {
    let hosts: Vec<HostPattern> = hosts
        .iter()
        .map(|host| host.parse().expect("a host"))
        .collect();
    let place = Place {
        root: root.path().to_owned(),
        mark: Mark::of_home(root.path()).narrow("test"),
        environment: Vec::new(),
        writable: Vec::new(),
        said: Said::default(),
    };
    let web = Web::new(&hosts).expect("a client");
    http(&input, &place, &web, &secret, &CancellationToken::new()).await
}

#[tokio::test]
async fn a_request_is_sent_and_its_answer_read_without_secrets() {
    let (root, server) = (TempDir::new().unwrap(), Server::new(0).await);
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", server.port);
    let input = json!({
        "url": at("/json"), "method": "POST",
        "headers": {"Authorization": "Bearer ${secret:token}", "X-Count": 3},
        "json": {"n": 1, "key": "${secret:token}"},
    });
    let output = ask(&root, &["127.0.0.1"], input).await.unwrap();
    assert_eq!(output["status"], 200);
    assert_eq!(output["json"], json!({"key": "***"}));
    assert_eq!(output["headers"]["x-twice"], "1, ***");
    assert_eq!(output["headers"].get("set-cookie"), None);
    let heard = server.heard();
    for said in [
        "POST /json",
        "Bearer s3cr3t-value",
        "x-count: 3",
        "application/json",
        "{\"n\":1,\"key\":\"s3cr3t-value\"}",
    ] {
        assert!(heard.contains(said), "{said}: {heard}");
    }
    let input = json!({"url": at("/large"), "to": "in/large.bin"});
    let output = ask(&root, &["127.0.0.1"], input).await.unwrap();
    assert_eq!((&output["bytes"], output.get("body")), (&json!(5000), None));
    assert_eq!(
        fs::read(root.path().join("in/large.bin")).unwrap().len(),
        5000
    );
    let output = ask(
        &root,
        &["127.0.0.1"],
        json!({"url": at("/none"), "expect": [404]}),
    )
    .await
    .unwrap();
    assert_eq!(output["status"], 404);
}

#[tokio::test]
async fn what_fails_says_of_which_class_and_why() {
    let (root, server) = (TempDir::new().unwrap(), Server::new(0).await);
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", server.port);
    let closed = TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    for (input, failure, said) in [
        (
            json!({"url": at("/busy")}),
            Failure::Unavailable,
            "status 503; accepted is 200 to 299: try later",
        ),
        (
            json!({"url": format!("http://{closed}/")}),
            Failure::Unavailable,
            "no connection",
        ),
        (
            json!({"url": at("/none"), "expect": [200, 204]}),
            Failure::Failed,
            "status 404; accepted is 200, 204",
        ),
        (
            json!({"url": at("/large"), "max_bytes": 4999}),
            Failure::Failed,
            "more than 4999 bytes",
        ),
        (json!({"url": at("/broken")}), Failure::Failed, "breaks off"),
        (
            json!({"url": at("/round"), "redirects": 2}),
            Failure::Failed,
            "more than the 2 times",
        ),
        (
            json!({"url": "example.com"}),
            Failure::Refused,
            "with.url is \"example.com\"",
        ),
        (
            json!({"url": at("/"), "method": "get"}),
            Failure::Refused,
            "with.method is \"get\"",
        ),
        (
            json!({"url": at("/"), "headers": {"a b": "c"}}),
            Failure::Refused,
            "with.headers.a b",
        ),
        (
            json!({"url": at("/"), "headers": {"a": "${secret:none}"}}),
            Failure::Refused,
            "no secret",
        ),
        (
            json!({"url": at("/"), "body": "a", "json": 1}),
            Failure::Refused,
            "either body or json",
        ),
        (
            json!({"url": at("/"), "max_bytes": 0}),
            Failure::Refused,
            "with.max_bytes is 0",
        ),
        (
            json!({"url": at("/"), "hosts": ["a b"]}),
            Failure::Refused,
            "with.hosts",
        ),
        (
            json!({"url": at("/"), "to": "../out"}),
            Failure::Refused,
            "outside of the workspace",
        ),
        (
            json!({"url": at("/"), "colour": 1}),
            Failure::Refused,
            "colour",
        ),
    ] {
        let error = ask(&root, &["127.0.0.1"], input.clone()).await.unwrap_err();
        assert!(error.error.contains(said), "{input}: {error}");
        assert_eq!(error.failure, failure, "{input}: {error}");
    }
}

#[tokio::test]
async fn nothing_is_reached_that_is_not_allowed_and_headers_stay_with_their_origin() {
    let (root, other) = (TempDir::new().unwrap(), Server::new(0).await);
    let server = Server::new(other.port).await;
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", server.port);
    let local = format!("http://localhost:{}/", server.port);
    for (hosts, url) in [
        (&["*"][..], at("/")),
        (&["*"], local),
        (&["example.com"], at("/")),
    ] {
        let error = ask(&root, hosts, json!({"url": url})).await.unwrap_err();
        assert_eq!(error.failure, Failure::Refused, "{error}");
        assert!(error.error.contains("workflows.http_hosts"), "{error}");
    }
    assert_eq!(server.heard(), "", "nobody was asked");
    let named = ["127.0.0.1", "localhost"];
    for input in [
        json!({"url": at("/metadata")}),
        json!({"url": at("/away"), "hosts": [format!("127.0.0.1:{}", server.port)]}),
    ] {
        let error = ask(&root, &named, input).await.unwrap_err();
        assert_eq!(error.failure, Failure::Refused, "{error}");
    }
    let secret = json!({"X-Key": "${secret:token}"});
    let moved = ask(
        &root,
        &named,
        json!({"url": at("/moved"), "headers": secret}),
    )
    .await
    .unwrap();
    assert_eq!(moved["url"], at("/json"));
    assert_eq!(server.heard().matches("x-key").count(), 2);
    let away = ask(
        &root,
        &named,
        json!({"url": at("/away"), "headers": secret}),
    )
    .await
    .unwrap();
    assert_eq!(away["status"], 200);
    assert!(!other.heard().contains("s3cr3t-value"), "{}", other.heard());
    let body = ask(
        &root,
        &named,
        json!({"url": at("/away"), "method": "POST", "body": "a"}),
    )
    .await;
    assert!(body.is_err_and(|error| error.error.contains("another origin")));
}
