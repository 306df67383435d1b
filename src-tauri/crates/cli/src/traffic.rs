//! Commands about the gateway.

use crate::{
    args::{Breaker, Cache, CacheAct, Callee, Calls, Fault, FaultAct},
    ask::Engine,
    exit::Failure,
    show::{Out, plural, traffic as show},
};
use flotilla_contract::{
    command::{GatewayBreaker, GatewayCacheClear, GatewayCalls, GatewayFault, GatewayViewCmd},
    gateway::{BreakerAct, BreakerParams, CacheClear, FaultParams, GatewayView},
};
use jiff::tz::TimeZone;

async fn view(to: &Engine) -> Result<GatewayView, Failure> {
    to.run::<GatewayViewCmd>(Default::default()).await
}

pub(crate) async fn gateway(to: &Engine, out: Out) -> Result<(), Failure> {
    let view = view(to).await?;
    out.json_or(&view, || show::gateway(&view, out))
}

pub(crate) async fn calls(to: &Engine, args: &Calls, out: Out) -> Result<(), Failure> {
    let mut calls = to.run::<GatewayCalls>(args.query()).await?;
    calls.reverse();
    out.json_or(&calls, || show::calls(&calls, &TimeZone::system(), out))
}

pub(crate) async fn breaker(to: &Engine, args: &Breaker, out: Out) -> Result<(), Failure> {
    let (act, callee) = match args {
        Breaker::Trip(callee) => (BreakerAct::Trip, callee),
        Breaker::Reset(callee) => (BreakerAct::Reset, callee),
        Breaker::HalfOpen(callee) => (BreakerAct::HalfOpen, callee),
    };
    let params = BreakerParams {
        server: callee.server.clone(),
        tool: callee.tool.clone(),
        act,
    };
    let end = to.run::<GatewayBreaker>(params).await?;
    out.json_or(&end, || show::breaker(&end) + "\n")
}

pub(crate) async fn cache(to: &Engine, args: &Cache, out: Out) -> Result<(), Failure> {
    match &args.act {
        None => {
            let cache = view(to).await?.cache;
            out.json_or(&cache, || show::cache(&cache, out))
        }
        Some(CacheAct::Clear { server, tool }) => {
            let params = CacheClear {
                server: server.clone(),
                tool: tool.clone(),
            };
            let cleared = to.run::<GatewayCacheClear>(params).await?;
            out.json_or(&cleared, || {
                format!(
                    "{} taken out of the cache\n",
                    plural(cleared.entries, "answer")
                )
            })
        }
    }
}

pub(crate) async fn fault(to: &Engine, args: &Fault, out: Out) -> Result<(), Failure> {
    let params = match &args.act {
        None => {
            let view = view(to).await?;
            return out.json_or(&view.faults, || show::faults(&view.faults, view.at));
        }
        Some(FaultAct::Inject(inject)) => {
            let share = |percent: f64| percent / 100.0;
            FaultParams {
                latency_ms: inject.latency,
                errors: share(inject.errors),
                drops: share(inject.drops),
                for_ms: Some(u64::from(inject.minutes) * 60_000),
                ..nothing(&inject.callee)
            }
        }
        Some(FaultAct::End(callee)) => nothing(callee),
    };
    let left = to.run::<GatewayFault>(params).await?;
    let now = view(to).await?.at;
    out.json_or(&left, || show::faults(&left, now))
}

/// The end of a fault.
fn nothing(callee: &Callee) -> FaultParams {
    FaultParams {
        server: callee.server.clone(),
        tool: callee.tool.clone(),
        latency_ms: 0,
        errors: 0.0,
        drops: 0.0,
        for_ms: Some(0),
    }
}
