use flotilla_contract::{
    Millis, ServerSpec,
    agent::{Agent, Capability},
};
use serde_json::{Map, Value, json};

/// The agent that stands for a declared server. `tools` are those it last listed, as it gave them; empty before that.
///
/// A tool without a name, or with one that is taken, is left out; a schema that is missing or no object counts as `{}`.
#[must_use]
pub fn agent_of_server(spec: &ServerSpec, tools: &[Value], deployed_at: Millis) -> Agent {
    let mut capabilities = vec![Capability {
        name: "mcp_server".to_owned(),
        description: spec.description.clone(),
        input_schema: json!({ "type": "object" }),
        output_schema: json!({ "type": "object" }),
    }];
    for capability in tools.iter().filter_map(capability) {
        if capabilities
            .iter()
            .all(|there| there.name != capability.name)
        {
            capabilities.push(capability);
        }
    }
    let mut tags: Vec<String> = Vec::new();
    for tag in ["mcp", "auto-managed", &spec.category]
        .into_iter()
        .chain(spec.tags.iter().map(String::as_str))
    {
        if tags.iter().all(|there| there != tag) {
            tags.push(tag.to_owned());
        }
    }
    Agent {
        id: spec.id.to_string(),
        name: format!("{} MCP Server", spec.category),
        version: "1.0.0".to_owned(),
        capabilities,
        tags,
        category: spec.category.clone(),
        enabled: true,
        deployed_at,
        config: Value::Object(Map::new()),
        work: None,
    }
}

fn capability(tool: &Value) -> Option<Capability> {
    let text = |key: &str| tool.get(key).and_then(Value::as_str).map(str::to_owned);
    let schema = |key: &str| {
        tool.get(key)
            .filter(|schema| schema.is_object())
            .cloned()
            .unwrap_or_else(|| json!({}))
    };
    Some(Capability {
        name: text("name").filter(|name| !name.trim().is_empty())?,
        description: text("description"),
        input_schema: schema("inputSchema"),
        output_schema: schema("outputSchema"),
    })
}
