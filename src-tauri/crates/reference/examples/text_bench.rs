//! What comparing two texts of about 100 words costs, beside the straightforward way and a crate:
//! `cargo run --release -p flotilla-reference --example text_bench [ROUNDS]`.
//!
//! - measures: ours (fold, split, look up stop words, subjects and synonyms, then Jaccard, cosine, semantic and hybrid);
//! - tool: the same through `calculate_text_similarity`, arguments and result checked against their schemas;
//! - sets: Jaccard and cosine with a `HashSet` and a `HashMap` of lower-cased Unicode words, stop words left out;
//! - textdistance: Jaccard and cosine of the crate `textdistance` on lower-cased words between spaces, stop words kept;
//! - search: `find_similar_texts` over 1,000 candidates, per candidate.
//!
//! All take turns in every round, so that a busy machine troubles all. Medians over the rounds, and ratios to ours.

use flotilla_reference::{
    service::Host,
    services::semantic_similarity::{
        lists::STOP_WORDS,
        measure::{Method, similarity},
        service,
    },
    tool::Context,
};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    hint::black_box,
    time::{Instant, SystemTime},
};
use unicode_segmentation::UnicodeSegmentation;

const OPERATIONS: u32 = 1_000;
const CANDIDATES: u32 = 1_000;

const TEXT1: &str = "The gateway accepts calls from many clients and sends each of them to a server that is healthy. When a server fails, \
    the gateway waits a little, then tries again, because most failures are short. After three attempts it opens the circuit and answers \
    with an error, so that the caller can choose another way. Every call has a deadline, and every retry must fit within it. The panel shows \
    how long each step took, which servers were slow, and what the last error said. Operators can stop a server, start it, or change its \
    configuration while calls are running; nothing is lost in between.";
const TEXT2: &str = "Clients talk to the proxy, and the proxy forwards their requests to a host that works. If the host has a fault, the request \
    is repeated after a short pause, since such faults often go away. When three tries have failed, the breaker opens and the client gets \
    an error at once, and may go elsewhere. Requests have time limits, and retries are part of that time. A dashboard displays the \
    duration of all stages, the slowest hosts, and recent errors. Whoever operates the fleet may halt a host, launch it again, or alter \
    settings during traffic, without losing a request that is under way.";

fn main() {
    let rounds: usize = std::env::args()
        .nth(1)
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(31);
    let service = service(&Host::new(None, SystemTime::now));
    let tool = |name: &str, arguments: Value| {
        let tool = service.tool(name).expect("the tool is there");
        tool.call(&Context::default(), arguments)
            .expect("it takes these arguments")
    };
    let pair = json!({"text1": TEXT1, "text2": TEXT2});
    let candidates: Vec<String> = (0..CANDIDATES)
        .map(|n| format!("{TEXT2} {n} candidate{n}"))
        .collect();
    let search = json!({"query": TEXT1, "candidates": candidates});

    let mut names =
        ["measures", "tool", "sets", "textdistance", "search"].map(|name| (name, Vec::new()));
    for _ in 0..rounds {
        let times = [
            timed(OPERATIONS, || {
                similarity(black_box(TEXT1), black_box(TEXT2), Method::Hybrid)
            }),
            timed(OPERATIONS, || {
                tool("calculate_text_similarity", pair.clone())
            }),
            timed(OPERATIONS, || sets(black_box(TEXT1), black_box(TEXT2))),
            timed(OPERATIONS, || {
                textdistance(black_box(TEXT1), black_box(TEXT2))
            }),
            timed(1, || tool("find_similar_texts", search.clone())) / f64::from(CANDIDATES),
        ];
        for ((_, all), time) in names.iter_mut().zip(times) {
            all.push(time);
        }
    }
    println!(
        "texts of {} and {} words, {rounds} rounds of {OPERATIONS}",
        TEXT1.unicode_words().count(),
        TEXT2.unicode_words().count()
    );
    let medians = names.map(|(name, times)| (name, median(times)));
    let ours = medians[0].1;
    for (name, time) in medians {
        println!(
            "{name:>14} {time:>9.0} ns   {:>5.2} × measures",
            time / ours
        );
    }
}

fn sets(text1: &str, text2: &str) -> (f64, f64) {
    let words = |text: &str| -> Vec<String> {
        text.unicode_words()
            .map(str::to_lowercase)
            .filter(|word| word.len() > 2 && STOP_WORDS.binary_search(&word.as_str()).is_err())
            .collect()
    };
    let (a, b) = (words(text1), words(text2));
    let (set_a, set_b): (HashSet<&String>, HashSet<&String>) =
        (a.iter().collect(), b.iter().collect());
    let jaccard = set_a.intersection(&set_b).count() as f64 / set_a.union(&set_b).count() as f64;
    let counts = |words: &[String]| {
        let mut counts: HashMap<String, f64> = HashMap::new();
        for word in words {
            *counts.entry(word.clone()).or_default() += 1.0;
        }
        counts
    };
    let (a, b) = (counts(&a), counts(&b));
    let dot: f64 = a
        .iter()
        .filter_map(|(word, count)| Some(count * b.get(word)?))
        .sum();
    let norm = |counts: &HashMap<String, f64>| {
        counts
            .values()
            .map(|count| count * count)
            .sum::<f64>()
            .sqrt()
    };
    (jaccard, dot / (norm(&a) * norm(&b)))
}

fn textdistance(text1: &str, text2: &str) -> (f64, f64) {
    use textdistance::Algorithm;
    let (a, b) = (text1.to_lowercase(), text2.to_lowercase());
    (
        textdistance::Jaccard::default().for_words(&a, &b).nsim(),
        textdistance::Cosine::default().for_words(&a, &b).nsim(),
    )
}

/// Nanoseconds per operation.
fn timed<T>(operations: u32, mut operation: impl FnMut() -> T) -> f64 {
    let started = Instant::now();
    for _ in 0..operations {
        black_box(operation());
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(operations)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
