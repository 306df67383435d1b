//! What is printed: pure functions from the contract's words to text.

pub(crate) mod traffic;

use crate::{
    exit::Failure,
    table::{Align, Cell, Colour, paint, render},
};
use flotilla_contract::{
    Event, EventKind, HealthReport, Millis, ServerId, ServerView,
    alert::Severity,
    command::{DoctorFinding, DoctorLevel, ImportPlan, ImportSource, Outcome, Plan, SecretsInfo},
    frame::FleetSnapshot,
    gateway::BreakerState,
    log::{LogEntry, Stream},
    spec::Transport,
    state::{HealthLevel, ProcessState, Status},
};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Standard output, for people or for programs.
#[derive(Clone, Copy)]
pub(crate) struct Out {
    pub(crate) json: bool,
    pub(crate) colours: bool,
}

/// Whether colours belong on this stream.
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            colours: !json && colours(&std::io::stdout()),
        }
    }

    /// Prints the value as JSON, or the text.
    pub(crate) fn json_or(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json {
            self.print(&(pretty(value)? + "\n"))
        } else {
            self.print(&text())
        }
    }

    /// Prints one value of a stream: JSON on one line, or the text.
    pub(crate) fn line_or(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let json = || {
            serde_json::to_string(value)
                .map_err(|e| Failure::other(format!("failed to write JSON: {e}")))
        };
        let text = if self.json { json()? } else { text() };
        self.print(&(text + "\n"))
    }

    pub(crate) fn print(self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        // A reader that has seen enough (`| head`) is no failure worth a word.
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|_| Failure::not_reached())
    }

    pub(crate) fn table(self, columns: &[(&str, Align)], rows: &[Vec<Cell>]) -> String {
        render(columns, rows, self.colours)
    }
}

fn pretty(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map_err(|e| Failure::other(format!("failed to write JSON: {e}")))
}

/// The word of a status.
pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::Running => "running",
        Status::Unchecked => "unchecked",
        Status::Starting => "starting",
        Status::Degraded => "degraded",
        Status::Unhealthy => "unhealthy",
        Status::Restarting => "restarting",
        Status::Failed => "failed",
        Status::Stopping => "stopping",
        Status::Stopped => "stopped",
        Status::Stale => "stale",
        Status::Sleeping => "sleeping",
        Status::Disabled => "disabled",
    }
}

fn status(status: Status) -> Cell {
    let colour = match status {
        Status::Running => Some(Colour::Green),
        Status::Failed | Status::Unhealthy => Some(Colour::Red),
        Status::Degraded | Status::Restarting | Status::Stale => Some(Colour::Yellow),
        Status::Stopped | Status::Disabled | Status::Sleeping => Some(Colour::Dim),
        Status::Unchecked | Status::Starting | Status::Stopping => None,
    };
    Cell(word(status).into(), colour)
}

/// One word of health for programs that know four (`healthy`, `unhealthy`, `down`, `error`) is not enough; this is ours.
fn level(level: HealthLevel) -> Cell {
    let (word, colour) = match level {
        HealthLevel::Unknown => ("unknown", Some(Colour::Dim)),
        HealthLevel::Starting => ("starting", None),
        HealthLevel::Healthy => ("healthy", Some(Colour::Green)),
        HealthLevel::Degraded => ("degraded", Some(Colour::Yellow)),
        HealthLevel::Unhealthy => ("unhealthy", Some(Colour::Red)),
        HealthLevel::Stale => ("stale", Some(Colour::Yellow)),
    };
    Cell(word.into(), colour)
}

/// An instant as ISO 8601 in UTC, for programs.
pub(crate) fn iso(at: Millis) -> String {
    timestamp(at).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn timestamp(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(i64::try_from(at).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX)
}

/// An instant as a person on this machine reads it.
pub(crate) fn clock(at: Millis, zone: &TimeZone) -> String {
    timestamp(at)
        .to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S%.3f")
        .to_string()
}

/// A span in its two largest units.
pub(crate) fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

fn bytes(count: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    let mib = count as f64 / MIB;
    if mib < 1024.0 {
        format!("{mib:.0} MiB")
    } else {
        format!("{:.1} GiB", mib / 1024.0)
    }
}

fn or_dash(text: Option<impl ToString>) -> Cell {
    text.map_or_else(
        || Cell("-".into(), Some(Colour::Dim)),
        |t| t.to_string().into(),
    )
}

/// The port of a server: where it listens, or would.
fn port(server: &ServerView) -> Option<u16> {
    let declared = if let Transport::Http { port, .. } = server.spec.transport {
        Some(port)
    } else {
        None
    };
    server.instances.iter().find_map(|i| i.port).or(declared)
}

fn pids(server: &ServerView) -> Vec<u32> {
    server.instances.iter().filter_map(|i| i.pid).collect()
}

/// The first process, and how many more there are.
fn pid(server: &ServerView) -> Cell {
    match pids(server).as_slice() {
        [] => or_dash(None::<u32>),
        [one] => one.to_string().into(),
        [one, rest @ ..] => format!("{one} +{}", rest.len()).into(),
    }
}

/// `list`: one line per server.
pub(crate) fn list(fleet: &FleetSnapshot, out: Out) -> String {
    if fleet.servers.is_empty() {
        return "No server is declared. `flotilla add NAME -- COMMAND` declares one, `flotilla import` brings in those of an AI client.\n"
            .into();
    }
    let columns = [
        ("Service", Align::Left),
        ("Port", Align::Right),
        ("Status", Align::Left),
        ("Tools", Align::Right),
        ("PID", Align::Right),
        ("Health", Align::Left),
    ];
    let row = |s: &ServerView| {
        let name: Cell = s.id().as_str().into();
        vec![
            name,
            or_dash(port(s)),
            status(s.status),
            or_dash(s.tools),
            pid(s),
            s.health.sentence.as_str().into(),
        ]
    };
    out.table(&columns, &fleet.servers.iter().map(row).collect::<Vec<_>>())
}

/// `status`: a summary, then one line per instance.
pub(crate) fn status_report(fleet: &FleetSnapshot, servers: &[&ServerView], out: Out) -> String {
    let columns = [
        ("Instance", Align::Left),
        ("Port", Align::Right),
        ("Status", Align::Left),
        ("Tools", Align::Right),
        ("PID", Align::Right),
        ("Uptime", Align::Right),
        ("Restarts", Align::Right),
        ("CPU", Align::Right),
        ("Memory", Align::Right),
        ("Health", Align::Left),
    ];
    let mut rows = Vec::new();
    for server in servers {
        if server.instances.is_empty() {
            let dash = || or_dash(None::<u32>);
            let name: Cell = server.id().as_str().into();
            let health: Cell = server.health.sentence.as_str().into();
            let middle = [
                or_dash(port(server)),
                status(server.status),
                or_dash(server.tools),
            ];
            rows.push(
                [
                    vec![name],
                    middle.into(),
                    vec![dash(), dash(), dash(), dash(), dash(), health],
                ]
                .concat(),
            );
        }
        for i in &server.instances {
            let up = i
                .started_at
                .filter(|_| i.pid.is_some())
                .map(|at| span(fleet.now.saturating_sub(at)));
            let again = i
                .process
                .next_try
                .map(|at| format!("next try in {}", span(at.saturating_sub(fleet.now) + 999)));
            let health = again.map_or_else(
                || i.health.sentence.clone(),
                |again| format!("{} ({again})", i.health.sentence),
            );
            rows.push(vec![
                i.id.to_string().into(),
                or_dash(i.port),
                status(i.status),
                or_dash(server.tools),
                or_dash(i.pid),
                or_dash(up),
                i.restarts_total.to_string().into(),
                or_dash(i.sample.as_ref().map(|s| format!("{:.1} %", s.cpu_percent))),
                or_dash(i.sample.as_ref().map(|s| bytes(s.rss_bytes))),
                health.into(),
            ]);
        }
    }
    let c = &fleet.counts;
    let mut text = format!(
        "{} declared, {} running, {} healthy, {} unhealthy, {} failed; {} of {} instances run\n",
        plural(c.total.into(), "server"),
        c.running,
        c.healthy,
        c.unhealthy,
        c.failed,
        c.instances_running,
        c.instances_wanted
    );
    for notice in &fleet.engine.notices {
        text += &format!(
            "{} {notice}\n",
            paint("Note:", Some(Colour::Yellow), out.colours)
        );
    }
    if !rows.is_empty() {
        text += &format!("\n{}", out.table(&columns, &rows));
    }
    text
}

pub(crate) fn plural(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// `status --json`. Its shape is stable.
#[derive(Serialize)]
pub(crate) struct StatusReport<'a> {
    total_services: usize,
    running: usize,
    stopped: usize,
    error: usize,
    services: Vec<ServiceReport<'a>>,
    /// Lowest and highest port, "8101-8109".
    port_range: Option<String>,
    checked_at: String,
}

#[derive(Serialize)]
struct ServiceReport<'a> {
    name: &'a ServerId,
    port: Option<u16>,
    status: Status,
    tools: Option<u32>,
    pid: Option<u32>,
    pids: Vec<u32>,
    started_at: Option<String>,
    /// Automatic restarts since the engine started, and instances that gave up.
    error_count: u32,
    instances: usize,
    instances_wanted: u32,
    health: &'a HealthReport,
}

impl<'a> StatusReport<'a> {
    pub(crate) fn of(fleet: &FleetSnapshot, servers: &[&'a ServerView]) -> Self {
        let up = |s: &ServerView| {
            s.instances
                .iter()
                .any(|i| i.process.state == ProcessState::Running)
        };
        let failed = |s: &ServerView| matches!(s.status, Status::Failed | Status::Unhealthy);
        let count = |test: &dyn Fn(&ServerView) -> bool| servers.iter().filter(|s| test(s)).count();
        let ports = || {
            servers
                .iter()
                .flat_map(|s| s.instances.iter().filter_map(|i| i.port).chain(port(s)))
        };
        Self {
            total_services: servers.len(),
            running: count(&up),
            stopped: count(&|s| matches!(s.status, Status::Stopped | Status::Disabled)),
            error: count(&failed),
            services: servers.iter().map(|s| ServiceReport::of(s)).collect(),
            port_range: ports()
                .min()
                .zip(ports().max())
                .map(|(low, high)| format!("{low}-{high}")),
            checked_at: iso(fleet.now),
        }
    }
}

impl<'a> ServiceReport<'a> {
    fn of(server: &'a ServerView) -> Self {
        let gave_up = server
            .instances
            .iter()
            .filter(|i| i.process.state == ProcessState::Failed)
            .count();
        Self {
            name: server.id(),
            port: port(server),
            status: server.status,
            tools: server.tools,
            pid: pids(server).first().copied(),
            pids: pids(server),
            started_at: server
                .instances
                .iter()
                .filter_map(|i| i.started_at)
                .min()
                .map(iso),
            error_count: server
                .instances
                .iter()
                .map(|i| i.restarts_total)
                .sum::<u32>()
                + u32::try_from(gave_up).unwrap_or(u32::MAX),
            instances: server.instances.len(),
            instances_wanted: server.wanted_replicas,
            health: &server.health,
        }
    }
}

/// `health`: one line per server.
pub(crate) fn health(servers: &[&ServerView], out: Out) -> String {
    let columns = [
        ("Service", Align::Left),
        ("Health", Align::Left),
        ("Check", Align::Right),
        ("Why", Align::Left),
    ];
    let row = |s: &&ServerView| {
        let took = s.health.check_ms.map(|ms| format!("{ms:.0} ms"));
        vec![
            s.id().as_str().into(),
            level(s.health.level),
            or_dash(took),
            s.health.sentence.as_str().into(),
        ]
    };
    out.table(&columns, &servers.iter().map(row).collect::<Vec<_>>())
}

/// What a verb would do, and whom it would hit.
pub(crate) fn effect(plan: &Plan) -> String {
    let lines = std::iter::once(&plan.sentence).chain(&plan.hits);
    lines.map(|line| format!("{line}.\n")).collect()
}

/// Ends of `start`, `stop`, `restart` and `scale`.
pub(crate) fn outcomes(outcomes: &[Outcome], out: Out) -> String {
    if outcomes.is_empty() {
        return "No server to act on.\n".into();
    }
    let columns = [
        ("Service", Align::Left),
        ("", Align::Left),
        ("Status", Align::Left),
        ("Took", Align::Right),
        ("End", Align::Left),
    ];
    let row = |o: &Outcome| {
        let mark = if o.ok {
            Cell("ok".into(), Some(Colour::Green))
        } else {
            Cell("failed".into(), Some(Colour::Red))
        };
        let end = o.sentence.clone();
        vec![
            o.server.as_str().into(),
            mark,
            status(o.status),
            seconds(o.took_ms).into(),
            end.into(),
        ]
    };
    out.table(&columns, &outcomes.iter().map(row).collect::<Vec<_>>())
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

/// One entry of a log.
pub(crate) fn log_entry(entry: &LogEntry, zone: &TimeZone, out: Out) -> String {
    match entry {
        LogEntry::Line(line) => {
            let at = paint(&clock(line.at, zone), Some(Colour::Dim), out.colours);
            let (mark, colour) = match line.stream {
                Stream::Stderr | Stream::Stdout => ("|", None),
                Stream::Supervisor => ("*", Some(Colour::Yellow)),
            };
            let cut = if line.cut { " [cut at 16 KiB]" } else { "" };
            let text = if out.colours {
                line.text.clone()
            } else {
                line.text.replace('\x1b', "")
            };
            format!(
                "{at} {} {mark} {}{cut}",
                line.instance,
                paint(&text, colour, out.colours)
            )
        }
        LogEntry::Gap(gap) => {
            let text = format!(
                "-- {} of {} missing --",
                plural(gap.missing, "line"),
                gap.instance
            );
            paint(&text, Some(Colour::Yellow), out.colours)
        }
    }
}

/// One event.
pub(crate) fn event(event: &Event, zone: &TimeZone, out: Out) -> String {
    let who = match (&event.server, event.instance) {
        (Some(server), Some(index)) if index > 0 => format!(" {server}#{index}"),
        (Some(server), _) => format!(" {server}"),
        (None, _) => String::new(),
    };
    let colour = match &event.what {
        EventKind::Failed { .. }
        | EventKind::Unhealthy { .. }
        | EventKind::Error { .. }
        | EventKind::ConfigRejected { .. } => Some(Colour::Red),
        EventKind::Breaker { state, .. } => match state {
            BreakerState::Open => Some(Colour::Red),
            BreakerState::HalfOpen => Some(Colour::Yellow),
            BreakerState::Closed => Some(Colour::Green),
        },
        EventKind::Restarting { .. } | EventKind::Ceiling { .. } => Some(Colour::Yellow),
        EventKind::AlertFiring {
            severity: Severity::Critical,
            ..
        } => Some(Colour::Red),
        EventKind::AlertFiring { .. } => Some(Colour::Yellow),
        EventKind::Recovered { .. } | EventKind::AlertResolved { .. } => Some(Colour::Green),
        _ => None,
    };
    let what = paint(event.what.word(), colour, out.colours);
    let says = says(&event.what);
    let says = if says.is_empty() {
        says
    } else {
        format!(": {says}")
    };
    format!(
        "{} {:>6} {what}{who}{says}",
        paint(&clock(event.at, zone), Some(Colour::Dim), out.colours),
        event.seq
    )
}

/// What an event says beyond its kind.
fn says(what: &EventKind) -> String {
    match what {
        EventKind::Started { pid: Some(pid) } => format!("pid {pid}"),
        EventKind::Stopped { reason, .. } | EventKind::Ceiling { reason } => reason.clone(),
        EventKind::Restarting {
            attempt,
            delay,
            exit,
            ..
        } => {
            let why = exit
                .as_ref()
                .map(|e| format!("{}; ", e.reason))
                .unwrap_or_default();
            format!("{why}try {attempt} in {}", seconds(*delay))
        }
        EventKind::Breaker {
            tool,
            state,
            reason,
        } => {
            let state = match state {
                BreakerState::Closed => "closed",
                BreakerState::Open => "open",
                BreakerState::HalfOpen => "half open",
            };
            let tool = tool
                .as_ref()
                .map(|tool| format!(" for {tool}"))
                .unwrap_or_default();
            format!("{state}{tool}; {reason}")
        }
        EventKind::Recovered { attempts } => {
            format!("after {}", plural((*attempts).into(), "restart"))
        }
        EventKind::Failed { error, .. }
        | EventKind::Error { error }
        | EventKind::Unhealthy { error } => error.clone(),
        EventKind::Health { health } => format!("{}, {}", level(health.level).0, health.sentence),
        EventKind::Tools { count, findings } => {
            let findings = findings
                .iter()
                .map(|f| format!("; {f}"))
                .collect::<String>();
            format!("{}{findings}", plural((*count).into(), "tool"))
        }
        EventKind::Scaled { from, to } => format!("from {from} to {to}"),
        EventKind::Action {
            actor,
            command,
            outcome,
            ok,
        } => {
            format!(
                "{command} by {actor}, {}{outcome}",
                if *ok { "" } else { "failed: " }
            )
        }
        EventKind::ConfigApplied { revision, changes } => {
            format!("revision {revision}: {}", changes.join("; "))
        }
        EventKind::ConfigRejected { findings } => findings
            .iter()
            .map(|f| format!("line {}: {}", f.line, f.message))
            .collect::<Vec<_>>()
            .join("; "),
        EventKind::AgentChanged { agent, change } => format!("{agent} {change}"),
        EventKind::WorkflowRun {
            run,
            workflow,
            state,
            why,
        } => {
            let why = why.as_ref().map_or(String::new(), |why| format!(": {why}"));
            format!("{workflow}, run {run}: {}{why}", state.word())
        }
        EventKind::WorkflowStep {
            run,
            workflow,
            step,
            state,
            why,
        } => {
            format!("{workflow}, run {run}: {step} {}: {why}", state.word())
        }
        EventKind::WorkflowNotice {
            run,
            workflow,
            message,
        } => {
            format!("{workflow}, run {run}: {message}")
        }
        EventKind::AlertFiring {
            rule,
            severity,
            summary,
            ..
        } => format!("{rule}, {}: {summary}", severity.word()),
        EventKind::AlertResolved { rule, summary, .. } => format!("{rule}: {summary}"),
        EventKind::AlertNotice { title, body, .. } => format!("{title}: {body}"),
        EventKind::WorkflowTrigger {
            workflow,
            trigger,
            outcome,
            why,
        } => {
            format!("{workflow}, trigger {trigger}: {}: {why}", outcome.word())
        }
        EventKind::EngineStarted { boot } => format!("boot {boot}"),
        EventKind::Registered
        | EventKind::Removed
        | EventKind::Starting
        | EventKind::Started { .. }
        | EventKind::EngineStopped => String::new(),
    }
}

/// Findings about this machine.
pub(crate) fn doctor(findings: &[DoctorFinding], out: Out) -> String {
    let mut text = String::new();
    for finding in findings {
        let (mark, colour) = match finding.level {
            DoctorLevel::Ok => ("ok", Colour::Green),
            DoctorLevel::Neutral => ("-", Colour::Dim),
            DoctorLevel::Warning => ("warning", Colour::Yellow),
            DoctorLevel::Problem => ("problem", Colour::Red),
        };
        let pad = " ".repeat(8 - mark.len());
        text += &format!(
            "{}{pad}{}: {}\n",
            paint(mark, Some(colour), out.colours),
            finding.name,
            finding.found
        );
        if let Some(remedy) = &finding.remedy {
            text += &format!("        {remedy}\n");
        }
    }
    text
}

/// Files of AI clients.
pub(crate) fn sources(sources: &[ImportSource], out: Out) -> String {
    if sources.is_empty() {
        return "No configuration file of an AI client was found. `flotilla import FILE` reads one from elsewhere.\n".into();
    }
    let columns = [
        ("Client", Align::Left),
        ("Servers", Align::Right),
        ("File", Align::Left),
    ];
    let row = |s: &ImportSource| {
        let path = s
            .error
            .as_ref()
            .map_or_else(|| s.path.clone(), |e| format!("{} ({e})", s.path));
        vec![
            s.client.as_str().into(),
            s.servers.to_string().into(),
            path.into(),
        ]
    };
    let table = out.table(&columns, &sources.iter().map(row).collect::<Vec<_>>());
    format!("{table}\n`flotilla import FILE` shows what a file would bring in, and asks.\n")
}

/// What an import would run, exactly.
pub(crate) fn plan(plan: &ImportPlan, out: Out) -> String {
    let mut text = format!(
        "{} in the file of {}\n",
        plural(plan.servers.len() as u64, "server"),
        plan.client
    );
    for server in &plan.servers {
        let name = if server.source_name == server.id.as_str() {
            server.source_name.clone()
        } else {
            format!("{} (as {})", server.source_name, server.id)
        };
        text += &format!(
            "\n{}\n  {}: {}\n",
            paint(&name, Some(Colour::Bold), out.colours),
            server.kind,
            server.runs
        );
        for (key, value) in &server.env {
            text += &format!("  {key} = {value}\n");
        }
        if !server.secrets.is_empty() {
            text += &format!("  moves to the keyring: {}\n", server.secrets.join(", "));
        }
        for note in &server.notes {
            text += &format!("  {note}\n");
        }
        if let Some(why) = &server.refused {
            text += &format!(
                "  {} {why}\n",
                paint("cannot be imported:", Some(Colour::Red), out.colours)
            );
        }
    }
    text
}

/// Names of secrets.
pub(crate) fn secrets(info: &SecretsInfo, out: Out) -> String {
    let columns = [
        ("Secret", Align::Left),
        ("Stored", Align::Left),
        ("Used by", Align::Left),
    ];
    let rows: Vec<Vec<Cell>> = info
        .secrets
        .iter()
        .map(|s| {
            let stored = if s.present {
                Cell::from("yes")
            } else {
                Cell("missing".into(), Some(Colour::Red))
            };
            let users = s
                .used_by
                .iter()
                .map(ServerId::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            vec![s.name.as_str().into(), stored, users.into()]
        })
        .collect();
    let table = if rows.is_empty() {
        String::new()
    } else {
        format!("{}\n", out.table(&columns, &rows))
    };
    format!("{table}{}\n", info.kept)
}

#[cfg(test)]
mod tests;
