//! Text made uniform, and words looked up in tables.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// What stands where nothing is known.
pub(super) const UNKNOWN: &str = "Unknown";

/// Between the levels of a hierarchy written in one line.
pub(super) const ARROW: &str = " → ";

/// One spelling of a name: NFKC (Unicode Standard Annex 15), single spaces, Title Case.
pub(super) fn clean_name(text: &str) -> String {
    let name: String = title_case(&clean_code(text)).nfkc().collect();
    if is_placeholder(&name) {
        UNKNOWN.to_owned()
    } else {
        name
    }
}

/// One spelling of an identifier: NFKC and single spaces; its letters stay.
pub(super) fn clean_code(text: &str) -> String {
    let text: String = text.nfkc().collect();
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Upper case first letters, lower case the rest. Acronyms of up to four letters stay.
fn title_case(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars() {
        if is_between(c) {
            push_word(&mut titled, &word);
            word.clear();
            titled.push(c);
        } else {
            word.push(c);
        }
    }
    push_word(&mut titled, &word);
    titled
}

fn push_word(text: &mut String, word: &str) {
    let letters = word.chars().filter(|c| c.is_alphabetic());
    let is_acronym = letters.clone().count() <= 4 && letters.clone().all(char::is_uppercase);
    if is_acronym {
        text.push_str(word);
        return;
    }
    let mut letters = word.chars();
    if let Some(first) = letters.next() {
        // An upper case of several letters, as that of ß, has one capital: Ss.
        for (index, c) in first.to_uppercase().enumerate() {
            if index == 0 {
                text.push(c);
            } else {
                text.extend(c.to_lowercase());
            }
        }
    }
    text.extend(letters.flat_map(char::to_lowercase));
}

/// Ends a word. Apostrophes do not: Owner's.
fn is_between(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '–'
                | '—'
                | '/'
                | '&'
                | '('
                | ')'
                | '['
                | ']'
                | '.'
                | ','
                | ';'
                | ':'
                | '+'
                | '"'
                | '_'
                | '→'
        )
}

/// Ways to write that nothing is known. NA is none: it is Namibia.
fn is_placeholder(name: &str) -> bool {
    matches!(
        name.to_lowercase().as_str(),
        "" | "unknown" | "n/a" | "none" | "null" | "nil" | "tbd" | "-" | "?"
    )
}

/// A name by which to find: no accents, no punctuation, lower case, single spaces.
pub(super) fn fold(text: &str) -> String {
    let plain = text
        .nfkd()
        .filter(|c| !is_combining_mark(*c))
        .flat_map(char::to_lowercase);
    let mut folded = String::new();
    for c in plain {
        if c.is_alphanumeric() {
            folded.push(c);
        } else if c != '\'' && c != '’' && !folded.is_empty() && !folded.ends_with(' ') {
            folded.push(' ');
        }
    }
    folded.truncate(folded.trim_end().len());
    folded
}

/// What a table says of the longest of its phrases that occurs, as whole words, in a folded text; the first of equals.
pub(super) fn look_up<T: Copy>(table: &[(&str, T)], folded: &str) -> Option<T> {
    let text = format!(" {folded} ");
    let mut best: Option<(usize, T)> = None;
    for (phrases, meaning) in table {
        for phrase in phrases.split('|') {
            let is_better = best.is_none_or(|(length, _)| phrase.len() > length);
            if is_better && text.contains(&format!(" {phrase} ")) {
                best = Some((phrase.len(), *meaning));
            }
        }
    }
    best.map(|(_, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_have_one_spelling() {
        let check = |text: &str, expected: &str| assert_eq!(clean_name(text), expected, "{text:?}");
        check("  accounts\t RECEIVABLE ", "Accounts Receivable");
        check("IFRS provisions", "IFRS Provisions");
        check("BASEL rules", "Basel Rules");
        check("non-current assets", "Non-Current Assets");
        check("owner's equity", "Owner's Equity");
        check("ﬁxed assets", "Fixed Assets");
        check("ＣＡＳＨ", "CASH");
        check("são paulo", "São Paulo");
        check("property/plant & equipment", "Property/Plant & Equipment");
        check("N/A", UNKNOWN);
        check(" \u{a0} ", UNKNOWN);
        check("straße", "Straße");
        check("ßa", "Ssa");
    }

    #[test]
    fn the_longest_phrase_is_looked_up() {
        let table = [("revenue|income", 1), ("deferred revenue", 2), ("cash", 3)];
        assert_eq!(look_up(&table, "deferred revenue"), Some(2));
        assert_eq!(look_up(&table, "net income"), Some(1));
        assert_eq!(look_up(&table, "cashier"), None);
        assert_eq!(
            fold("  Côte d’Ivoire (West-Africa) "),
            "cote divoire west africa"
        );
    }

    proptest! {
        #[test]
        fn a_clean_name_stays(text in ".{0,40}") {
            let once = clean_name(&text);
            prop_assert_eq!(clean_name(&once), once);
        }
    }
}
