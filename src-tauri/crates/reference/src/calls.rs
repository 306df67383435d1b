//! The one way that every call takes, whatever brought it: breaker, drills, the tool itself, counters, one line of log.

use crate::{
    breaker::{Breaker, End, Settings, State},
    drill::{Drilling, Fate},
    metrics::Metrics,
    service::Service,
    tool::{Context, Refusal, Tool},
};
use serde::Serialize;
use serde_json::Value;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::task::TaskTracker;

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// There is no such tool.
    #[error("there is no tool {0:?}")]
    Unknown(String),
    /// Its breaker is open.
    #[error("the breaker of this tool is open after repeated failures; it may be tried again in {} s", .0.as_secs().max(1))]
    Open(Duration),
    /// The tool refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A drill made it fail.
    #[error("drill: this call was made to fail")]
    Drill,
    /// The tool broke.
    #[error("the tool broke")]
    Broken,
}

impl CallError {
    /// Its kind, in counters and logs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown_tool",
            Self::Open(_) => "breaker_open",
            Self::Refused(Refusal::Argument { .. }) => "validation",
            Self::Refused(Refusal::Failed(_)) => "refused",
            Self::Refused(Refusal::Cancelled) => "cancelled",
            Self::Drill | Self::Broken => "internal",
        }
    }

    fn says_of_the_tool(&self) -> End {
        match self {
            Self::Drill | Self::Broken => End::Broken,
            Self::Unknown(_) | Self::Open(_) | Self::Refused(_) => End::Nothing,
        }
    }
}

/// A server at work.
pub(crate) struct Calls {
    /// The server.
    pub(crate) service: Arc<Service>,
    /// What it counts.
    pub(crate) metrics: Metrics,
    /// Faults on purpose.
    pub(crate) drilling: Drilling,
    /// One for each tool, in their order.
    breakers: Vec<Mutex<Breaker>>,
    under_way: TaskTracker,
}

/// A breaker as people read it.
#[derive(Serialize)]
pub(crate) struct BreakerView {
    name: &'static str,
    state: State,
    stats: crate::breaker::Stats,
    config: Settings,
}

/// All breakers of a server.
#[derive(Serialize)]
pub(crate) struct BreakersView {
    total: usize,
    open: usize,
    half_open: usize,
    closed: usize,
    /// Share of breakers that are not open, in percent.
    health_score: f64,
    breakers: Vec<BreakerView>,
}

impl Calls {
    /// With all breakers closed.
    pub(crate) fn new(service: Arc<Service>, drilling: Drilling) -> Self {
        let breakers = service
            .tools
            .iter()
            .map(|_| Mutex::new(Breaker::new(Settings::default())))
            .collect();
        Self {
            metrics: Metrics::new(service.name),
            breakers,
            service,
            drilling,
            under_way: TaskTracker::new(),
        }
    }

    /// The tools that are offered now.
    pub(crate) fn tools(&self) -> &[Tool] {
        if self.drilling.tools_lost() {
            &[]
        } else {
            &self.service.tools
        }
    }

    /// Calls a tool by its name or second name.
    pub(crate) async fn call(
        &self,
        name: &str,
        arguments: Value,
        context: Context,
    ) -> Result<Value, CallError> {
        let _under_way = self.under_way.token();
        let found = self
            .tools()
            .iter()
            .position(|tool| tool.name == name || tool.alias == Some(name));
        let Some((index, tool)) = found.and_then(|at| Some((at, self.service.tools.get(at)?)))
        else {
            return Err(CallError::Unknown(name.to_owned()));
        };
        let correlation_id = context.correlation_id.clone().unwrap_or_default();
        let started = Instant::now();
        self.metrics.in_flight().inc();
        let result = self.guarded(index, tool, arguments, context).await;
        self.metrics.in_flight().dec();
        let took = started.elapsed();
        let error = result.as_ref().err();
        self.metrics
            .call(tool.name, error.map(CallError::kind), took);
        log(tool.name, error, took, &correlation_id);
        result
    }

    /// Waits until no call is under way.
    pub(crate) async fn drained(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }

    /// The page for Prometheus.
    pub(crate) fn page(&self) -> String {
        let now = Instant::now();
        self.metrics.page(
            self.service
                .tools
                .iter()
                .zip(&self.breakers)
                .map(|(tool, breaker)| (tool.name, lock(breaker).state(now))),
        )
    }

    /// The breakers as they are now.
    pub(crate) fn breakers(&self) -> BreakersView {
        let now = Instant::now();
        let breakers: Vec<BreakerView> = self
            .service
            .tools
            .iter()
            .zip(&self.breakers)
            .map(|(tool, breaker)| {
                let breaker = lock(breaker);
                BreakerView {
                    name: tool.name,
                    state: breaker.state(now),
                    stats: breaker.stats().clone(),
                    config: *breaker.settings(),
                }
            })
            .collect();
        let count = |state| breakers.iter().filter(|view| view.state == state).count();
        let (total, open) = (breakers.len(), count(State::Open));
        BreakersView {
            total,
            open,
            half_open: count(State::HalfOpen),
            closed: count(State::Closed),
            #[expect(clippy::cast_precision_loss, reason = "a handful of tools")]
            health_score: if total == 0 {
                100.0
            } else {
                (total - open) as f64 / total as f64 * 100.0
            },
            breakers,
        }
    }

    /// Closes one breaker, or all. False when there is none of that name.
    pub(crate) fn reset(&self, name: Option<&str>) -> bool {
        let mut any = false;
        for (tool, breaker) in self.service.tools.iter().zip(&self.breakers) {
            if name.is_none_or(|name| tool.name == name || tool.alias == Some(name)) {
                lock(breaker).reset();
                any = true;
            }
        }
        any
    }

    async fn guarded(
        &self,
        index: usize,
        tool: &Tool,
        arguments: Value,
        context: Context,
    ) -> Result<Value, CallError> {
        let breaker = self.breakers.get(index);
        if let Some(breaker) = breaker {
            lock(breaker)
                .admit(Instant::now())
                .map_err(CallError::Open)?;
        }
        let result = match self.drilling.call().await {
            Fate::Fails => Err(CallError::Drill),
            Fate::Runs => self.run(index, tool, arguments, context).await,
        };
        if let Some(breaker) = breaker {
            let end = match &result {
                Ok(_) => End::Well,
                Err(error) => error.says_of_the_tool(),
            };
            lock(breaker).ended(Instant::now(), end);
        }
        result
    }

    async fn run(
        &self,
        index: usize,
        tool: &Tool,
        arguments: Value,
        context: Context,
    ) -> Result<Value, CallError> {
        if !tool.long {
            return Ok(tool.call(&context, arguments)?);
        }
        let service = Arc::clone(&self.service);
        let ran = tokio::task::spawn_blocking(move || {
            let tool = service.tools.get(index)?;
            Some(tool.call(&context, arguments))
        });
        match ran.await {
            Ok(Some(result)) => Ok(result?),
            Ok(None) | Err(_) => Err(CallError::Broken),
        }
    }
}

fn lock(breaker: &Mutex<Breaker>) -> std::sync::MutexGuard<'_, Breaker> {
    // A breaker is whole at any moment: a panic elsewhere does not spoil it.
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log(tool: &str, error: Option<&CallError>, took: Duration, correlation_id: &str) {
    let duration_ms = took.as_secs_f64() * 1000.0;
    match error {
        None => tracing::info!(tool, duration_ms, correlation_id, "call"),
        Some(error) => tracing::warn!(
            tool,
            duration_ms,
            correlation_id,
            error_type = error.kind(),
            %error,
            "call failed"
        ),
    }
}
