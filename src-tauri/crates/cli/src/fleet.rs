//! Commands about servers.

use crate::{
    args::{Names, Restart, Scale, Stop, Targets},
    ask::Engine,
    exit::{Failure, all_reached},
    show::{self, Out, StatusReport},
};
use flotilla_contract::{
    Command, HealthReport, ServerId, ServerView, WireError,
    command::{
        self, Outcomes, PlanParams, ScaleParams, ServerPlan, ServerProbe, ServerRestart,
        ServerScale, ServerStart, ServerStop, Verb,
    },
    frame::FleetSnapshot,
    state::{HealthLevel, Status},
};
use flotilla_remote::Error;
use serde::Serialize;

pub(crate) async fn list(to: &Engine, out: Out) -> Result<(), Failure> {
    let fleet = to.snapshot().await?;
    out.json_or(&fleet.servers, || show::list(&fleet, out))
}

pub(crate) async fn status(to: &Engine, names: &Names, out: Out) -> Result<(), Failure> {
    let fleet = to.snapshot().await?;
    let servers = select(&fleet, &names.all())?;
    out.json_or(&StatusReport::of(&fleet, &servers), || {
        show::status_report(&fleet, &servers, out)
    })
}

fn select<'a>(
    fleet: &'a FleetSnapshot,
    names: &[ServerId],
) -> Result<Vec<&'a ServerView>, Failure> {
    if names.is_empty() {
        return Ok(fleet.servers.iter().collect());
    }
    let find = |name: &ServerId| fleet.servers.iter().find(|s| s.id() == name);
    names
        .iter()
        .map(|name| find(name).ok_or_else(|| Error::Command(WireError::no_server(name)).into()))
        .collect()
}

#[derive(Serialize)]
struct HealthLine<'a> {
    name: &'a ServerId,
    status: Status,
    health: &'a HealthReport,
}

#[derive(Serialize)]
struct HealthJson<'a> {
    healthy: bool,
    services: Vec<HealthLine<'a>>,
    checked_at: String,
}

/// Asks now, and fails unless all that should run is healthy.
pub(crate) async fn health(to: &Engine, names: &Names, out: Out) -> Result<(), Failure> {
    let asked = names.all();
    let fleet = to.snapshot().await?;
    // Only what should run can answer; without names, the rest is shown as it is.
    let probed = select(&fleet, &asked)?
        .into_iter()
        .filter(|s| s.wanted)
        .map(|s| s.id().clone())
        .collect::<Vec<_>>();
    if !probed.is_empty() {
        to.run::<ServerProbe>(command::Targets {
            servers: probed,
            ..command::Targets::default()
        })
        .await?;
    }
    let fleet = to.snapshot().await?;
    let servers = select(&fleet, &asked)?;
    // One that sleeps is not to run now: nothing is wrong with it.
    let well = |s: &&&ServerView| {
        s.health.level == HealthLevel::Healthy
            || s.status == Status::Sleeping
            || (asked.is_empty() && !s.wanted)
    };
    let healthy = servers.iter().filter(well).count() == servers.len();
    let line = |s: &&'_ ServerView| -> (ServerId, Status, HealthReport) {
        (s.id().clone(), s.status, s.health.clone())
    };
    let lines: Vec<_> = servers.iter().map(line).collect();
    let services = lines
        .iter()
        .map(|(name, status, health)| HealthLine {
            name,
            status: *status,
            health,
        })
        .collect();
    let json = HealthJson {
        healthy,
        services,
        checked_at: show::iso(fleet.now),
    };
    out.json_or(&json, || show::health(&servers, out))?;
    all_reached(healthy)
}

pub(crate) async fn start(to: &Engine, names: &Names, out: Out) -> Result<(), Failure> {
    act::<ServerStart>(to, names, None, out).await
}

pub(crate) async fn stop(to: &Engine, stop: &Stop, out: Out) -> Result<(), Failure> {
    if stop.dry.dry_run {
        return plan(to, Verb::Stop, targets(&stop.names, None)?, None, out).await;
    }
    act::<ServerStop>(to, &stop.names, None, out).await
}

pub(crate) async fn restart(to: &Engine, restart: &Restart, out: Out) -> Result<(), Failure> {
    let Targets { names, instance } = &restart.targets;
    if restart.dry.dry_run {
        return plan(to, Verb::Restart, targets(names, *instance)?, None, out).await;
    }
    act::<ServerRestart>(to, names, *instance, out).await
}

/// What a verb would do, and whom it would hit; fails where it would be refused.
async fn plan(
    to: &Engine,
    verb: Verb,
    targets: command::Targets,
    replicas: Option<u32>,
    out: Out,
) -> Result<(), Failure> {
    let plan = to
        .run::<ServerPlan>(PlanParams {
            verb,
            targets,
            replicas,
        })
        .await?;
    out.json_or(&plan, || show::effect(&plan))?;
    all_reached(plan.refusals.is_empty())
}

fn targets(names: &Names, instance: Option<u32>) -> Result<command::Targets, Failure> {
    let servers = names.all();
    if instance.is_some() && servers.len() != 1 {
        return Err(Failure::usage(
            "failed to choose an instance: --instance goes with exactly one NAME",
        ));
    }
    Ok(command::Targets {
        // No name means everybody, on the command line: one sees what one typed.
        all: servers.is_empty(),
        servers,
        instance,
    })
}

async fn act<C: Command<Params = command::Targets, Output = Outcomes>>(
    to: &Engine,
    names: &Names,
    instance: Option<u32>,
    out: Out,
) -> Result<(), Failure> {
    end(to.run::<C>(targets(names, instance)?).await?, out)
}

pub(crate) async fn scale(to: &Engine, scale: &Scale, out: Out) -> Result<(), Failure> {
    let (server, replicas) = scale.target()?;
    if scale.dry.dry_run {
        let targets = command::Targets {
            servers: vec![server],
            ..command::Targets::default()
        };
        return plan(to, Verb::Scale, targets, Some(replicas), out).await;
    }
    end(
        to.run::<ServerScale>(ScaleParams { server, replicas })
            .await?,
        out,
    )
}

fn end(outcomes: Outcomes, out: Out) -> Result<(), Failure> {
    out.json_or(&outcomes, || show::outcomes(&outcomes.outcomes, out))?;
    all_reached(outcomes.outcomes.iter().all(|o| o.ok))
}
