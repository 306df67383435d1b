//! `cargo xtask bench reference`: what the reference servers cost, beside a bare echo server on the same SDK in the same run.

use anyhow::{Context as _, Result};
use flotilla_tests::{
    load::{
        echo, free_ports,
        mcp::{Session, request},
        process::memory,
        quantile,
    },
    program,
};
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

const SERVERS: [&str; 9] = [
    "data_standardization",
    "vector_similarity",
    "vector_ranking",
    "transport_layer",
    "reasoning_agent",
    "session_management",
    "resource_streaming",
    "confidence_calculator",
    "semantic_similarity",
];
const STARTS: usize = 5;
const ROUNDS: usize = 7;
const CALLS: usize = 3000;

fn main() -> Result<ExitCode> {
    if let Some(port) = std::env::args().skip_while(|arg| arg != "--echo").nth(1) {
        serve_echo(port.parse()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let starts = starts()?;
    let calls = calls()?;
    Ok(if starts && calls {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The floor, with as many threads as a reference server.
fn serve_echo(port: u16) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        echo::http(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?).await
    })
}

/// A server that is ended with the measurement.
struct Server(Child, SocketAddr);

impl Server {
    fn start(command: &mut Command) -> Result<Self> {
        let port = free_ports(1)?;
        let child = command
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {command:?}"))?;
        Ok(Self(child, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }

    fn reference(name: &str) -> Result<Self> {
        Self::start(Command::new(program("flotilla-reference")).args([name, "--port"]))
    }

    /// Waits until it answers.
    fn session(&self) -> Result<Session> {
        let limit = Instant::now() + Duration::from_secs(10);
        loop {
            match Session::open(self.1) {
                Ok(session) => return Ok(session),
                Err(error) if Instant::now() > limit => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_micros(250)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn starts() -> Result<bool> {
    println!(
        "from the start of the process to the first answered request, median of {STARTS}, and resident memory after it\n"
    );
    println!("{:<22} {:>9} {:>9}", "server", "start ms", "RSS MiB");
    let mut met = true;
    for name in SERVERS {
        let mut times = Vec::new();
        let mut resident = 0.0_f64;
        for _ in 0..STARTS {
            let started = Instant::now();
            let server = Server::reference(name)?;
            server.session()?;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
            #[expect(clippy::cast_precision_loss, reason = "a few MiB")]
            let rss = memory(server.0.id())?.rss as f64 / 1_048_576.0;
            resident = resident.max(rss);
        }
        let start = quantile(&mut times, 0.5);
        met &= start < 50.0 && resident < 15.0;
        println!("{name:<22} {start:>9.1} {resident:>9.1}");
    }
    println!("targets: start below 50 ms, RSS below 15 MiB\n");
    Ok(met)
}

fn calls() -> Result<bool> {
    let bare = Server::start(Command::new(std::env::current_exe()?).arg("--echo"))?;
    // It has its port before the next free one is looked for.
    let mut bare_calls = bare.session()?;
    let ours = Server::reference("semantic_similarity")?;
    let mut our_calls = ours.session()?;
    let small = json!({"text1": "the cat sat on the mat", "text2": "a cat was sitting on a mat"});
    let mut ratios = Vec::new();
    println!("one small call at a time, {ROUNDS} rounds of {CALLS} in turn, microseconds\n");
    println!(
        "{:>10} {:>10} {:>10} {:>10} {:>7}",
        "echo p50", "p99", "ours p50", "p99", "ratio"
    );
    for _ in 0..ROUNDS {
        let (echo_p50, echo_p99) = round(&mut bare_calls, "echo", &small, "the cat")?;
        let (our_p50, our_p99) =
            round(&mut our_calls, "calculate_similarity", &small, "similarity")?;
        let ratio = our_p50 / echo_p50;
        ratios.push(ratio);
        println!("{echo_p50:>10.1} {echo_p99:>10.1} {our_p50:>10.1} {our_p99:>10.1} {ratio:>7.2}");
    }
    let ratio = quantile(&mut ratios, 0.5);
    println!(
        "median ratio {ratio:.2} (target 1.2), with checks of arguments and result, counters and log lines on"
    );
    Ok(ratio <= 1.2)
}

fn round(
    session: &mut Session,
    tool: &str,
    arguments: &serde_json::Value,
    expected: &str,
) -> Result<(f64, f64)> {
    let body = request(1, tool, arguments);
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let started = Instant::now();
        session.call(&body, expected)?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok((quantile(&mut times, 0.5), quantile(&mut times, 0.99)))
}
