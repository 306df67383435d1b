//! Clients' own files, in a home of the test's: previewed, written, reached through what was written, undone. And the command
//! line about the gateway.

use crate::gateway::Client;
use flotilla_contract::{
    ErrorCode,
    command::{
        ActionsRead, GatewayConnectPreview, GatewayConnectUndo, GatewayConnectWrite,
        GatewayTargets, GatewayViewCmd,
    },
    event::EventKind,
    gateway::{
        ClientAct, ClientConnect, ClientEntry, ClientQuery, ClientTarget, ClientUndo, DiffSign,
    },
    state::Status,
};
use flotilla_tests::{Bed, fixture};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// The files that the engine offers, with `HOME` being the bed's.
async fn targets(bed: &Bed) -> Vec<ClientTarget> {
    bed.run::<GatewayTargets>(ClientQuery::default())
        .await
        .expect("the files are looked at")
}

fn of<'t>(targets: &'t [ClientTarget], client: &str) -> &'t ClientTarget {
    targets.iter().find(|t| t.client == client).expect(client)
}

fn connect(path: &Path, act: ClientAct) -> ClientConnect {
    ClientConnect {
        path: path.display().to_string(),
        act,
        project: None,
        group: None,
        hash: None,
    }
}

/// Writes what a preview shows.
async fn write(bed: &Bed, order: ClientConnect) -> flotilla_contract::gateway::ClientWritten {
    let shown = bed.run::<GatewayConnectPreview>(order.clone()).await;
    let hash = Some(shown.expect("a preview").hash);
    bed.run::<GatewayConnectWrite>(ClientConnect { hash, ..order })
        .await
        .expect("it is written")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_file_is_written_as_shown_and_restored_byte_by_byte() {
    const BEFORE: &str = "{\r\n\t// mine\r\n\t\"mcpServers\": {\r\n\t\t\"x\": { \"command\": \"x\", \"env\": { \"API_TOKEN\": \"sk-1234567890abcdef\" } },\r\n\t},\r\n}";
    let bed = Bed::new(&format!(
        "[gateway.groups.few]\nservers = [\"s\"]\n{}",
        fixture("s", "", "")
    ))
    .await;
    let file = bed.path(".cursor/mcp.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, BEFORE).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let found = targets(&bed).await;
    let cursor = of(&found, "Cursor");
    assert!(cursor.installed && cursor.exists, "{cursor:#?}");
    assert_eq!((cursor.entry, &cursor.undo), (ClientEntry::Absent, &None));
    assert!(!of(&found, "Windsurf").installed);

    // What is shown has the address, and nobody's secret.
    let order = connect(&file, ClientAct::Connect);
    let shown = bed
        .run::<GatewayConnectPreview>(order.clone())
        .await
        .unwrap();
    let added = shown.diff.iter().filter(|l| l.sign == DiffSign::Added);
    assert!(
        added.into_iter().any(|l| l.text.contains(&bed.gateway())),
        "{shown:#?}"
    );
    assert!(!format!("{shown:?}{found:?}").contains("sk-1234567890abcdef"));

    // Without its hash, or with that of another state, nothing is written.
    let refused = bed.run::<GatewayConnectWrite>(order.clone()).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::BadRequest);
    let with_hash = ClientConnect {
        hash: Some(shown.hash.clone()),
        ..order.clone()
    };
    let edited = BEFORE.replace("mine", "changed meanwhile");
    fs::write(&file, &edited).unwrap();
    let error = bed
        .run::<GatewayConnectWrite>(with_hash.clone())
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict, "{error:?}");
    let anew = error.detail.expect("the preview of now");
    assert!(anew["hash"] != shown.hash.as_str() && anew["diff"].is_array());
    assert_eq!(fs::read_to_string(&file).unwrap(), edited);

    // Nor a file that is no client's.
    let other = bed.path("home/fleet.toml");
    let refused = bed
        .run::<GatewayConnectWrite>(ClientConnect {
            path: other.display().to_string(),
            ..with_hash.clone()
        })
        .await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotFound);

    // As shown, with a copy that only its owner reads.
    fs::write(&file, BEFORE).unwrap();
    let written = bed.run::<GatewayConnectWrite>(with_hash).await.unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains(&bed.gateway()) && text.contains("// mine\r\n"),
        "{text}"
    );
    let copy = Path::new(written.backup.as_deref().expect("a copy"));
    assert_eq!(fs::read_to_string(copy).unwrap(), BEFORE);
    assert!(copy.starts_with(bed.home()), "{}", copy.display());
    #[cfg(unix)]
    for path in [copy, &file] {
        let mode = fs::metadata(path).unwrap().permissions();
        let mode = std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    let found = targets(&bed).await;
    let cursor = of(&found, "Cursor");
    assert_eq!(
        (cursor.entry, cursor.undo.as_ref()),
        (ClientEntry::Current, Some(&written.id))
    );

    // Somebody builds on it: the change is theirs to undo. Taken back, every byte is as before, once.
    let undo = || async {
        let id = written.id.clone();
        bed.run::<GatewayConnectUndo>(ClientUndo { id }).await
    };
    fs::write(&file, format!("{text} ")).unwrap();
    assert_eq!(undo().await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(of(&targets(&bed).await, "Cursor").undo, None);
    fs::write(&file, &text).unwrap();
    assert!(undo().await.unwrap().exists);
    assert_eq!(fs::read_to_string(&file).unwrap(), BEFORE);
    assert_eq!(undo().await.unwrap_err().code, ErrorCode::NotFound);

    // A group has an address of its own; one that is not declared has none.
    let group = |name: &str| ClientConnect {
        group: Some(name.into()),
        ..order.clone()
    };
    let shown = bed.run::<GatewayConnectPreview>(group("few")).await;
    let wanted = format!("{}/few", bed.gateway());
    assert!(
        shown.unwrap().diff.iter().any(|l| l.text.contains(&wanted)),
        "the group's address"
    );
    let refused = bed.run::<GatewayConnectPreview>(group("gone")).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotFound);

    let actions = bed.run::<ActionsRead>(Default::default()).await.unwrap();
    let done: Vec<_> = actions
        .events
        .iter()
        .filter_map(|event| match &event.what {
            EventKind::Action { command, ok, .. } => {
                let (command, what) = command.split_once(' ')?;
                (!what.is_empty()).then_some((command, *ok))
            }
            _ => None,
        })
        .collect();
    let (wrote, undid) = ("gateway.connect_write", "gateway.connect_undo");
    assert_eq!(
        done,
        [
            (undid, false),
            (undid, true),
            (undid, false),
            (wrote, true),
            (wrote, false),
            (wrote, false),
            (wrote, false)
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_only_starts_programs_reaches_the_gateway_by_what_was_written() {
    let mut bed = Bed::new(&fixture("s", "", "")).await;
    bed.until("s", |v| v.status == Status::Running).await;
    let file = bed.path(".config/Claude/claude_desktop_config.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let written = write(&bed, connect(&file, ClientAct::Connect)).await;
    assert_eq!(written.backup, None, "there was no file");
    let entry: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let entry = &entry["mcpServers"]["flotilla"];
    let args: Vec<&str> = entry["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap())
        .collect();

    // As that client would start it: with no word of the engine's home in its environment.
    let mut bridge = Command::new(entry["command"].as_str().unwrap())
        .args(args)
        .env_remove("FLOTILLA_HOME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to, mut from) = (
        bridge.stdin.take().unwrap(),
        BufReader::new(bridge.stdout.take().unwrap()).lines(),
    );
    let mut ask = |message: Value| {
        writeln!(to, "{message}").unwrap();
        loop {
            let line = from.next().expect("an answer").unwrap();
            let answer: Value = serde_json::from_str(&line).unwrap();
            if answer["id"] == message["id"] {
                return answer;
            }
        }
    };
    let hello = ask(
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "desk", "version": "7"},
        }}),
    );
    assert!(hello["result"]["serverInfo"].is_object(), "{hello}");
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "s__echo", "arguments": {"text": "hi"}}});
    let answer = loop {
        let answer = ask(call.clone());
        // The gateway may not have listed the server's tools yet.
        if answer["error"].is_null() {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(answer["result"]["content"][0]["text"], "hi", "{answer}");
    drop(to);
    assert!(bridge.wait().unwrap().success());
    let view = bed.run::<GatewayViewCmd>(Default::default()).await.unwrap();
    let desk = view.clients.iter().find(|c| c.client == "desk");
    let desk = desk.expect("it is known");
    assert_eq!(
        (desk.version.as_deref(), desk.transport.as_str()),
        (Some("7"), "stdio")
    );

    // Taken out again, and that undone; then the first change, which made the file.
    let out = write(&bed, connect(&file, ClientAct::Disconnect)).await;
    assert_eq!(
        of(&targets(&bed).await, "Claude Desktop").entry,
        ClientEntry::Absent
    );
    for (id, exists) in [(out.id, true), (written.id, false)] {
        let undone = bed.run::<GatewayConnectUndo>(ClientUndo { id }).await;
        assert_eq!(undone.unwrap().exists, exists);
    }
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_shows_and_operates_the_gateway() {
    let mut bed =
        Bed::new(&(fixture("s", "", "[servers.s.gateway.tools.echo]\ncache = true\n"))).await;
    bed.until("s", |v| v.status == Status::Running).await;
    let client = Client::connect(&bed.gateway(), "editor").await;
    let hello = json!({"text": "hello"});
    while client.call("s__echo", hello.clone()).await["result"].is_null() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.call("s__echo", hello.clone()).await;
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&bed.cli_says(0, args)).expect("one JSON document")
    };

    let said = bed.cli_says(0, &["gateway"]);
    for part in [&bed.gateway(), "1 server", "editor", "legacy", "closed"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(json(&["gateway", "--json"])["address"], bed.gateway());

    let said = bed.cli_says(0, &["calls", "s", "--client", "editor"]);
    assert!(
        said.contains("echo") && said.contains("from the cache"),
        "{said}"
    );
    assert_eq!(bed.cli_says(0, &["calls", "--failed", "s"]), "No call.\n");
    assert_eq!(json(&["calls", "--json", "-n", "1"])[0]["cached"], true);
    assert!(
        bed.cli_says(2, &["calls", "--end", "well"])
            .contains("tool_error")
    );

    assert!(bed.cli_says(0, &["cache"]).contains("1 answer kept"));
    assert_eq!(
        bed.cli_says(0, &["cache", "clear", "s", "echo"]),
        "1 answer taken out of the cache\n"
    );
    assert_eq!(json(&["cache", "clear", "--json"])["entries"], 0);
    bed.cli_says(1, &["cache", "clear", "gone"]);

    let said = bed.cli_says(0, &["breaker", "trip", "s"]);
    assert!(
        said.contains("Breaker of s is open until it is reset"),
        "{said}"
    );
    let refused = client.call("s__echo", json!({"text": "anybody?"})).await;
    assert_eq!(refused["error"]["code"], -32003, "{refused}");
    let failed = json(&["calls", "--failed", "--json"]);
    assert_eq!(failed[0]["end"], "rejected", "{failed}");
    assert!(bed.cli_says(0, &["gateway"]).contains("calls are refused"));
    let said = bed.cli_says(0, &["breaker", "half-open", "s"]);
    assert!(said.contains("half open"), "{said}");
    assert_eq!(
        json(&["breaker", "reset", "s", "--json"])["state"],
        "closed"
    );
    bed.cli_says(1, &["breaker", "trip", "gone"]);

    let said = bed.cli_says(
        0,
        &[
            "fault",
            "inject",
            "s",
            "echo",
            "--errors",
            "100",
            "--minutes",
            "1",
        ],
    );
    assert!(said.contains("s, echo: 100.0 % fail"), "{said}");
    assert!(bed.cli_says(0, &["gateway"]).contains("on purpose"));
    let failed = client.call("s__echo", json!({"text": "drill"})).await;
    assert!(failed["error"].is_object(), "{failed}");
    assert_eq!(json(&["fault", "--json"])[0]["tool"], "echo");
    let said = bed.cli_says(0, &["fault", "end", "s", "echo"]);
    assert!(said.contains("No fault is injected."), "{said}");
    // It would do nothing.
    bed.cli_says(1, &["fault", "inject", "s"]);
}
