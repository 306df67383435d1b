//! Our vector and BM25 arithmetic beside the crates that are known for it, in one run.
//!
//! `cargo run --release -p flotilla-reference --example tools_bench`. Each line: the median over alternating rounds of
//! nanoseconds per operation, ours and theirs, and the median of the rounds' ratios. Below 1.5 is the target; below 1 ours is
//! quicker. Both do the same job from the same arguments.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that prints, for people"
)]

use bm25::{Document, SearchEngineBuilder, Tokenizer};
use flotilla_reference::{
    services::vector_ranking::{Parameters, Query, Ranking},
    vectors,
};
use nalgebra::DVectorView;
use std::{convert::Infallible, hint::black_box, time::Instant};

const ROUNDS: usize = 31;

fn main() {
    println!(
        "{:<44}{:>12}{:>12}{:>8}",
        "", "ours ns/op", "theirs", "ratio"
    );
    vectors_768();
    bm25_1000();
}

fn vectors_768() {
    let mut random = Random(7);
    let mut vector = || -> Vec<f64> { (0..768).map(|_| random.next() - 0.5).collect() };
    let query = vector();
    let documents: Vec<Vec<f64>> = (0..64).map(|_| vector()).collect();
    let line = |name, ours: fn(&[f64], &[f64]) -> f64, theirs: fn(&[f64], &[f64]) -> f64| {
        for document in &documents {
            assert!((ours(&query, document) - theirs(&query, document)).abs() < 1e-9);
        }
        let over = |operation: fn(&[f64], &[f64]) -> f64| {
            for document in &documents {
                black_box(operation(black_box(&query), black_box(document)));
            }
        };
        compare(name, 40, documents.len(), || over(ours), || over(theirs));
    };
    line("cosine, 768 f64, nalgebra", vectors::cosine, |a, b| {
        let (a, b) = (
            DVectorView::from_slice(a, a.len()),
            DVectorView::from_slice(b, b.len()),
        );
        a.dot(&b) / (a.dot(&a).sqrt() * b.dot(&b).sqrt())
    });
    line("dot product, 768 f64, nalgebra", vectors::dot, |a, b| {
        DVectorView::from_slice(a, a.len()).dot(&DVectorView::from_slice(b, b.len()))
    });
    line(
        "euclidean, 768 f64, nalgebra",
        vectors::euclidean,
        |a, b| {
            DVectorView::from_slice(a, a.len())
                .metric_distance(&DVectorView::from_slice(b, b.len()))
        },
    );
}

/// The tool gets documents and query together, so that is the job: from texts to scores.
fn bm25_1000() {
    let mut random = Random(11);
    let vocabulary: Vec<String> = (0..5_000_u32)
        .map(|word| format!("{}{word}", if word % 7 == 0 { "Word" } else { "term" }))
        .collect();
    // Few words often, most seldom, as in language.
    let mut text = |length: usize| -> String {
        let words: Vec<&str> = (0..length)
            .map(|_| vocabulary[(random.next().powi(3) * 5_000.0) as usize].as_str())
            .collect();
        words.join(" ")
    };
    let texts: Vec<String> = (0..1_000).map(|_| text(100)).collect();
    let query = text(5);
    let ours = || {
        let query = Query::new(black_box(&query));
        let documents = black_box(&texts).iter().map(String::as_str);
        let ranking = Ranking::of(&query, documents, Parameters::default(), |_| {
            Ok::<_, Infallible>(())
        });
        black_box(ranking.map(|ranking| ranking.scores()).unwrap());
    };
    let theirs = || {
        let documents = black_box(&texts)
            .iter()
            .zip(0_u32..)
            .map(|(text, id)| Document::new(id, text.as_str()));
        let engine = SearchEngineBuilder::<u32, u32, Words>::with_tokenizer_and_documents(
            Words,
            documents.collect::<Vec<_>>(),
        )
        .build();
        black_box(engine.search(black_box(&query), None));
    };
    compare(
        "BM25, 1000 texts of 100 words, crate bm25",
        1,
        1,
        ours,
        theirs,
    );
}

/// The words that ours counts.
struct Words;

impl Tokenizer for Words {
    fn tokenize(&self, text: &str) -> Vec<String> {
        text.split_whitespace()
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
            .filter(|word| word.len() > 2)
            .map(str::to_lowercase)
            .collect()
    }
}

/// Alternates, so that a slow moment of the machine is as likely to fall on one as on the other.
fn compare(name: &str, repeats: usize, operations: usize, ours: impl Fn(), theirs: impl Fn()) {
    let time = |work: &dyn Fn()| {
        let started = Instant::now();
        for _ in 0..repeats {
            work();
        }
        started.elapsed().as_nanos() as f64 / (repeats * operations) as f64
    };
    time(&ours);
    time(&theirs);
    let rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|round| {
            if round % 2 == 0 {
                let mine = time(&ours);
                (mine, time(&theirs))
            } else {
                let other = time(&theirs);
                (time(&ours), other)
            }
        })
        .collect();
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (ours, theirs, ratio) = (
        median(|round| round.0),
        median(|round| round.1),
        median(|round| round.0 / round.1),
    );
    println!("{name:<44}{ours:>12.0}{theirs:>12.0}{ratio:>8.2}");
}

/// Numbers that are the same in each run (splitmix64).
struct Random(u64);

impl Random {
    /// 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
