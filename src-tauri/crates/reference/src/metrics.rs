//! What a server counts, as a page for Prometheus.

use crate::breaker::State;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::time::Duration;

/// Upper bounds in seconds: from a small call to what no client waits for.
const SECONDS: [f64; 13] = [
    0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Content type of the page.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ToolLabels {
    server_id: &'static str,
    tool_name: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    server_id: &'static str,
    tool_name: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabels {
    server_id: &'static str,
    tool_name: &'static str,
    error_type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MethodLabels {
    server_id: &'static str,
    method: &'static str,
}

/// The counters of one server. Labels come from the server's own lists, so there are only so many series.
pub(crate) struct Metrics {
    server: &'static str,
    registry: Registry,
    requests: Family<MethodLabels, Counter>,
    calls: Family<CallLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    seconds: Family<ToolLabels, Histogram>,
    breakers: Family<ToolLabels, Gauge>,
    in_flight: Gauge,
}

impl Metrics {
    /// All zero.
    pub(crate) fn new(server: &'static str) -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let calls = Family::default();
        let errors = Family::default();
        let seconds = Family::new_with_constructor(seconds as fn() -> Histogram);
        let breakers = Family::default();
        let in_flight = Gauge::default();
        registry.register(
            "mcp_requests",
            "Requests by method",
            Family::clone(&requests),
        );
        registry.register(
            "mcp_tool_executions",
            "Calls by tool and how they ended",
            Family::clone(&calls),
        );
        registry.register(
            "mcp_tool_execution_errors",
            "Calls that ended badly, by kind",
            Family::clone(&errors),
        );
        registry.register(
            "mcp_tool_execution_duration_seconds",
            "Time of calls by tool, as the server sees it",
            Family::clone(&seconds),
        );
        registry.register(
            "mcp_circuit_breaker_state",
            "0 closed, 1 open, 2 half open",
            Family::clone(&breakers),
        );
        registry.register(
            "mcp_calls_in_flight",
            "Calls that are being worked on",
            in_flight.clone(),
        );
        Self {
            server,
            registry,
            requests,
            calls,
            errors,
            seconds,
            breakers,
            in_flight,
        }
    }

    /// A request of this method came in.
    pub(crate) fn request(&self, method: &'static str) {
        let server_id = self.server;
        self.requests
            .get_or_create(&MethodLabels { server_id, method })
            .inc();
    }

    /// Calls that are being worked on.
    pub(crate) fn in_flight(&self) -> &Gauge {
        &self.in_flight
    }

    /// A call ended: well, or with this kind of error.
    pub(crate) fn call(
        &self,
        tool_name: &'static str,
        error: Option<&'static str>,
        took: Duration,
    ) {
        let server_id = self.server;
        let status = if error.is_some() { "error" } else { "success" };
        self.calls
            .get_or_create(&CallLabels {
                server_id,
                tool_name,
                status,
            })
            .inc();
        self.seconds
            .get_or_create(&ToolLabels {
                server_id,
                tool_name,
            })
            .observe(took.as_secs_f64());
        if let Some(error_type) = error {
            self.errors
                .get_or_create(&ErrorLabels {
                    server_id,
                    tool_name,
                    error_type,
                })
                .inc();
        }
    }

    /// The page, with the breakers as they are now.
    pub(crate) fn page(&self, breakers: impl Iterator<Item = (&'static str, State)>) -> String {
        let server_id = self.server;
        for (tool_name, state) in breakers {
            let number = match state {
                State::Closed => 0,
                State::Open => 1,
                State::HalfOpen => 2,
            };
            self.breakers
                .get_or_create(&ToolLabels {
                    server_id,
                    tool_name,
                })
                .set(number);
        }
        let mut page = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut page, &self.registry);
        page
    }
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}
