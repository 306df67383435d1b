//! The desktop host: a window onto an engine, and the only code that names Tauri.
//!
//! It owns the window, the tray and their life. At start it takes the home and runs the engine in this process, with
//! the same listeners as `flotilla serve`; where another engine owns the home already, it attaches to that one. The
//! [`link::Link`] hides which of the two it is, from the web view as from the tray. Three commands carry everything
//! between web view and engine (`ipc`); no token ever goes there.
//!
//! Closing the window keeps the engine in the tray. Quit (the tray, SIGTERM, or `engine.shutdown`) stops every server in
//! order and then ends; an engine that is only attached to goes on.
//!
//! What it never does: decide anything about a server, or keep a picture of the fleet beyond the tray's summary.

mod host;
mod ipc;
mod link;
mod menu;
mod notify;
mod tray;
mod window;

use std::{path::PathBuf, process::ExitCode};
use tauri::Manager;

/// The argument under which this program becomes the guard of an engine.
pub const GUARD: &str = "__guard";

/// Runs the application until it is quit.
#[must_use]
pub fn run() -> ExitCode {
    start_log();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("failed to start the runtime: {error}")),
    };
    tauri::async_runtime::set(runtime.handle().clone());
    let Some(home) = home() else {
        return fail("failed to find the data folder of this user; name a home in FLOTILLA_HOME");
    };
    let built = tauri::Builder::default()
        .plugin(
            tauri_plugin_single_instance::Builder::new()
                .dbus_id(instance_name(&home))
                .callback(|app, _, _| window::show(app))
                .build(),
        )
        .plugin(window::remembered())
        .plugin(window::locale())
        .plugin(tauri_plugin_notification::init())
        .plugin(tauri_plugin_dialog::init())
        .manage(ipc::Feeds::default())
        .invoke_handler(tauri::generate_handler![
            ipc::call,
            ipc::subscribe,
            ipc::unsubscribe
        ])
        .on_page_load(|view, load| {
            if load.event() == tauri::webview::PageLoadEvent::Started {
                // A page that was left reads nothing any more.
                view.state::<ipc::Feeds>().clear();
            }
        })
        .on_window_event(window::on_event)
        .setup(move |app| {
            let app = app.handle();
            app.manage(tauri::async_runtime::block_on(host::Host::open(&home)));
            host::watch_ends(app);
            window::make(app)?;
            tray::open(app);
            notify::watch(app);
            window::show(app);
            Ok(())
        })
        .build(tauri::generate_context!());
    match built {
        Ok(app) => {
            app.run(window::on_run_event);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&format!("failed to open the window: {error}")),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("flotilla-desktop: {why}");
    ExitCode::FAILURE
}

fn home() -> Option<PathBuf> {
    let home = std::env::var_os("FLOTILLA_HOME")
        .map(PathBuf::from)
        .or_else(flotilla_remote::default_home)?;
    std::path::absolute(home).ok()
}

/// One window per home: the name under which a second launch finds the first.
fn instance_name(home: &std::path::Path) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    home.hash(&mut hasher);
    format!("io.flotilla.panel.h{:016x}", hasher.finish())
}

fn start_log() {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
