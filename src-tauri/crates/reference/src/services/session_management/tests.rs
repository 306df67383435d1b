use super::{token::Secret, with_secret};
use crate::{
    service::{Host, Service},
    tool::Refusal,
};
use serde_json::{Value, json};
use std::{
    cell::Cell,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

thread_local! {
    /// The time, in minutes. A test runs on a thread of its own.
    static MINUTES: Cell<u64> = const { Cell::new(0) };
}

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(60 * MINUTES.get())
}

const SECRET: &str = "a secret of more than thirty-two bytes";

fn serve(data: Option<&Path>) -> Arc<Service> {
    let host = Host::new(data.map(Path::to_owned), clock);
    host.serve(with_secret(&host, Secret::new(Some(SECRET))))
}

/// Tools as a client of one session uses them.
struct Client<'a> {
    service: &'a Service,
    session: Value,
    token: Value,
}

impl<'a> Client<'a> {
    fn open(service: &'a Service, client_id: &str, more: Value) -> Self {
        let mut arguments = json!({"op": "create", "client_id": client_id});
        for (name, value) in more.as_object().expect("no object") {
            arguments[name] = value.clone();
        }
        let created = service.ask("manage_session", arguments).expect("refused");
        assert_eq!(created["expires_in"], 86_400);
        Self {
            service,
            session: created["session_id"].clone(),
            token: created["auth_token"].clone(),
        }
    }

    fn manage(&self, op: &str) -> Result<Value, Refusal> {
        let arguments = json!({"op": op, "session_id": self.session, "auth_token": self.token});
        self.service.ask("manage_session", arguments)
    }

    fn state(&self) -> String {
        let got = self
            .manage("get")
            .map(|got| got["session"]["state"].clone());
        got.map_or_else(
            |refusal| refusal.to_string(),
            |state| state.as_str().unwrap_or_default().to_owned(),
        )
    }

    /// "valid", or why not.
    fn validate(&self) -> String {
        let arguments = json!({"session_id": self.session, "auth_token": self.token});
        let validated = self
            .service
            .ask("validate_session", arguments)
            .expect("refused");
        assert_eq!(validated["valid"] == true, validated["reason"].is_null());
        validated["reason"].as_str().unwrap_or("valid").to_owned()
    }

    fn handle(&self, request: Value) -> Value {
        let arguments =
            json!({"request": request, "session_id": self.session, "auth_token": self.token});
        self.service
            .ask("handle_mcp_request_with_session", arguments)
            .expect("refused")
    }
}

fn stats(service: &Service) -> Value {
    service
        .ask("mcp_server", json!({"op": "stats"}))
        .expect("refused")["stats"]
        .take()
}

#[test]
fn a_session_lives_from_creation_to_termination() {
    let service = serve(None);
    let ada = Client::open(&service, "ada", json!({"metadata": {"purpose": "test"}}));
    assert_eq!(ada.state(), "initializing");
    assert_eq!(ada.validate(), "valid");
    assert_eq!(ada.state(), "active");
    let updated = service.ask("manage_session", json!({
        "op": "update", "session_id": ada.session, "auth_token": ada.token, "metadata": {"team": "a"},
    })).expect("refused");
    assert_eq!(updated["session"]["metadata"], json!({"team": "a"}));
    assert_eq!(
        ada.manage("suspend").expect("refused")["session"]["state"],
        "suspended"
    );
    assert_eq!(ada.validate(), "the session is suspended, not active");
    ada.manage("resume").expect("refused");
    assert_eq!(ada.validate(), "valid");
    ada.manage("terminate").expect("refused");
    assert_eq!(ada.validate(), "the session is terminated, not active");
    assert_eq!(
        ada.manage("resume"),
        Err(Refusal::Failed(
            "the session is terminated, not active".into()
        ))
    );
    assert_eq!(
        stats(&service),
        json!({
            "total_sessions": 1,
            "by_state": {"active": 0, "expired": 0, "initializing": 0, "suspended": 0, "terminated": 1},
            "clients": 1, "revoked_clients": 0, "pending_requests": 0, "messages": 0, "persistent": false,
        })
    );
}

/// The fault of the original: without a token there was no check.
#[test]
fn without_the_owners_token_there_is_no_access() {
    let service = serve(None);
    let ada = Client::open(&service, "ada", json!({}));
    let missing = |tool, arguments| {
        service
            .ask(tool, arguments)
            .expect_err("it was taken")
            .to_string()
    };
    let session = &ada.session;
    assert_eq!(
        missing("validate_session", json!({"session_id": session})),
        "auth_token: is required and missing"
    );
    assert_eq!(
        missing(
            "handle_request_with_session",
            json!({"session_id": session, "request": {"id": 1, "method": "ping"}})
        ),
        "auth_token: is required and missing"
    );
    for op in ["get", "update", "suspend", "resume", "terminate"] {
        let mut arguments = json!({"op": op, "session_id": session});
        if op == "update" {
            arguments["metadata"] = json!({});
        }
        assert_eq!(
            missing("manage_session", arguments),
            format!("auth_token: is required by \"{op}\" and missing")
        );
    }
    for empty in [json!(null), json!("")] {
        let refusal = missing(
            "validate_session",
            json!({"session_id": session, "auth_token": empty}),
        );
        assert!(refusal.starts_with("auth_token: "), "{refusal}");
    }

    // Somebody else's token is as good as none, and tells nothing about the session.
    let eve = Client::open(&service, "eve", json!({}));
    let thief = Client {
        session: ada.session.clone(),
        ..eve
    };
    assert_eq!(
        thief.validate(),
        "the token's client has no session of this id"
    );
    assert_eq!(
        thief.state(),
        "session_id: the token's client has no session of this id"
    );
    let denied = thief.handle(json!({"jsonrpc": "2.0", "id": 7, "method": "ping"}));
    assert_eq!(
        (&denied["reply"]["error"]["code"], &denied["reply"]["id"]),
        (&json!(-32600), &json!(7))
    );
    // A second session of the same client is its own.
    let again = Client::open(&service, "ada", json!({}));
    assert_eq!(
        Client {
            session: ada.session.clone(),
            ..again
        }
        .validate(),
        "valid"
    );

    let forged = Client {
        service: &service,
        session: ada.session.clone(),
        token: json!(format!("{}x", ada.token.as_str().unwrap())),
    };
    assert_eq!(
        forged.validate(),
        "the token was not signed here, or was changed"
    );
    // A server without the secret signs with one of its own.
    let elsewhere = with_secret(&Host::new(None, clock), Secret::new(None));
    let foreign = Client {
        service: &service,
        session: ada.session.clone(),
        ..Client::open(&elsewhere, "ada", json!({}))
    };
    assert_eq!(
        foreign.validate(),
        "the token was not signed here, or was changed"
    );
}

#[test]
fn requests_go_through_in_the_name_of_a_session() {
    let service = serve(None);
    let ada = Client::open(&service, "ada", json!({}));
    let handled = ada.handle(json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
    assert_eq!(
        handled,
        json!({
            "session_id": ada.session, "accepted": true,
            "reply": {"jsonrpc": "2.0", "id": 1, "result": {}},
            "message_count": 1, "pending": 1,
        })
    );
    // While a request is under way it is pending; afterwards not.
    let counted = ada.handle(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "manage_session", "arguments": {"op": "stats"}}}));
    let stats_inside = &counted["reply"]["result"]["structuredContent"]["stats"];
    assert_eq!(
        (&stats_inside["pending_requests"], &stats_inside["messages"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(stats(&service)["pending_requests"], 0);
    // Notifications have no reply, and count.
    let told = ada.handle(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    assert_eq!(
        (&told["reply"], &told["message_count"]),
        (&json!(null), &json!(3))
    );
    // Not into itself, by neither of its names.
    for name in [
        "handle_request_with_session",
        "handle_mcp_request_with_session",
    ] {
        let request = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": name, "arguments": {}}});
        let error = &ada.handle(request)["reply"]["error"];
        assert_eq!(
            error,
            &json!({"code": -32600, "message": "handle_request_with_session is not passed on to itself"})
        );
    }
    let unknown = ada.handle(json!({"jsonrpc": "2.0", "id": 4, "method": "no/such"}));
    assert_eq!(unknown["reply"]["error"]["code"], -32601);
    ada.manage("terminate").expect("refused");
    let late = ada.handle(json!({"jsonrpc": "2.0", "id": 5, "method": "ping"}));
    assert_eq!(
        late,
        json!({
            "session_id": ada.session, "accepted": false,
            "reply": {"jsonrpc": "2.0", "id": 5, "error": {"code": -32600, "message": "session invalid or expired: the session is terminated, not active"}},
        })
    );
}

#[test]
fn permissions_are_the_tokens() {
    let service = serve(None);
    let reader = Client::open(&service, "ada", json!({"permissions": ["read"]}));
    assert_eq!(reader.validate(), "valid");
    assert_eq!(
        reader.handle(json!({"id": 1, "method": "tools/list"}))["accepted"],
        true
    );
    let denied = reader.handle(json!({"id": 1, "method": "tools/call", "params": {"name": "manage_session", "arguments": {"op": "stats"}}}));
    assert_eq!(
        denied["reply"]["error"]["message"],
        "session invalid or expired: the token lacks the permission \"write\""
    );
    assert_eq!(
        reader
            .manage("suspend")
            .expect_err("it was taken")
            .to_string(),
        "auth_token: the token lacks the permission \"write\""
    );
    let writer = Client::open(&service, "ada", json!({"permissions": ["write"]}));
    assert_eq!(
        writer.state(),
        "auth_token: the token lacks the permission \"read\""
    );
    writer.manage("terminate").expect("refused");
}

#[test]
fn a_revoked_client_is_out() {
    let service = serve(None);
    let (ada, other) = (
        Client::open(&service, "ada", json!({})),
        Client::open(&service, "ada", json!({})),
    );
    let bob = Client::open(&service, "bob", json!({}));
    let revoked = service
        .ask(
            "manage_session",
            json!({"op": "revoke", "auth_token": ada.token}),
        )
        .expect("refused");
    assert_eq!(
        revoked,
        json!({"op": "revoke", "client_id": "ada", "sessions_ended": 2})
    );
    assert_eq!(
        (ada.validate(), other.validate()),
        (
            "the client was revoked".into(),
            "the client was revoked".into()
        )
    );
    let again = || {
        service.ask(
            "manage_session",
            json!({"op": "create", "client_id": "ada"}),
        )
    };
    assert_eq!(
        again().expect_err("it was taken").to_string(),
        "client_id: the client was revoked"
    );
    assert_eq!(bob.validate(), "valid");
    assert_eq!(stats(&service)["revoked_clients"], 1);
    // Until its tokens have all run out.
    MINUTES.set(30 * 24 * 60 + 1);
    again().expect("refused");
    assert_eq!(ada.validate(), "the token has expired");
    assert_eq!(stats(&service)["revoked_clients"], 0);
}

#[test]
fn time_suspends_expires_and_deletes() {
    let service = serve(None);
    let ada = Client::open(&service, "ada", json!({}));
    MINUTES.set(60);
    assert_eq!(ada.validate(), "valid");
    MINUTES.set(120);
    assert_eq!(ada.validate(), "valid");
    MINUTES.set(181);
    assert_eq!(stats(&service)["by_state"]["suspended"], 1);
    assert_eq!(ada.validate(), "the session is suspended, not active");
    assert_eq!(
        ada.manage("resume").expect("refused")["expires_in"],
        (24 * 60 - 181) * 60
    );
    assert_eq!(ada.validate(), "valid");
    MINUTES.set(24 * 60);
    assert_eq!(ada.validate(), "the session is expired, not active");
    MINUTES.set(24 * 60 + 181);
    assert_eq!(ada.state(), "expired");
    MINUTES.set(24 * 60 + 182);
    assert_eq!(
        ada.validate(),
        "the token's client has no session of this id"
    );
    assert_eq!(stats(&service)["total_sessions"], 0);
}

#[test]
fn filed_sessions_outlast_the_process() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("sessions");
    let service = serve(Some(data.path()));
    let ada = Client::open(&service, "ada", json!({"metadata": {"purpose": "test"}}));
    let gone = Client::open(&service, "gone", json!({}));
    service
        .ask(
            "manage_session",
            json!({"op": "revoke", "auth_token": gone.token}),
        )
        .expect("refused");
    ada.handle(json!({"id": 1, "method": "ping"}));
    let file = folder.join(format!("{}.json", ada.session.as_str().unwrap()));
    let filed = || serde_json::from_str::<Value>(&std::fs::read_to_string(&file).unwrap()).unwrap();
    // Activity is filed every five minutes; what a client changes, at once.
    assert_eq!(filed()["message_count"], 0);
    MINUTES.set(5);
    ada.handle(json!({"id": 2, "method": "ping"}));
    assert_eq!(
        (&filed()["message_count"], &filed()["state"]),
        (&json!(2), &json!("active"))
    );
    ada.manage("suspend").expect("refused");
    assert_eq!(filed()["state"], "suspended");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        !text.contains(ada.token.as_str().unwrap()),
        "a token was written"
    );

    // What is no session of ours is left alone.
    let foreign = "00000000-0000-4000-8000-000000000000.json";
    std::fs::write(folder.join(foreign), "no JSON").unwrap();
    std::fs::copy(
        &file,
        folder.join("11111111-1111-4111-8111-111111111111.json"),
    )
    .unwrap();
    std::fs::copy(&file, folder.join("copy.json")).unwrap();

    let restarted = serve(Some(data.path()));
    let counts = stats(&restarted);
    assert_eq!(
        (
            &counts["total_sessions"],
            &counts["revoked_clients"],
            &counts["persistent"]
        ),
        (&json!(2), &json!(1), &json!(true))
    );
    let ada = Client {
        service: &restarted,
        ..ada
    };
    let got = ada.manage("resume").expect("refused");
    assert_eq!(
        (
            &got["session"]["message_count"],
            &got["session"]["metadata"]["purpose"]
        ),
        (&json!(2), &json!("test"))
    );
    assert_eq!(
        Client {
            service: &restarted,
            ..gone
        }
        .validate(),
        "the client was revoked"
    );

    MINUTES.set(2 * 24 * 60);
    assert_eq!(stats(&restarted)["total_sessions"], 0);
    assert!(!file.exists());
    let mut left: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        [
            foreign,
            "11111111-1111-4111-8111-111111111111.json",
            "copy.json",
            "revoked.json"
        ]
    );
}

#[test]
fn no_id_is_a_path() {
    let service = serve(None);
    let token = Client::open(&service, "ada", json!({})).token;
    for id in [
        "../../etc/passwd",
        "a/b",
        "..",
        "",
        "revoked",
        "00000000000040008000000000000000",
        "00000000-0000-4000-8000-00000000000G",
    ] {
        let refusal = service
            .ask(
                "validate_session",
                json!({"session_id": id, "auth_token": token}),
            )
            .expect_err("it was taken");
        assert!(refusal.to_string().starts_with("session_id: "), "{refusal}");
        assert!(!super::files::is_session_id(id), "{id}");
    }
}

#[test]
fn there_are_at_most_ten_thousand() {
    let service = serve(None);
    let first = Client::open(&service, "ada", json!({}));
    for _ in 1..10_000 {
        Client::open(&service, "bob", json!({}));
    }
    let more = || {
        service.ask(
            "manage_session",
            json!({"op": "create", "client_id": "eve"}),
        )
    };
    assert_eq!(
        more(),
        Err(Refusal::Failed(
            "10000 sessions are open: terminate some first".into()
        ))
    );
    // One that is over makes room.
    first.manage("terminate").expect("refused");
    more().expect("refused");
    assert_eq!(stats(&service)["total_sessions"], 10_000);
}

#[test]
fn what_is_wrong_is_named() {
    let service = serve(None);
    let check = |arguments: Value, expected: &str| {
        let refusal = service
            .ask("manage_session", arguments)
            .expect_err("it was taken");
        assert_eq!(refusal.to_string(), expected);
    };
    check(
        json!({"op": "create"}),
        "client_id: is required by \"create\" and missing",
    );
    check(
        json!({"op": "create", "client_id": "a", "session_id": "00000000-0000-4000-8000-000000000000"}),
        "session_id: is not taken by \"create\"",
    );
    check(
        json!({"op": "stats", "client_id": "a"}),
        "client_id: is not taken by \"stats\"",
    );
    check(
        json!({"op": "create", "client_id": "a", "metadata": {"a": "b".repeat(257)}}),
        &format!(
            "metadata.a: \"{}\" is longer than 256 characters",
            "b".repeat(257)
        ),
    );
    let big = json!({"op": "create", "client_id": "a", "metadata": (0..17).map(|n| (n.to_string(), json!("a"))).collect::<serde_json::Map<_, _>>()});
    let refusal = service
        .ask("manage_session", big)
        .expect_err("it was taken")
        .to_string();
    assert!(refusal.starts_with("metadata: "), "{refusal}");
    let ada = Client::open(&service, "ada", json!({}));
    let request = json!({"id": 1, "method": "ping", "params": {"text": "a".repeat(100_000)}});
    let refusal = service.ask(
        "handle_request_with_session",
        json!({"request": request, "session_id": ada.session, "auth_token": ada.token}),
    );
    assert_eq!(
        refusal.expect_err("it was taken").to_string(),
        "request: is longer than 100000 bytes"
    );
}
