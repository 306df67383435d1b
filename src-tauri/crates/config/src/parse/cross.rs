//! What only shows when all servers are seen together: dependencies and ports.

use super::{
    read::{Node, suggest},
    server::Read,
};
use flotilla_contract::{
    ServerId,
    spec::{Check, DependencyCondition, Transport},
};
use std::collections::{BTreeMap, BTreeSet};

/// Distance of the ports of two instances.
const PORT_STEP: u32 = 100;

pub(super) fn check(servers: &[Read<'_>], listeners: [(Option<Node<'_>>, Option<u16>, &str); 4]) {
    let by_id: BTreeMap<&ServerId, &Read<'_>> = servers
        .iter()
        .map(|server| (&server.spec.id, server))
        .collect();
    for server in servers {
        dependencies(server, &by_id);
    }
    cycles(servers, &by_id);
    let mut taken = BTreeMap::new();
    for (node, port, whose) in listeners {
        let Some(port) = port.filter(|port| *port > 0) else {
            continue;
        };
        let before: Option<String> = taken.insert(port.into(), whose.into());
        if let (Some(node), Some(other)) = (node, before) {
            node.wrong(format!("port {port} is also the port of {other}"));
        }
    }
    ports(servers, taken);
}

fn dependencies(server: &Read<'_>, by_id: &BTreeMap<&ServerId, &Read<'_>>) {
    let Some(node) = server.fields.get("depends_on") else {
        return;
    };
    let places = node.list().unwrap_or_default();
    // Where an element could not be read, places and dependencies no longer correspond; the list itself is a fair place.
    let place = |index: usize| {
        if places.len() == server.spec.depends_on.len() {
            &places[index]
        } else {
            &node
        }
    };
    let mut seen = BTreeSet::new();
    for (index, dependency) in server.spec.depends_on.iter().enumerate() {
        let (node, id) = (place(index), &dependency.server);
        let Some(target) = by_id.get(id) else {
            let near = suggest(id.as_str(), by_id.keys().map(|id| id.as_str()));
            let near = near
                .map(|near| format!("; did you mean {near}?"))
                .unwrap_or_default();
            node.wrong(format!("there is no server {id}{near}"));
            continue;
        };
        if target.spec.on_demand.is_some() {
            node.wrong(format!(
                "{id} sleeps while no client calls it (on_demand), so nothing can depend on it"
            ));
        }
        if !seen.insert(id) {
            node.wrong(format!("{id} is listed twice"));
        }
        if dependency.condition == DependencyCondition::Healthy
            && target.spec.health.check == Check::None
        {
            node.wrong(format!("{id} can never become healthy, because its check is \"none\"; accepted is condition \"started\""));
        }
    }
}

/// Finds each cycle once, at the first of its servers in the file.
fn cycles(servers: &[Read<'_>], by_id: &BTreeMap<&ServerId, &Read<'_>>) {
    let mut done: BTreeSet<&ServerId> = BTreeSet::new();
    for server in servers {
        let mut path: Vec<&ServerId> = Vec::new();
        // Depth first, with an explicit stack: a chain may be as long as the fleet.
        let mut stack = vec![(&server.spec.id, 0)];
        while let Some((id, next)) = stack.pop() {
            if next == 0 {
                if done.contains(id) {
                    continue;
                }
                if let Some(start) = path.iter().position(|other| *other == id) {
                    report(&path[start..], servers);
                    continue;
                }
                path.push(id);
            }
            match by_id
                .get(id)
                .and_then(|read| read.spec.depends_on.get(next))
            {
                Some(dependency) => {
                    stack.push((id, next + 1));
                    stack.push((&dependency.server, 0));
                }
                None => {
                    path.pop();
                    done.insert(id);
                }
            }
        }
    }
}

fn report(cycle: &[&ServerId], servers: &[Read<'_>]) {
    let Some(first) = servers
        .iter()
        .find(|server| cycle.contains(&&server.spec.id))
    else {
        return;
    };
    let start = cycle
        .iter()
        .position(|id| **id == first.spec.id)
        .unwrap_or(0);
    let mut names: Vec<&str> = cycle[start..]
        .iter()
        .chain(&cycle[..start])
        .map(|id| id.as_str())
        .collect();
    names.push(first.spec.id.as_str());
    let message = format!("servers wait for each other: {}", names.join(" → "));
    match first.fields.get("depends_on") {
        Some(node) => node.wrong(message),
        None => first.fields.wrong(message),
    }
}

/// Two enabled servers must not want the same port, with all their declared instances.
fn ports(servers: &[Read<'_>], mut taken: BTreeMap<u32, String>) {
    for server in servers {
        let spec = &server.spec;
        let (Transport::Http { port, .. }, Some(node)) =
            (&spec.transport, server.fields.get("port"))
        else {
            continue;
        };
        for index in 1..=spec.replicas.max(1) {
            let wanted = u32::from(*port) + PORT_STEP * (index - 1);
            if wanted > 65_535 {
                let node = server.fields.get("replicas").unwrap_or(node);
                node.wrong(format!("instance {index} would listen on port {wanted} (port + 100·(n−1)); the highest is 65535"));
                break;
            }
            if spec.disabled.is_some() {
                continue;
            }
            if let Some(other) = taken.insert(wanted, spec.id.instance(index).to_string()) {
                node.wrong(format!(
                    "port {wanted} of {} is also the port of {other}",
                    spec.id.instance(index)
                ));
                break;
            }
        }
    }
}
