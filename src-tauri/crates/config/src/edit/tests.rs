use super::*;
use proptest::prelude::*;
use serde_json::json;

const FLEET: &str = r#"# The fleet of the docs team.
# Ask before changing it.

profile = "test" # quick probes

# Answers questions.
[servers.docs]
command = "uvx" # from PyPI
args = ["docs"]
health = { interval = "5s" } # often

# Fetches pages.
[servers.fetch]
command = "uvx"

  [servers.fetch.env]
  # Which proxy.
  PROXY = "http://proxy"

[servers.last]
url = "https://last.example/mcp"
# the end
"#;

fn id(name: &str) -> ServerId {
    name.parse().unwrap()
}

/// The fleet after keys of a server were set.
fn edited(server: &str, values: serde_json::Value) -> Result<String, EditError> {
    set(FLEET, &id(server), &serde_json::from_value(values).unwrap())
}

#[test]
fn a_value_is_replaced_where_it_stands() {
    let text = edited(
        "docs",
        json!({ "command": "pipx", "health.interval": "9s", "health.timeout": "1s" }),
    )
    .unwrap();
    let expected = FLEET
        .replace(
            "command = \"uvx\" # from PyPI",
            "command = \"pipx\" # from PyPI",
        )
        .replace(
            "{ interval = \"5s\" }",
            "{ interval = \"9s\" , timeout = \"1s\" }",
        );
    assert_eq!(text, expected);
}

#[test]
fn keys_are_added_and_removed() {
    let text = edited("fetch", json!({ "replicas": 3, "env.TOKEN": { "secret": "t" }, "env.PROXY": null, "restart.max_restarts": "unlimited" })).unwrap();
    assert!(text.contains("# Fetches pages.\n[servers.fetch]\ncommand = \"uvx\"\nreplicas = 3\nrestart = { max_restarts = \"unlimited\" }\n"), "{text}");
    assert!(
        text.contains("[servers.fetch.env]\n")
            && text.contains("TOKEN = { secret = \"t\" }")
            && !text.contains("PROXY"),
        "{text}"
    );
    assert!(text.ends_with("# the end\n"));
    let back = set(
        &text,
        &id("fetch"),
        &[("restart.max_restarts".to_owned(), json!(null))].into(),
    )
    .unwrap();
    assert!(
        !back.contains("restart"),
        "a table that was left empty goes too: {back}"
    );
}

#[test]
fn a_table_keeps_the_comments_of_the_keys_that_stay() {
    let text = edited(
        "fetch",
        json!({ "env": { "PROXY": "http://other", "NEW": "1" } }),
    )
    .unwrap();
    assert!(
        text.contains("# Which proxy.\n  PROXY = \"http://other\"\n")
            && text.contains("NEW = \"1\""),
        "{text}"
    );
}

#[test]
fn what_would_not_be_valid_is_refused_with_its_place() {
    let error = edited("docs", json!({ "replicas": 99 })).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 11, column 12: servers.docs.replicas: found the number 99; accepted is a whole number from 0 to 64"
    );
    assert!(matches!(
        edited("docs", json!({ "no such": 1 })),
        Err(EditError::Key { .. })
    ));
    assert!(matches!(
        edited("docs", json!({ "args": [null] })),
        Err(EditError::Value { .. })
    ));
    assert_eq!(
        edited("none", json!({})),
        Err(EditError::NoServer(id("none")))
    );
    assert!(matches!(
        set("x = 1", &id("a"), &BTreeMap::new()),
        Err(EditError::Invalid(_))
    ));
}

#[test]
fn a_server_goes_with_its_comment_and_nothing_else() {
    let text = remove_server(FLEET, &id("fetch")).unwrap();
    assert!(!text.contains("etch") && !text.contains("PROXY"), "{text}");
    assert!(
        text.contains("# often\n")
            && text.contains("[servers.last]")
            && text.ends_with("# the end\n"),
        "{text}"
    );
    let text = remove_server("# Ours.\n\n# About a.\n[servers.a]\ncommand = \"x\"\n\n# About b.\n[servers.b]\ncommand = \"y\"\n", &id("a")).unwrap();
    assert_eq!(
        text,
        "# Ours.\n\n# About b.\n[servers.b]\ncommand = \"y\"\n"
    );
    let text = remove_server("# Ours.\n\n[servers.a]\ncommand = \"x\"\n", &id("a")).unwrap();
    assert_eq!(text, "# Ours.\n\n");
    let needed =
        "[servers.a]\ncommand = \"x\"\n[servers.b]\ncommand = \"x\"\ndepends_on = [\"a\"]\n";
    assert_eq!(
        remove_server(needed, &id("a")).unwrap_err().to_string(),
        "remove a: b depends on it; take it out of their depends_on first"
    );
}

#[test]
fn a_server_is_disabled_and_enabled() {
    let off = set_enabled(FLEET, &id("docs"), false, Some("too slow")).unwrap();
    assert!(off.contains("disabled = \"too slow\""));
    assert!(
        set_enabled(FLEET, &id("docs"), false, None)
            .unwrap()
            .contains("disabled = true")
    );
    assert_eq!(set_enabled(&off, &id("docs"), true, None).unwrap(), FLEET);
}

fn server(name: &str) -> AddParams {
    serde_json::from_value(json!({ "name": name, "command": "npx" })).unwrap()
}

#[test]
fn a_server_is_added_at_the_end() {
    let mut new = server("new.one");
    new.args = vec!["-y".into(), "pkg".into()];
    new.port = Some(8100);
    new.env = [
        ("A".to_owned(), SpecValue::text("1")),
        ("B".to_owned(), SpecValue::Secret { name: "b".into() }),
    ]
    .into();
    let text = add_server(FLEET, &new).unwrap();
    let added = "\n[servers.\"new.one\"]\ncommand = \"npx\"\nargs = [\"-y\", \"pkg\"]\nenv = { A = \"1\", B = { secret = \"b\" } }\nport = 8100\n";
    assert_eq!(text.replace(added, ""), FLEET, "{text}");
    assert_eq!(
        add_server(&text, &new),
        Err(EditError::Exists(new.name.clone()))
    );
    assert_eq!(
        add_server("", &server("a")).unwrap(),
        "\n[servers.a]\ncommand = \"npx\"\n".trim_start()
    );
    let comments = "# The fleet.\n#\n# [servers.example]\n";
    let added = add_server(comments, &server("a")).unwrap();
    assert_eq!(
        added,
        format!("{comments}\n[servers.a]\ncommand = \"npx\"\n")
    );
    let removed = remove_server(&added, &id("a")).unwrap();
    assert_eq!(removed.trim_end(), comments.trim_end());
}

#[test]
fn other_ways_to_write_servers_are_edited_too() {
    for text in [
        "servers = { a = { command = \"x\" } }\n",
        "servers.a.command = \"x\"\n",
        "[servers]\na = { command = \"x\" }\n",
        "[servers]\na.command = \"x\"\n",
    ] {
        let more = add_server(text, &server("b")).unwrap();
        let more = set(
            &more,
            &id("a"),
            &[
                ("health.interval".to_owned(), json!("1s")),
                ("env.K".to_owned(), json!("v")),
            ]
            .into(),
        )
        .unwrap();
        let fleet = parse(&more).unwrap();
        assert_eq!(fleet.servers.len(), 2, "{more}");
        assert_eq!(fleet.servers[0].health.interval_ms, 1_000, "{more}");
        let fewer = remove_server(&more, &id("a")).unwrap();
        assert_eq!(parse(&fewer).unwrap().servers.len(), 1, "{fewer}");
    }
}

proptest! {
    #[test]
    fn an_edit_never_touches_the_other_servers(
        names in prop::collection::btree_set("[a-z][a-z0-9.-]{0,6}", 2..6),
        which in any::<prop::sample::Index>(),
        key in prop::sample::select(&["replicas", "env.A", "health.interval", "tags", "restart.delays", "limits.rss"][..]),
        value in prop::sample::select(&["1", "\"x\"", "\"5s\"", "[\"1s\"]", "null", "{}", "\"2MiB\"", "{\"a\": {\"b\": 1}}"][..]),
        comment in "[ a-zé#=\\[\\]]{0,12}",
    ) {
        let text: String = names.iter().map(|name| format!("\n# {comment}\n[servers.\"{name}\"] # {comment}\ncommand = \"{name}\"\n")).collect();
        let names: Vec<ServerId> = names.iter().map(|name| id(name)).collect();
        let target = which.get(&names);
        let before = parse(&text).unwrap();
        let value = serde_json::from_str(value).unwrap();
        let attempts = [
            set(&text, target, &[(key.to_owned(), value)].into()),
            remove_server(&text, target),
            set_enabled(&text, target, false, Some(&comment)),
        ];
        for after in attempts.into_iter().flatten() {
            let fleet = parse(&after).unwrap();
            for other in names.iter().filter(|name| *name != target) {
                prop_assert_eq!(fleet.server(other), before.server(other));
            }
            prop_assert!(after.matches(&format!("# {comment}\n")).count() >= 2 * (names.len() - 1), "{}", after);
        }
    }
}
