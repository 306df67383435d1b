//! An HTTP/1.1 reply, decoded in place as it comes in: a body of known length, or in chunks cut anywhere.

use anyhow::{Context as _, Result, bail, ensure};

/// A reply. Its memory is kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// What came; behind the head, the decoded body takes the place of the chunks.
    bytes: Vec<u8>,
    head: usize,
    /// End of the decoded body.
    body: usize,
    /// End of what is decoded, in what came.
    read: usize,
    stage: Stage,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Head,
    /// A body that ends there.
    Until(usize),
    ChunkSize,
    /// So much of a chunk.
    Chunk(usize),
    ChunkEnd,
    LastEnd,
    Done,
}

impl Reply {
    /// Forgets the last one.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.stage = Stage::Head;
    }

    /// Where what comes is appended.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.reserve(32 << 10);
        &mut self.bytes
    }

    pub(super) fn status(&self) -> Result<u16> {
        let line = self
            .bytes
            .get(..12)
            .context("the reply has no status line")?;
        ensure!(line.starts_with(b"HTTP/1.1 "), "the reply is not HTTP/1.1");
        Ok(str::from_utf8(&line[9..])?.parse()?)
    }

    /// A header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let head = str::from_utf8(self.bytes.get(..self.head)?).ok()?;
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(self.head..self.body).unwrap_or_default()
    }

    /// The body for a message to a person.
    pub(super) fn excerpt(&self) -> String {
        let body = self.body();
        String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned()
    }

    /// Decodes what came; true when the reply is whole.
    ///
    /// # Errors
    /// When it is not a reply, or more came than one.
    pub(super) fn complete(&mut self) -> Result<bool> {
        loop {
            self.stage = match self.stage {
                Stage::Head => {
                    let Some(at) = find(&self.bytes, b"\r\n\r\n") else {
                        return Ok(false);
                    };
                    self.head = at + 4;
                    (self.body, self.read) = (self.head, self.head);
                    self.framing()?
                }
                Stage::Until(end) => {
                    if self.bytes.len() < end {
                        return Ok(false);
                    }
                    (self.body, self.read) = (end, end);
                    Stage::Done
                }
                Stage::ChunkSize => {
                    let rest = &self.bytes[self.read..];
                    let Some(length) = find(rest, b"\r\n") else {
                        return Ok(false);
                    };
                    let size = str::from_utf8(&rest[..length])?;
                    // An extension may follow the size.
                    let size = size.split(';').next().unwrap_or_default().trim();
                    let size = usize::from_str_radix(size, 16).context("no size of a chunk")?;
                    self.read += length + 2;
                    match size {
                        0 => Stage::LastEnd,
                        size => Stage::Chunk(size),
                    }
                }
                Stage::Chunk(left) => {
                    let there = left.min(self.bytes.len() - self.read);
                    self.bytes
                        .copy_within(self.read..self.read + there, self.body);
                    self.read += there;
                    self.body += there;
                    if there < left {
                        self.stage = Stage::Chunk(left - there);
                        return Ok(false);
                    }
                    Stage::ChunkEnd
                }
                Stage::ChunkEnd | Stage::LastEnd => {
                    match self.bytes.get(self.read..self.read + 2) {
                        Some(b"\r\n") => self.read += 2,
                        Some(_) => bail!("a chunk is longer than it says"),
                        None => return Ok(false),
                    }
                    match self.stage {
                        Stage::LastEnd => Stage::Done,
                        _ => Stage::ChunkSize,
                    }
                }
                Stage::Done => {
                    ensure!(self.read == self.bytes.len(), "more came than one reply");
                    return Ok(true);
                }
            }
        }
    }

    fn framing(&self) -> Result<Stage> {
        if let Some(length) = self.header("content-length") {
            return Ok(Stage::Until(self.head + length.parse::<usize>()?));
        }
        Ok(match self.header("transfer-encoding") {
            Some("chunked") => Stage::ChunkSize,
            Some(other) => bail!("the reply's body comes as {other}"),
            None => Stage::Until(self.head),
        })
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is decoded when the text comes in pieces of each size.
    fn check(text: &str, status: u16, body: &str) {
        for size in 1..=text.len() {
            let mut reply = Reply::default();
            let mut whole = false;
            for piece in text.as_bytes().chunks(size) {
                assert!(!whole, "{text:?} was whole too early in pieces of {size}");
                reply.room().extend_from_slice(piece);
                whole = reply.complete().unwrap();
            }
            assert!(whole, "{text:?} is not whole in pieces of {size}");
            assert_eq!(reply.status().unwrap(), status);
            assert_eq!(str::from_utf8(reply.body()).unwrap(), body);
            assert_eq!(reply.header("mcp-session-id"), Some("aB"));
        }
    }

    #[test]
    fn a_reply_is_decoded_however_it_is_cut() {
        let head = "HTTP/1.1 200 OK\r\nMcp-Session-Id: aB\r\n";
        check(
            &format!("{head}Content-Length: 5\r\n\r\nhello"),
            200,
            "hello",
        );
        check(
            &format!(
                "{head}transfer-encoding: chunked\r\n\r\n5\r\ndata:\r\nA;x=y\r\n 123456\r\n\n\r\n0\r\n\r\n"
            ),
            200,
            "data: 123456\r\n\n",
        );
        check(
            "HTTP/1.1 202 Accepted\r\nmcp-session-id:aB\r\n\r\n",
            202,
            "",
        );
    }

    #[test]
    fn what_is_no_single_reply_is_refused() {
        let refused = |text: &str| {
            let mut reply = Reply::default();
            reply.room().extend_from_slice(text.as_bytes());
            reply.complete().is_err()
        };
        assert!(refused("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc"));
        assert!(refused(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc"
        ));
        assert!(refused(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n"
        ));
    }
}
