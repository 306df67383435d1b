use super::*;
use flotilla_contract::gateway::DiffSign;
use proptest::prelude::*;
use std::{collections::BTreeMap, fs};

const URL: &str = "http://127.0.0.1:8720/mcp";

fn entry() -> Entry {
    Entry::new(URL, "/opt/flotilla")
}

/// A machine of its own.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn paths(&self, project: bool) -> Paths {
        Paths {
            home: self.dir.path().join("home"),
            config: self.dir.path().join("home/.config"),
            project: project.then(|| self.dir.path().join("project")),
        }
    }

    fn home(&self, file: &str) -> PathBuf {
        self.dir.path().join("home").join(file)
    }

    fn put(&self, file: &str, text: &str) -> PathBuf {
        let path = self.home(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn target(&self, client: &str) -> Target {
        targets(&self.paths(false))
            .into_iter()
            .find(|target| target.client == client)
            .unwrap()
    }

    fn backups(&self) -> PathBuf {
        self.dir.path().join("backups")
    }
}

/// What a client's file becomes.
#[track_caller]
fn check(client: &str, file: &str, before: &str, after: &str) {
    let machine = Machine::new();
    machine.put(file, before);
    let target = machine.target(client);
    let preview = target.preview(&entry(), ClientAct::Connect).unwrap();
    assert_eq!(preview.after, after, "{client}");
    let again = json_or_toml(&target, &preview.after);
    let name = target.name(
        target.servers(&again, &target.dialect.place(&again)),
        &entry(),
    );
    fs::write(&target.path, &preview.after).unwrap();
    assert_eq!(
        target.look(&entry()).unwrap(),
        (ClientEntry::Current, name),
        "{client}: what was written is known again"
    );
    let preview = target.preview(&entry(), ClientAct::Connect).unwrap();
    assert!(!preview.changes(), "{client}: once is enough");
}

fn json_or_toml(target: &Target, text: &str) -> Value {
    target.value(text).unwrap()
}

const CURSOR: &str = ".cursor/mcp.json";

#[test]
fn each_client_in_its_dialect() {
    for (client, file, wanted) in [
        (
            "Cursor",
            CURSOR,
            r#"{"mcpServers":{"flotilla":{"url":"$URL"}}}"#,
        ),
        (
            "VS Code",
            ".config/Code/User/mcp.json",
            r#"{"servers":{"flotilla":{"type":"http","url":"$URL"}}}"#,
        ),
        (
            "Claude Desktop",
            ".config/Claude/claude_desktop_config.json",
            r#"{"mcpServers":{"flotilla":{"command":"/opt/flotilla","args":["connect"]}}}"#,
        ),
        (
            "Claude Code",
            ".claude.json",
            r#"{"mcpServers":{"flotilla":{"type":"http","url":"$URL"}}}"#,
        ),
        (
            "Windsurf",
            ".codeium/windsurf/mcp_config.json",
            r#"{"mcpServers":{"flotilla":{"serverUrl":"$URL"}}}"#,
        ),
        (
            "Gemini CLI",
            ".gemini/settings.json",
            r#"{"mcpServers":{"flotilla":{"httpUrl":"$URL"}}}"#,
        ),
        (
            "Zed",
            ".config/zed/settings.json",
            r#"{"context_servers":{"flotilla":{"url":"$URL"}}}"#,
        ),
        (
            "Cline",
            ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
            r#"{"mcpServers":{"flotilla":{"type":"streamableHttp","url":"$URL"}}}"#,
        ),
        (
            "OpenCode",
            ".config/opencode/opencode.json",
            r#"{"mcp":{"flotilla":{"type":"remote","url":"$URL","enabled":true}}}"#,
        ),
        (
            "Amp",
            ".config/amp/settings.json",
            r#"{"amp.mcpServers":{"flotilla":{"url":"$URL"}}}"#,
        ),
        (
            "Copilot",
            ".copilot/mcp-config.json",
            r#"{"mcpServers":{"flotilla":{"type":"http","url":"$URL","tools":["*"]}}}"#,
        ),
        (
            "Codex",
            ".codex/config.toml",
            r#"{"mcp_servers":{"flotilla":{"url":"$URL"}}}"#,
        ),
    ] {
        let machine = Machine::new();
        let target = machine.target(client);
        assert_eq!(target.path, machine.home(file), "{client}");
        let preview = target.preview(&entry(), ClientAct::Connect).unwrap();
        let wanted: Value = serde_json::from_str(&wanted.replace("$URL", URL)).unwrap();
        assert_eq!(target.value(&preview.after).unwrap(), wanted, "{client}");
        assert_eq!(
            target.shown(&entry(), &[]).paste,
            preview.after,
            "{client}: a new file is what one would paste"
        );
    }
}

#[test]
fn a_file_keeps_its_looks() {
    check(
        "Cursor",
        CURSOR,
        "",
        "{\n  \"mcpServers\": {\n    \"flotilla\": {\n      \"url\": \"http://127.0.0.1:8720/mcp\"\n    }\n  }\n}\n",
    );
    check(
        "Cursor",
        CURSOR,
        "{}",
        "{\n  \"mcpServers\": {\n    \"flotilla\": {\n      \"url\": \"http://127.0.0.1:8720/mcp\"\n    }\n  }\n}",
    );
    // Comments, a trailing comma, tabs, CRLF and a byte order mark.
    check(
        "Cursor",
        CURSOR,
        "\u{feff}// mine\r\n{\r\n\t\"other\": 1, /* x */\r\n\t\"mcpServers\": {\r\n\t\t// the first\r\n\t\t\"a\": { \"command\": \"x\" }, // good\r\n\t\t// \"b\": {}\r\n\t},\r\n}\r\n",
        "\u{feff}// mine\r\n{\r\n\t\"other\": 1, /* x */\r\n\t\"mcpServers\": {\r\n\t\t// the first\r\n\t\t\"a\": { \"command\": \"x\" }, // good\r\n\t\t// \"b\": {}\r\n\t\t\"flotilla\": {\r\n\t\t\t\"url\": \"http://127.0.0.1:8720/mcp\"\r\n\t\t},\r\n\t},\r\n}\r\n",
    );
    check(
        "Cursor",
        CURSOR,
        "{\n    \"mcpServers\": {\n        \"a\": {} // , not a comma\n    }\n}",
        "{\n    \"mcpServers\": {\n        \"a\": {}, // , not a comma\n        \"flotilla\": {\n            \"url\": \"http://127.0.0.1:8720/mcp\"\n        }\n    }\n}",
    );
    // On one line.
    check(
        "Cursor",
        CURSOR,
        "{\"mcpServers\": {\"a\": {\"url\": \"x\"}}}\n",
        "{\"mcpServers\": {\"a\": {\"url\": \"x\"}, \"flotilla\": { \"url\": \"http://127.0.0.1:8720/mcp\" }}}\n",
    );
    check(
        "Gemini CLI",
        ".gemini/settings.json",
        "{\n  \"theme\": \"dark\",\n  \"mcpServers\": {}\n}\n",
        "{\n  \"theme\": \"dark\",\n  \"mcpServers\": {\n    \"flotilla\": {\n      \"httpUrl\": \"http://127.0.0.1:8720/mcp\"\n    }\n  }\n}\n",
    );
    // A comment and nothing else.
    check(
        "VS Code",
        ".config/Code/User/mcp.json",
        "// later",
        "// later\n{\n  \"servers\": {\n    \"flotilla\": {\n      \"type\": \"http\",\n      \"url\": \"http://127.0.0.1:8720/mcp\"\n    }\n  }\n}\n",
    );
    check(
        "OpenCode",
        ".config/opencode/opencode.json",
        "{ \"mcp\": { \"servers\": {} } }",
        "{ \"mcp\": { \"servers\": {\n  \"flotilla\": {\n    \"type\": \"remote\",\n    \"url\": \"http://127.0.0.1:8720/mcp\",\n    \"enabled\": true\n  }\n} } }",
    );
}

#[test]
fn an_entry_is_brought_up_to_date_and_keeps_what_its_owner_added() {
    check(
        "Cursor",
        CURSOR,
        "{\n  \"mcpServers\": {\n    \"flotilla\": {\n      \"command\": \"old\", // was\n      \"args\": [],\n      \"disabled\": true, // mine\n      \"url\": \"http://127.0.0.1:1/mcp\"\n    },\n    \"z\": {}\n  }\n}\n",
        "{\n  \"mcpServers\": {\n    \"flotilla\": {\n      // was\n      \"disabled\": true, // mine\n      \"url\": \"http://127.0.0.1:8720/mcp\"\n    },\n    \"z\": {}\n  }\n}\n",
    );
    // Ours under another name.
    let text = "{\"mcpServers\": {\"fleet\": {\"url\": \"http://127.0.0.1:8720/mcp\", \"x\": 1}}}";
    check("Cursor", CURSOR, text, text);
}

#[test]
fn toml_keeps_its_looks() {
    let file = ".codex/config.toml";
    let ours = "[mcp_servers.flotilla]\nurl = \"http://127.0.0.1:8720/mcp\"\n";
    check("Codex", file, "", ours);
    check(
        "Codex",
        file,
        "# mine\nmodel = \"x\"   # good\n\n[mcp_servers.a]\ncommand = \"a\"\n",
        &format!("# mine\nmodel = \"x\"   # good\n\n[mcp_servers.a]\ncommand = \"a\"\n\n{ours}"),
    );
    check(
        "Codex",
        file,
        "\u{feff}a = 1\r\nb = \"\"\"x\ny\"\"\"\r\n",
        &format!(
            "\u{feff}a = 1\r\nb = \"\"\"x\ny\"\"\"\r\n\r\n{}",
            ours.replace('\n', "\r\n")
        ),
    );
    check(
        "Codex",
        file,
        "mcp_servers = { a = { command = \"a\" } }\n",
        "mcp_servers = { a = { command = \"a\" } , flotilla = { url = \"http://127.0.0.1:8720/mcp\" } }\n",
    );
    check(
        "Codex",
        file,
        "[mcp_servers.flotilla]\ncommand = \"old\"\nurl = \"http://127.0.0.1:1/mcp\" # here\nenabled = false\n[z]\n",
        "[mcp_servers.flotilla]\nurl = \"http://127.0.0.1:8720/mcp\" # here\nenabled = false\n[z]\n",
    );
}

#[test]
fn an_entry_is_taken_out_and_nothing_else() {
    for (before, after) in [
        (
            "{\n  \"mcpServers\": {\n    \"a\": 1, // x\n    \"flotilla\": {\n      \"url\": \"y\"\n    } // ours\n  }\n}\n",
            "{\n  \"mcpServers\": {\n    \"a\": 1 // x\n    // ours\n  }\n}\n",
        ),
        (
            "{\n  \"mcpServers\": {\n    \"flotilla\": {},\n    \"a\": 1,\n  }\n}\n",
            "{\n  \"mcpServers\": {\n    \"a\": 1,\n  }\n}\n",
        ),
        (
            "{\"mcpServers\": {\"a\": 1, \"flotilla\": {}, \"b\": 2}}",
            "{\"mcpServers\": {\"a\": 1, \"b\": 2}}",
        ),
        (
            "{\"mcpServers\": {\"a\": 1, \"flotilla\": {}}}",
            "{\"mcpServers\": {\"a\": 1}}",
        ),
        (
            "{\"mcpServers\": {\"flotilla\": {}}}",
            "{\"mcpServers\": {}}",
        ),
        (
            "{\"mcpServers\": {\"a\": 1}}",
            "{\"mcpServers\": {\"a\": 1}}",
        ),
    ] {
        let machine = Machine::new();
        machine.put(CURSOR, before);
        let preview = machine
            .target("Cursor")
            .preview(&entry(), ClientAct::Disconnect)
            .unwrap();
        assert_eq!(preview.after, after);
    }
    let machine = Machine::new();
    machine.put(
        ".codex/config.toml",
        "a = 1\r\n\r\n[mcp_servers.flotilla]\r\nurl = \"x\"\r\n\r\n[z]\r\n",
    );
    let preview = machine
        .target("Codex")
        .preview(&entry(), ClientAct::Disconnect)
        .unwrap();
    assert_eq!(preview.after, "a = 1\r\n\r\n[z]\r\n");
}

#[test]
fn what_is_too_odd_is_refused_and_yaml_is_for_pasting() {
    let machine = Machine::new();
    for text in [
        "[]",
        "{\"mcpServers\": []}",
        "{\"mcpServers\": null}",
        "{",
        "{\"mcpServers\": {} ",
        "nonsense",
    ] {
        machine.put(CURSOR, text);
        let target = machine.target("Cursor");
        let error = target.preview(&entry(), ClientAct::Connect).unwrap_err();
        assert!(
            matches!(error, ClientError::Shape { .. }),
            "{text}: {error}"
        );
    }
    let shown = machine.target("Cursor").shown(&entry(), &[]);
    assert_eq!(shown.entry, ClientEntry::Unknown);
    assert!(shown.refused.is_some());
    let goose = machine.target("Goose");
    assert!(matches!(
        goose.preview(&entry(), ClientAct::Connect),
        Err(ClientError::Refused { .. })
    ));
    let shown = goose.shown(&entry(), &[]);
    assert!(shown.paste.contains("uri: http://127.0.0.1:8720/mcp"));
    assert!(shown.refused.is_some_and(|why| why.contains("YAML")));
    fs::write(machine.home(CURSOR), b"\xff\xfe{}").unwrap();
    assert!(matches!(
        machine
            .target("Cursor")
            .preview(&entry(), ClientAct::Connect),
        Err(ClientError::File { .. })
    ));
}

#[test]
fn which_files_are_offered() {
    let machine = Machine::new();
    machine.put(
        CURSOR,
        "{\"mcpServers\": {\"flotilla\": {\"url\": \"http://127.0.0.1:1/mcp\"}}}",
    );
    fs::create_dir_all(machine.home(".codeium")).unwrap();
    fs::create_dir_all(machine.home(".claude")).unwrap();
    fs::create_dir_all(machine.dir.path().join("project")).unwrap();
    let list: Vec<ClientTarget> = targets(&machine.paths(true))
        .iter()
        .map(|target| target.shown(&entry(), &[]))
        .collect();
    let of = |client: &str| -> Vec<&ClientTarget> {
        list.iter().filter(|t| t.client == client).collect()
    };
    assert_eq!(of("Cursor").len(), 2, "the user's and the project's");
    assert_eq!(
        (of("Cursor")[0].entry, of("Cursor")[0].exists),
        (ClientEntry::Differs, true)
    );
    assert_eq!(
        of("Windsurf").len(),
        1,
        "the one whose folder is there: {:?}",
        of("Windsurf")
    );
    assert!(of("Claude Code")[0].installed);
    assert!(!of("Zed")[0].installed);
    assert!(
        list.iter().all(|t| !t.path.ends_with("User/settings.json")),
        "VS Code has a file of its own for servers"
    );
    let file = machine.put(".codeium/windsurf/mcp_config.json", "{}");
    let offered: Vec<PathBuf> = targets(&machine.paths(false))
        .into_iter()
        .filter(|target| target.client == "Windsurf")
        .map(|target| target.path)
        .collect();
    assert_eq!(offered, [file], "its folder speaks for no other file");
    let env: BTreeMap<String, String> = [("HOME".to_owned(), "/h".to_owned())].into();
    assert!(Paths::of(&env, None).is_some_and(|paths| targets(&paths).len() > 10));
}

#[test]
fn written_and_undone() {
    let machine = Machine::new();
    let path = machine.put(CURSOR, "{}");
    let target = machine.target("Cursor");
    let folder = machine.backups();
    let backups = Backups::In(&folder);
    let preview = target.preview(&entry(), ClientAct::Connect).unwrap();
    let shown = preview.shown(&target);
    assert!(shown.changes && shown.diff.iter().any(|line| line.sign == DiffSign::Added));
    // Without a copy nothing is written.
    let no_folder = machine.put("no-folder", "");
    assert!(write(&target, &preview, Backups::In(&no_folder), 6).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
    let written = write(&target, &preview, backups, 7).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), preview.after);
    assert_eq!(backups.records(), std::slice::from_ref(&written));
    let offered = |file: &Target| file.shown(&entry(), &backups.records()).undo;
    assert_eq!(offered(&target), Some(written.id.clone()));
    assert_eq!(offered(&machine.target("Windsurf")), None, "another file");
    // Twice from the same preview: the file is another one now.
    assert!(matches!(
        write(&target, &preview, backups, 8),
        Err(ClientError::Conflict { .. })
    ));
    // Somebody goes on with it.
    fs::write(&path, format!("{} ", preview.after)).unwrap();
    assert_eq!(offered(&target), None, "somebody has built on it");
    let error = undo(&written, backups).unwrap_err();
    assert!(matches!(error, ClientError::Changed { .. }), "{error}");
    assert!(error.to_string().contains("both are kept"));
    assert!(Path::new(written.backup.as_deref().unwrap()).exists());
    // And takes it back.
    fs::write(&path, &preview.after).unwrap();
    assert!(undo(&written, backups).unwrap().exists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
    assert_eq!(backups.records(), []);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert!(undo(&written, backups).is_ok(), "twice does no harm");
}

#[test]
fn a_hash_stands_for_what_was_shown() {
    let machine = Machine::new();
    let hash = |url: &str| {
        let entry = Entry::new(url, "/opt/flotilla");
        let preview = machine.target("Cursor").preview(&entry, ClientAct::Connect);
        preview.unwrap().hash()
    };
    let without_file = hash(URL);
    assert_ne!(without_file, hash("http://127.0.0.1:1/mcp"), "another text");
    machine.put(CURSOR, "");
    let empty_file = hash(URL);
    assert_ne!(without_file, empty_file, "no file is not an empty one");
    machine.put(CURSOR, "{}");
    assert_ne!(empty_file, hash(URL), "another file");
}

#[test]
fn only_the_latest_changes_are_kept() {
    let machine = Machine::new();
    let folder = machine.backups();
    let backups = Backups::In(&folder);
    for at in 1..=3 {
        machine.put(CURSOR, &format!("{{\"a\": {at}}}"));
        let target = machine.target("Cursor");
        let preview = target.preview(&entry(), ClientAct::Connect).unwrap();
        write(&target, &preview, backups, at).unwrap();
    }
    backups.keep_latest(1);
    let left: Vec<_> = backups.records().iter().map(|record| record.at).collect();
    assert_eq!((left, fs::read_dir(&folder).unwrap().count()), (vec![3], 2));
}

#[test]
fn without_the_program_a_client_that_only_starts_programs_is_not_written() {
    let machine = Machine::new();
    let unknown = Entry::new(URL, "");
    let desktop = machine.target("Claude Desktop");
    assert!(desktop.preview(&unknown, ClientAct::Connect).is_err());
    let shown = desktop.shown(&unknown, &[]);
    assert!(
        shown
            .refused
            .is_some_and(|why| why.contains("was not found"))
    );
    assert!(
        shown.paste.contains(r#""command": "flotilla""#),
        "{}",
        shown.paste
    );
    assert!(
        machine
            .target("Cursor")
            .preview(&unknown, ClientAct::Connect)
            .is_ok()
    );
}

#[test]
fn a_file_that_was_made_goes_with_its_folders() {
    let machine = Machine::new();
    fs::create_dir_all(machine.home("")).unwrap();
    let target = machine.target("Windsurf");
    let preview = target.preview(&entry(), ClientAct::Connect).unwrap();
    let written = write(&target, &preview, Backups::Beside, 1).unwrap();
    assert!(target.path.is_file());
    assert!(!undo(&written, Backups::Beside).unwrap().exists);
    assert_eq!(fs::read_dir(machine.home("")).unwrap().count(), 0);
    assert!(undo(&written, Backups::Beside).is_ok());
}

#[cfg(unix)]
#[test]
fn links_and_permissions_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let machine = Machine::new();
    let real = machine.put("dotfiles/cursor.json", "{}");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    fs::create_dir_all(machine.home(".cursor")).unwrap();
    symlink(&real, machine.home(CURSOR)).unwrap();
    let target = machine.target("Cursor");
    let preview = target.preview(&entry(), ClientAct::Connect).unwrap();
    let written = write(&target, &preview, Backups::Beside, 1).unwrap();
    assert!(machine.home(CURSOR).is_symlink());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&real), 0o640);
    let backup = PathBuf::from(written.backup.clone().unwrap());
    assert_eq!((backup.parent(), mode(&backup)), (real.parent(), 0o600));
    undo(&written, Backups::Beside).unwrap();
    assert_eq!(
        (fs::read_to_string(&real).unwrap(), mode(&real)),
        ("{}".into(), 0o640)
    );
    // A link that leads nowhere is nobody's file.
    fs::remove_file(&real).unwrap();
    assert!(
        machine
            .target("Cursor")
            .preview(&entry(), ClientAct::Connect)
            .is_err()
    );
}

/// Texts of clients' files as odd as they come: pieces that need not fit together.
fn odd_json() -> impl Strategy<Value = String> {
    let blank = prop::sample::select(vec![
        "",
        " ",
        "\t",
        "\n",
        "\r\n",
        "  \r\n\t",
        "// c, {\n",
        "/* } */",
        "/*,*/ ",
    ]);
    let value = prop::sample::select(vec![
        "1",
        "\"é\\\"\"",
        "[1, 2,]",
        "{}",
        "{ \"command\": \"x\", }",
        "null",
        "{\r\n\t\"url\": \"u\" // c\r\n}",
        "{\"url\":\"http://127.0.0.1:1/mcp\"}",
    ]);
    let name = prop::sample::select(vec!["a", "flotilla", "b c", "mcpServers"]);
    let pair = (blank.clone(), name, blank.clone(), value, blank.clone());
    let servers = prop::collection::vec(pair.clone(), 0..4);
    let others = prop::collection::vec(pair, 0..3);
    let object = |pairs: Vec<(&str, &str, &str, String, &str)>, trailing: bool, end: &str| {
        let mut text = String::from("{");
        let count = pairs.len();
        for (index, (a, name, b, value, c)) in pairs.into_iter().enumerate() {
            let comma = if index + 1 < count || trailing {
                ","
            } else {
                ""
            };
            text.push_str(&format!("{a}\"{name}\"{b}:{value}{c}{comma}"));
        }
        format!("{text}{end}}}")
    };
    (
        prop::sample::select(vec!["", "\u{feff}"]),
        blank.clone(),
        servers,
        others,
        any::<(bool, bool, bool)>(),
        blank.clone(),
        blank,
    )
        .prop_map(
            move |(bom, lead, servers, others, (t1, t2, has), end, tail)| {
                let own = |pairs: Vec<(
                    &'static str,
                    &'static str,
                    &'static str,
                    &'static str,
                    &'static str,
                )>| {
                    pairs
                        .into_iter()
                        .map(|(a, n, b, v, c)| (a, n, b, v.to_owned(), c))
                        .collect::<Vec<_>>()
                };
                let inner = object(own(servers), t1, end);
                let mut pairs = own(others);
                if has {
                    pairs.push((end, "mcpServers", "", inner, ""));
                }
                format!("{bom}{lead}{}{tail}", object(pairs, t2, end))
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_written_to_json_is_what_was_meant_and_undoing_it_is_exact(
        text in prop_oneof![odd_json(), "\\PC{0,40}", Just(String::new()), Just("\u{feff}".into()), Just("// x".into())],
        act in prop::sample::select(vec![ClientAct::Connect, ClientAct::Disconnect]),
        beside in any::<bool>(),
    ) {
        exact(CURSOR, "Cursor", &text, act, beside)?;
    }

    #[test]
    fn what_is_written_to_toml_is_what_was_meant_and_undoing_it_is_exact(
        bom in prop::sample::select(vec!["", "\u{feff}"]),
        lines in prop::collection::vec(prop::sample::select(vec![
            "# c", "", "a = 1", "b = { x = 1 }", "[mcp_servers]", "[mcp_servers.a]", "command = \"x\"", "[mcp_servers.flotilla]",
            "url = \"u\" # c", "[z]", "mcp_servers.q.url = \"x\"", "[[t]]", "s = '''x\ny'''", "mcp_servers = {}",
        ]), 0..8),
        ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n"]), 8),
        open in any::<bool>(),
        act in prop::sample::select(vec![ClientAct::Connect, ClientAct::Disconnect]),
    ) {
        let mut text: String = lines.iter().zip(&ends).map(|(line, end)| format!("{line}{end}")).collect();
        if open {
            text = text.trim_end().to_owned();
        }
        exact(".codex/config.toml", "Codex", &format!("{bom}{text}"), act, false)?;
    }
}

/// Writes and undoes; a file that is refused is left as it was.
fn exact(
    file: &str,
    client: &str,
    text: &str,
    act: ClientAct,
    beside: bool,
) -> Result<(), TestCaseError> {
    let machine = Machine::new();
    let path = machine.put(file, text);
    let target = machine.target(client);
    let folder = machine.backups();
    let backups = if beside {
        Backups::Beside
    } else {
        Backups::In(&folder)
    };
    let Ok(preview) = target.preview(&entry(), act) else {
        return Ok(());
    };
    let before = target.value(text).unwrap();
    let after = target.value(&preview.after).unwrap();
    let place = target.dialect.place(&before);
    let name = target.name(target.servers(&before, &place), &entry());
    if preview.changes() {
        let wanted = (act == ClientAct::Connect).then(|| target.dialect.entry(&entry()));
        let meant = edited(before.clone(), &place, &name, wanted);
        prop_assert_eq!(without_empty(after, &place), without_empty(meant, &place));
    }
    prop_assert_eq!(
        preview.after.starts_with('\u{feff}'),
        text.starts_with('\u{feff}')
    );
    if act == ClientAct::Connect {
        fs::write(&path, &preview.after).unwrap();
        prop_assert_eq!(target.look(&entry()).unwrap().0, ClientEntry::Current);
        prop_assert!(!target.preview(&entry(), act).unwrap().changes());
        fs::write(&path, text).unwrap();
    }
    let written = write(&target, &preview, backups, 1).unwrap();
    prop_assert_eq!(&fs::read_to_string(&path).unwrap(), &preview.after);
    prop_assert!(undo(&written, backups).unwrap().exists);
    prop_assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
    prop_assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    Ok(())
}
