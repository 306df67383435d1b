//! The program: its arguments, one server on one transport, and an end in good order.

use crate::{
    calls::Calls,
    conformance,
    drill::{Drilling, Drills},
    handler::Handler,
    http::{self, Listener},
    service::Host,
    services::{self, Entry},
};
use clap::Parser;
use rmcp::{
    ServiceExt as _,
    transport::streamable_http_server::{
        StreamableHttpService, session::local::LocalSessionManager,
    },
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{net::TcpListener, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Where the token of a server that listens elsewhere than on loopback comes from.
const TOKEN: &str = "FLOTILLA_REFERENCE_TOKEN";

/// What calls that are under way may take after the end was asked for.
const DRAIN: Duration = Duration::from_secs(4);

/// Runs one of the reference MCP servers.
#[derive(Debug, Parser)]
#[command(name = "flotilla-reference", version)]
pub struct Args {
    /// A server's name, `conformance` (the fixture of the official suite), or `list`
    server: String,
    /// Port for streamable HTTP at /mcp; 0 takes a free one. Each server has its own default
    #[arg(long, env = "PORT", conflicts_with = "stdio")]
    port: Option<u16>,
    /// Address to listen on. Any but loopback needs a token in FLOTILLA_REFERENCE_TOKEN
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Speak MCP on standard input and output instead
    #[arg(long)]
    stdio: bool,
    /// Folder for what is to last; without it nothing is written
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Lowest level of what is logged, as JSON lines on standard error
    #[arg(long, env = "MCP_LOG_LEVEL", default_value = "info")]
    log_level: tracing::Level,
    #[command(flatten)]
    drills: Drills,
}

/// What stopped it from running.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("server: there is no {0:?}; there are {1}, conformance")]
    Unknown(String, String),
    #[error(
        "--host {0}: another address than loopback needs a token in {TOKEN} (16 characters at least)"
    )]
    NoToken(IpAddr),
    #[error("--port {1}: cannot listen on {0}:{1}: {2}")]
    Listen(IpAddr, u16, io::Error),
    #[error("--data {folder}: {error}", folder = .0.display(), error = .1)]
    Data(PathBuf, io::Error),
    #[error("{0}")]
    Serve(String),
}

/// Runs it to its end. 0 after an end that was asked for, 1 when it could not run.
pub fn main(args: Args) -> ExitCode {
    if args.server == "list" {
        print!("{}", list());
        return ExitCode::SUCCESS;
    }
    log(args.log_level);
    // One thread: a server takes little, and there are many of them beside each other.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(run(args));
            // Standard input is read on a thread that only the next line would wake.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Failure::Serve(error.to_string())),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("flotilla-reference: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// JSON lines on standard error. Of the libraries only what is wrong: what they say of each session is ours to say.
fn log(level: tracing::Level) {
    let targets = Targets::new()
        .with_default(tracing::Level::WARN.min(level))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(io::stderr);
    tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .init();
}

fn list() -> String {
    let mut table = format!("{:<22} {:>5} {:>6}  {}\n", "server", "port", "tools", "for");
    for entry in services::ALL {
        let service = (entry.make)(&Host::new(None, SystemTime::now));
        table += &format!(
            "{:<22} {:>5} {:>6}  {}\n",
            service.name,
            service.port,
            service.tools.len(),
            service.title
        );
    }
    table
}

async fn run(args: Args) -> Result<(), Failure> {
    if args.server == "conformance" {
        return run_conformance(&args).await;
    }
    let entry = services::find(&args.server).ok_or_else(|| {
        let names: Vec<&str> = services::ALL.iter().map(|entry| entry.name).collect();
        Failure::Unknown(args.server.clone(), names.join(", "))
    })?;
    if let Some(folder) = &args.data {
        std::fs::create_dir_all(folder).map_err(|error| Failure::Data(folder.clone(), error))?;
    }
    let (calls, host) = at_work(entry, &args);
    let clock = {
        let calls = Arc::clone(&calls);
        tokio::spawn(async move { calls.drilling.clock().await })
    };
    let _beats = beats(&calls);
    let ended = if args.stdio {
        serve_stdio(Handler::new(Arc::clone(&calls), host), calls.drained()).await
    } else {
        let listener = listen(&args, calls.service.port).await?;
        let (socket, listener) = listener;
        let ended = listener.ended.clone();
        tracing::info!(server = calls.service.name, address = %listener.address, "ready");
        let router = http::router(&calls, &host, listener);
        serve_http(socket, router, ended, calls.drained()).await
    };
    clock.abort();
    ended
}

/// The fixture has neither drills nor counters: the suite asks for it as it is.
async fn run_conformance(args: &Args) -> Result<(), Failure> {
    let fixture = conformance::Fixture::new();
    if args.stdio {
        return serve_stdio(fixture, async {}).await;
    }
    let (socket, listener) = listen(args, 8120).await?;
    let ended = listener.ended.clone();
    let mcp = StreamableHttpService::new(
        move || Ok(fixture.session()),
        Arc::<LocalSessionManager>::default(),
        http::sdk(ended.clone()),
    );
    tracing::info!(server = "conformance", address = %listener.address, "ready");
    let router = http::guard(axum::Router::new().route_service("/mcp", mcp), listener);
    serve_http(socket, router, ended, async {}).await
}

fn at_work(entry: &Entry, args: &Args) -> (Arc<Calls>, Host) {
    let host = Host::new(args.data.clone(), SystemTime::now);
    let service = host.serve((entry.make)(&host));
    let drilling = Drilling::new(args.drills.clone());
    (Arc::new(Calls::new(service, drilling)), host)
}

/// What the server does without being asked. Ends with the set.
fn beats(calls: &Arc<Calls>) -> JoinSet<()> {
    let mut beats = JoinSet::new();
    for index in 0..calls.service.beats.len() {
        let calls = Arc::clone(calls);
        beats.spawn(async move {
            let Some(beat) = calls.service.beats.get(index) else {
                return;
            };
            let mut ticks = tokio::time::interval(beat.every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first one is at once.
            ticks.tick().await;
            loop {
                ticks.tick().await;
                // A server that hangs does nothing at all.
                calls.drilling.answers().await;
                (beat.run)();
            }
        });
    }
    beats
}

async fn listen(args: &Args, default: u16) -> Result<(TcpListener, Listener), Failure> {
    let token = if args.host.is_loopback() {
        None
    } else {
        let token = std::env::var(TOKEN).ok().filter(|token| token.len() >= 16);
        Some(token.ok_or(Failure::NoToken(args.host))?)
    };
    let port = args.port.unwrap_or(default);
    let failed = |error| Failure::Listen(args.host, port, error);
    let socket = TcpListener::bind(SocketAddr::new(args.host, port))
        .await
        .map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    let listener = Listener {
        address,
        token,
        ended: CancellationToken::new(),
    };
    Ok((socket, listener))
}

/// Serves until the end is asked for, then lets calls finish.
async fn serve_http(
    socket: TcpListener,
    router: axum::Router,
    ended: CancellationToken,
    drained: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let no_more = stop.clone();
    let serving = axum::serve(
        axum::serve::ListenerExt::tap_io(socket, |stream| {
            // Answers are small and awaited: none waits for a fuller packet.
            let _ = stream.set_nodelay(true);
        }),
        router,
    )
    .with_graceful_shutdown(async move { no_more.cancelled().await })
    .into_future();
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        result = &mut serving => return result.map_err(|error| Failure::Serve(error.to_string())),
        () = asked_to_end() => {}
    }
    stop.cancel();
    let finish = async {
        let _ = tokio::time::timeout(DRAIN, drained).await;
        // The last answers are worked out, and on their way through the SDK's streams: those end with the token.
        tokio::time::sleep(Duration::from_millis(50)).await;
        ended.cancel();
        std::future::pending::<()>().await;
    };
    let limit = tokio::time::sleep(DRAIN + Duration::from_secs(1));
    tokio::select! {
        _ = serving => {}
        () = finish => {}
        // A client that keeps its connection open does not keep the server.
        () = limit => {}
    }
    Ok(())
}

/// Serves until input ends, or the end is asked for.
async fn serve_stdio(
    handler: impl rmcp::ServerHandler,
    drained: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let started = handler.serve(rmcp::transport::stdio());
    let running = tokio::select! {
        running = started => running.map_err(|error| Failure::Serve(error.to_string()))?,
        () = asked_to_end() => return Ok(()),
    };
    let token = running.cancellation_token();
    let waiting = running.waiting();
    let mut waiting = std::pin::pin!(waiting);
    tokio::select! {
        _ = &mut waiting => {}
        () = asked_to_end() => {
            let _ = tokio::time::timeout(DRAIN, drained).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            token.cancel();
            let _ = waiting.await;
        }
    }
    Ok(())
}

/// SIGTERM or SIGINT; on other systems Ctrl-C.
async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut int)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
