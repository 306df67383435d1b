use super::*;
use std::sync::atomic::AtomicU32;
use tokio::sync::Notify;

const HOUR: Duration = Duration::from_secs(3_600);

fn spec(entries: u64, bytes: u64) -> CacheSpec {
    CacheSpec {
        entries,
        bytes,
        ttl_ms: 0,
    }
}

fn cache() -> Cache {
    Cache::new(spec(100, 1 << 20), Instant::now())
}

fn answer(json: &str) -> Answer {
    Answer {
        text: json.into(),
        upstream_ms: 20.0,
    }
}

/// Whose, server, tool, arguments.
type Ask<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Asks; the server would answer so. Gives what came, with `*` when it was given again.
async fn ask_for(
    cache: &Cache,
    ttl: Duration,
    (whose, server, tool, arguments): Ask<'_>,
    would: &str,
) -> String {
    let server = server.parse().expect("a name");
    let question = Question {
        server: &server,
        tool,
        arguments: Some(arguments),
        whose,
    };
    let outcome = cache
        .get_or(question, ttl, async {
            match would.strip_prefix('!') {
                Some(error) => Err(error.to_owned()),
                None => Ok(answer(would)),
            }
        })
        .await;
    match outcome {
        Ok((answer, again)) => format!("{}{}", answer.text, if again { "*" } else { "" }),
        Err(error) => format!("!{error}"),
    }
}

async fn ask(cache: &Cache, question: Ask<'_>, would: &str) -> String {
    ask_for(cache, HOUR, question, would).await
}

#[tokio::test]
async fn equal_questions_get_the_same_answer_and_others_do_not() {
    let cache = cache();
    assert_eq!(
        ask(&cache, ("", "a", "t", r#"{"x":1,"y":2}"#), "1").await,
        "1"
    );
    for (question, expected) in [
        (("", "a", "t", r#"{ "y": 2, "x": 1 }"#), "1*"),
        (("", "a", "t", r#"{"x":1,"y":2.0}"#), "2"),
        (("", "a", "t", r#"{"x":1}"#), "2"),
        (("", "a", "u", r#"{"x":1,"y":2}"#), "2"),
        (("", "b", "t", r#"{"x":1,"y":2}"#), "2"),
        (("ann", "a", "t", r#"{"x":1,"y":2}"#), "2"),
        (("ann", "a", "t", r#"{"x":1,"y":2}"#), "2*"),
        (("bob", "a", "t", r#"{"x":1,"y":2}"#), "2"),
        // Parts that run together to the same text.
        (("", "a", "t1", "0"), "2"),
        (("", "a", "t", "10"), "2"),
        (("", "a", "t", "9007199254740993"), "2"),
        (("", "a", "t", "9007199254740992"), "2"),
    ] {
        assert_eq!(ask(&cache, question, "2").await, expected, "{question:?}");
    }
}

#[tokio::test]
async fn errors_are_not_kept() {
    let cache = cache();
    let question = ("", "a", "t", "{}");
    assert_eq!(ask(&cache, question, "!broken").await, "!broken");
    assert_eq!(ask(&cache, question, "1").await, "1");
    assert_eq!(ask(&cache, question, "!broken").await, "1*");
    let view = cache.view(Instant::now()).await;
    assert_eq!((view.hits, view.misses, view.entries), (1, 2, 1));
}

#[tokio::test]
async fn each_has_its_time() {
    let cache = cache();
    let short = Duration::from_millis(50);
    assert_eq!(ask_for(&cache, short, ("", "a", "t", "1"), "1").await, "1");
    assert_eq!(ask_for(&cache, HOUR, ("", "a", "t", "2"), "1").await, "1");
    std::thread::sleep(Duration::from_millis(80));
    assert_eq!(ask_for(&cache, HOUR, ("", "a", "t", "1"), "2").await, "2");
    assert_eq!(ask_for(&cache, HOUR, ("", "a", "t", "2"), "2").await, "1*");
    // Kept again, it has its new time.
    std::thread::sleep(Duration::from_millis(80));
    assert_eq!(ask_for(&cache, HOUR, ("", "a", "t", "1"), "3").await, "2*");
    assert_eq!(
        ask_for(&cache, Duration::ZERO, ("", "a", "t", "3"), "1").await,
        "1"
    );
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(
        ask_for(&cache, Duration::ZERO, ("", "a", "t", "3"), "2").await,
        "2"
    );
}

/// So many ask the same at once; the `n`-th that reaches the server is answered so, all of them once everybody has asked.
async fn together(
    cache: &Arc<Cache>,
    askers: usize,
    would: fn(u32) -> Result<Answer, String>,
) -> (Vec<String>, u32) {
    let (go, asked) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..askers)
        .map(|_| {
            let (cache, go, asked) = (Arc::clone(cache), Arc::clone(&go), Arc::clone(&asked));
            tokio::spawn(async move {
                let server = "a".parse().expect("a name");
                let question = Question {
                    server: &server,
                    tool: "t",
                    arguments: None,
                    whose: "",
                };
                let from_server = async {
                    let n = asked.fetch_add(1, Ordering::Relaxed) + 1;
                    if n == 1 {
                        go.notified().await;
                    }
                    would(n)
                };
                match cache.get_or(question, HOUR, from_server).await {
                    Ok((answer, again)) => {
                        format!("{}{}", answer.text, if again { "*" } else { "" })
                    }
                    Err(error) => format!("!{error}"),
                }
            })
        })
        .collect();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    let mut got = Vec::new();
    for task in tasks {
        got.push(task.await.expect("no panic"));
    }
    got.sort();
    (got, asked.load(Ordering::Relaxed))
}

#[tokio::test]
async fn of_many_one_asks() {
    let cache = Arc::new(cache());
    let (got, asked) = together(&cache, 5, |n| Ok(answer(&n.to_string()))).await;
    assert_eq!(
        (got, asked),
        (["1", "1*", "1*", "1*", "1*"].map(str::to_owned).to_vec(), 1)
    );
    let view = cache.view(Instant::now()).await;
    assert_eq!((view.hits, view.misses), (4, 1));
    assert!((view.saved_ms - 80.0).abs() < 1e-9);
}

#[tokio::test]
async fn who_waited_for_a_failure_asks_for_itself() {
    let cache = Arc::new(cache());
    let would = |n| match n {
        1 => Err("first".to_owned()),
        n => Ok(answer(&n.to_string())),
    };
    let (got, asked) = together(&cache, 4, would).await;
    assert_eq!(got[0], "!first");
    assert_eq!((got.len(), asked), (4, 4));
    let (got, _) = together(&cache, 1, |_| Err("not asked".to_owned())).await;
    assert!(got[0].ends_with('*'), "{got:?}");
}

#[tokio::test]
async fn all_failures_are_their_own() {
    let cache = Arc::new(cache());
    let (got, asked) = together(&cache, 3, |n| Err(n.to_string())).await;
    assert_eq!(
        (got, asked),
        (["!1", "!2", "!3"].map(str::to_owned).to_vec(), 3)
    );
}

#[tokio::test]
async fn given_up_the_next_one_asks() {
    let cache = Arc::new(cache());
    let first = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move {
            let server = "a".parse().expect("a name");
            let question = Question {
                server: &server,
                tool: "t",
                arguments: None,
                whose: "",
            };
            let never = std::future::pending::<Result<Answer, String>>();
            let _ = cache.get_or(question, HOUR, never).await;
        }
    });
    tokio::task::yield_now().await;
    let second = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move { together(&cache, 2, |n| Ok(answer(&n.to_string()))).await }
    });
    tokio::task::yield_now().await;
    first.abort();
    let (got, asked) = second.await.expect("no panic");
    assert_eq!((got, asked), (["1", "1*"].map(str::to_owned).to_vec(), 1));
}

#[tokio::test]
async fn bounded_in_number_and_in_bytes_and_the_longest_unused_goes() {
    let few = Cache::new(spec(3, 1 << 20), Instant::now());
    for n in 0..5 {
        ask(&few, ("", "a", "t", &n.to_string()), "1").await;
        few.kept.run_pending_tasks().await;
    }
    assert_eq!(few.view(Instant::now()).await.entries, 3);
    assert_eq!(ask(&few, ("", "a", "t", "4"), "2").await, "1*");
    assert_eq!(ask(&few, ("", "a", "t", "0"), "2").await, "2");

    let small = Cache::new(spec(1_000, 10_000), Instant::now());
    let large = format!("\"{}\"", "x".repeat(2_500));
    for n in 0..20 {
        ask(&small, ("", "a", "t", &n.to_string()), &large).await;
    }
    let view = small.view(Instant::now()).await;
    assert_eq!((view.entries, view.max_bytes), (3, 10_000));
    assert!(view.bytes > 7_500 && view.bytes <= 10_000, "{}", view.bytes);
    // One that is larger than everything is passed on and not kept.
    let huge = format!("\"{}\"", "x".repeat(20_000));
    assert_eq!(ask(&small, ("", "a", "u", "1"), &huge).await, huge);
    small.kept.run_pending_tasks().await;
    assert_eq!(ask(&small, ("", "a", "u", "1"), &huge).await, huge);
}

#[tokio::test]
async fn cleared_by_server_by_tool_and_all() {
    let cache = cache();
    for (server, tool) in [("a", "t"), ("a", "u"), ("b", "t")] {
        for n in 0..3 {
            ask(&cache, ("", server, tool, &n.to_string()), "1").await;
        }
    }
    let which = |server: &str, tool: &str| CacheClear {
        server: server.parse().ok(),
        tool: (!tool.is_empty()).then(|| tool.to_owned()),
    };
    for (server, tool, cleared) in [
        ("c", "", 0),
        ("a", "x", 0),
        ("a", "t", 3),
        ("a", "t", 0),
        ("b", "", 3),
        ("", "", 3),
        ("", "", 0),
    ] {
        assert_eq!(
            cache.clear(&which(server, tool)).await,
            cleared,
            "{server} {tool}"
        );
    }
    let view = cache.view(Instant::now()).await;
    assert_eq!((view.entries, view.bytes, view.misses), (0, 0, 9));
}

#[tokio::test]
async fn the_view_counts_by_tool() {
    let cache = cache();
    for (tool, arguments) in [
        ("t", "1"),
        ("u", "1"),
        ("u", "1"),
        ("u", "1"),
        ("t", "1"),
        ("v", "1"),
    ] {
        ask(&cache, ("", "a", tool, arguments), "1").await;
    }
    let view = cache.view(Instant::now()).await;
    let tools: Vec<_> = view
        .tools
        .iter()
        .map(|tool| (tool.tool.as_str(), tool.hits, tool.misses))
        .collect();
    assert_eq!(tools, [("u", 2, 1), ("t", 1, 1), ("v", 0, 1)]);
    assert_eq!((view.hits, view.misses, view.entries), (3, 3, 3));
    assert!((view.saved_ms - 60.0).abs() < 1e-9);
    assert!(view.bytes > 0);
}

#[tokio::test]
async fn a_tool_that_could_be_listed() {
    let cache = cache();
    let server = "a".parse().expect("a name");
    let now = Instant::now();
    for arguments in [r#"{"x":1,"y":2}"#, r#"{"y":2, "x":1}"#, "{}"] {
        let question = Question {
            server: &server,
            tool: "t",
            arguments: Some(arguments),
            whose: "",
        };
        cache.consider(question, "1", now);
    }
    let candidates = cache.view(now).await.candidates;
    assert_eq!(candidates.len(), 1);
    assert_eq!((candidates[0].repeated, candidates[0].equal), (1, 1));
}
