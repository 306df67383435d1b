//! The tray: state at a glance, and the actions an operator wants without a window.

use crate::{
    host::Host,
    link::{Link, Piece},
    menu, window,
};
use flotilla_contract::{
    ServerView,
    frame::{Topic, Update},
    state::{FleetCounts, Status},
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tauri::{
    AppHandle, Manager,
    image::Image,
    include_image,
    tray::{MouseButton, MouseButtonState, TrayIcon, TrayIconBuilder, TrayIconEvent},
};
use tracing::{info, warn};

/// Whether there is a tray that brings a hidden window back.
#[derive(Default)]
pub(crate) struct Shown(AtomicBool);

impl Shown {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the tray says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) state: State,
    /// One line for tooltip and menu.
    pub(crate) line: String,
    /// Names of servers that need attention, each with its word.
    pub(crate) attention: Vec<(String, &'static str)>,
}

/// The picture of the icon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    Ok,
    Attention,
    Failed,
    #[default]
    Unreachable,
}

impl Summary {
    pub(crate) fn of<'a>(servers: impl Iterator<Item = &'a ServerView> + Clone) -> Self {
        // What counts as running is the same on every surface.
        let FleetCounts { total, running, .. } = FleetCounts::of(servers.clone());
        let mut failed = 0;
        let mut attention = Vec::new();
        for server in servers {
            failed += u32::from(matches!(server.status, Status::Failed | Status::Unhealthy));
            if server.status.needs_attention() {
                attention.push((server.id().to_string(), word(server.status)));
            }
        }
        let state = match (failed, attention.is_empty()) {
            (0, true) => State::Ok,
            (0, false) => State::Attention,
            _ => State::Failed,
        };
        let servers = if total == 1 { "server" } else { "servers" };
        let line = match attention.len() {
            0 => format!("{running} of {total} {servers} running"),
            1 => format!("{running} of {total} {servers} running, 1 needs attention"),
            n => format!("{running} of {total} {servers} running, {n} need attention"),
        };
        Self {
            state,
            line,
            attention,
        }
    }

    fn unreachable() -> Self {
        Self {
            line: "The engine cannot be reached".into(),
            ..Self::default()
        }
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Failed => "failed",
        Status::Unhealthy => "unhealthy",
        Status::Restarting => "restarting",
        _ => "degraded",
    }
}

fn icon(state: State) -> Image<'static> {
    match state {
        State::Ok => include_image!("icons/tray-ok.png"),
        State::Attention => include_image!("icons/tray-attention.png"),
        State::Failed => include_image!("icons/tray-failed.png"),
        State::Unreachable => include_image!("icons/tray-unreachable.png"),
    }
}

/// Opens the tray where there is a place for one, and keeps it true.
pub(crate) fn open(app: &AppHandle) {
    app.manage(Shown::default());
    if !has_place() {
        info!("no tray on this desktop; closing the window asks what to do");
        return;
    }
    // The library behind it is looked up at run time, and its absence is a panic.
    match catch_unwind(AssertUnwindSafe(|| build(app))) {
        Ok(Ok(tray)) => {
            app.state::<Shown>().0.store(true, Ordering::Relaxed);
            tauri::async_runtime::spawn(keep_true(app.clone(), tray));
        }
        Ok(Err(error)) => warn!(%error, "no tray"),
        Err(_) => warn!("no tray: its library cannot be loaded"),
    }
}

fn build(app: &AppHandle) -> tauri::Result<TrayIcon> {
    let summary = Summary::unreachable();
    TrayIconBuilder::with_id("fleet")
        .icon(icon(summary.state))
        .tooltip(&summary.line)
        .menu(&menu::of(app, &summary)?)
        .show_menu_on_left_click(false)
        .on_menu_event(|app, event| menu::on_event(app, event.id().as_ref()))
        .on_tray_icon_event(|tray, event| {
            if let TrayIconEvent::Click {
                button: MouseButton::Left,
                button_state: MouseButtonState::Up,
                ..
            } = event
            {
                window::show(tray.app_handle());
            }
        })
        .build(app)
}

/// On Linux an icon without a host is drawn nowhere, and nothing says so: the host is asked for by name.
#[cfg(target_os = "linux")]
fn has_place() -> bool {
    let ask = || -> zbus::Result<bool> {
        let bus = zbus::blocking::Connection::session()?;
        Ok(zbus::blocking::fdo::DBusProxy::new(&bus)?
            .name_has_owner("org.kde.StatusNotifierWatcher".try_into()?)?)
    };
    ask().unwrap_or(false)
}

#[cfg(not(target_os = "linux"))]
fn has_place() -> bool {
    true
}

async fn keep_true(app: AppHandle, tray: TrayIcon) {
    let link = app.state::<Host>().link();
    let mut shown = Summary::unreachable();
    loop {
        follow(&app, &link, &tray, &mut shown).await;
        show(&app, &tray, &mut shown, Summary::unreachable());
        if matches!(link, Link::Nowhere(_)) || app.state::<Host>().is_quitting() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

async fn follow(app: &AppHandle, link: &Link, tray: &TrayIcon, shown: &mut Summary) {
    let Ok(mut feed) = link.subscribe(Topic::Fleet).await else {
        return;
    };
    let mut connection = link.connection();
    let mut servers = BTreeMap::new();
    loop {
        let lost = async {
            match &mut connection {
                Some(connection) => {
                    let down = connection
                        .wait_for(|link| !matches!(link, flotilla_remote::Link::Up(_)))
                        .await;
                    drop(down);
                }
                None => std::future::pending().await,
            }
        };
        let piece = tokio::select! {
            piece = feed.next() => piece,
            () = lost => return,
        };
        let Some(Piece::Update(update)) = piece else {
            return;
        };
        match *update {
            Update::Fleet(fleet) => {
                servers = fleet
                    .servers
                    .into_iter()
                    .map(|s| (s.id().clone(), s))
                    .collect()
            }
            Update::Changed(delta) => {
                servers.extend(delta.servers.into_iter().map(|s| (s.id().clone(), s)));
                servers.retain(|id, _| !delta.removed.contains(id));
            }
            // None of these is of this feed.
            _ => continue,
        }
        show(app, tray, shown, Summary::of(servers.values()));
    }
}

/// Draws what changed, and nothing else: a menu that is open must not be rebuilt without need.
fn show(app: &AppHandle, tray: &TrayIcon, shown: &mut Summary, now: Summary) {
    if *shown == now {
        return;
    }
    let draw = || -> tauri::Result<()> {
        tray.set_icon(Some(icon(now.state)))?;
        tray.set_tooltip(Some(&now.line))?;
        tray.set_menu(Some(menu::of(app, &now)?))
    };
    if let Err(error) = draw() {
        warn!(%error, "the tray was not redrawn");
    }
    *shown = now;
}

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_contract::{
        InstanceView, ServerSpec,
        spec::{HealthCheck, Launch, Limits, RestartPolicy, Transport},
        state::{HealthCode, HealthLevel, HealthReport, NextAction, ProcessAxis, ProcessState},
    };

    /// A server of one instance, in this state.
    fn server(name: &str, process: ProcessState, level: HealthLevel) -> ServerView {
        let health = HealthReport {
            level,
            since: 0,
            code: HealthCode::Proven,
            sentence: String::new(),
            action: NextAction::None,
            checked_at: None,
            check_ms: None,
        };
        let id: flotilla_contract::ServerId = name.parse().unwrap();
        let status = Status::derive(false, process, level);
        ServerView {
            spec: ServerSpec {
                id: id.clone(),
                category: "general".into(),
                tags: Vec::new(),
                description: None,
                disabled: None,
                transport: Transport::Stdio {
                    launch: Launch {
                        command: "server".into(),
                        args: Vec::new(),
                        env: BTreeMap::new(),
                        cwd: None,
                    },
                },
                replicas: 1,
                autostart: true,
                on_demand: None,
                depends_on: Vec::new(),
                restart: RestartPolicy::default(),
                stop_timeout_ms: 5_000,
                health: HealthCheck::default(),
                limits: Limits::default(),
                metrics_path: None,
                gateway: Default::default(),
            },
            r#override: None,
            wanted: true,
            wanted_replicas: 1,
            health: health.clone(),
            status,
            instances: vec![InstanceView {
                id: flotilla_contract::InstanceId {
                    server: id,
                    index: 1,
                },
                process: ProcessAxis {
                    state: process,
                    since: 0,
                    reason: String::new(),
                    next_try: None,
                },
                health,
                status,
                pid: None,
                port: None,
                started_at: None,
                restarts: 0,
                restarts_total: 0,
                last_exit: None,
                sample: None,
            }],
            peer: None,
            tools: None,
            findings: Vec::new(),
            era: None,
            revision: 1,
        }
    }

    #[test]
    fn the_tray_says_the_worst_and_counts_as_every_other_surface() {
        use HealthLevel::{Degraded, Healthy, Starting, Unhealthy, Unknown};
        use ProcessState::{Failed, Restarting, Running, Stopped};
        #[track_caller]
        fn check(fleet: &[(ProcessState, HealthLevel)], state: State, line: &str, words: &[&str]) {
            let servers: Vec<_> = fleet
                .iter()
                .zip(["a", "b", "c"])
                .map(|((process, level), name)| server(name, *process, *level))
                .collect();
            let summary = Summary::of(servers.iter());
            let attention: Vec<String> = summary
                .attention
                .iter()
                .map(|(server, word)| format!("{server} {word}"))
                .collect();
            assert_eq!((summary.state, summary.line.as_str()), (state, line));
            assert_eq!(attention, words);
        }
        let good = (Running, Healthy);
        check(&[], State::Ok, "0 of 0 servers running", &[]);
        check(&[good], State::Ok, "1 of 1 server running", &[]);
        check(
            &[good, (Stopped, Unknown), (Running, Starting)],
            State::Ok,
            "2 of 3 servers running",
            &[],
        );
        // Nobody asks how it is; that it runs is known.
        check(
            &[(Running, Unknown)],
            State::Ok,
            "1 of 1 server running",
            &[],
        );
        check(
            &[good, (Restarting, Unknown)],
            State::Attention,
            "1 of 2 servers running, 1 needs attention",
            &["b restarting"],
        );
        check(
            &[(Running, Degraded), good, (Restarting, Unknown)],
            State::Attention,
            "2 of 3 servers running, 2 need attention",
            &["a degraded", "c restarting"],
        );
        check(
            &[good, (Running, Unhealthy), (Running, Degraded)],
            State::Failed,
            "3 of 3 servers running, 2 need attention",
            &["b unhealthy", "c degraded"],
        );
        check(
            &[(Failed, Unknown)],
            State::Failed,
            "0 of 1 server running, 1 needs attention",
            &["a failed"],
        );
        assert_eq!(Summary::unreachable().state, State::Unreachable);
    }
}
