//! Server-sent events: bytes into events, bounded.

/// How a line of data begins.
const DATA: &[u8] = b"data: ";

/// One event. Comments and unknown fields are gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SseEvent {
    pub(crate) event: String,
    pub(crate) data: Vec<u8>,
    pub(crate) id: Option<String>,
    pub(crate) retry_ms: Option<u64>,
}

/// An event is longer than allowed.
#[derive(Debug, PartialEq)]
pub(crate) struct TooLong;

/// Cuts a stream into events. Holds at most one event of at most `max` bytes.
pub(crate) struct SseDecoder {
    max: usize,
    line: Vec<u8>,
    after_cr: bool,
    started: bool,
    event: SseEvent,
    any: bool,
}

impl SseDecoder {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            line: Vec::new(),
            after_cr: false,
            started: false,
            event: SseEvent::default(),
            any: false,
        }
    }

    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(SseEvent),
    ) -> Result<(), TooLong> {
        loop {
            if self.after_cr && !bytes.is_empty() {
                self.after_cr = false;
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                return self.keep(bytes);
            };
            let rest = &bytes[..end];
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if self.line.is_empty() {
                self.fits(rest)?;
                self.on_line(rest, &mut each);
            } else {
                self.keep(rest)?;
                let line = std::mem::take(&mut self.line);
                if self.event.data.is_empty() && line.starts_with(DATA) {
                    self.take_data(line);
                } else {
                    self.on_line(&line, &mut each);
                }
            }
        }
    }

    fn fits(&self, bytes: &[u8]) -> Result<(), TooLong> {
        let held = self.line.len() + self.event.data.len();
        if held + bytes.len() > self.max.saturating_add(64) {
            return Err(TooLong);
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.fits(bytes)?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// The first line of data, which is most often long and the only one: its room is used on.
    fn take_data(&mut self, mut line: Vec<u8>) {
        line.drain(..DATA.len());
        line.push(b'\n');
        self.event.data = line;
        self.started = true;
        self.any = true;
    }

    fn on_line(&mut self, line: &[u8], each: &mut impl FnMut(SseEvent)) {
        let line = if std::mem::replace(&mut self.started, true) {
            line
        } else {
            line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line)
        };
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.any) {
                event.data.pop();
                each(event);
            }
            return;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(at) => (
                &line[..at],
                line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..]),
            ),
            None => (line, &line[..0]),
        };
        let text = || String::from_utf8_lossy(value).into_owned();
        match field {
            b"data" => {
                self.event.data.extend_from_slice(value);
                self.event.data.push(b'\n');
            }
            b"event" => self.event.event = text(),
            b"id" if !value.contains(&0) => self.event.id = Some(text()),
            b"retry" => self.event.retry_ms = text().parse().ok(),
            _ => return,
        }
        self.any = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Result<Vec<SseEvent>, TooLong> {
        let mut decoder = SseDecoder::new(10_000);
        let mut got = Vec::new();
        for piece in pieces {
            decoder.push(piece, |event| got.push(event))?;
        }
        Ok(got)
    }

    #[test]
    fn events_with_every_line_end() {
        let check = |stream: &str, expected: &[(&str, &str, Option<&str>)]| {
            let got = decode(&[stream.as_bytes()]).unwrap();
            let got: Vec<_> = got
                .iter()
                .map(|e| {
                    (
                        e.event.as_str(),
                        std::str::from_utf8(&e.data).unwrap(),
                        e.id.as_deref(),
                    )
                })
                .collect();
            assert_eq!(got, expected, "{stream:?}");
        };
        check(
            "data: a\n\ndata:b\r\n\r\ndata: c\r\rdata: unfinished\n",
            &[("", "a", None), ("", "b", None), ("", "c", None)],
        );
        check(
            "\u{feff}event: message\nid: 4\ndata: {\ndata: }\n\n",
            &[("message", "{\n}", Some("4"))],
        );
        check(": keep-alive\n\n\n: again\n\n", &[]);
        check("id: 1\ndata\n\n", &[("", "", Some("1"))]);
        assert_eq!(
            decode(&["data: ".as_bytes(), &vec![b'x'; 11_000]]),
            Err(TooLong)
        );
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_events(
            lines in prop::collection::vec(prop::sample::select(vec!["data: x", "data:", "id: 7", "event: e", ": c", "", "", "retry: 10"]), 0..30),
            ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r"]), 30),
            cut in 0_usize..200,
            second in 0_usize..200,
        ) {
            let stream: String = lines.iter().zip(&ends).flat_map(|(line, end)| [*line, *end]).collect();
            let stream = stream.as_bytes();
            let cut = cut.min(stream.len());
            let second = second.clamp(cut, stream.len().max(cut));
            prop_assert_eq!(decode(&[&stream[..cut], &stream[cut..second], &stream[second..]]), decode(&[stream]));
        }
    }
}
