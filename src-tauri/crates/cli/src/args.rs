//! The command line.

use crate::exit::Failure;
use clap::{ArgAction, Parser, Subcommand};
use flotilla_contract::{
    ServerId,
    gateway::{CallEnd, CallQuery},
};
use std::{net::IpAddr, path::PathBuf};

const EXIT_CODES: &str = "\
Exit codes:
  0  the end asked for was reached
  1  it was not: at least one server failed, or the engine answered with an error
  2  the command line is wrong
  3  no engine runs on this home, or it does not answer
  4  the engine does not accept the token, or speaks another contract
  5  the configuration is not valid";

/// Supervise, observe and repair a fleet of MCP servers
#[derive(Debug, Parser)]
#[command(name = "flotilla", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Home directory; one engine owns one home [default: `flotilla` in the platform's data folder]
    #[arg(long, global = true, env = "FLOTILLA_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// Print one JSON document (with -f: one a line)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log as JSON and refuse default secrets; other commands warn when the engine was started without it
    #[arg(long, global = true)]
    pub(crate) production: bool,
    /// Log more; twice for everything (RUST_LOG decides when set)
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Args {
    pub(crate) fn home(&self) -> Result<PathBuf, Failure> {
        let home = self.home.clone().or_else(flotilla_remote::default_home);
        let home = home.ok_or_else(|| {
            Failure::usage("failed to find the data folder of this user; name a home with --home")
        })?;
        std::path::absolute(&home)
            .map_err(|e| Failure::usage(format!("failed to use the home {}: {e}", home.display())))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the engine without a window and serve the panel to a browser
    Serve(Serve),
    /// Print an address that lets one browser into the panel, once, within five minutes
    Open,
    /// Show every instance with its health
    Status(Names),
    /// List the servers
    List,
    /// Check servers now and say how they are
    Health(Names),
    /// Start servers, or all of them
    Start(Names),
    /// Stop servers with everything they started, or all of them
    Stop(Stop),
    /// Restart servers, or all of them
    Restart(Restart),
    /// Change how many instances of a server run
    Scale(Scale),
    /// Print log lines
    Logs(Logs),
    /// Print events
    Events(Events),
    /// Declare a server; it is not started
    #[command(
        override_usage = "flotilla add [OPTIONS] NAME -- COMMAND [ARGS]...\n       flotilla add [OPTIONS] NAME --url URL"
    )]
    Add(Box<Add>),
    /// Stop a server and take it out of fleet.toml
    Remove(Remove),
    /// Bring in the servers of an AI client's configuration file
    Import(Import),
    /// Carry an MCP client's standard streams to the gateway; the client starts it
    Connect(Connect),
    /// Show the gateway: its address, servers, clients and breakers, calls per second, share that failed
    Gateway,
    /// Print calls through the gateway, the newest last
    Calls(Calls),
    /// Trip, reset or half-open the circuit breaker of a server, or of one of its tools
    #[command(subcommand)]
    Breaker(Breaker),
    /// Show the gateway's cache of answers, or take answers out
    Cache(Cache),
    /// Show the faults that are injected on purpose, inject one for a drill, or end one
    Fault(Fault),
    /// Run workflows, watch their runs, decide about steps
    #[command(subcommand)]
    Workflow(Workflow),
    /// Show alerts that are pending or fire; rules, silences, history and channels
    Alerts {
        #[command(subcommand)]
        act: Option<Alerts>,
    },
    /// Check this machine: runtimes, ports, keyring, paths
    Doctor,
    /// Keep the secrets that fleet.toml refers to by name
    #[command(subcommand)]
    Secret(Secret),
    /// Look after fleet.toml
    #[command(subcommand)]
    Config(Config),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alerts {
    /// List alerts that are pending or fire (as without a word)
    List,
    /// List rules with what their last evaluation gave
    Rules,
    /// Say what a condition gives now, and whether it holds
    Check {
        /// The condition, such as 'flotilla_health < 0.5'
        expr: String,
    },
    /// Tell nobody of some alerts, for a time
    Silence {
        /// Labels the alerts must have, LABEL=VALUE or LABEL!=VALUE; several values with commas
        #[arg(value_name = "LABEL=VALUE", required = true)]
        matchers: Vec<String>,
        /// How long
        #[arg(long = "for", value_name = "DURATION", default_value = "1h")]
        span: String,
        /// Begin this much later: a maintenance window
        #[arg(long = "in", value_name = "DURATION")]
        later: Option<String>,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "")]
        comment: String,
    },
    /// End a silence
    Unsilence {
        /// Its number
        id: u64,
    },
    /// List silences
    Silences,
    /// List what happened to alerts, the newest last
    History {
        /// How many
        #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// List channels, and what they could not tell
    Channels,
    /// Send a test message over a channel
    Test {
        /// Its name
        channel: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Workflow {
    /// List the workflows of this home, and the templates that come with Flotilla
    #[command(alias = "list")]
    Templates,
    /// Print the text of a workflow
    Show {
        /// Its name
        name: String,
    },
    /// Check a definition whole; exit code 5 when it is not valid
    Validate {
        /// The file; - for standard input
        file: PathBuf,
    },
    /// Say what a run would do; nothing runs
    Plan(RunWorkflow),
    /// Start a run
    Run(RunWorkflow),
    /// Start a run anew that takes over what its step does not need again
    Replay {
        /// Number of the run
        run: u64,
        /// The step from which on all is done again; everything without it
        #[arg(long, value_name = "STEP")]
        from: Option<String>,
        /// With the definition as it is now
        #[arg(long)]
        current: bool,
    },
    /// List runs, the newest first; with a number, show one with its steps
    Runs {
        /// Number of a run
        run: Option<u64>,
        /// Only of this workflow
        #[arg(long, value_name = "NAME", conflicts_with = "run")]
        workflow: Option<String>,
        /// How many
        #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
        limit: u32,
        /// Show what went into this step and came out of it
        #[arg(long, value_name = "STEP", requires = "run")]
        step: Option<String>,
    },
    /// List what starts workflows without a person: schedules with their next times, events, webhooks
    #[command(alias = "triggers")]
    Schedules,
    /// Let a trigger start runs, whatever its definition says
    Enable(ThisTrigger),
    /// Let a trigger start no runs, whatever its definition says; what waits for it is dropped
    Disable(ThisTrigger),
    /// Start nothing new in a run
    Pause(ThisRun),
    /// Let a paused run go on
    Resume(ThisRun),
    /// End a run and everything that is at work in it
    Cancel(ThisRun),
    /// Run again, in the same run, what failed, was blocked or cancelled
    Restart(ThisRun),
    /// Skip a step: what needs it goes on
    Skip(ThisStep),
    /// Try a step again, now
    Retry(ThisStep),
    /// Say yes at an approval
    Approve {
        #[command(flatten)]
        step: ThisStep,
        /// A field of its form; JSON where it is no text
        #[arg(long = "input", value_name = "NAME=VALUE")]
        input: Vec<String>,
    },
    /// Say no at an approval
    Reject {
        #[command(flatten)]
        step: ThisStep,
        /// Why
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunWorkflow {
    /// Name of the workflow
    pub(crate) name: String,
    /// A variable; JSON where it is no text
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) vars: Vec<String>,
    /// Folder in which its commands and files are [default: one of its own in the home]
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,
    /// Wait for its end; exit code 1 unless it completes
    #[arg(long)]
    pub(crate) wait: bool,
    /// Confirm its commands, if nobody has yet
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ThisRun {
    /// Number of the run
    pub(crate) run: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ThisTrigger {
    /// Name of the workflow
    pub(crate) workflow: String,
    /// Name of the trigger; can be left out when there is only one
    pub(crate) trigger: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ThisStep {
    /// Number of the run
    pub(crate) run: u64,
    /// Id or name of the step
    pub(crate) step: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Port of the panel; taken means an error, 0 means any free one [default: 3000, or a free one that is kept]
    #[arg(long, value_name = "N")]
    pub(crate) port: Option<u16>,
    /// Port of the gateway, in the same way [default: 8720, or a free one that is kept]
    #[arg(long, value_name = "N")]
    pub(crate) gateway_port: Option<u16>,
    /// Port of the realtime dashboard's WebSocket, in the same way [default: 9000, or a free one that is kept]
    #[arg(long, value_name = "N")]
    pub(crate) dashboard_port: Option<u16>,
    /// Port of the agent stream, in the same way [default: 8787, or a free one that is kept]
    #[arg(long, value_name = "N")]
    pub(crate) stream_port: Option<u16>,
    /// Address to listen on; elsewhere than on loopback the token crosses the network unencrypted
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Configuration file [default: fleet.toml in the home]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Serve the panel's files from this folder instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    pub(crate) ui: Option<PathBuf>,
    /// Seconds between two readings of CPU and memory; 0 switches them off [default: as fleet.toml says, or 2]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) sample_interval: Option<f64>,
}

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Names {
    /// Servers; none means all
    #[arg(value_name = "NAME")]
    names: Vec<ServerId>,
    /// The same by flag
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<ServerId>,
}

impl Names {
    pub(crate) fn all(&self) -> Vec<ServerId> {
        self.names.iter().chain(&self.services).cloned().collect()
    }
}

/// Whether it is only asked what would happen.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Dry {
    /// Only say what it would do, and which clients and calls it would hit
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) dry: Dry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) dry: Dry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Targets {
    #[command(flatten)]
    pub(crate) names: Names,
    /// Only this instance of the one server named
    #[arg(long, value_name = "N")]
    pub(crate) instance: Option<u32>,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "flotilla scale [OPTIONS] NAME REPLICAS")]
pub(crate) struct Scale {
    /// NAME and REPLICAS (0 to 64); with --service only REPLICAS
    #[arg(value_name = "NAME REPLICAS", num_args = 1..=2, required = true)]
    words: Vec<String>,
    /// The server by flag
    #[arg(long, value_name = "NAME")]
    service: Option<ServerId>,
    #[command(flatten)]
    pub(crate) dry: Dry,
}

impl Scale {
    pub(crate) fn target(&self) -> Result<(ServerId, u32), Failure> {
        let (server, count) = match (self.words.as_slice(), &self.service) {
            ([count], Some(server)) => (server.clone(), count),
            ([server, count], None) => (
                server.parse().map_err(|e| Failure::usage(format!("{e}")))?,
                count,
            ),
            _ => {
                return Err(Failure::usage(
                    "failed to read what to scale: NAME REPLICAS, or --service NAME REPLICAS",
                ));
            }
        };
        match count.parse() {
            Ok(count @ 0..=64) => Ok((server, count)),
            _ => Err(Failure::usage(format!(
                "failed to read {count:?} as a number of instances: 0 to 64"
            ))),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) targets: Targets,
    /// Go on with what comes
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// At most this many lines, the newest ones
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=5000))]
    pub(crate) lines: u32,
    /// Only lines that hold this text, whatever its case
    #[arg(long, value_name = "TEXT")]
    pub(crate) contains: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Only events of this server
    #[arg(value_name = "NAME")]
    name: Option<ServerId>,
    /// The same by flag
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    service: Option<ServerId>,
    /// Go on with what comes
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// At most this many events, the newest ones
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) lines: u32,
    /// Only this kind, for instance server:failed (repeatable)
    #[arg(long = "kind", value_name = "KIND")]
    pub(crate) kinds: Vec<String>,
}

impl Events {
    pub(crate) fn server(&self) -> Option<&ServerId> {
        self.name.as_ref().or(self.service.as_ref())
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// Name of the server
    pub(crate) name: ServerId,
    /// Endpoint of a server that somebody else starts
    #[arg(long, value_name = "URL", conflicts_with_all = ["command", "port", "cwd", "env", "secret_env"])]
    pub(crate) url: Option<String>,
    /// It speaks HTTP on this port; {port} in arguments and environment stands for it
    #[arg(long, value_name = "N")]
    pub(crate) port: Option<u16>,
    /// Environment variable (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Environment variable from a secret (repeatable)
    #[arg(long, value_name = "KEY=SECRET", value_parser = pair)]
    pub(crate) secret_env: Vec<(String, String)>,
    /// Header sent with each request (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) header: Vec<(String, String)>,
    /// Header from a secret (repeatable)
    #[arg(long, value_name = "NAME=SECRET", value_parser = pair)]
    pub(crate) secret_header: Vec<(String, String)>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// One word for its kind
    #[arg(long, value_name = "WORD")]
    pub(crate) category: Option<String>,
    /// Word to find it by (repeatable)
    #[arg(long = "tag", value_name = "WORD")]
    pub(crate) tags: Vec<String>,
    /// Program and arguments, run without a shell
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "url")]
    pub(crate) command: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("KEY=VALUE is wanted".into()),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Name of the server
    pub(crate) name: ServerId,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Configuration file of an AI client; without one, the files found on this machine are listed
    #[arg(group = "from")]
    pub(crate) path: Option<PathBuf>,
    /// The reference fleet that ships with Flotilla: nine servers with 51 tools
    #[arg(long, group = "from")]
    pub(crate) reference: bool,
    /// Import only this server of the file (repeatable)
    #[arg(long = "only", value_name = "NAME", requires = "from")]
    pub(crate) only: Vec<String>,
    /// Do not ask
    #[arg(long, short, requires = "from")]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// The gateway's endpoint [default: the one of the engine that owns the home]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Only the servers of this group
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Calls {
    /// Only calls to this server
    #[arg(value_name = "NAME")]
    name: Option<ServerId>,
    /// The same by flag
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    service: Option<ServerId>,
    /// Only calls of this client
    #[arg(long, value_name = "CLIENT")]
    pub(crate) client: Option<String>,
    /// Only calls with this text in tool, reason or correlation id
    #[arg(long, value_name = "TEXT")]
    pub(crate) contains: Option<String>,
    /// Only calls that ended so: ok, tool_error, rpc_error, failed, rejected, cancelled (repeatable)
    #[arg(long = "end", value_name = "END", value_parser = call_end)]
    ends: Vec<CallEnd>,
    /// Only calls that did not come to a good answer; those that the client gave up are not meant
    #[arg(long, conflicts_with = "ends")]
    failed: bool,
    /// Those kept on disk, from before this start of the engine too: all that failed, a share of the others
    #[arg(long)]
    disk: bool,
    /// At most this many calls, the newest ones
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=2000))]
    lines: u32,
}

impl Calls {
    pub(crate) fn query(&self) -> CallQuery {
        CallQuery {
            server: self.name.clone().or_else(|| self.service.clone()),
            client: self.client.clone(),
            text: self.contains.clone(),
            ends: if self.failed {
                vec![
                    CallEnd::ToolError,
                    CallEnd::RpcError,
                    CallEnd::Failed,
                    CallEnd::Rejected,
                ]
            } else {
                self.ends.clone()
            },
            before: self.disk.then_some(u64::MAX),
            limit: Some(self.lines),
        }
    }
}

/// The words of the contract.
fn call_end(word: &str) -> Result<CallEnd, String> {
    serde_json::from_value(word.into()).map_err(|_| {
        "accepted are ok, tool_error, rpc_error, failed, rejected and cancelled".into()
    })
}

/// A server, or one of its tools.
#[derive(Debug, clap::Args)]
pub(crate) struct Callee {
    /// The server
    #[arg(value_name = "NAME")]
    pub(crate) server: ServerId,
    /// Only this tool of it, by the server's own name
    pub(crate) tool: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Breaker {
    /// Open it until it is reset: calls are refused at once
    Trip(Callee),
    /// Close it; counts start anew
    Reset(Callee),
    /// Let calls through on trial now
    HalfOpen(Callee),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Cache {
    #[command(subcommand)]
    pub(crate) act: Option<CacheAct>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheAct {
    /// Take answers out: of one tool, of one server, or all
    Clear {
        /// The server; none means all
        #[arg(value_name = "NAME")]
        server: Option<ServerId>,
        /// Only this tool of it
        tool: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Fault {
    #[command(subcommand)]
    pub(crate) act: Option<FaultAct>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FaultAct {
    /// Make calls to a server slow, fail, or go unanswered; the server itself is not touched
    Inject(Inject),
    /// End a fault before its time
    End(Callee),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Inject {
    #[command(flatten)]
    pub(crate) callee: Callee,
    /// Added to each call, in milliseconds (up to 60000)
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) latency: u64,
    /// Share of calls that fail before they reach the server
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub(crate) errors: f64,
    /// Share of calls that are never answered
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub(crate) drops: f64,
    /// When it ends by itself (up to 1440)
    #[arg(long, value_name = "MINUTES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    pub(crate) minutes: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Store a secret; its value is asked for, or read from standard input
    Set {
        /// Its name
        name: String,
    },
    /// List names, never values
    List,
    /// Forget a secret
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Check a file and say what it would change; nothing is written
    Check {
        /// The file [default: the fleet.toml of the engine]
        file: Option<PathBuf>,
    },
}
