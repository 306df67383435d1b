//! The way in: what is declared and wanted, and how it ended.

use crate::{
    guest::{self, Guest},
    output::LogRing,
    ports::Ports,
    runner::{Runner, wall},
    shared::{Entry, InstanceCell, Order, Seen, Shared, Slot},
    view::summarize,
};
use flotilla_contract::{
    InstanceId, InstanceView, ServerId, ServerSpec,
    log::Stream,
    spec::Transport,
    state::{HealthLevel, HealthReport, ProcessState, Status},
};
use flotilla_os::{Mark, guard::Guard};
use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Orders that may wait for an instance's task.
const ORDERS: usize = 64;

/// How a supervisor is started.
pub struct Options {
    /// Mark of this boot; every process carries a narrower one.
    pub boot: Mark,
    /// The guard that ends everything when this process is killed; `None` only in tests.
    pub guard: Option<Guard>,
    /// Where log files go; `None` writes none.
    pub log_dir: Option<PathBuf>,
    /// Seed of the jitter.
    pub seed: u64,
}

/// What is wanted of a server now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Whether it should run.
    pub running: bool,
    /// How many instances.
    pub replicas: u32,
    /// Whether what is at rest is to sleep until a call needs it, instead of being started now.
    pub on_call: bool,
}

/// A server as observed.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What is declared.
    pub spec: Arc<ServerSpec>,
    /// What is wanted.
    pub desired: Desired,
    /// Health of the whole.
    pub health: HealthReport,
    /// Its word.
    pub status: Status,
    /// Its instances by index.
    pub instances: Vec<InstanceView>,
}

/// An order that was given; its end can be awaited.
#[derive(Clone, Debug, Default)]
pub struct Ticket {
    orders: Vec<(Arc<InstanceCell>, u64, End)>,
}

impl Ticket {
    /// Both tickets as one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.orders.extend(other.orders);
        self
    }
}

/// The end that an order asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Running and decided (proven, found wanting, or not checked at all).
    Up,
    /// There for calls: asleep, or running.
    OnCall,
    /// Nothing of it is left.
    Down,
}

/// How one instance ended up.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The instance at that moment.
    pub view: InstanceView,
    /// The end asked for.
    pub end: End,
    /// Whether it was reached; `None`: time ran out before anything was decided.
    pub reached: Option<bool>,
    /// A newer order, of the opposite kind, won.
    pub superseded: bool,
}

/// Too many orders wait for this instance.
#[derive(Debug, thiserror::Error)]
#[error("{0} has {ORDERS} orders waiting; nothing was changed")]
pub struct Busy(pub InstanceId);

/// A first process, for sampling.
#[derive(Clone, Debug)]
pub struct Root {
    /// The instance.
    pub id: InstanceId,
    /// Its first process.
    pub pid: u32,
    /// Number of the spawn, for [`Supervisor::recycle`].
    pub spawn: u64,
}

/// A cheap clone of the way in. The tasks end when the last clone and every order sender are gone.
#[derive(Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

impl Supervisor {
    /// Starts with nothing declared. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(options: Options, ports: Ports) -> Self {
        // Three descriptors and more per server: the usual limit of 1,024 ends at about 200 servers.
        let _ = crate::spawn::open_files_at_first();
        Self {
            shared: Arc::new(Shared::new(options, ports)),
        }
    }

    /// Declares a server, or declares it anew. A running process goes on with its old spec until it is restarted;
    /// health checks follow the new one at once. Nothing is started or stopped by this.
    pub fn declare(&self, spec: ServerSpec) {
        let spec = Arc::new(spec);
        let id = spec.id.clone();
        {
            let mut table = self.shared.table();
            let entry = table.entry(id.clone()).or_default();
            entry.spec = Some(spec.clone());
            for slot in entry.slots.values() {
                // A task whose queue is full finds the new spec with the next order that it takes in.
                let _ = slot.orders.try_send(Order::Renew);
            }
        }
        self.shared.touch(&id);
    }

    /// Forgets a server: its instances are stopped and vanish.
    ///
    /// # Errors
    /// When an instance is busy; nothing is changed then.
    pub fn forget(&self, id: &ServerId, correlation: Option<&str>) -> Result<Ticket, Busy> {
        let ticket = self.want(id, Desired::default(), correlation)?;
        {
            let mut table = self.shared.table();
            if let Some(entry) = table.get_mut(id) {
                entry.spec = None;
                if entry.slots.is_empty() {
                    table.remove(id);
                }
            }
        }
        self.shared.touch(id);
        Ok(ticket)
    }

    /// Says what is wanted of a server. Instances are added, started, stopped and retired to match.
    ///
    /// # Errors
    /// When an instance is busy; nothing is changed then.
    pub fn want(
        &self,
        id: &ServerId,
        desired: Desired,
        correlation: Option<&str>,
    ) -> Result<Ticket, Busy> {
        let ticket = self.shared.next_ticket();
        let mut given = Ticket::default();
        {
            let mut table = self.shared.table();
            let Some(entry) = table.get_mut(id) else {
                return Ok(given);
            };
            let Some(spec) = entry.spec.clone() else {
                return Ok(given);
            };
            // All of its instances get their order, or none does.
            let full = |slot: &&Slot| slot.orders.capacity() == 0;
            if let Some(slot) = entry.slots.values().find(full) {
                return Err(Busy(slot.cell.id.clone()));
            }
            entry.desired = desired;
            // Rows of a stopped server stay, so that its last exit and its log can be read.
            let rows = desired.replicas;
            for index in 1..=rows {
                self.slot(entry, &spec, index).retiring = false;
            }
            for (index, slot) in &mut entry.slots {
                let up = desired.running && *index <= rows;
                slot.retiring = *index > rows;
                let correlation = correlation.map(str::to_owned);
                let (order, end) = if up && desired.on_call {
                    (
                        Order::StandBy {
                            ticket,
                            correlation,
                        },
                        End::OnCall,
                    )
                } else if up {
                    (
                        Order::Start {
                            ticket,
                            correlation,
                        },
                        End::Up,
                    )
                } else {
                    (
                        Order::Stop {
                            ticket,
                            correlation,
                        },
                        End::Down,
                    )
                };
                slot.orders
                    .try_send(order)
                    .map_err(|_| Busy(slot.cell.id.clone()))?;
                given.orders.push((slot.cell.clone(), ticket, end));
            }
        }
        self.shared.touch(id);
        Ok(given)
    }

    fn slot<'e>(&self, entry: &'e mut Entry, spec: &Arc<ServerSpec>, index: u32) -> &'e mut Slot {
        entry.slots.entry(index).or_insert_with(|| {
            let id = spec.id.instance(index);
            let (orders, inbox) = mpsc::channel(ORDERS);
            let ring = LogRing::new(id.clone(), self.shared.rings.clone());
            let (seen, _) = watch::channel(Arc::new(first_sight(spec, &id)));
            let cell = Arc::new(InstanceCell {
                id,
                ring,
                seen,
                pid: 0.into(),
                spawn: 0.into(),
                peak_rss: 0.into(),
            });
            let runner = Runner::new(self.shared.clone(), cell.clone(), spec.clone(), inbox);
            tokio::spawn(runner.run());
            Slot {
                cell,
                orders,
                retiring: false,
            }
        })
    }

    /// Restarts one instance as a new process; the count of its automatic restarts starts anew. `None`: it is not
    /// wanted, or not any more, and stays as it is.
    ///
    /// # Errors
    /// When it is busy.
    pub fn restart(
        &self,
        id: &InstanceId,
        why: &str,
        correlation: Option<&str>,
    ) -> Result<Option<Ticket>, Busy> {
        let ticket = self.shared.next_ticket();
        // Looked at under the lock under which `want` gives its orders: no restart comes after a stop or a scaling down.
        let table = self.shared.table();
        let Some(slot) = table
            .get(&id.server)
            .filter(|entry| entry.desired.running && id.index <= entry.desired.replicas)
            .and_then(|entry| entry.slots.get(&id.index))
        else {
            return Ok(None);
        };
        let order = Order::Restart {
            ticket,
            correlation: correlation.map(str::to_owned),
            why: why.to_owned(),
        };
        slot.orders.try_send(order).map_err(|_| Busy(id.clone()))?;
        Ok(Some(Ticket {
            orders: vec![(slot.cell.clone(), ticket, End::Up)],
        }))
    }

    /// A call needs a server: what sleeps of it is started. The end says whether it came up. `None`: it is not wanted, or
    /// not any more, and stays as it is.
    ///
    /// # Errors
    /// When an instance is busy; nothing is changed then.
    pub fn wake(&self, id: &ServerId, correlation: Option<&str>) -> Result<Option<Ticket>, Busy> {
        let ticket = self.shared.next_ticket();
        // Under the lock under which `want` gives its orders: nothing wakes what was stopped.
        self.order_all(
            id,
            || Order::Wake {
                ticket,
                correlation: correlation.map(str::to_owned),
            },
            |cell| (cell, ticket, End::Up),
        )
    }

    /// Nobody calls a server: its instances are stopped, and sleep until a call needs them. False: it is not wanted, or
    /// not any more.
    ///
    /// # Errors
    /// When an instance is busy; nothing is changed then.
    pub fn sleep(&self, id: &ServerId, why: &str) -> Result<bool, Busy> {
        let order = || Order::Sleep {
            why: why.to_owned(),
        };
        let given = self.order_all(id, order, |cell| (cell, 0, End::OnCall))?;
        Ok(given.is_some())
    }

    /// Gives an order to every instance of a server that is wanted, or to none.
    fn order_all(
        &self,
        id: &ServerId,
        order: impl Fn() -> Order,
        awaited: impl Fn(Arc<InstanceCell>) -> (Arc<InstanceCell>, u64, End),
    ) -> Result<Option<Ticket>, Busy> {
        let table = self.shared.table();
        let Some(entry) = table.get(id).filter(|entry| entry.desired.running) else {
            return Ok(None);
        };
        let slots = || {
            entry
                .slots
                .iter()
                .filter(|(index, _)| **index <= entry.desired.replicas)
                .map(|(_, slot)| slot)
        };
        if let Some(slot) = slots().find(|slot| slot.orders.capacity() == 0) {
            return Err(Busy(slot.cell.id.clone()));
        }
        let mut given = Ticket::default();
        for slot in slots() {
            slot.orders
                .try_send(order())
                .map_err(|_| Busy(slot.cell.id.clone()))?;
            given.orders.push(awaited(slot.cell.clone()));
        }
        Ok((!given.orders.is_empty()).then_some(given))
    }

    /// Probes now, beside the schedule.
    pub fn probe(&self, id: &InstanceId) {
        // A busy instance probes soon anyway.
        self.order(id, Order::Probe);
    }

    /// Looks at every instance whether its last answer is too old to be believed.
    pub fn review(&self) {
        for slot in self
            .shared
            .table()
            .values()
            .flat_map(|entry| entry.slots.values())
        {
            let _ = slot.orders.try_send(Order::Review);
        }
    }

    /// An automatic restart of exactly this process, because a ceiling was crossed.
    pub fn recycle(&self, id: &InstanceId, spawn: u64, why: String) {
        // A busy instance is sampled again in a moment.
        self.order(id, Order::Recycle { spawn, why });
    }

    /// An order that may be lost.
    fn order(&self, id: &InstanceId, order: Order) {
        let table = self.shared.table();
        let slot = table
            .get(&id.server)
            .and_then(|entry| entry.slots.get(&id.index));
        if let Some(slot) = slot {
            let _ = slot.orders.try_send(order);
        }
    }

    /// Waits until every order of a ticket has come to its end, is superseded, or `limit` has passed.
    pub async fn settled(&self, ticket: Ticket, limit: Duration) -> Vec<Settled> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut ends = Vec::with_capacity(ticket.orders.len());
        for (cell, number, end) in ticket.orders {
            let mut seen = cell.seen.subscribe();
            let waited = tokio::time::timeout_at(
                deadline,
                seen.wait_for(|seen| decide(seen, number, end).is_some()),
            )
            .await;
            drop(waited);
            let last = cell.seen.borrow().clone();
            let decided = decide(&last, number, end);
            ends.push(Settled {
                view: last.view.clone(),
                end,
                reached: decided.map(|d| d.reached),
                superseded: decided.is_some_and(|d| d.superseded),
            });
        }
        ends
    }

    /// A server as it is now.
    #[must_use]
    pub fn observe(&self, id: &ServerId) -> Option<Observed> {
        let (spec, desired, instances) = {
            let table = self.shared.table();
            let entry = table.get(id)?;
            let instances: Vec<InstanceView> = entry
                .slots
                .values()
                .map(|slot| slot.cell.seen.borrow().view.clone())
                .collect();
            (entry.spec.clone()?, entry.desired, instances)
        };
        let (health, status) = summarize(&spec, desired, &instances, wall());
        Some(Observed {
            spec,
            desired,
            health,
            status,
            instances,
        })
    }

    /// Names of all declared servers.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerId> {
        self.shared
            .table()
            .iter()
            .filter(|(_, entry)| entry.spec.is_some())
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// What is wanted of a server.
    #[must_use]
    pub fn desired(&self, id: &ServerId) -> Option<Desired> {
        self.shared.table().get(id).map(|entry| entry.desired)
    }

    /// The servers of which something changed since the last call; waits until there is one.
    pub async fn changed(&self) -> HashSet<ServerId> {
        loop {
            let dirty = self.shared.take_dirty();
            if !dirty.is_empty() {
                return dirty;
            }
            self.shared.changed.notified().await;
        }
    }

    /// Marks a server as changed, for what others know about it.
    pub fn touch(&self, id: &ServerId) {
        self.shared.touch(id);
    }

    /// First processes of everything that runs.
    #[must_use]
    pub fn roots(&self) -> Vec<Root> {
        let table = self.shared.table();
        let cells = table
            .values()
            .flat_map(|entry| entry.slots.values())
            .map(|slot| &slot.cell);
        cells
            .filter_map(|cell| {
                let pid = cell.pid.load(Ordering::Relaxed);
                (pid != 0).then(|| Root {
                    id: cell.id.clone(),
                    pid,
                    spawn: cell.spawn.load(Ordering::Relaxed),
                })
            })
            .collect()
    }

    /// Notes the resident memory of an instance; the highest is told with its exit.
    pub fn note_rss(&self, id: &InstanceId, bytes: u64) {
        if let Some(cell) = self.shared.cell(id) {
            cell.peak_rss.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// Starts one more process of a running instance, over its standard streams, for one client alone, `whose` name is in the
    /// log. What is declared of the server now holds for it. It ends when its input is dropped, or with its instance.
    ///
    /// # Errors
    /// Why there is none, as a sentence without a final period.
    pub async fn guest(&self, id: &InstanceId, whose: &str) -> Result<Guest, String> {
        guest::invite(Arc::clone(&self.shared), id, whose).await
    }

    /// Adds a line to an instance's log (what was on a stdio server's stdout and is no protocol).
    pub fn log(&self, id: &InstanceId, stream: Stream, text: &str) {
        if let Some(cell) = self.shared.cell(id) {
            self.shared.log(&cell, stream, text);
        }
    }

    /// Reads the rings of the instances that are wanted: `read` is called for each.
    pub fn read_logs(
        &self,
        mut wanted: impl FnMut(&InstanceId) -> bool,
        mut read: impl FnMut(&InstanceId, &LogRing),
    ) {
        let cells: Vec<Arc<InstanceCell>> = {
            let table = self.shared.table();
            table
                .values()
                .flat_map(|entry| entry.slots.values())
                .filter(|slot| wanted(&slot.cell.id))
                .map(|slot| slot.cell.clone())
                .collect()
        };
        for cell in cells {
            read(&cell.id, &cell.ring);
        }
    }

    /// Starts the guard again if something killed it. True if it had to.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn revive_guard(&self) -> std::io::Result<bool> {
        self.shared.guard().map_or(Ok(false), Guard::revive)
    }

    /// Stops everything, dependents before what they depend on, and waits until nothing is left or `limit` has passed.
    /// Gives what was still there then.
    pub async fn shutdown(&self, limit: Duration, correlation: Option<&str>) -> Vec<InstanceId> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut left = Vec::new();
        for layer in self.stop_layers() {
            let tickets = layer.iter().filter_map(|id| {
                let replicas = self.desired(id)?.replicas;
                self.want(
                    id,
                    Desired {
                        running: false,
                        replicas,
                        on_call: false,
                    },
                    correlation,
                )
                .ok()
            });
            let ticket = tickets.fold(Ticket::default(), Ticket::and);
            let rest = deadline.saturating_duration_since(tokio::time::Instant::now());
            let ends = self.settled(ticket, rest).await;
            left.extend(
                ends.into_iter()
                    .filter(|end| end.reached != Some(true))
                    .map(|end| end.view.id),
            );
        }
        left
    }

    /// The servers in the order in which they are to be stopped: nobody before those that depend on it.
    #[must_use]
    pub fn stop_layers(&self) -> Vec<Vec<ServerId>> {
        let table = self.shared.table();
        let mut waiting: BTreeMap<&ServerId, Vec<&ServerId>> = table
            .iter()
            .filter_map(|(id, entry)| {
                Some((
                    id,
                    entry
                        .spec
                        .as_ref()?
                        .depends_on
                        .iter()
                        .map(|d| &d.server)
                        .collect(),
                ))
            })
            .collect();
        let mut layers = Vec::new();
        while !waiting.is_empty() {
            let needed: HashSet<&ServerId> = waiting.values().flatten().copied().collect();
            let mut layer: Vec<ServerId> = waiting
                .keys()
                .filter(|id| !needed.contains(*id))
                .map(|id| (*id).clone())
                .collect();
            if layer.is_empty() {
                // A cycle, which the configuration refuses; stopping must go on all the same.
                layer = waiting.keys().map(|id| (*id).clone()).collect();
            }
            waiting.retain(|id, _| !layer.contains(id));
            layers.push(layer);
        }
        layers
    }
}

#[derive(Clone, Copy)]
struct Decision {
    reached: bool,
    superseded: bool,
}

/// Whether an order has come to its end, given what was last seen.
fn decide(seen: &Seen, ticket: u64, end: End) -> Option<Decision> {
    if seen.ticket < ticket {
        return None;
    }
    let superseded = seen.ticket > ticket && seen.wanted != (end != End::Down);
    if superseded {
        return Some(Decision {
            reached: false,
            superseded: true,
        });
    }
    let reached = |reached| {
        Some(Decision {
            reached,
            superseded: false,
        })
    };
    match (end, seen.view.process.state) {
        (End::Down, ProcessState::Stopped) => reached(true),
        (End::Down, ProcessState::Failed) => reached(true),
        (End::Down, _) => None,
        (End::Up | End::OnCall, ProcessState::Failed) => reached(false),
        // It finished by itself.
        (End::Up | End::OnCall, ProcessState::Stopped) => reached(false),
        (End::Up, ProcessState::Sleeping) => reached(false),
        (End::OnCall, ProcessState::Sleeping | ProcessState::Running) => reached(true),
        (End::Up, ProcessState::Running) => match seen.view.health.level {
            HealthLevel::Starting => None,
            HealthLevel::Unhealthy => reached(false),
            HealthLevel::Unknown
            | HealthLevel::Healthy
            | HealthLevel::Degraded
            | HealthLevel::Stale => reached(true),
        },
        (
            End::Up | End::OnCall,
            ProcessState::Starting | ProcessState::Stopping | ProcessState::Restarting,
        ) => None,
    }
}

/// How an instance looks before its task has run.
fn first_sight(spec: &ServerSpec, id: &InstanceId) -> Seen {
    use flotilla_contract::state::{HealthCode, NextAction, ProcessAxis};
    let at = wall();
    let code = HealthCode::Stopped;
    let view = InstanceView {
        id: id.clone(),
        process: ProcessAxis {
            state: ProcessState::Stopped,
            since: at,
            reason: "not started".into(),
            next_try: None,
        },
        health: HealthReport {
            level: HealthLevel::Unknown,
            since: at,
            code,
            sentence: "Stopped: not started".into(),
            action: NextAction::Start,
            checked_at: None,
            check_ms: None,
        },
        status: Status::derive(
            spec.disabled.is_some(),
            ProcessState::Stopped,
            HealthLevel::Unknown,
        ),
        pid: None,
        port: matches!(spec.transport, Transport::Http { .. })
            .then(|| crate::probe::port_of(spec, id.index))
            .flatten(),
        started_at: None,
        restarts: 0,
        restarts_total: 0,
        last_exit: None,
        sample: None,
    };
    Seen {
        view,
        ticket: 0,
        wanted: false,
        spawn: 0,
    }
}
