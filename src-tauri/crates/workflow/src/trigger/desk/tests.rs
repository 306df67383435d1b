use super::*;
use crate::{Anything, compile, parse};
use std::cell::RefCell;

const MINUTE: u64 = 60_000;
/// 2026-01-01T00:00:00Z
const START: Millis = 1_767_225_600_000;

/// A home: what is kept, what runs, and what was done.
struct Home {
    desk: Desk,
    now: Millis,
    kept: BTreeMap<(String, String), Kept>,
    queued: Vec<Firing>,
    /// Keys that are taken, with their runs.
    keys: Vec<(String, u64)>,
    running: RefCell<Vec<(String, u64)>>,
    /// What was done since it was last looked at.
    log: Vec<String>,
    texts: Vec<(String, String)>,
}

impl Home {
    fn new(definitions: &[(&str, &str)]) -> Self {
        let mut home = Self {
            desk: Desk::default(),
            now: START,
            kept: BTreeMap::new(),
            queued: Vec::new(),
            keys: Vec::new(),
            running: RefCell::default(),
            log: Vec::new(),
            texts: Vec::new(),
        };
        home.define(definitions);
        home
    }

    fn define(&mut self, definitions: &[(&str, &str)]) {
        self.texts = definitions
            .iter()
            .map(|(name, on)| ((*name).to_owned(), (*on).to_owned()))
            .collect();
        let valid = definitions
            .iter()
            .map(|(name, on)| ((*name).to_owned(), plan(name, on)))
            .collect();
        let event = Event::Defined {
            valid,
            broken: Vec::new(),
            seed: 1,
        };
        self.on(event);
    }

    /// The engine is killed: what is on disk is all that is left, and runs go on with the next one.
    fn killed(&mut self) {
        let texts = self.texts.clone();
        self.desk = Desk::new(self.kept.values().cloned().collect(), self.queued.clone());
        let definitions: Vec<_> = texts
            .iter()
            .map(|(name, on)| (name.as_str(), on.as_str()))
            .collect();
        self.define(&definitions);
    }

    fn decide(&mut self, event: Event) -> VecDeque<Effect> {
        let running = |name: &str| {
            let running = self.running.borrow();
            running
                .iter()
                .filter(|run| run.0 == name)
                .map(|run| run.1)
                .collect()
        };
        self.desk.on(self.now, event, &running).into()
    }

    fn on(&mut self, event: Event) {
        let mut todo = self.decide(event);
        while let Some(effect) = todo.pop_front() {
            if let Effect::Start(firing) = &effect {
                let result = Ok(self.start(firing));
                let (key, workflow, trigger) = (
                    firing.key.clone(),
                    firing.workflow.clone(),
                    firing.trigger.clone(),
                );
                let more = self.decide(Event::Started(Started {
                    key,
                    workflow,
                    trigger,
                    result,
                }));
                more.into_iter()
                    .rev()
                    .for_each(|effect| todo.push_front(effect));
            } else {
                self.perform(effect);
            }
        }
    }

    fn start(&mut self, firing: &Firing) -> u64 {
        self.queued.retain(|one| one.key != firing.key);
        if let Some((_, run)) = self.keys.iter().find(|(key, _)| *key == firing.key) {
            self.log.push(format!("known {run}"));
            return *run;
        }
        let run = self.keys.len() as u64 + 1;
        self.keys.push((firing.key.clone(), run));
        self.running
            .borrow_mut()
            .push((firing.workflow.clone(), run));
        self.log.push(format!("start {run} {}", firing.workflow));
        run
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Keep(kept) => {
                self.kept
                    .insert((kept.workflow.clone(), kept.trigger.clone()), kept);
            }
            Effect::Forget { workflow, trigger } => {
                self.log.push(format!("forget {workflow}/{trigger}"));
                self.kept.remove(&(workflow, trigger));
            }
            Effect::Queue(firing) => {
                self.log.push("queue".into());
                self.queued.push(firing);
            }
            Effect::Unqueue(key) => self.queued.retain(|one| one.key != key),
            Effect::Cancel { run, .. } => self.log.push(format!("cancel {run}")),
            Effect::Tell { outcome, why, .. } => {
                self.log.push(format!("{}: {why}", outcome.word()))
            }
            Effect::Notice(text) => self.log.push(format!("notice {text}")),
            Effect::Start(_) => unreachable!(),
        }
    }

    fn at(&mut self, now: Millis) -> String {
        self.now = now;
        self.on(Event::Time);
        self.said()
    }

    fn ended(&mut self, name: &str, run: u64) -> String {
        self.running.borrow_mut().retain(|one| one.1 != run);
        self.on(Event::Ended(name.to_owned()));
        self.said()
    }

    fn happened(
        &mut self,
        place: u64,
        word: &str,
        server: &str,
        cause: Option<(&str, u32)>,
    ) -> String {
        self.on(Event::Happened(Happening {
            place: format!("boot:{place}"),
            word: word.to_owned(),
            server: Some(server.to_owned()).filter(|server| !server.is_empty()),
            event: json!({ "kind": word, "server": server, "restarts": place }),
            cause: cause.map(|(name, depth)| (name.to_owned(), depth)),
        }));
        self.said()
    }

    fn said(&mut self) -> String {
        std::mem::take(&mut self.log).join(", ")
    }
}

fn plan(name: &str, on: &str) -> Arc<Plan> {
    let text = format!(
        "name: {name}\nvars: {{ who: {{ default: nobody }} }}\n{on}\nsteps: [{{ id: a, uses: data }}]\n"
    );
    let definition = parse(&text).unwrap_or_else(|finding| panic!("{finding:?}\n{text}"));
    Arc::new(
        compile(definition, &Anything).unwrap_or_else(|findings| panic!("{findings:?}\n{text}")),
    )
}

const EACH_MINUTE: &str = "on: [{ schedule: { cron: '* * * * *', timezone: UTC } }]";

#[test]
fn each_due_time_starts_one_run_whatever_is_killed() {
    let mut home = Home::new(&[("w", EACH_MINUTE)]);
    assert_eq!(home.at(START + MINUTE - 1), "");
    assert_eq!(home.at(START + MINUTE), "start 1 w");
    assert_eq!(home.at(START + MINUTE + 1), "");
    assert_eq!(
        home.desk.view()[0].next,
        [START + 2 * MINUTE, START + 3 * MINUTE, START + 4 * MINUTE]
    );
    assert_eq!(home.ended("w", 1), "");
    home.killed();
    assert_eq!(home.at(START + MINUTE + 2), "");

    // Killed after the run was kept, before that was noted.
    home.now = START + 2 * MINUTE;
    let effects = home.decide(Event::Time);
    let effects = Vec::from(effects);
    let [Effect::Start(firing)] = effects.as_slice() else {
        panic!("one start");
    };
    home.start(firing);
    assert_eq!(home.said(), "start 2 w");
    home.running.borrow_mut().clear();
    home.killed();
    assert_eq!(home.at(START + 2 * MINUTE + 500), "known 2");
    assert_eq!(home.at(START + 2 * MINUTE + 600), "");
}

#[test]
fn a_clock_that_is_set_starts_nothing_twice_and_nothing_never() {
    let mut home = Home::new(&[(
        "w",
        "on: [{ schedule: { cron: '* * * * *', timezone: UTC, catch_up: last }, overlap: allow }]",
    )]);
    let hour = 60 * MINUTE;
    assert_eq!(
        home.at(START + 10 * MINUTE + 30_000),
        "skipped: 9 due times had passed by more than a minute, start 1 w"
    );
    // Back by five minutes: it waits until it is there again.
    assert_eq!(home.at(START + 5 * MINUTE), "");
    assert_eq!(home.at(START + 10 * MINUTE), "");
    assert_eq!(home.at(START + 11 * MINUTE), "start 2 w");
    // Forward by a day: one of what was missed.
    assert_eq!(
        home.at(START + 24 * hour + 1),
        "skipped: 99 or more due times had passed by more than a minute, start 3 w"
    );
    // Back by a day: it goes on from there, and what has run is known.
    assert_eq!(home.at(START + 10 * MINUTE + 30_000), "");
    assert_eq!(home.at(START + 11 * MINUTE), "known 2");
    assert_eq!(home.at(START + 12 * MINUTE), "start 4 w");
}

#[test]
fn what_overlaps() {
    let on = |overlap: &str, more: &str| {
        format!(
            "{more}\non: [{{ schedule: {{ cron: '* * * * *', timezone: UTC }}, overlap: {overlap} }}]"
        )
    };
    let at = |minutes: u64| START + minutes * MINUTE;

    let mut home = Home::new(&[("w", &on("skip", ""))]);
    assert_eq!(home.at(at(1)), "start 1 w");
    assert_eq!(home.at(at(2)), "skipped: 1 run is under way");
    assert_eq!(home.at(at(3)), "", "the same is not told again");
    assert_eq!(home.ended("w", 1), "");
    assert_eq!(home.at(at(4)), "start 2 w");

    let mut home = Home::new(&[("w", &on("skip", "max_runs: 2"))]);
    assert_eq!(home.at(at(1)) + &home.at(at(2)), "start 1 wstart 2 w");
    assert_eq!(home.at(at(3)), "skipped: 2 runs are under way");

    let mut home = Home::new(&[("w", &on("allow", ""))]);
    for minute in 1..20 {
        assert_eq!(home.at(at(minute)), format!("start {minute} w"));
    }

    let mut home = Home::new(&[("w", &on("queue", ""))]);
    assert_eq!(home.at(at(1)), "start 1 w");
    assert_eq!(home.at(at(2)), "queue, queued: 1 run is under way");
    for minute in 3..18 {
        assert_eq!(home.at(at(minute)), "queue");
    }
    assert_eq!(home.at(at(18)), "skipped: 16 of them wait already");
    assert_eq!(home.desk.view()[0].queued, 16);
    home.killed();
    assert_eq!(home.desk.view()[0].queued, 16, "what waits is on disk");
    assert_eq!(home.ended("w", 1), "start 2 w");
    assert_eq!(home.at(at(18)), "", "one at a time");
    for run in 2..=16 {
        assert_eq!(home.ended("w", run), format!("start {} w", run + 1));
    }
    assert_eq!(home.ended("w", 17), "");
    assert!(home.queued.is_empty());

    let mut home = Home::new(&[("w", &on("cancel_previous", ""))]);
    assert_eq!(home.at(at(1)), "start 1 w");
    assert_eq!(
        home.at(at(2)),
        "queue, queued: 1 run is being cancelled, cancel 1"
    );
    assert_eq!(home.at(at(3)), "queue, cancel 1");
    assert_eq!(home.queued.len(), 1, "only the latest waits");
    assert_eq!(home.ended("w", 1), "start 2 w");
    assert_eq!(home.ended("w", 2), "");
}

const ON_FAILED: &str = "on: [{ event: { kinds: ['server:failed'], servers: ['api-*'] }, overlap: allow, if: 'trigger.event.restarts > 0', vars: { who: '${{ trigger.server }}' } }]";

#[test]
fn events_start_what_they_are_meant_for() {
    let mut home = Home::new(&[
        ("w", ON_FAILED),
        (
            "x",
            "on: [{ event: { kinds: ['workflow:run', 'server:failed'] }, overlap: allow }]",
        ),
    ]);
    assert!(home.desk.wants("server:failed") && !home.desk.wants("server:started"));
    for (place, word, server, cause, expected) in [
        (1, "server:failed", "api-1", None, "start 1 w, start 2 x"),
        (1, "server:failed", "api-1", None, "known 1, known 2"),
        (2, "server:failed", "db", None, "start 3 x"),
        (3, "server:unhealthy", "api-1", None, ""),
        (0, "server:failed", "api-1", None, "start 4 x"),
        // What a run of it did starts no run of it; what another's did starts one that is deeper.
        (4, "server:failed", "api-2", Some(("w", 0)), "start 5 x"),
        (5, "server:failed", "api-2", Some(("x", 1)), "start 6 w"),
        (6, "workflow:run", "", Some(("x", 0)), ""),
    ] {
        assert_eq!(
            home.happened(place, word, server, cause),
            expected,
            "{place} {word} {server}"
        );
    }
    let effects = home.decide(Event::Happened(Happening {
        place: "b:9".into(),
        word: "server:failed".into(),
        server: Some("api-3".into()),
        event: json!({ "restarts": 4 }),
        cause: Some(("x".into(), 3)),
    }));
    let Some(Effect::Start(firing)) = effects.front() else {
        panic!("a start");
    };
    assert_eq!(
        (firing.depth, firing.by.as_str()),
        (4, "event server:failed of api-3")
    );
    assert_eq!(firing.vars["who"], "api-3");
    assert_eq!(firing.cause["time"], "2026-01-01T00:00:00Z");
    assert_eq!(
        (&firing.cause["kind"], &firing.cause["server"]),
        (&json!("event"), &json!("api-3"))
    );
}

#[test]
fn a_storm_is_bounded_and_one_without_an_end_is_ended() {
    let mut home = Home::new(&[(
        "w",
        "on: [{ event: { kinds: ['server:failed'], per_minute: 3, per_hour: 7 }, overlap: allow }]",
    )]);
    let storm = |home: &mut Home, minute: u64| {
        home.now = START + minute * MINUTE;
        let said: Vec<_> = (0..50)
            .map(|place| home.happened(minute * 100 + place, "server:failed", "a", None))
            .filter(|said| !said.is_empty())
            .collect();
        said.join(", ")
    };
    assert_eq!(
        storm(&mut home, 1),
        "start 1 w, start 2 w, start 3 w, dropped: it has fired 3 times within a minute"
    );
    assert_eq!(
        storm(&mut home, 2),
        "start 4 w, start 5 w, start 6 w, dropped: it has fired 3 times within a minute"
    );
    let said = storm(&mut home, 3);
    assert!(
        said.starts_with("notice The trigger event of the workflow w started 7 runs")
            && said.ends_with("start 7 w"),
        "{said}"
    );
    assert_eq!(
        storm(&mut home, 70),
        "",
        "off until a person switches it on"
    );
    home.killed();
    assert_eq!(storm(&mut home, 71), "");
    let view = home.desk.view().remove(0);
    assert_eq!(
        (view.enabled, view.why.as_deref()),
        (
            false,
            Some("switched off by Flotilla: it started 7 runs within an hour")
        )
    );
    let switched = Event::Switched {
        workflow: "w".into(),
        trigger: "event".into(),
        enabled: true,
        by: "cli".into(),
    };
    home.on(switched);
    assert!(storm(&mut home, 72).starts_with("start 8 w"));
}

#[test]
fn switches_hold_until_the_definition_says_so_too() {
    let mut home = Home::new(&[("w", EACH_MINUTE)]);
    let switched = |enabled| Event::Switched {
        workflow: "w".into(),
        trigger: "schedule".into(),
        enabled,
        by: "cli".into(),
    };
    home.on(switched(false));
    home.killed();
    assert_eq!(home.at(START + 5 * MINUTE), "");
    let view = home.desk.view().remove(0);
    assert_eq!(
        (view.enabled, view.next.len(), view.why.as_deref()),
        (false, 0, Some("switched off by cli"))
    );
    home.now = START + 9 * MINUTE + 10;
    home.on(switched(true));
    assert_eq!(
        home.at(START + 9 * MINUTE + 20),
        "",
        "what came due meanwhile is not made up for"
    );
    assert_eq!(home.at(START + 10 * MINUTE), "start 1 w");
    home.on(switched(false));
    let off = EACH_MINUTE.replace("timezone: UTC }", "timezone: UTC }, enabled: false");
    home.define(&[("w", &off)]);
    assert_eq!(
        home.desk.view()[0].why.as_deref(),
        Some("enabled is false in its definition")
    );
    home.define(&[("w", EACH_MINUTE)]);
    assert!(
        home.desk.view()[0].enabled,
        "the switch went when the definition said the same"
    );
    // Another pattern has no past.
    home.now = START + 20 * MINUTE;
    home.define(&[(
        "w",
        "on: [{ schedule: { cron: '*/2 * * * *', timezone: UTC, catch_up: all } }]",
    )]);
    assert_eq!(home.at(START + 20 * MINUTE + 1), "");
    home.define(&[("v", EACH_MINUTE)]);
    assert_eq!(home.said(), "");
    home.killed();
    assert_eq!(home.said(), "forget w/schedule");
}

#[test]
fn a_hook_says_what_came_of_it() {
    let mut home = Home::new(&[(
        "w",
        "on: [{ webhook: { secret: '${secret:S}', per_minute: 3 }, if: \"trigger.body.ref != 'no'\", vars: { who: '${{ trigger.body.who }}' } }]",
    )]);
    let known = home.desk.webhook("w", None).unwrap();
    assert_eq!(
        (known.trigger.as_str(), known.secret.as_str(), known.enabled),
        ("webhook", "S", true)
    );
    assert!(home.desk.webhook("w", Some("x")).is_none() && home.desk.webhook("x", None).is_none());
    for (id, body, expected) in [
        (
            "1",
            json!({ "ref": "main", "who": "ann" }),
            Some((Outcome::Started, Some(1))),
        ),
        (
            "1",
            json!({ "ref": "main", "who": "ann" }),
            Some((Outcome::Started, Some(1))),
        ),
        ("2", json!({ "ref": "no" }), None),
        (
            "3",
            json!({ "ref": "main", "who": 5 }),
            Some((Outcome::Refused, None)),
        ),
        (
            "4",
            json!({ "ref": "main" }),
            Some((Outcome::Refused, None)),
        ),
        ("5", json!("text"), Some((Outcome::Refused, None))),
        (
            "6",
            json!({ "ref": "main", "who": "bob" }),
            Some((Outcome::Started, Some(2))),
        ),
        (
            "7",
            json!({ "ref": "main", "who": "bob" }),
            Some((Outcome::Dropped, None)),
        ),
    ] {
        home.running.borrow_mut().clear();
        home.on(Event::Hook {
            workflow: "w".into(),
            trigger: "webhook".into(),
            id: id.into(),
            body,
        });
        let said = home.desk.said().map(|last| (last.outcome, last.run));
        assert_eq!(said, expected, "{id}");
    }
}

#[test]
fn jitter_is_drawn_once_and_stays() {
    let on = "on: [{ schedule: { cron: '0 * * * *', timezone: UTC, jitter: 10m } }]";
    let mut home = Home::new(&[("w", on), ("v", on), ("u", on)]);
    let next = |home: &Home| {
        home.desk
            .view()
            .iter()
            .map(|view| view.next[0] - START - 60 * MINUTE)
            .collect::<Vec<_>>()
    };
    let drawn = next(&home);
    assert!(
        drawn.iter().all(|by| *by < 10 * MINUTE) && drawn[0] != drawn[1],
        "{drawn:?}"
    );
    home.killed();
    assert_eq!(next(&home), drawn);
    let first = *drawn.iter().min().unwrap();
    assert_eq!(home.desk.next(), Some(START + 60 * MINUTE + first));
    assert_eq!(home.at(START + 60 * MINUTE + first - 1), "");
    assert!(home.at(START + 60 * MINUTE + first).starts_with("start 1"));
}

#[test]
fn what_is_wrong_with_a_trigger() {
    for (on, path, said) in [
        ("{}", "on[0]", "accepted is exactly one"),
        (
            "{ schedule: { cron: '* * *' } }",
            "on[0].schedule.cron",
            "is no schedule",
        ),
        (
            "{ schedule: { cron: '* * * * *', timezone: Moon } }",
            "on[0].schedule.timezone",
            "is no time zone",
        ),
        (
            "{ event: { kinds: ['server:flies'] } }",
            "on[0].event.kinds",
            "server:failed",
        ),
        (
            "{ id: a, event: { kinds: ['server:failed'], servers: ['a***'] } }",
            "on.a.event.servers",
            "no pattern",
        ),
        (
            "{ webhook: { secret: hunter2 } }",
            "on[0].webhook.secret",
            "${secret:NAME}",
        ),
        (
            "{ schedule: { cron: '@daily' }, vars: { what: 1 } }",
            "on[0].vars.what",
            "no variable",
        ),
        (
            "{ schedule: { cron: '@daily' }, if: 'vars.who == 1' }",
            "on[0].if",
            "accepted is trigger",
        ),
        (
            "{ schedule: { cron: '@daily' }, workspace: here }",
            "on[0].workspace",
            "absolute",
        ),
        (
            "{ schedule: { cron: '@daily' } }, { schedule: { cron: '@hourly' } }",
            "on[1].id",
            "two triggers",
        ),
    ] {
        let text = format!(
            "name: w\nvars: {{ who: {{ default: x }} }}\non: [{on}]\nsteps: [{{ id: a, uses: data }}]\n"
        );
        let findings = compile(parse(&text).unwrap(), &Anything).unwrap_err();
        assert!(
            findings
                .iter()
                .any(|one| one.path == path && one.message.contains(said)),
            "{on}: {findings:?}"
        );
        assert!(!format!("{findings:?}").contains("hunter2"));
    }
}
