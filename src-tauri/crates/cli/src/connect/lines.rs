//! Bounded lines.

use std::io;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

pub(super) enum Line {
    /// Without its end; never blank.
    Text(Vec<u8>),
    /// It was skipped.
    TooLong,
    End,
}

pub(super) struct Lines<R> {
    from: BufReader<R>,
    longest: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R, longest: usize) -> Self {
        Self {
            from: BufReader::with_capacity(64 << 10, from),
            longest,
        }
    }

    pub(super) async fn next(&mut self) -> io::Result<Line> {
        let mut line = Vec::new();
        let mut too_long = false;
        loop {
            let bytes = self.from.fill_buf().await?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            let at_end = bytes.is_empty();
            if line.len() + piece.len() > self.longest {
                too_long = true;
                line = Vec::new();
            } else if !too_long {
                line.extend_from_slice(piece);
            }
            let used = piece.len() + usize::from(end.is_some());
            self.from.consume(used);
            if end.is_none() && !at_end {
                continue;
            }
            if too_long {
                return Ok(Line::TooLong);
            }
            let blank = line.iter().all(u8::is_ascii_whitespace);
            match (blank, at_end) {
                (false, _) => return Ok(Line::Text(line)),
                (true, true) => return Ok(Line::End),
                (true, false) => line.clear(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_of_every_length() {
        let text = b"one\r\n\n  \nabcdefgh\nabcdefghi\nlast".as_slice();
        let mut lines = Lines {
            from: BufReader::with_capacity(3, text),
            longest: 8,
        };
        let mut seen = Vec::new();
        loop {
            seen.push(match lines.next().await.unwrap() {
                Line::Text(line) => String::from_utf8(line).unwrap(),
                Line::TooLong => "too long".into(),
                Line::End => break,
            });
        }
        assert_eq!(seen, ["one\r", "abcdefgh", "too long", "last"]);
    }
}
