//! Desktop notifications: a server failed, a server recovered, a run asks, what a channel of the kind `desktop` tells. Few, or they are switched off.

use crate::{host::Host, link::Piece};
use flotilla_contract::{
    Event, EventKind,
    alert::Severity,
    frame::{Topic, Update},
    workflow::StepState,
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tauri::{AppHandle, Manager};
use tauri_plugin_notification::NotificationExt;
use tracing::debug;

/// The same server is named this often at most, per kind.
const PER_SERVER: Duration = Duration::from_secs(60);
/// All servers together: this many within [`WINDOW`].
const MOST: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// Which notifications are shown.
#[derive(Default)]
struct Limit {
    last: HashMap<(String, bool), Instant>,
    recent: Vec<Instant>,
}

impl Limit {
    fn allows(&mut self, now: Instant, server: &str, failed: bool) -> bool {
        self.recent.retain(|at| now.duration_since(*at) < WINDOW);
        self.last
            .retain(|_, at| now.duration_since(*at) < PER_SERVER);
        if self.recent.len() >= MOST || self.last.contains_key(&(server.to_owned(), failed)) {
            return false;
        }
        self.recent.push(now);
        self.last.insert((server.to_owned(), failed), now);
        true
    }
}

/// About what, title and text of an event that deserves one, and whether something is wrong.
fn words(event: &Event) -> Option<(String, String, String, bool)> {
    if let EventKind::AlertNotice {
        title,
        body,
        severity,
    } = &event.what
    {
        // What is about no server is told apart by its title.
        let about = event.server.as_ref().map_or(title.as_str(), |s| s.as_str());
        let bad = *severity == Severity::Critical;
        return Some((about.to_owned(), title.clone(), body.clone(), bad));
    }
    if let EventKind::WorkflowStep {
        run,
        workflow,
        step,
        state: StepState::Waiting,
        why,
    } = &event.what
    {
        let title = format!("{workflow} asks");
        return Some((format!("run {run} {step}"), title, why.clone(), true));
    }
    let server = event.server.as_ref()?;
    let (title, body, failed) = match &event.what {
        EventKind::Failed { error, .. } => (format!("{server} failed"), error.clone(), true),
        EventKind::Recovered { attempts } => {
            let restarts = if *attempts == 1 {
                "restart"
            } else {
                "restarts"
            };
            (
                format!("{server} recovered"),
                format!("It works again after {attempts} {restarts}."),
                false,
            )
        }
        _ => return None,
    };
    Some((server.to_string(), title, body, failed))
}

pub(crate) fn watch(app: &AppHandle) {
    let app = app.clone();
    tauri::async_runtime::spawn(async move {
        let Ok(mut feed) = app.state::<Host>().link().subscribe(Topic::Events).await else {
            return;
        };
        let mut limit = Limit::default();
        while let Some(piece) = feed.next().await {
            let Piece::Update(update) = piece else {
                continue;
            };
            let Update::Events { events, .. } = *update else {
                continue;
            };
            for event in &events {
                let Some((about, title, body, failed)) = words(event) else {
                    continue;
                };
                if limit.allows(Instant::now(), &about, failed)
                    && let Err(error) = app.notification().builder().title(title).body(body).show()
                {
                    debug!(%error, "no notification");
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_notifications() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        assert!(limit.allows(at(0), "a", true));
        assert!(!limit.allows(at(59), "a", true), "the same again");
        assert!(limit.allows(at(1), "a", false), "recovered is other news");
        assert!(limit.allows(at(61), "a", true));
        let shown = (0..20)
            .filter(|n| limit.allows(at(62), &format!("s{n}"), true))
            .count();
        assert_eq!(
            shown,
            MOST - 1,
            "a fleet that fails together is not twenty bubbles"
        );
    }
}
