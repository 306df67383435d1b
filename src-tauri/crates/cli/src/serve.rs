//! The headless host.

use crate::{GUARD, args::Serve, exit::Failure};
use flotilla_engine::{Engine, Options, StartError};
use flotilla_server::{ServeOptions, Serving, UiSource};
use serde_json::json;
use std::{io::Write, path::Path, time::Duration};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) async fn serve(
    home: &Path,
    args: &Serve,
    production: bool,
    as_json: bool,
) -> Result<(), Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::other(format!("failed to find this program: {e}")))?;
    let sample_interval = match args.sample_interval {
        None => None,
        Some(seconds @ (0.0 | 0.1..=3600.0)) => Some(Duration::from_secs_f64(seconds)),
        Some(other) => {
            return Err(Failure::usage(format!(
                "failed to use a sample interval of {other} s: 0, or 0.1 to 3600"
            )));
        }
    };
    let options = Options {
        home: home.into(),
        config: args.config.clone(),
        bridge: flotilla_remote::bridge(&program, home),
        guard: vec![program.into(), GUARD.into()],
        production,
        sample_interval,
    };
    if let Some(port @ 1..) = args.port {
        // Looked at before the first server is started; the listener itself comes with the engine.
        std::net::TcpListener::bind((args.host, port)).map_err(|e| {
            Failure::other(format!("failed to listen on {}:{port}: {e}", args.host))
        })?;
    }
    // Signals are caught before the first server is started: from then on an end is an orderly one.
    let mut signals = Signals::new()?;
    let engine = Engine::start(options).await.map_err(refused)?;
    let handle = engine.handle();
    let ui = args.ui.clone().map_or(UiSource::Embedded, UiSource::Dir);
    let closing = CancellationToken::new();
    let (dashboard_port, stream_port) = handle.socket_ports();
    let options = ServeOptions {
        port: args.port.or_else(|| handle.panel_port()),
        gateway_port: args.gateway_port.or_else(|| handle.gateway_port()),
        dashboard_port: args.dashboard_port.or(dashboard_port),
        stream_port: args.stream_port.or(stream_port),
        host: args.host,
        ui,
    };
    let serving = match flotilla_server::serve(handle.clone(), options, closing.clone()).await {
        Ok(serving) => serving,
        Err(error) => {
            engine.shutdown().await;
            return Err(Failure::other(error.to_string()));
        }
    };
    // A reader of this output may have gone; the engine stays.
    let _ = writeln!(std::io::stdout(), "{}", greeting(&serving, home, as_json));
    tokio::select! {
        () = signals.next() => info!("stopping the fleet; a second signal ends at once, and the guard cleans up"),
        () = handle.shutdown_requested() => info!("a shutdown was asked for"),
    }
    let orderly = async {
        closing.cancel();
        serving.closed().await;
        engine.shutdown().await;
    };
    tokio::select! {
        () = orderly => Ok(()),
        () = signals.next() => std::process::exit(130),
    }
}

/// The one line on standard output: where the panel is, once with a key for one browser.
fn greeting(serving: &Serving, home: &Path, as_json: bool) -> String {
    let once = serving
        .one_time_url()
        .inspect_err(|error| warn!(%error, "no one-time address"));
    let panel = once.unwrap_or_else(|_| serving.url());
    if as_json {
        json!({
            "panel": panel,
            "url": serving.url(),
            "gateway": serving.gateway(),
            "home": home,
            "pid": std::process::id(),
        })
        .to_string()
    } else {
        let gateway = serving
            .gateway()
            .map(|gateway| format!("\nGateway: {gateway}"));
        format!("Panel: {panel}{}", gateway.unwrap_or_default())
    }
}

fn refused(error: StartError) -> Failure {
    Failure::other(format!("failed to start an engine: {error}"))
}

/// Requests from outside to end: SIGINT and SIGTERM, or Ctrl+C.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let catch = |kind| {
            signal(kind).map_err(|e| Failure::other(format!("failed to catch signals: {e}")))
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            // The terminal was closed.
            hangup: catch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
