//! What the gateway passes on is what was said, to the byte. A server whose answers are written by hand and a client whose
//! requests are, in both eras on both sides; what a hop must rewrite is listed here, and nothing else may differ.

use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::post,
};
use flotilla_contract::{command::GatewayViewCmd, tool::Era};
use flotilla_tests::Bed;
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

type Object = BTreeMap<String, Box<RawValue>>;

/// What a parser that understands it would change: the order of keys, numbers beyond 64 bits or written oddly, escapes,
/// blanks, an empty key, one that occurs twice.
const ODD: &str = r#"{ "z":1.0, "a":[1e5,-0,0.10,12345678901234567890123456789,1E+2,5e-324] ,"é":"\u00e9\/\ud83d\ude80 é","":null,"twice":{"b":1,"a":2,"b":3}, "u":"\u007f\t"}"#;

/// The server's side.
struct Upstream {
    era: Era,
    /// Method and parameters of each request, as they came.
    asked: Mutex<Vec<(String, String)>>,
}

/// What stands in the server's answers, by method; `$TOKEN` is the progress token that came.
fn results(era: Era) -> BTreeMap<&'static str, String> {
    let (complete, kept) = match era {
        Era::Modern => (
            r#""resultType":"complete","#,
            r#""resultType":"complete","ttlMs":60000,"cacheScope":"public","#,
        ),
        Era::Legacy => ("", ""),
    };
    let meta = format!(r#""_meta":{{"x.y/z":{ODD},"ui":{{"resourceUri":"ui://look/app"}}}}"#);
    BTreeMap::from([
        (
            "tools/list",
            format!(
                r#"{{{kept}"tools":[{{"odd":{ODD},"name":"look","title":"L\u00f6\u00f6k","icons":[{{"src":"data:,x","sizes":["48x48"],"theme":"dark"}}],"description":"d","inputSchema":{{"type":"object","$defs":{{"n":{{"minimum":-0.0}}}},"properties":{{"b":{{"default":1e2}},"a":true}}}},"outputSchema":{{"type":"object"}},"annotations":{{"readOnlyHint":true,"odd":{ODD}}},"execution":{{"taskSupport":"optional"}},{meta}}}]}}"#
            ),
        ),
        (
            "prompts/list",
            format!(
                r#"{{{kept}"prompts":[{{"odd":{ODD},"name":"say","arguments":[{{"name":"w","required":true}}],{meta}}}]}}"#
            ),
        ),
        (
            "resources/list",
            format!(
                r#"{{{kept}"resources":[{{"odd":{ODD},"uri":"odd://a/%7Eb?c=1","name":"r","size":1e3,{meta}}}]}}"#
            ),
        ),
        (
            "resources/templates/list",
            format!(
                r#"{{{kept}"resourceTemplates":[{{"odd":{ODD},"uriTemplate":"odd://t/{{name}}","name":"t",{meta}}}]}}"#
            ),
        ),
        (
            "tools/call",
            format!(
                r#"{{{complete}"odd":{ODD},"structuredContent":{ODD},"content":[{{"type":"text","text":"a\u00e9\/","annotations":{{"priority":1.0}}}},{{"type":"resource_link","uri":"odd://a/%7Eb?c=1","name":"r"}}],"isError":false,{meta}}}"#
            ),
        ),
        (
            "prompts/get",
            format!(
                r#"{{{complete}"messages":[{{"role":"user","content":{{"type":"text","text":"\u00e9"}}}}],"odd":{ODD},{meta}}}"#
            ),
        ),
        (
            "resources/read",
            format!(
                r#"{{{kept}"contents":[{{"uri":"odd://a/%7Eb?c=1","mimeType":"text/html;profile=mcp-app","text":"\u003cb>","odd":{ODD},{meta}}}]}}"#
            ),
        ),
        (
            "completion/complete",
            format!(
                r#"{{{complete}"completion":{{"values":["\u00e9"],"total":1.0}},"odd":{ODD},{meta}}}"#
            ),
        ),
        (
            "initialize",
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"prompts":{},"resources":{},"completions":{},"logging":{}},"serverInfo":{"name":"odd","version":"1"}}"#.to_owned(),
        ),
        (
            "server/discover",
            r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"prompts":{},"resources":{},"completions":{},"logging":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"odd","version":"1"}}}"#.to_owned(),
        ),
        ("ping", "{}".to_owned()),
    ])
}

const PROGRESS: &str =
    r#"{"progressToken":$TOKEN,"progress":1.50,"total":1e1,"message":"\u00e9","odd":$ODD}"#;
const LOGGED: &str = r#"{"level":"error","logger":"l","data":$ODD}"#;
const FAILED: &str = r#"{"code":$CODE,"message":"no \u00e9","data":$ODD,"odd":1.0}"#;

/// What a server of this era says of a call that it knows and that fails, and of a resource that is not there.
fn codes(era: Era) -> [&'static str; 2] {
    match era {
        Era::Legacy => ["-31999", "-32002"],
        Era::Modern => ["-31999", "-32602"],
    }
}

fn odd(text: &str) -> String {
    text.replace("$ODD", ODD)
}

impl Upstream {
    fn answer(&self, body: &Bytes) -> Response {
        let text = std::str::from_utf8(body).expect("text");
        let message: Object = serde_json::from_str(text).expect("an object");
        let method: String = serde_json::from_str(message["method"].get()).expect("a method");
        let params = message.get("params").map_or("", |params| params.get());
        let Some(id) = message.get("id") else {
            return StatusCode::ACCEPTED.into_response();
        };
        lock(&self.asked).push((method.clone(), params.to_owned()));
        let known = match (self.era, method.as_str()) {
            (Era::Legacy, "server/discover") | (Era::Modern, "initialize" | "ping") => None,
            (_, method) => results(self.era).remove(method),
        };
        let reply = |rest: String| format!(r#"{{"jsonrpc":"2.0","id":{id},{rest}}}"#);
        let json = |status, text| (status, [(CONTENT_TYPE, "application/json")], text);
        let Some(result) = known else {
            let error = r#""error":{"code":-32601,"message":"unknown"}"#.to_owned();
            return json(StatusCode::NOT_FOUND, reply(error)).into_response();
        };
        if params.contains("fail") {
            let code = codes(self.era)[usize::from(method == "resources/read")];
            let error = format!(r#""error":{}"#, odd(FAILED).replace("$CODE", code));
            return json(StatusCode::OK, reply(error)).into_response();
        }
        let answer = reply(format!(r#""result":{result}"#));
        if method != "tools/call" {
            return json(StatusCode::OK, answer).into_response();
        }
        let token = raw_at(params, &["_meta", "progressToken"]).expect("a progress token");
        let events = [
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{}}}"#,
                odd(PROGRESS).replace("$TOKEN", &token)
            ),
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{}}}"#,
                odd(LOGGED)
            ),
            answer,
        ];
        let stream: String = events
            .iter()
            .map(|event| format!("event: message\ndata: {event}\n\n"))
            .collect();
        ([(CONTENT_TYPE, "text/event-stream")], stream).into_response()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("nobody panics with it")
}

/// The text of a value inside an object's text.
fn raw_at(text: &str, path: &[&str]) -> Option<String> {
    let Some((key, rest)) = path.split_first() else {
        return Some(text.to_owned());
    };
    let object: Object = serde_json::from_str(text).ok()?;
    raw_at(object.get(*key)?.get(), rest)
}

/// A client that writes its requests by hand.
struct Caller {
    era: Era,
    http: reqwest::Client,
    url: String,
    session: Option<String>,
}

impl Caller {
    async fn new(era: Era, url: &str) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let mut caller = Self {
            era,
            http,
            url: url.to_owned(),
            session: None,
        };
        if era == Era::Legacy {
            let hello = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"hand","version":"1"}}"#;
            let answer = caller.post("initialize", hello, "").await;
            let session = answer.headers()["mcp-session-id"].to_str().expect("text");
            caller.session = Some(session.to_owned());
            caller
                .ask("logging/setLevel", r#"{"level":"debug"}"#, "")
                .await;
        }
        caller
    }

    async fn post(&self, method: &str, params: &str, name: &str) -> reqwest::Response {
        let mut request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if self.era == Era::Modern {
            request = request
                .header("mcp-protocol-version", "2026-07-28")
                .header("mcp-method", method);
            if !name.is_empty() {
                request = request.header("mcp-name", name);
            }
        }
        if let Some(session) = &self.session {
            request = request
                .header("mcp-session-id", session)
                .header("mcp-protocol-version", "2025-11-25");
        }
        request
            .body(format!(
                r#"{{"jsonrpc":"2.0","id":"q\u00e9","method":"{method}","params":{params}}}"#
            ))
            .send()
            .await
            .expect("an answer")
    }

    /// The messages that came, the answer last.
    async fn ask(&self, method: &str, params: &str, name: &str) -> Vec<String> {
        let text = self
            .post(method, params, name)
            .await
            .text()
            .await
            .expect("a body");
        let events: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|data| !data.is_empty())
            .map(ToOwned::to_owned)
            .collect();
        if events.is_empty() {
            vec![text]
        } else {
            events
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_relayed_is_passed_on_to_the_byte_but_for_what_a_hop_must_rewrite() {
    for server in [Era::Legacy, Era::Modern] {
        let upstream = Arc::new(Upstream {
            era: server,
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&upstream);
        let app = Router::new().route("/mcp", post(async move |body: Bytes| shared.answer(&body)));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        let bed = Bed::new(&format!("[servers.up]\nurl = \"http://{address}/mcp\"\n")).await;
        bed.eventually("its tools are offered", async || {
            let view = bed.run::<GatewayViewCmd>(Default::default()).await;
            view.is_ok_and(|view| view.servers.iter().any(|row| row.offers.tools == 1))
        })
        .await;
        for client in [Era::Legacy, Era::Modern] {
            relayed(&upstream, client, &bed.gateway()).await;
        }
        serving.abort();
    }
}

/// Both ways of each request, for one client.
async fn relayed(upstream: &Upstream, client: Era, url: &str) {
    let server = upstream.era;
    let caller = Caller::new(client, url).await;
    let own = format!(r#""progressToken":"t\u00e9","mine/x":{ODD}"#);
    // The client's, and what a modern server gets in place of it, the token left open.
    let [meta, passed] = [
        r#"{"name":"hand","version":"1"}"#,
        r#"{"name":"flotilla","version":"$OURS"}"#,
    ]
    .map(|info| {
        format!(
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{info},"io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/logLevel":"debug""#
        )
    });
    let passed = passed.replace("$OURS", env!("CARGO_PKG_VERSION"));
    let meta = match client {
        Era::Legacy => format!(r#""_meta":{{{own}}}"#),
        Era::Modern => format!(r#""_meta":{{{meta},{own}}}"#),
    };
    let passed = match (client, server) {
        (_, Era::Legacy) => format!(r#""_meta":{{{own}}}"#),
        (Era::Legacy, Era::Modern) => format!(r#""_meta":{{{own},{passed}}}"#),
        (Era::Modern, Era::Modern) => format!(r#""_meta":{{{passed},{own}}}"#),
    };
    for request in REQUESTS {
        let what = format!("{}, client {client:?}, server {server:?}", request.method);
        lock(&upstream.asked).clear();
        let asked = odd(request.params).replace("$META", &meta);
        let came = caller.ask(request.method, &asked, request.name).await;
        let answer = came.last().expect("an answer");

        // To the server: the name that it knows, a token of this hop, the era's own keys of `_meta`.
        // The gateway has the lists already, and asks for some things of its own accord.
        if !request.method.ends_with("/list") {
            let arrived = std::mem::take(&mut *lock(&upstream.asked));
            let mut arrived = arrived
                .into_iter()
                .filter(|(method, _)| method == request.method);
            let (method, arrived) = arrived.next_back().expect("it was asked");
            let token = raw_at(&arrived, &["_meta", "progressToken"]).expect("a token");
            let wanted = odd(request.params)
                .replace("up__", "")
                .replace("$META", &passed.replace(r#""t\u00e9""#, &token));
            assert_eq!(
                (method.as_str(), arrived),
                (request.method, wanted),
                "{what}"
            );
        }

        // To the client: its id, its token, and what its era wants to hear.
        assert_eq!(raw_at(answer, &["id"]).as_deref(), Some(r#""q\u00e9""#));
        if asked.contains("fail") {
            let code = codes(client)[usize::from(request.method == "resources/read")];
            let wanted = odd(FAILED).replace("$CODE", code);
            assert_eq!(raw_at(answer, &["error"]), Some(wanted), "{what}");
            continue;
        }
        let said = results(server).remove(request.method).expect("an answer");
        let result = raw_at(answer, &["result"]).unwrap_or_else(|| panic!("{what}: {answer}"));
        assert_eq!(
            result,
            for_client(request.method, &said, server, client),
            "{what}"
        );
        if request.method == "tools/call" {
            let told: Vec<String> = came[..came.len() - 1]
                .iter()
                .filter_map(|message| raw_at(message, &["params"]))
                .collect();
            let progress = odd(PROGRESS).replace("$TOKEN", r#""t\u00e9""#);
            assert_eq!(told, [progress, odd(LOGGED)], "{what}");
        }
    }
}

/// What becomes of a server's result on its way to a client of this era.
fn for_client(method: &str, said: &str, server: Era, client: Era) -> String {
    const COMPLETE: &str = r#""resultType":"complete","#;
    let named = said
        .replacen(r#""name":"look""#, r#""name":"up__look""#, 1)
        .replacen(r#""name":"say""#, r#""name":"up__say""#, 1);
    let (kept, for_how_long) = match server {
        Era::Legacy => ("", r#""ttlMs":0,"cacheScope":"private""#),
        Era::Modern => (
            r#""ttlMs":60000,"cacheScope":"public","#,
            r#""ttlMs":60000,"cacheScope":"public""#,
        ),
    };
    if method.ends_with("/list") {
        // The fleet's list: the gateway's own object, each entry as its server wrote it.
        let bare = named.replacen(COMPLETE, "", 1).replacen(kept, "", 1);
        return match client {
            Era::Legacy => bare,
            Era::Modern => {
                let inner = &bare[1..bare.len() - 1];
                format!("{{{COMPLETE}{inner},{for_how_long}}}")
            }
        };
    }
    match (server, client) {
        (Era::Legacy, Era::Modern) => {
            let inner = &said[..said.len() - 1];
            let kept = if method == "resources/read" {
                format!(",{for_how_long}")
            } else {
                String::new()
            };
            format!(r#"{inner},"resultType":"complete"{kept}}}"#)
        }
        (Era::Modern, Era::Legacy) => said.replacen(COMPLETE, "", 1).replacen(kept, "", 1),
        _ => said.to_owned(),
    }
}

/// What a client asks: `$ODD` and `$META` are put in.
struct Request {
    method: &'static str,
    params: &'static str,
    /// What a modern client repeats in a header.
    name: &'static str,
}

const REQUESTS: [Request; 10] = [
    Request {
        method: "tools/list",
        params: "{$META}",
        name: "",
    },
    Request {
        method: "prompts/list",
        params: "{$META}",
        name: "",
    },
    Request {
        method: "resources/list",
        params: "{$META}",
        name: "",
    },
    Request {
        method: "resources/templates/list",
        params: "{$META}",
        name: "",
    },
    Request {
        method: "tools/call",
        params: r#"{"odd":$ODD,"arguments":$ODD, "name":"up__look",$META}"#,
        name: "up__look",
    },
    Request {
        method: "tools/call",
        params: r#"{"arguments":{"fail":true},"name":"up__look",$META}"#,
        name: "up__look",
    },
    Request {
        method: "prompts/get",
        params: r#"{"arguments":{"w":"\u00e9"},"odd":$ODD,"name":"up__say",$META}"#,
        name: "up__say",
    },
    Request {
        method: "resources/read",
        params: r#"{"uri":"odd://a/%7Eb?c=1","odd":$ODD,$META}"#,
        name: "odd://a/%7Eb?c=1",
    },
    Request {
        method: "resources/read",
        params: r#"{"uri":"odd://t/fail",$META}"#,
        name: "odd://t/fail",
    },
    Request {
        method: "completion/complete",
        params: r#"{"argument":{"name":"w","value":"\u00e9"},"ref":{"type":"ref/prompt","name":"up__say"},"odd":$ODD,$META}"#,
        name: "",
    },
];
