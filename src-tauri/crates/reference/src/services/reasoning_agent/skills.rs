//! The three skills that the agent talks to. Each is a small server of its own, inside this process.

use super::{
    decomposition::{Strategy, SubQuestion, decompose},
    patterns::{self, Focus, Pattern},
    question::{Question, key_terms, session_key},
    recent::Recent,
    synthesis::{self, Component},
};
use crate::{
    service::{Resource, Service},
    tool::{Hints, Tool},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// The decompositions made lately.
pub(super) const ANALYSES: &str = "decomposition://recent-analyses";
/// The patterns found lately.
pub(super) const PATTERNS: &str = "patterns://detected-patterns";
/// What was collected for answers.
pub(super) const COLLECTED: &str = "synthesis://collected-data";

/// A skill of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Skill {
    QuestionDecomposition,
    PatternAnalysis,
    AnswerSynthesis,
}

impl Skill {
    pub(super) const ALL: [Self; 3] = [
        Self::QuestionDecomposition,
        Self::PatternAnalysis,
        Self::AnswerSynthesis,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::QuestionDecomposition => "question_decomposition",
            Self::PatternAnalysis => "pattern_analysis",
            Self::AnswerSynthesis => "answer_synthesis",
        }
    }

    /// The skill as a server.
    pub(super) fn service(self, memory: &Arc<Memory>) -> Service {
        let (title, description, tools, resource) = match self {
            Self::QuestionDecomposition => (
                "Question decomposition",
                "Takes questions apart.",
                vec![decompose_question(memory.clone())],
                analyses(memory.clone()),
            ),
            Self::PatternAnalysis => (
                "Pattern analysis",
                "Tells what kind of thinking a question asks for.",
                vec![analyze_patterns(memory.clone())],
                detected(memory.clone()),
            ),
            Self::AnswerSynthesis => (
                "Answer synthesis",
                "Puts what was found together into an answer.",
                vec![
                    synthesize_answer(memory.clone()),
                    receive_pattern_data(memory.clone()),
                ],
                collected(memory.clone()),
            ),
        };
        Service {
            name: self.name(),
            // It listens nowhere.
            port: 0,
            title,
            description,
            tools,
            resources: vec![resource],
            prompts: Vec::new(),
            beats: Vec::new(),
        }
    }
}

/// What the skills remember: 50 questions each.
pub(super) struct Memory {
    analyses: Recent<Decomposition>,
    detected: Recent<Detection>,
    collected: Recent<Collected>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            analyses: Recent::new(50),
            detected: Recent::new(50),
            collected: Recent::new(50),
        }
    }
}

/// The decompositions made lately, to read.
pub(super) fn analyses(memory: Arc<Memory>) -> Resource {
    Resource {
        uri: ANALYSES,
        name: "recent-analyses",
        description: "The last 50 questions that were taken apart, oldest first, with their parts.",
        read: Box::new(move || json!({"analyses": memory.analyses.all()})),
    }
}

/// The patterns found lately, to read.
pub(super) fn detected(memory: Arc<Memory>) -> Resource {
    Resource {
        uri: PATTERNS,
        name: "detected-patterns",
        description: "The last 50 questions whose patterns were looked for, oldest first, with what was found.",
        read: Box::new(move || json!({"detections": memory.detected.all()})),
    }
}

/// What was collected for answers, to read.
pub(super) fn collected(memory: Arc<Memory>) -> Resource {
    Resource {
        uri: COLLECTED,
        name: "collected-data",
        description: "Pattern data waiting for answers: of 50 questions at most, one entry each, oldest first.",
        read: Box::new(move || json!({"collected": memory.collected.all()})),
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToDecompose {
    /// The question, 1 to 4,000 characters.
    question: Question,
    /// At most so many parts, 1 to 20; 5 when left out.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 20))]
    max_sub_questions: usize,
    /// How: structure (its sentences, clauses and comparisons), aspects (terms, facts, causes, steps, doubts) or auto
    /// (structure where that finds several parts, else aspects; the default).
    #[serde(default)]
    strategy: Strategy,
}

fn five() -> usize {
    5
}

/// A question taken apart.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
pub(super) struct Decomposition {
    /// Names the question: equal questions have equal keys, in every run.
    pub(super) session_key: String,
    /// The question.
    question: String,
    /// How it was taken apart, as asked.
    strategy: Strategy,
    /// What it is about: up to ten words.
    key_terms: Vec<String>,
    /// Its parts, in order.
    pub(super) sub_questions: Vec<SubQuestion>,
}

fn decompose_question(memory: Arc<Memory>) -> Tool {
    Tool::new(
        "decompose_question",
        "Decompose a question",
        "Takes a question apart into numbered sub-questions, by its structure or by aspects.",
        move |input: ToDecompose| {
            let question = input.question.text();
            let decomposition = Decomposition {
                session_key: session_key(question),
                strategy: input.strategy,
                key_terms: key_terms(question),
                sub_questions: decompose(question, input.max_sub_questions, input.strategy),
                question: question.to_owned(),
            };
            memory.analyses.push(decomposition.clone());
            Ok(decomposition)
        },
    )
    .hints(Hints::ADDS)
}

/// What `analyze_patterns` takes, as the skill's tool and as the agent's.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToAnalyze {
    /// The question, 1 to 4,000 characters.
    question: Question,
    /// Where to look: structural (how, why), semantic (words for causes and systems); both when left out.
    #[serde(default = "everywhere")]
    #[schemars(length(min = 1, max = 2))]
    focus_areas: Vec<Focus>,
    /// Patterns less sure than this are left out, 0 to 1; 0.7 when left out.
    #[serde(default = "sure_enough")]
    #[schemars(range(min = 0, max = 1))]
    confidence_threshold: f64,
}

fn everywhere() -> Vec<Focus> {
    vec![Focus::Structural, Focus::Semantic]
}

fn sure_enough() -> f64 {
    0.7
}

/// The patterns of a question.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
pub(super) struct Detection {
    /// Names the question: equal questions have equal keys, in every run.
    session_key: String,
    /// The question.
    question: String,
    /// Where was looked.
    focus_areas: Vec<Focus>,
    /// Nothing less sure than this was kept.
    confidence_threshold: f64,
    /// What was found, surest first.
    pub(super) patterns: Vec<Pattern>,
}

fn analyze_patterns(memory: Arc<Memory>) -> Tool {
    Tool::new(
        "analyze_patterns",
        "Analyze patterns",
        "Tells which kinds of thinking a question asks for: procedural, causal, systems thinking.",
        move |input: ToAnalyze| {
            let question = input.question.text();
            let threshold = input.confidence_threshold;
            let detection = Detection {
                session_key: session_key(question),
                patterns: patterns::find(question, &input.focus_areas, threshold),
                question: question.to_owned(),
                focus_areas: input.focus_areas,
                confidence_threshold: threshold,
            };
            memory.detected.push(detection.clone());
            Ok(detection)
        },
    )
    .hints(Hints::ADDS)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PatternData {
    /// The question that the patterns belong to, 1 to 4,000 characters.
    question: Question,
    /// Its patterns, up to 20. They take the place of what was there for the question.
    #[schemars(length(max = 20))]
    patterns: Vec<Pattern>,
}

#[derive(Clone, Serialize)]
struct Collected {
    session_key: String,
    question: String,
    patterns: Vec<Pattern>,
}

#[derive(Serialize, JsonSchema)]
struct Received {
    /// The key they are kept under.
    session_key: String,
    /// How many patterns were taken.
    patterns_received: usize,
    /// Whether there were some for this question already, gone now.
    replaced: bool,
}

fn receive_pattern_data(memory: Arc<Memory>) -> Tool {
    Tool::new(
        "receive_pattern_data",
        "Receive pattern data",
        "Keeps the patterns of a question, for the answer that synthesize_answer gives to it later.",
        move |input: PatternData| {
            let question = input.question.text();
            let key = session_key(question);
            let patterns_received = input.patterns.len();
            let collected = Collected {
                session_key: key.clone(),
                question: question.to_owned(),
                patterns: input.patterns,
            };
            let replaced = memory
                .collected
                .replace(|old| old.session_key == key, collected);
            Ok(Received {
                session_key: key,
                patterns_received,
                replaced,
            })
        },
    )
    .hints(Hints::DESTRUCTIVE)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToSynthesize {
    /// The question to answer, 1 to 4,000 characters.
    question: Question,
    /// What was found so far, up to 50 components; none when left out.
    #[serde(default)]
    #[schemars(length(max = 50))]
    components: Vec<Component>,
}

/// An answer.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
pub(super) struct Answer {
    /// Names the question: equal questions have equal keys, in every run.
    pub(super) session_key: String,
    /// The answer, line by line.
    pub(super) answer: String,
    /// 0.8 + 0.1 for each component, at most 1; 0.5 when it rests on none.
    pub(super) confidence: f64,
    /// How many components it rests on; the question's pattern data counts as one.
    pub(super) components_used: usize,
}

fn synthesize_answer(memory: Arc<Memory>) -> Tool {
    Tool::new(
        "synthesize_answer",
        "Synthesize an answer",
        "Puts components and the question's collected pattern data together into one answer with a confidence.",
        move |input: ToSynthesize| {
            let question = input.question.text();
            let key = session_key(question);
            let patterns = memory
                .collected
                .find(|collected| collected.session_key == key)
                .map_or_else(Vec::new, |collected| collected.patterns);
            let components_used = input.components.len() + usize::from(!patterns.is_empty());
            Ok(Answer {
                session_key: key,
                answer: synthesis::answer(question, &input.components, &patterns),
                confidence: synthesis::confidence(components_used),
                components_used,
            })
        },
    )
}
