//! Bytes of a pipe into lines, bounded.

/// What the decoder found.
#[derive(Debug, PartialEq)]
pub(crate) enum Line<'a> {
    /// A line, without its end.
    Whole(&'a [u8]),
    /// A line that was longer than allowed: its first and last bytes, and how long it was.
    TooLong {
        head: &'a [u8],
        tail: &'a [u8],
        bytes: u64,
    },
}

/// How much of a line that is too long is kept, at each end.
const KEPT: usize = 256;

/// Cuts a stream of bytes at line feeds. Holds at most one line of at most `max` bytes.
pub(crate) struct LineDecoder {
    max: usize,
    /// The start of the line under way.
    part: Vec<u8>,
    /// Length of the line under way once it is too long; `part` is then its head, `tail` its end.
    skipped: Option<u64>,
    tail: Vec<u8>,
}

impl LineDecoder {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max: max.max(KEPT),
            part: Vec::new(),
            skipped: None,
            tail: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Line<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.part.is_empty() && self.skipped.is_none() && line.len() <= self.max {
                each(Line::Whole(trimmed(line)));
            } else {
                self.keep(line);
                self.finish(&mut each);
            }
        }
        self.keep(bytes);
    }

    /// The stream is over: what is left is a line too.
    pub(crate) fn end(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.part.is_empty() || self.skipped.is_some() {
            self.finish(&mut each);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.skipped.is_none() {
            if self.part.len() + bytes.len() <= self.max {
                self.part.extend_from_slice(bytes);
                return;
            }
            // From here on only the ends are kept. The tail starts out of what is already here.
            self.skipped = Some(self.part.len() as u64);
            let from = self.part.len().saturating_sub(KEPT);
            self.tail = self.part[from..].to_vec();
            let missing = KEPT.saturating_sub(self.part.len()).min(bytes.len());
            self.part.extend_from_slice(&bytes[..missing]);
            self.part.truncate(KEPT);
            self.part.shrink_to_fit();
        }
        if let Some(skipped) = &mut self.skipped {
            *skipped += bytes.len() as u64;
        }
        self.tail
            .extend_from_slice(&bytes[bytes.len().saturating_sub(KEPT)..]);
        let excess = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..excess);
    }

    fn finish(&mut self, each: &mut impl FnMut(Line<'_>)) {
        // Taken, not cleared: a session that once saw a big line gives the memory back.
        let part = std::mem::take(&mut self.part);
        match self.skipped.take() {
            None => each(Line::Whole(trimmed(&part))),
            Some(bytes) => each(Line::TooLong {
                head: &part,
                tail: &std::mem::take(&mut self.tail),
                bytes,
            }),
        }
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(max: usize, pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = LineDecoder::new(max);
        let mut got = Vec::new();
        let mut note = |line: Line<'_>| got.push(format!("{line:?}"));
        for piece in pieces {
            decoder.push(piece, &mut note);
        }
        decoder.end(&mut note);
        got
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_lines(
            lines in prop::collection::vec((0_usize..900, any::<u8>()), 0..12),
            cuts in prop::collection::vec(0_usize..4000, 0..20),
        ) {
            let mut stream = Vec::new();
            for (length, seed) in lines {
                stream.extend((0..length).map(|at| match (at as u8).wrapping_mul(31).wrapping_add(seed) { b'\n' => b'n', byte => byte }));
                stream.push(b'\n');
            }
            stream.pop();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&stream[from..cut]);
                from = cut;
            }
            pieces.push(&stream[from..]);
            prop_assert_eq!(decode(600, &pieces), decode(600, &[&stream]));
        }
    }

    #[test]
    fn a_line_that_is_too_long_leaves_its_ends_and_its_length() {
        let mut stream = b"{\"id\":7,".to_vec();
        stream.extend(vec![b'x'; 5_000]);
        stream.extend(b",\"end\":1}\nnext\n");
        let mut decoder = LineDecoder::new(1_000);
        let mut seen = 0;
        decoder.push(&stream, |line| {
            seen += 1;
            match line {
                Line::TooLong { head, tail, bytes } => {
                    assert!(head.starts_with(b"{\"id\":7,x") && head.len() == KEPT);
                    assert!(tail.ends_with(b"x,\"end\":1}") && tail.len() == KEPT);
                    assert_eq!(bytes, 5_017);
                }
                Line::Whole(line) => assert_eq!(line, b"next"),
            }
        });
        assert_eq!(seen, 2);
    }
}
