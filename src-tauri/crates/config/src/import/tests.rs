use super::*;
use crate::parse;
use std::collections::BTreeMap;

fn set_variables(name: &str) -> Option<String> {
    ["HOME", "USERPROFILE", "SET"]
        .contains(&name)
        .then(|| "value".to_owned())
}

fn planned(path: &str, text: &str) -> Plan {
    let path = (!path.is_empty()).then(|| Path::new(path));
    preview(text, path, &Fleet::default(), &set_variables).unwrap()
}

/// What would be added to an empty `fleet.toml`.
fn added(plan: &Plan) -> String {
    let names: Vec<String> = plan
        .shown()
        .servers
        .iter()
        .filter(|s| s.refused.is_none())
        .map(|s| s.source_name.clone())
        .collect();
    let applied = plan.apply("", &names).unwrap();
    assert!(parse(&applied.text).is_ok());
    applied.text
}

fn secrets(plan: &Plan) -> Vec<(&str, &str)> {
    plan.servers
        .iter()
        .flat_map(|s| &s.secrets)
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect()
}

fn notes<'p>(plan: &'p Plan, name: &str) -> &'p [String] {
    &plan
        .servers
        .iter()
        .find(|s| s.shown.source_name == name)
        .unwrap()
        .shown
        .notes
}

#[test]
fn claude_desktop() {
    let plan = planned(
        "/home/me/.config/Claude/claude_desktop_config.json",
        r#"{ "globalShortcut": "", "mcpServers": {
            "filesystem": { "command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/me/My Files"] },
            "github": { "command": "docker", "args": ["run", "-i", "-e", "GITHUB_PERSONAL_ACCESS_TOKEN=ghp_0123456789abcdefghij", "ghcr.io/github/github-mcp-server"],
                        "env": { "GITHUB_TOOLSETS": "repos", "API_KEY": "s3cret", "EMPTY": null } } } }"#,
    );
    assert_eq!(plan.client, "Claude Desktop");
    let shown = plan.shown();
    assert_eq!(
        shown.servers[0].runs,
        "npx -y @modelcontextprotocol/server-filesystem \"/home/me/My Files\""
    );
    let github = &shown.servers[1];
    assert_eq!(
        github.runs,
        "docker run -i -e GITHUB_PERSONAL_ACCESS_TOKEN=${secret:github/GITHUB_PERSONAL_ACCESS_TOKEN} ghcr.io/github/github-mcp-server"
    );
    assert_eq!(github.env["API_KEY"], "secret github/API_KEY");
    assert_eq!(github.env["GITHUB_TOOLSETS"], "repos");
    assert_eq!(
        secrets(&plan),
        [
            (
                "github/GITHUB_PERSONAL_ACCESS_TOKEN",
                "ghp_0123456789abcdefghij"
            ),
            ("github/API_KEY", "s3cret")
        ]
    );
    let text = added(&plan);
    assert!(
        text.contains("API_KEY = { secret = \"github/API_KEY\" }"),
        "{text}"
    );
    for printed in [
        format!("{plan:?}"),
        format!("{shown:?}"),
        text,
        serde_json::to_string(&shown).unwrap(),
    ] {
        assert!(
            !printed.contains("ghp_") && !printed.contains("s3cret"),
            "{printed}"
        );
    }
    assert!(
        notes(&plan, "github")
            .iter()
            .any(|note| note.contains("other programs of this machine can see it"))
    );
}

#[test]
fn claude_code_with_projects_and_variables() {
    let plan = planned(
        "/home/me/.claude.json",
        r#"{ "numStartups": 3, "mcpServers": {
              "api": { "type": "http", "url": "https://api.example.com/mcp", "headers": { "Authorization": "Bearer ${API_TOKEN:-none}", "X-Key": "abc123" } },
              "old": { "type": "sse", "url": "https://old.example.com/sse", "headers": { "Authorization": "Bearer sk-abcdefghijklmnop0123456789", "X-Org": "me" } } },
            "projects": { "/srv/a": { "mcpServers": { "api": { "type": "stdio", "command": "${BIN}/server", "args": ["$HOME", "${CLAUDE_X}"], "env": {} } } },
                          "/srv/b": { "history": [] } } }"#,
    );
    let text = added(&plan);
    assert!(
        text.contains("Authorization = \"Bearer ${API_TOKEN:-none}\""),
        "{text}"
    );
    assert!(
        text.contains("X-Key = { secret = \"api/X-Key\" }"),
        "{text}"
    );
    assert!(
        text.contains("[servers.old]\nurl = \"https://old.example.com/sse\"\ntransport = \"sse\""),
        "{text}"
    );
    assert!(parse(&text).unwrap().servers[1].disabled.is_some());
    assert!(
        notes(&plan, "old")
            .iter()
            .any(|note| note.starts_with("it is kept disabled"))
    );
    // What it was asked with has no place here: said, and its token is not stored for nobody.
    assert!(
        notes(&plan, "old")
            .iter()
            .any(|note| note.starts_with("its headers are not taken over: Authorization, X-Org"))
    );
    assert!(plan.shown().servers[1].secrets.is_empty() && !text.contains("sk-abc"));
    let project = &plan.shown().servers[2];
    assert_eq!(
        (project.source_name.as_str(), project.id.as_str()),
        ("api (/srv/a)", "api-2")
    );
    assert_eq!(project.runs, "${BIN}/server $HOME ${CLAUDE_X}");
    assert!(text.contains("cwd = \"/srv/a\""), "{text}");
    assert_eq!(
        notes(&plan, "api (/srv/a)"),
        [
            "it is named api-2, because api is taken",
            "the environment variable BIN is not set where the engine runs",
            "the environment variable CLAUDE_X is not set where the engine runs",
            "it runs in /srv/a, the project that it belongs to",
        ]
    );
}

#[test]
fn vs_code_with_comments_and_inputs() {
    let plan = planned(
        "/srv/shop/.vscode/mcp.json",
        r#"{
          // asked once
          "inputs": [{ "type": "promptString", "id": "api-key", "description": "API key", "password": true },],
          "servers": {
            "mem": { "type": "stdio", "command": "npx", "args": ["-y", "pkg", "${workspaceFolder}/data", "--home=${userHome}", "${input:api-key}"],
                     "env": { "K": "${input:api-key}", "V": "${env:SET}-${env:UNSET}" }, "envFile": "${workspaceFolder}/.env",
                     "sandboxEnabled": true, "dev": {} }, /* and */
            "remote": { "type": "http", "url": "https://x.example/mcp", "headers": { "Authorization": "Bearer ${input:api-key}" } },
            "sock": { "type": "http", "url": "unix:///tmp/s.sock#/mcp" },
          },
        }"#,
    );
    let text = added(&plan);
    assert!(
        text.contains("K = { secret = \"mem/api-key\" }, V = \"${SET}-${UNSET}\""),
        "{text}"
    );
    assert!(
        text.contains("Authorization = \"Bearer ${secret:remote/api-key}\""),
        "{text}"
    );
    assert_eq!(
        plan.shown().servers[0].runs.replace("USERPROFILE", "HOME"),
        "npx -y pkg /srv/shop/data --home=${HOME} ${secret:mem/api-key}"
    );
    let notes = notes(&plan, "mem").join("\n");
    for part in [
        "not taken over: dev",
        "the variables of ${workspaceFolder}/.env",
        "the sandbox is not taken over",
        "${workspaceFolder} became /srv/shop",
        "enter the secret mem/api-key (API key)",
        "UNSET is not set",
    ] {
        assert!(notes.contains(part), "{part} in {notes}");
    }
    assert!(secrets(&plan).is_empty());
    assert_eq!(
        plan.shown().servers[2].refused.as_deref(),
        Some("it listens on a Unix socket, which is not supported")
    );
}

#[test]
fn cursor_windsurf_cline_and_zed() {
    let plan = planned(
        "/home/me/.codeium/windsurf/mcp_config.json",
        r#"{"mcpServers":{"w":{"serverUrl":"https://w.example/mcp?api_key=abc&x=1#f","disabled":true},"f":{"command":"x","env":{"A":"${file:/etc/a}"}}}}"#,
    );
    assert_eq!(plan.client, "Windsurf");
    assert_eq!(secrets(&plan), [("w/api_key", "abc")]);
    let text = added(&plan);
    assert!(
        text.contains("url = \"https://w.example/mcp?api_key=${secret:w/api_key}&x=1#f\""),
        "{text}"
    );
    assert!(
        text.contains("disabled = \"disabled in the configuration of Windsurf\""),
        "{text}"
    );
    assert!(
        text.contains("A = \"$${file:/etc/a}\""),
        "stays literal: {text}"
    );

    let plan = planned(
        "/h/.cursor/mcp.json",
        r#"{"mcpServers":{"c":{"url":"https://me:pw@c.example/mcp"},"s":{"url":"http://s/sse"}}}"#,
    );
    assert_eq!(secrets(&plan), [("c/login", "me:pw")]);
    assert!(added(&plan).contains("https://${secret:c/login}@c.example/mcp"));
    assert_eq!(plan.shown().servers[1].kind, "sse", "by its path");

    let cline = "/h/.config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json";
    let plan = planned(
        cline,
        r#"{"mcpServers":{"l":{"type":"streamableHttp","url":"http://l/mcp","autoApprove":["a"],"timeout":60}}}"#,
    );
    assert_eq!(
        (plan.client.as_str(), plan.shown().servers[0].kind.as_str()),
        ("Cline", "url")
    );
    assert_eq!(notes(&plan, "l"), ["not taken over: autoApprove, timeout"]);

    let zed = r#"{"theme":"One", "context_servers":{"old":{"command":{"path":"node","args":["a.js"],"env":{"K":"v"}},"settings":{}},"new":{"source":"custom","command":"uvx","args":["b"]}}}"#;
    let plan = planned("/home/me/.config/zed/settings.json", zed);
    assert_eq!(plan.client, "Zed");
    assert_eq!(
        plan.shown()
            .servers
            .iter()
            .map(|s| s.runs.as_str())
            .collect::<Vec<_>>(),
        ["node a.js", "uvx b"]
    );
}

#[test]
fn gemini_codex_and_opencode() {
    let gemini = r#"{"mcpServers":{"h":{"httpUrl":"http://h/mcp","trust":true},"s":{"url":"http://s/x"},"e":{"command":"x","env":{"A":"$SET","B":"$5"}}}}"#;
    let plan = planned("/home/me/.gemini/settings.json", gemini);
    assert_eq!(
        plan.shown()
            .servers
            .iter()
            .map(|s| s.kind.as_str())
            .collect::<Vec<_>>(),
        ["url", "sse", "stdio"]
    );
    assert!(
        added(&plan).contains("A = \"${SET}\", B = \"$5\""),
        "{}",
        added(&plan)
    );

    let codex = r#"
        model = "o"
        [mcp_servers.docs]
        command = "npx"
        args = ["-y", "docs", "--api-key", "abc123def"]
        startup_timeout_sec = 20
        [mcp_servers.docs.env]
        TOKEN = "t0ken"
        [mcp_servers.figma]
        url = "https://mcp.figma.com/mcp"
        bearer_token_env_var = "FIGMA_TOKEN"
        http_headers = { X-Region = "eu" }
        env_http_headers = { X-Org = "ORG" }
        enabled = false
    "#;
    for path in ["/home/me/.codex/config.toml", ""] {
        let plan = planned(path, codex);
        assert_eq!(
            plan.shown().servers[0].runs,
            "npx -y docs --api-key ${secret:docs/api-key}"
        );
        assert_eq!(
            secrets(&plan),
            [("docs/api-key", "abc123def"), ("docs/TOKEN", "t0ken")]
        );
        let fleet = parse(&added(&plan)).unwrap();
        assert!(fleet.servers[1].disabled.is_some());
        assert_eq!(
            plan.shown().servers[1].env["Authorization"],
            "Bearer ${FIGMA_TOKEN}"
        );
        assert_eq!(plan.shown().servers[1].env["X-Org"], "${ORG}");
    }

    let opencode = r#"{"mcp":{"l":{"type":"local","command":["bun","x","pkg"],"environment":{"A":"1"},"enabled":true},"r":{"type":"remote","url":"https://r/mcp"}}}"#;
    let plan = planned("/home/me/.config/opencode/opencode.json", opencode);
    assert_eq!(
        plan.shown()
            .servers
            .iter()
            .map(|s| s.runs.as_str())
            .collect::<Vec<_>>(),
        ["bun x pkg", "https://r/mcp"]
    );
}

#[test]
fn pasted_text_and_odd_entries() {
    let plan = planned(
        "",
        r#"{"my server!": {"command": "npx", "args": ["--header", "Authorization: Bearer abc123"]}, "-": {"url": "ws://x", "type": "ws"}, "n": {"command": ""}, "a": {"command": "x", "args": [{}]}, "v": {"command": "x", "env": {"A=B": "1"}}}"#,
    );
    let shown = plan.shown();
    assert_eq!(shown.client, "Pasted text");
    assert_eq!(shown.servers[0].id.as_str(), "my-server");
    assert_eq!(
        shown.servers[0].runs,
        "npx --header \"Authorization: ${secret:my-server/Authorization}\""
    );
    assert_eq!(shown.servers[1].id.as_str(), "server");
    let refused: Vec<&str> = shown.servers[1..]
        .iter()
        .map(|s| s.refused.as_deref().unwrap())
        .collect();
    assert_eq!(
        refused,
        [
            "it speaks over a WebSocket, which is not supported",
            "it has neither a command nor a URL",
            "one of its arguments is not a text",
            "servers.v.env.\"A=B\": \"A=B\" is not the name of an environment variable",
        ]
    );
    let error = plan.apply("", &["n".into()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "import \"n\": it has neither a command nor a URL"
    );
    for (text, message) in [
        ("{\"mcpServers\": }", "line 1, column 16"),
        ("{}", "find servers"),
        ("[1]", "find servers"),
        ("not json", "read the configuration: line 1"),
    ] {
        let error = preview(text, None, &Fleet::default(), &|_| None)
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn names_are_unique_against_the_fleet_and_apply_keeps_it() {
    let before = "# ours\n[servers.git]\ncommand = \"uvx\"\nargs = [\"mcp-server-git\"]\n";
    let text = r#"{"mcpServers":{"git":{"command":"uvx","args":["mcp-server-git"]},"time":{"command":"uvx","args":["mcp-server-time"]}}}"#;
    let plan = preview(text, None, &parse(before).unwrap(), &|_| None).unwrap();
    assert_eq!(
        notes(&plan, "git"),
        ["it is named git-2, because git is taken"]
    );
    let shown = plan.shown();
    let git = shown.servers.iter().find(|s| s.source_name == "git");
    assert_eq!(
        git.and_then(|s| s.refused.as_deref()),
        Some("git is the same server, declared already")
    );
    let applied = plan.apply(before, &["time".into(), "time".into()]).unwrap();
    assert_eq!(
        applied.text,
        format!("{before}\n[servers.time]\ncommand = \"uvx\"\nargs = [\"mcp-server-time\"]\n")
    );
    assert_eq!(
        applied
            .added
            .iter()
            .map(ServerId::as_str)
            .collect::<Vec<_>>(),
        ["time"]
    );
    assert!(
        plan.apply(&applied.text, &["time".into()]).is_err(),
        "taken in the meantime"
    );
}

#[test]
fn a_scan_finds_what_is_there_and_says_what_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put(
        "home/.cursor/mcp.json",
        r#"{"mcpServers":{"a":{"command":"x"},"b":{"command":"y"}}}"#,
    );
    put("home/.claude.json", r#"{"numStartups":1}"#);
    put("home/.codex/config.toml", "[mcp_servers.a\n");
    put("conf/zed/settings.json", r#"{"theme":"One"}"#);
    put(
        "project/.mcp.json",
        r#"{"mcpServers":{"p":{"command":"x"}}}"#,
    );
    let paths = Paths {
        home,
        config: dir.path().join("conf"),
        project: Some(dir.path().join("project")),
    };
    let found: BTreeMap<String, (u32, bool)> = scan(&paths)
        .into_iter()
        .map(|s| (s.client, (s.servers, s.error.is_some())))
        .collect();
    assert_eq!(
        found,
        [
            ("Claude Code".to_owned(), (1, false)),
            ("Codex".to_owned(), (0, true)),
            ("Cursor".to_owned(), (2, false))
        ]
        .into()
    );
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i32>().prop_map(Into::into),
            "[a-z$\\{\\}:/@?=&.é -]{0,24}".prop_map(Into::into),
            Just("https://a:b@c.example/mcp?token=x&y".into()),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let keys = prop::sample::select(
                &[
                    "command",
                    "args",
                    "env",
                    "url",
                    "type",
                    "headers",
                    "cwd",
                    "serverUrl",
                    "disabled",
                    "API_KEY",
                    "--x",
                ][..],
            );
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
                prop::collection::vec((keys, inner), 0..5).prop_map(|pairs| {
                    serde_json::Value::Object(
                        pairs
                            .into_iter()
                            .map(|(key, value)| (key.to_owned(), value))
                            .collect(),
                    )
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_in_a_file_a_plan_is_made_and_can_be_applied(
            servers in prop::collection::vec(("\\PC{0,12}", json_value()), 0..5),
            path in prop::sample::select(&["", "/p/.mcp.json", "/h/.gemini/settings.json", "/p/.vscode/mcp.json"][..]),
        ) {
            let servers: serde_json::Map<String, serde_json::Value> = servers.into_iter().collect();
            let text = serde_json::json!({ "mcpServers": servers }).to_string();
            let path = (!path.is_empty()).then(|| Path::new(path));
            if let Ok(plan) = preview(&text, path, &Fleet::default(), &set_variables) {
                added(&plan);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
            let _ = preview(&text, None, &Fleet::default(), &|_| None);
        }

        #[test]
        fn a_secret_never_reaches_the_file_or_the_screen(
            secret in "x[a-zA-Z0-9]{10,20}9z",
            place in prop::sample::select(&[
                r#""command":"c","env":{"MY_TOKEN":"@"}"#,
                r#""command":"c","env":{"URL":"postgres://u:@@h/d"}"#,
                r#""command":"c","env":{"A_KEY":"${A_KEY:-@}"}"#,
                r#""command":"c","args":["--api-key","@"]"#,
                r#""command":"c","args":["--password=@"]"#,
                r#""command":"c","args":["-e","GH_TOKEN=@"]"#,
                r#""command":"c","args":["--header","Authorization: Bearer @"]"#,
                r#""command":"c","args":["https://u:@@h.example/"]"#,
                r#""url":"https://h.example/mcp?a=1&key=@""#,
                r#""url":"https://u:@@h.example/mcp""#,
                r#""url":"https://h.example/mcp","headers":{"X-Api-Key":"@"}"#,
            ][..]),
        ) {
            let entry = place.replace("@@", &format!("{secret}@")).replace("\"@\"", &format!("\"{secret}\"")).replace("=@", &format!("={secret}"))
                .replace(" @", &format!(" {secret}")).replace("-@", &format!("-{secret}"));
            prop_assert!(entry.contains(&secret));
            let plan = planned("", &format!("{{\"mcpServers\":{{\"s\":{{{entry}}}}}}}"));
            prop_assert_eq!(plan.shown().servers[0].refused.clone(), None);
            for told in [added(&plan), format!("{plan:?}"), serde_json::to_string(&plan.shown()).unwrap()] {
                prop_assert!(!told.contains(&secret), "{}", told);
            }
        }
    }
}
