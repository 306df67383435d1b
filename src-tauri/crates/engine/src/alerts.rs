//! Alerts of an engine: the rules are evaluated over its store, what they find is kept in its home and told.
//!
//! Before each evaluation the engine writes into the store what only it knows and rules ask for: which instances failed, which breakers are
//! open, how much of its limit an instance uses, how many calls met a rate limit.

use crate::{clock, core::Core, home, sessions::lock};
use flotilla_alerts::{
    Book, Boxed, Change, Channels, Found, Kept, Message, Reach, SilenceError, Source, TestError,
};
use flotilla_config::{resolve, secrets::SecretStore};
use flotilla_contract::{
    Caller, ErrorCode, EventKind, InstanceId, Millis, ServerId, WireError,
    alert::{
        Alert, AlertChange, AlertState, AlertsSpec, ChannelSpec, ChannelTested, ChannelView,
        RuleView, Severity, Silence, SilenceParams,
        expr::{Expr, Question, Sample},
    },
    event::NewEvent,
    gateway::BreakerState,
    metric::{RangeAnswer, RangeQuery},
    state::ProcessState,
};
use flotilla_metrics::Fact;
use flotilla_os::{Mark, launch::child_environment};
use flotilla_store::EventLog;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Messages that are due are looked for this often.
const LOOK: Duration = Duration::from_secs(1);
/// What is kept, in the home.
const FILE: &str = "alerts.json";
/// It is not read beyond this.
const LARGEST: u64 = 64 << 20;

/// The alerts of an engine.
pub(crate) struct Alerts {
    book: Mutex<Book>,
    channels: Channels,
    file: PathBuf,
}

impl Alerts {
    /// With what the home keeps. What is wrong comes as a notice.
    pub(crate) fn new(
        home: &Path,
        boot: Mark,
        events: EventLog,
        secrets: Arc<dyn SecretStore>,
        spec: AlertsSpec,
    ) -> (Self, Option<String>) {
        let file = home.join(FILE);
        let mut book = Book::default();
        let now = clock::now();
        let _ = book.apply(spec, now);
        let mut notice = None;
        match read(&file) {
            Ok(kept) => {
                // What ended with its rule was told as far as it could be.
                let _ = book.restore(kept, now);
            }
            Err(error) => {
                notice = Some(format!(
                    "Alerts and silences of before are forgotten: failed to read {} ({error}).",
                    file.display()
                ));
            }
        }
        let channels = Channels::new(Arc::new(Outward {
            boot,
            events,
            secrets,
            programs: AtomicU64::new(0),
        }));
        let alerts = Self {
            book: Mutex::new(book),
            channels,
            file,
        };
        (alerts, notice)
    }

    pub(crate) fn list(&self) -> Vec<Alert> {
        lock(&self.book).alerts(clock::now())
    }

    pub(crate) fn rules(&self) -> Vec<RuleView> {
        lock(&self.book).rules()
    }

    pub(crate) fn history(&self, limit: Option<u32>) -> Vec<AlertChange> {
        lock(&self.book).history(limit.unwrap_or(100) as usize)
    }

    pub(crate) fn silences(&self) -> Vec<Silence> {
        lock(&self.book).silences()
    }

    pub(crate) fn silence(&self, by: &str, params: SilenceParams) -> Result<Silence, WireError> {
        let made = lock(&self.book).silence(clock::now(), by, params);
        made.map_err(|error| refused("make", &error))
    }

    pub(crate) fn unsilence(&self, id: u64) -> Result<Silence, WireError> {
        let ended = lock(&self.book).unsilence(clock::now(), id);
        ended.map_err(|error| refused("end", &error))
    }

    pub(crate) fn set_channels(&self, specs: &[ChannelSpec]) {
        self.channels.set(specs);
    }

    pub(crate) fn channels(&self) -> Vec<ChannelView> {
        self.channels.views()
    }

    pub(crate) async fn test(&self, name: &str) -> Result<ChannelTested, WireError> {
        let began = Instant::now();
        let sent = self.channels.test(name, &test_message()).await;
        sent.map_err(|error| match error {
            TestError::None(_) => {
                WireError::new(ErrorCode::NotFound, format!("tell {name}: {error}"))
            }
            TestError::Failed(why) => {
                WireError::new(ErrorCode::Upstream, format!("tell {name}: {why}"))
            }
        })?;
        Ok(ChannelTested {
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    pub(crate) fn close(&self) {
        self.channels.close();
    }
}

fn refused(verb: &str, error: &SilenceError) -> WireError {
    let code = match error {
        SilenceError::None(_) => ErrorCode::NotFound,
        _ => ErrorCode::BadRequest,
    };
    WireError::new(code, format!("{verb} the silence: {error}"))
}

fn test_message() -> Message {
    let now = clock::now();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let labels = [
        pair("alertname", "Test"),
        pair("severity", Severity::Info.word()),
    ];
    let alert = Alert {
        id: "test".into(),
        state: AlertState::Firing,
        severity: Severity::Info,
        labels: labels.into(),
        summary: "This is a test: nothing is wrong".into(),
        description: "An operator asked whether messages of this fleet arrive here.".into(),
        runbook: None,
        expr: String::new(),
        value: 0.0,
        since: now,
        fired: Some(now),
        ended: Some(now),
        silenced: None,
        inhibited: None,
    };
    Message {
        at: now,
        until: now,
        group: [pair("alertname", "Test")].into(),
        alerts: vec![alert],
        left_out: 0,
        test: true,
    }
}

fn read(file: &Path) -> Result<Kept, String> {
    let meta = match std::fs::metadata(file) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error.to_string()),
    };
    if meta.len() > LARGEST {
        return Err(format!("it has {} bytes", meta.len()));
    }
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// Evaluates, keeps and tells, until the engine ends.
pub(crate) async fn run(core: Arc<Core>) {
    let alerts = &core.alerts;
    let mut fleet = core.fleet();
    alerts.set_channels(&fleet.alerts.channels);
    let mut kept = lock(&alerts.book).version();
    let mut evaluated: Option<Instant> = None;
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let current = core.fleet();
        if !Arc::ptr_eq(&current, &fleet) {
            fleet = current;
            put_in_force(&core, fleet.alerts.clone());
            alerts.set_channels(&fleet.alerts.channels);
        }
        let interval = Duration::from_millis(lock(&alerts.book).interval());
        // The first evaluation waits: at its start an engine knows nothing yet.
        let begin = evaluated.get_or_insert_with(Instant::now);
        if begin.elapsed() >= interval {
            evaluated = Some(Instant::now());
            evaluate(&core).await;
        }
        let messages = lock(&alerts.book).due(clock::now());
        for message in &messages {
            alerts.channels.tell(message);
        }
        kept = keep(&core, kept).await;
    }
}

/// Rules as the file says them now.
pub(crate) fn put_in_force(core: &Core, spec: AlertsSpec) {
    let changes = lock(&core.alerts.book).apply(spec, clock::now());
    tell_of(core, changes);
}

/// Writes what changed since a version, and gives the version that is written.
pub(crate) async fn keep(core: &Core, written: u64) -> u64 {
    let (version, kept) = {
        let book = lock(&core.alerts.book);
        if book.version() == written {
            return written;
        }
        (book.version(), book.kept())
    };
    let file = core.alerts.file.clone();
    let done = tokio::task::spawn_blocking(move || {
        let text = serde_json::to_string(&kept)?;
        home::replace(&file, &text)
    })
    .await;
    match done {
        Ok(Ok(())) => version,
        Ok(Err(error)) => {
            core.notice(format!(
                "Alerts and silences would be forgotten by a restart: failed to write {FILE} ({error})."
            ));
            written
        }
        Err(error) => {
            tracing::error!(%error, "keeping alerts failed");
            written
        }
    }
}

async fn evaluate(core: &Arc<Core>) {
    let now = clock::now();
    let (facts, down) = facts(core).await;
    if let Some(kept) = &core.kept
        && let Err(error) = kept.history.record_facts(now, &facts)
    {
        tracing::debug!(%error, "facts for alerts are not kept");
    }
    let asks = lock(&core.alerts.book).asks();
    let mut found = Vec::with_capacity(asks.len());
    for (rule, expr) in asks {
        let values = values(&Store(core), &expr, now).await;
        found.push(Found { rule, values });
    }
    let changes = lock(&core.alerts.book).evaluated(now, found, down);
    tell_of(core, changes);
}

/// The values of a condition.
pub(crate) async fn values(
    source: &dyn Source,
    expr: &Expr,
    now: Millis,
) -> Result<Vec<Sample>, String> {
    let mut answers = Vec::new();
    for question in expr.questions() {
        answers.push(Question::samples(source.range(question.at(now)).await?));
    }
    Ok(expr.values(answers))
}

/// The store of an engine, for rules.
pub(crate) struct Store<'a>(pub(crate) &'a Core);

impl Source for Store<'_> {
    fn range(&self, query: RangeQuery) -> Boxed<'_, Result<RangeAnswer, String>> {
        Box::pin(async move {
            let kept = self.0.kept().map_err(|error| error.message)?;
            kept.range(query).await.map_err(|error| error.message)
        })
    }
}

/// Events of what changed.
fn tell_of(core: &Core, changes: Vec<Change>) {
    for Change { alert } in changes {
        let about = alert.server().and_then(|id| {
            let server: ServerId = id.parse().ok()?;
            let index = alert.labels.get("instance").and_then(|i| i.parse().ok());
            Some(server.instance(index.unwrap_or(0)))
        });
        let rule = alert.rule().to_owned();
        let what = match (alert.state, alert.fired) {
            (AlertState::Resolved, fired) => EventKind::AlertResolved {
                fired_ms: alert
                    .ended
                    .unwrap_or_default()
                    .saturating_sub(fired.unwrap_or(alert.since)),
                alert: alert.id,
                rule,
                severity: alert.severity,
                summary: alert.summary,
            },
            _ => EventKind::AlertFiring {
                alert: alert.id,
                rule,
                severity: alert.severity,
                summary: alert.summary,
                value: alert.value,
            },
        };
        core.events.append(NewEvent {
            about,
            correlation: None,
            what,
        });
    }
}

/// What only the engine knows, and the servers that are stopped or failed.
async fn facts(core: &Core) -> (Vec<(Fact, f32)>, BTreeSet<String>) {
    let (mut facts, mut down) = (Vec::new(), BTreeSet::new());
    let fleet = core.fleet();
    let samples = lock(&core.samples).clone();
    for id in core.supervisor.servers() {
        let Some(seen) = core.supervisor.observe(&id) else {
            continue;
        };
        let ended = |state| matches!(state, ProcessState::Failed | ProcessState::Stopped);
        if seen.instances.iter().all(|i| ended(i.process.state)) {
            down.insert(id.to_string());
        }
        for instance in &seen.instances {
            let failed = instance.process.state == ProcessState::Failed;
            let about = |name| Fact::of_instance(name, &instance.id);
            facts.push((about("failed"), f32::from(u8::from(failed))));
            if let Some(percent) = memory(&fleet, &samples, &instance.id) {
                facts.push((about("memory_percent"), percent));
            }
        }
    }
    for breaker in core.gateway.view().await.breakers {
        let open = f32::from(u8::from(breaker.state == BreakerState::Open));
        let tool = breaker.tool.unwrap_or_default();
        facts.push((Fact::of_tool("breaker_open", &breaker.server, &tool), open));
    }
    for server in core.gateway.counts().servers {
        #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
        let limited = server.refused.limit as f32;
        facts.push((Fact::counted("rate_limited", &server.server), limited));
    }
    (facts, down)
}

/// How much of the memory that it may have an instance uses, in percent.
fn memory(
    fleet: &flotilla_config::Fleet,
    samples: &std::collections::HashMap<InstanceId, flotilla_contract::state::Sample>,
    id: &InstanceId,
) -> Option<f32> {
    let limit = fleet.server(&id.server)?.limits.rss_bytes?;
    let used = samples.get(id)?.rss_bytes;
    #[expect(clippy::cast_precision_loss, reason = "a share of some gibibytes")]
    let percent = used as f32 / limit.max(1) as f32 * 100.0;
    Some(percent)
}

/// What channels need.
struct Outward {
    boot: Mark,
    events: EventLog,
    secrets: Arc<dyn SecretStore>,
    programs: AtomicU64,
}

impl Reach for Outward {
    fn resolve(&self, text: String) -> Boxed<'_, Result<String, String>> {
        let secrets = self.secrets.clone();
        Box::pin(async move {
            if !text.contains('$') {
                return Ok(text);
            }
            // A keyring may ask its user: off the async threads.
            let resolved = tokio::task::spawn_blocking(move || {
                let lookup = |name: &str| std::env::var(name).ok();
                let secret = |name: &str| secrets.get(name).map_err(|error| error.to_string());
                resolve::text(&text, None, lookup, secret).map_err(|error| error.to_string())
            });
            resolved.await.map_err(|error| error.to_string())?
        })
    }

    fn notice(&self, title: String, body: String, severity: Severity) {
        self.events.append(NewEvent {
            about: None,
            correlation: None,
            what: EventKind::AlertNotice {
                title,
                body,
                severity,
            },
        });
    }

    fn environment(&self) -> (Vec<(OsString, OsString)>, Mark) {
        let number = self.programs.fetch_add(1, Ordering::Relaxed);
        let mark = self.boot.narrow(format_args!("alert-{number}"));
        (child_environment(), mark)
    }

    fn now(&self) -> Millis {
        clock::now()
    }

    fn chance(&self) -> f64 {
        let random = uuid::Uuid::new_v4().as_u64_pair().0;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }
}

impl Core {
    /// Makes a silence for an operator, and records it.
    pub(crate) async fn silence(
        &self,
        caller: &Caller,
        params: SilenceParams,
    ) -> Result<Silence, WireError> {
        let made = self.alerts.silence(&caller.actor, params);
        let said = match &made {
            Ok(silence) => format!("silence {} until {}", silence.id, silence.to),
            Err(error) => format!("failed to {}", error.message),
        };
        let done = std::iter::once((None, said.as_str(), made.is_ok()));
        self.record_actions(caller, "alerts.silence", "", done)
            .await;
        made
    }

    /// Ends a silence for an operator, and records it.
    pub(crate) async fn unsilence(&self, caller: &Caller, id: u64) -> Result<Silence, WireError> {
        let ended = self.alerts.unsilence(id);
        let said = match &ended {
            Ok(silence) => format!("silence {} ended", silence.id),
            Err(error) => format!("failed to {}", error.message),
        };
        let done = std::iter::once((None, said.as_str(), ended.is_ok()));
        self.record_actions(caller, "alerts.unsilence", &id.to_string(), done)
            .await;
        ended
    }
}
