//! `fleet.toml` in force: read, watched, applied, written, rolled back.
//!
//! One change at a time: whoever reads or writes the file holds the gate. What is in force is always the last text that
//! was valid; a broken file changes nothing but the findings that the panel shows.

use crate::{
    core::{Core, itself},
    facts, home,
    sessions::lock,
};
use flotilla_config::{Change, ChangeKind, Effects, Fleet, diff, hash, parse, unified_diff};
use flotilla_contract::{
    Caller, ErrorCode, EventKind, ServerId, ServerSpec, WireError,
    command::{CheckedConfig, ConfigFinding, ConfigText, ConfigWritten},
    state::ProcessState,
};
use flotilla_store::{Control, NewRevision};
use flotilla_supervisor::{Busy, Desired, Ticket};
use notify::{RecursiveMode, Watcher};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::{Mutex as Gate, Notify};

/// An editor writes a file in several steps: this long must pass without another.
const SETTLE: Duration = Duration::from_millis(120);
/// The file is looked at this often in case the watcher misses something (network file systems).
const LOOK: Duration = Duration::from_secs(30);
/// Revisions that are searched for the last one that touched a server.
const HISTORY: u32 = 500;
/// A server that is taken out is asked this often to stop, and this long after it was busy.
const FORGET_TRIES: u32 = 100;
const FORGET_PAUSE: Duration = Duration::from_millis(20);
/// A configuration is not read beyond this.
const LARGEST: u64 = 4 << 20;

const STARTER: &str = "# Flotilla's fleet. Saving this file applies it: only what changed is started, stopped or restarted.\n\
    #\n\
    # [servers.everything]\n\
    # command = \"npx\"\n\
    # args = [\"-y\", \"@modelcontextprotocol/server-everything\"]\n";

/// The text in force and what it declares.
struct InForce {
    text: String,
    fleet: Arc<Fleet>,
    revision: u64,
    /// What is wrong with the file on disk, if it is not the text in force.
    findings: Vec<ConfigFinding>,
    /// Hash of the file as last looked at.
    seen: String,
    /// Texts that were in force before, newest first, so that a conflict can show what changed since one was read.
    earlier: VecDeque<String>,
}

/// Earlier texts that are remembered.
const EARLIER: usize = 8;

pub(crate) struct ConfigState {
    pub(crate) path: PathBuf,
    state: Mutex<InForce>,
    gate: Gate<()>,
}

/// What was found at the start.
pub(crate) struct Loaded {
    pub(crate) fleet: Fleet,
    pub(crate) notice: Option<String>,
    text: String,
    revision: u64,
    findings: Vec<ConfigFinding>,
    seen: String,
    /// What changed in the file while no engine ran.
    pub(crate) meanwhile: Vec<Change>,
}

impl ConfigState {
    pub(crate) fn new(path: PathBuf, loaded: Loaded) -> Self {
        let Loaded {
            fleet,
            text,
            revision,
            findings,
            seen,
            ..
        } = loaded;
        Self {
            path,
            state: Mutex::new(InForce {
                text,
                fleet: Arc::new(fleet),
                revision,
                findings,
                seen,
                earlier: VecDeque::new(),
            }),
            gate: Gate::new(()),
        }
    }

    pub(crate) fn fleet(&self) -> Arc<Fleet> {
        lock(&self.state).fleet.clone()
    }

    pub(crate) fn revision(&self) -> u64 {
        lock(&self.state).revision
    }

    pub(crate) fn findings(&self) -> Vec<ConfigFinding> {
        lock(&self.state).findings.clone()
    }

    fn text(&self) -> String {
        lock(&self.state).text.clone()
    }

    /// The text of this hash, if it is or was in force; otherwise the one in force.
    fn text_of(&self, wanted: &str) -> String {
        let state = lock(&self.state);
        let known = std::iter::once(&state.text).chain(&state.earlier);
        known
            .into_iter()
            .find(|text| hash(text) == wanted)
            .unwrap_or(&state.text)
            .clone()
    }
}

fn finding(message: String) -> ConfigFinding {
    ConfigFinding {
        line: 1,
        column: 1,
        key: String::new(),
        message,
    }
}

/// The file as it is; `None` if it is not there.
fn read(path: &Path) -> Result<Option<String>, ConfigFinding> {
    let failed = |error: std::io::Error| finding(format!("read {}: {error}", path.display()));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        // A pipe or a device would be waited for, for ever.
        Ok(meta) if !meta.is_file() => {
            return Err(finding(format!("{} is not a regular file", path.display())));
        }
        Ok(meta) if meta.len() > LARGEST => {
            return Err(finding(format!(
                "{} has {} bytes; accepted are up to {LARGEST}",
                path.display(),
                meta.len()
            )));
        }
        Ok(_) => {}
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| finding(format!("{} is not UTF-8 text", path.display())))?;
    Ok(Some(text))
}

/// What a file declares. One that is gone or empty declares nothing only where nothing was declared before: a slip must
/// not stop a fleet.
fn judge(
    path: &Path,
    read: Result<Option<String>, ConfigFinding>,
    declared: usize,
) -> (String, Result<Fleet, Vec<ConfigFinding>>) {
    let refuse = |why: &str| {
        let are = if declared == 1 {
            "server is"
        } else {
            "servers are"
        };
        let advice = "to declare no server, write a comment into it";
        Err(vec![finding(format!(
            "{} {why} while {declared} {are} declared; {advice}",
            path.display()
        ))])
    };
    match read {
        Ok(None) if declared > 0 => (String::new(), refuse("is not there")),
        Ok(Some(text)) if declared > 0 && text.trim().is_empty() => (text, refuse("is empty")),
        Ok(text) => {
            let text = text.unwrap_or_default();
            let parsed = parse(&text);
            (text, parsed)
        }
        Err(finding) => (String::new(), Err(vec![finding])),
    }
}

/// Reads the file; a broken one leaves the newest revision in force.
pub(crate) async fn load(path: &Path, control: &Control) -> Loaded {
    let mut notice = None;
    let latest = match control.latest_revision().await {
        Ok(latest) => latest,
        Err(error) => {
            notice = Some(format!(
                "The history of the configuration cannot be read: {error}"
            ));
            None
        }
    };
    if latest.is_none()
        && !path.exists()
        && let Err(error) = home::replace(path, STARTER)
    {
        notice = Some(format!("{} cannot be written: {error}", path.display()));
    }
    let last = latest
        .as_ref()
        .map(|l| parse(&l.text).unwrap_or_default())
        .unwrap_or_default();
    let (text, parsed) = judge(path, read(path), last.servers.len());
    let seen = hash(&text);
    let revision = latest.as_ref().map_or(0, |l| l.number);
    match parsed {
        Ok(fleet) => Loaded {
            meanwhile: if latest.is_some() {
                diff(&last, &fleet)
            } else {
                Vec::new()
            },
            fleet,
            notice,
            text,
            revision,
            findings: Vec::new(),
            seen,
        },
        Err(findings) => Loaded {
            meanwhile: Vec::new(),
            fleet: last,
            notice,
            text: latest.map(|l| l.text).unwrap_or_default(),
            revision,
            findings,
            seen,
        },
    }
}

/// Watches the file and applies what is saved.
pub(crate) async fn watch(core: Arc<Core>) {
    let changed = Arc::new(Notify::new());
    let wake = changed.clone();
    // Directories are watched, not files: most editors replace a file rather than write into it. A symbolic link is
    // followed: the link may be changed, and so may what it names.
    let mut files = vec![core.config.path.clone()];
    files.extend(
        core.config
            .path
            .canonicalize()
            .ok()
            .filter(|target| *target != core.config.path),
    );
    let names: Vec<_> = files
        .iter()
        .filter_map(|f| f.file_name().map(std::ffi::OsStr::to_owned))
        .collect();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let named = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|n| names.iter().any(|name| name == n))
        };
        if event.is_ok_and(|e| !e.kind.is_access() && e.paths.iter().any(named)) {
            wake.notify_one();
        }
    });
    let watching = watcher.and_then(|mut watcher| {
        for file in &files {
            watcher.watch(
                file.parent().unwrap_or(Path::new(".")),
                RecursiveMode::NonRecursive,
            )?;
        }
        Ok(watcher)
    });
    if let Err(error) = &watching {
        core.notice(format!(
            "{} cannot be watched ({error}): it is read every {} s.",
            core.config.path.display(),
            LOOK.as_secs()
        ));
    }
    loop {
        let _ = tokio::time::timeout(LOOK, changed.notified()).await;
        while tokio::time::timeout(SETTLE, changed.notified())
            .await
            .is_ok()
        {}
        core.reload(&itself("file"), "saved in an editor").await;
        core.announce_again();
    }
}

/// Why a text was not taken.
fn invalid(findings: Vec<ConfigFinding>) -> WireError {
    let first = findings.first().map_or_else(String::new, |f| {
        format!("line {}, column {}: {}", f.line, f.column, f.message)
    });
    let more = findings.len().saturating_sub(1);
    let more = if more > 0 {
        format!(" (and {more} more)")
    } else {
        String::new()
    };
    WireError::new(
        ErrorCode::InvalidConfig,
        format!("accept the configuration: {first}{more}"),
    )
    .with_detail(serde_json::json!({ "findings": findings }))
}

/// From an instance that takes no orders to its error.
pub(crate) fn busy(error: &Busy) -> WireError {
    WireError::new(ErrorCode::Internal, format!("give the order: {error}"))
}

/// From an edit of the text to its error.
pub(crate) fn edit_error(error: flotilla_config::edit::EditError) -> WireError {
    use flotilla_config::edit::EditError;
    match error {
        EditError::Invalid(findings) => invalid(findings),
        EditError::NoServer(id) => WireError::no_server(id),
        needed @ EditError::Needed { .. } => {
            WireError::new(ErrorCode::Unsupported, needed.to_string())
        }
        exists @ EditError::Exists(_) => WireError::new(ErrorCode::Exists, exists.to_string()),
        other => WireError::new(ErrorCode::BadRequest, other.to_string()),
    }
}

impl Core {
    /// At the start: brings every server back as it was wanted.
    pub(crate) async fn bring_back(&self, caller: &Caller, meanwhile: Vec<Change>) {
        let fleet = self.fleet();
        for change in &meanwhile {
            match (&change.server, &change.kind) {
                (Some(id), ChangeKind::Removed) => self.forget_server(caller, id).await,
                (Some(id), ChangeKind::Changed { effects, .. }) => {
                    self.take_newer_word(id, *effects).await
                }
                _ => {}
            }
        }
        let revisions = self.control.revisions(HISTORY).await.unwrap_or_default();
        for spec in &fleet.servers {
            // A revision's sentences begin with the name of the server that they are about.
            let mine = format!("{}:", spec.id);
            let touched = revisions
                .iter()
                .find(|r| r.changes.iter().any(|c| c.starts_with(&mine)));
            let revision = touched.map_or_else(|| self.config.revision(), |r| r.number);
            self.facts.change(&spec.id, |fact| fact.revision = revision);
            self.supervisor.declare(spec.clone());
        }
        for spec in &fleet.servers {
            self.want_unwatched(&spec.id, Some(&caller.correlation));
        }
        for spec in &fleet.servers {
            self.register_agent(caller, spec).await;
        }
        let first = self.config.revision() == 0;
        let text = self.config.text();
        let differs = match self.control.latest_revision().await {
            Ok(latest) => latest.is_none_or(|l| l.hash != hash(&text)),
            Err(_) => false,
        };
        if differs && self.config.findings().is_empty() {
            let changes = if first {
                fleet
                    .servers
                    .iter()
                    .map(|s| format!("{}: declared", s.id))
                    .collect()
            } else {
                meanwhile.into_iter().map(|c| c.sentence).collect()
            };
            self.record("file", "read at the start of the engine", &text, changes)
                .await;
        }
        let findings = self.config.findings();
        if !findings.is_empty() {
            self.tell(None, caller, EventKind::ConfigRejected { findings });
        }
    }

    /// What is wanted of a server, from what is declared and what was asked beside it.
    pub(crate) fn desired(&self, spec: &ServerSpec) -> Desired {
        let wish = self.facts.get(&spec.id).wish;
        let (running, replicas) = wish.map_or((None, None), |w| (w.running, w.replicas));
        Desired {
            running: spec.disabled.is_none() && running.unwrap_or(spec.autostart),
            replicas: replicas.unwrap_or(spec.replicas),
            on_call: spec.on_demand.is_some() && self.may_sleep(&spec.id),
        }
    }

    /// A server on demand whose offer is not known is started once, to learn it; one that is awake already, stays so.
    fn may_sleep(&self, id: &ServerId) -> bool {
        let up = |state| matches!(state, ProcessState::Starting | ProcessState::Running);
        self.facts.offer(id).is_some()
            && self
                .supervisor
                .observe(id)
                .is_none_or(|seen| !seen.instances.iter().any(|i| up(i.process.state)))
    }

    /// Tells the supervisor what is wanted of a server now.
    ///
    /// # Errors
    /// When it takes no orders, or is not declared any more.
    pub(crate) fn want(
        &self,
        id: &ServerId,
        correlation: Option<&str>,
    ) -> Result<Ticket, WireError> {
        self.want_so(id, correlation, |desired| desired)
    }

    /// The same for who asked for a start: he does not wait for a call.
    ///
    /// # Errors
    /// When it takes no orders, or is not declared any more.
    pub(crate) fn want_awake(
        &self,
        id: &ServerId,
        correlation: Option<&str>,
    ) -> Result<Ticket, WireError> {
        self.want_so(id, correlation, |desired| Desired {
            on_call: false,
            ..desired
        })
    }

    fn want_so(
        &self,
        id: &ServerId,
        correlation: Option<&str>,
        but: impl FnOnce(Desired) -> Desired,
    ) -> Result<Ticket, WireError> {
        let fleet = self.fleet();
        let spec = fleet.server(id).ok_or_else(|| WireError::no_server(id))?;
        for dependent in fleet
            .servers
            .iter()
            .filter(|s| s.depends_on.iter().any(|d| d.server == *id))
        {
            // What it waits for may just have become possible, or impossible.
            self.supervisor.touch(&dependent.id);
        }
        self.supervisor
            .want(id, but(self.desired(spec)), correlation)
            .map_err(|error| busy(&error))
    }

    /// The same where nobody waits for the end: what went wrong becomes a notice.
    pub(crate) fn want_unwatched(&self, id: &ServerId, correlation: Option<&str>) {
        if let Err(error) = self.want(id, correlation) {
            self.notice(format!("Failed to {}.", error.message));
        }
    }

    /// Forgets a server that is declared no more. One that is busy is asked again: it takes an order at every turn.
    async fn forget_instances(&self, id: &ServerId, correlation: Option<&str>) {
        for _ in 0..FORGET_TRIES {
            if self.supervisor.forget(id, correlation).is_ok() {
                return;
            }
            tokio::time::sleep(FORGET_PAUSE).await;
        }
        self.notice(format!(
            "{id} takes no orders: it was taken out of fleet.toml, but runs until the engine ends."
        ));
    }

    /// The file as it is on disk, and how it stands.
    pub(crate) fn config_text(&self) -> Result<ConfigText, WireError> {
        let text = read(&self.config.path)
            .map_err(|f| WireError::new(ErrorCode::InvalidConfig, f.message))?
            .unwrap_or_else(|| self.config.text());
        Ok(ConfigText {
            path: self.config.path.display().to_string(),
            hash: hash(&text),
            text,
            revision: self.config.revision(),
            findings: self.config.findings(),
        })
    }

    /// The text that the next edit changes: the file, or where it is gone, what is in force.
    pub(crate) fn text_to_edit(&self) -> Result<String, WireError> {
        let there = read(&self.config.path).map_err(|f| invalid(vec![f]))?;
        Ok(there.unwrap_or_else(|| self.config.text()))
    }

    pub(crate) fn check_config(&self, text: &str) -> CheckedConfig {
        match parse(text) {
            Ok(fleet) => CheckedConfig {
                findings: Vec::new(),
                changes: diff(&self.fleet(), &fleet)
                    .into_iter()
                    .map(|c| c.sentence)
                    .collect(),
            },
            Err(findings) => CheckedConfig {
                findings,
                changes: Vec::new(),
            },
        }
    }

    /// Looks at the file and applies it if it is another one.
    pub(crate) async fn reload(&self, caller: &Caller, reason: &str) {
        let _gate = self.config.gate.lock().await;
        let (text, parsed) = judge(
            &self.config.path,
            read(&self.config.path),
            self.fleet().servers.len(),
        );
        let now = hash(&text);
        {
            let mut state = lock(&self.config.state);
            if state.seen == now && (parsed.is_ok() || !state.findings.is_empty()) {
                return;
            }
            state.seen.clone_from(&now);
        }
        match parsed {
            Ok(fleet) => {
                let _ = self.apply(caller, fleet, &text, reason, &[]).await;
            }
            Err(findings) => {
                lock(&self.config.state).findings.clone_from(&findings);
                self.info_changed.notify_one();
                tracing::warn!(
                    line = findings.first().map(|f| f.line),
                    "fleet.toml is broken; the last good one stays in force"
                );
                self.tell(None, caller, EventKind::ConfigRejected { findings });
            }
        }
    }

    /// Writes a text that `make` makes from the file as it is, and applies it. With `expected`, the file must still be
    /// the one that was read. New servers named in `stopped` are declared, not started.
    pub(crate) async fn write_config(
        &self,
        caller: &Caller,
        reason: &str,
        expected: Option<&str>,
        stopped: &[ServerId],
        make: impl FnOnce(&str) -> Result<String, WireError> + Send,
    ) -> Result<ConfigWritten, WireError> {
        let _gate = self.config.gate.lock().await;
        let there = self.text_to_edit()?;
        let now = hash(&there);
        if let Some(expected) = expected.filter(|e| *e != now) {
            let detail = serde_json::json!({ "expected": expected, "found": now, "diff": unified_diff(&self.config.text_of(expected), &there) });
            let message = format!(
                "write {}: it changed since it was read",
                self.config.path.display()
            );
            return Err(WireError::new(ErrorCode::Conflict, message).with_detail(detail));
        }
        let text = make(&there)?;
        let fleet = parse(&text).map_err(invalid)?;
        home::replace(&self.config.path, &text).map_err(|e| {
            WireError::new(
                ErrorCode::InvalidConfig,
                format!("write {}: {e}", self.config.path.display()),
            )
        })?;
        lock(&self.config.state).seen = hash(&text);
        self.apply(caller, fleet, &text, reason, stopped).await
    }

    /// Puts a valid text in force: only what changed is started, stopped or restarted. The gate is held.
    async fn apply(
        &self,
        caller: &Caller,
        fleet: Fleet,
        text: &str,
        reason: &str,
        stopped: &[ServerId],
    ) -> Result<ConfigWritten, WireError> {
        let changes = diff(&self.fleet(), &fleet);
        let sentences: Vec<String> = changes.iter().map(|c| c.sentence.clone()).collect();
        let revision = self
            .record(&caller.actor, reason, text, sentences.clone())
            .await;
        {
            let mut state = lock(&self.config.state);
            state.fleet = Arc::new(fleet);
            let before = std::mem::replace(&mut state.text, text.to_owned());
            state.earlier.push_front(before);
            state.earlier.truncate(EARLIER);
            state.findings.clear();
        }
        let mut added = Vec::new();
        for change in changes {
            let added_server = self.apply_one(caller, change, revision, stopped).await;
            added.extend(added_server);
        }
        self.info_changed.notify_one();
        self.say_what_is_not_sampled();
        self.tell(
            None,
            caller,
            EventKind::ConfigApplied {
                revision,
                changes: sentences.clone(),
            },
        );
        Ok(ConfigWritten {
            revision,
            hash: hash(text),
            changes: sentences,
            added,
        })
    }

    async fn apply_one(
        &self,
        caller: &Caller,
        change: Change,
        revision: u64,
        stopped: &[ServerId],
    ) -> Option<ServerId> {
        let correlation = Some(caller.correlation.as_str());
        let Some(id) = change.server else {
            if let ChangeKind::Setting {
                field:
                    field @ ("panel.port" | "gateway.enabled" | "gateway.port" | "dashboard.enabled"
                    | "dashboard.port" | "stream.enabled" | "stream.port" | "sampling.interval"),
            } = change.kind
            {
                self.notice(format!(
                    "{field} was changed: it holds from the next start of the engine on."
                ));
            }
            return None;
        };
        let fleet = self.fleet();
        match (change.kind, fleet.server(&id)) {
            (ChangeKind::Removed, _) => {
                self.forget_instances(&id, correlation).await;
                self.forget_server(caller, &id).await;
                self.tell(Some(&id), caller, EventKind::Removed);
                None
            }
            (ChangeKind::Added, Some(spec)) => {
                self.facts.change(&id, |fact| fact.revision = revision);
                if stopped.contains(&id) && spec.autostart {
                    self.set_wish(&id, facts::wish(Some(false), None, &caller.actor))
                        .await;
                }
                self.supervisor.declare(spec.clone());
                self.register_agent(caller, spec).await;
                self.tell(Some(&id), caller, EventKind::Registered);
                self.want_unwatched(&id, correlation);
                Some(id)
            }
            (ChangeKind::Changed { effects, .. }, Some(spec)) => {
                self.facts.change(&id, |fact| fact.revision = revision);
                self.apply_effects(caller, spec, effects, &change.sentence)
                    .await;
                None
            }
            (ChangeKind::Added | ChangeKind::Changed { .. } | ChangeKind::Setting { .. }, _) => {
                None
            }
        }
    }

    /// A field that was edited in the file is a newer word than its override; another command or URL is another server.
    async fn take_newer_word(&self, id: &ServerId, effects: Effects) {
        if let Some(mut wish) = self.facts.get(id).wish
            && (effects.replicas || effects.autostart)
        {
            wish.replicas = wish.replicas.filter(|_| !effects.replicas);
            wish.running = wish.running.filter(|_| !effects.autostart);
            let wish = (wish.replicas.is_some() || wish.running.is_some()).then_some(wish);
            self.set_wish(id, wish).await;
        }
        if effects.process {
            self.facts.is_another(id);
        }
    }

    async fn forget_server(&self, caller: &Caller, id: &ServerId) {
        self.set_wish(id, None).await;
        self.facts.remove(id);
        self.unregister_agent(caller, id).await;
    }

    async fn apply_effects(
        &self,
        caller: &Caller,
        spec: &ServerSpec,
        effects: Effects,
        sentence: &str,
    ) {
        let (id, correlation) = (&spec.id, Some(caller.correlation.as_str()));
        self.take_newer_word(id, effects).await;
        self.supervisor.declare(spec.clone());
        if effects.replicas || effects.autostart || effects.admin || effects.on_demand {
            self.want_unwatched(id, correlation);
        }
        if effects.process && self.desired(spec).running {
            let instances = self
                .supervisor
                .observe(id)
                .map(|seen| seen.instances)
                .unwrap_or_default();
            // The supervisor leaves those alone that are on their way out.
            for instance in instances {
                let why = format!("configuration changed: {sentence}");
                if self
                    .supervisor
                    .restart(&instance.id, &why, correlation)
                    .is_err()
                {
                    self.notice(format!(
                        "{} is busy: its new configuration holds from its next start on.",
                        instance.id
                    ));
                }
            }
        }
        if effects.labels {
            self.register_agent(caller, spec).await;
        }
        self.tell(Some(id), caller, EventKind::Registered);
    }

    /// Records a revision; the configuration is in force even if the history cannot be written.
    async fn record(&self, by: &str, reason: &str, text: &str, changes: Vec<String>) -> u64 {
        let before = self.control.latest_revision().await.ok().flatten();
        if let Some(latest) = before.as_ref().filter(|l| l.hash == hash(text)) {
            lock(&self.config.state).revision = latest.number;
            return latest.number;
        }
        let diff = unified_diff(before.as_ref().map_or("", |l| &l.text), text);
        let new = NewRevision {
            by: by.to_owned(),
            reason: reason.to_owned(),
            changes,
            diff,
            hash: hash(text),
            text: text.to_owned(),
        };
        let number = match self.control.add_revision(new).await {
            Ok(revision) => revision.number,
            Err(error) => {
                self.notice(format!(
                    "The history of the configuration cannot be written: {error}."
                ));
                self.config.revision()
            }
        };
        lock(&self.config.state).revision = number;
        number
    }

    /// Keeps what is asked of a server beside what is declared; acknowledged after the commit.
    pub(crate) async fn set_wish(
        &self,
        id: &ServerId,
        wish: Option<flotilla_contract::state::Override>,
    ) {
        let kept = match &wish {
            Some(wish) => self.control.set_override(id, wish).await,
            None => self.control.clear_override(id).await,
        };
        if let Err(error) = kept {
            self.notice(format!(
                "What was asked of {id} cannot be kept over a restart: {error}."
            ));
        }
        self.facts.wish(id, wish);
        self.supervisor.touch(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_home_declares_nothing_and_limits_nobody() {
        let fleet = parse(STARTER).unwrap();
        assert_eq!(fleet, Fleet::default());
        assert_eq!(
            (fleet.gateway.tool_rate, fleet.gateway.client_rate),
            (None, None)
        );
    }
}
