//! PageRank (Brin, Page, *The Anatomy of a Large-Scale Hypertextual Web Search Engine*, 1998), by power iteration.
//!
//! A document that links to nothing would swallow what it gets. Its share goes to all documents alike, as if it linked to every
//! one (Langville, Meyer, *Google's PageRank and Beyond*, 2006, §4.3), so scores always add up to 1.

use std::collections::HashMap;

/// Done when scores together move by less than this.
pub(super) const TOLERANCE: f64 = 1e-6;

/// How far a reader follows links before starting anew, as a probability.
pub(super) const DAMPING: f64 = 0.85;

/// How often scores are passed on at most.
pub(super) const ITERATIONS: u32 = 30;

/// Who links to whom, by place.
pub(super) struct Links {
    /// Of each document, those that link to it, ascending.
    incoming: Vec<Vec<usize>>,
    /// Of each document, how many it links to.
    outgoing: Vec<u32>,
    /// How many links there are, each pair once.
    pub(super) count: usize,
    /// How many links lead out of the documents given.
    pub(super) foreign: usize,
}

impl Links {
    /// From each document's links by id. What is linked to twice counts once; a link to itself is no vote.
    pub(super) fn of<'a, L>(
        places: &HashMap<&str, usize>,
        documents: impl IntoIterator<Item = L>,
    ) -> Self
    where
        L: IntoIterator<Item = &'a String>,
    {
        let mut links = Self {
            incoming: vec![Vec::new(); places.len()],
            outgoing: vec![0; places.len()],
            count: 0,
            foreign: 0,
        };
        for (source, ids) in documents.into_iter().enumerate() {
            let mut targets = Vec::new();
            for id in ids {
                match places.get(id.as_str()) {
                    Some(target) if *target != source => targets.push(*target),
                    Some(_) => {}
                    None => links.foreign += 1,
                }
            }
            targets.sort_unstable();
            targets.dedup();
            links.count += targets.len();
            if let Some(outgoing) = links.outgoing.get_mut(source) {
                *outgoing = u32::try_from(targets.len()).unwrap_or(u32::MAX);
            }
            for target in targets {
                if let Some(incoming) = links.incoming.get_mut(target) {
                    incoming.push(source);
                }
            }
        }
        links
    }

    /// Share of all possible links that there are, 0 to 1.
    pub(super) fn density(&self) -> f64 {
        let count = self.outgoing.len() as f64;
        let possible = count * (count - 1.0);
        if possible > 0.0 {
            self.count as f64 / possible
        } else {
            0.0
        }
    }
}

/// What the iteration came to.
pub(super) struct PageRank {
    /// One per document; they add up to 1.
    pub(super) scores: Vec<f64>,
    pub(super) iterations_run: u32,
    /// Whether the last iteration moved less than [`TOLERANCE`].
    pub(super) converged: bool,
}

impl PageRank {
    /// `step` is told before each iteration how many are done, and may end it.
    pub(super) fn of<E>(
        links: &Links,
        damping: f64,
        iterations: u32,
        mut step: impl FnMut(u32) -> Result<(), E>,
    ) -> Result<Self, E> {
        let count = links.outgoing.len().max(1) as f64;
        let mut rank = Self {
            scores: vec![1.0 / count; links.outgoing.len()],
            iterations_run: 0,
            converged: false,
        };
        while rank.iterations_run < iterations && !rank.converged {
            step(rank.iterations_run)?;
            let next = passed_on(links, damping, &rank.scores);
            let moved: f64 = next
                .iter()
                .zip(&rank.scores)
                .map(|(new, old)| (new - old).abs())
                .sum();
            rank.scores = next;
            rank.iterations_run += 1;
            rank.converged = moved < TOLERANCE;
        }
        // Rounding alone can have moved the sum.
        let sum: f64 = rank.scores.iter().sum();
        if sum > 0.0 {
            rank.scores.iter_mut().for_each(|score| *score /= sum);
        }
        Ok(rank)
    }
}

/// One iteration.
fn passed_on(links: &Links, damping: f64, scores: &[f64]) -> Vec<f64> {
    let count = scores.len().max(1) as f64;
    let mut dangling = 0.0;
    let shares: Vec<f64> = scores
        .iter()
        .zip(&links.outgoing)
        .map(|(score, outgoing)| {
            if *outgoing == 0 {
                dangling += score;
                0.0
            } else {
                score / f64::from(*outgoing)
            }
        })
        .collect();
    let everyone = (1.0 - damping + damping * dangling) / count;
    links
        .incoming
        .iter()
        .map(|sources| {
            let given: f64 = sources
                .iter()
                .filter_map(|source| shares.get(*source))
                .sum();
            everyone + damping * given
        })
        .collect()
}

/// The tool.
pub(super) mod tool {
    use super::{DAMPING, ITERATIONS, Links, PageRank};
    use crate::{
        services::vector_ranking::{best_first, places},
        tool::{Context, Refusal},
    };
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    /// How many links the documents of one call may have together.
    pub(in super::super) const MOST_LINKS: usize = 500_000;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in super::super) struct Input {
        /// 1 to 10000 documents, 500000 links together.
        #[schemars(length(min = 1, max = 10_000))]
        documents: Vec<Linked>,
        /// How likely a reader is to follow a link rather than to start anew, 0 to 0.99.
        #[serde(default = "damping")]
        #[schemars(range(min = 0, max = 0.99))]
        damping: f64,
        /// How often scores are passed on at most, 1 to 1000; it ends sooner when they no longer move.
        #[serde(default = "iterations")]
        #[schemars(range(min = 1, max = 1_000))]
        iterations: u32,
        /// Which lists of a document count as links. Without it, all three.
        #[serde(default)]
        #[schemars(length(min = 1, max = 3))]
        relationship_types: Option<Vec<Relationship>>,
    }

    fn damping() -> f64 {
        DAMPING
    }

    fn iterations() -> u32 {
        ITERATIONS
    }

    #[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Relationship {
        Links,
        References,
        RelatedDocuments,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(non_snake_case, reason = "named so by the original system")]
    struct Linked {
        /// Your name for it, by which others link to it: 1 to 256 characters, each its own.
        #[schemars(length(min = 1, max = 256))]
        docId: String,
        /// docIds that it links to, up to 1000. Links to itself or out of the set do not count.
        #[serde(default)]
        #[schemars(length(max = 1_000), inner(length(max = 256)))]
        links: Vec<String>,
        /// docIds that it cites, up to 1000.
        #[serde(default)]
        #[schemars(length(max = 1_000), inner(length(max = 256)))]
        references: Vec<String>,
        /// docIds that it is related to, up to 1000.
        #[serde(default)]
        #[schemars(length(max = 1_000), inner(length(max = 256)))]
        related_documents: Vec<String>,
    }

    #[derive(Serialize, JsonSchema)]
    pub(in super::super) struct Output {
        /// Every document, best first; those alike in the order they came in. Scores add up to 1.
        scores: Vec<Score>,
        /// How often scores were passed on.
        iterations_run: u32,
        /// Whether they had stopped moving: together by less than 0.000001 in the last iteration.
        converged: bool,
        /// Share of all possible links between the documents that there are, 0 to 1.
        link_density: f64,
        /// How many links between different documents there are, each pair and direction once.
        total_links: usize,
        /// How many links lead to docIds that are not among the documents.
        unknown_links: usize,
        /// How many documents link to none of the others. Their score is shared out to all.
        dangling_documents: usize,
    }

    #[derive(Serialize, JsonSchema)]
    #[expect(non_snake_case, reason = "named so by the original system")]
    struct Score {
        /// The document's name.
        docId: String,
        /// Its place among the documents, from 0.
        index: usize,
        /// Its part of 1.
        score: f64,
        /// How many documents link to it.
        incoming: usize,
        /// How many it links to.
        outgoing: u32,
    }

    pub(in super::super) fn scores(context: &Context, input: Input) -> Result<Output, Refusal> {
        let counts = |kind| {
            input
                .relationship_types
                .as_ref()
                .is_none_or(|kinds| kinds.contains(&kind))
        };
        let lists = input.documents.iter().map(|document| {
            [
                (Relationship::Links, &document.links),
                (Relationship::References, &document.references),
                (Relationship::RelatedDocuments, &document.related_documents),
            ]
            .into_iter()
            .filter(|(kind, _)| counts(*kind))
            .flat_map(|(_, ids)| ids)
        });
        check_links("documents", lists.clone().flatten().count())?;
        let places = places(
            "documents",
            input
                .documents
                .iter()
                .map(|document| document.docId.as_str()),
        )?;
        let links = Links::of(&places, lists);
        let rank = PageRank::of(&links, input.damping, input.iterations, |done| {
            context.step(done, input.iterations, "passing scores on")
        })?;
        let rows = best_first(&rank.scores).into_iter().filter_map(|index| {
            Some(Score {
                docId: input.documents.get(index)?.docId.clone(),
                index,
                score: *rank.scores.get(index)?,
                incoming: links.incoming.get(index)?.len(),
                outgoing: *links.outgoing.get(index)?,
            })
        });
        Ok(Output {
            scores: rows.collect(),
            iterations_run: rank.iterations_run,
            converged: rank.converged,
            link_density: links.density(),
            total_links: links.count,
            unknown_links: links.foreign,
            dangling_documents: links.outgoing.iter().filter(|count| **count == 0).count(),
        })
    }

    pub(in super::super) fn check_links(field: &str, count: usize) -> Result<(), Refusal> {
        if count > MOST_LINKS {
            return Err(Refusal::argument(
                field,
                format!("have {count} links together; at most {MOST_LINKS} are taken"),
            ));
        }
        Ok(())
    }
}
