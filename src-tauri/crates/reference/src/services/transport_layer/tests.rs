use super::*;
use serde_json::json;
use std::{
    cell::Cell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(1_000) };
}

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(NOW_MS.get())
}

fn pass(ms: u64) {
    NOW_MS.set(NOW_MS.get() + ms);
}

fn server() -> Arc<Service> {
    let host = Host::new(None, clock);
    host.serve(service(&host))
}

fn try_call(server: &Service, tool: &str, arguments: Value) -> Result<Value, Refusal> {
    server.ask(tool, arguments)
}

/// Sends one message without a session.
fn response(server: &Service, message: Value) -> Value {
    try_call(server, "send_request", json!({"message": message})).unwrap()["response"].clone()
}

#[test]
fn two_tools_each_under_both_names() {
    let server = server();
    let names: Vec<_> = server
        .tools
        .iter()
        .map(|tool| (tool.name, tool.alias.unwrap_or("-")))
        .collect();
    assert_eq!(
        names,
        [
            ("server_info", "mcp_server"),
            ("send_request", "mcp_request")
        ]
    );
    assert!(server.tools[0].hints.read_only && !server.tools[1].hints.read_only);
}

/// What JSON-RPC 2.0 wants, §4 to §6: the id comes back, errors have their codes, notifications have no reply.
#[test]
fn a_message_gets_the_reply_of_the_protocol() {
    let server = server();
    assert_eq!(
        response(
            &server,
            json!({"jsonrpc": "2.0", "id": 7, "method": "ping"})
        ),
        json!({"jsonrpc": "2.0", "id": 7, "result": {}})
    );
    assert_eq!(
        response(
            &server,
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
        ),
        Value::Null
    );
    let code = |message| response(&server, message)["error"]["code"].clone();
    assert_eq!(
        code(json!({"jsonrpc": "2.0", "id": "x", "method": "tools/dance"})),
        -32601
    );
    assert_eq!(code(json!({"jsonrpc": "2.0", "id": 1})), -32600);
    assert_eq!(
        code(
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "none"}})
        ),
        -32002
    );
    let tools = response(
        &server,
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    );
    let names: Vec<_> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["server_info", "send_request"]);
    let called = response(
        &server,
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "mcp_server"}}),
    );
    assert_eq!(
        called["result"]["structuredContent"]["protocol_version"],
        "2024-11-05"
    );
}

#[test]
fn a_batch_gets_a_reply_to_each_that_wants_one() {
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        17,
        {"jsonrpc": "2.0", "id": 2, "method": "ping"},
    ]);
    let replies = response(&server(), batch);
    let ids: Vec<_> = replies
        .as_array()
        .unwrap()
        .iter()
        .map(|reply| &reply["id"])
        .collect();
    assert_eq!(ids, [&json!(1), &json!(null), &json!(2)]);
    assert_eq!(replies[1]["error"]["code"], -32600);
    assert_eq!(
        response(&server(), json!([{"jsonrpc": "2.0", "method": "x"}])),
        Value::Null
    );
}

#[test]
fn a_session_goes_on_until_it_is_silent_for_half_an_hour() {
    let server = server();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let begun = try_call(&server, "mcp_request", json!({"message": ping})).unwrap();
    assert_eq!(begun["new_session"], true);
    let id = &begun["session_id"];
    let go_on = || {
        try_call(
            &server,
            "send_request",
            json!({"message": ping, "session_id": id}),
        )
    };
    for _ in 0..3 {
        pass(30 * 60 * 1_000);
        assert_eq!(
            go_on().map(|reply| (reply["new_session"].clone(), reply["session_id"] == *id)),
            Ok((json!(false), true))
        );
    }
    let sessions = || try_call(&server, "server_info", json!({})).unwrap()["sessions"].clone();
    assert_eq!(
        sessions(),
        json!({"active": 1, "maximum": 1000, "idle_timeout_s": 1800, "messages": 4})
    );
    pass(30 * 60 * 1_000 + 1);
    assert!(matches!(go_on(), Err(Refusal::Argument { field, .. }) if field == "session_id"));
    assert_eq!(sessions()["active"], 0);
}

#[test]
fn clients_are_counted_by_the_name_they_give() {
    let server = server();
    for name in ["inspector", "panel", "inspector"] {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"clientInfo": {"name": name, "version": "1"}}});
        assert_eq!(
            response(&server, message)["result"]["serverInfo"]["name"],
            "transport_layer"
        );
    }
    let info = try_call(&server, "server_info", json!({})).unwrap();
    assert_eq!(
        (&info["clients"], &info["sessions"]["active"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(
        info["capabilities"],
        json!({"tools": true, "resources": true, "prompts": true, "notifications": true, "batch": true})
    );
    assert_eq!((server.resources[0].read)(), info);
}

#[test]
fn no_more_sessions_than_may_be() {
    let sessions = Sessions::default();
    let first = sessions.open(0, 1, None);
    let second = sessions.open(1, 1, None);
    assert!(sessions.go_on(&first, 2, 1, None));
    for now_ms in 3..=1_001 {
        sessions.open(now_ms, 1, None);
    }
    assert_eq!(sessions.census(1_001).sessions, MOST_SESSIONS);
    assert!(
        !sessions.go_on(&second, 1_001, 1, None),
        "silent longest, and still there"
    );
    assert!(sessions.go_on(&first, 1_001, 1, None));
}

#[test]
fn what_is_wrong_is_named() {
    let server = server();
    let check = |arguments: Value, expected: &str| {
        assert_eq!(
            try_call(&server, "send_request", arguments)
                .unwrap_err()
                .to_string(),
            expected
        );
    };
    let call = |name: &str| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {"message": {}}}});
    check(
        json!({"message": call("send_request")}),
        "message.params.name: names this tool itself; call it directly",
    );
    check(
        json!({"message": [call("server_info"), call("mcp_request")]}),
        "message[1].params.name: names this tool itself; call it directly",
    );
    check(json!({"message": []}), "message: [] has less than 1 item");
    assert!(
        matches!(try_call(&server, "send_request", json!({"message": vec![0; 101]})), Err(Refusal::Argument { field, .. }) if field == "message")
    );
    assert!(
        matches!(try_call(&server, "send_request", json!({"message": "ping"})), Err(Refusal::Argument { field, .. }) if field == "message")
    );
    check(json!({}), "message: is required and missing");
    check(
        json!({"message": {}, "session_id": "mine"}),
        "session_id: names no session that lives; they end when idle for 30 minutes, leave it out to begin a new one",
    );
    assert_eq!(
        try_call(&server, "server_info", json!({})).unwrap()["sessions"]["active"],
        0,
        "what is refused begins no session"
    );
    let alone = service(&Host::new(None, clock));
    assert_eq!(
        try_call(&alone, "send_request", json!({"message": {}})),
        Err(Refusal::Failed("the server does not run yet".to_owned()))
    );
}

#[test]
fn the_prompt_carries_its_arguments() {
    let server = server();
    let of = |arguments: Value| server.prompts[0].text(arguments.as_object().unwrap());
    let text = of(json!({"symptom": "no tools", "message": "{\"id\": 1}"})).unwrap();
    assert!(
        text.contains("no tools") && text.contains("{\"id\": 1}"),
        "{text}"
    );
    assert_eq!(
        of(json!({})),
        Err(Refusal::argument("symptom", "is required and missing"))
    );
}
