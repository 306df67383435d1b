//! The pipes of a child, with the test as the child. Time is paused: it passes only while everybody waits.

use crate::raw;
use flotilla_contract::tool::{Era, Peer};
use flotilla_mcp::{Asked, Closed, Error, Garbage, GarbageKind, Options, RequestOptions, Session};
use serde_json::{Value, json};
use std::{future::Future, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, duplex},
    sync::mpsc,
    time::Instant,
};

const SECOND: Duration = Duration::from_secs(1);

/// The other end of a session's pipes.
struct Child {
    heard: Lines<BufReader<DuplexStream>>,
    mouth: DuplexStream,
}

impl Child {
    /// The next message; `None` at the end of input.
    async fn hear(&mut self) -> Option<Value> {
        let line = self.heard.next_line().await.unwrap()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    /// The next message, which must be of this method; gives its id.
    async fn hear_method(&mut self, method: &str) -> Value {
        let message = self.hear().await.unwrap();
        assert_eq!(message["method"], method, "{message}");
        message
    }

    async fn say(&mut self, text: &str) {
        self.mouth
            .write_all(format!("{text}\n").as_bytes())
            .await
            .unwrap();
    }

    async fn answer(&mut self, request: &Value, result: Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string())
            .await;
    }

    async fn refuse(&mut self, request: &Value, code: i64, data: Value) {
        let error = json!({"code": code, "message": "no", "data": data});
        self.say(&json!({"jsonrpc": "2.0", "id": request["id"], "error": error}).to_string())
            .await;
    }
}

fn pair_with(pipe: usize, options: Options) -> (Session, Child) {
    // Two, so that each closes by itself, as pipes do.
    let (reader, mouth) = duplex(pipe);
    let (writer, heard) = duplex(pipe);
    (
        Session::stdio(reader, writer, options),
        Child {
            heard: BufReader::new(heard).lines(),
            mouth,
        },
    )
}

fn pair() -> (Session, Child) {
    pair_with(1 << 20, Options::default())
}

/// A request in a task of its own, so that the test can be the server.
fn ask(
    session: &Session,
    method: &'static str,
    params: Value,
    options: RequestOptions,
) -> tokio::task::JoinHandle<Result<String, Error>> {
    let session = session.clone();
    tokio::spawn(async move {
        session
            .request(method, raw(&params), options)
            .await
            .map(|result| result.get().to_owned())
    })
}

fn modern_answer() -> Value {
    json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "m", "version": "2"}}})
}

fn legacy_answer(version: &str) -> Value {
    json!({"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "l", "version": "1"}, "instructions": "be kind"})
}

/// Greets a child that plays `script`; the outcome in a few words.
async fn greeting<F: Future<Output = Child>>(
    hint: Option<Era>,
    script: impl FnOnce(Child) -> F,
) -> String {
    let (session, child) = pair();
    let (greeted, _child) = tokio::join!(session.greet(hint), script(child));
    match greeted {
        Ok(Peer {
            era,
            protocol_version,
            name,
            ..
        }) => format!("{era:?} {protocol_version} {}", name.unwrap_or_default()),
        Err(Error::DiedOnDiscover(reason)) => format!("died: {reason}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_modern_server_is_discovered_and_spoken_to_in_its_way() {
    let (session, mut child) = pair();
    let asking = session.clone();
    let server = async {
        let discover = child.hear_method("server/discover").await;
        let meta = &discover["params"]["_meta"];
        assert_eq!(
            meta["io.modelcontextprotocol/protocolVersion"],
            "2026-07-28"
        );
        assert_eq!(
            meta["io.modelcontextprotocol/clientCapabilities"],
            json!({})
        );
        assert_eq!(
            meta["io.modelcontextprotocol/clientInfo"]["name"],
            "flotilla"
        );
        child.answer(&discover, modern_answer()).await;
    };
    let (greeted, ()) = tokio::join!(session.greet(None), server);
    assert_eq!(greeted.unwrap().era, Era::Modern);

    let call = ask(
        &asking,
        "tools/call",
        json!({"name": "t", "_meta": {"traceparent": "00"}}),
        RequestOptions::default(),
    );
    let request = child.hear().await.unwrap();
    assert_eq!(request["params"]["name"], "t");
    assert_eq!(request["params"]["_meta"]["traceparent"], "00");
    assert_eq!(
        request["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
    child
        .answer(
            &request,
            json!({"resultType": "input_required", "requestState": "s"}),
        )
        .await;
    assert_eq!(
        call.await.unwrap().unwrap(),
        r#"{"resultType":"input_required","requestState":"s"}"#
    );

    let pinged = tokio::spawn(async move { session.ping(SECOND).await });
    let ping = child.hear_method("server/discover").await;
    child.answer(&ping, modern_answer()).await;
    pinged.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_legacy_server_is_found_whatever_it_does_on_discover() {
    for (code, data) in [
        (-32601, Value::Null),
        (-32602, json!("x")),
        (-32022, json!({"supported": ["2025-11-25"]})),
    ] {
        let outcome = greeting(None, async |mut child: Child| {
            let discover = child.hear_method("server/discover").await;
            child.refuse(&discover, code, data).await;
            let initialize = child.hear_method("initialize").await;
            assert_eq!(initialize["params"]["protocolVersion"], "2025-11-25");
            child.answer(&initialize, legacy_answer("2024-11-05")).await;
            child.hear_method("notifications/initialized").await;
            child
        });
        assert_eq!(outcome.await, "Legacy 2024-11-05 l", "{code}");
    }
    // One that takes everything for granted.
    let outcome = greeting(None, async |mut child: Child| {
        let discover = child.hear().await.unwrap();
        child.answer(&discover, json!({})).await;
        let initialize = child.hear_method("initialize").await;
        child.answer(&initialize, legacy_answer("2025-06-18")).await;
        child
    });
    assert_eq!(outcome.await, "Legacy 2025-06-18 l");
    // One that is known to be legacy is not asked.
    let outcome = greeting(Some(Era::Legacy), async |mut child: Child| {
        let initialize = child.hear_method("initialize").await;
        child.answer(&initialize, legacy_answer("2025-11-25")).await;
        child
    });
    assert_eq!(outcome.await, "Legacy 2025-11-25 l");
}

#[tokio::test(start_paused = true)]
async fn silence_on_discover_is_waited_for_no_longer_than_told() {
    let began = Instant::now();
    let outcome = greeting(None, async |mut child: Child| {
        child.hear_method("server/discover").await;
        let initialize = child.hear_method("initialize").await;
        assert_eq!(began.elapsed().as_secs(), 3);
        child.answer(&initialize, legacy_answer("2025-11-25")).await;
        child.hear_method("notifications/initialized").await;
        child
    });
    assert_eq!(outcome.await, "Legacy 2025-11-25 l");

    // A modern server that is slow to start refuses the second question after it answered the first.
    let outcome = greeting(None, async |mut child: Child| {
        let discover = child.hear_method("server/discover").await;
        let initialize = child.hear_method("initialize").await;
        tokio::time::sleep(20 * SECOND).await;
        child.answer(&discover, modern_answer()).await;
        child
            .refuse(&initialize, -32022, json!({"supported": ["2026-07-28"]}))
            .await;
        child
    });
    assert_eq!(outcome.await, "Modern 2026-07-28 m");

    // A slow legacy one refuses the first and answers the second.
    let outcome = greeting(None, async |mut child: Child| {
        let discover = child.hear_method("server/discover").await;
        let initialize = child.hear_method("initialize").await;
        child.refuse(&discover, -32601, Value::Null).await;
        tokio::time::sleep(20 * SECOND).await;
        child.answer(&initialize, legacy_answer("2025-11-25")).await;
        child
    });
    assert_eq!(outcome.await, "Legacy 2025-11-25 l");

    // One that is known to be modern is asked nothing else.
    let outcome = greeting(Some(Era::Modern), async |mut child: Child| {
        child.hear_method("server/discover").await;
        assert!(
            tokio::time::timeout(59 * SECOND, child.hear())
                .await
                .is_err()
        );
        child
    });
    assert_eq!(outcome.await, "no answer within 60000 ms");

    // One that never says anything, and one that refuses both.
    let outcome = greeting(None, async |child: Child| child);
    assert_eq!(outcome.await, "no answer within 60000 ms");
    let outcome = greeting(None, async |mut child: Child| {
        let discover = child.hear().await.unwrap();
        let initialize = child.hear().await.unwrap();
        child.refuse(&discover, -32601, Value::Null).await;
        child.refuse(&initialize, -32000, Value::Null).await;
        child
    });
    assert_eq!(outcome.await, "the server answered with error -32000: no");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_on_discover_is_told_from_one_that_dies_later() {
    let outcome = greeting(None, async |mut child: Child| {
        child.hear_method("server/discover").await;
        let (_, replacement) = pair();
        drop(std::mem::replace(&mut child, replacement));
        child
    });
    assert_eq!(outcome.await, "died: the server closed the connection");
    let outcome = greeting(Some(Era::Legacy), async |mut child: Child| {
        child.hear_method("initialize").await;
        let (_, replacement) = pair();
        drop(std::mem::replace(&mut child, replacement));
        child
    });
    assert_eq!(outcome.await, "the server closed the connection");
}

#[tokio::test(start_paused = true)]
async fn versions_without_a_common_one_are_named() {
    let outcome = greeting(None, async |mut child: Child| {
        let discover = child.hear().await.unwrap();
        child
            .refuse(&discover, -32022, json!({"supported": ["2031-01-01"]}))
            .await;
        child
    });
    assert!(
        outcome
            .await
            .starts_with("the server speaks only 2031-01-01")
    );
    let outcome = greeting(Some(Era::Legacy), async |mut child: Child| {
        let initialize = child.hear().await.unwrap();
        child.answer(&initialize, legacy_answer("1.0")).await;
        child
    });
    assert!(
        outcome
            .await
            .starts_with("the server speaks version \"1.0\"")
    );
    // One that was legacy when it was last greeted.
    let outcome = greeting(Some(Era::Legacy), async |mut child: Child| {
        let initialize = child.hear_method("initialize").await;
        child
            .refuse(&initialize, -32022, json!({"supported": ["2026-07-28"]}))
            .await;
        let discover = child.hear_method("server/discover").await;
        child.answer(&discover, modern_answer()).await;
        child
    });
    assert_eq!(outcome.await, "Modern 2026-07-28 m");
    // One that says which it would take is asked again.
    let outcome = greeting(Some(Era::Legacy), async |mut child: Child| {
        let initialize = child.hear().await.unwrap();
        child
            .refuse(
                &initialize,
                -32602,
                json!({"supported": ["2024-11-05"], "requested": "2025-11-25"}),
            )
            .await;
        let initialize = child.hear_method("initialize").await;
        assert_eq!(initialize["params"]["protocolVersion"], "2024-11-05");
        child.answer(&initialize, legacy_answer("2024-11-05")).await;
        child
    });
    assert_eq!(outcome.await, "Legacy 2024-11-05 l");
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_callers_in_any_order_and_keep_their_text() {
    let (session, mut child) = pair();
    let first = ask(&session, "a", json!({}), RequestOptions::default());
    let one = child.hear_method("a").await;
    let second = ask(&session, "b", json!({}), RequestOptions::default());
    let two = child.hear_method("b").await;
    child
        .say(&format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"z":1.50,"a":[ 1 ]}}}}"#,
            two["id"]
        ))
        .await;
    child.refuse(&one, -32000, json!({"why": 1})).await;
    assert_eq!(second.await.unwrap().unwrap(), r#"{"z":1.50,"a":[ 1 ]}"#);
    let Err(Error::Rpc {
        code: -32000,
        message,
        data: Some(data),
        ..
    }) = first.await.unwrap()
    else {
        panic!("no error")
    };
    assert_eq!((message.as_str(), data.get()), ("no", r#"{"why":1}"#));
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_tells_the_server_and_drops_the_late_answer() {
    let (session, mut child) = pair();
    let began = Instant::now();
    let call = ask(
        &session,
        "slow",
        json!({}),
        RequestOptions::within(5 * SECOND),
    );
    let request = child.hear_method("slow").await;
    assert!(matches!(call.await.unwrap(), Err(Error::Timeout(limit)) if limit == 5 * SECOND));
    assert_eq!(began.elapsed(), 5 * SECOND);
    let cancelled = child.hear_method("notifications/cancelled").await;
    assert_eq!(cancelled["params"]["requestId"], request["id"]);

    child.answer(&request, json!("late")).await;
    let next = ask(&session, "next", json!({}), RequestOptions::default());
    let request = child.hear_method("next").await;
    child.answer(&request, json!("in time")).await;
    assert_eq!(next.await.unwrap().unwrap(), r#""in time""#);
}

#[tokio::test(start_paused = true)]
async fn progress_prolongs_the_wait_but_not_beyond_the_total() {
    let (session, mut child) = pair();
    let (progress, mut steps) = mpsc::channel(8);
    let options = RequestOptions {
        timeout: 5 * SECOND,
        total_timeout: Some(12 * SECOND),
        on_progress: Some(progress),
        ..RequestOptions::default()
    };
    let began = Instant::now();
    let call = ask(
        &session,
        "long",
        json!({"_meta": {"progressToken": "the caller's"}}),
        options,
    );
    let request = child.hear_method("long").await;
    let token = &request["params"]["_meta"]["progressToken"];
    assert_eq!(token, &request["id"]);
    for step in 1..=3 {
        tokio::time::sleep(4 * SECOND - Duration::from_millis(1)).await;
        let params =
            json!({"progressToken": token, "progress": step, "total": 3, "message": "on it"});
        child
            .say(
                &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
                    .to_string(),
            )
            .await;
        assert_eq!(
            steps.recv().await.unwrap().read(),
            Some((f64::from(step), Some(3.0), Some("on it".to_owned())))
        );
    }
    assert!(matches!(call.await.unwrap(), Err(Error::Timeout(limit)) if limit == 12 * SECOND));
    assert_eq!(began.elapsed(), 12 * SECOND);
    child.hear_method("notifications/cancelled").await;
}

#[tokio::test(start_paused = true)]
async fn cancelling_and_dropping_both_tell_the_server() {
    let (session, mut child) = pair();
    let options = RequestOptions::default();
    let cancel = options.cancel.clone();
    let call = ask(&session, "one", json!({}), options);
    let request = child.hear_method("one").await;
    cancel.cancel();
    assert!(matches!(call.await.unwrap(), Err(Error::Cancelled)));
    assert_eq!(
        child.hear_method("notifications/cancelled").await["params"]["requestId"],
        request["id"]
    );

    let call = ask(&session, "two", json!({}), RequestOptions::default());
    let request = child.hear_method("two").await;
    call.abort();
    assert_eq!(
        child.hear_method("notifications/cancelled").await["params"]["requestId"],
        request["id"]
    );

    // What was answered is not cancelled.
    let call = ask(&session, "three", json!({}), RequestOptions::default());
    let request = child.hear_method("three").await;
    child.answer(&request, json!({})).await;
    call.await.unwrap().unwrap();
    session.close().await;
    assert_eq!(child.hear().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_hangs_nobody() {
    let (session, mut child) = pair_with(64, Options::default());
    let stuck = ask(
        &session,
        "stuck",
        json!({"text": "x".repeat(1_000)}),
        RequestOptions::within(2 * SECOND),
    );
    let mut queued = Vec::new();
    // More than the queue holds.
    for _ in 0..100 {
        queued.push(ask(
            &session,
            "queued",
            json!({}),
            RequestOptions::within(SECOND),
        ));
    }
    for call in queued {
        assert!(matches!(call.await.unwrap(), Err(Error::Timeout(_))));
    }
    assert!(matches!(stuck.await.unwrap(), Err(Error::Timeout(_))));
    // Once it reads, it gets what was under way, is told that this was given up, and nothing of what nobody waits for.
    child.hear_method("stuck").await;
    child.hear_method("notifications/cancelled").await;
    let call = ask(&session, "after", json!({}), RequestOptions::default());
    let request = child.hear_method("after").await;
    child.answer(&request, json!(1)).await;
    assert_eq!(call.await.unwrap().unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn too_much_waiting_for_the_writer_makes_callers_wait_and_too_big_is_refused() {
    let (session, _child) = pair_with(
        64,
        Options {
            max_message: 4_096,
            ..Options::default()
        },
    );
    let big = session
        .request(
            "big",
            raw(&json!({"text": "x".repeat(5_000)})),
            RequestOptions::default(),
        )
        .await;
    assert!(
        matches!(big, Err(Error::Protocol(text)) if text.contains("more than the 4096 allowed"))
    );
    let first = ask(
        &session,
        "first",
        json!({"text": "x".repeat(3_000)}),
        RequestOptions::within(SECOND),
    );
    let second = ask(
        &session,
        "second",
        json!({"text": "x".repeat(3_000)}),
        RequestOptions::within(SECOND),
    );
    assert!(matches!(first.await.unwrap(), Err(Error::Timeout(_))));
    assert!(matches!(second.await.unwrap(), Err(Error::Timeout(_))));
}

#[tokio::test(start_paused = true)]
async fn a_servers_own_requests_are_refused_but_for_ping() {
    let (_session, mut child) = pair();
    child
        .say(r#"{"jsonrpc":"2.0","id":"p-1","method":"ping"}"#)
        .await;
    assert_eq!(
        child.hear().await.unwrap(),
        json!({"jsonrpc": "2.0", "id": "p-1", "result": {}})
    );
    child
        .say(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#)
        .await;
    let refused = child.hear().await.unwrap();
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!(1), &json!(-32601))
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_notifications_loses_the_oldest_and_learns_how_many() {
    let (session, mut child) = pair();
    let mut notifications = session.notifications();
    for n in 0..40 {
        child
            .say(
                &json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"n": n}})
                    .to_string(),
            )
            .await;
    }
    let sync = ask(&session, "sync", json!({}), RequestOptions::default());
    let request = child.hear().await.unwrap();
    child.answer(&request, json!({})).await;
    sync.await.unwrap().unwrap();
    let lost = notifications.next().await.unwrap().unwrap_err();
    let next = notifications.next().await.unwrap().unwrap();
    assert_eq!(next.method, "notifications/message");
    assert_eq!(
        next.params.as_ref().unwrap().get(),
        format!(r#"{{"n":{lost}}}"#)
    );
    assert!(lost > 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_goes_to_the_operator_and_the_session_goes_on() {
    let (garbage, mut lines) = mpsc::channel(1);
    let (session, mut child) = pair_with(
        1 << 20,
        Options {
            max_message: 2_000,
            garbage: Some(garbage),
            ..Options::default()
        },
    );
    let call = ask(&session, "big", json!({}), RequestOptions::default());
    let request = child.hear_method("big").await;
    child.say("Listening on stdio").await;
    child.say("lost, because nobody read the line before").await;
    child.say("").await;
    child.answer(&request, json!("x".repeat(10_000))).await;
    // Its answer was too long to keep, but whose it was could be seen.
    assert!(
        matches!(call.await.unwrap(), Err(Error::Protocol(text)) if text.contains("bytes long, more than allowed"))
    );
    let Garbage {
        kind,
        text,
        bytes,
        lost,
    } = lines.recv().await.unwrap();
    assert_eq!(
        (kind, text.as_str(), bytes, lost),
        (GarbageKind::NotRpc, "Listening on stdio", 18, 0)
    );

    child
        .say(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}"#)
        .await;
    let Garbage { kind, lost, .. } = lines.recv().await.unwrap();
    assert_eq!((kind, lost), (GarbageKind::Unasked, 2));
    child.say(&"y".repeat(3_000)).await;
    let Garbage {
        kind, text, bytes, ..
    } = lines.recv().await.unwrap();
    assert_eq!(
        (kind, text.len(), bytes),
        (GarbageKind::TooLong, 256, 3_000)
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_reaches_everybody() {
    let (session, mut child) = pair();
    let call = ask(&session, "a", json!({}), RequestOptions::default());
    child.hear_method("a").await;
    drop(child);
    assert!(matches!(
        call.await.unwrap(),
        Err(Error::Closed(Closed::Eof))
    ));
    assert_eq!(session.closed().await, Closed::Eof);
    assert!(matches!(
        session.request("b", None, RequestOptions::default()).await,
        Err(Error::Closed(Closed::Eof))
    ));
    session.close().await;
    assert_eq!(
        session.closed().await,
        Closed::Eof,
        "the first reason stays"
    );
}

#[tokio::test(start_paused = true)]
async fn closing_or_dropping_closes_the_servers_input_and_frees_its_output() {
    let (session, mut child) = pair();
    let call = ask(&session, "a", json!({}), RequestOptions::default());
    child.hear_method("a").await;
    session.close().await;
    assert!(matches!(
        call.await.unwrap(),
        Err(Error::Closed(Closed::Ours))
    ));
    assert_eq!(child.hear().await, None);
    // What it says while it leaves is still read.
    child.mouth.write_all(&vec![b'x'; 3 << 20]).await.unwrap();
    // But not for ever.
    tokio::time::sleep(11 * SECOND).await;
    assert!(child.mouth.write_all(b"x").await.is_err());

    let (session, mut child) = pair();
    let clone = session.clone();
    drop(session);
    clone.notify("still/here", None).await.unwrap();
    child.hear_method("still/here").await;
    drop(clone);
    assert_eq!(child.hear().await, None);
}

/// Lists the tools of a child that answers with these pages.
async fn listing(pages: Vec<Value>) -> Result<Vec<String>, String> {
    let (session, mut child) = pair();
    let listing = tokio::spawn(async move { session.list_tools(10 * SECOND).await });
    for page in pages {
        let request = child.hear_method("tools/list").await;
        if request["params"]["cursor"].is_null() {
            assert!(request.get("params").is_none());
        }
        child.answer(&request, page).await;
    }
    let page = listing.await.unwrap().map_err(|error| error.to_string())?;
    Ok(page
        .tools
        .iter()
        .map(|tool| tool.get().to_owned())
        .collect())
}

#[tokio::test(start_paused = true)]
async fn tools_are_listed_page_by_page_to_an_end() {
    let tools = listing(vec![
        json!({"tools": [{"name": "b", "z": 1, "a": 2}], "nextCursor": "\"2\""}),
        json!({"tools": [], "nextCursor": "3"}),
        json!({"tools": [{"name": "a"}], "nextCursor": ""}),
    ]);
    assert_eq!(
        tools.await.unwrap(),
        [r#"{"name":"b","z":1,"a":2}"#, r#"{"name":"a"}"#]
    );
    let circle = listing(vec![
        json!({"tools": [], "nextCursor": "1"}),
        json!({"tools": [], "nextCursor": "2"}),
        json!({"tools": [], "nextCursor": "1"}),
    ]);
    assert!(circle.await.unwrap_err().contains("goes in circles"));
    let endless = (0..200)
        .map(|n| json!({"tools": [{"name": n.to_string()}], "nextCursor": n.to_string()}))
        .collect();
    assert!(
        listing(endless)
            .await
            .unwrap_err()
            .contains("does not end (200 tools so far)")
    );
    assert!(
        listing(vec![json!({"tools": {}})])
            .await
            .unwrap_err()
            .contains("is malformed")
    );
    assert_eq!(
        listing(vec![]).await.unwrap_err(),
        "no answer within 10000 ms"
    );
}

#[tokio::test(start_paused = true)]
async fn on_pipes_news_concern_the_one_request_under_way_or_none() {
    const LOG: &str =
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"here"}}"#;
    let (session, mut child) = pair();
    let mut everybody = session.notifications();
    let (to, mut own) = mpsc::channel(8);
    let options = RequestOptions {
        on_notification: Some(to),
        ..RequestOptions::default()
    };
    let one = ask(&session, "one", json!({}), options.clone());
    let first = child.hear_method("one").await;
    child.say(LOG).await;
    assert_eq!(own.recv().await.unwrap().method, "notifications/message");
    assert!(everybody.next().await.unwrap().unwrap().taken);

    let two = ask(&session, "two", json!({}), options);
    let second = child.hear_method("two").await;
    child.say(LOG).await;
    assert!(
        !everybody.next().await.unwrap().unwrap().taken,
        "whose is it?"
    );
    child.answer(&first, json!(1)).await;
    child.answer(&second, json!(2)).await;
    one.await.unwrap().unwrap();
    two.await.unwrap().unwrap();
    assert!(own.recv().await.is_none());
}

/// A legacy session whose server may ask things, greeted.
async fn asking() -> (Session, Child, mpsc::Receiver<Asked>) {
    let (to, asked) = mpsc::channel(2);
    let options = Options {
        capabilities: raw(&json!({"sampling": {}})),
        asked: Some(to),
        ..Options::default()
    };
    let (session, mut child) = pair_with(1 << 20, options);
    let server = async {
        let initialize = child.hear_method("initialize").await;
        assert_eq!(
            initialize["params"]["capabilities"],
            json!({"sampling": {}})
        );
        child.answer(&initialize, legacy_answer("2025-11-25")).await;
        child.hear_method("notifications/initialized").await;
    };
    let (greeted, ()) = tokio::join!(session.greet(Some(Era::Legacy)), server);
    greeted.unwrap();
    (session, child, asked)
}

fn question(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"roots/list","params":{{"a":1.0}}}}"#)
}

#[tokio::test(start_paused = true)]
async fn a_servers_question_is_passed_on_and_answered() {
    let (session, mut child, mut asked) = asking().await;
    let options = RequestOptions {
        origin: Some(7),
        ..RequestOptions::within(10 * SECOND)
    };
    let call = ask(&session, "tools/call", json!({}), options);
    let request = child.hear_method("tools/call").await;
    child.say(&question("q")).await;
    let Asked {
        method,
        params,
        during,
        reply,
    } = asked.recv().await.unwrap();
    assert_eq!((method.as_str(), during), ("roots/list", Some(7)));
    assert_eq!(params.unwrap().get(), r#"{"a":1.0}"#);
    // Somebody thinks for longer than a silent request may last.
    tokio::time::sleep(60 * SECOND).await;
    reply.send(Ok(raw(&json!({"roots": []})).unwrap())).unwrap();
    let answered = child.hear().await.unwrap();
    assert_eq!(
        answered,
        json!({"jsonrpc": "2.0", "id": "q", "result": {"roots": []}})
    );
    child.answer(&request, json!(1)).await;
    call.await.unwrap().unwrap();

    // Refused, and not answered at all.
    child.say(&question("r")).await;
    let refused = asked.recv().await.unwrap();
    assert_eq!(refused.during, None);
    refused.refuse(-1, "no");
    let answered = child.hear().await.unwrap();
    assert_eq!(answered["error"], json!({"code": -1, "message": "no"}));
    child.say(&question("s")).await;
    drop(asked.recv().await.unwrap());
    assert_eq!(child.hear().await.unwrap()["error"]["code"], -32603);

    // Withdrawn.
    child.say(&question("t")).await;
    let mut withdrawn = asked.recv().await.unwrap();
    child
        .say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"t"}}"#)
        .await;
    withdrawn.reply.closed().await;
    // More than anybody takes in.
    for id in ["u", "v", "w"] {
        child.say(&question(id)).await;
    }
    let refused = child.hear().await.unwrap();
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!("w"), &json!(-32601))
    );
    child
        .say(r#"{"jsonrpc":"2.0","id":"x","method":"ping"}"#)
        .await;
    assert_eq!(child.hear().await.unwrap()["result"], json!({}));
    let mut open = asked.recv().await.unwrap();
    session.close().await;
    open.reply.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_lasts_until_either_side_ends_it() {
    let (session, mut child) = pair();
    let server = async {
        let discover = child.hear_method("server/discover").await;
        child.answer(&discover, modern_answer()).await;
    };
    let (greeted, ()) = tokio::join!(session.greet(None), server);
    greeted.unwrap();
    let news = |id: &Value, method: &str| {
        json!({"jsonrpc": "2.0", "method": method,
            "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": id}}})
        .to_string()
    };
    let mut everybody = session.notifications();
    let filter = raw(&json!({"notifications": {"toolsListChanged": true}}));
    let (subscribed, request) = tokio::join!(
        session.listen(filter.as_deref(), RequestOptions::default()),
        async {
            let request = child.hear_method("subscriptions/listen").await;
            assert_eq!(
                request["params"]["notifications"],
                json!({"toolsListChanged": true})
            );
            let acknowledged = news(&request["id"], "notifications/subscriptions/acknowledged");
            child.say(&acknowledged).await;
            request
        }
    );
    let mut subscription = subscribed.unwrap();
    assert!(
        subscription
            .acknowledged
            .take()
            .unwrap()
            .get()
            .contains("subscriptionId")
    );
    tokio::time::sleep(1_000 * SECOND).await;
    child
        .say(&news(&json!(999), "notifications/tools/list_changed"))
        .await;
    child
        .say(&news(&request["id"], "notifications/prompts/list_changed"))
        .await;
    let method = "notifications/prompts/list_changed";
    assert_eq!(subscription.next().await.unwrap().unwrap().method, method);
    assert_eq!(
        everybody.next().await.unwrap().unwrap().method,
        "notifications/tools/list_changed"
    );
    assert_eq!(everybody.next().await.unwrap().unwrap().method, method);
    drop(subscription);
    let cancelled = child.hear_method("notifications/cancelled").await;
    assert_eq!(cancelled["params"]["requestId"], request["id"]);

    let (subscribed, request) = tokio::join!(
        session.listen(filter.as_deref(), RequestOptions::default()),
        async {
            let request = child.hear_method("subscriptions/listen").await;
            let acknowledged = news(&request["id"], "notifications/subscriptions/acknowledged");
            child.say(&acknowledged).await;
            request
        }
    );
    let mut subscription = subscribed.unwrap();
    child
        .answer(&request, json!({"resultType": "complete"}))
        .await;
    assert!(subscription.next().await.is_none());
    assert!(subscription.ended().await.is_ok());

    let (refused, ()) = tokio::join!(
        session.listen(filter.as_deref(), RequestOptions::default()),
        async {
            let request = child.hear_method("subscriptions/listen").await;
            child.refuse(&request, -32601, json!(null)).await;
        }
    );
    assert!(matches!(
        refused.err(),
        Some(Error::Rpc { code: -32601, .. })
    ));
    let silent = session
        .listen(filter.as_deref(), RequestOptions::within(SECOND))
        .await;
    assert!(matches!(silent.err(), Some(Error::Timeout(_))));
}
