use super::*;
use flotilla_contract::{alert::Severity, metric::LabelMatch};

fn rule(name: &str, severity: Severity, about_calls: bool) -> AlertRule {
    let about = ("about".to_owned(), "calls".to_owned());
    AlertRule {
        name: name.into(),
        expr: format!("{name} > 0"),
        for_ms: 0,
        keep_firing_for_ms: 0,
        severity,
        labels: about_calls.then_some(about).into_iter().collect(),
        summary: "{{ server }}".into(),
        description: String::new(),
        runbook: None,
    }
}

fn spec() -> AlertsSpec {
    AlertsSpec {
        defaults: false,
        group_by: vec!["server".into()],
        group_wait_ms: 10,
        group_interval_ms: 100,
        repeat_interval_ms: 1_000,
        rules: vec![
            rule("Warm", Severity::Warning, false),
            rule("Slow", Severity::Warning, true),
            rule("Dead", Severity::Critical, false),
        ],
        ..AlertsSpec::default()
    }
}

fn book() -> Book {
    let mut book = Book::default();
    book.apply(spec(), 0);
    book
}

/// Evaluates all rules: those of the list hold for the servers beside them, the others for none.
fn evaluate(book: &mut Book, now: Millis, holds: &[(&str, &[&str])], down: &[&str]) -> usize {
    let found = book.asks().into_iter().map(|(rule, _)| {
        let servers = holds.iter().filter(|(name, _)| *name == rule);
        let samples = servers
            .flat_map(|(_, servers)| servers.iter())
            .map(|s| Sample {
                labels: [("server".to_owned(), (*s).to_owned())].into(),
                value: 1.0,
            });
        let values = Ok(samples.collect());
        Found { rule, values }
    });
    let found = found.collect();
    let down = down.iter().map(|s| (*s).to_owned()).collect();
    book.evaluated(now, found, down).len()
}

/// The messages that are due, each as a line.
fn due(book: &mut Book, now: Millis) -> Vec<String> {
    let said = |message: &Message| {
        let alert = |alert: &Alert| {
            format!(
                "{}/{} {}",
                alert.rule(),
                alert.server().unwrap_or_default(),
                alert.state.word()
            )
        };
        let alerts: Vec<String> = message.alerts.iter().map(alert).collect();
        alerts.join(", ")
    };
    book.due(now).iter().map(said).collect()
}

const NONE: [String; 0] = [];

#[test]
fn a_group_is_told_together_then_what_is_new_then_again() {
    let mut book = book();
    evaluate(&mut book, 0, &[("Warm", &["a", "b"])], &[]);
    assert_eq!(due(&mut book, 0), NONE, "the group waits");
    evaluate(
        &mut book,
        5,
        &[("Warm", &["a", "b"]), ("Slow", &["a"])],
        &[],
    );
    assert_eq!(
        due(&mut book, 10),
        ["Warm/a firing, Slow/a firing", "Warm/b firing"]
    );
    assert_eq!(due(&mut book, 500), NONE, "nothing is new");
    // New in the group of a, and an end in that of b: not before the interval has passed.
    evaluate(&mut book, 501, &[("Warm", &["a"]), ("Slow", &["a"])], &[]);
    assert_eq!(due(&mut book, 501), ["Warm/b resolved"]);
    assert_eq!(due(&mut book, 502), NONE, "an end is told once");
    assert_eq!(
        due(&mut book, 1_010),
        ["Warm/a firing, Slow/a firing"],
        "the same again"
    );
    evaluate(&mut book, 1_020, &[("Slow", &["a"])], &[]);
    assert_eq!(due(&mut book, 1_109), NONE, "too early");
    assert_eq!(due(&mut book, 1_110), ["Slow/a firing, Warm/a resolved"]);
    // What ends before it was told is not told at all.
    evaluate(&mut book, 2_000, &[("Warm", &["c"])], &[]);
    assert_eq!(due(&mut book, 2_001), ["Slow/a resolved"]);
    evaluate(&mut book, 2_005, &[], &[]);
    assert_eq!(due(&mut book, 3_000), NONE);
    let last = &book.history(1)[0];
    assert_eq!((last.at, last.alert.rule()), (2_005, "Warm"));
}

#[test]
fn what_comes_back_before_its_end_was_told_is_no_news() {
    let mut book = book();
    let hot: &[(&str, &[&str])] = &[("Warm", &["a"])];
    evaluate(&mut book, 0, hot, &[]);
    due(&mut book, 0);
    assert_eq!(due(&mut book, 10).len(), 1);
    evaluate(&mut book, 20, &[], &[]);
    assert_eq!(due(&mut book, 20), NONE);
    evaluate(&mut book, 30, hot, &[]);
    assert_eq!(due(&mut book, 500), NONE);
}

#[test]
fn the_worse_inhibits_the_rest_of_its_server() {
    let mut book = book();
    let all: &[(&str, &[&str])] = &[("Warm", &["a", "b"]), ("Dead", &["a"]), ("Slow", &["c"])];
    evaluate(&mut book, 0, all, &["c"]);
    due(&mut book, 0);
    assert_eq!(due(&mut book, 10), ["Dead/a firing", "Warm/b firing"]);
    let why = |book: &Book, rule: &str, server: &str| {
        let alerts = book.alerts(10);
        let found = alerts
            .iter()
            .find(|a| a.rule() == rule && a.server() == Some(server));
        found.and_then(|alert| alert.inhibited.clone())
    };
    assert_eq!(why(&book, "Warm", "a").unwrap(), "Dead fires for a");
    assert_eq!(why(&book, "Slow", "c").unwrap(), "c is down");
    assert_eq!(why(&book, "Warm", "b"), None);
    // When it is mended, the rest is told.
    evaluate(
        &mut book,
        200,
        &[("Warm", &["a", "b"]), ("Slow", &["c"])],
        &[],
    );
    due(&mut book, 200);
    assert_eq!(due(&mut book, 210), ["Slow/c firing"]);
    assert_eq!(why(&book, "Warm", "a"), None);
}

#[test]
fn a_warning_is_inhibited_by_the_critical_of_the_same_thing_only() {
    // Of the rules that come with Flotilla, with the labels that their series have.
    let inhibited = |holds: &[(&str, &[(&str, &str)])]| {
        let mut book = Book::default();
        book.apply(AlertsSpec::default(), 0);
        for now in [1, 3_600_000] {
            let found = book.asks().into_iter().map(|(rule, expr)| {
                let value = [0.0, 1e6].into_iter().find(|value| expr.holds(*value));
                let of_rule = holds.iter().filter(|(name, _)| *name == rule);
                let pair = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
                let samples = of_rule.map(|(_, labels)| Sample {
                    labels: labels.iter().map(pair).collect(),
                    value: value.unwrap(),
                });
                let values = Ok(samples.collect());
                Found { rule, values }
            });
            let found = found.collect();
            book.evaluated(now, found, BTreeSet::new());
        }
        let mild = book.alerts(3_600_000).into_iter();
        let mild = mild.filter(|alert| alert.severity < Severity::Critical);
        let mut why: Vec<(String, Option<String>)> = mild
            .map(|alert| (alert.rule().to_owned(), alert.inhibited))
            .collect();
        why.sort();
        why
    };
    let told = |rule: &str| (rule.to_owned(), None);
    let not_told = |rule: &str, why: &str| (rule.to_owned(), Some(why.to_owned()));
    let (one, two) = (
        [("server", "a"), ("instance", "1")],
        [("server", "a"), ("instance", "2")],
    );
    for (holds, expected) in [
        (
            &[("HostMemoryHigh", &[][..]), ("HostMemoryCritical", &[])][..],
            vec![not_told("HostMemoryHigh", "HostMemoryCritical fires")],
        ),
        (&[("HostMemoryHigh", &[])], vec![told("HostMemoryHigh")]),
        // Neither the disk nor a page is the memory of the machine.
        (
            &[
                ("HostMemoryCritical", &[]),
                ("HostDiskFull", &[]),
                ("CollectorDown", &[("job", "x"), ("instance", "h:1")]),
            ],
            vec![told("CollectorDown"), told("HostDiskFull")],
        ),
        (
            &[
                ("MemoryNearLimit", &one),
                ("MemoryNearLimit", &two),
                ("MemoryAtLimit", &two),
            ],
            vec![
                told("MemoryNearLimit"),
                not_told("MemoryNearLimit", "MemoryAtLimit fires for a, instance 2"),
            ],
        ),
        // What is of the whole server is inhibited by what is of one instance, and the other way round.
        (
            &[("CallErrors", &[("server", "a")]), ("ServerFailed", &one)],
            vec![not_told(
                "CallErrors",
                "ServerFailed fires for a, instance 1",
            )],
        ),
        (
            &[
                ("ServerUnhealthy", &one),
                ("CallErrorsHigh", &[("server", "a")]),
            ],
            vec![not_told("ServerUnhealthy", "CallErrorsHigh fires for a")],
        ),
        (
            &[("MemoryNearLimit", &one), ("HostMemoryCritical", &[])],
            vec![told("MemoryNearLimit")],
        ),
    ] {
        assert_eq!(inhibited(holds), expected, "{holds:?}");
    }
}

fn matcher(label: &str, is: bool, values: &[&str]) -> LabelMatch {
    LabelMatch {
        label: label.into(),
        is,
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    }
}

#[test]
fn a_silence_holds_in_its_time() {
    let mut book = book();
    let window = SilenceParams {
        matchers: vec![
            matcher("server", true, &["a", "b"]),
            matcher("alertname", false, &["Dead"]),
        ],
        from: Some(50),
        for_ms: 60_000,
        comment: "moving".into(),
    };
    let made = book.silence(0, "op", window.clone()).unwrap();
    assert_eq!((made.id, made.from, made.to), (1, 50, 60_050));
    evaluate(
        &mut book,
        100,
        &[("Warm", &["a", "c"]), ("Dead", &["b"])],
        &[],
    );
    due(&mut book, 100);
    assert_eq!(due(&mut book, 110), ["Dead/b firing", "Warm/c firing"]);
    let silenced = |book: &Book, now| {
        book.alerts(now)
            .iter()
            .filter(|a| a.silenced == Some(1))
            .count()
    };
    assert_eq!(
        (
            silenced(&book, 49),
            silenced(&book, 50),
            silenced(&book, 60_050)
        ),
        (0, 1, 0)
    );
    book.unsilence(200, 1).unwrap();
    due(&mut book, 200);
    assert_eq!(due(&mut book, 210), ["Warm/a firing"]);
    assert_eq!(book.unsilence(201, 1), Err(SilenceError::None(1)));
    for (wrong, why) in [
        (
            SilenceParams {
                matchers: Vec::new(),
                ..window.clone()
            },
            SilenceError::Everything,
        ),
        (
            SilenceParams {
                matchers: vec![matcher("server", true, &[])],
                ..window.clone()
            },
            SilenceError::Matcher("server".into()),
        ),
        (
            SilenceParams {
                for_ms: 1,
                ..window.clone()
            },
            SilenceError::Span(1),
        ),
    ] {
        assert_eq!(book.silence(0, "op", wrong), Err(why));
    }
    assert_eq!(book.silence(100_000, "op", window), Err(SilenceError::Past));
    // A day after its end it is forgotten.
    due(&mut book, 200 + SHOWN);
    assert!(book.silences().is_empty());
}

#[test]
fn a_restart_neither_forgets_nor_tells_twice() {
    let mut before = book();
    let hot: &[(&str, &[&str])] = &[("Warm", &["a", "b"])];
    evaluate(&mut before, 0, hot, &[]);
    due(&mut before, 0);
    assert_eq!(due(&mut before, 10).len(), 2);
    let text = serde_json::to_string(&before.kept()).unwrap();
    let mut after = book();
    assert!(
        after
            .restore(serde_json::from_str(&text).unwrap(), 100)
            .is_empty()
    );
    assert_eq!(serde_json::to_string(&after.kept()).unwrap(), text);
    assert_eq!(evaluate(&mut after, 101, hot, &[]), 0);
    assert_eq!(due(&mut after, 500), NONE);
    assert_eq!(after.alerts(500)[0].fired, Some(0));
    // After the time to return, an end is told as ever.
    assert_eq!(evaluate(&mut after, 70_000, &[("Warm", &["a"])], &[]), 1);
    assert_eq!(due(&mut after, 70_000).len(), 2, "b ended; a is told again");
}

#[test]
fn a_rule_that_is_taken_out_ends_its_alerts() {
    let mut book = book();
    evaluate(&mut book, 0, &[("Warm", &["a"]), ("Slow", &["a"])], &[]);
    due(&mut book, 0);
    due(&mut book, 10);
    let mut other = spec();
    other.rules.remove(0);
    other.rules[0].for_ms = 5;
    let ended = book.apply(other.clone(), 200);
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].alert.rule(), "Warm");
    assert_eq!(due(&mut book, 200), ["Slow/a firing, Warm/a resolved"]);
    // Other groups: what was told stays told.
    other.group_by = vec!["alertname".into()];
    assert!(book.apply(other, 300).is_empty());
    assert_eq!(due(&mut book, 900), NONE);
}

#[test]
fn a_rule_that_comes_with_flotilla_is_disabled_or_its_place_is_taken() {
    let mut book = Book::default();
    let mine = rule("CallsSlow", Severity::Info, false);
    let settings = AlertsSpec {
        disabled: vec!["RateLimited".into(), "CallsSlow".into()],
        rules: vec![mine],
        ..AlertsSpec::default()
    };
    book.apply(settings, 0);
    let asks: Vec<String> = book.asks().into_iter().map(|(name, _)| name).collect();
    assert!(!asks.contains(&"RateLimited".to_owned()), "{asks:?}");
    let views = book.rules();
    let of = |name: &str| {
        let mut named = views.iter().filter(|view| view.rule.name == name);
        let view = named.next().unwrap();
        assert!(named.next().is_none(), "{name} is there twice");
        (view.standard, view.overrides, view.state)
    };
    assert_eq!(of("RateLimited"), (true, false, RuleState::Off));
    assert_eq!(of("CallsSlow"), (false, true, RuleState::Waiting));
    assert_eq!(of("ServerFailed"), (true, false, RuleState::Waiting));
    book.apply(
        AlertsSpec {
            defaults: false,
            ..AlertsSpec::default()
        },
        1,
    );
    assert!(
        book.rules().is_empty(),
        "none holds, and none can be enabled alone"
    );
}
