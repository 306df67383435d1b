//! `flotilla`: the headless host of an engine (`serve`), and the operator's commands to whichever engine owns the home.
//!
//! A command reads `engine.json` of the home, speaks to that engine over its control WebSocket and ends with what was
//! observed: text for people, or with `--json` one stable object. It holds no state and starts nothing by itself.
//! Two verbs are not such commands: `serve` is the engine, and `connect` carries an MCP client's standard streams to the gateway.
//! The meaning of every exit code stands in `--help` and `docs/cli.md`.

mod alerts;
mod args;
mod ask;
mod connect;
mod exit;
mod fleet;
mod follow;
mod open;
mod serve;
mod setup;
mod show;
mod table;
mod traffic;
mod workflow;

use args::{Args, Verb};
use clap::Parser;
use exit::Failure;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: flotilla_os::Allocator = flotilla_os::ALLOCATOR;

/// The argument under which this program becomes the guard of an engine.
const GUARD: &str = "__guard";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    // Before anything else: a guard must be small and start at once.
    if words.next().as_deref() == Some(GUARD) {
        flotilla_os::guard::main(&words.next().unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    let args = Args::parse();
    exit::tell(run(&args), args.json)
}

fn run(args: &Args) -> Result<(), Failure> {
    let serving = matches!(args.verb, Verb::Serve(_));
    start_log(args, serving);
    let runtime = if serving {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
    } else {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let runtime =
        runtime.map_err(|e| Failure::other(format!("failed to start the runtime: {e}")))?;
    let end = runtime.block_on(act(args));
    // A read of standard input that nobody waits for any more must not hold the end up.
    runtime.shutdown_background();
    end
}

async fn act(args: &Args) -> Result<(), Failure> {
    let home = args.home()?;
    if let Verb::Serve(options) = &args.verb {
        return serve::serve(&home, options, args.production, args.json).await;
    }
    if let Verb::Connect(options) = &args.verb {
        return connect::connect(&home, options).await;
    }
    let to = ask::Engine::connect(&home).await?;
    let out = show::Out::new(args.json);
    if args.production {
        to.expect_production().await?;
    }
    match &args.verb {
        Verb::Serve(_) | Verb::Connect(_) => Ok(()),
        Verb::Open => open::open(&home, out).await,
        Verb::Status(names) => fleet::status(&to, names, out).await,
        Verb::List => fleet::list(&to, out).await,
        Verb::Health(names) => fleet::health(&to, names, out).await,
        Verb::Start(names) => fleet::start(&to, names, out).await,
        Verb::Stop(stop) => fleet::stop(&to, stop, out).await,
        Verb::Restart(restart) => fleet::restart(&to, restart, out).await,
        Verb::Scale(scale) => fleet::scale(&to, scale, out).await,
        Verb::Logs(logs) => follow::logs(&to, logs, out).await,
        Verb::Events(events) => follow::events(&to, events, out).await,
        Verb::Add(add) => setup::add(&to, add, out).await,
        Verb::Remove(remove) => setup::remove(&to, remove, out).await,
        Verb::Import(import) => setup::import(&to, import, out).await,
        Verb::Gateway => traffic::gateway(&to, out).await,
        Verb::Calls(calls) => traffic::calls(&to, calls, out).await,
        Verb::Breaker(breaker) => traffic::breaker(&to, breaker, out).await,
        Verb::Cache(cache) => traffic::cache(&to, cache, out).await,
        Verb::Fault(fault) => traffic::fault(&to, fault, out).await,
        Verb::Workflow(verb) => workflow::workflow(&to, verb, out).await,
        Verb::Alerts { act } => alerts::alerts(&to, act.as_ref(), out).await,
        Verb::Doctor => setup::doctor(&to, out).await,
        Verb::Secret(secret) => setup::secret(&to, secret, out).await,
        Verb::Config(config) => setup::config(&to, config, out).await,
    }
}

fn start_log(args: &Args, serving: bool) {
    let level = match (args.verbose, serving) {
        (0, false) => "warn",
        (0, true) => "info",
        (1, _) => "info,flotilla=debug",
        _ => "debug,flotilla=trace",
    };
    // The crates are named flotilla_…; a prefix is a target of its own in a filter.
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if args.production {
        log.json().init()
    } else {
        log.with_ansi(show::colours(&std::io::stderr())).init()
    }
}
