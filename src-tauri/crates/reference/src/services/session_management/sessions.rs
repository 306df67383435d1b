//! All sessions: who may do what with which, and what is filed when.
//!
//! Time works on access: a session is aged whenever it is touched, and all of them before they are counted, so what is seen
//! depends on the clock alone and not on when a sweep last ran. What a client changes is filed at once; that it was active,
//! every five minutes.

use super::{
    files::Files,
    session::{DAY_MS, Session, State},
    token::{Claims, LIFETIME_S, Permission, Secret, TokenFault},
};
use crate::{service::Host, tool::Refusal};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// At most so many sessions.
pub(super) const MOST: usize = 10_000;
const FILE_EVERY_MS: i64 = 5 * 60 * 1000;
/// At most so many requests of one session at once.
const MOST_PENDING: u32 = 100;

/// Why a session cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("{0}")]
    Token(#[from] TokenFault),
    #[error("the client was revoked")]
    Revoked,
    // One answer for both, so that nobody learns of other clients' sessions.
    #[error("the token's client has no session of this id")]
    Unknown,
    #[error("the session is {}, not active", .0.name())]
    Inactive(State),
    #[error("the token lacks the permission {0:?}")]
    Forbidden(&'static str),
    #[error("100 requests of the session are under way already")]
    Busy,
    #[error("failed to file the session: {0}")]
    Unfiled(String),
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let field = match denied {
            Denied::Token(_) | Denied::Revoked | Denied::Forbidden(_) => "auth_token",
            Denied::Unknown => "session_id",
            _ => return Self::Failed(denied.to_string()),
        };
        Self::argument(field, denied.to_string())
    }
}

/// The sessions of this server.
pub(super) struct Sessions {
    host: Host,
    secret: Secret,
    files: Option<Files>,
    kept: Mutex<Kept>,
}

struct Kept {
    sessions: BTreeMap<String, Session>,
    /// Until when is told by [`LIFETIME_S`]: by then all tokens of the client have expired.
    revoked: BTreeMap<String, i64>,
}

/// How many there are of what.
pub(super) struct Counts {
    pub(super) by_state: BTreeMap<&'static str, usize>,
    pub(super) clients: usize,
    pub(super) revoked_clients: usize,
    pub(super) pending: u64,
    pub(super) messages: u64,
    pub(super) filed: bool,
}

impl Sessions {
    /// With those that were filed. When the folder cannot be used it goes on in memory, and says so in the log.
    pub(super) fn open(host: Host, secret: Secret) -> Self {
        let files = host.data().and_then(|data| {
            Files::new(data)
                .inspect_err(|error| tracing::warn!(%error, "failed to open the folder: sessions are in memory only"))
                .ok()
        });
        let now_ms = host.now_ms();
        let mut sessions = files
            .as_ref()
            .map(|files| files.sessions(MOST))
            .unwrap_or_default();
        for session in sessions.values_mut() {
            session.filed_at = now_ms;
        }
        let revoked = files.as_ref().map(Files::revoked).unwrap_or_default();
        Self {
            host,
            secret,
            files,
            kept: Mutex::new(Kept { sessions, revoked }),
        }
    }

    /// A new session of a client, and the token for it.
    pub(super) fn create(
        &self,
        client_id: &str,
        permissions: &[Permission],
        metadata: BTreeMap<String, String>,
    ) -> Result<(Session, String), Refusal> {
        let now_ms = self.host.now_ms();
        let mut kept = self.lock();
        if self.is_revoked(&kept, client_id, now_ms) {
            return Err(Refusal::argument("client_id", Denied::Revoked.to_string()));
        }
        self.make_room(&mut kept, now_ms)?;
        let session = Session {
            session_id: Uuid::new_v4().hyphenated().to_string(),
            client_id: client_id.to_owned(),
            state: State::Initializing,
            permissions: permissions.to_vec(),
            metadata,
            created_at: now_ms,
            last_activity: now_ms,
            message_count: 0,
            pending: 0,
            filed_at: now_ms,
        };
        self.put(&mut kept, session.clone(), now_ms)?;
        let iat = now_ms / 1000;
        let token = self.secret.sign(&Claims {
            client_id: client_id.to_owned(),
            permissions: permissions.to_vec(),
            iat,
            exp: iat.saturating_add(LIFETIME_S),
        });
        Ok((session, token))
    }

    /// The session, whatever its state, for its client.
    pub(super) fn get(&self, id: &str, token: &str) -> Result<Session, Denied> {
        let now_ms = self.host.now_ms();
        let claims = self.claims(token, Some(Permission::Read), now_ms)?;
        self.owned(&mut self.lock(), &claims, id, now_ms)
    }

    /// The session, when it can be used. This is a use: it makes the session active, and young.
    pub(super) fn touch(&self, id: &str, token: &str) -> Result<Session, Denied> {
        let now_ms = self.host.now_ms();
        let claims = self.claims(token, None, now_ms)?;
        let mut kept = self.lock();
        let mut session = self.usable(&mut kept, &claims, id, now_ms)?;
        session.last_activity = session.last_activity.max(now_ms);
        self.keep(&mut kept, &session, now_ms);
        Ok(session)
    }

    /// As [`touch`](Self::touch), and counts a message that is under way until the guard is dropped.
    pub(super) fn begin(
        &self,
        id: &str,
        token: &str,
        needs: Permission,
    ) -> Result<Under<'_>, Denied> {
        let now_ms = self.host.now_ms();
        let claims = self.claims(token, Some(needs), now_ms)?;
        let mut kept = self.lock();
        let mut session = self.usable(&mut kept, &claims, id, now_ms)?;
        if session.pending >= MOST_PENDING {
            return Err(Denied::Busy);
        }
        session.last_activity = session.last_activity.max(now_ms);
        session.message_count = session.message_count.saturating_add(1);
        session.pending += 1;
        self.keep(&mut kept, &session, now_ms);
        Ok(Under {
            sessions: self,
            session,
        })
    }

    /// Changes a session of the token's client that is not over.
    pub(super) fn change(
        &self,
        id: &str,
        token: &str,
        change: impl FnOnce(&mut Session),
    ) -> Result<Session, Denied> {
        let now_ms = self.host.now_ms();
        let claims = self.claims(token, Some(Permission::Write), now_ms)?;
        let mut kept = self.lock();
        let mut session = self.owned(&mut kept, &claims, id, now_ms)?;
        if session.state.is_over() {
            return Err(Denied::Inactive(session.state));
        }
        change(&mut session);
        session.last_activity = session.last_activity.max(now_ms);
        self.put(&mut kept, session.clone(), now_ms)?;
        Ok(session)
    }

    /// Revokes the token's client: its sessions end, none of its tokens is good any more, and it gets no new session until
    /// the last of them would have expired. Gives the client and how many of its sessions ended.
    pub(super) fn revoke(&self, token: &str) -> Result<(String, usize), Denied> {
        let now_ms = self.host.now_ms();
        let claims = self.claims(token, Some(Permission::Write), now_ms)?;
        let mut kept = self.lock();
        let mut revoked = kept.revoked.clone();
        revoked.retain(|_, at| is_recent(*at, now_ms));
        revoked.insert(claims.client_id.clone(), now_ms);
        self.filed(|files| files.save_revoked(&revoked))?;
        kept.revoked = revoked;
        let theirs: Vec<Session> = kept
            .sessions
            .values()
            .filter(|session| session.client_id == claims.client_id && !session.state.is_over())
            .cloned()
            .collect();
        for session in &theirs {
            let session = Session {
                state: State::Terminated,
                ..session.clone()
            };
            self.put(&mut kept, session, now_ms)?;
        }
        Ok((claims.client_id, theirs.len()))
    }

    /// Counts what is there, after time has done its work.
    pub(super) fn counts(&self) -> Counts {
        let now_ms = self.host.now_ms();
        let mut kept = self.lock();
        self.sweep(&mut kept, now_ms);
        let mut by_state: BTreeMap<_, _> =
            State::ALL.iter().map(|state| (state.name(), 0)).collect();
        for session in kept.sessions.values() {
            *by_state.entry(session.state.name()).or_default() += 1;
        }
        let all = || kept.sessions.values();
        let clients: BTreeSet<&str> = all().map(|session| session.client_id.as_str()).collect();
        let revoked = kept.revoked.values().filter(|at| is_recent(**at, now_ms));
        Counts {
            by_state,
            clients: clients.len(),
            revoked_clients: revoked.count(),
            pending: all().map(|session| u64::from(session.pending)).sum(),
            messages: all().fold(0, |sum, session| sum.saturating_add(session.message_count)),
            filed: self.files.is_some(),
        }
    }

    fn claims(
        &self,
        token: &str,
        needs: Option<Permission>,
        now_ms: i64,
    ) -> Result<Claims, Denied> {
        let claims = self.secret.verify(token, now_ms / 1000)?;
        if self.is_revoked(&self.lock(), &claims.client_id, now_ms) {
            return Err(Denied::Revoked);
        }
        match needs {
            Some(needs) if !claims.permissions.contains(&needs) => {
                Err(Denied::Forbidden(match needs {
                    Permission::Read => "read",
                    Permission::Write => "write",
                }))
            }
            _ => Ok(claims),
        }
    }

    fn is_revoked(&self, kept: &Kept, client_id: &str, now_ms: i64) -> bool {
        let at = kept.revoked.get(client_id);
        at.is_some_and(|at| is_recent(*at, now_ms))
    }

    /// The client's session of this id, aged.
    fn owned(
        &self,
        kept: &mut Kept,
        claims: &Claims,
        id: &str,
        now_ms: i64,
    ) -> Result<Session, Denied> {
        self.age(kept, id, now_ms);
        kept.sessions
            .get(id)
            .filter(|session| session.client_id == claims.client_id)
            .cloned()
            .ok_or(Denied::Unknown)
    }

    /// The client's session of this id, if it can be used; active by that.
    fn usable(
        &self,
        kept: &mut Kept,
        claims: &Claims,
        id: &str,
        now_ms: i64,
    ) -> Result<Session, Denied> {
        let mut session = self.owned(kept, claims, id, now_ms)?;
        match session.state {
            State::Initializing | State::Active => {
                session.state = State::Active;
                Ok(session)
            }
            other => Err(Denied::Inactive(other)),
        }
    }

    /// Does to a session what time does to it.
    fn age(&self, kept: &mut Kept, id: &str, now_ms: i64) {
        let Some(session) = kept.sessions.get_mut(id) else {
            return;
        };
        match session.aged(now_ms) {
            Some(state) => session.state = state,
            None => {
                kept.sessions.remove(id);
                if let Some(files) = &self.files {
                    files.delete(id);
                }
            }
        }
    }

    fn sweep(&self, kept: &mut Kept, now_ms: i64) {
        let ids: Vec<String> = kept.sessions.keys().cloned().collect();
        for id in ids {
            self.age(kept, &id, now_ms);
        }
    }

    /// Before a session too many is refused, time does its work, and the session that is over for longest goes.
    fn make_room(&self, kept: &mut Kept, now_ms: i64) -> Result<(), Refusal> {
        if kept.sessions.len() < MOST {
            return Ok(());
        }
        self.sweep(kept, now_ms);
        if kept.sessions.len() < MOST {
            return Ok(());
        }
        let over = kept
            .sessions
            .values()
            .filter(|session| session.state.is_over());
        let oldest = over.min_by_key(|session| session.last_activity);
        let Some(id) = oldest.map(|session| session.session_id.clone()) else {
            return Err(Refusal::Failed(format!(
                "{MOST} sessions are open: terminate some first"
            )));
        };
        kept.sessions.remove(&id);
        if let Some(files) = &self.files {
            files.delete(&id);
        }
        Ok(())
    }

    /// Files a session, then keeps it.
    fn put(&self, kept: &mut Kept, mut session: Session, now_ms: i64) -> Result<(), Denied> {
        self.filed(|files| files.save(&session))?;
        session.filed_at = now_ms;
        kept.sessions.insert(session.session_id.clone(), session);
        Ok(())
    }

    /// Keeps a session, and files it when that was last done five minutes ago. Activity is no reason to refuse a call.
    fn keep(&self, kept: &mut Kept, session: &Session, now_ms: i64) {
        let due = now_ms.saturating_sub(session.filed_at) >= FILE_EVERY_MS;
        let filed = if due {
            self.put(kept, session.clone(), now_ms)
        } else {
            Ok(())
        };
        if let Err(denied) = &filed {
            tracing::warn!(session = session.session_id, "{denied}");
        }
        if !due || filed.is_err() {
            kept.sessions
                .insert(session.session_id.clone(), session.clone());
        }
    }

    fn filed(&self, save: impl FnOnce(&Files) -> io::Result<()>) -> Result<(), Denied> {
        self.files
            .as_ref()
            .map_or(Ok(()), save)
            .map_err(|error| Denied::Unfiled(error.to_string()))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_recent(revoked_at_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(revoked_at_ms) <= 30 * DAY_MS
}

/// A message under way in a session.
pub(super) struct Under<'a> {
    sessions: &'a Sessions,
    /// The session as it was when the message came.
    pub(super) session: Session,
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        let mut kept = self.sessions.lock();
        if let Some(session) = kept.sessions.get_mut(&self.session.session_id) {
            session.pending = session.pending.saturating_sub(1);
        }
    }
}
