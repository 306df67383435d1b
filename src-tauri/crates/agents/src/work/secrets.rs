use super::WorkError;
use std::ops::Range;

const OPEN: &str = "${secret:";

/// Looks up a secret by its name.
pub type Lookup<'a> = &'a (dyn Fn(&str) -> Result<String, String> + Send + Sync);

/// The names of the secrets that a text refers to.
pub fn secrets_in(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split(OPEN).skip(1);
    names.filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

/// The secrets that one try was given.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// A text with the secrets that it names.
    ///
    /// # Errors
    /// When one is missing.
    pub(super) fn fill(&mut self, text: &str, lookup: Lookup<'_>) -> Result<String, WorkError> {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((before, (name, after))) = rest
            .split_once(OPEN)
            .and_then(|(before, inner)| Some((before, inner.split_once('}')?)))
        {
            let value = lookup(name).map_err(WorkError::refused)?;
            filled.push_str(before);
            filled.push_str(&value);
            self.0.push(value);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// Bytes of the longest.
    pub(super) fn longest(&self) -> usize {
        self.0.iter().map(String::len).max().unwrap_or(0)
    }

    /// Where they stand in an output, in order and apart from each other.
    fn found(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for secret in self.0.iter().filter(|secret| !secret.is_empty()) {
            let places = bytes.windows(secret.len()).enumerate();
            let places = places.filter(|(_, part)| *part == secret.as_bytes());
            found.extend(places.map(|(at, _)| at..at + secret.len()));
        }
        found.sort_by_key(|place| place.start);
        found.dedup_by(|next, last| {
            let touches = next.start < last.end;
            if touches {
                last.end = last.end.max(next.end);
            }
            touches
        });
        found
    }

    /// All of an output, with `***` in their place.
    pub(super) fn mask_all(&self, bytes: &[u8]) -> String {
        self.mask(bytes, 0..bytes.len())
    }

    /// This part of an output, with `***` in their place. One that begins before or ends behind is masked too, so on either side must be at
    /// least [`Self::longest`] bytes where there is more.
    pub(super) fn mask(&self, bytes: &[u8], part: Range<usize>) -> String {
        let end = part.end.min(bytes.len());
        let (mut masked, mut at) = (Vec::new(), part.start.min(end));
        for place in self.found(bytes) {
            if place.end <= at {
                continue;
            }
            if place.start >= end {
                break;
            }
            masked.extend_from_slice(bytes.get(at..place.start).unwrap_or_default());
            masked.extend_from_slice(b"***");
            at = place.end;
        }
        masked.extend_from_slice(bytes.get(at..end).unwrap_or_default());
        String::from_utf8_lossy(&masked).into_owned()
    }
}
