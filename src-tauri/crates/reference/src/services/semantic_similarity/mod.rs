//! How alike texts are, without a model: by the words they share, how often they use them, what those words are about, and
//! which of them stand for each other.
//!
//! For finding near-duplicates, matching questions with known ones, and checking how coherent a set of texts is. Everything is
//! worked out from the words ([`words`]) by textbook measures ([`measure`]) and static lists ([`lists`]), so the same texts give the
//! same number on every machine.

mod config;
pub mod lists;
pub mod measure;
#[cfg(test)]
mod tests;
pub mod words;

use crate::{
    service::{Host, Prompt, PromptArgument, Resource, Service},
    tool::{Context, Refusal, Tool},
};
use config::config;
use lists::{Category, SYNONYMS};
use measure::{Method, Scores, similarity, spread};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use words::{Vocabulary, common, fold, is_content, long_enough, words};

/// What all texts of one call may hold together, in bytes of UTF-8.
const MAX_TOTAL_BYTES: usize = 2_000_000;
/// How many texts are worked on between two reports of progress.
const BETWEEN_STEPS: usize = 64;

/// The server.
pub fn service(_host: &Host) -> Service {
    Service {
        name: "semantic_similarity",
        port: 8109,
        title: "Semantic similarity",
        description: "Compares English texts by their words: Jaccard, cosine, a semantic measure with subjects and synonyms, and a hybrid of \
                      the three. Results run from 0 (nothing in common) to 1 (the same words) and are the same every time.",
        tools: vec![
            Tool::new(
                "calculate_text_similarity",
                "Compare two texts",
                "Tells how alike two texts are, from 0 to 1. Use it to compare a pair closely: with `return_components` it also gives each \
                 measure by itself, and the words, subjects and synonyms that the texts have in common.",
                compare,
            )
            .alias("calculate_text_similarity_mcp"),
            Tool::with_context(
                "find_similar_texts",
                "Find similar texts",
                "Ranks candidate texts by how alike they are to a query, the most alike first. Use it to look a text up among many: it gives \
                 the best `top_k` with their places in the list, and how many reached the threshold.",
                find,
            )
            .alias("find_similar_texts_mcp")
            .long(),
            Tool::with_context(
                "calculate_group_similarity",
                "Measure a group of texts",
                "Compares every text of a group with every other and gives the average, least, greatest and spread of their similarities. Use \
                 it to see how coherent a set is; with `return_matrix` it also gives each pair.",
                group,
            )
            .alias("calculate_group_similarity_mcp")
            .long(),
            Tool::new(
                "preprocess_text",
                "Split a text into words",
                "Splits a text into the lower-case words that the measures work on, without stop words and short words. Use it to see what a \
                 comparison sees: it gives the words in order, the distinct ones, and counts.",
                preprocess,
            )
            .alias("preprocess_text_mcp"),
            Tool::new(
                "extract_semantic_features",
                "Find subjects and synonyms",
                "Finds the words of a text that speak of causation, process, comparison, time or structure, and those with known synonyms. Use \
                 it to tell what a text is about, or why two texts came out alike.",
                features,
            )
            .alias("extract_semantic_features_mcp"),
            Tool::new(
                "calculate_similarity",
                "Similarity of two texts",
                "Gives one number from 0 to 1 for how alike two texts are. Use it where only the number matters; `calculate_text_similarity` \
                 explains it.",
                |input: Pair| {
                    Ok(Number {
                        similarity: similarity(&input.text1, &input.text2, input.method),
                    })
                },
            ),
            Tool::new(
                "get_calculator_config",
                "Methods and word lists",
                "Tells which methods there are, what they weigh, and how many words each list holds. Use it to choose a method or to read a \
                 result.",
                |_: Nothing| Ok(config()),
            )
            .alias("mcp_similarity_calculator"),
        ],
        resources: vec![Resource {
            uri: "similarity://calculator/config",
            name: "config",
            description: "Methods, weights, limits and sizes of the word lists: what get_calculator_config gives.",
            // A struct of strings and numbers always has a JSON form.
            read: Box::new(|| serde_json::to_value(config()).unwrap_or_default()),
        }],
        beats: Vec::new(),
        prompts: vec![Prompt {
            name: "similarity_analysis",
            description: "Explains how alike two texts are, and why.",
            arguments: &[
                PromptArgument {
                    name: "text1",
                    description: "The one text.",
                    required: true,
                },
                PromptArgument {
                    name: "text2",
                    description: "The other text.",
                    required: true,
                },
                PromptArgument {
                    name: "purpose",
                    description: "What the comparison is for, as: finding duplicates.",
                    required: false,
                },
            ],
            render: analysis,
        }],
    }
}

fn analysis(arguments: &Map<String, Value>) -> String {
    let text = |name| {
        arguments
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let purpose = match text("purpose") {
        "" => String::new(),
        purpose => format!(" The comparison is for: {purpose}."),
    };
    format!(
        "Tell how alike these two texts are, and why.{purpose}\n\nText 1:\n{}\n\nText 2:\n{}\n\nCall calculate_text_similarity with \
         return_components. Then say in three or four sentences: what the number means, which measures agree, which words, subjects \
         and synonyms the texts share, and what they differ in that counting words cannot see.",
        text("text1"),
        text("text2"),
    )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pair {
    /// The one text.
    #[schemars(length(max = 20_000))]
    text1: String,
    /// The other text.
    #[schemars(length(max = 20_000))]
    text2: String,
    /// What to compare by. Default: hybrid.
    #[serde(default)]
    method: Method,
}

#[derive(Serialize, JsonSchema)]
struct Number {
    /// 0 (nothing in common) to 1 (the same words).
    #[schemars(range(min = 0, max = 1))]
    similarity: f64,
}

// Not a Pair with one more field: serde cannot both flatten and refuse what it does not know.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Comparison {
    /// The one text.
    #[schemars(length(max = 20_000))]
    text1: String,
    /// The other text.
    #[schemars(length(max = 20_000))]
    text2: String,
    /// What to compare by. Default: hybrid.
    #[serde(default)]
    method: Method,
    /// Whether to give each measure and what the texts have in common. Default: false.
    #[serde(default)]
    return_components: bool,
}

#[derive(Serialize, JsonSchema)]
struct Compared {
    /// 0 (nothing in common) to 1 (the same words).
    #[schemars(range(min = 0, max = 1))]
    similarity: f64,
    /// What it was compared by.
    method: Method,
    /// Each measure by itself, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    components: Option<Components>,
    /// What the texts have in common, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    common_concepts: Option<Common>,
}

#[derive(Serialize, JsonSchema)]
struct Components {
    /// Distinct words in both, out of those in either.
    jaccard: f64,
    /// Angle between the counts of words.
    cosine: f64,
    /// Shared words, subjects and synonyms.
    semantic: f64,
}

#[derive(Serialize, JsonSchema)]
struct Common {
    /// Words in both, in alphabetical order.
    words: Vec<String>,
    /// Subjects that both touch.
    categories: Vec<Category>,
    /// Words that stand for each other.
    synonyms: Vec<Synonyms>,
}

#[derive(Serialize, JsonSchema)]
struct Synonyms {
    /// A word of the first text.
    text1: String,
    /// Its synonym in the second.
    text2: String,
}

fn compare(input: Comparison) -> Result<Compared, Refusal> {
    let (text1, text2) = (fold(&input.text1), fold(&input.text2));
    let mut vocabulary = Vocabulary::default();
    let (a, b) = (vocabulary.profile(&text1), vocabulary.profile(&text2));
    let scores = Scores::of(&a, &b);
    let mut compared = Compared {
        similarity: scores.by(input.method),
        method: input.method,
        components: None,
        common_concepts: None,
    };
    if input.return_components {
        let (words, pairs) = common(&vocabulary, &a, &b);
        let both = a.categories & b.categories;
        compared.components = Some(Components {
            jaccard: scores.jaccard,
            cosine: scores.cosine,
            semantic: scores.semantic,
        });
        compared.common_concepts = Some(Common {
            words: words.into_iter().map(str::to_owned).collect(),
            categories: Category::ALL
                .into_iter()
                .filter(|category| both & category.bit() != 0)
                .collect(),
            synonyms: pairs
                .into_iter()
                .map(|(text1, text2)| Synonyms {
                    text1: text1.to_owned(),
                    text2: text2.to_owned(),
                })
                .collect(),
        });
    }
    Ok(compared)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Search {
    /// The text to look for.
    #[schemars(length(max = 50_000))]
    query: String,
    /// Where to look: up to 10,000 texts, 2,000,000 bytes together with the query.
    #[schemars(length(max = 10_000), inner(length(max = 50_000)))]
    candidates: Vec<String>,
    /// How many results to give at most. Default: 5.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 10_000))]
    top_k: u32,
    /// The least similarity that a result may have, 0 to 1. Default: 0, which keeps all.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    threshold: f64,
    /// What to compare by. Default: hybrid.
    #[serde(default)]
    method: Method,
}

fn five() -> u32 {
    5
}

#[derive(Serialize, JsonSchema)]
struct Found {
    /// The most alike first; equals in the order of the candidates.
    results: Vec<Match>,
    /// How many candidates reached the threshold, also those beyond `top_k`.
    above_threshold: usize,
    /// How many candidates were compared.
    candidates_processed: usize,
    /// What they were compared by.
    method: Method,
}

#[derive(Serialize, JsonSchema)]
struct Match {
    /// The candidate.
    text: String,
    /// Its place in the list of candidates, from 0.
    index: usize,
    /// 0 (nothing in common) to 1 (the same words).
    #[schemars(range(min = 0, max = 1))]
    similarity: f64,
}

fn find(context: &Context, input: Search) -> Result<Found, Refusal> {
    let candidates = &input.candidates;
    within_total("candidates", input.query.len(), candidates)?;
    let (query, folded) = (fold(&input.query), folded(candidates));
    let mut vocabulary = Vocabulary::default();
    let query = vocabulary.profile(&query);
    let mut ranked = Vec::new();
    for (index, text) in folded.iter().enumerate() {
        step(context, index, folded.len(), "comparing candidates")?;
        let similarity = Scores::of(&query, &vocabulary.profile(text)).by(input.method);
        if similarity >= input.threshold {
            ranked.push((index, similarity));
        }
    }
    let above_threshold = ranked.len();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.truncate(usize::try_from(input.top_k).unwrap_or(usize::MAX));
    Ok(Found {
        results: ranked
            .into_iter()
            .filter_map(|(index, similarity)| {
                Some(Match {
                    text: candidates.get(index)?.clone(),
                    index,
                    similarity,
                })
            })
            .collect(),
        above_threshold,
        candidates_processed: candidates.len(),
        method: input.method,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Group {
    /// The texts: up to 500, 2,000,000 bytes together.
    #[schemars(length(max = 500), inner(length(max = 50_000)))]
    texts: Vec<String>,
    /// Whether to give the similarity of each pair. Default: false.
    #[serde(default)]
    return_matrix: bool,
    /// What to compare by. Default: hybrid.
    #[serde(default)]
    method: Method,
}

#[derive(Serialize, JsonSchema)]
struct Coherence {
    /// Mean over all pairs.
    average_similarity: f64,
    /// Of the pair least alike.
    min_similarity: f64,
    /// Of the pair most alike.
    max_similarity: f64,
    /// Standard deviation over all pairs (of the population).
    std_similarity: f64,
    /// How many texts there are.
    text_count: usize,
    /// How many pairs were compared.
    pair_count: usize,
    /// What they were compared by.
    method: Method,
    /// Why there was nothing to compare, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// Similarity of text i and text j in row i, column j, if asked for. Symmetric, 1 on the diagonal.
    #[serde(skip_serializing_if = "Option::is_none")]
    matrix: Option<Vec<Vec<f64>>>,
}

fn group(context: &Context, input: Group) -> Result<Coherence, Refusal> {
    within_total("texts", 0, &input.texts)?;
    let folded = folded(&input.texts);
    let mut vocabulary = Vocabulary::default();
    let profiles: Vec<_> = folded.iter().map(|text| vocabulary.profile(text)).collect();
    let n = profiles.len();
    let mut pairs = Vec::with_capacity(n * n.saturating_sub(1) / 2);
    for (i, a) in profiles.iter().enumerate() {
        step(context, i, n, "comparing pairs")?;
        let others = profiles.iter().skip(i + 1);
        pairs.extend(others.map(|b| Scores::of(a, b).by(input.method)));
    }
    // What has no other to differ from agrees with itself: the original system's convention.
    let (mean, min, max, std) = spread(&pairs).map_or((1.0, 1.0, 1.0, 0.0), |spread| {
        (spread.mean, spread.min, spread.max, spread.std)
    });
    Ok(Coherence {
        average_similarity: mean,
        min_similarity: min,
        max_similarity: max,
        std_similarity: std,
        text_count: n,
        pair_count: pairs.len(),
        method: input.method,
        message: (n < 2).then(|| format!("{n} text(s) make no pair; 2 are needed to compare")),
        matrix: input.return_matrix.then(|| matrix(n, &pairs)),
    })
}

/// Pairs (0, 1), (0, 2), … (1, 2), … as a full square.
fn matrix(n: usize, pairs: &[f64]) -> Vec<Vec<f64>> {
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(n);
    let mut rest = pairs.iter();
    for i in 0..n {
        // Left of the diagonal stands what stood above it.
        let mut row: Vec<f64> = rows.iter().filter_map(|row| row.get(i).copied()).collect();
        row.push(1.0);
        row.extend(rest.by_ref().take(n - i - 1));
        rows.push(row);
    }
    rows
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Preprocess {
    /// The text.
    #[schemars(length(max = 20_000))]
    text: String,
    /// Whether to leave out words that are in most texts, as "the". Default: true.
    #[serde(default = "yes")]
    remove_stop_words: bool,
    /// Words of this many characters or fewer are left out (an ideograph never is). Default: 2, so that words have 3 or more;
    /// 0 keeps all.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 100))]
    min_word_length: u8,
}

fn yes() -> bool {
    true
}

fn two() -> u8 {
    2
}

#[derive(Serialize, JsonSchema)]
struct Preprocessed {
    /// The words that stay, lower-case, in the order of the text.
    words: Vec<String>,
    /// How many stay.
    word_count: usize,
    /// The distinct ones, in alphabetical order.
    unique_words: Vec<String>,
    /// How many distinct ones.
    unique_count: usize,
    /// How many words the text has.
    original_word_count: usize,
}

fn preprocess(input: Preprocess) -> Result<Preprocessed, Refusal> {
    let folded = fold(&input.text);
    let min = usize::from(input.min_word_length);
    let kept: Vec<&str> = words(&folded)
        .filter(|word| long_enough(word, min))
        .filter(|word| !(input.remove_stop_words && lists::meaning(word).stop))
        .collect();
    let unique: BTreeSet<&str> = kept.iter().copied().collect();
    Ok(Preprocessed {
        word_count: kept.len(),
        unique_count: unique.len(),
        original_word_count: words(&folded).count(),
        unique_words: unique.into_iter().map(str::to_owned).collect(),
        words: kept.into_iter().map(str::to_owned).collect(),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Extract {
    /// The text.
    #[schemars(length(max = 20_000))]
    text: String,
    /// Whether to look for subjects. Default: true.
    #[serde(default = "yes")]
    include_categories: bool,
    /// Whether to look for synonyms. Default: true.
    #[serde(default = "yes")]
    include_synonyms: bool,
}

#[derive(Serialize, JsonSchema)]
struct Features {
    /// The distinct words without stop words and short words, in alphabetical order.
    unique_words: Vec<String>,
    /// How many they are.
    unique_count: usize,
    /// Subjects that the text touches, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    categories: Option<Vec<CategoryHit>>,
    /// Words that have synonyms, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    synonyms: Option<Vec<SynonymHit>>,
}

#[derive(Serialize, JsonSchema)]
struct CategoryHit {
    /// The subject.
    category: Category,
    /// Words of the text that belong to it, in alphabetical order.
    words: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct SynonymHit {
    /// The word of the text.
    word: String,
    /// What stands for it, in alphabetical order.
    synonyms: Vec<&'static str>,
}

fn features(input: Extract) -> Result<Features, Refusal> {
    let folded = fold(&input.text);
    let unique: BTreeSet<&str> = words(&folded).filter(|word| is_content(word)).collect();
    let categories = || {
        let hit = |category| {
            let words: Vec<String> = unique
                .iter()
                .filter(|word| lists::meaning(word).category == Some(category))
                .map(|word| (*word).to_owned())
                .collect();
            (!words.is_empty()).then_some(CategoryHit { category, words })
        };
        Category::ALL.into_iter().filter_map(hit).collect()
    };
    let synonyms = || {
        let hit = |word: &&str| {
            let group = SYNONYMS.get(usize::from(lists::meaning(word).group?))?;
            Some(SynonymHit {
                word: (*word).to_owned(),
                synonyms: group
                    .iter()
                    .copied()
                    .filter(|other| other != word)
                    .collect(),
            })
        };
        unique.iter().filter_map(hit).collect()
    };
    Ok(Features {
        unique_count: unique.len(),
        categories: input.include_categories.then(categories),
        synonyms: input.include_synonyms.then(synonyms),
        unique_words: unique.iter().map(|word| (*word).to_owned()).collect(),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn folded(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| fold(text)).collect()
}

fn within_total(field: &str, other: usize, texts: &[String]) -> Result<(), Refusal> {
    let total = texts
        .iter()
        .fold(other, |sum, text| sum.saturating_add(text.len()));
    if total <= MAX_TOTAL_BYTES {
        return Ok(());
    }
    Err(Refusal::argument(
        field,
        format!(
            "texts of {total} bytes together are too much; at most {MAX_TOTAL_BYTES} are taken"
        ),
    ))
}

fn step(context: &Context, done: usize, of: usize, doing: &str) -> Result<(), Refusal> {
    if !done.is_multiple_of(BETWEEN_STEPS) {
        return Ok(());
    }
    let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
    context.step(number(done), number(of), doing)
}
