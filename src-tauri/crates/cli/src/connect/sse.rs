//! Server-sent events: bytes into events, bounded.

/// One event. Comments and other fields are gone.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Event {
    pub(super) data: Vec<u8>,
    pub(super) id: Option<String>,
    pub(super) retry_ms: Option<u64>,
}

/// Cuts a stream into events. Holds at most one, of at most `longest` bytes.
pub(super) struct Decoder {
    longest: usize,
    line: Vec<u8>,
    after_cr: bool,
    event: Event,
}

impl Decoder {
    pub(super) fn new(longest: usize) -> Self {
        Self {
            longest,
            line: Vec::new(),
            after_cr: false,
            event: Event::default(),
        }
    }

    /// The events that these bytes complete; `None` when one is too long.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Option<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            if self.after_cr && !bytes.is_empty() {
                self.after_cr = false;
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + self.event.data.len() + piece.len() > self.longest + 64 {
                return None;
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else {
                return Some(events);
            };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            events.extend(self.on_line(&line));
        }
    }

    fn on_line(&mut self, line: &[u8]) -> Option<Event> {
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            event.data.pop();
            return (event != Event::default()).then_some(event);
        }
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (field, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match field {
            b"data" => {
                self.event.data.extend_from_slice(value);
                self.event.data.push(b'\n');
            }
            b"id" if !value.contains(&0) => self.event.id = Some(text()),
            b"retry" => self.event.retry_ms = text().parse().ok(),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_however_they_are_cut() {
        let stream = b": hello\nid: 7\nretry: 50\ndata:\n\ndata: {\"a\":\r\ndata: 1}\r\n\r\nevent: x\rdata: y\r\r";
        let wanted = [
            ("", Some("7"), Some(50)),
            ("{\"a\":\n1}", None, None),
            ("y", None, None),
        ];
        for size in [1, 2, 3, 7, 1_000] {
            let mut decoder = Decoder::new(100);
            let mut events = Vec::new();
            for piece in stream.chunks(size) {
                events.extend(decoder.push(piece).unwrap());
            }
            let seen: Vec<(String, Option<String>, Option<u64>)> = events
                .into_iter()
                .map(|e| (String::from_utf8(e.data).unwrap(), e.id, e.retry_ms))
                .collect();
            let wanted = wanted.map(|(data, id, retry)| (data.into(), id.map(Into::into), retry));
            assert_eq!(seen, wanted, "{size}");
        }
        assert!(Decoder::new(100).push(&[b'x'; 200]).is_none());
    }
}
