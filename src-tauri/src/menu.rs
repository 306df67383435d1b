//! The tray's menu.

use crate::{host, tray::Summary, window};
use serde_json::{Value, json};
use tauri::{
    AppHandle, Manager, Wry,
    menu::{Menu, MenuBuilder, MenuItem, SubmenuBuilder},
};
use tracing::warn;

/// Servers that are listed one by one.
const MAX_LISTED: usize = 12;

const OPEN: &str = "open";
const QUIT: &str = "quit";
const START_ALL: &str = "start-all";
const STOP_ALL: &str = "stop-all";
const RESTART: &str = "restart:";

/// What a line of the menu asks for.
#[derive(Debug, PartialEq)]
enum Wish {
    Open,
    Quit,
    /// A command, and its parameters.
    Run(&'static str, Value),
}

/// The wish behind the id of a line.
fn wish(id: &str) -> Option<Wish> {
    Some(match id {
        OPEN => Wish::Open,
        QUIT => Wish::Quit,
        START_ALL => Wish::Run("server.start", json!({ "all": true })),
        STOP_ALL => Wish::Run("server.stop", json!({ "all": true })),
        other => {
            let server = other.strip_prefix(RESTART)?;
            Wish::Run("server.restart", json!({ "servers": [server] }))
        }
    })
}

/// A line for each server that needs attention, as far as they fit: its text, and the id of its restart.
fn listed(summary: &Summary) -> impl Iterator<Item = (String, String)> {
    let listed = summary.attention.iter().take(MAX_LISTED);
    listed.map(|(server, word)| (format!("{server}: {word}"), format!("{RESTART}{server}")))
}

pub(crate) fn of(app: &AppHandle, summary: &Summary) -> tauri::Result<Menu<Wry>> {
    let line = MenuItem::with_id(app, "summary", &summary.line, false, None::<&str>)?;
    let mut menu = MenuBuilder::new(app).item(&line).separator();
    for (text, id) in listed(summary) {
        let restart = MenuItem::with_id(app, id, "Restart", true, None::<&str>)?;
        menu = menu.item(&SubmenuBuilder::new(app, text).item(&restart).build()?);
    }
    if !summary.attention.is_empty() {
        menu = menu.separator();
    }
    menu.text(START_ALL, "Start all")
        .text(STOP_ALL, "Stop all")
        .separator()
        .text(OPEN, "Open Flotilla")
        .text(QUIT, "Quit")
        .build()
}

pub(crate) fn on_event(app: &AppHandle, id: &str) {
    match wish(id) {
        Some(Wish::Open) => window::show(app),
        Some(Wish::Quit) => host::quit(app),
        Some(Wish::Run(command, params)) => act(app, command, params),
        None => {}
    }
}

/// What comes of it is seen where the tray and the window show the fleet.
fn act(app: &AppHandle, command: &'static str, params: Value) {
    let link = app.state::<host::Host>().link();
    tauri::async_runtime::spawn(async move {
        if let Err(error) = link.call("tray", command, params).await {
            warn!(%error, command, "the tray's command failed");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_contract::{
        Command,
        command::{ServerRestart, ServerStart, ServerStop, Targets},
    };

    /// The command behind a line, understood as the engine does.
    fn run(id: &str) -> (&'static str, Targets) {
        match wish(id) {
            Some(Wish::Run(command, params)) => (command, serde_json::from_value(params).unwrap()),
            other => panic!("{id}: {other:?}"),
        }
    }

    #[test]
    fn every_line_of_the_menu_is_a_command_that_the_engine_knows() {
        let all = Targets {
            all: true,
            ..Targets::default()
        };
        assert_eq!(run(START_ALL), (ServerStart::NAME, all.clone()));
        assert_eq!(run(STOP_ALL), (ServerStop::NAME, all));
        assert_eq!(wish(OPEN), Some(Wish::Open));
        assert_eq!(wish(QUIT), Some(Wish::Quit));
        assert_eq!(wish("summary"), None);

        let names: Vec<String> = (1..=MAX_LISTED + 3).map(|n| format!("s{n}")).collect();
        let summary = Summary {
            attention: names.iter().map(|n| (n.clone(), "failed")).collect(),
            ..Summary::default()
        };
        let lines: Vec<_> = listed(&summary).collect();
        assert_eq!(lines.len(), MAX_LISTED, "a menu has an end");
        for (name, (text, id)) in names.iter().zip(&lines) {
            let one = Targets {
                servers: vec![name.parse().unwrap()],
                ..Targets::default()
            };
            assert_eq!(*text, format!("{name}: failed"));
            assert_eq!(run(id), (ServerRestart::NAME, one));
        }
    }
}
