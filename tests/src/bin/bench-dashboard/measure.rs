//! Rounds, rows, figures.

use crate::clients::Wanted;
use anyhow::{Context, Result};
use flotilla_tests::load::{
    Engine, free_ports,
    process::{cpu_time, resident},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The bench, or one of its other roles.
#[derive(Debug, clap::Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    /// Rounds; figures are medians of them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Messages of a round.
    #[arg(long, default_value_t = 60)]
    messages: usize,
    /// Clients, one row each.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000])]
    clients: Vec<usize>,
    /// Distance of two messages in milliseconds.
    #[arg(long, default_value_t = 100)]
    every: u64,
    /// The server on CPU 0, the clients on CPU 1.
    #[arg(long)]
    pin: bool,
    /// Where Node's `ws` is (a folder `node_modules/ws`); without it that row is left out.
    #[arg(long)]
    ws: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Role {
    /// The bare broadcaster.
    #[command(hide = true)]
    Floor { port: u16, every: u64, bytes: usize },
    /// All clients.
    #[command(hide = true)]
    Clients(Wanted),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Floor,
    Node,
    Ours,
    /// With one client that never reads.
    Stalled,
    /// Clients that want changes only.
    Delta,
}

/// Node's `ws`, the message serialised once for all.
const NODE: &str = "
const { WebSocketServer } = require(process.argv[2]);
const [port, every, bytes] = process.argv.slice(3).map(Number);
const wss = new WebSocketServer({ host: '127.0.0.1', port });
const pad = 'x'.repeat(bytes - 60);
setInterval(() => {
  const text = JSON.stringify({ type: 'metrics:update', timestamp: Date.now(), pad });
  for (const client of wss.clients) if (client.readyState === 1) client.send(text);
}, every);
";

/// A fleet whose picture is of the size that dashboards of some dozen agents have.
fn fleet(every: u64) -> String {
    let mut text = format!("[dashboard]\ninterval = \"{every}ms\"\n");
    for n in 0..40 {
        text.push_str(&format!(
            "[servers.agent-{n:02}]\ncommand = \"true\"\nautostart = false\ncategory = \"kind-{}\"\ntags = [\"tag-{n:02}\", \"team-{}\"]\n",
            n % 6,
            n % 5
        ));
    }
    text
}

/// A server that is measured.
enum Server {
    Program(Child),
    Engine(Box<Engine>),
}

impl Server {
    fn pid(&self) -> u32 {
        match self {
            Self::Program(child) => child.id(),
            Self::Engine(engine) => engine.pid(),
        }
    }

    async fn end(self) -> Result<()> {
        match self {
            Self::Program(mut child) => {
                child.kill()?;
                child.wait()?;
                Ok(())
            }
            Self::Engine(engine) => engine.end().await,
        }
    }
}

/// A program, on one CPU if that is wanted.
fn on_cpu(pin: Option<u32>, program: &str) -> Command {
    match pin {
        None => Command::new(program),
        Some(cpu) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &cpu.to_string(), program]);
            command
        }
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &Args) -> Result<()> {
    let mut figures: BTreeMap<(usize, Row), Vec<BTreeMap<&str, f64>>> = BTreeMap::new();
    let mut bytes = 1_500;
    for clients in &args.clients {
        for _ in 0..args.rounds {
            // Ours first: its frame's size is that of the others.
            for row in [Row::Ours, Row::Floor, Row::Node, Row::Stalled, Row::Delta] {
                if row == Row::Node && args.ws.is_none() {
                    continue;
                }
                let found = round(args, row, *clients, bytes).await?;
                if row == Row::Ours {
                    bytes = found["bytes"] as usize;
                }
                figures.entry((*clients, row)).or_default().push(found);
            }
        }
    }
    println!(
        "{:>7} {:<8} {:>6} {:>9} {:>8} {:>8} {:>10} {:>9} {:>14}",
        "clients",
        "server",
        "bytes",
        "first p50",
        "last p50",
        "last p99",
        "CPU ms/msg",
        "base MiB",
        "KiB/100 clients"
    );
    for ((clients, row), found) in &figures {
        let of = |name: &str| {
            let mut values: Vec<f64> = found.iter().map(|round| round[name]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        println!(
            "{clients:>7} {:<8} {:>6} {:>9.2} {:>8.2} {:>8.2} {:>10.2} {:>9.1} {:>14.0}",
            format!("{row:?}").to_lowercase(),
            of("bytes"),
            of("first_p50"),
            of("last_p50"),
            of("last_p99"),
            of("cpu"),
            of("base"),
            of("memory"),
        );
    }
    for clients in &args.clients {
        // Of the same round, then the median.
        let ratio = |name: &str, row: Row, to: Row| -> Option<f64> {
            let (row, to) = (
                figures.get(&(*clients, row))?,
                figures.get(&(*clients, to))?,
            );
            let mut all: Vec<f64> = row.iter().zip(to).map(|(a, b)| a[name] / b[name]).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied()
        };
        for (what, name, row, to, target) in [
            (
                "last p50 to the floor",
                "last_p50",
                Row::Ours,
                Row::Floor,
                1.05,
            ),
            ("last p50 to Node", "last_p50", Row::Ours, Row::Node, 0.65),
            ("last p99 to Node", "last_p99", Row::Ours, Row::Node, 0.45),
            ("CPU per message to Node", "cpu", Row::Ours, Row::Node, 0.5),
            (
                "memory per client to Node",
                "memory",
                Row::Ours,
                Row::Node,
                0.45,
            ),
            (
                "with one that stalls to without",
                "last_p50",
                Row::Stalled,
                Row::Ours,
                1.1,
            ),
            (
                "bytes of changes to whole",
                "bytes",
                Row::Delta,
                Row::Ours,
                0.15,
            ),
        ] {
            if let Some(found) = ratio(name, row, to) {
                println!("{clients:>7} {what}: {found:.2} (target {target})");
            }
        }
    }
    Ok(())
}

/// One server, from its start to its end.
async fn round(
    args: &Args,
    row: Row,
    clients: usize,
    bytes: usize,
) -> Result<BTreeMap<&'static str, f64>> {
    let (server_cpu, client_cpu) = (args.pin.then_some(0), args.pin.then_some(1));
    let home = tempfile::tempdir()?;
    let own = std::env::current_exe()?.display().to_string();
    let port = free_ports(1)?;
    let numbers = [port.to_string(), args.every.to_string(), bytes.to_string()];
    let server = match row {
        Row::Floor => Server::Program(
            on_cpu(server_cpu, &own)
                .arg("floor")
                .args(&numbers)
                .spawn()?,
        ),
        Row::Node => {
            let script = home.path().join("server.js");
            fs::write(&script, NODE)?;
            let ws = args.ws.clone().unwrap_or_default();
            Server::Program(
                on_cpu(server_cpu, "node")
                    .args([script, ws])
                    .args(&numbers)
                    .spawn()?,
            )
        }
        Row::Ours | Row::Stalled | Row::Delta => {
            let at = home.path().join("home");
            fs::create_dir(&at)?;
            fs::write(at.join("fleet.toml"), fleet(args.every))?;
            let port = port.to_string();
            let ports = [
                "--gateway-port",
                "0",
                "--stream-port",
                "0",
                "--dashboard-port",
                &port,
            ];
            let engine = Engine::start(&at, &ports).await?;
            if let Some(cpu) = server_cpu {
                // All of its threads.
                let pid = engine.pid().to_string();
                let pinned = Command::new("taskset")
                    .args(["-a", "-c", "-p", &cpu.to_string(), &pid])
                    .stdout(Stdio::null())
                    .status()?;
                anyhow::ensure!(pinned.success(), "taskset: {pinned}");
            }
            Server::Engine(Box::new(engine))
        }
    };
    let pid = server.pid();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let base = resident(pid);
    let mut load = on_cpu(client_cpu, &own);
    load.args(["clients", "--port", &port.to_string()])
        .args(["--clients", &clients.to_string()])
        .args(["--messages", &args.messages.to_string()]);
    if row == Row::Stalled {
        load.args(["--stalled", "1"]);
    }
    if row == Row::Delta {
        load.arg("--delta");
    }
    let mut load = tokio::process::Command::from(load)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // Connecting costs what it costs; what follows is a message every so often.
    tokio::time::sleep(Duration::from_secs_f64(1.5 + clients as f64 / 700.0)).await;
    let (cpu, began) = (cpu_time(pid)?, std::time::Instant::now());
    let held = resident(pid);
    tokio::time::sleep(Duration::from_millis(args.every * 20)).await;
    let messages = began.elapsed().as_secs_f64() * 1e3 / args.every as f64;
    let cpu = (cpu_time(pid)? - cpu).as_secs_f64() * 1e3 / messages;
    let mut said = String::new();
    let mut stdout = load.stdout.take().context("no output")?;
    tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut said).await?;
    let ended = load.wait().await?;
    server.end().await?;
    anyhow::ensure!(ended.success(), "{row:?} with {clients} clients: {ended}");
    let said: Value = serde_json::from_str(&said)?;
    let mut found: BTreeMap<&'static str, f64> = ["bytes", "first_p50", "last_p50", "last_p99"]
        .into_iter()
        .map(|name| (name, said[name].as_f64().unwrap_or(f64::NAN)))
        .collect();
    found.insert("cpu", cpu);
    found.insert("base", base as f64 / f64::from(1 << 20));
    found.insert(
        "memory",
        held.saturating_sub(base) as f64 / 1024.0 / clients as f64 * 100.0,
    );
    Ok(found)
}
