//! What the instances' tasks share: the table of servers, the census, the log files, the guard, the doors to others.

use crate::{
    census::Census,
    files::{LogFiles, format_line},
    output::{LogRing, Share},
    ports::{Boxed, Place, Ports},
    runner::wall,
};
use flotilla_contract::{
    InstanceId, InstanceView, ServerId, ServerSpec,
    log::Stream,
    spec::{Dependency, DependencyCondition},
    state::{HealthLevel, ProcessState},
};
use flotilla_os::{Mark, guard::Guard};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, mpsc, watch};

/// What a task of an instance is told.
#[derive(Debug)]
pub(crate) enum Order {
    Start {
        ticket: u64,
        correlation: Option<String>,
    },
    Stop {
        ticket: u64,
        correlation: Option<String>,
    },
    Restart {
        ticket: u64,
        correlation: Option<String>,
        why: String,
    },
    /// Be there for calls: sleep, if nothing runs.
    StandBy {
        ticket: u64,
        correlation: Option<String>,
    },
    /// A call needs it.
    Wake {
        ticket: u64,
        correlation: Option<String>,
    },
    /// Nobody calls it.
    Sleep { why: String },
    /// There is another spec; it holds from the next start on (health checks: at once).
    Renew,
    /// Probe now.
    Probe,
    /// Look whether the last answer is too old.
    Review,
    /// An automatic restart of exactly this process.
    Recycle { spawn: u64, why: String },
}

/// An instance as last published, with what it had been told by then.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) view: InstanceView,
    /// The last order that it had taken in.
    pub(crate) ticket: u64,
    /// Whether that order wants it to run.
    pub(crate) wanted: bool,
    pub(crate) spawn: u64,
}

/// What others may read of an instance at any time.
#[derive(Debug)]
pub(crate) struct InstanceCell {
    pub(crate) id: InstanceId,
    pub(crate) ring: LogRing,
    pub(crate) seen: watch::Sender<Arc<Seen>>,
    /// First process, 0 while none runs.
    pub(crate) pid: AtomicU32,
    pub(crate) spawn: AtomicU64,
    /// Highest resident memory seen of the process at hand.
    pub(crate) peak_rss: AtomicU64,
}

/// How far a server is, for those that depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Up {
    started: bool,
    healthy: bool,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) cell: Arc<InstanceCell>,
    pub(crate) orders: mpsc::Sender<Order>,
    /// It is to vanish once it is at rest.
    pub(crate) retiring: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) spec: Option<Arc<ServerSpec>>,
    pub(crate) desired: crate::Desired,
    pub(crate) slots: BTreeMap<u32, Slot>,
    pub(crate) up: watch::Sender<Up>,
}

pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) census: Census,
    pub(crate) files: LogFiles,
    pub(crate) rings: Arc<Share>,
    pub(crate) table: Mutex<BTreeMap<ServerId, Entry>>,
    boot: Mark,
    guard: Option<Guard>,
    spawns: AtomicU64,
    tickets: AtomicU64,
    seed: u64,
    http: OnceLock<reqwest::Client>,
    dirty: Mutex<HashSet<ServerId>>,
    /// Wakes whoever awaits changes.
    pub(crate) changed: Notify,
}

impl Shared {
    pub(crate) fn new(options: crate::Options, ports: Ports) -> Self {
        Self {
            ports,
            census: Census::start(),
            files: LogFiles::start(options.log_dir),
            rings: Arc::default(),
            table: Mutex::default(),
            boot: options.boot,
            guard: options.guard,
            spawns: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            seed: options.seed,
            http: OnceLock::new(),
            dirty: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, BTreeMap<ServerId, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance that is there.
    pub(crate) fn cell(&self, id: &InstanceId) -> Option<Arc<InstanceCell>> {
        let table = self.table();
        let slot = table.get(&id.server)?.slots.get(&id.index)?;
        Some(Arc::clone(&slot.cell))
    }

    fn dirty(&self) -> MutexGuard<'_, HashSet<ServerId>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_spawn(&self) -> u64 {
        self.spawns.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn next_ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn seed(&self, id: &InstanceId) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (self.seed, id).hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn mark_of(&self, place: &Place) -> Mark {
        self.boot.narrow(&place.id).narrow(place.spawn)
    }

    pub(crate) fn guard_started(&self, pid: u32) {
        if let Some(guard) = &self.guard {
            guard.started(pid);
        }
    }

    pub(crate) fn guard_ended(&self, pid: u32) {
        if let Some(guard) = &self.guard {
            guard.ended(pid);
        }
    }

    pub(crate) fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// Made at the first use: a fleet without such checks does not pay for it.
    pub(crate) fn http(&self) -> &reqwest::Client {
        self.http.get_or_init(|| {
            // Checks concern this machine or a named URL: a proxy would answer for somebody else.
            reqwest::Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .build()
                .unwrap_or_default()
        })
    }

    pub(crate) fn log(&self, cell: &InstanceCell, stream: Stream, text: &str) {
        let at = wall();
        for line in text.lines() {
            cell.ring.push(at, stream, line.as_bytes(), false);
            if self.files.wanted() {
                let mut out = Vec::with_capacity(line.len() + 40);
                format_line(&mut out, at, stream, line.as_bytes());
                self.files.append(&cell.id, out);
            }
        }
    }

    /// An instance of this server has published something new.
    pub(crate) fn published(&self, server: &ServerId) {
        {
            let table = self.table();
            if let Some(entry) = table.get(server) {
                let mut up = Up::default();
                for slot in entry.slots.values() {
                    let seen = slot.cell.seen.borrow();
                    let running = seen.view.process.state == ProcessState::Running;
                    up.started |= running;
                    up.healthy |= running && seen.view.health.level == HealthLevel::Healthy;
                }
                entry
                    .up
                    .send_if_modified(|old| std::mem::replace(old, up) != up);
            }
        }
        self.touch(server);
    }

    /// Something about this server is to be looked at again.
    pub(crate) fn touch(&self, server: &ServerId) {
        let fresh = self.dirty().insert(server.clone());
        if fresh {
            self.changed.notify_one();
        }
    }

    pub(crate) fn take_dirty(&self) -> HashSet<ServerId> {
        std::mem::take(&mut *self.dirty())
    }

    /// Whether the task of an instance at rest may end: then its place in the table is gone.
    pub(crate) fn may_retire(&self, cell: &InstanceCell) -> bool {
        let retired = {
            let mut table = self.table();
            let Some(entry) = table.get_mut(&cell.id.server) else {
                return true;
            };
            let retiring = entry
                .slots
                .get(&cell.id.index)
                .is_none_or(|slot| slot.retiring);
            if retiring {
                entry.slots.remove(&cell.id.index);
                if entry.spec.is_none() && entry.slots.is_empty() {
                    table.remove(&cell.id.server);
                }
            }
            retiring
        };
        if retired {
            self.touch(&cell.id.server);
        }
        retired
    }

    /// What is declared of a server now.
    pub(crate) fn spec(&self, id: &ServerId) -> Option<Arc<ServerSpec>> {
        self.table().get(id)?.spec.clone()
    }

    fn up(&self, id: &ServerId) -> watch::Receiver<Up> {
        // A dependency that is declared later is waited for too.
        self.table().entry(id.clone()).or_default().up.subscribe()
    }

    /// Resolves when every dependency is as far up as asked, all at once.
    pub(crate) fn dependencies(self: &Arc<Self>, wanted: &[Dependency]) -> Boxed<()> {
        let (shared, wanted) = (self.clone(), wanted.to_vec());
        let far = |up: Up, condition| match condition {
            DependencyCondition::Started => up.started,
            DependencyCondition::Healthy => up.healthy,
        };
        Box::pin(async move {
            loop {
                let mut all = true;
                for Dependency { server, condition } in &wanted {
                    let mut up = shared.up(server);
                    if far(*up.borrow(), *condition) {
                        continue;
                    }
                    all = false;
                    // The sender goes when the server is forgotten; it may be declared again.
                    if up.wait_for(|up| far(*up, *condition)).await.is_err() {
                        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    }
                }
                if all {
                    return;
                }
            }
        })
    }
}
