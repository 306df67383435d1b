//! The sampling tick: process-tree totals into the ring, ceilings, and what must be looked after now and then.

use crate::{
    clock,
    core::{Core, Tick},
    machine,
    sessions::lock,
};
use flotilla_contract::{
    InstanceId, Millis,
    gateway::Traffic,
    metric::Metric,
    state::{HealthLevel, ProcessState, Sample},
};
use flotilla_metrics::{Sampler, SeriesKey, ToolKey};
use flotilla_os::ProcessTable;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::MissedTickBehavior;

/// Guard and clock are looked after this often when nothing is sampled.
const LOOK_AFTER: Duration = Duration::from_secs(60);
/// A machine that slept longer than this has answers that are too old.
const SLEPT: Duration = Duration::from_secs(10);

pub(crate) async fn run(core: Arc<Core>) {
    let mut sleeper = Sleeper::default();
    if core.sample_interval.is_zero() {
        core.say_what_is_not_sampled();
        loop {
            tokio::time::sleep(LOOK_AFTER).await;
            look_after(&core, &mut sleeper);
        }
    }
    let mut ticks = tokio::time::interval(core.sample_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let Ok(mut sampler) =
        tokio::task::spawn_blocking(|| Sampler::new(&ProcessTable::read(), Instant::now())).await
    else {
        return;
    };
    let mut cpu = flotilla_os::cpu_time();
    loop {
        ticks.tick().await;
        look_after(&core, &mut sleeper);
        let worker = core.clone();
        // Reading /proc blocks for tens of microseconds a process.
        let ticked = tokio::task::spawn_blocking(move || {
            let now = flotilla_os::cpu_time();
            let share = now.zip(cpu).and_then(|(now, before)| now.since(before));
            *lock(&worker.host_cpu) = share;
            tick(&worker, &mut sampler, share);
            (sampler, now)
        });
        match ticked.await {
            Ok(back) => (sampler, cpu) = back,
            Err(error) => {
                tracing::error!(%error, "sampling ended");
                return;
            }
        }
    }
}

/// Notices that the machine slept: its wall clock went on, and what runs did not.
struct Sleeper {
    wall: Millis,
    mono: Instant,
}

impl Default for Sleeper {
    fn default() -> Self {
        Self {
            wall: clock::now(),
            mono: Instant::now(),
        }
    }
}

impl Sleeper {
    /// Whether it slept since the last call.
    fn slept(&mut self) -> bool {
        let now = Self::default();
        let before = std::mem::replace(self, now);
        let passed = Duration::from_millis(self.wall.saturating_sub(before.wall));
        passed > self.mono.duration_since(before.mono) + SLEPT
    }
}

impl Core {
    /// Ceilings are compared with samples: with sampling off they hold nobody.
    pub(crate) fn say_what_is_not_sampled(&self) {
        let fleet = self.fleet();
        let limited = fleet
            .servers
            .iter()
            .filter(|s| s.limits.rss_bytes.is_some() || s.limits.children.is_some());
        let names: Vec<&str> = limited.map(|s| s.id.as_str()).collect();
        if self.sample_interval.is_zero() && !names.is_empty() {
            self.notice(format!(
                "Sampling is off, so nobody watches the limits of {}. Start the engine without --sample-interval 0.",
                names.join(", ")
            ));
        }
    }
}

fn look_after(core: &Core, sleeper: &mut Sleeper) {
    if sleeper.slept() {
        core.supervisor.review();
    }
    match core.supervisor.revive_guard() {
        Ok(false) => {}
        Ok(true) => core.notice("The guard process was killed and has been started again.".into()),
        Err(error) => core.notice(format!("The guard process is gone and cannot be started ({error}): if the engine is killed now, servers may stay behind.")),
    }
}

fn tick(core: &Core, sampler: &mut Sampler, cpu: Option<f64>) {
    let roots = core.supervisor.roots();
    let pids: Vec<u32> = roots.iter().map(|r| r.pid).collect();
    let table = ProcessTable::read();
    let at = clock::now();
    let trees = sampler.sample(&table, Instant::now(), &pids, flotilla_os::open_files);
    let mut values: Vec<(SeriesKey, f32)> = Vec::with_capacity(roots.len() * 7);
    let mut latest: HashMap<InstanceId, Sample> = HashMap::with_capacity(roots.len());
    let fleet = core.fleet();
    for (root, tree) in roots.iter().zip(trees) {
        let Some(tree) = tree else { continue };
        values.extend(tree.values().map(|(metric, value)| {
            (
                SeriesKey {
                    metric,
                    instance: root.id.clone(),
                },
                value,
            )
        }));
        let sample = tree.view(at);
        core.supervisor.note_rss(&root.id, sample.rss_bytes);
        if let Some(why) = fleet
            .server(&root.id.server)
            .and_then(|spec| flotilla_supervisor::crossed(spec, &sample))
        {
            core.supervisor.recycle(&root.id, root.spawn, why);
        }
        latest.insert(root.id.clone(), sample);
    }
    for id in core.supervisor.servers() {
        let Some(observed) = core.supervisor.observe(&id) else {
            continue;
        };
        for instance in observed.instances {
            #[expect(clippy::cast_precision_loss, reason = "a count on a chart")]
            let restarts = instance.restarts_total as f32;
            values.push((
                SeriesKey {
                    metric: Metric::Restarts,
                    instance: instance.id.clone(),
                },
                restarts,
            ));
            let health = match instance.health.level {
                HealthLevel::Healthy => Some(1.0),
                HealthLevel::Degraded => Some(0.5),
                HealthLevel::Unhealthy => Some(0.0),
                HealthLevel::Unknown | HealthLevel::Starting | HealthLevel::Stale => None,
            };
            if let (Some(health), true) = (health, instance.process.state != ProcessState::Stopped)
            {
                values.push((
                    SeriesKey {
                        metric: Metric::Health,
                        instance: instance.id.clone(),
                    },
                    health,
                ));
            }
        }
    }
    values.extend(calls(core));
    *lock(&core.samples) = latest;
    let recorded = core.live.record(at, &values);
    keep(core, at, &values, cpu);
    if recorded.refused > 0 {
        core.notice(format!(
            "{} new series found no room in the live charts.",
            recorded.refused
        ));
    }
    // Nobody listening is no error.
    let _ = core.ticks.send(Tick {
        series_changed: recorded.series_changed,
        frame: recorded.frame.into(),
    });
}

fn keep(core: &Core, at: Millis, values: &[(SeriesKey, f32)], cpu: Option<f64>) {
    let Some(kept) = &core.kept else { return };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "as all of the engine's own series"
    )]
    let host: Vec<(&str, f32)> = machine::numbers(core.home.path(), cpu)
        .into_iter()
        .map(|number| (number.word, number.value as f32))
        .collect();
    let done = kept
        .history
        .record(at, values)
        .and_then(|()| kept.history.record_tools(at, &tool_calls(core)))
        .and_then(|()| kept.history.record_host(at, &host));
    match done {
        Ok(()) => {}
        Err(error @ flotilla_metrics::store::Error::Disk { .. }) => core.notice(format!(
            "The newest metrics are in memory only: failed to {error}."
        )),
        // The clock was set back.
        Err(error) => tracing::debug!(%error, "a tick is not kept"),
    }
}

/// What clients do with each server that one has called. Where nothing was called lately, there is no share of failures and no
/// answer time: those are gaps, not zeros.
fn calls(core: &Core) -> Vec<(SeriesKey, f32)> {
    let mut values = Vec::new();
    for (server, traffic) in core.gateway.traffic() {
        if traffic.calls + traffic.rejected == 0 && traffic.in_flight == 0 {
            continue;
        }
        for (metric, value) in of_traffic(&traffic) {
            let instance = server.instance(0);
            values.push((SeriesKey { metric, instance }, value));
        }
    }
    values
}

/// What clients do with single tools, of the last ten seconds.
fn tool_calls(core: &Core) -> Vec<(ToolKey, f32)> {
    let mut values = Vec::new();
    for (server, tools) in core.gateway.tool_traffic() {
        for (tool, traffic) in tools {
            // What is under way is known of whole servers only.
            let known = |(metric, _): &(Metric, f32)| *metric != Metric::CallsInFlight;
            values.extend(of_traffic(&traffic).filter(known).map(|(metric, value)| {
                let key = ToolKey {
                    metric,
                    server: server.clone(),
                    tool: tool.clone(),
                };
                (key, value)
            }));
        }
    }
    values
}

fn of_traffic(traffic: &Traffic) -> impl Iterator<Item = (Metric, f32)> {
    let answered = traffic.p50_ms > 0.0;
    let called = traffic.per_second > 0.0;
    let all = [
        (Metric::CallsPerSecond, true, traffic.per_second),
        (
            Metric::CallErrorPercent,
            called,
            traffic.error_share * 100.0,
        ),
        (Metric::CallP50Ms, answered, traffic.p50_ms),
        (Metric::CallP95Ms, answered, traffic.p95_ms),
        (Metric::CallP99Ms, answered, traffic.p99_ms),
        (
            Metric::CallsCachedPerSecond,
            true,
            traffic.cached_per_second,
        ),
        (
            Metric::CallsRefusedPerSecond,
            true,
            traffic.rejected_per_second,
        ),
        (Metric::CallsInFlight, true, traffic.in_flight.into()),
    ];
    #[expect(clippy::cast_possible_truncation, reason = "the ring holds f32")]
    all.into_iter()
        .filter(|(_, known, _)| *known)
        .map(|(metric, _, value)| (metric, value as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_slept_when_its_wall_clock_went_further_than_its_steady_one() {
        let ago = |wall_s: u64, mono_s: u64| Sleeper {
            wall: clock::now() - wall_s * 1_000,
            mono: Instant::now()
                .checked_sub(Duration::from_secs(mono_s))
                .unwrap(),
        };
        assert!(!ago(60, 60).slept());
        assert!(
            !ago(65, 60).slept(),
            "a clock that was set right is no sleep"
        );
        let mut slept = ago(3_600, 2);
        assert!(slept.slept() && !slept.slept(), "told once");
        assert!(!ago(0, 2).slept(), "a clock that was set back neither");
    }
}
