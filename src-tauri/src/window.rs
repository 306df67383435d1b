//! The window's life: closing it keeps the engine, quitting ends it.

use crate::{host, tray::Shown};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};
use tauri::{
    AppHandle, Manager, RunEvent, Webview, WebviewWindowBuilder, Window, WindowEvent,
    plugin::TauriPlugin, webview::DownloadEvent,
};
use tauri_plugin_dialog::{DialogExt, MessageDialogButtons, MessageDialogResult};
use tauri_plugin_notification::NotificationExt;
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

/// Makes the window that the configuration describes, hidden.
///
/// # Errors
/// When the platform gives none.
pub(crate) fn make(app: &AppHandle) -> tauri::Result<()> {
    for window in &app.config().app.windows {
        WebviewWindowBuilder::from_config(app, window)?
            .on_download(keep_file)
            .build()?;
    }
    Ok(())
}

/// What the page exports is kept among the user's downloads, else in their home, and said: a web view by itself would
/// drop it without a word. Gives whether the file is wanted.
fn keep_file(view: Webview, event: DownloadEvent<'_>) -> bool {
    let app = view.app_handle();
    match event {
        DownloadEvent::Requested { destination, .. } => {
            let folder = app.path().download_dir().or_else(|_| app.path().home_dir());
            let (Ok(folder), Some(name)) = (folder, destination.file_name()) else {
                return false;
            };
            *destination = free_name(folder.join(name), |path| path.exists());
        }
        DownloadEvent::Finished { path, success, .. } => {
            let (title, body) = match (success, path) {
                (true, Some(path)) => ("Exported", path.display().to_string()),
                (true, None) => ("Exported", "It is among your downloads.".to_owned()),
                (false, _) => ("Not exported", "The file could not be written.".to_owned()),
            };
            if let Err(error) = app.notification().builder().title(title).body(body).show() {
                warn!(%error, "no notification");
            }
        }
        _ => {}
    }
    true
}

/// The path, or one with a number before its extension where it is taken.
fn free_name(path: PathBuf, taken: impl Fn(&Path) -> bool) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_owned();
    let end = path.extension().map(|end| end.to_owned());
    let mut free = path.clone();
    for number in 2.. {
        if !taken(&free) {
            break;
        }
        let mut name = stem.clone();
        name.push(format!(" {number}"));
        if let Some(end) = &end {
            name.push(".");
            name.push(end);
        }
        free.set_file_name(name);
    }
    free
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

/// What is asked where closing the window would leave nothing to be seen, and what its buttons say.
struct Question {
    message: &'static str,
    keep: &'static str,
    quit: &'static str,
}

/// Quitting stops the fleet only where this process owns it.
fn question(owns_the_fleet: bool) -> Question {
    if owns_the_fleet {
        Question {
            message: "This desktop has no tray. Keep the servers running without a window? Starting Flotilla again brings the window back.",
            keep: "Keep running",
            quit: "Stop all and quit",
        }
    } else {
        Question {
            message: "This desktop has no tray, and no server belongs to this window: quitting it stops none. Keep it in the background, for notifications? Starting Flotilla again brings the window back.",
            keep: "Keep in the background",
            quit: "Quit the window",
        }
    }
}

/// Without a tray nothing would show that Flotilla still runs; so the operator decides. Dismissed, the question changes
/// nothing.
fn ask(app: &AppHandle) {
    static ASKING: AtomicBool = AtomicBool::new(false);
    if ASKING.swap(true, Ordering::SeqCst) {
        return;
    }
    let answer = app.clone();
    let Question {
        message,
        keep,
        quit,
    } = question(app.state::<host::Host>().owns_the_fleet());
    app.dialog()
        .message(message)
        .title("Close Flotilla")
        .buttons(MessageDialogButtons::YesNoCancelCustom(
            keep.into(),
            quit.into(),
            "Cancel".into(),
        ))
        .show_with_result(move |pressed| {
            ASKING.store(false, Ordering::SeqCst);
            match pressed {
                MessageDialogResult::Custom(button) if button == keep => hide(&answer),
                MessageDialogResult::Custom(button) if button == quit => host::quit(&answer),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_writes_over_nothing() {
        let taken = ["/d/a.log", "/d/a 2.log"].map(PathBuf::from);
        let free = |path: &str| free_name(path.into(), |path| taken.iter().any(|t| t == path));
        assert_eq!(free("/d/a.log"), PathBuf::from("/d/a 3.log"));
        assert_eq!(free("/d/b.log"), PathBuf::from("/d/b.log"));
    }

    #[test]
    fn a_window_onto_another_engine_promises_to_stop_nothing() {
        let (own, other) = (question(true), question(false));
        assert!(own.quit.contains("Stop all") && own.message.contains("Keep the servers running"));
        assert!(!other.quit.contains("Stop") && other.message.contains("stops none"));
    }
}
