use super::*;
use Balance::*;
use proptest::prelude::*;

fn fleet(n: u32) -> Vec<Endpoint> {
    (1..=n).map(|i| Endpoint::new(i, 1, 100)).collect()
}

struct Play {
    endpoints: Vec<Endpoint>,
    pick: Pick,
    chance: Chance,
    now: Instant,
}

impl Play {
    fn new(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            pick: Pick::default(),
            chance: Chance::new(7),
            now: Instant::now(),
        }
    }

    fn choose(&mut self, how: Balance, not: &[u32]) -> Result<u32, NoneFit> {
        self.pick
            .choose(how, &self.endpoints, not, self.now, &mut self.chance)
            .map(|at| self.endpoints[at].instance)
    }

    /// So many picks in a row, nothing taken.
    fn picks(&mut self, how: Balance, n: usize) -> Vec<u32> {
        (0..n).filter_map(|_| self.choose(how, &[]).ok()).collect()
    }

    fn ends(&mut self, instance: u32, success: bool, ms: f64) {
        let at = instance as usize - 1;
        observe(&mut self.endpoints, at, success, ms, self.now);
    }

    fn fail(&mut self, instance: u32, times: usize) {
        for _ in 0..times {
            self.ends(instance, false, 1.0);
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn is_aside(&self, instance: u32) -> bool {
        !self.endpoints[instance as usize - 1].is_full_member()
    }
}

const ALL: [Balance; 7] = [
    P2c,
    RoundRobin,
    LeastConnections,
    WeightedRoundRobin,
    Random,
    HealthBased,
    ResponseTimeBased,
];

#[test]
fn each_in_turn_whoever_comes_and_goes() {
    let mut play = Play::new(fleet(3));
    assert_eq!(play.picks(RoundRobin, 5), [1, 2, 3, 1, 2]);
    play.endpoints[2].available = false;
    assert_eq!(play.picks(RoundRobin, 3), [1, 2, 1]);
    play.endpoints[2].available = true;
    assert_eq!(play.picks(RoundRobin, 3), [2, 3, 1]);
    play.endpoints.remove(1);
    assert_eq!(play.picks(RoundRobin, 3), [3, 1, 3]);
}

#[test]
fn by_weight_and_spread_out() {
    for (weights, expected) in [
        (vec![5, 1, 1], vec![1, 1, 2, 1, 3, 1, 1]),
        (vec![1, 2], vec![2, 1, 2, 2, 1, 2]),
        (vec![0, 1], vec![2, 2]),
        (vec![0, 0], vec![1, 2, 1]),
        (vec![1, 1], vec![1, 2, 1]),
    ] {
        let mut endpoints = fleet(u32::try_from(weights.len()).unwrap());
        for (endpoint, weight) in endpoints.iter_mut().zip(&weights) {
            endpoint.weight = *weight;
        }
        let mut play = Play::new(endpoints);
        assert_eq!(
            play.picks(WeightedRoundRobin, expected.len()),
            expected,
            "{weights:?}"
        );
    }
}

#[test]
fn the_fewest_the_best_the_quickest() {
    let mut play = Play::new(fleet(3));
    for how in [LeastConnections, HealthBased, ResponseTimeBased] {
        assert_eq!(
            play.choose(how, &[]),
            Ok(1),
            "{how:?}: ties go to the first"
        );
    }
    play.endpoints[0].take();
    assert_eq!(play.choose(LeastConnections, &[]), Ok(2));
    play.endpoints[0].release();
    play.ends(1, false, 1.0);
    assert_eq!(play.choose(HealthBased, &[]), Ok(2));
    play.ends(1, true, 50.0);
    play.ends(2, true, 20.0);
    play.ends(3, true, 30.0);
    assert_eq!(play.choose(ResponseTimeBased, &[]), Ok(2));
    // It was slow once, and is tried again when that is long ago.
    play.ends(2, true, 20_000.0);
    assert_eq!(play.choose(ResponseTimeBased, &[]), Ok(3));
    for _ in 0..20 {
        play.wait(10);
        play.ends(1, true, 50.0);
        play.ends(3, true, 30.0);
    }
    assert_eq!(play.choose(ResponseTimeBased, &[]), Ok(2));
}

#[test]
fn of_two_drawn_the_less_loaded() {
    let mut play = Play::new(fleet(2));
    for _ in 0..4 {
        play.endpoints[0].take();
    }
    assert_eq!(play.picks(P2c, 20), [2; 20]);
    // Five times as many calls, but ten times as quick.
    play.ends(1, true, 10.0);
    play.ends(2, true, 100.0);
    assert_eq!(play.picks(P2c, 20), [1; 20]);

    let mut play = Play::new(fleet(4));
    play.endpoints[3].take();
    let picks = play.picks(P2c, 400);
    assert!(!picks.contains(&4), "never the only loaded one");
    assert!(picks.contains(&1) && picks.contains(&2) && picks.contains(&3));
}

#[test]
fn by_lot_everyone() {
    let mut play = Play::new(fleet(4));
    let picks = play.picks(Random, 400);
    for instance in 1..=4 {
        let times = picks.iter().filter(|i| **i == instance).count();
        assert!((60..140).contains(&times), "{instance}: {times}");
    }
}

#[test]
fn full_is_full_and_none_is_none() {
    for how in ALL {
        let mut play = Play::new(fleet(2));
        play.endpoints[0].max_in_flight = 1;
        play.endpoints[1].max_in_flight = 2;
        play.endpoints[0].take();
        assert_eq!(play.choose(how, &[]), Ok(2), "{how:?}");
        assert_eq!(play.choose(how, &[2]), Ok(2), "{how:?}: better than none");
        play.endpoints[1].take();
        play.endpoints[1].take();
        assert_eq!(play.choose(how, &[]), Err(NoneFit::AllFull), "{how:?}");
        play.endpoints[0].release();
        assert_eq!(play.endpoints[0].in_flight(), 0);
        assert_eq!(play.choose(how, &[]), Ok(1), "{how:?}");
        play.endpoints.iter_mut().for_each(|e| e.available = false);
        assert_eq!(play.choose(how, &[]), Err(NoneFit::NoInstance), "{how:?}");
        play.endpoints.clear();
        assert_eq!(play.choose(how, &[]), Err(NoneFit::NoInstance), "{how:?}");
    }
}

#[test]
fn another_one_than_the_one_that_failed() {
    for how in ALL {
        let mut play = Play::new(fleet(3));
        for _ in 0..20 {
            assert_eq!(play.choose(how, &[1, 3]), Ok(2), "{how:?}");
            assert_ne!(play.choose(how, &[1]), Ok(1), "{how:?}");
        }
        assert!(play.choose(how, &[1, 2, 3]).is_ok(), "{how:?}");
    }
}

#[test]
fn three_failures_set_it_aside_and_two_good_answers_bring_it_back() {
    let mut play = Play::new(fleet(2));
    play.fail(1, 2);
    play.ends(1, true, 1.0);
    play.fail(1, 2);
    assert!(!play.is_aside(1));
    play.fail(1, 1);
    assert!(play.is_aside(1));
    assert_eq!(play.picks(RoundRobin, 3), [2, 2, 2]);
    play.wait(29);
    assert_eq!(play.choose(RoundRobin, &[]), Ok(2));
    play.wait(1);
    for how in ALL {
        assert_eq!(play.choose(how, &[]), Ok(1), "{how:?}: on trial");
        assert_eq!(
            play.choose(how, &[1]),
            Ok(2),
            "{how:?}: not for a retry of its own"
        );
    }
    play.endpoints[0].take();
    assert_eq!(play.choose(RoundRobin, &[]), Ok(2), "one trial at a time");
    play.endpoints[0].release();
    play.ends(1, true, 1.0);
    assert!(play.is_aside(1));
    play.ends(1, true, 1.0);
    assert!(!play.is_aside(1));
}

#[test]
fn set_aside_longer_each_time_up_to_five_minutes() {
    let mut play = Play::new(fleet(2));
    play.fail(1, 3);
    for seconds in [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300] {
        play.wait(seconds - 1);
        assert_eq!(play.choose(P2c, &[]), Ok(2), "{seconds}");
        play.wait(1);
        assert_eq!(play.choose(P2c, &[]), Ok(1), "{seconds}");
        play.fail(1, 1);
    }
    play.wait(300);
    play.ends(1, true, 1.0);
    play.ends(1, true, 1.0);
    assert!(!play.is_aside(1));
    assert_eq!(
        play.choose(HealthBased, &[2]),
        Ok(1),
        "its score lets it in"
    );
    // Long good, the next time counts as the first.
    play.wait(301);
    play.fail(1, 3);
    play.wait(30);
    assert_eq!(play.choose(P2c, &[]), Ok(1));
}

#[test]
fn the_last_one_is_never_set_aside() {
    let mut play = Play::new(fleet(3));
    play.endpoints[2].available = false;
    play.fail(1, 3);
    play.fail(2, 50);
    assert!(play.is_aside(1) && !play.is_aside(2));
    assert_eq!(play.choose(RoundRobin, &[]), Ok(2), "however low its score");
    play.endpoints[1].available = false;
    assert_eq!(
        play.choose(RoundRobin, &[]),
        Ok(1),
        "set aside, but nothing else serves"
    );
    let mut play = Play::new(fleet(1));
    play.fail(1, 50);
    assert_eq!(play.choose(HealthBased, &[]), Ok(1));
}

#[test]
fn a_call_from_before_is_no_trial() {
    let mut play = Play::new(fleet(2));
    play.fail(1, 3);
    play.wait(5);
    play.fail(1, 10);
    play.wait(25);
    assert_eq!(play.choose(P2c, &[]), Ok(1), "still after 30 s");
}

#[test]
fn scores_and_answer_times() {
    let mut play = Play::new(fleet(1));
    play.ends(1, true, 100.0);
    play.ends(1, true, 50.0);
    assert!((play.endpoints[0].response_ms - 90.0).abs() < 1e-9);
    play.ends(1, false, 1.0);
    assert!(
        (play.endpoints[0].response_ms - 90.0).abs() < 1e-9,
        "failing fast is not quick"
    );
    play.ends(1, false, 190.0);
    assert!((play.endpoints[0].response_ms - 110.0).abs() < 1e-9);
    assert!((play.endpoints[0].score - 0.64).abs() < 1e-9);
    play.ends(1, true, 110.0);
    assert!((play.endpoints[0].score - 0.676).abs() < 1e-9);
    play.endpoints[0].take();
    play.endpoints[0].anew();
    let endpoint = &play.endpoints[0];
    assert_eq!(
        (endpoint.in_flight(), endpoint.score, endpoint.failures),
        (1, 1.0, 0)
    );
}

#[test]
fn the_view_says_why() {
    let server = "echo".parse().unwrap();
    let mut play = Play::new(fleet(2));
    let reason = |play: &Play| {
        let view = play.endpoints[0].view(play.now, &server);
        assert_eq!(view.available, view.reason.is_none());
        view.reason.unwrap_or_default()
    };
    assert_eq!(reason(&play), "");
    play.fail(1, 3);
    play.wait(10);
    assert_eq!(
        reason(&play),
        "Set aside after failures; tried again in 21 s"
    );
    play.wait(20);
    play.ends(1, true, 1.0);
    assert_eq!(
        reason(&play),
        "On trial after failures, 1 of 2 good answers in a row"
    );
    play.endpoints[0].available = false;
    assert_eq!(reason(&play), "Does not serve");
}

proptest! {
    /// Whatever the fleet looks like: what is chosen serves and has room, and there is a choice whenever a good one has room.
    #[test]
    fn only_what_serves_and_has_room(
        states in proptest::collection::vec((any::<bool>(), 0_u32..4, 0_u32..4, 0_usize..5, 0_u32..3), 0..6),
        not in proptest::collection::vec(1_u32..6, 0..3),
        waited in 0_u64..100,
        seed: u64,
    ) {
        let mut play = Play::new(Vec::new());
        for (i, (available, in_flight, max, _, weight)) in states.iter().enumerate() {
            let mut endpoint = Endpoint::new(u32::try_from(i).unwrap() + 1, *weight, *max);
            endpoint.available = *available;
            endpoint.in_flight = *in_flight;
            play.endpoints.push(endpoint);
        }
        for (i, (_, _, _, failures, _)) in states.iter().enumerate() {
            play.fail(u32::try_from(i).unwrap() + 1, *failures);
        }
        play.wait(waited);
        play.chance = Chance::new(seed);
        for how in ALL {
            match play.choose(how, &not) {
                Ok(instance) => {
                    let chosen = &play.endpoints[instance as usize - 1];
                    prop_assert!(chosen.available && chosen.has_room());
                }
                Err(NoneFit::NoInstance) => prop_assert!(play.endpoints.iter().all(|e| !e.available)),
                Err(NoneFit::AllFull) => prop_assert!(
                    !play.endpoints.iter().any(|e| e.is_full_member() && e.score > SCORE_LEAST && e.has_room())
                ),
            }
        }
    }

    /// In each full turn everyone comes exactly as often as its weight.
    #[test]
    fn weights_are_exact(weights in proptest::collection::vec(0_u32..9, 1..6), turns in 1_usize..4) {
        let total: usize = weights.iter().map(|w| *w as usize).sum();
        prop_assume!(total > 0);
        let mut endpoints = fleet(u32::try_from(weights.len()).unwrap());
        for (endpoint, weight) in endpoints.iter_mut().zip(&weights) {
            endpoint.weight = *weight;
        }
        let picks = Play::new(endpoints).picks(WeightedRoundRobin, total * turns);
        for (i, weight) in weights.iter().enumerate() {
            let times = picks.iter().filter(|p| **p as usize == i + 1).count();
            prop_assert_eq!(times, *weight as usize * turns);
        }
    }
}
