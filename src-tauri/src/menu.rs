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

pub(crate) fn of(app: &AppHandle, summary: &Summary) -> tauri::Result<Menu<Wry>> {
    let line = MenuItem::with_id(app, "summary", &summary.line, false, None::<&str>)?;
    let mut menu = MenuBuilder::new(app).item(&line).separator();
    for (server, word) in summary.attention.iter().take(MAX_LISTED) {
        let restart = MenuItem::with_id(
            app,
            format!("{RESTART}{server}"),
            "Restart",
            true,
            None::<&str>,
        )?;
        menu = menu.item(
            &SubmenuBuilder::new(app, format!("{server}: {word}"))
                .item(&restart)
                .build()?,
        );
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
    match id {
        OPEN => window::show(app),
        QUIT => host::quit(app),
        START_ALL => act(app, "server.start", json!({ "all": true })),
        STOP_ALL => act(app, "server.stop", json!({ "all": true })),
        other => {
            if let Some(server) = other.strip_prefix(RESTART) {
                act(app, "server.restart", json!({ "servers": [server] }));
            }
        }
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
