//! The engine of this process, from start to end.

use crate::{GUARD, link::Link};
use flotilla_contract::{ErrorCode, WireError};
use flotilla_engine::{Engine, Options, StartError};
use flotilla_remote::{Client, Source};
use flotilla_server::{ServeOptions, Serving};
use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tauri::{AppHandle, Manager};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// How long the whole fleet may take to stop before this process ends anyway; the guard kills what is left.
const DEADLINE: Duration = Duration::from_secs(30);

/// The engine's owner, and the link to it.
pub(crate) struct Host {
    link: Link,
    running: Mutex<Option<Running>>,
    quitting: AtomicBool,
}

struct Running {
    engine: Engine,
    serving: Option<Serving>,
    closing: CancellationToken,
}

impl Host {
    /// Starts an engine on the home, or attaches to the one that owns it. Never fails: a window that says why beats none.
    pub(crate) async fn open(home: &Path) -> Self {
        let (link, running) = match start(home).await {
            Ok((engine, running)) => (engine, Some(running)),
            Err(link) => (link, None),
        };
        Self {
            link,
            running: Mutex::new(running),
            quitting: AtomicBool::new(false),
        }
    }

    pub(crate) fn link(&self) -> Link {
        self.link.clone()
    }

    /// Whether the fleet ends with this process.
    pub(crate) fn owns_the_fleet(&self) -> bool {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    pub(crate) fn is_quitting(&self) -> bool {
        self.quitting.load(Ordering::SeqCst)
    }
}

async fn start(home: &Path) -> Result<(Link, Running), Link> {
    let nowhere = |why: String| Link::Nowhere(WireError::new(ErrorCode::Unreachable, why));
    let program =
        std::env::current_exe().map_err(|e| nowhere(format!("find this program: {e}")))?;
    let options = Options {
        home: home.into(),
        config: None,
        bridge: flotilla_remote::bridge(&program, home),
        guard: vec![program.into(), GUARD.into()],
        production: false,
        // As the configuration says.
        sample_interval: None,
    };
    match Engine::start(options).await {
        Ok(engine) => {
            let closing = CancellationToken::new();
            let handle = engine.handle();
            let (dashboard_port, stream_port) = handle.socket_ports();
            let options = ServeOptions {
                port: handle.panel_port(),
                gateway_port: handle.gateway_port(),
                dashboard_port,
                stream_port,
                ..ServeOptions::default()
            };
            let serving = match flotilla_server::serve(handle.clone(), options, closing.clone())
                .await
            {
                Ok(serving) => Some(serving),
                Err(error) => {
                    // The window works without.
                    error!(%error, "the panel is not served");
                    handle.notice(format!(
                        "The panel is not served: {error}. Browsers and the command line do not reach this engine until its next start."
                    ));
                    None
                }
            };
            Ok((
                Link::Here(handle),
                Running {
                    engine,
                    serving,
                    closing,
                },
            ))
        }
        Err(StartError::Owned { .. }) => {
            info!("another engine owns the home; this window attaches to it");
            match Client::connect(Source::Home(home.into()), "panel").await {
                Ok(client) => Err(Link::There(client)),
                Err(error) => Err(nowhere(format!(
                    "attach to the engine that owns the home: {error}"
                ))),
            }
        }
        Err(error) => {
            error!(%error, "no engine");
            Err(nowhere(format!("start the engine: {error}")))
        }
    }
}

/// Quits when the system, or a caller of the engine, asks for it.
pub(crate) fn watch_ends(app: &AppHandle) {
    let (link, app) = (app.state::<Host>().link(), app.clone());
    tauri::async_runtime::spawn(async move {
        let asked = async {
            match link {
                Link::Here(handle) => handle.shutdown_requested().await,
                Link::There(_) | Link::Nowhere(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = asked => {}
            () = signalled() => {}
        }
        quit(&app);
    });
}

#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        },
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn signalled() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Stops the fleet if this process owns it, then ends the process. Asked twice, it ends at once.
pub(crate) fn quit(app: &AppHandle) {
    let host = app.state::<Host>();
    if host.quitting.swap(true, Ordering::SeqCst) {
        app.exit(0);
        return;
    }
    let running = host
        .running
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let app = app.clone();
    tauri::async_runtime::spawn(async move {
        if let Some(Running {
            engine,
            serving,
            closing,
        }) = running
        {
            let orderly = async {
                closing.cancel();
                if let Some(serving) = serving {
                    serving.closed().await;
                }
                engine.shutdown().await;
            };
            if tokio::time::timeout(DEADLINE, orderly).await.is_err() {
                warn!("the fleet did not stop in time; the guard kills what is left");
            }
        }
        app.exit(0);
    });
}
