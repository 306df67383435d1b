//! The word lists that similarity stands on. They are ours: everyday English, and the words of operating software.
//!
//! Each list is sorted, lower-case and free of duplicates, so that it can be read, searched and merged without surprises; tests
//! hold them to it. A word is in at most one list of each sort, and no stop word has a meaning.

use foldhash::fast::RandomState;
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::HashMap, sync::LazyLock};

/// A subject that words of a text can belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Category {
    /// What leads to what.
    Causation,
    /// How something is done.
    Process,
    /// What is like or unlike what.
    Comparison,
    /// When something is.
    Temporal,
    /// What something is made of.
    Structure,
}

impl Category {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [
        Self::Causation,
        Self::Process,
        Self::Comparison,
        Self::Temporal,
        Self::Structure,
    ];

    /// Its words.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Causation => CAUSATION,
            Self::Process => PROCESS,
            Self::Comparison => COMPARISON,
            Self::Temporal => TEMPORAL,
            Self::Structure => STRUCTURE,
        }
    }

    /// As a set of one, to be joined with others by `|`.
    pub fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What the lists know of a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    /// It is in most texts, whatever they are about.
    pub stop: bool,
    /// The subject it belongs to.
    pub category: Option<Category>,
    /// Which of [`SYNONYMS`] it is in.
    pub group: Option<u8>,
}

/// Looks a lower-case word up in all lists at once.
pub fn meaning(word: &str) -> Meaning {
    MEANINGS.get(word).copied().unwrap_or_default()
}

static MEANINGS: LazyLock<HashMap<&str, Meaning, RandomState>> = LazyLock::new(|| {
    let mut meanings: HashMap<&str, Meaning, RandomState> = HashMap::default();
    for word in STOP_WORDS {
        meanings.entry(word).or_default().stop = true;
    }
    for category in Category::ALL {
        for word in category.words() {
            meanings.entry(word).or_default().category = Some(category);
        }
    }
    for (group, words) in (0..).zip(SYNONYMS) {
        for word in *words {
            meanings.entry(word).or_default().group = Some(group);
        }
    }
    meanings
});

// A group's number is a byte.
const _: () = assert!(SYNONYMS.len() < 255);

/// Words that say nothing about what a text is about.
#[rustfmt::skip]
pub const STOP_WORDS: &[&str] = &[
    "a", "about", "again", "all", "also", "am", "an", "and", "any", "anyone", "anything", "are", "aren't", "as", "at", "be",
    "been", "being", "but", "by", "can", "can't", "cannot", "could", "couldn't", "did", "didn't", "do", "does", "doesn't",
    "doing", "don't", "done", "each", "either", "else", "even", "ever", "every", "everyone", "everything", "few", "for",
    "from", "get", "gets", "getting", "go", "goes", "going", "gone", "got", "had", "hadn't", "has", "hasn't", "have",
    "haven't", "having", "he", "her", "here", "hers", "herself", "hey", "him", "himself", "his", "how", "how's", "i", "i'd",
    "i'll", "i'm", "i've", "if", "in", "into", "is", "isn't", "it", "it's", "its", "itself", "just", "let", "let's", "lot",
    "made", "make", "makes", "many", "may", "me", "might", "mine", "more", "most", "much", "must", "my", "myself", "neither",
    "no", "nobody", "none", "nor", "not", "nothing", "of", "off", "oh", "ok", "okay", "on", "one", "ones", "only", "onto",
    "or", "other", "others", "our", "ours", "ourselves", "out", "over", "own", "per", "please", "put", "quite", "rather",
    "really", "said", "same", "say", "says", "see", "seen", "shall", "she", "should", "shouldn't", "so", "some", "somebody",
    "someone", "something", "still", "such", "sure", "take", "taken", "takes", "than", "that", "that's", "the", "their",
    "theirs", "them", "themselves", "there", "there's", "these", "they", "they're", "they've", "thing", "things", "this",
    "those", "though", "through", "to", "too", "took", "under", "up", "upon", "us", "use", "used", "uses", "using", "very",
    "via", "want", "was", "wasn't", "we", "we'll", "we're", "we've", "well", "went", "were", "weren't", "what", "what's",
    "whatever", "when", "where", "whether", "which", "whichever", "who", "who's", "whoever", "whom", "whose", "why", "will",
    "with", "within", "without", "won't", "would", "wouldn't", "yes", "yet", "you", "you'll", "you're", "you've", "your",
    "yours", "yourself", "yourselves",
];

/// What leads to what.
#[rustfmt::skip]
pub const CAUSATION: &[&str] = &[
    "because", "cause", "caused", "causes", "causing", "consequence", "consequences", "consequently", "contribute",
    "contributed", "contributes", "due", "effect", "effects", "enable", "enabled", "enables", "hence", "impact", "impacts",
    "induce", "induced", "induces", "influence", "influenced", "influences", "lead", "leading", "leads", "led", "outcome",
    "outcomes", "prevent", "prevented", "prevents", "produce", "produced", "produces", "reason", "reasons", "result",
    "resulted", "resulting", "results", "source", "sources", "therefore", "thus", "trigger", "triggered", "triggers", "yield",
    "yields",
];

/// How something is done.
#[rustfmt::skip]
pub const PROCESS: &[&str] = &[
    "action", "actions", "activity", "approach", "build", "building", "builds", "convert", "converted", "converts", "execute",
    "executed", "executes", "execution", "flow", "flows", "handle", "handled", "handles", "implement", "implementation",
    "implemented", "implements", "manage", "managed", "manages", "method", "methods", "operate", "operates", "operation",
    "operations", "perform", "performed", "performs", "pipeline", "pipelines", "procedure", "procedures", "process",
    "processed", "processes", "processing", "run", "running", "runs", "stage", "stages", "step", "steps", "task", "tasks",
    "technique", "techniques", "transform", "transformation", "transformed", "transforms", "workflow", "workflows",
];

/// What is like or unlike what.
#[rustfmt::skip]
pub const COMPARISON: &[&str] = &[
    "alike", "alternative", "alternatively", "analogous", "better", "between", "bigger", "common", "compare", "compared",
    "compares", "comparing", "comparison", "contrast", "contrasts", "differ", "difference", "differences", "different",
    "differently", "differs", "distinct", "equal", "equally", "equals", "exceed", "exceeds", "fewer", "greater", "higher",
    "identical", "instead", "larger", "less", "like", "likewise", "lower", "match", "matches", "opposite", "resemble",
    "resembles", "similar", "similarities", "similarity", "similarly", "slower", "smaller", "unlike", "versus", "whereas",
    "worse",
];

/// When something is.
#[rustfmt::skip]
pub const TEMPORAL: &[&str] = &[
    "after", "afterwards", "ago", "always", "before", "beginning", "current", "currently", "daily", "date", "dates", "day",
    "days", "during", "earlier", "early", "end", "ended", "ending", "eventually", "final", "finally", "frequently", "future",
    "hour", "hourly", "hours", "immediately", "initial", "initially", "instant", "late", "lately", "later", "latest",
    "meanwhile", "minute", "minutes", "moment", "month", "monthly", "months", "never", "next", "now", "often", "once", "past",
    "period", "periods", "present", "previous", "previously", "recent", "recently", "schedule", "scheduled", "second",
    "seconds", "simultaneously", "since", "sometimes", "soon", "start", "started", "starting", "subsequent", "subsequently",
    "then", "time", "times", "timing", "today", "tomorrow", "until", "week", "weekly", "weeks", "while", "year", "yearly",
    "years", "yesterday",
];

/// What something is made of.
#[rustfmt::skip]
pub const STRUCTURE: &[&str] = &[
    "architecture", "arrangement", "block", "blocks", "categories", "category", "class", "classes", "collection", "component",
    "components", "composed", "composition", "comprise", "comprises", "configuration", "consist", "consists", "contain",
    "contained", "contains", "element", "elements", "framework", "frameworks", "group", "groups", "hierarchy", "include",
    "included", "includes", "including", "layer", "layers", "layout", "level", "levels", "list", "lists", "model", "models",
    "module", "modules", "network", "networks", "organization", "organized", "part", "parts", "pattern", "patterns", "piece",
    "pieces", "schema", "schemas", "section", "sections", "segment", "segments", "set", "sets", "structural", "structure",
    "structured", "structures", "system", "systems", "table", "tables", "tree", "trees", "type", "types", "unit", "units",
];

/// Words that stand for each other: one group a line, ordered by their first words.
#[rustfmt::skip]
pub const SYNONYMS: &[&[&str]] = &[
    &["abort", "cancel", "withdraw"],
    &["absent", "lacking", "missing"],
    &["accumulate", "collect", "gather"],
    &["accurate", "correct", "exact", "precise"],
    &["acquire", "buy", "purchase"],
    &["add", "append", "insert"],
    &["affluent", "rich", "wealthy"],
    &["affordable", "cheap", "inexpensive"],
    &["aged", "ancient", "old"],
    &["agent", "assistant", "bot"],
    &["aid", "assist", "help", "support"],
    &["aim", "goal", "objective", "purpose", "target"],
    &["alike", "comparable", "similar"],
    &["allow", "approve", "authorize", "permit"],
    &["alter", "amend", "change", "modify", "update"],
    &["amount", "number", "quantity"],
    &["answer", "reply", "respond", "response"],
    &["approach", "method", "procedure", "technique", "way"],
    &["arise", "happen", "occur"],
    &["ask", "inquire", "question"],
    &["assess", "evaluate", "judge", "rate"],
    &["attach", "connect", "join", "link"],
    &["attempt", "try"],
    &["automobile", "car", "vehicle"],
    &["begin", "commence", "initiate", "launch", "start"],
    &["big", "enormous", "huge", "large", "massive"],
    &["blank", "empty", "vacant"],
    &["bound", "cap", "limit", "restrict"],
    &["bug", "defect", "error", "failure", "fault"],
    &["build", "construct", "create", "develop"],
    &["business", "company", "corporation", "enterprise", "firm"],
    &["calculate", "compute", "determine"],
    &["capital", "funds", "money"],
    &["category", "kind", "sort", "type"],
    &["cause", "motive", "reason"],
    &["cease", "halt", "stop"],
    &["check", "test", "validate", "verify"],
    &["choose", "pick", "select"],
    &["clear", "obvious", "plain"],
    &["clever", "intelligent", "smart"],
    &["client", "consumer", "customer"],
    &["clone", "copy", "duplicate", "replicate"],
    &["close", "shut"],
    &["complete", "conclude", "end", "finish", "terminate"],
    &["component", "element", "part", "piece", "segment"],
    &["compose", "write"],
    &["computer", "host", "machine", "server"],
    &["concept", "idea", "notion"],
    &["condition", "state", "status"],
    &["consequence", "effect", "outcome", "result"],
    &["convention", "protocol", "standard"],
    &["converse", "speak", "talk"],
    &["cost", "expense", "price"],
    &["critical", "crucial", "essential", "important", "significant", "vital"],
    &["danger", "hazard", "risk", "threat"],
    &["data", "information"],
    &["decline", "decrease", "drop", "lessen", "reduce", "shrink"],
    &["defend", "guard", "protect"],
    &["delete", "discard", "erase", "remove"],
    &["demand", "need", "require"],
    &["deny", "refuse", "reject"],
    &["dependable", "reliable", "trustworthy"],
    &["depict", "describe", "explain"],
    &["detect", "discover", "find", "locate"],
    &["difficult", "hard", "tough"],
    &["difficulty", "issue", "problem", "trouble"],
    &["dispatch", "send", "transmit"],
    &["display", "present", "show"],
    &["divide", "partition", "separate", "split"],
    &["document", "file", "record"],
    &["doubt", "uncertainty"],
    &["duty", "job", "task"],
    &["easy", "effortless", "simple"],
    &["employ", "utilize"],
    &["enhance", "enrich", "improve", "optimize"],
    &["estimate", "guess"],
    &["evidence", "proof"],
    &["examine", "inspect", "look", "view"],
    &["example", "instance", "sample"],
    &["excellent", "fine", "good", "great"],
    &["expand", "grow", "increase", "raise", "rise"],
    &["false", "incorrect", "mistaken", "wrong"],
    &["fast", "quick", "rapid", "speedy", "swift"],
    &["feeble", "fragile", "weak"],
    &["fetch", "obtain", "retrieve"],
    &["fix", "mend", "repair", "resolve"],
    &["fresh", "modern", "new", "novel"],
    &["function", "operate", "work"],
    &["gap", "hole"],
    &["glad", "happy", "joyful", "pleased"],
    &["guideline", "policy", "regulation", "rule"],
    &["home", "house", "residence"],
    &["human", "individual", "person"],
    &["hunt", "search", "seek"],
    &["instruct", "teach", "train"],
    &["instrument", "tool", "utility"],
    &["journal", "log"],
    &["keep", "maintain", "preserve", "retain"],
    &["know", "understand"],
    &["little", "minor", "small", "tiny"],
    &["location", "place", "position", "site"],
    &["memory", "storage"],
    &["pace", "speed", "velocity"],
    &["passage", "text"],
    &["pause", "wait"],
    &["powerful", "robust", "strong"],
    &["protected", "safe", "secure"],
    &["road", "route", "street"],
    &["sad", "sorrowful", "unhappy"],
    &["slow", "sluggish"],
    &["term", "word"],
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn sorted(words: &[&str]) -> bool {
        words.is_sorted_by(|a, b| a < b)
    }

    #[test]
    fn lists_are_sorted_lower_case_and_free_of_duplicates() {
        let categories = Category::ALL.map(Category::words);
        for list in [&[STOP_WORDS][..], &categories[..], SYNONYMS].concat() {
            assert!(sorted(list), "{list:?}");
            for word in list {
                let plain = word.bytes().all(|b| b.is_ascii_lowercase() || b == b'\'');
                assert!(plain && !word.is_empty(), "{word:?}");
            }
        }
        assert!(SYNONYMS.is_sorted_by(|a, b| a.first() < b.first()));
        assert!(SYNONYMS.iter().all(|group| group.len() > 1));
    }

    #[test]
    fn a_word_has_one_category_one_group_and_no_part_in_stop_words() {
        for lists in [&Category::ALL.map(Category::words)[..], SYNONYMS] {
            let all: Vec<&str> = lists.concat();
            let set: BTreeSet<&str> = all.iter().copied().collect();
            assert_eq!(set.len(), all.len(), "a word is in two lists of a sort");
            for word in set {
                assert!(STOP_WORDS.binary_search(&word).is_err(), "{word}");
                assert!(word.len() > 2, "{word} would be left out as too short");
            }
        }
    }

    #[test]
    fn one_look_up_finds_what_each_list_says() {
        assert_eq!(
            meaning("the"),
            Meaning {
                stop: true,
                ..Meaning::default()
            }
        );
        assert_eq!(meaning("because").category, Some(Category::Causation));
        let group = meaning("failure")
            .group
            .and_then(|group| SYNONYMS.get(usize::from(group)));
        assert_eq!(
            group,
            Some(&&["bug", "defect", "error", "failure", "fault"][..])
        );
        assert_eq!(meaning("zebra"), Meaning::default());
    }
}
