//! A session: who holds it, how far along it is, and how it ages.

use super::token::Permission;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const HOUR_MS: i64 = 60 * 60 * 1000;
/// A session lasts a day from its creation. One that lies idle for longer than that is deleted.
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// How far along a session is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    // Created, and not used yet. Its first use makes it active.
    Initializing,
    Active,
    // Paused by its client, or idle for more than an hour. Can be resumed.
    Suspended,
    // A day old.
    Expired,
    // Ended by its client.
    Terminated,
}

impl State {
    pub(super) const ALL: [Self; 5] = [
        Self::Initializing,
        Self::Active,
        Self::Suspended,
        Self::Expired,
        Self::Terminated,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Terminated => "terminated",
        }
    }

    /// Whether nothing can bring it back.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Expired | Self::Terminated)
    }
}

/// One client's session, as it is kept and as it is filed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Session {
    pub(super) session_id: String,
    pub(super) client_id: String,
    pub(super) state: State,
    pub(super) permissions: Vec<Permission>,
    pub(super) metadata: BTreeMap<String, String>,
    /// Times are in milliseconds since 1970.
    pub(super) created_at: i64,
    pub(super) last_activity: i64,
    pub(super) message_count: u64,
    /// Requests under way. They do not outlive the process.
    #[serde(skip)]
    pub(super) pending: u32,
    /// When it was last filed.
    #[serde(skip)]
    pub(super) filed_at: i64,
}

impl Session {
    /// What time has made of it: the state it is in now, or nothing when it is to be deleted.
    pub(super) fn aged(&self, now_ms: i64) -> Option<State> {
        let idle = now_ms.saturating_sub(self.last_activity);
        let age = now_ms.saturating_sub(self.created_at);
        match self.state {
            _ if idle > DAY_MS => None,
            over if over.is_over() => Some(over),
            _ if age >= DAY_MS => Some(State::Expired),
            _ if idle > HOUR_MS => Some(State::Suspended),
            state => Some(state),
        }
    }

    /// Whole seconds until it expires.
    pub(super) fn expires_in(&self, now_ms: i64) -> i64 {
        let end = self.created_at.saturating_add(DAY_MS);
        (end.saturating_sub(now_ms) / 1000).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_age() {
        let check = |state, created_h: f64, active_h: f64, now_h: f64, expected| {
            #[expect(clippy::cast_possible_truncation, reason = "hours of a few days")]
            let at = |hours: f64| (hours * 3_600_000.0) as i64;
            let session = Session {
                session_id: String::new(),
                client_id: String::new(),
                state,
                permissions: Vec::new(),
                metadata: BTreeMap::new(),
                created_at: at(created_h),
                last_activity: at(active_h),
                message_count: 0,
                pending: 0,
                filed_at: 0,
            };
            assert_eq!(
                session.aged(at(now_h)),
                expected,
                "{state:?} {created_h} {active_h} {now_h}"
            );
        };
        use State::{Active, Expired, Initializing, Suspended, Terminated};
        // Suspended after more than an hour, expired at a day, deleted after more than a day idle.
        check(Active, 0.0, 0.0, 1.0, Some(Active));
        check(Active, 0.0, 0.0, 1.001, Some(Suspended));
        check(Initializing, 0.0, 0.0, 1.0, Some(Initializing));
        check(Initializing, 0.0, 0.0, 1.001, Some(Suspended));
        check(Suspended, 0.0, 0.0, 23.9, Some(Suspended));
        check(Active, 0.0, 23.5, 23.9, Some(Active));
        check(Active, 0.0, 23.5, 24.0, Some(Expired));
        check(Suspended, 0.0, 23.5, 24.0, Some(Expired));
        check(Expired, 0.0, 23.5, 47.5, Some(Expired));
        check(Expired, 0.0, 23.5, 47.501, None);
        check(Terminated, 0.0, 0.0, 24.0, Some(Terminated));
        check(Terminated, 0.0, 0.0, 24.001, None);
        // A clock that goes back makes nothing older.
        check(Active, 5.0, 5.0, 0.0, Some(Active));
    }
}
