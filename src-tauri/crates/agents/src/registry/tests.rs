use super::*;
use crate::agent_of_server;
use flotilla_contract::{
    ServerSpec,
    agent::Capability,
    spec::{HealthCheck, Limits, RestartPolicy, Transport},
};
use proptest::prelude::*;
use serde_json::json;

/// `"id category tag,tag capability,capability"`.
fn agent(text: &str) -> Agent {
    let mut words = text.split_whitespace();
    let mut word = || words.next().unwrap_or_default().to_owned();
    let list = |text: String| {
        text.split(',')
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let capability = |name| Capability {
        name,
        description: None,
        input_schema: json!({}),
        output_schema: json!({}),
    };
    let (id, category, tags, capabilities) = (word(), word(), list(word()), list(word()));
    Agent {
        name: format!("The {id}"),
        id,
        version: "1.0.0".into(),
        capabilities: capabilities.into_iter().map(capability).collect(),
        tags,
        category,
        enabled: true,
        deployed_at: 1,
        config: json!({}),
        work: None,
    }
}

fn registry(agents: &[&str]) -> Registry {
    let (registry, errors) = Registry::restore(agents.iter().map(|text| agent(text)));
    assert_eq!(errors, []);
    registry
}

fn ids<'a>(agents: impl Iterator<Item = &'a Agent>) -> String {
    agents
        .map(|agent| agent.id.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn deploying_again_replaces_all_but_the_operators_word_and_the_first_time() {
    let mut registry = Registry::default();
    assert_eq!(
        registry.deploy(agent("echo utility")),
        Ok(Some(Change::Deployed(agent("echo utility"))))
    );
    assert_eq!(
        registry.deploy(agent("echo utility")),
        Ok(None),
        "nothing changed"
    );
    assert!(
        matches!(registry.set_enabled("echo", false), Ok(Some(Change::Updated(a))) if !a.enabled)
    );
    assert_eq!(registry.set_enabled("echo", false), Ok(None));

    let again = Agent {
        deployed_at: 99,
        ..agent("echo utility test chat")
    };
    let expected = Agent {
        enabled: false,
        deployed_at: 1,
        ..again.clone()
    };
    assert_eq!(
        registry.deploy(again),
        Ok(Some(Change::Updated(expected.clone())))
    );
    assert_eq!(registry.get("echo"), Some(&expected));

    assert_eq!(registry.remove("echo"), Ok(Change::Removed("echo".into())));
    assert_eq!(registry.remove("echo"), Err(Error::NotFound("echo".into())));
    assert_eq!(
        registry.set_enabled("echo", true),
        Err(Error::NotFound("echo".into()))
    );
}

#[test]
fn one_bad_agent_does_not_keep_the_others_out() {
    let (registry, errors) =
        Registry::restore([agent("a x"), agent("b/c x"), agent("d x"), agent("e")]);
    assert_eq!(ids(registry.list(&AgentFilter::default())), "a d");
    assert_eq!(errors.len(), 2);
    assert!(
        errors[1].to_string().contains("category is \"\""),
        "{}",
        errors[1]
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let mut wrong = agent("- x ,, twice,twice");
    wrong.name = "\t".into();
    wrong.tags = vec![String::new()];
    wrong.config = json!([]);
    wrong.capabilities[0].input_schema = json!(true);
    let problems = crate::problems(&wrong);
    for part in [
        "id: ",
        "name is",
        "tags holds \"\"",
        "config is not",
        "two capabilities are named \"twice\"",
        "input_schema of \"twice\"",
    ] {
        assert!(
            problems.iter().any(|p| p.contains(part)),
            "{part}: {problems:#?}"
        );
    }
    assert_eq!(problems.len(), 6, "{problems:#?}");
}

#[test]
fn a_filter_narrows_by_all_its_conditions() {
    let mut registry = registry(&[
        "echo utility test,basic chat",
        "fetch web net,basic fetch_page",
        "git code net status",
    ]);
    registry.set_enabled("git", false).unwrap();
    let list = |filter: AgentFilter| ids(registry.list(&filter));
    let all = AgentFilter::default;
    assert_eq!(list(all()), "echo fetch git");
    assert_eq!(
        list(AgentFilter {
            enabled: Some(true),
            ..all()
        }),
        "echo fetch"
    );
    assert_eq!(
        list(AgentFilter {
            tags: vec!["net".into(), "test".into()],
            ..all()
        }),
        "echo fetch git"
    );
    assert_eq!(
        list(AgentFilter {
            tags: vec!["net".into()],
            enabled: Some(false),
            ..all()
        }),
        "git"
    );
    assert_eq!(
        list(AgentFilter {
            search: Some("PAGE".into()),
            ..all()
        }),
        "fetch"
    );
    assert_eq!(
        list(AgentFilter {
            search: Some("the e".into()),
            ..all()
        }),
        "echo"
    );
    assert_eq!(
        list(AgentFilter {
            category: Some("web".into()),
            search: Some("chat".into()),
            ..all()
        }),
        ""
    );
    let stats = registry.stats();
    assert_eq!((stats.total, stats.enabled, stats.disabled), (3, 2, 1));
    assert_eq!(
        stats.by_category.keys().collect::<Vec<_>>(),
        ["code", "utility", "web"]
    );
    assert_eq!(
        stats.by_tag,
        BTreeMap::from([("basic".into(), 2), ("net".into(), 2), ("test".into(), 1)])
    );
}

#[test]
fn a_server_is_an_agent_with_its_tools_as_capabilities() {
    let spec = ServerSpec {
        id: "docs".parse().unwrap(),
        category: "search".into(),
        tags: vec!["team-a".into(), "mcp".into()],
        description: Some("Searches the handbook".into()),
        disabled: None,
        transport: Transport::Url {
            url: "http://127.0.0.1:9/mcp".into(),
            headers: BTreeMap::new(),
        },
        replicas: 1,
        autostart: true,
        on_demand: None,
        depends_on: vec![],
        restart: RestartPolicy::default(),
        stop_timeout_ms: 5_000,
        health: HealthCheck::default(),
        limits: Limits::default(),
        metrics_path: None,
        gateway: Default::default(),
    };
    let tools = [
        json!({ "name": "find", "inputSchema": { "type": "object" }, "outputSchema": 7 }),
        json!({ "name": "find" }),
        json!({ "name": "" }),
        json!(3),
    ];
    let agent = agent_of_server(&spec, &tools, 5);
    assert_eq!(
        (
            agent.id.as_str(),
            agent.name.as_str(),
            agent.version.as_str()
        ),
        ("docs", "search MCP Server", "1.0.0")
    );
    assert_eq!(agent.tags, ["mcp", "auto-managed", "search", "team-a"]);
    assert_eq!(agent.category, "search");
    assert!(agent.enabled && agent.deployed_at == 5);
    let capabilities: Vec<_> = agent.capabilities.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(capabilities, ["mcp_server", "find"]);
    assert_eq!(agent.capabilities[1].output_schema, json!({}));
    assert_eq!(crate::problems(&agent), Vec::<String>::new());
}

#[test]
fn the_registry_is_bounded() {
    let mut registry = Registry::default();
    for i in 0..MAX_AGENTS {
        registry.deploy(agent(&format!("a{i} x"))).unwrap();
    }
    assert_eq!(
        registry.deploy(agent("one-more x")),
        Err(Error::Full("one-more".into()))
    );
    assert!(
        registry.deploy(agent("a0 y")).unwrap().is_some(),
        "those that are there can still change"
    );
}

proptest! {
    /// Who applies the changes has the registry.
    #[test]
    fn changes_rebuild_the_registry(ops in prop::collection::vec((0_u8..3, 0_u8..5, 0_u8..3), 0..60)) {
        let (mut registry, mut copy) = (Registry::default(), BTreeMap::new());
        for (op, id, variant) in ops {
            let id = format!("a{id}");
            let change = match op {
                0 => registry.deploy(agent(&format!("{id} c{variant}"))),
                1 => registry.remove(&id).map(Some),
                _ => registry.set_enabled(&id, variant == 0),
            };
            match change.ok().flatten() {
                Some(Change::Deployed(agent) | Change::Updated(agent)) => drop(copy.insert(agent.id.clone(), agent)),
                Some(Change::Removed(id)) => drop(copy.remove(&id)),
                None => {}
            }
            prop_assert_eq!(&registry.agents, &copy);
        }
    }
}
