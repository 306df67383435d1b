use super::*;
use proptest::prelude::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What comes of one call, with its retry-after in milliseconds if it is refused.
fn word(verdict: Result<Standing, Refused>) -> Result<u32, u128> {
    verdict
        .map(|standing| standing.remaining)
        .map_err(|refused| refused.retry_after.as_millis())
}

#[test]
fn a_bucket_fills_continuously() {
    let start = Instant::now();
    let mut buckets = Buckets::new(Bucket {
        burst: 3,
        per_second: 2.0,
    });
    for (at, expected) in [
        (0, Ok(2)),
        (0, Ok(1)),
        (0, Ok(0)),
        (0, Err(500)),
        (200, Err(300)),
        (499, Err(1)),
        (500, Ok(0)),
        // Asking in vain costs nothing and starts no interval anew.
        (750, Err(250)),
        (1_000, Ok(0)),
        (1_750, Ok(0)),
        (2_000, Ok(0)),
        (60_000, Ok(2)),
        // Out of order: no harm.
        (59_000, Ok(1)),
    ] {
        let got = word(buckets.take("c", "t", start + ms(at)));
        assert_eq!(got, expected, "at {at}");
    }
}

#[test]
fn a_buckets_standing() {
    let start = Instant::now();
    let mut buckets = Buckets::new(Bucket {
        burst: 10,
        per_second: 0.5,
    });
    let standing = buckets.take("c", "t", start).expect("taken");
    assert_eq!(
        (standing.limit, standing.remaining, standing.reset),
        (10, 9, ms(2_000))
    );
    let never = Bucket {
        burst: 1,
        per_second: f64::MIN_POSITIVE,
    };
    let mut buckets = Buckets::new(never);
    assert!(buckets.take("c", "t", start).is_ok());
    let refused = buckets.take("c", "t", start).expect_err("empty");
    assert_eq!(refused.retry_after, Duration::MAX);
}

#[test]
fn each_client_and_tool_has_its_own() {
    let start = Instant::now();
    let mut buckets = Buckets::new(Bucket {
        burst: 1,
        per_second: 1.0,
    });
    for (client, tool, ok) in [
        ("a", "x", true),
        ("a", "y", true),
        ("b", "x", true),
        ("a", "x", false),
        ("b", "x", false),
    ] {
        assert_eq!(
            buckets.take(client, tool, start).is_ok(),
            ok,
            "{client} {tool}"
        );
    }
    assert_eq!(buckets.known, 3);
}

#[test]
fn the_idle_are_dropped_and_only_they() {
    let start = Instant::now();
    let mut buckets = Buckets::new(Bucket {
        burst: 1,
        per_second: 1e-9,
    });
    buckets.take("a", "x", start).expect("taken");
    buckets.take("a", "y", start).expect("taken");
    // Being refused is a use, being swept is none.
    buckets
        .take("a", "y", start + ms(300_000))
        .expect_err("empty");
    for (at, known) in [(600_000, 2), (600_001, 1), (900_000, 1), (900_001, 0)] {
        buckets.sweep(start + ms(at));
        assert_eq!(buckets.known, known, "at {at}");
    }
    assert!(buckets.clients.is_empty());
}

#[test]
fn never_more_than_ten_thousand_and_the_longest_idle_goes() {
    let start = Instant::now();
    let mut buckets = Buckets::new(Bucket {
        burst: 1,
        per_second: 1e-9,
    });
    let mut windows = Windows::new(Window {
        requests: 1,
        span_ms: 1_000_000,
    });
    for n in 0..10_000_u64 {
        buckets
            .take(&n.to_string(), "x", start + ms(n))
            .expect("taken");
        windows.take(&n.to_string(), start + ms(n)).expect("taken");
    }
    let later = start + ms(20_000);
    // Used again, the first is not the longest idle any more.
    buckets.take("0", "x", later).expect_err("empty");
    windows.take("0", later).expect_err("full");
    buckets.take("new", "x", later).expect("taken");
    windows.take("new", later).expect("taken");
    assert_eq!((buckets.known, windows.clients.len()), (10_000, 10_000));
    buckets.take("0", "x", later).expect_err("still known");
    windows.take("0", later).expect_err("still known");
    buckets.take("1", "x", later).expect("forgotten");
    windows.take("1", later).expect("forgotten");
}

#[test]
fn a_window_slides() {
    let start = Instant::now();
    let mut windows = Windows::new(Window {
        requests: 3,
        span_ms: 1_000,
    });
    for (at, expected) in [
        (0, Ok(2)),
        (400, Ok(1)),
        (500, Ok(0)),
        (500, Err(500)),
        (999, Err(1)),
        (1_000, Ok(0)),
        (1_399, Err(1)),
        (1_400, Ok(0)),
        (9_000, Ok(2)),
    ] {
        assert_eq!(word(windows.take("c", start + ms(at))), expected, "at {at}");
    }
    assert!(windows.take("d", start + ms(9_000)).is_ok());
}

#[test]
fn a_windows_standing_takes_nothing() {
    let start = Instant::now();
    let mut windows = Windows::new(Window {
        requests: 3,
        span_ms: 1_000,
    });
    let status = |windows: &Windows, at| {
        let standing = windows.status("c", start + ms(at));
        (
            standing.limit,
            standing.remaining,
            standing.reset.as_millis(),
        )
    };
    assert_eq!(status(&windows, 0), (3, 3, 0));
    windows.take("c", start).expect("let through");
    windows.take("c", start + ms(600)).expect("let through");
    for (at, expected) in [
        (600, (3, 1, 1_000)),
        (999, (3, 1, 601)),
        (1_000, (3, 2, 600)),
        (1_600, (3, 3, 0)),
        (5_000, (3, 3, 0)),
    ] {
        assert_eq!(status(&windows, at), expected, "at {at}");
    }
}

fn spec(burst: Option<u32>, requests: Option<u32>) -> GatewaySpec {
    GatewaySpec {
        tool_rate: burst.map(|burst| Bucket {
            burst,
            per_second: 1.0,
        }),
        client_rate: requests.map(|requests| Window {
            requests,
            span_ms: 1_000,
        }),
        ..GatewaySpec::default()
    }
}

#[test]
fn without_a_limit_nothing_is_limited() {
    let now = Instant::now();
    let mut limits = Limits::new(&spec(None, None));
    assert_eq!(limits.request("c", now, 0), None);
    assert_eq!(limits.call("c", "t", now, 0), None);
    assert_eq!(limits.view(now), None);
}

#[test]
fn who_met_them() {
    let start = Instant::now();
    let at = |seconds: u64| (start + Duration::from_secs(seconds), 1_000 * seconds);
    let mut limits = Limits::new(&spec(Some(1), Some(1)));
    let mut call = |client: &str, tool: Option<&str>, seconds: u64| {
        let (now, wall) = at(seconds);
        match tool {
            Some(tool) => limits.call(client, tool, now, wall),
            None => limits.request(client, now, wall),
        }
        .is_some_and(|verdict| verdict.is_ok())
    };
    let passed: Vec<bool> = [
        ("a", None, 100),
        ("a", None, 100),
        ("b", Some("x"), 100),
        ("b", Some("x"), 100),
        ("b", Some("x"), 100),
    ]
    .into_iter()
    .map(|(client, tool, seconds)| call(client, tool, seconds))
    .collect();
    assert_eq!(passed, [true, false, true, false, false]);

    let view = limits.view(at(110).0).expect("limits");
    assert_eq!((view.tracked, view.refused), (2, 3));
    let rows: Vec<_> = view
        .met
        .iter()
        .map(|met| {
            (
                met.client.as_str(),
                met.tool.as_deref(),
                met.refused,
                met.last,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [("b", Some("x"), 2, 100_000), ("a", None, 1, 100_000)]
    );
    // Half an hour later it is forgotten.
    let (later, _) = at(100 + 1_801);
    assert_eq!(limits.view(later).expect("limits").met, []);
    limits.sweep(later);
    assert!(limits.met.rows.is_empty());
    assert_eq!(limits.view(later).expect("limits").tracked, 0);
}

#[test]
fn those_who_met_them_are_bounded() {
    let now = Instant::now();
    let mut limits = Limits::new(&spec(Some(0), None));
    for n in 0..1_500_u64 {
        limits.call(&n.to_string(), "x", now + ms(n), n);
    }
    let view = limits.view(now + ms(1_500)).expect("limits");
    assert_eq!(view.met.len(), 1_000);
    assert!(view.met.iter().all(|met| met.last >= 500));
}

#[test]
fn other_figures_hold_at_once_and_forgive_nothing() {
    let now = Instant::now();
    let mut limits = Limits::new(&spec(Some(5), Some(5)));
    for _ in 0..3 {
        limits.call("c", "x", now, 0);
        limits.request("c", now, 0);
    }
    limits.refit(&spec(Some(2), Some(2)));
    let call = limits.call("c", "x", now, 0).expect("limited");
    assert_eq!(word(call), Ok(1), "of the two left");
    let request = limits.request("c", now, 0).expect("limited");
    assert_eq!(word(request), Err(1_000));
    limits.refit(&spec(None, Some(10)));
    assert_eq!(limits.call("c", "x", now, 0), None);
    let request = limits.request("c", now, 0).expect("limited");
    assert_eq!(word(request), Ok(6));
}

proptest! {
    /// A bucket never lets through more than its burst and what flowed in since; and who comes again when it was told to is
    /// let through, never sooner.
    #[test]
    fn the_law_of_the_bucket(
        burst in 1_u32..20,
        per_second in 0.01_f64..200.0,
        waits in proptest::collection::vec(0_u64..400, 1..80),
    ) {
        let start = Instant::now();
        let mut buckets = Buckets::new(Bucket { burst, per_second });
        let (mut now, mut passed) = (start, 0_u32);
        for wait in waits {
            now += ms(wait);
            match buckets.take("c", "t", now) {
                Ok(standing) => {
                    passed += 1;
                    prop_assert!(standing.remaining < burst);
                }
                Err(refused) => {
                    let early = refused.retry_after.mul_f64(0.99);
                    prop_assert!(refused.retry_after > Duration::ZERO);
                    prop_assert!(buckets.take("c", "t", now + early).is_err());
                    now += refused.retry_after;
                    prop_assert!(buckets.take("c", "t", now).is_ok());
                    passed += 1;
                }
            }
            let flowed = (now - start).as_secs_f64() * per_second;
            prop_assert!(f64::from(passed) <= f64::from(burst) + flowed + 1e-6);
        }
    }

    /// No span of the window's length ever holds more requests than the limit, and no request is refused without need.
    #[test]
    fn the_law_of_the_window(
        requests in 1_u32..8,
        span in 1_u64..500,
        waits in proptest::collection::vec(0_u64..200, 1..100),
    ) {
        let start = Instant::now();
        let mut windows = Windows::new(Window { requests, span_ms: span });
        let (mut at, mut passed) = (0, Vec::<u64>::new());
        for wait in waits {
            at += wait;
            let within = passed.iter().filter(|p| **p + span > at).count();
            let verdict = windows.take("c", start + ms(at));
            prop_assert_eq!(verdict.is_ok(), within < requests as usize);
            match verdict {
                Ok(standing) => {
                    prop_assert_eq!(standing.remaining as usize, requests as usize - within - 1);
                    passed.push(at);
                }
                Err(refused) => {
                    let oldest = passed[passed.len() - within];
                    prop_assert_eq!(refused.retry_after, ms(oldest + span - at));
                }
            }
        }
    }
}
