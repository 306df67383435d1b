//! Texts as words, and words as numbers.
//!
//! A text is folded once, split once, and its words become numbers of a [`Vocabulary`] that all texts of a call share. Comparing two
//! texts is then a walk along two sorted lists of numbers, however often a text takes part.

use super::lists::{self, Category, Meaning, SYNONYMS};
use foldhash::fast::RandomState;
use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};
use unicode_segmentation::UnicodeSegmentation;

/// Words of this many characters or fewer say too little to compare texts by. The original system's convention.
pub const MIN_WORD_LENGTH: usize = 2;

/// The form in which words are compared: compatibility-composed (NFKC, Unicode Standard Annex #15), lower-case, and with one
/// kind of apostrophe.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Most texts are composed already, and finding that out costs less than composing them.
    let composed = match is_nfkc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        _ => Cow::Owned(text.nfkc().collect::<String>()),
    };
    composed.to_lowercase().replace('’', "'")
}

/// The words of a folded text in their order, as Unicode Standard Annex #29 bounds them.
pub fn words(folded: &str) -> impl Iterator<Item = &str> {
    folded.unicode_words()
}

/// Whether a word has more than `min` characters. An ideograph is a word by itself, so it always counts as long enough.
pub fn long_enough(word: &str, min: usize) -> bool {
    word.chars().nth(min).is_some() || word.starts_with(is_ideograph)
}

fn is_ideograph(char: char) -> bool {
    matches!(char, '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// Whether a folded word tells what a text is about: long enough, and no stop word.
pub fn is_content(word: &str) -> bool {
    long_enough(word, MIN_WORD_LENGTH) && !lists::meaning(word).stop
}

/// The words of all texts of a call, numbered in the order they were met.
#[derive(Default)]
pub struct Vocabulary<'a> {
    numbers: HashMap<&'a str, u32, RandomState>,
    known: Vec<Known<'a>>,
}

#[derive(Clone, Copy)]
struct Known<'a> {
    word: &'a str,
    content: bool,
    meaning: Meaning,
}

/// One word of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Its number in the vocabulary.
    pub number: u32,
    /// How often the text has it.
    pub count: u32,
    /// Which group of synonyms it is in.
    pub group: Option<u8>,
}

/// What comparing needs to know of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Its distinct words, by number.
    pub terms: Vec<Term>,
    /// Sum of the squares of the counts.
    pub squares: f64,
    /// The subjects its words belong to, a bit each ([`Category::bit`]).
    pub categories: u8,
}

impl<'a> Vocabulary<'a> {
    /// Takes in a folded text. A text of nothing but stop words and short words is known by those: it has no others.
    pub fn profile(&mut self, folded: &'a str) -> Profile {
        // English has some six bytes a word, the space included.
        let room = folded.len() / 6 + 1;
        if self.known.is_empty() {
            // Later texts bring fewer new words; they grow it as they need.
            self.known.reserve(room);
            self.numbers.reserve(room);
        }
        let mut numbers = Vec::with_capacity(room);
        let mut has_content = false;
        for word in words(folded) {
            let number = self.number(word);
            has_content |= self.known(number).is_some_and(|known| known.content);
            numbers.push(number);
        }
        if has_content {
            numbers.retain(|number| self.known(*number).is_some_and(|known| known.content));
        }
        numbers.sort_unstable();

        let mut profile = Profile::default();
        for same in numbers.chunk_by(|a, b| a == b) {
            let Some((&number, known)) = same
                .first()
                .and_then(|number| Some((number, self.known(*number)?)))
            else {
                continue;
            };
            let count = u32::try_from(same.len()).unwrap_or(u32::MAX);
            profile.squares += f64::from(count) * f64::from(count);
            profile.categories |= known.meaning.category.map_or(0, Category::bit);
            profile.terms.push(Term {
                number,
                count,
                group: known.meaning.group,
            });
        }
        profile
    }

    /// The word of this number.
    pub fn word(&self, number: u32) -> &'a str {
        self.known(number).map_or("", |known| known.word)
    }

    fn known(&self, number: u32) -> Option<&Known<'a>> {
        self.known.get(usize::try_from(number).ok()?)
    }

    fn number(&mut self, word: &'a str) -> u32 {
        // Limits on the size of texts keep it far from the end of u32.
        let next = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        match self.numbers.entry(word) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let meaning = lists::meaning(word);
                self.known.push(Known {
                    word,
                    content: long_enough(word, MIN_WORD_LENGTH) && !meaning.stop,
                    meaning,
                });
                *entry.insert(next)
            }
        }
    }
}

/// What two texts have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overlap {
    /// Words that both have.
    pub shared: u32,
    /// Sum of the products of their counts.
    pub dot: f64,
    /// Subjects that both touch.
    pub categories: u32,
    /// Pairs of synonyms, one word only in the first text, the other only in the second. A word is in one pair at most, so
    /// that a text cannot gain by listing synonyms.
    pub synonym_pairs: u32,
}

/// Walks along both texts once.
pub fn overlap(a: &Profile, b: &Profile) -> Overlap {
    let mut overlap = Overlap {
        categories: (a.categories & b.categories).count_ones(),
        ..Overlap::default()
    };
    let mut only_a = [0_u32; SYNONYMS.len()];
    let mut only_b = [0_u32; SYNONYMS.len()];
    walk(a, b, |step| match step {
        Step::Both(x, y) => {
            overlap.shared += 1;
            overlap.dot += f64::from(x.count) * f64::from(y.count);
        }
        Step::First(term) => tally(&mut only_a, term),
        Step::Second(term) => tally(&mut only_b, term),
    });
    overlap.synonym_pairs = only_a.iter().zip(&only_b).map(|(x, y)| x.min(y)).sum();
    overlap
}

fn tally(groups: &mut [u32], term: &Term) {
    if let Some(count) = term
        .group
        .and_then(|group| groups.get_mut(usize::from(group)))
    {
        *count += 1;
    }
}

/// Words that two texts share, and the pairs of synonyms that [`Overlap::synonym_pairs`] counts, both in alphabetical order.
pub fn common<'a>(
    vocabulary: &Vocabulary<'a>,
    a: &Profile,
    b: &Profile,
) -> (Vec<&'a str>, Vec<(&'a str, &'a str)>) {
    let mut shared = Vec::new();
    let mut only_a = vec![Vec::new(); SYNONYMS.len()];
    let mut only_b = only_a.clone();
    let keep = |groups: &mut [Vec<&'a str>], term: &Term| {
        if let Some(words) = term
            .group
            .and_then(|group| groups.get_mut(usize::from(group)))
        {
            words.push(vocabulary.word(term.number));
        }
    };
    walk(a, b, |step| match step {
        Step::Both(term, _) => shared.push(vocabulary.word(term.number)),
        Step::First(term) => keep(&mut only_a, term),
        Step::Second(term) => keep(&mut only_b, term),
    });
    shared.sort_unstable();
    let mut pairs = Vec::new();
    for (mut x, mut y) in only_a.into_iter().zip(only_b) {
        x.sort_unstable();
        y.sort_unstable();
        pairs.extend(x.into_iter().zip(y));
    }
    pairs.sort_unstable();
    (shared, pairs)
}

enum Step<'t> {
    Both(&'t Term, &'t Term),
    First(&'t Term),
    Second(&'t Term),
}

fn walk<'t>(a: &'t Profile, b: &'t Profile, mut visit: impl FnMut(Step<'t>)) {
    let (mut a, mut b) = (a.terms.iter().peekable(), b.terms.iter().peekable());
    loop {
        match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.number == y.number => {
                visit(Step::Both(x, y));
                a.next();
                b.next();
            }
            (Some(x), Some(y)) if x.number < y.number => {
                visit(Step::First(x));
                a.next();
            }
            (Some(x), None) => {
                visit(Step::First(x));
                a.next();
            }
            (_, Some(y)) => {
                visit(Step::Second(y));
                b.next();
            }
            (None, None) => return,
        }
    }
}
