use super::*;
use crate::{Anything, compile, parse};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// How a try ends: by step, item and number of the try.
type Ends = Box<dyn Fn(&str, Option<u32>, u32) -> Result<Value, Failed>>;

/// A run whose executor, clock and chance are the test's.
struct Sim {
    run: Run,
    ends: Ends,
    journal: Vec<(Millis, Record)>,
    flying: Vec<(Task, u32)>,
    aborted: BTreeSet<Task>,
    /// Ids in the order in which their tries began.
    begun: Vec<String>,
    most: u32,
    now: Millis,
    /// Draws which of those at work ends next.
    draw: u64,
}

fn plan(yaml: &str) -> Arc<Plan> {
    let definition = parse(yaml).unwrap_or_else(|finding| panic!("{finding:?}\n{yaml}"));
    Arc::new(
        compile(definition, &Anything).unwrap_or_else(|findings| panic!("{findings:?}\n{yaml}")),
    )
}

fn facts(plan: &Plan) -> Facts {
    Facts {
        trigger: Value::Null,
        number: 1,
        at: 0,
        vars: plan.bind(&Map::new()).unwrap(),
        by: "test".into(),
        seed: 7,
        depth: 0,
        workspace: None,
    }
}

/// All well, but those steps fail, always.
fn failing(ids: &str) -> Ends {
    let ids: Vec<String> = ids.split_whitespace().map(str::to_owned).collect();
    Box::new(move |id, _, _| {
        if ids.iter().any(|failing| failing == id) {
            Err(Failed::new(Failure::Failed, "exit code 1"))
        } else {
            Ok(json!({ "from": id }))
        }
    })
}

impl Sim {
    fn new(yaml: &str, ends: Ends) -> Self {
        let plan = plan(yaml);
        let facts = facts(&plan);
        Self::of(Run::new(plan, facts), ends, 0)
    }

    fn of(run: Run, ends: Ends, draw: u64) -> Self {
        Self {
            run,
            ends,
            journal: Vec::new(),
            flying: Vec::new(),
            aborted: BTreeSet::new(),
            begun: Vec::new(),
            most: 0,
            now: 1_000,
            draw,
        }
    }

    fn on(&mut self, event: Event) -> Result<(), String> {
        for effect in self.run.on(self.now, event)? {
            match effect {
                Effect::Journal(record) => self.journal.push((self.now, record)),
                Effect::Launch { task, attempt, .. } => {
                    self.begun.push(self.run.plan.id(task.step).to_owned());
                    self.flying.push((task, attempt));
                }
                Effect::Abort(task) => {
                    self.aborted.insert(task);
                }
            }
        }
        self.most = self.most.max(self.run.running());
        assert_eq!(self.run.running() as usize, self.flying.len());
        let closed = self.run.steps.iter().filter(|step| step.work.state.ended());
        assert_eq!(self.run.summary().ended as usize, closed.count());
        Ok(())
    }

    fn ask(&mut self, wish: Wish) -> Result<(), String> {
        self.on(Event::Asked {
            by: "me".into(),
            wish,
        })
    }

    /// One thing happens: a try ends, or time passes; false when nothing is left to happen.
    fn step(&mut self) -> bool {
        if self.flying.is_empty() {
            let Some(next) = self.run.next_time().filter(|_| self.run.waits().is_some()) else {
                return false;
            };
            // The time limit of the run is no progress.
            if next >= self.run.deadline() {
                return false;
            }
            self.now = self.now.max(next);
            self.on(Event::Time).unwrap();
            return true;
        }
        self.draw = self
            .draw
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let pick = usize::try_from(self.draw >> 33).unwrap() % self.flying.len();
        let (task, attempt) = self.flying.swap_remove(pick);
        let result = if self.aborted.remove(&task) {
            Err(Failed::new(Failure::Failed, "killed"))
        } else {
            (self.ends)(self.run.plan.id(task.step), task.item, attempt)
        };
        self.now += 1;
        self.on(Event::Ended {
            task,
            attempt,
            result,
        })
        .unwrap();
        true
    }

    fn play_out(&mut self) -> &mut Self {
        while self.step() {}
        self
    }

    fn begin(&mut self) -> &mut Self {
        self.on(Event::Begin).unwrap();
        self
    }

    fn states(&self) -> String {
        let states = self.run.plan.definition.steps.iter().zip(&self.run.steps);
        let words: Vec<_> = states
            .map(|(step, run)| format!("{} {}", step.id, run.work.state.word()))
            .collect();
        words.join(", ")
    }

    /// What a person would call the end of it.
    fn ends(&self) -> (RunState, Vec<(StepState, Value)>) {
        let steps = self.run.steps.iter();
        (
            self.run.state(),
            steps
                .map(|step| (step.work.state, step.work.output.as_ref().clone()))
                .collect(),
        )
    }

    /// The same run as an engine finds it that was killed when this many records were on disk.
    fn killed_after(&self, records: usize, ends: Ends, draw: u64) -> Self {
        let run = Run::restore(
            Arc::clone(&self.run.plan),
            self.run.facts.clone(),
            self.journal[..records].iter().cloned(),
        );
        let mut sim = Self::of(run, ends, draw);
        sim.now = self
            .journal
            .get(records.saturating_sub(1))
            .map_or(1_000, |(at, _)| *at)
            + 500;
        sim.on(Event::Resume).unwrap();
        sim
    }

    fn place(&self, id: &str) -> u32 {
        self.run.plan.place(id).unwrap()
    }
}

fn yaml(steps: &[&str]) -> String {
    let lines: Vec<_> = steps
        .iter()
        .map(|step| format!("  - {{ {step} }}\n"))
        .collect();
    format!("name: w\nsteps:\n{}", lines.concat())
}

/// Runs these steps, of which some fail, to the end.
fn check(steps: &[&str], fail: &str, state: RunState, states: &str) -> Sim {
    let mut sim = Sim::new(&yaml(steps), failing(fail));
    sim.begin().play_out();
    assert_eq!(
        (sim.run.state(), sim.states().as_str()),
        (state, states),
        "{steps:?}"
    );
    sim
}

#[test]
fn what_becomes_of_steps() {
    use RunState::{Completed, Failed};
    const A: &str = "id: a, uses: shell";
    const B: &str = "id: b, uses: shell, needs: [a]";
    // Upstream's templates name dependencies and its engine looks for ids, so nothing that depends ever runs.
    check(
        &[
            "id: a, name: First, uses: shell",
            "id: b, uses: shell, needs: [First]",
        ],
        "",
        Completed,
        "a completed, b completed",
    );
    check(&[A, B], "a", Failed, "a failed, b blocked");
    check(
        &[A, B, "id: c, uses: shell, needs: [b]", "id: d, uses: shell"],
        "a",
        Failed,
        "a failed, b blocked, c blocked, d completed",
    );
    // Upstream leaves a step whose condition is false pending for ever.
    check(
        &[
            A,
            "id: b, uses: shell, needs: [a], if: 1 > 2",
            "id: c, uses: shell, needs: [b]",
        ],
        "",
        Completed,
        "a completed, b skipped, c completed",
    );
    check(
        &[
            A,
            "id: b, uses: shell, needs: [a], skip_if: 2 > 1",
            "id: c, uses: shell, needs: [b], if_needs_skipped: skip",
        ],
        "",
        Completed,
        "a completed, b skipped, c skipped",
    );
    check(
        &[
            A,
            "id: b, uses: shell, needs: [a], if: steps.a.output.from == 'a'",
        ],
        "",
        Completed,
        "a completed, b completed",
    );
    check(
        &["id: a, uses: shell, on_failure: continue", B],
        "a",
        Completed,
        "a failed, b completed",
    );
    check(
        &[
            A,
            "id: b, uses: shell, needs: [a], if_needs_failed: run, if: steps.a.state == 'failed'",
        ],
        "a",
        Failed,
        "a failed, b completed",
    );
    check(
        &[
            "id: a, uses: shell, on_failure: { compensate: u }",
            B,
            "id: u, uses: shell",
        ],
        "a",
        Failed,
        "a failed, b blocked, u completed",
    );
    check(
        &[
            "id: a, uses: shell, on_failure: { compensate: u }",
            B,
            "id: u, uses: shell",
        ],
        "",
        Completed,
        "a completed, b completed, u skipped",
    );
    check(
        &[
            "id: a, uses: shell, on_failure: { compensate: u }",
            "id: u, uses: shell",
        ],
        "a u",
        Failed,
        "a failed, u failed",
    );
    // An expression that cannot be worked out is a failure that says so, not a no.
    check(
        &[
            A,
            "id: b, uses: shell, needs: [a], if: steps.a.output.missing",
        ],
        "",
        Failed,
        "a completed, b failed",
    );
    check(
        &[
            A,
            "id: b, uses: shell, needs: [a], with: { x: '${{ steps.a.output.missing }}' }",
        ],
        "",
        Failed,
        "a completed, b failed",
    );
    check(
        &["id: a, uses: shell, outputs: { x: output.missing }", B],
        "",
        Failed,
        "a failed, b blocked",
    );
    check(
        &["id: a, uses: shell, for_each: [1, 2, 3]", B],
        "",
        Completed,
        "a completed, b completed",
    );
    check(
        &["id: a, uses: shell, for_each: []", B],
        "",
        Completed,
        "a completed, b completed",
    );
    check(
        &["id: a, uses: shell, for_each: '5'"],
        "",
        Failed,
        "a failed",
    );
    check(
        &["id: a, uses: wait, with: { for: 1h }", B],
        "",
        Completed,
        "a completed, b completed",
    );
}

#[test]
fn names_for_parts_of_an_output_and_items_keep_their_types() {
    let steps = [
        "id: a, uses: shell, outputs: { n: 'size(output.from)' }",
        "id: b, uses: shell, needs: [a], for_each: '[steps.a.outputs.n, 5]', with: { n: '${{ item }}', at: '${{ index }}' }",
    ];
    let sim = check(&steps, "", RunState::Completed, "a completed, b completed");
    let inputs: Vec<_> = sim
        .journal
        .iter()
        .filter_map(|(_, record)| match record {
            Record::Try {
                task: Task { step: 1, .. },
                with,
                ..
            } => Some(with.0.as_ref().clone()),
            _ => None,
        })
        .collect();
    assert_eq!(inputs, [json!({"n": 1, "at": 0}), json!({"n": 5, "at": 1})]);
    assert_eq!(
        *sim.run.steps[1].work.output,
        json!([{"from": "b"}, {"from": "b"}])
    );
}

#[test]
fn a_failed_item_fails_its_step_when_all_have_ended() {
    let ends: Ends = Box::new(|_, item, _| match item {
        Some(1) => Err(Failed::new(Failure::Failed, "no such host")),
        _ => Ok(Value::Null),
    });
    let mut sim = Sim::new(
        &yaml(&["id: a, uses: shell, for_each: [1, 2, 3, 4], concurrency: 2"]),
        ends,
    );
    sim.begin();
    assert_eq!(sim.flying.len(), 2);
    sim.play_out();
    assert_eq!((sim.most, sim.begun.len()), (2, 4));
    let why = sim.run.steps[0].work.failed.clone().unwrap().error;
    assert_eq!(why, "1 of 4 items failed; item 1: no such host");
}

#[test]
fn a_retry_waits_longer_each_time_and_names_its_failures() {
    let ends: Ends = Box::new(|_, _, attempt| match attempt {
        1 | 2 => Err(Failed::new(Failure::Unavailable, format!("busy {attempt}"))),
        _ => Ok(Value::Null),
    });
    let steps = yaml(&["id: a, uses: shell, retry: { attempts: 3, backoff: 10s, jitter: 0 }"]);
    let mut sim = Sim::new(&steps, ends);
    sim.begin();
    sim.step();
    assert_eq!(
        (sim.states().as_str(), sim.run.next_time()),
        ("a retrying", Some(11_001))
    );
    assert_eq!(
        sim.run.summary().waits.as_deref(),
        Some("a will be tried for the 2. time: busy 1")
    );
    sim.play_out();
    let tries: Vec<_> = sim.run.steps[0]
        .work
        .tries
        .iter()
        .map(|t| (t.attempt, t.failed.error.clone()))
        .collect();
    assert_eq!(tries, [(1, "busy 1".into()), (2, "busy 2".into())]);
    assert_eq!((sim.run.state(), sim.now), (RunState::Completed, 31_003));
    // What would end the same is not tried again, nor what the policy does not name.
    for (failure, begun) in [
        (Failure::Refused, 1),
        (Failure::Unavailable, 1),
        (Failure::Timeout, 3),
    ] {
        let ends: Ends = Box::new(move |_, _, _| Err(Failed::new(failure, "no")));
        let mut sim = Sim::new(
            &yaml(&["id: a, uses: shell, retry: { attempts: 3, on: [timeout] }"]),
            ends,
        );
        sim.begin().play_out();
        assert_eq!(sim.begun.len(), begun, "{failure:?}");
    }
}

#[test]
fn a_try_that_takes_too_long_is_ended_and_counts_as_a_timeout() {
    let mut sim = Sim::new(
        &yaml(&["id: a, uses: shell, timeout: 5s, retry: { attempts: 2, jitter: 0 }"]),
        failing(""),
    );
    sim.begin();
    sim.now = 6_000;
    sim.on(Event::Time).unwrap();
    assert!(sim.aborted.contains(&Task::step(0)));
    sim.step();
    assert_eq!(
        sim.run.steps[0].work.tries[0].failed.error,
        "it took longer than 5s"
    );
    sim.play_out();
    assert_eq!(sim.run.state(), RunState::Completed);
    // The timer of the first try must not end the second.
    let mut sim = Sim::new(
        &yaml(&["id: a, uses: shell, timeout: 5s, retry: { attempts: 2, backoff: 1s, jitter: 0 }"]),
        failing("a"),
    );
    sim.begin();
    sim.step();
    sim.now = 2_001;
    sim.on(Event::Time).unwrap();
    sim.now = 6_500;
    sim.on(Event::Time).unwrap();
    assert_eq!((sim.states().as_str(), sim.aborted.len()), ("a running", 0));
}

#[test]
fn approvals_wait_without_a_slot_for_a_filled_in_form() {
    let steps = "name: w\nconcurrency: 1\nsteps:\n  - id: ok\n    uses: approval\n    timeout: 1h\n    with: { message: Deploy?, form: { ring: { type: integer } } }\n  - { id: other, uses: shell }\n  - { id: go, uses: shell, needs: [ok], with: { ring: '${{ steps.ok.output.input.ring }}' } }\n";
    let decide = |yes, input: Value| Wish::Decide {
        step: 0,
        yes,
        input: input.as_object().unwrap().clone(),
    };
    let mut sim = Sim::new(steps, failing(""));
    sim.begin();
    assert_eq!(sim.states(), "ok waiting, other running, go pending");
    sim.step();
    assert_eq!(sim.run.summary().waits.as_deref(), Some("ok: Deploy?"));
    let asked = sim.run.asking();
    let asked = asked
        .iter()
        .map(|asking| (&*asking.step, &*asking.why, asking.approval));
    assert!(asked.eq([("ok", "Deploy?", true)]));
    let why = sim.ask(decide(true, json!({}))).unwrap_err();
    assert!(why.contains("input.ring"), "{why}");
    assert!(sim.ask(Wish::Retry(0)).is_err());
    sim.ask(decide(true, json!({"ring": 2}))).unwrap();
    assert_eq!(
        sim.run.steps[2].work.input.as_deref(),
        Some(&json!({"ring": 2}))
    );
    sim.play_out();
    assert_eq!(sim.run.state(), RunState::Completed);
    assert!(sim.run.asking().is_empty());
    assert!(sim.ask(decide(true, json!({"ring": 2}))).is_err());

    let mut sim = Sim::new(steps, failing(""));
    sim.begin();
    sim.ask(decide(false, json!({"why": "freeze"}))).unwrap();
    sim.play_out();
    assert_eq!(sim.states(), "ok failed, other completed, go blocked");
    assert_eq!(
        sim.run.summary().why.as_deref(),
        Some("ok failed: rejected by me: freeze")
    );

    let mut sim = Sim::new(steps, failing(""));
    sim.begin().play_out();
    assert_eq!(
        sim.run.summary().why.as_deref(),
        Some("ok failed: nobody decided within 1h")
    );
}

#[test]
fn pause_starts_nothing_new_and_cancel_reaches_everything() {
    let steps = [
        "id: a, uses: shell",
        "id: b, uses: shell, needs: [a]",
        "id: c, uses: approval",
        "id: d, uses: shell, for_each: [1, 2, 3], concurrency: 1",
    ];
    let mut sim = Sim::new(&yaml(&steps), failing(""));
    sim.begin();
    sim.ask(Wish::Pause).unwrap();
    assert!(sim.ask(Wish::Pause).is_err());
    sim.play_out();
    assert_eq!(
        (sim.run.state(), sim.states().as_str()),
        (
            RunState::Paused,
            "a completed, b pending, c waiting, d running"
        )
    );
    assert_eq!(sim.run.summary().waits.as_deref(), Some("paused by me"));
    sim.ask(Wish::Continue).unwrap();
    assert_eq!(sim.flying.len(), 2);
    sim.ask(Wish::Cancel).unwrap();
    assert_eq!(
        (sim.run.state(), sim.aborted.len()),
        (RunState::Cancelling, 2)
    );
    sim.play_out();
    assert_eq!(
        (sim.run.state(), sim.states().as_str()),
        (
            RunState::Cancelled,
            "a completed, b cancelled, c cancelled, d cancelled"
        )
    );
    // Upstream lets the end of the last step overwrite it.
    assert_eq!(sim.run.summary().why.as_deref(), Some("cancelled by me"));
    assert!(sim.ask(Wish::Cancel).is_err());
}

#[test]
fn a_run_that_takes_too_long_fails() {
    let text = format!(
        "timeout: 1m\n{}",
        yaml(&[
            "id: a, uses: shell, timeout: 1h",
            "id: b, uses: shell, needs: [a]"
        ])
    );
    let mut sim = Sim::new(&text, failing(""));
    sim.begin();
    assert_eq!(sim.run.next_time(), Some(61_000));
    sim.now = 61_000;
    sim.on(Event::Time).unwrap();
    sim.play_out();
    assert_eq!(
        (sim.run.state(), sim.states().as_str()),
        (RunState::Failed, "a cancelled, b cancelled")
    );
    assert_eq!(
        sim.run.summary().why.as_deref(),
        Some("it took longer than 1m")
    );
}

#[test]
fn skip_retry_and_restart_are_different_things() {
    let steps = [
        "id: a, uses: shell",
        "id: b, uses: shell, needs: [a]",
        "id: c, uses: shell, needs: [b]",
        "id: d, uses: shell",
    ];
    let failed = || {
        let mut sim = Sim::new(&yaml(&steps), failing("b"));
        sim.begin().play_out();
        assert_eq!(
            sim.states(),
            "a completed, b failed, c blocked, d completed"
        );
        sim.begun.clear();
        sim
    };
    let mut sim = failed();
    sim.ask(Wish::Skip(1)).unwrap();
    sim.play_out();
    assert_eq!(
        (sim.run.state(), sim.states().as_str()),
        (
            RunState::Completed,
            "a completed, b skipped, c completed, d completed"
        )
    );
    assert_eq!(sim.begun, ["c"]);

    for wish in [Wish::Retry(1), Wish::Restart] {
        let mut sim = failed();
        sim.ends = failing("");
        sim.ask(wish).unwrap();
        sim.play_out();
        assert_eq!(
            (sim.run.state(), sim.begun.join(" ").as_str()),
            (RunState::Completed, "b c")
        );
        assert!(sim.ask(Wish::Restart).is_err());
        assert!(
            sim.ask(Wish::Retry(1))
                .is_err_and(|why| why.contains("b is completed"))
        );
        assert!(sim.ask(Wish::Skip(1)).is_err());
    }
    // While others run: one that runs is ended first.
    let mut sim = Sim::new(&yaml(&steps), failing(""));
    sim.begin();
    sim.ask(Wish::Skip(0)).unwrap();
    assert_eq!(
        (sim.aborted.len(), sim.states().as_str()),
        (1, "a running, b pending, c pending, d running")
    );
    sim.play_out();
    assert_eq!(
        sim.states(),
        "a skipped, b completed, c completed, d completed"
    );
    // What undid a step sleeps again with it.
    let undo = [
        "id: a, uses: shell, on_failure: { compensate: u }",
        "id: u, uses: shell",
    ];
    let mut sim = Sim::new(&yaml(&undo), failing("a"));
    sim.begin().play_out();
    sim.ends = failing("");
    sim.ask(Wish::Restart).unwrap();
    sim.play_out();
    assert_eq!(
        (sim.run.state(), sim.states().as_str()),
        (RunState::Completed, "a completed, u skipped")
    );
    assert_eq!(sim.begun, ["a", "u", "a"]);
}

#[test]
fn after_a_crash_only_what_may_run_twice_does() {
    let steps = [
        "id: a, uses: shell",
        "id: b, uses: shell, idempotent: true",
        "id: c, uses: shell, retry: { attempts: 1, on: [interrupted] }",
        "id: d, uses: data",
    ];
    let mut sim = Sim::new(&yaml(&steps), failing(""));
    sim.begin();
    let mut after = sim.killed_after(sim.journal.len(), failing(""), 0);
    assert_eq!(after.states(), "a waiting, b running, c running, d running");
    after.play_out();
    assert_eq!(
        after.states(),
        "a waiting, b completed, c completed, d completed"
    );
    let waits = after.run.summary().waits.unwrap();
    assert_eq!(
        waits,
        "a: the engine ended while it ran, and it may not be safe to do it twice"
    );
    assert!(after.run.view().steps[0].asks);
    after.ask(Wish::Retry(0)).unwrap();
    after.play_out();
    assert_eq!(after.run.state(), RunState::Completed);
    // What ends the engine each time is not done for ever.
    let mut sim = Sim::new(
        &yaml(&["id: b, uses: shell, idempotent: true"]),
        failing(""),
    );
    sim.begin();
    for lost in 0..4 {
        assert_eq!(sim.states(), "b running", "lost {lost} times");
        let journal = sim.journal.clone();
        sim = sim.killed_after(sim.journal.len(), failing(""), 0);
        sim.journal.splice(0..0, journal);
    }
    assert_eq!(sim.states(), "b waiting");
}

#[test]
fn records_are_read_as_they_were_written() {
    let steps = [
        "id: a, uses: shell, on_failure: { compensate: u }, retry: { attempts: 2 }",
        "id: u, uses: shell",
        "id: e, uses: shell, for_each: [1, null]",
        "id: w, uses: approval",
        "id: z, uses: shell, needs: [a]",
    ];
    let mut sim = Sim::new(&yaml(&steps), failing("a"));
    sim.begin().play_out();
    sim.ask(Wish::Cancel).unwrap();
    sim.ask(Wish::Restart).unwrap();
    let place = sim.place("e");
    assert!(
        sim.run
            .detail(Task {
                step: place,
                item: Some(1)
            })
            .is_some()
    );
    for (_, record) in &sim.journal {
        let text = serde_json::to_string(record).unwrap();
        assert_eq!(
            &serde_json::from_str::<Record>(&text).unwrap(),
            record,
            "{text}"
        );
    }
}

/// A step of a random workflow.
#[derive(Clone, Debug)]
struct Rough {
    needs: Vec<prop::sample::Index>,
    /// Tries that fail before one goes well.
    fails: u32,
    attempts: u32,
    skipped: bool,
    strict: bool,
    goes_on: bool,
    always: bool,
    items: Option<u32>,
}

fn rough() -> impl Strategy<Value = Rough> {
    (
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        prop_oneof![4 => Just(0_u32), 1 => 1..4_u32],
        1..4_u32,
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.2, 0..5_u32),
    )
        .prop_map(
            |(needs, fails, attempts, skipped, strict, goes_on, always, items)| Rough {
                needs,
                fails,
                attempts,
                skipped,
                strict,
                goes_on,
                always,
                items,
            },
        )
}

fn write(steps: &[Rough], limit: u32) -> String {
    let line = |(at, step): (usize, &Rough)| {
        let needs: BTreeSet<_> = step
            .needs
            .iter()
            .filter(|_| at > 0)
            .map(|i| format!("s{}", i.index(at)))
            .collect();
        let needs: Vec<_> = needs.into_iter().collect();
        let mut text = format!(
            "id: s{at}, uses: shell, idempotent: true, needs: [{}], retry: {{ attempts: {}, backoff: 10ms }}",
            needs.join(", "),
            step.attempts
        );
        for (wanted, part) in [
            (step.skipped, "if: 1 > 2"),
            (step.strict, "if_needs_skipped: skip"),
            (step.goes_on, "on_failure: continue"),
            (step.always, "if_needs_failed: run"),
        ] {
            if wanted {
                text.push_str(", ");
                text.push_str(part);
            }
        }
        if let Some(items) = step.items {
            let list: Vec<_> = (0..items).map(|n| n.to_string()).collect();
            text.push_str(&format!(
                ", for_each: [{}], concurrency: 2",
                list.join(", ")
            ));
        }
        format!("  - {{ {text} }}\n")
    };
    let lines: String = steps.iter().enumerate().map(line).collect();
    format!("name: w\nconcurrency: {limit}\nsteps:\n{lines}")
}

fn ends(steps: &[Rough]) -> Ends {
    let fails: BTreeMap<_, _> = steps
        .iter()
        .enumerate()
        .map(|(at, step)| (format!("s{at}"), step.fails))
        .collect();
    Box::new(move |id, item, attempt| {
        if attempt <= fails[id] && item.is_none_or(|item| item % 2 == 0) {
            Err(Failed::new(Failure::Failed, "no"))
        } else {
            Ok(json!([id, item, attempt]))
        }
    })
}

/// Every step began after all it needs had ended.
fn in_order(sim: &Sim) {
    let mut ended = BTreeSet::new();
    for (_, record) in &sim.journal {
        match record {
            Record::Try { task, .. } => {
                for need in &sim.run.plan.steps[task.step as usize].needs {
                    assert!(
                        ended.contains(need),
                        "{} began before {need} ended",
                        task.step
                    );
                }
            }
            Record::End {
                task: Task { step, item: None },
                ..
            } => {
                assert!(ended.insert(*step), "{step} ended twice");
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn any_workflow_ends_the_same_whatever_the_interleaving(
        steps in prop::collection::vec(rough(), 1..14),
        limit in 1..5_u32,
        draws in prop::collection::vec(any::<u64>(), 2..4),
    ) {
        let plan = plan(&write(&steps, limit));
        let mut seen = None;
        for draw in draws {
            let mut sim = Sim::of(Run::new(Arc::clone(&plan), facts(&plan)), ends(&steps), draw);
            sim.begin().play_out();
            prop_assert!(sim.run.state().ended(), "{} {:?}", sim.states(), sim.run.waits());
            prop_assert!(sim.most <= limit);
            in_order(&sim);
            let end = sim.ends();
            prop_assert_eq!(seen.get_or_insert_with(|| end.clone()), &end);
        }
    }

    #[test]
    fn a_crash_at_any_record_changes_no_end(
        steps in prop::collection::vec(rough(), 1..8),
        limit in 1..4_u32,
        draw in any::<u64>(),
    ) {
        let plan = plan(&write(&steps, limit));
        let mut sim = Sim::of(Run::new(Arc::clone(&plan), facts(&plan)), ends(&steps), draw);
        sim.begin().play_out();
        for records in 0..=sim.journal.len() {
            let done: BTreeSet<_> = sim.journal[..records].iter().filter_map(|(_, record)| match record {
                Record::End { task, .. } => Some(*task),
                _ => None,
            }).collect();
            let mut after = sim.killed_after(records, ends(&steps), draw ^ 0x5555);
            after.play_out();
            prop_assert_eq!(after.ends(), sim.ends(), "killed after {} of {} records", records, sim.journal.len());
            for (_, record) in &after.journal {
                if let Record::Try { task, .. } = record {
                    prop_assert!(!done.contains(task), "{task:?} ran again");
                }
            }
        }
    }

    #[test]
    fn a_cancel_at_any_moment_ends_everything(
        steps in prop::collection::vec(rough(), 1..10),
        draw in any::<u64>(),
        after in 0..20_usize,
    ) {
        let plan = plan(&write(&steps, 3));
        let mut sim = Sim::of(Run::new(Arc::clone(&plan), facts(&plan)), ends(&steps), draw);
        sim.begin();
        for _ in 0..after {
            sim.step();
        }
        if sim.ask(Wish::Cancel).is_ok() {
            sim.play_out();
            prop_assert_eq!(sim.run.state(), RunState::Cancelled);
        }
        prop_assert!(sim.run.state().ended());
        prop_assert!(sim.run.steps.iter().all(|step| step.work.state.ended()), "{}", sim.states());
    }
}
