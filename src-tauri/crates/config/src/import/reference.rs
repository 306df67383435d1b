//! The fleet that ships with the program: servers of our own, to look at and to try things on.

use super::{Plan, Planned, plan};
use crate::{Fleet, parse};
use flotilla_contract::{ServerId, command::ImportServer, spec::Transport};
use std::collections::{BTreeMap, BTreeSet};
use toml_edit::{DocumentMut, Item, Table};

/// Declares them, as `fleet.toml` would.
const FLEET: &str = include_str!("../../fleet.reference.toml");

/// What bringing them in would do: names are made unique against what is declared already.
#[must_use]
pub fn reference(fleet: &Fleet) -> Plan {
    let mut taken: BTreeSet<String> = fleet.servers.iter().map(|s| s.id.to_string()).collect();
    // Both readings of a text that ships with the program are tested.
    let declared = parse(FLEET).map(|fleet| fleet.servers).unwrap_or_default();
    let mut document: DocumentMut = FLEET.parse().unwrap_or_default();
    let servers = declared.iter().map(|spec| {
        let (id, renamed) = plan::unique(spec.id.as_str(), &taken);
        taken.insert(id.to_string());
        let (kind, runs, ports) = launch(&spec.transport, spec.replicas);
        Planned {
            shown: ImportServer {
                source_name: spec.id.to_string(),
                id,
                kind,
                runs,
                env: BTreeMap::new(),
                secrets: Vec::new(),
                notes: ports.into_iter().chain(renamed).collect(),
                refused: None,
            },
            table: table(&mut document, &spec.id),
            secrets: Vec::new(),
        }
    });
    Plan {
        client: "the reference fleet".to_owned(),
        servers: servers.collect(),
        ticket: uuid::Uuid::new_v4().to_string(),
    }
}

/// Its table, with the text of each value but without the comment above it: that one speaks of the file.
fn table(document: &mut DocumentMut, id: &ServerId) -> Option<Table> {
    let servers = document.get_mut("servers").and_then(Item::as_table_mut)?;
    let mut table = servers.remove(id.as_str())?.into_table().ok()?;
    table.decor_mut().clear();
    table.set_position(None);
    Some(table)
}

/// Its kind, its command line, and on which ports.
fn launch(transport: &Transport, replicas: u32) -> (String, String, Option<String>) {
    let Some(launch) = transport.launch() else {
        return ("url".to_owned(), String::new(), None);
    };
    let words: Vec<&str> = std::iter::once(&launch.command)
        .chain(&launch.args)
        .map(String::as_str)
        .collect();
    let ports = match transport {
        Transport::Http { port, .. } if replicas > 1 => {
            let ports: Vec<String> = (0..replicas)
                .map(|n| (u32::from(*port) + 100 * n).to_string())
                .collect();
            Some(format!(
                "{replicas} instances, on ports {}",
                ports.join(", ")
            ))
        }
        Transport::Http { port, .. } => Some(format!("port {port}")),
        _ => None,
    };
    ("http".to_owned(), words.join(" "), ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_fleet_is_declared_as_it_was_shown() {
        let fleet = parse("[servers.vector_ranking]\nurl = \"http://127.0.0.1:1/mcp\"\n").unwrap();
        let plan = reference(&fleet);
        let shown = plan.shown().servers;
        assert_eq!(shown.len(), 9);
        let names: Vec<String> = shown.iter().map(|s| s.source_name.clone()).collect();
        let applied = plan
            .apply(
                "# mine\n[servers.vector_ranking]\nurl = \"http://127.0.0.1:1/mcp\"\n",
                &names,
            )
            .unwrap();
        assert!(applied.text.starts_with("# mine\n"));
        let after = parse(&applied.text).unwrap();
        assert_eq!(after.servers.len(), 10);
        let find = |id: &str| after.servers.iter().find(|s| s.id.as_str() == id).unwrap();
        assert_eq!(find("semantic_similarity").replicas, 3);
        assert_eq!(find("vector_ranking-2").category, "vectors");
        let similarity = shown.last().unwrap();
        assert_eq!(
            similarity.runs,
            "flotilla-reference semantic_similarity --port {port}"
        );
        assert_eq!(similarity.notes, ["3 instances, on ports 8109, 8209, 8309"]);
    }
}
