//! The window's life: closing it keeps the engine, quitting ends it.

use crate::{host, tray::Shown};
use std::sync::atomic::{AtomicBool, Ordering};
use tauri::{AppHandle, Manager, RunEvent, Window, WindowEvent, plugin::TauriPlugin};
use tauri_plugin_dialog::{DialogExt, MessageDialogButtons, MessageDialogResult};
use tauri_plugin_window_state::StateFlags;
use tracing::warn;

const MAIN: &str = "main";

/// Size and place are kept; that it was hidden is not.
pub(crate) fn remembered() -> TauriPlugin<tauri::Wry> {
    tauri_plugin_window_state::Builder::new()
        .with_state_flags(StateFlags::all() & !StateFlags::VISIBLE)
        .build()
}

/// Gives the page a language where the platform's is none.
pub(crate) fn locale() -> TauriPlugin<tauri::Wry> {
    tauri::plugin::Builder::new("locale")
        .js_init_script(include_str!("locale.js"))
        .build()
}

/// Brings the window to the front, wherever it is.
pub(crate) fn show(app: &AppHandle) {
    let Some(window) = app.get_webview_window(MAIN) else {
        return;
    };
    let front = || {
        window.show()?;
        window.unminimize()?;
        window.set_focus()
    };
    if let Err(error) = front() {
        warn!(%error, "the window did not come to the front");
    }
}

pub(crate) fn on_event(window: &Window, event: &WindowEvent) {
    let app = window.app_handle();
    let WindowEvent::CloseRequested { api, .. } = event else {
        return;
    };
    if app.state::<host::Host>().is_quitting() {
        return;
    }
    api.prevent_close();
    if app.state::<Shown>().get() {
        hide(app);
    } else {
        ask(app);
    }
}

fn hide(app: &AppHandle) {
    if let Some(Err(error)) = app.get_webview_window(MAIN).map(|window| window.hide()) {
        warn!(%error, "the window was not hidden");
    }
}

const KEEP: &str = "Keep running";
const STOP: &str = "Stop all and quit";

/// Without a tray nothing would show that the fleet still runs; so the operator decides. Dismissed, the question changes
/// nothing.
fn ask(app: &AppHandle) {
    static ASKING: AtomicBool = AtomicBool::new(false);
    if ASKING.swap(true, Ordering::SeqCst) {
        return;
    }
    let answer = app.clone();
    app.dialog()
        .message("This desktop has no tray. Keep the servers running without a window? Starting Flotilla again brings the window back.")
        .title("Close Flotilla")
        .buttons(MessageDialogButtons::YesNoCancelCustom(KEEP.into(), STOP.into(), "Cancel".into()))
        .show_with_result(move |pressed| {
            ASKING.store(false, Ordering::SeqCst);
            match pressed {
                MessageDialogResult::Custom(button) if button == KEEP => hide(&answer),
                MessageDialogResult::Custom(button) if button == STOP => host::quit(&answer),
                _ => {}
            }
        });
}

pub(crate) fn on_run_event(app: &AppHandle, event: RunEvent) {
    // Only `host::quit` ends the process, after the fleet; the last window going away does not.
    if let RunEvent::ExitRequested { api, code, .. } = event
        && code.is_none()
    {
        api.prevent_exit();
        if app.get_webview_window(MAIN).is_none() {
            host::quit(app);
        }
    }
}
