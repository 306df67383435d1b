//! What clients of other makes are told about the fleet, in their own words.

use crate::{
    clock,
    core::{Core, VERSION},
    families::Connections,
    sessions::lock,
};
use flotilla_contract::{
    dashboard::{
        DashboardAgents, DashboardConnections, DashboardMetrics, DashboardServers, Performance,
    },
    state::FleetCounts,
};

/// What these clients know the engine as.
const SERVICE: &str = "a2a-mcp-server";
const MIB: u64 = 1 << 20;

fn agents(core: &Core) -> DashboardAgents {
    let stats = lock(&core.agents).stats();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    DashboardAgents {
        total: stats.total,
        enabled: stats.enabled,
        disabled: stats.disabled,
        categories: count(stats.by_category.len()),
        tags: count(stats.by_tag.len()),
        by_category: stats.by_category,
        by_tag: stats.by_tag,
    }
}

/// The picture that the dashboard WebSocket sends.
pub(crate) fn metrics(core: &Core, connections: Connections) -> DashboardMetrics {
    let now = clock::now();
    let (usage, machine) = (flotilla_os::usage(), flotilla_os::machine());
    let counts = FleetCounts::of(&core.server_views());
    #[expect(clippy::cast_precision_loss, reason = "a share of memory")]
    let share = |total: u64| {
        let percent = usage.rss_bytes as f64 / total.max(1) as f64 * 100.0;
        (percent * 100.0).round() / 100.0
    };
    DashboardMetrics {
        timestamp: now,
        agents: agents(core),
        mcp_servers: DashboardServers {
            total: counts.total,
            running: counts.running,
            healthy: counts.healthy,
            unhealthy: counts.unhealthy,
            failed: counts.failed,
        },
        performance: Performance {
            memory_usage_mb: (usage.rss_bytes + MIB / 2) / MIB,
            memory_percentage: machine.map(|machine| share(machine.memory_bytes)),
            cpu_load_average: machine
                .map(|machine| machine.load.map(|load| (load * 100.0).round() / 100.0)),
            uptime: now.saturating_sub(core.started_at) / 1_000,
        },
        connections: DashboardConnections {
            websocket_clients: connections.dashboards,
            active_streams: connections.followers,
        },
    }
}

/// The answer of `/api/agent?action=status`.
pub(crate) fn agent_status(core: &Core) -> serde_json::Value {
    let agents = agents(core);
    let now = i64::try_from(clock::now()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    serde_json::json!({
        "ok": true,
        "service": SERVICE,
        "version": VERSION,
        "time": format!("{time:.3}"),
        "agents": {
            "total": agents.total,
            "enabled": agents.enabled,
            "disabled": agents.disabled,
            "categories": agents.categories,
            "tags": agents.tags,
        },
    })
}
