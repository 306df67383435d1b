//! The verbs on servers. Each ends in what was observed, not in what was asked.

use crate::{config::busy, core::Core, facts, handler::without};
use flotilla_contract::{
    Caller, ErrorCode, EventKind, InstanceId, ServerId, ServerSpec, WireError,
    command::{
        HitClient, Outcome, Outcomes, Plan, PlanParams, Refusal, ScaleParams, Targets, Verb,
    },
    event::NewEvent,
    spec::Transport,
    state::{HealthLevel, Override, ProcessState, Status},
};
use flotilla_store::NewAction;
use flotilla_supervisor::{Desired, End, Settled, Ticket, span};
use std::time::{Duration, Instant};

/// How long a command watches for its end; the engine goes on watching afterwards.
const WATCH: Duration = Duration::from_secs(30);
/// Instances of a server at most.
pub(crate) const MOST_REPLICAS: u32 = 64;

/// The outcome of a command that a newer one overtook.
const NEWER_WON: &str = "A newer command won";

/// A server whose end is awaited.
struct Asked {
    server: ServerId,
    what: Result<Ticket, WireError>,
    down: bool,
}

impl Core {
    pub(crate) fn spec(&self, id: &ServerId) -> Result<ServerSpec, WireError> {
        self.fleet()
            .server(id)
            .cloned()
            .ok_or_else(|| WireError::no_server(id))
    }

    /// The servers that are meant: those named, or every enabled one.
    pub(crate) fn meant(&self, targets: &Targets) -> Result<Vec<ServerSpec>, WireError> {
        let fleet = self.fleet();
        let refuse = |message: &str| Err(WireError::new(ErrorCode::BadRequest, message));
        match (targets.servers.is_empty(), targets.all) {
            (true, false) => return refuse("find the servers: name some, or say \"all\": true"),
            (false, true) => {
                return refuse("find the servers: accepted are names or \"all\": true, not both");
            }
            (true, true) if targets.instance.is_some() => {
                return refuse("find the instance: it needs exactly one server");
            }
            (true, true) => {
                return Ok(fleet
                    .servers
                    .iter()
                    .filter(|s| s.disabled.is_none())
                    .cloned()
                    .collect());
            }
            (false, false) => {}
        }
        if targets.instance.is_some() && targets.servers.len() != 1 {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                "find the instance: it needs exactly one server",
            ));
        }
        targets.servers.iter().map(|id| self.spec(id)).collect()
    }

    pub(crate) async fn start_servers(
        &self,
        caller: &Caller,
        targets: &Targets,
    ) -> Result<Outcomes, WireError> {
        no_instance(targets, "start")?;
        let mut asked = Vec::new();
        let mut wishes = Vec::new();
        let begun = Instant::now();
        for spec in self.meant(targets)? {
            let what = startable(&spec).and_then(|()| {
                wishes.push(self.ask_running(&spec, true, &caller.actor));
                self.want_awake(&spec.id, Some(&caller.correlation))
            });
            asked.push(Asked {
                server: spec.id,
                what,
                down: false,
            });
        }
        self.keep_wishes(wishes).await;
        Ok(Outcomes {
            outcomes: self
                .observe_ends(caller, "server.start", asked, begun)
                .await,
        })
    }

    pub(crate) async fn stop_servers(
        &self,
        caller: &Caller,
        targets: &Targets,
    ) -> Result<Outcomes, WireError> {
        no_instance(targets, "stop")?;
        let begun = Instant::now();
        let meant = self.meant(targets)?;
        let wishes = meant
            .iter()
            .map(|spec| self.ask_running(spec, false, &caller.actor))
            .collect();
        // Dependents go first; within a layer all go at once.
        let ask = |layer: &[ServerId]| -> Vec<Asked> {
            let of_layer = meant.iter().filter(|s| layer.contains(&s.id));
            of_layer
                .map(|spec| Asked {
                    server: spec.id.clone(),
                    what: self.want(&spec.id, Some(&caller.correlation)),
                    down: true,
                })
                .collect()
        };
        let mut layers = self.supervisor.stop_layers().into_iter();
        let mut asked = layers.next().map_or_else(Vec::new, |layer| ask(&layer));
        // The first are on their way down while the wish is committed; the answer comes after both.
        self.keep_wishes(wishes).await;
        let mut outcomes = self.observe_ends(caller, "server.stop", asked, begun).await;
        for layer in layers {
            asked = ask(&layer);
            outcomes.extend(self.observe_ends(caller, "server.stop", asked, begun).await);
        }
        outcomes.sort_by_key(|o| meant.iter().position(|s| s.id == o.server));
        Ok(Outcomes { outcomes })
    }

    pub(crate) async fn restart_servers(
        &self,
        caller: &Caller,
        targets: &Targets,
    ) -> Result<Outcomes, WireError> {
        let begun = Instant::now();
        let meant = self.meant(targets)?;
        let mut rolling = tokio::task::JoinSet::new();
        let mut asked = Vec::new();
        let mut wishes = Vec::new();
        for spec in &meant {
            if let Err(refused) = restartable(spec) {
                asked.push(Asked {
                    server: spec.id.clone(),
                    what: Err(refused),
                    down: false,
                });
                continue;
            }
            let desired = self.supervisor.desired(&spec.id).unwrap_or_default();
            let running = desired.running && desired.replicas > 0;
            wishes.push(self.ask_running(spec, true, &caller.actor));
            if !running {
                asked.push(Asked {
                    server: spec.id.clone(),
                    what: self.want_awake(&spec.id, Some(&caller.correlation)),
                    down: false,
                });
                continue;
            }
            let indices: Vec<u32> = match targets.instance {
                Some(index) if index <= desired.replicas => vec![index],
                Some(index) => {
                    let refused = WireError::new(
                        ErrorCode::NotFound,
                        format!(
                            "find instance {index} of {}: it has {}",
                            spec.id, desired.replicas
                        ),
                    );
                    asked.push(Asked {
                        server: spec.id.clone(),
                        what: Err(refused),
                        down: false,
                    });
                    continue;
                }
                None => (1..=desired.replicas).collect(),
            };
            let (supervisor, id, correlation, actor) = (
                self.supervisor.clone(),
                spec.id.clone(),
                caller.correlation.clone(),
                caller.actor.clone(),
            );
            // Replicas of one server in turn, so that the others serve meanwhile; servers beside each other.
            rolling.spawn(async move {
                let mut ends = Vec::new();
                for index in indices {
                    let why = format!("restart requested by {actor}");
                    let asked = supervisor.restart(&id.instance(index), &why, Some(&correlation));
                    let ticket = match asked {
                        Ok(Some(ticket)) => ticket,
                        // Stopped or scaled down since the restart began.
                        Ok(None) => return (id, Err(superseded())),
                        Err(error) => return (id, Err(busy(&error))),
                    };
                    let end = supervisor.settled(ticket, WATCH).await;
                    let good = end.iter().all(|e| e.reached == Some(true));
                    ends.extend(end);
                    if !good {
                        break;
                    }
                }
                (id, Ok(ends))
            });
        }
        self.keep_wishes(wishes).await;
        let mut outcomes = self
            .observe_ends(caller, "server.restart", asked, begun)
            .await;
        while let Some(done) = rolling.join_next().await {
            let Ok((id, ends)) = done else { continue };
            let outcome = match ends {
                Ok(ends) => self.outcome(&id, &ends, false, begun),
                Err(error) => self.refused(&id, error, begun),
            };
            self.record_outcomes(caller, "server.restart", "", std::slice::from_ref(&outcome))
                .await;
            outcomes.push(outcome);
        }
        outcomes.sort_by_key(|o| meant.iter().position(|s| s.id == o.server));
        Ok(Outcomes { outcomes })
    }

    pub(crate) async fn scale_server(
        &self,
        caller: &Caller,
        params: &ScaleParams,
    ) -> Result<Outcomes, WireError> {
        let begun = Instant::now();
        let spec = self.spec(&params.server)?;
        scalable(&spec, params.replicas)?;
        let before = self.desired(&spec);
        let was = if before.running { before.replicas } else { 0 };
        // Scaling a stopped server up means that it should run.
        let running = params.replicas > 0 || before.running;
        let running = (running != spec.autostart).then_some(running);
        let replicas = (params.replicas != spec.replicas).then_some(params.replicas);
        self.set_wish(&spec.id, facts::wish(running, replicas, &caller.actor))
            .await;
        let asked = self.want(&spec.id, Some(&caller.correlation));
        if asked.is_ok() && was != params.replicas {
            self.tell(
                Some(&spec.id),
                caller,
                EventKind::Scaled {
                    from: was,
                    to: params.replicas,
                },
            );
        }
        let outcome = match asked {
            Ok(ticket) => {
                let ends = self.supervisor.settled(ticket, WATCH).await;
                self.scaled(&spec.id, params.replicas, &ends, begun)
            }
            Err(error) => self.refused(&spec.id, error, begun),
        };
        let outcomes = vec![outcome];
        self.record_outcomes(
            caller,
            "server.scale",
            &format!("to {}", params.replicas),
            &outcomes,
        )
        .await;
        Ok(Outcomes { outcomes })
    }

    pub(crate) async fn reset_servers(
        &self,
        caller: &Caller,
        targets: &Targets,
    ) -> Result<Outcomes, WireError> {
        no_instance(targets, "reset")?;
        let begun = Instant::now();
        let mut asked = Vec::new();
        let mut wishes = Vec::new();
        for spec in self.meant(targets)? {
            self.facts.wish(&spec.id, None);
            wishes.push((spec.id.clone(), None));
            let down = !self.desired(&spec).running;
            asked.push(Asked {
                what: self.want(&spec.id, Some(&caller.correlation)),
                down,
                server: spec.id,
            });
        }
        self.keep_wishes(wishes).await;
        Ok(Outcomes {
            outcomes: self
                .observe_ends(caller, "server.reset", asked, begun)
                .await,
        })
    }

    pub(crate) async fn probe_servers(&self, targets: &Targets) -> Result<Outcomes, WireError> {
        let begun = Instant::now();
        let mut outcomes = Vec::new();
        for spec in self.meant(targets)? {
            let Some(seen) = self.supervisor.observe(&spec.id) else {
                continue;
            };
            let before: Vec<_> = seen
                .instances
                .iter()
                .map(|i| (i.id.clone(), i.health.checked_at))
                .collect();
            for (id, _) in before
                .iter()
                .filter(|(id, _)| targets.instance.is_none_or(|n| n == id.index))
            {
                self.supervisor.probe(id);
            }
            let limit = Duration::from_millis(spec.health.timeout_ms * 2 + 1_000);
            let asked = seen
                .instances
                .iter()
                .filter(|i| i.process.state == ProcessState::Running)
                .count();
            if asked > 0 {
                self.await_checked(&spec.id, &before, limit).await;
            }
            outcomes.push(self.outcome(&spec.id, &[], false, begun));
        }
        Ok(Outcomes { outcomes })
    }

    /// Waits until a running instance has been checked again.
    async fn await_checked(
        &self,
        id: &ServerId,
        before: &[(InstanceId, Option<u64>)],
        limit: Duration,
    ) {
        let mut deltas = self.deltas.subscribe();
        let checked = || {
            self.supervisor.observe(id).is_none_or(|seen| {
                seen.instances.iter().any(|i| {
                    before
                        .iter()
                        .any(|(b, at)| *b == i.id && *at != i.health.checked_at)
                })
            })
        };
        let wait = async {
            while !checked() {
                if let Err(tokio::sync::broadcast::error::RecvError::Closed) = deltas.recv().await {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(limit, wait).await;
    }

    /// What start and stop ask for, beside what is declared; equal to it, it is forgotten. To be kept with
    /// [`keep_wishes`](Self::keep_wishes).
    fn ask_running(
        &self,
        spec: &ServerSpec,
        running: bool,
        by: &str,
    ) -> (ServerId, Option<Override>) {
        let replicas = self.facts.get(&spec.id).wish.and_then(|w| w.replicas);
        // Starting what was scaled to nothing means: as declared.
        let replicas = replicas.filter(|n| !(running && *n == 0));
        let wish = facts::wish((running != spec.autostart).then_some(running), replicas, by);
        self.facts.wish(&spec.id, wish.clone());
        (spec.id.clone(), wish)
    }

    async fn keep_wishes(&self, wishes: Vec<(ServerId, Option<Override>)>) {
        if let Err(error) = self.control.set_overrides(&wishes).await {
            self.notice(format!(
                "What was asked cannot be kept over a restart: {error}."
            ));
        }
        for (id, _) in &wishes {
            self.supervisor.touch(id);
        }
    }

    async fn observe_ends(
        &self,
        caller: &Caller,
        command: &str,
        asked: Vec<Asked>,
        begun: Instant,
    ) -> Vec<Outcome> {
        // Beside each other: each row tells its own time.
        let mut waiting = tokio::task::JoinSet::new();
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(asked.len());
        for (row, Asked { server, what, down }) in asked.into_iter().enumerate() {
            outcomes.push(None);
            match what {
                Err(refused) => outcomes[row] = Some(self.refused(&server, refused, begun)),
                Ok(ticket) => {
                    let supervisor = self.supervisor.clone();
                    let left = WATCH.saturating_sub(begun.elapsed());
                    waiting.spawn(async move {
                        (row, server, down, supervisor.settled(ticket, left).await)
                    });
                }
            }
        }
        while let Some(settled) = waiting.join_next().await {
            if let Ok((row, server, down, ends)) = settled {
                outcomes[row] = Some(self.outcome(&server, &ends, down, begun));
            }
        }
        let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
        self.record_outcomes(caller, command, "", &outcomes).await;
        outcomes
    }

    fn refused(&self, id: &ServerId, error: WireError, begun: Instant) -> Outcome {
        let (status, state) = self.standing(id);
        let sentence = match error.code {
            ErrorCode::Superseded => NEWER_WON.to_owned(),
            _ => format!("Refused: failed to {}", error.message),
        };
        Outcome {
            server: id.clone(),
            ok: false,
            sentence,
            status,
            state,
            took_ms: took(begun),
            error: Some(error),
        }
    }

    fn standing(&self, id: &ServerId) -> (Status, ProcessState) {
        self.supervisor
            .observe(id)
            .map_or((Status::Stopped, ProcessState::Stopped), |seen| {
                (
                    seen.status,
                    seen.instances
                        .iter()
                        .map(|i| i.process.state)
                        .min_by_key(|s| far(*s))
                        .unwrap_or_default(),
                )
            })
    }

    /// The end of one server, in words.
    fn outcome(&self, id: &ServerId, ends: &[Settled], down: bool, begun: Instant) -> Outcome {
        let (status, state) = self.standing(id);
        let took_ms = took(begun);
        let took = span(Duration::from_millis(took_ms));
        let health = self.supervisor.observe(id).map(|seen| seen.health);
        let sentence_of_health = health
            .as_ref()
            .map_or_else(String::new, |h| h.sentence.clone());
        // A start that was asked for between the wish to stop and its order makes the order one to start.
        let turned = |e: &Settled| down && e.end != End::Down;
        let newer_won = ends.iter().any(|e| e.superseded || turned(e));
        let late = ends.iter().any(|e| e.reached.is_none());
        let failed = ends
            .iter()
            .find(|e| e.reached == Some(false) && !e.superseded);
        let (ok, sentence, error) = if newer_won {
            (false, NEWER_WON.to_owned(), Some(superseded()))
        } else if let Some(failed) = failed {
            let sentence = format!("{}, {took}", failed.view.health.sentence);
            (
                false,
                sentence,
                Some(WireError::new(
                    ErrorCode::NotReached,
                    "reach the end asked for",
                )),
            )
        } else if late {
            let sentence =
                format!("No end seen after {took}, still watching: {sentence_of_health}");
            (
                false,
                sentence.clone(),
                Some(WireError::new(ErrorCode::Timeout, sentence)),
            )
        } else if down {
            (true, format!("Stopped, {took}"), None)
        } else {
            let tools = self
                .facts
                .get(id)
                .tools
                .map(|list| list.tools.len())
                .filter(|_| {
                    health
                        .as_ref()
                        .is_some_and(|h| h.level == HealthLevel::Healthy)
                });
            let tools = tools.map_or_else(String::new, |n| {
                format!(", {n} {}", if n == 1 { "tool" } else { "tools" })
            });
            (true, format!("{}{tools}, {took}", word(status)), None)
        };
        Outcome {
            server: id.clone(),
            ok,
            sentence,
            status,
            state,
            took_ms,
            error,
        }
    }

    fn scaled(&self, id: &ServerId, replicas: u32, ends: &[Settled], begun: Instant) -> Outcome {
        let mut outcome = self.outcome(id, ends, false, begun);
        if outcome.ok {
            let replicas_word = if replicas == 1 { "replica" } else { "replicas" };
            outcome.sentence = format!(
                "{replicas} {replicas_word}, {}",
                span(Duration::from_millis(outcome.took_ms))
            );
        }
        outcome
    }

    async fn record_outcomes(
        &self,
        caller: &Caller,
        command: &str,
        params: &str,
        outcomes: &[Outcome],
    ) {
        let done = outcomes
            .iter()
            .map(|o| (Some(&o.server), o.sentence.as_str(), o.ok));
        self.record_actions(caller, command, params, done).await;
    }

    /// Operator actions are recorded, whether they reached their end or not.
    pub(crate) async fn record_actions<'a>(
        &self,
        caller: &Caller,
        command: &str,
        params: &str,
        done: impl Iterator<Item = (Option<&'a ServerId>, &'a str, bool)>,
    ) {
        let mut actions = Vec::new();
        for (server, outcome, ok) in done {
            let about = server.map(|id| id.instance(0));
            let correlation = Some(caller.correlation.clone());
            let what = EventKind::Action {
                actor: caller.actor.clone(),
                command: command.to_owned(),
                outcome: outcome.to_owned(),
                ok,
            };
            self.events.append(NewEvent {
                about: about.clone(),
                correlation: correlation.clone(),
                what,
            });
            actions.push(NewAction {
                about,
                actor: caller.actor.clone(),
                command: command.to_owned(),
                params: params.to_owned(),
                outcome: outcome.to_owned(),
                ok,
                correlation,
            });
        }
        if let Err(error) = self.control.record_actions(actions).await {
            self.notice(format!(
                "An action of an operator could not be recorded: {error}."
            ));
        }
    }

    /// What a verb would do, by the same checks, without doing it.
    pub(crate) fn plan(&self, params: &PlanParams) -> Result<Plan, WireError> {
        let meant = self.meant(&params.targets)?;
        let (mut stops, mut starts, mut refusals) = (0_u32, 0_u32, Vec::new());
        let mut touched = Vec::new();
        // Of the configuration, after each removal.
        let mut left = None;
        for spec in &meant {
            let running = self.running(&spec.id);
            let desired = self.desired(spec);
            let refused = match params.verb {
                Verb::Start => startable(spec),
                Verb::Restart => restartable(spec),
                Verb::Scale => scalable(spec, params.replicas.unwrap_or(desired.replicas)),
                Verb::Stop => Ok(()),
                Verb::Remove => self.removable(&spec.id, &mut left),
            };
            if let Err(error) = refused {
                refusals.push(Refusal {
                    server: spec.id.clone(),
                    error,
                });
                continue;
            }
            touched.push(spec.id.clone());
            let (down, up) = effect(params, spec, desired, running);
            stops += down;
            starts += up;
        }
        let stopping = matches!(params.verb, Verb::Stop | Verb::Remove)
            || (params.verb == Verb::Scale && params.replicas == Some(0));
        let dependents = if stopping {
            self.dependents(&touched)
        } else {
            Vec::new()
        };
        let mut sentence = sentence(params, &touched, stops, starts, &dependents, &refusals);
        let asleep = |id: &&ServerId| {
            let seen = self.supervisor.observe(id);
            seen.is_some_and(|seen| seen.status == Status::Sleeping)
        };
        let sleepers = touched.iter().filter(asleep).count();
        if params.verb == Verb::Stop && stops == 0 && sleepers > 0 {
            let it = if sleepers == 1 { "it" } else { "them" };
            sentence = format!("Nothing runs; no call starts {it} any more");
        }
        let ends = stops > 0 || sleepers > 0 && matches!(params.verb, Verb::Stop | Verb::Remove);
        let (clients, in_flight) = if ends && params.verb != Verb::Start {
            self.gateway.hit(&touched)
        } else {
            (Vec::new(), 0)
        };
        let hits = if ends && params.verb != Verb::Start && self.gateway.address().is_some() {
            hits(&clients, in_flight)
        } else {
            Vec::new()
        };
        let destructive = stops > 0 && params.verb != Verb::Start || params.verb == Verb::Remove;
        Ok(Plan {
            sentence,
            stops,
            starts,
            dependents,
            clients,
            in_flight,
            hits,
            refusals,
            destructive,
        })
    }

    /// Whether a server could be taken out of what those before it left.
    fn removable(&self, id: &ServerId, left: &mut Option<String>) -> Result<(), WireError> {
        let text = match left.take() {
            Some(text) => text,
            None => self.text_to_edit()?,
        };
        let removed = without(&text, id);
        *left = Some(removed.as_ref().map_or(text, Clone::clone));
        removed.map(drop)
    }

    fn running(&self, id: &ServerId) -> u32 {
        let up = |s| {
            matches!(
                s,
                ProcessState::Running | ProcessState::Starting | ProcessState::Restarting
            )
        };
        self.supervisor.observe(id).map_or(0, |seen| {
            u32::try_from(
                seen.instances
                    .iter()
                    .filter(|i| up(i.process.state))
                    .count(),
            )
            .unwrap_or(u32::MAX)
        })
    }

    /// Running servers that depend on these, directly or not.
    fn dependents(&self, on: &[ServerId]) -> Vec<ServerId> {
        let fleet = self.fleet();
        let mut all: Vec<ServerId> = on.to_vec();
        let mut at = 0;
        while at < all.len() {
            for spec in &fleet.servers {
                if spec.depends_on.iter().any(|d| d.server == all[at]) && !all.contains(&spec.id) {
                    all.push(spec.id.clone());
                }
            }
            at += 1;
        }
        all.into_iter()
            .skip(on.len())
            .filter(|id| self.running(id) > 0)
            .collect()
    }
}

fn effect(params: &PlanParams, spec: &ServerSpec, desired: Desired, running: u32) -> (u32, u32) {
    let wanted = desired
        .replicas
        .max(u32::from(desired.replicas == 0) * spec.replicas);
    match params.verb {
        Verb::Start => (0, wanted.saturating_sub(running)),
        Verb::Stop | Verb::Remove => (running, 0),
        Verb::Restart if params.targets.instance.is_some() => (1.min(running), 1),
        Verb::Restart if running == 0 => (0, wanted),
        Verb::Restart => (running, running.max(desired.replicas)),
        Verb::Scale => {
            let to = params.replicas.unwrap_or(desired.replicas);
            (running.saturating_sub(to), to.saturating_sub(running))
        }
    }
}

fn sentence(
    params: &PlanParams,
    touched: &[ServerId],
    stops: u32,
    starts: u32,
    dependents: &[ServerId],
    refusals: &[Refusal],
) -> String {
    let count = |n: u32| format!("{n} {}", if n == 1 { "instance" } else { "instances" });
    let of = match touched {
        [] => String::new(),
        [one] => format!(" of {one}"),
        many => format!(" of {} servers", many.len()),
    };
    let mut said = match params.verb {
        _ if touched.is_empty() => String::new(),
        Verb::Start if starts == 0 => format!("Nothing to start{of}: it runs already"),
        Verb::Start => format!("Starts {}{of}", count(starts)),
        Verb::Stop if stops == 0 => format!("Nothing runs{of}; a pending restart is cancelled"),
        Verb::Stop => format!("Stops {}{of}", count(stops)),
        Verb::Restart if stops == 0 => format!("Starts {}{of}", count(starts)),
        Verb::Restart if stops > 1 && touched.len() == 1 => {
            format!("Restarts {}{of}, one at a time", count(stops))
        }
        Verb::Restart => format!("Restarts {}{of}", count(stops)),
        Verb::Scale if stops > 0 => format!("Stops {}{of}", count(stops)),
        Verb::Scale if starts > 0 => format!("Starts {}{of}", count(starts)),
        Verb::Scale => format!("Changes nothing{of}"),
        Verb::Remove => format!(
            "Stops {}{of} and takes it out of the configuration",
            count(stops)
        ),
    };
    if !dependents.is_empty() {
        let names: Vec<&str> = dependents.iter().map(ServerId::as_str).collect();
        said += &format!(
            "; {} {} on it",
            names.join(", "),
            if names.len() == 1 {
                "depends"
            } else {
                "depend"
            }
        );
    }
    for refusal in refusals.iter().take(3) {
        let gap = if said.is_empty() { "" } else { ". " };
        said += &format!(
            "{gap}{}: would fail to {}",
            refusal.server, refusal.error.message
        );
    }
    said
}

/// Who called lately, and what is under way: what stops takes that from them.
fn hits(clients: &[HitClient], in_flight: u32) -> Vec<String> {
    /// Clients that are named.
    const NAMED: usize = 3;
    /// Below this many calls they are counted, not rated.
    const FEW: u32 = 30;
    let one = |client: &HitClient| {
        // Of few calls a rate says little, least of all in the first minutes of an engine.
        let often = if client.calls >= FEW && client.per_second >= 0.1 {
            format!("{:.1} calls/s", client.per_second)
        } else {
            let s = if client.calls == 1 { "" } else { "s" };
            format!("{} call{s}", client.calls)
        };
        format!("{} ({often})", client.client)
    };
    let mut names: Vec<String> = clients.iter().take(NAMED).map(one).collect();
    if clients.len() > NAMED {
        names.push(format!("{} more", clients.len() - NAMED));
    }
    let last = names.pop();
    let who = match (names.is_empty(), last) {
        (_, None) => "No client called through the gateway".to_owned(),
        (true, Some(one)) => format!("{one} called"),
        (false, Some(last)) => format!("{} and {last} called", names.join(", ")),
    };
    let mut said = vec![format!("{who} in the last 10 min")];
    match in_flight {
        0 => {}
        1 => said.push("1 call is under way and may be cut off".to_owned()),
        many => said.push(format!("{many} calls are under way and may be cut off")),
    }
    said
}

fn superseded() -> WireError {
    WireError::new(ErrorCode::Superseded, "keep at it: a newer command won")
}

fn no_instance(targets: &Targets, verb: &str) -> Result<(), WireError> {
    if targets.instance.is_some() {
        return Err(WireError::new(
            ErrorCode::Unsupported,
            format!("{verb} one instance: scale the server, or restart the instance"),
        ));
    }
    Ok(())
}

fn startable(spec: &ServerSpec) -> Result<(), WireError> {
    match &spec.disabled {
        Some(why) => Err(WireError::new(
            ErrorCode::Disabled,
            format!("start {}: it is disabled ({why})", spec.id),
        )),
        None => Ok(()),
    }
}

fn ours(spec: &ServerSpec, verb: &str) -> Result<(), WireError> {
    match &spec.transport {
        Transport::Url { url, .. } => Err(WireError::new(
            ErrorCode::Unsupported,
            format!(
                "{verb} {}: it was not started by this engine, which only monitors {url}",
                spec.id
            ),
        )),
        Transport::Stdio { .. } | Transport::Http { .. } | Transport::Sse { .. } => Ok(()),
    }
}

fn restartable(spec: &ServerSpec) -> Result<(), WireError> {
    ours(spec, "restart")?;
    startable(spec)
}

fn scalable(spec: &ServerSpec, replicas: u32) -> Result<(), WireError> {
    ours(spec, "scale")?;
    if replicas > MOST_REPLICAS {
        return Err(WireError::new(
            ErrorCode::BadRequest,
            format!(
                "scale {} to {replicas}: accepted are 0 to {MOST_REPLICAS} replicas",
                spec.id
            ),
        ));
    }
    if let Transport::Http { port, .. } = spec.transport
        && u32::from(port) + 100 * replicas.saturating_sub(1) > u32::from(u16::MAX)
    {
        return Err(WireError::new(
            ErrorCode::BadRequest,
            format!(
                "scale {} to {replicas}: replica {replicas} would need a port above 65535",
                spec.id
            ),
        ));
    }
    if replicas > 0 {
        startable(spec)
    } else {
        Ok(())
    }
}

/// How far a process is from running, for "the least far instance".
fn far(state: ProcessState) -> u8 {
    match state {
        ProcessState::Failed => 0,
        ProcessState::Restarting => 1,
        ProcessState::Stopped => 2,
        ProcessState::Stopping => 3,
        ProcessState::Starting => 4,
        ProcessState::Sleeping => 5,
        ProcessState::Running => 6,
    }
}

/// The word of a status, as screens and the CLI print it.
pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::Running => "Running",
        Status::Unchecked => "Running, unchecked",
        Status::Starting => "Starting",
        Status::Degraded => "Degraded",
        Status::Unhealthy => "Unhealthy",
        Status::Restarting => "Restarting",
        Status::Failed => "Failed",
        Status::Stopping => "Stopping",
        Status::Stopped => "Stopped",
        Status::Stale => "Stale",
        Status::Sleeping => "Sleeping",
        Status::Disabled => "Disabled",
    }
}

fn took(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stop_would_hit_in_words() {
        let client = |name: &str, calls: u32| HitClient {
            client: name.into(),
            calls,
            per_second: f64::from(calls) / 600.0,
        };
        let check = |clients: &[HitClient], in_flight, expected: &[&str]| {
            assert_eq!(hits(clients, in_flight), expected);
        };
        check(
            &[],
            0,
            &["No client called through the gateway in the last 10 min"],
        );
        check(
            &[client("n8n", 3_120), client("Claude Code", 1)],
            1,
            &[
                "n8n (5.2 calls/s) and Claude Code (1 call) called in the last 10 min",
                "1 call is under way and may be cut off",
            ],
        );
        let many: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| client(name, 2)).into();
        check(
            &many,
            31,
            &[
                "a (2 calls), b (2 calls), c (2 calls) and 2 more called in the last 10 min",
                "31 calls are under way and may be cut off",
            ],
        );
    }
}
