//! What is printed about the gateway.

use super::{Out, bytes, clock, or_dash, plural, span};
use crate::table::{Align, Cell, Colour, paint};
use flotilla_contract::{
    Millis, ServerId,
    gateway::{
        BreakerState, BreakerView, CacheView, CallEnd, CallRecord, ClientTraffic, Fault,
        GatewayView, ServerTraffic, Traffic,
    },
    tool::Era,
};
use jiff::tz::TimeZone;

/// A server, or one of its tools.
fn name(server: &ServerId, tool: Option<&str>) -> String {
    tool.map_or_else(|| server.to_string(), |tool| format!("{server}, {tool}"))
}

fn rate(per_second: f64) -> String {
    format!("{per_second:.1}")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn ms(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

fn ago(at: Millis, now: Millis) -> String {
    format!("{} ago", span(now.saturating_sub(at)))
}

/// `gateway`: a summary, then servers, clients, and breakers that are not closed.
pub(crate) fn gateway(view: &GatewayView, out: Out) -> String {
    let Some(address) = &view.address else {
        return "The gateway listens nowhere; gateway.enabled of fleet.toml decides that.\n".into();
    };
    let tools: u32 = view.servers.iter().map(|s| s.offers.tools).sum();
    let Traffic {
        per_second,
        error_share,
        p95_ms,
        in_flight,
        queued,
        ..
    } = view.totals;
    let mut text = format!(
        "{address}: {} with {}, {} in the last hour\n{} calls/s, {} failed, 95 of 100 within {}, {in_flight} under way, {queued} waiting\n",
        plural(view.servers.len() as u64, "server"),
        plural(tools.into(), "tool"),
        plural(view.clients.len() as u64, "client"),
        rate(per_second),
        percent(error_share),
        ms(p95_ms),
    );
    for fault in &view.faults {
        let note = paint(
            "Fault injected on purpose:",
            Some(Colour::Yellow),
            out.colours,
        );
        text += &format!("{note} {}\n", self::fault(fault, view.at));
    }
    if !view.servers.is_empty() {
        text += &format!("\n{}", servers(view, out));
    }
    if !view.clients.is_empty() {
        text += &format!("\n{}", clients(&view.clients, view.at, out));
    }
    let held: Vec<_> = view
        .breakers
        .iter()
        .filter(|b| b.state != BreakerState::Closed)
        .collect();
    if !held.is_empty() {
        text.push('\n');
    }
    for breaker in held {
        text += &format!("{}\n", self::breaker(breaker));
    }
    text
}

fn servers(view: &GatewayView, out: Out) -> String {
    let columns = [
        ("Service", Align::Left),
        ("Tools", Align::Right),
        ("Calls", Align::Right),
        ("Calls/s", Align::Right),
        ("Failed", Align::Right),
        ("95 %", Align::Right),
        ("Breaker", Align::Left),
        ("Clients do not see it", Align::Left),
    ];
    let row = |s: &ServerTraffic| {
        vec![
            s.server.as_str().into(),
            s.offers.tools.to_string().into(),
            s.traffic.calls.to_string().into(),
            rate(s.traffic.per_second).into(),
            percent(s.traffic.error_share).into(),
            ms(s.traffic.p95_ms).into(),
            breakers_of(&s.server, &view.breakers),
            s.withdrawn.clone().unwrap_or_default().into(),
        ]
    };
    out.table(&columns, &view.servers.iter().map(row).collect::<Vec<_>>())
}

/// The breaker of a server, or else how many of its tools' are not closed.
fn breakers_of(server: &ServerId, breakers: &[BreakerView]) -> Cell {
    let held = |b: &&BreakerView| b.server == *server && b.state != BreakerState::Closed;
    let mut tools = 0;
    for breaker in breakers.iter().filter(held) {
        match (breaker.tool.is_some(), breaker.state) {
            (true, _) => tools += 1,
            (false, BreakerState::Open) => return Cell("open".into(), Some(Colour::Red)),
            (false, _) => return Cell("half open".into(), Some(Colour::Yellow)),
        }
    }
    if tools == 0 {
        Cell("closed".into(), None)
    } else {
        Cell(
            format!("not closed for {}", plural(tools, "tool")),
            Some(Colour::Yellow),
        )
    }
}

fn clients(clients: &[ClientTraffic], now: Millis, out: Out) -> String {
    let columns = [
        ("Client", Align::Left),
        ("Version", Align::Left),
        ("By", Align::Left),
        ("Protocol", Align::Left),
        ("Era", Align::Left),
        ("Calls", Align::Right),
        ("Calls/s", Align::Right),
        ("Last heard", Align::Right),
    ];
    let row = |c: &ClientTraffic| {
        let era = match c.era {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        };
        vec![
            c.client.as_str().into(),
            or_dash(c.version.as_ref()),
            c.transport.as_str().into(),
            c.protocol.as_str().into(),
            era.into(),
            c.traffic.calls.to_string().into(),
            rate(c.traffic.per_second).into(),
            ago(c.last_seen, now).into(),
        ]
    };
    out.table(&columns, &clients.iter().map(row).collect::<Vec<_>>())
}

/// Where a breaker is, and why.
pub(crate) fn breaker(breaker: &BreakerView) -> String {
    let state = match breaker.state {
        BreakerState::Closed => "closed: calls pass".into(),
        BreakerState::Open if breaker.tripped => "open until it is reset: calls are refused".into(),
        BreakerState::Open => "open: calls are refused".into(),
        BreakerState::HalfOpen => format!(
            "half open: calls pass on trial, {} of {} successes",
            breaker.successes, breaker.needed
        ),
    };
    let why = breaker
        .reason
        .as_ref()
        .filter(|_| breaker.state != BreakerState::Closed);
    format!(
        "Breaker of {} is {state}{}",
        name(&breaker.server, breaker.tool.as_deref()),
        why.map(|why| format!(" ({why})")).unwrap_or_default()
    )
}

/// `calls`: one line per call.
pub(crate) fn calls(calls: &[CallRecord], zone: &TimeZone, out: Out) -> String {
    if calls.is_empty() {
        return "No call.\n".into();
    }
    let columns = [
        ("When", Align::Left),
        ("Client", Align::Left),
        ("Service", Align::Left),
        ("What", Align::Left),
        ("Took", Align::Right),
        ("End", Align::Left),
        ("More", Align::Left),
    ];
    let row = |c: &CallRecord| {
        let server = match (&c.server, c.instance) {
            (Some(server), Some(instance)) => Some(format!("{server}#{instance}")),
            (Some(server), None) => Some(server.to_string()),
            (None, _) => None,
        };
        let mut more = Vec::new();
        if c.cached {
            more.push("from the cache".to_owned());
        }
        if c.retries > 0 {
            let word = if c.retries == 1 { "retry" } else { "retries" };
            more.push(format!("{} {word}", c.retries));
        }
        more.extend(c.reason.clone());
        vec![
            clock(c.at, zone).into(),
            c.client.as_str().into(),
            or_dash(server),
            c.target.as_ref().unwrap_or(&c.method).as_str().into(),
            ms(c.duration_ms).into(),
            end(c.end),
            more.join("; ").into(),
        ]
    };
    out.table(&columns, &calls.iter().map(row).collect::<Vec<_>>())
}

fn end(end: CallEnd) -> Cell {
    let (word, colour) = match end {
        CallEnd::Ok => ("ok", Colour::Green),
        CallEnd::ToolError => ("tool error", Colour::Red),
        CallEnd::RpcError => ("protocol error", Colour::Red),
        CallEnd::Failed => ("no answer", Colour::Red),
        CallEnd::Rejected => ("refused", Colour::Yellow),
        CallEnd::Cancelled => ("cancelled", Colour::Dim),
    };
    Cell(word.into(), Some(colour))
}

/// `cache`: what is kept, what it saved, and which tools could be listed.
pub(crate) fn cache(cache: &CacheView, out: Out) -> String {
    let mut text = format!(
        "{} kept, {} of {}; given again {} of {} times, {} of server time saved\n",
        plural(cache.entries, "answer"),
        bytes(cache.bytes),
        bytes(cache.max_bytes),
        cache.hits,
        cache.hits + cache.misses,
        span(cache.saved_ms as u64),
    );
    if !cache.tools.is_empty() {
        let columns = [
            ("Service", Align::Left),
            ("Tool", Align::Left),
            ("Given again", Align::Right),
            ("Not there", Align::Right),
            ("Saved", Align::Right),
        ];
        let rows: Vec<Vec<Cell>> = cache
            .tools
            .iter()
            .map(|t| {
                vec![
                    t.server.as_str().into(),
                    t.tool.as_str().into(),
                    t.hits.to_string().into(),
                    t.misses.to_string().into(),
                    span(t.saved_ms as u64).into(),
                ]
            })
            .collect();
        text += &format!("\n{}", out.table(&columns, &rows));
    }
    for candidate in &cache.candidates {
        text += &format!(
            "{} could be cached: {} of {} repeated calls got the same answer\n",
            name(&candidate.server, Some(&candidate.tool)),
            candidate.equal,
            candidate.repeated,
        );
    }
    text
}

/// `fault`: one line for each.
pub(crate) fn faults(faults: &[Fault], now: Millis) -> String {
    if faults.is_empty() {
        return "No fault is injected.\n".into();
    }
    faults.iter().map(|one| fault(one, now) + "\n").collect()
}

fn fault(fault: &Fault, now: Millis) -> String {
    let mut does = Vec::new();
    if fault.latency_ms > 0 {
        does.push(format!("+{} ms", fault.latency_ms));
    }
    if fault.errors > 0.0 {
        does.push(format!("{} fail", percent(fault.errors)));
    }
    if fault.drops > 0.0 {
        does.push(format!("{} are never answered", percent(fault.drops)));
    }
    format!(
        "{}: {}, for {} more",
        name(&fault.server, fault.tool.as_deref()),
        does.join(", "),
        span(fault.until.saturating_sub(now)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PLAIN: Out = Out {
        json: false,
        colours: false,
    };

    fn traffic(per_second: f64, calls: u64) -> Traffic {
        Traffic {
            per_second,
            calls,
            p95_ms: 12.4,
            ..Traffic::default()
        }
    }

    fn breaker_of(tool: Option<&str>, state: &str) -> serde_json::Value {
        json!({
            "server": "fetch", "tool": tool, "state": state, "since": 0, "reason": "5 failures in a row",
            "failures": 5, "limit": 5, "successes": 1, "needed": 3, "rejected": 0, "opens_last_hour": 1, "tripped": false,
        })
    }

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(format!("\n{text}"), want, "\n{text}");
    }

    #[test]
    fn gateway_says_who_calls_what_and_what_is_held_back() {
        let mut view: GatewayView = serde_json::from_value(json!({
            "address": "http://127.0.0.1:8720/mcp",
            "at": 100_000,
            "totals": traffic(3.24, 40),
            "added_p95_ms": 0.1,
            "servers": [
                { "server": "fetch", "traffic": traffic(3.0, 38), "offers": { "tools": 1, "prompts": 0, "resources": 0 }, "lost": [], "instances": [] },
                { "server": "notes", "traffic": traffic(0.0, 2), "offers": { "tools": 4, "prompts": 0, "resources": 0 }, "withdrawn": "It is stopped", "lost": [], "instances": [] },
            ],
            "clients": [
                { "client": "editor", "version": "2.1", "transport": "http", "protocol": "2025-11-25", "era": "legacy", "sessions": 1, "traffic": traffic(3.2, 40), "last_seen": 98_000, "listed_tools": true },
            ],
            "breakers": [breaker_of(Some("get"), "half_open")],
            "cache": CacheView::default(),
            "pools": [],
            "rejections": [],
            "faults": [{ "server": "fetch", "latency_ms": 200, "errors": 0.5, "drops": 0.0, "until": 160_000 }],
        }))
        .unwrap();
        check(
            &gateway(&view, PLAIN),
            "
http://127.0.0.1:8720/mcp: 2 servers with 5 tools, 1 client in the last hour
3.2 calls/s, 0.0 % failed, 95 of 100 within 12 ms, 0 under way, 0 waiting
Fault injected on purpose: fetch: +200 ms, 50.0 % fail, for 1 min 0 s more

Service  Tools  Calls  Calls/s  Failed   95 %  Breaker                Clients do not see it
fetch        1     38      3.0   0.0 %  12 ms  not closed for 1 tool
notes        4      2      0.0   0.0 %  12 ms  closed                 It is stopped

Client  Version  By    Protocol    Era     Calls  Calls/s  Last heard
editor  2.1      http  2025-11-25  legacy     40      3.2     2 s ago

Breaker of fetch, get is half open: calls pass on trial, 1 of 3 successes (5 failures in a row)
",
        );
        view.breakers
            .push(serde_json::from_value(breaker_of(None, "open")).unwrap());
        assert_eq!(
            breakers_of(&"fetch".parse().unwrap(), &view.breakers).0,
            "open"
        );
        view.address = None;
        assert!(gateway(&view, PLAIN).contains("listens nowhere"));
    }

    #[test]
    fn calls_have_one_line_each() {
        let call = |end: &str, more: serde_json::Value| -> CallRecord {
            let mut call = json!({
                "call": 1, "at": 1_767_268_800_000_u64, "client": "editor", "method": "tools/call", "server": "fetch", "instance": 1,
                "target": "get", "duration_ms": 4.24, "upstream_ms": 4.0, "bytes_in": 1, "bytes_out": 1, "end": end,
                "cached": false, "retries": 0, "correlation": "c",
            });
            call.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            serde_json::from_value(call).unwrap()
        };
        let all = [
            call("ok", json!({ "cached": true })),
            call(
                "rejected",
                json!({ "reason": "the breaker is open", "retries": 1, "instance": null, "duration_ms": 4000.0 }),
            ),
        ];
        check(
            &calls(&all, &TimeZone::UTC, PLAIN),
            "
When                     Client  Service  What     Took  End      More
2026-01-01 12:00:00.000  editor  fetch#1  get    4.2 ms  ok       from the cache
2026-01-01 12:00:00.000  editor  fetch    get   4000 ms  refused  1 retry; the breaker is open
",
        );
        assert_eq!(calls(&[], &TimeZone::UTC, PLAIN), "No call.\n");
    }
}
