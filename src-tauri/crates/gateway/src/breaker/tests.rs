use super::*;
use BreakerState::{Closed, HalfOpen, Open};
use proptest::prelude::*;

/// 3 failures open it for 10 s, 2 successes close it, 2 calls on trial at once.
const SPEC: BreakerSpec = BreakerSpec {
    enabled: true,
    failures: 3,
    successes: 2,
    open_ms: 10_000,
    half_open: 2,
};

struct Play {
    breaker: Breaker,
    start: Instant,
    now: Instant,
    held: Vec<(char, Permit)>,
}

impl Play {
    fn new(spec: BreakerSpec) -> Self {
        let now = Instant::now();
        Self {
            breaker: Breaker::new(spec, now),
            start: now,
            now,
            held: Vec::new(),
        }
    }

    /// `+` a call that succeeds, `-` one that fails, `0` one that says nothing, each at once; `X` a call that is refused.
    /// A capital A–H is let through and held; the small letter after it succeeds, `!` and the letter fails, `~` is neutral.
    /// A number waits that many seconds. `T`, `R`, `P` trip, reset, put on trial.
    #[track_caller]
    fn run(&mut self, script: &str) {
        for word in script.split_whitespace() {
            match word {
                "+" => self.call(Some(true)),
                "-" => self.call(Some(false)),
                "0" => self.call(None),
                "X" => assert!(self.breaker.admit(self.now).is_err(), "{script}: refused"),
                "T" => self.act(BreakerAct::Trip),
                "R" => self.act(BreakerAct::Reset),
                "P" => self.act(BreakerAct::HalfOpen),
                _ => self.word(word),
            }
        }
    }

    #[track_caller]
    fn word(&mut self, word: &str) {
        if let Ok(seconds) = word.parse::<f64>() {
            self.now += Duration::from_secs_f64(seconds);
            return;
        }
        let letter = word.chars().last().expect("a word").to_ascii_uppercase();
        if word.len() == 1 && word == letter.to_string() {
            let permit = self.breaker.admit(self.now).expect("let through");
            self.held.push((letter, permit));
            return;
        }
        let success = match word.chars().next() {
            Some('!') => Some(false),
            Some('~') => None,
            _ => Some(true),
        };
        let at = self.held.iter().position(|(held, _)| *held == letter);
        let (_, permit) = self.held.remove(at.expect("a held call"));
        self.breaker.done(self.now, permit, success);
    }

    #[track_caller]
    fn call(&mut self, success: Option<bool>) {
        let permit = self.breaker.admit(self.now).expect("let through");
        self.breaker.done(self.now, permit, success);
    }

    fn act(&mut self, act: BreakerAct) {
        self.breaker.act(self.now, act);
    }

    fn view(&self) -> BreakerView {
        let wall = 1_000_000 + millis(self.now - self.start);
        let server = "echo".parse().expect("a name");
        self.breaker.view(self.now, wall, server, None)
    }
}

#[track_caller]
fn check(script: &str, state: BreakerState) {
    let mut play = Play::new(SPEC);
    play.run(script);
    assert_eq!(play.breaker.state(play.now), state, "{script}");
    assert_eq!(play.view().state, state, "{script}");
}

#[test]
fn the_way_round() {
    for (script, state) in [
        ("", Closed),
        ("- -", Closed),
        ("- - -", Open),
        ("- - + - -", Closed),
        ("- - 0 -", Open),
        ("- - - X 9.999 X", Open),
        ("- - - 10", HalfOpen),
        ("- - - 10 +", HalfOpen),
        ("- - - 10 + +", Closed),
        ("- - - 10 + -", Open),
        ("- - - 10 + - X 9.999 X", Open),
        ("- - - 10 + - 10 + +", Closed),
        // A failure before it opened does not count after it closed.
        ("- - - 10 + + - -", Closed),
        ("- - - 10 + + - - -", Open),
    ] {
        check(script, state);
    }
}

#[test]
fn places_on_trial_are_taken_and_freed() {
    for (script, state) in [
        ("- - - 10 A B X", HalfOpen),
        ("- - - 10 A B ~a C X", HalfOpen),
        ("- - - 10 A B a C X", HalfOpen),
        ("- - - 10 A B a b", Closed),
        ("- - - 10 A B !a X", Open),
        // Cancelled calls neither close nor open it.
        ("- - - 10 0 0 0 0 0", HalfOpen),
        // What was on trial in the last term takes no place in this one, nor does its end free one.
        ("- - - 10 A B !a 10 C D X b X", HalfOpen),
    ] {
        check(script, state);
    }
}

#[test]
fn a_late_answer_decides_nothing() {
    for (script, state) in [
        ("A B - - - a b", Open),
        ("A B - - - 10 a b", HalfOpen),
        ("A B - - - 10 !a !b", HalfOpen),
        ("A B C D - - - 10 + + !a !b !c !d", Closed),
        ("A - - - 10 + !a", HalfOpen),
        ("A - - - 10 + a", HalfOpen),
        ("A - - - 10 B - !a !b 9.9", Open),
        ("- - A R !a", Closed),
        ("- - A R !a - -", Closed),
    ] {
        check(script, state);
    }
}

#[test]
fn an_operator_decides() {
    for (script, state) in [
        ("T X 100000 X", Open),
        ("T R +", Closed),
        ("T P + +", Closed),
        ("T P -", Open),
        ("T P - 10", HalfOpen),
        ("P + +", Closed),
        ("- - - R - -", Closed),
        ("- - - P +", HalfOpen),
        ("- - - T 10 X", Open),
        ("- - - 10 T X", Open),
        ("A T a", Open),
        ("- - - 10 A P a", HalfOpen),
        ("- - - 10 A P a +", Closed),
    ] {
        check(script, state);
    }
}

#[test]
fn a_refusal_says_when_and_why() {
    let mut play = Play::new(SPEC);
    play.run("- - - 4");
    let refused = play.breaker.admit(play.now).expect_err("open");
    assert_eq!(refused.retry_after, Some(Duration::from_secs(6)));
    assert_eq!(
        refused.sentence(),
        "3 calls in a row failed; held back for a while"
    );
    play.run("6 A B");
    let refused = play.breaker.admit(play.now).expect_err("full");
    assert_eq!(refused.retry_after, None);
    assert_eq!(
        refused.sentence(),
        "Calls are on trial after failures; no more at once"
    );
    play.run("T");
    let refused = play.breaker.admit(play.now).expect_err("tripped");
    assert_eq!(
        (refused.retry_after, refused.sentence()),
        (None, TRIPPED.to_owned())
    );
}

#[test]
fn a_permit_knows_whether_it_is_on_trial_and_a_change_is_told_once() {
    let now = Instant::now();
    let mut breaker = Breaker::new(
        BreakerSpec {
            failures: 1,
            successes: 1,
            ..SPEC
        },
        now,
    );
    let permit = breaker.admit(now).expect("closed");
    assert!(!permit.is_trial());
    let told = breaker.done(now, permit, Some(false));
    assert_eq!(
        told,
        Some(Change {
            from: Closed,
            to: Open
        })
    );
    let later = now + Duration::from_secs(10);
    let permit = breaker.admit(later).expect("half open");
    assert!(permit.is_trial());
    let told = breaker.done(later, permit, Some(true));
    assert_eq!(
        told,
        Some(Change {
            from: HalfOpen,
            to: Closed
        })
    );
    let told = breaker.act(later, BreakerAct::Trip);
    assert_eq!(
        told,
        Some(Change {
            from: Closed,
            to: Open
        })
    );
    assert_eq!(breaker.act(later, BreakerAct::Trip), None);
}

#[test]
fn the_view_counts() {
    let mut play = Play::new(SPEC);
    play.run("5 - - - X X 1");
    let view = play.view();
    assert_eq!(
        (
            view.failures,
            view.limit,
            view.rejected,
            view.opens_last_hour
        ),
        (3, 3, 2, 1)
    );
    assert_eq!(
        (view.since, view.next, view.tripped),
        (1_005_000, Some(1_015_000), false)
    );
    assert_eq!(view.reason.as_deref(), Some("3 calls in a row failed"));
    play.run("14 + ");
    let view = play.view();
    assert_eq!(
        (
            view.since,
            view.next,
            view.successes,
            view.needed,
            view.failures
        ),
        (1_015_000, None, 1, 2, 0)
    );
    assert_eq!(view.reason, None);
    play.run("- 1 T 1");
    let view = play.view();
    assert_eq!(
        (view.opens_last_hour, view.tripped, view.next),
        (2, true, None)
    );
    assert_eq!(
        (view.since, view.reason.as_deref()),
        (1_020_000, Some(TRIPPED))
    );
    play.run("R 3600");
    assert_eq!((play.view().opens_last_hour, play.view().rejected), (0, 2));
}

#[test]
fn other_figures_hold_at_once() {
    let mut play = Play::new(SPEC);
    play.run("- - - 4");
    play.breaker.refit(
        play.now,
        BreakerSpec {
            open_ms: 4_000,
            ..SPEC
        },
    );
    assert_eq!(play.breaker.state(play.now), HalfOpen);
    play.run("+ +");
    play.breaker.refit(
        play.now,
        BreakerSpec {
            failures: 1,
            ..SPEC
        },
    );
    play.run("-");
    let off = BreakerSpec {
        enabled: false,
        ..SPEC
    };
    let told = play.breaker.refit(play.now, off);
    assert_eq!(
        told,
        Some(Change {
            from: Open,
            to: Closed
        })
    );
    play.run("- - - - - T -");
    assert_eq!(play.breaker.state(play.now), Closed);
    play.breaker.refit(play.now, SPEC);
    play.run("- - T 100");
    play.breaker
        .refit(play.now, BreakerSpec { open_ms: 1, ..SPEC });
    play.run("X");
}

#[test]
fn figures_of_zero_count_as_one() {
    let zero = BreakerSpec {
        failures: 0,
        successes: 0,
        half_open: 0,
        ..SPEC
    };
    let mut play = Play::new(zero);
    play.run("- X 10 A X a");
    assert_eq!(play.breaker.state(play.now), Closed);
}

#[derive(Clone, Debug)]
enum Step {
    Admit,
    Done(usize, Option<bool>),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Admit),
        4 => (any::<prop::sample::Index>(), any::<Option<bool>>())
            .prop_map(|(i, s)| Step::Done(i.index(1_000), s)),
        1 => (0_u64..12_000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens in whatever order: never more calls on trial than allowed (those of the present term), nothing passes
    /// while open, and it closes only upon as many successes on trial as needed.
    #[test]
    fn laws(steps in proptest::collection::vec(step(), 0..200)) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(SPEC, now);
        let mut held: Vec<Permit> = Vec::new();
        let mut proven = 0;
        for step in steps {
            let before = breaker.state(now);
            match step {
                Step::Admit => match breaker.admit(now) {
                    Ok(permit) => {
                        prop_assert_ne!(before, Open);
                        prop_assert_eq!(permit.is_trial(), before == HalfOpen);
                        held.push(permit);
                    }
                    Err(_) => prop_assert_ne!(before, Closed),
                },
                Step::Done(at, success) if !held.is_empty() => {
                    let permit = held.swap_remove(at % held.len());
                    let counts = permit.is_trial() && permit.term == breaker.term;
                    proven += u32::from(counts && success == Some(true));
                    let change = breaker.done(now, permit, success);
                    if before == HalfOpen && breaker.state(now) == Closed {
                        prop_assert_eq!(proven, SPEC.successes);
                    }
                    if change.is_some() {
                        proven = 0;
                    }
                }
                Step::Done(..) => {}
                Step::Wait(ms) => now += Duration::from_millis(ms),
            }
            let on_trial = held.iter().filter(|p| p.is_trial() && p.term == breaker.term).count();
            prop_assert!(on_trial <= 2);
        }
    }
}
