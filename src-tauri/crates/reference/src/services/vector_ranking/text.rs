//! Words of a text, and how alike two texts are by them.

use std::{borrow::Cow, collections::HashMap};

/// Words shorter than this many characters say little.
pub(super) const SHORTEST: usize = 3;

/// What stands between spaces, punctuation trimmed at both ends; neither lower-cased nor sifted yet.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
}

/// A word in lower case, if it is long enough to count.
pub(super) fn token(word: &str) -> Option<Cow<'_, str>> {
    if word.is_ascii() {
        if word.len() < SHORTEST {
            return None;
        }
        return Some(if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(word.to_ascii_lowercase())
        } else {
            Cow::Borrowed(word)
        });
    }
    let lower = word.to_lowercase();
    (lower.chars().count() >= SHORTEST).then_some(Cow::Owned(lower))
}

/// Lower case, punctuation trimmed, of three characters or more.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    words(text).filter_map(token)
}

/// Gives each distinct word a number, so that sets of words are sets of numbers.
#[derive(Default)]
pub(super) struct Vocabulary(HashMap<String, u32>);

impl Vocabulary {
    /// The words of a text, as ascending numbers, each once.
    pub(super) fn set(&mut self, text: &str) -> Vec<u32> {
        let mut set: Vec<u32> = tokens(text).map(|token| self.number(&token)).collect();
        set.sort_unstable();
        set.dedup();
        set
    }

    fn number(&mut self, token: &str) -> u32 {
        if let Some(number) = self.0.get(token) {
            return *number;
        }
        let number = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.insert(token.to_owned(), number);
        number
    }
}

/// Whether the Jaccard index of two ascending sets is above `limit`. Sets without words are like nothing: what they would hold is
/// not known.
pub(super) fn alike(a: &[u32], b: &[u32], limit: f64) -> bool {
    let (fewer, more) = (a.len().min(b.len()), a.len().max(b.len()));
    // The index is at most the ratio of sizes: most pairs need no look inside.
    if fewer == 0 || fewer as f64 <= limit * more as f64 {
        return false;
    }
    let both = shared(a, b);
    both as f64 > limit * (a.len() + b.len() - both) as f64
}

/// How many numbers two ascending sets have in common.
fn shared(mut a: &[u32], mut b: &[u32]) -> usize {
    let mut both = 0;
    while let ([x, a_rest @ ..], [y, b_rest @ ..]) = (a, b) {
        both += usize::from(x == y);
        if x <= y {
            a = a_rest;
        }
        if y <= x {
            b = b_rest;
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn tokens_are_lower_case_trimmed_and_of_three_characters_or_more() {
        let check =
            |text: &str, expected: &[&str]| assert_eq!(tokens(text).collect::<Vec<_>>(), expected);
        check(
            "The \"Quick\", (brown) fox!",
            &["the", "quick", "brown", "fox"],
        );
        check(
            "it is an ox -- a1b ... x-ray don't",
            &["a1b", "x-ray", "don't"],
        );
        check(
            "ÄRZTE «été» où ΟΔΟΣ 日本語 日本",
            &["ärzte", "été", "οδος", "日本語"],
        );
        check(" \t\n ", &[]);
    }

    proptest! {
        /// BTreeSet is the independent word.
        #[test]
        fn shared_is_what_sets_say(a in prop::collection::btree_set(0_u32..40, 0..30), b in prop::collection::btree_set(0_u32..40, 0..30)) {
            let list = |set: &BTreeSet<u32>| set.iter().copied().collect::<Vec<_>>();
            let both = a.intersection(&b).count();
            let either = a.union(&b).count();
            prop_assert_eq!(shared(&list(&a), &list(&b)), both);
            prop_assert_eq!(alike(&list(&a), &list(&b), 0.7), !a.is_empty() && !b.is_empty() && both * 10 > either * 7);
            prop_assert_eq!(alike(&list(&a), &list(&b), 0.7), alike(&list(&b), &list(&a), 0.7));
        }

        #[test]
        fn tokens_of_tokens_are_the_same(text in "[ a-zA-Z0-9,.'äÖß-]{0,60}") {
            let once: Vec<String> = tokens(&text).map(Cow::into_owned).collect();
            let again: Vec<String> = tokens(&once.join(" ")).map(Cow::into_owned).collect();
            prop_assert_eq!(once, again);
        }
    }
}
