use super::*;
use FailureClass::*;
use flotilla_contract::gateway::RetryPreset;
use flotilla_mcp::Closed;
use proptest::prelude::*;

fn rpc(code: i64, message: &str) -> Error {
    Error::Rpc {
        code,
        message: message.into(),
        data: None,
        raw: None,
    }
}

fn http(status: u16, message: &str) -> Error {
    Error::Http {
        status,
        message: message.into(),
    }
}

#[test]
fn every_way_a_session_fails_has_a_class_and_an_answer_to_did_it_run() {
    let text = || "x".to_owned();
    for (error, class, ran) in [
        (Error::Unreachable(text()), Network, Ran::No),
        (Error::Busy(text()), Retryable, Ran::No),
        (Error::OldTransport, NonRetryable, Ran::No),
        (Error::DiedOnDiscover(Closed::Eof), Network, Ran::No),
        (Error::SessionLost(text()), Network, Ran::No),
        (Error::Interrupted(text()), Network, Ran::Maybe),
        (Error::Closed(Closed::Eof), Network, Ran::Maybe),
        (Error::Closed(Closed::Write(text())), Network, Ran::Maybe),
        (Error::Closed(Closed::Ours), Network, Ran::Maybe),
        (Error::Timeout(Duration::from_secs(1)), Timeout, Ran::Maybe),
        (Error::Cancelled, NonRetryable, Ran::Maybe),
        (Error::Protocol(text()), NonRetryable, Ran::Maybe),
        (rpc(-32_602, "x"), Validation, Ran::Maybe),
        (rpc(-32_601, "x"), NonRetryable, Ran::Maybe),
        (rpc(-32_603, "x"), Retryable, Ran::Maybe),
        (http(401, ""), Auth, Ran::No),
        (http(403, ""), Auth, Ran::No),
        (http(404, ""), NonRetryable, Ran::No),
        (http(429, ""), Throttled, Ran::No),
        (http(400, ""), Validation, Ran::Maybe),
        (http(422, ""), Validation, Ran::Maybe),
        (http(408, ""), Timeout, Ran::Maybe),
        (http(500, ""), Retryable, Ran::Maybe),
        (http(501, ""), NonRetryable, Ran::Maybe),
        (http(502, ""), Network, Ran::Maybe),
        (http(503, ""), Network, Ran::Maybe),
        (http(504, ""), Network, Ran::Maybe),
        (http(302, "rate limit"), Throttled, Ran::Maybe),
    ] {
        assert_eq!(
            (classify(&error), did_it_run(&error)),
            (class, ran),
            "{error:?}"
        );
        if error.never_sent() {
            assert_eq!(did_it_run(&error), Ran::No, "{error:?}");
        }
    }
}

#[test]
fn codes() {
    for (code, message, class) in [
        (-32_700, "", NonRetryable),
        (-32_600, "timeout", NonRetryable),
        (-32_002, "Resource not found", NonRetryable),
        (-32_022, "Unsupported protocol version", NonRetryable),
        (-32_602, "Rate limit", Validation),
        (-32_001, "Request timed out", Timeout),
        (-32_001, "", Timeout),
        (-32_001, "Unauthorized", Auth),
        (-32_000, "Connection closed", Retryable),
        (-32_000, "Connection reset by peer", Network),
        (-32_603, "fetch failed: 429 too many requests", Throttled),
        (-32_603, "upstream answered with status 503", Network),
        (429, "", Throttled),
        (401, "", Auth),
        (0, "", Retryable),
        (70_000, "invalid", Validation),
    ] {
        assert_eq!(classify_rpc(code, message), class, "{code} {message}");
    }
}

#[test]
fn words() {
    for (text, class) in [
        ("dial tcp 10.0.0.1:80: Connection Refused", Network),
        ("ECONNREFUSED", Network),
        ("read: connection reset by peer", Network),
        ("Network unreachable", Network),
        ("No route to host", Network),
        ("connection timeout", Network),
        ("read tcp: I/O timeout", Network),
        ("Timeout waiting for the lock", Timeout),
        ("context DEADLINE exceeded", Timeout),
        ("the query timed out", Timeout),
        ("Rate Limit reached for model", Throttled),
        ("request was throttled", Throttled),
        ("ThrottlingException", Throttled),
        ("Too Many Requests", Throttled),
        ("Quota exceeded", Throttled),
        ("rate exceeded, timeout", Throttled),
        ("context canceled", NonRetryable),
        ("The operation was CANCELLED", NonRetryable),
        ("Unauthorized", Auth),
        ("403 Forbidden", Auth),
        ("permission denied (os error 13)", Auth),
        ("invalid api key", Auth),
        ("Invalid date: 2025-13-01", Validation),
        ("input validation failed", Validation),
        ("HTTP 401", Auth),
        ("HTTP/1.1 503", Network),
        ("status code: 429", Throttled),
        ("Request failed with status code 500", Retryable),
        ("Error 422.", Validation),
        ("{\"status\":400}", Validation),
        // Numbers that are no status.
        ("row 401 is missing", Retryable),
        ("error 7", Retryable),
        ("error 123456", Retryable),
        ("something else", Retryable),
        ("", Retryable),
    ] {
        assert_eq!(classify_text(text), class, "{text}");
    }
}

/// A policy in which nothing is left to chance.
fn spec(preset: RetryPreset) -> RetrySpec {
    RetrySpec {
        jitter: 0.0,
        ..preset.spec()
    }
}

fn failed(tries: u32, class: FailureClass) -> Failed {
    Failed {
        tries,
        class,
        ran: Ran::No,
        idempotent: false,
        retry_after: None,
    }
}

fn ask(spec: &RetrySpec, failed: Failed) -> Option<u128> {
    let now = Instant::now();
    let mut budget = Budget::new(now);
    let mut chance = Chance::new(1);
    next_try(
        spec,
        failed,
        &mut budget,
        &Recent::default(),
        now,
        &mut chance,
    )
    .map(|d| d.as_millis())
}

/// The waits in milliseconds until the policy gives up.
fn waits(preset: RetryPreset, class: FailureClass) -> Vec<u128> {
    (1..)
        .map_while(|tries| ask(&spec(preset), failed(tries, class)))
        .collect()
}

#[test]
fn the_presets() {
    for (preset, class, expected) in [
        (RetryPreset::Quick, Retryable, &[100, 200][..]),
        (RetryPreset::Quick, Auth, &[]),
        (RetryPreset::Quick, NonRetryable, &[]),
        (
            RetryPreset::Standard,
            Throttled,
            &[1_000, 2_000, 4_000, 8_000],
        ),
        (RetryPreset::Network, Network, &[500, 1_000, 2_000]),
        (RetryPreset::Network, Timeout, &[500, 1_000, 2_000]),
        (RetryPreset::Network, Retryable, &[]),
        (RetryPreset::Throttle, Throttled, &[2_000, 3_000]),
        (RetryPreset::Throttle, Network, &[]),
        (RetryPreset::None, Retryable, &[]),
    ] {
        assert_eq!(waits(preset, class), expected, "{preset:?} {class:?}");
    }
}

#[test]
fn what_may_have_run_is_tried_again_only_if_that_does_no_harm() {
    let quick = spec(RetryPreset::Quick);
    for (ran, idempotent, again) in [
        (Ran::No, false, true),
        (Ran::No, true, true),
        (Ran::Maybe, true, true),
        (Ran::Maybe, false, false),
    ] {
        let failed = Failed {
            ran,
            idempotent,
            ..failed(1, Timeout)
        };
        assert_eq!(ask(&quick, failed).is_some(), again, "{failed:?}");
    }
    let everything = RetrySpec {
        on: vec![NonRetryable, Auth],
        ..quick
    };
    assert_eq!(
        ask(&everything, failed(1, NonRetryable)),
        None,
        "listed or not"
    );
    assert_eq!(ask(&everything, failed(1, Auth)), Some(100));
}

#[test]
fn the_servers_wish_is_heard_or_it_is_left_alone() {
    let quick = spec(RetryPreset::Quick);
    for (wish, expected) in [
        (50, Some(100)),
        (700, Some(700)),
        (5_000, Some(5_000)),
        (5_001, None),
    ] {
        let failed = Failed {
            retry_after: Some(Duration::from_millis(wish)),
            ..failed(1, Throttled)
        };
        assert_eq!(ask(&quick, failed), expected, "{wish}");
    }
}

#[test]
fn waits_are_capped() {
    let spec = RetrySpec {
        attempts: u32::MAX,
        ..spec(RetryPreset::Standard)
    };
    for tries in [6, 7, 100, 5_000, u32::MAX - 1] {
        assert_eq!(ask(&spec, failed(tries, Network)), Some(30_000), "{tries}");
    }
    let linear = RetrySpec {
        strategy: Backoff::Linear,
        ..spec
    };
    assert_eq!(ask(&linear, failed(1_000, Network)), Some(30_000));
}

#[test]
fn the_adaptive_factor() {
    for (good, bad, factor) in [
        (0, 0, 1.0),
        (1, 0, 0.5),
        (0, 1, 2.0),
        (4, 1, 1.0),
        (9, 1, 0.5),
        (17, 3, 0.5),
        (16, 4, 1.0),
        (3, 7, 1.0),
        (6, 14, 1.0),
        (5, 15, 2.0),
    ] {
        let mut recent = Recent::default();
        (0..good).for_each(|_| recent.note(true));
        (0..bad).for_each(|_| recent.note(false));
        assert!((recent.factor() - factor).abs() < 1e-9, "{good} {bad}");
    }
    let mut recent = Recent::default();
    (0..100).for_each(|_| recent.note(false));
    (0..20).for_each(|_| recent.note(true));
    assert!(
        (recent.factor() - 0.5).abs() < 1e-9,
        "only the last 20 count"
    );
    let adaptive = RetrySpec {
        strategy: Backoff::Adaptive,
        ..spec(RetryPreset::Quick)
    };
    assert_eq!(
        wait(&adaptive, 1, &recent, &mut Chance::new(1)).as_millis(),
        100
    );
}

/// With so many calls sent, how many retries are granted at once.
fn granted(share: f64, calls: u32) -> usize {
    let now = Instant::now();
    let mut budget = Budget::new(now);
    (0..calls).for_each(|_| budget.sent(now));
    (0..1_000).take_while(|_| budget.retry(share, now)).count()
}

#[test]
fn the_budget() {
    for (share, calls, expected) in [
        (0.2, 0, 3),
        (0.2, 10, 3),
        (0.2, 100, 20),
        (0.2, 104, 20),
        (1.0, 50, 50),
        (0.0, 1_000, 3),
    ] {
        assert_eq!(granted(share, calls), expected, "{share} of {calls}");
    }
}

#[test]
fn the_budget_comes_back_after_ten_seconds() {
    let now = Instant::now();
    let mut budget = Budget::new(now);
    assert_eq!((0..5).filter(|_| budget.retry(0.2, now)).count(), 3);
    assert!(!budget.retry(0.2, now + Duration::from_millis(9_900)));
    assert!(budget.retry(0.2, now + Duration::from_secs(10)));
}

#[test]
fn what_is_not_tried_again_costs_no_budget() {
    let now = Instant::now();
    let (mut budget, mut chance) = (Budget::new(now), Chance::new(1));
    let quick = spec(RetryPreset::Quick);
    let mut ask = |failed| {
        next_try(
            &quick,
            failed,
            &mut budget,
            &Recent::default(),
            now,
            &mut chance,
        )
        .is_some()
    };
    for _ in 0..10 {
        assert!(!ask(failed(3, Network)));
        assert!(!ask(Failed {
            ran: Ran::Maybe,
            ..failed(1, Network)
        }));
    }
    assert_eq!((0..5).filter(|_| ask(failed(1, Network))).count(), 3);
}

proptest! {
    /// Waits stay within the jitter's share and below the longest, whatever the figures.
    #[test]
    fn waits_stay_in_bounds(
        strategy in prop_oneof![Just(Backoff::Exponential), Just(Backoff::Linear), Just(Backoff::Adaptive)],
        (base_ms, max_ms, step_ms) in (0_u64..100_000, 0_u64..100_000, 0_u64..10_000),
        (multiplier, jitter) in (1.0_f64..10.0, 0.0_f64..=1.0),
        (retry, seed) in (0_u32..50, any::<u64>()),
    ) {
        let swung = RetrySpec {
            strategy, base_ms, max_ms, step_ms, multiplier, jitter,
            ..RetrySpec::default()
        };
        let plain = RetrySpec { jitter: 0.0, max_ms: u64::MAX / 1_000, ..swung.clone() };
        let recent = Recent::default();
        let exact = wait(&plain, retry, &recent, &mut Chance::new(seed)).as_secs_f64() * 1e3;
        let got = wait(&swung, retry, &recent, &mut Chance::new(seed)).as_secs_f64() * 1e3;
        let most = as_f64(max_ms);
        prop_assert!(got <= most + 1e-6);
        prop_assert!(got + 1e-3 >= (exact * (1.0 - jitter)).min(most));
        prop_assert!(got <= exact * (1.0 + jitter) + 1e-3);
    }

    /// Any text has a class; case changes nothing.
    #[test]
    fn case_changes_nothing(text in "[ -~]{0,60}") {
        prop_assert_eq!(classify_text(&text), classify_text(&text.to_uppercase()));
    }
}
