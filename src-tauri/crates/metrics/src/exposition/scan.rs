//! The walk over a page.

use super::{Entry, Exemplar, Fault, Format, Kind, ParseError, Sample, number, unescape};
use memchr::{memchr, memchr2};
use std::borrow::Cow;

/// Walks over a page, entry by entry. After an error it goes on with the next line.
#[must_use]
pub fn parse(page: &str, format: Format) -> Parser<'_> {
    Parser {
        page,
        bytes: page.as_bytes(),
        at: 0,
        start: 0,
        format,
        ended: false,
    }
}

/// A walk over a page: see [`parse`].
#[derive(Clone, Debug)]
pub struct Parser<'a> {
    page: &'a str,
    bytes: &'a [u8],
    /// Place of the next byte.
    at: usize,
    /// Where the entry began.
    start: usize,
    format: Format,
    ended: bool,
}

impl<'a> Iterator for Parser<'a> {
    type Item = Result<Entry<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.entry() {
            Ok(entry) => entry.map(Ok),
            Err(fault) => Some(Err(self.failed(fault))),
        }
    }
}

impl<'a> Parser<'a> {
    /// The next entry, if it is a sample of exactly this series, written exactly so. Pages name their series in the same order again and again, and a
    /// text that was read once need not be read again: this is the way of a scrape.
    ///
    /// `series` must be what [`Sample::series`] was on a page of the same format. Where something else comes next, nothing is taken.
    #[inline]
    pub fn sample_of(&mut self, series: &str) -> Option<Result<f64, ParseError>> {
        let rest = self.bytes.get(self.at..)?.strip_prefix(series.as_bytes())?;
        let mut value = rest.strip_prefix(b" ")?;
        if self.format == Format::Text {
            value = skip_blanks(value);
        }
        // `name {labels} value` is another series.
        if value.first() == Some(&b'{') {
            return None;
        }
        self.start = self.at;
        self.at = self.bytes.len() - value.len();
        let value = match self.number() {
            Ok((value, _)) if self.peek() == Some(b'\n') => {
                self.at += 1;
                Ok(value)
            }
            Ok((value, _)) => self.behind_value().map(|_| value),
            Err(fault) => Err(fault),
        };
        Some(value.map_err(|fault| self.failed(fault)))
    }

    fn entry(&mut self) -> Result<Option<Entry<'a>>, Fault> {
        loop {
            if self.ended {
                return Ok(None);
            }
            if self.format == Format::Text {
                self.blanks();
            }
            self.start = self.at;
            match self.peek() {
                None => {
                    self.ended = true;
                    return match self.format {
                        Format::Text => Ok(None),
                        Format::OpenMetrics => Err(Fault::NoEnd),
                    };
                }
                Some(b'\n') if self.format == Format::OpenMetrics => return Err(Fault::Blank),
                Some(b'\n') => self.at += 1,
                Some(b'#') => {
                    if let Some(entry) = self.comment()? {
                        return Ok(Some(entry));
                    }
                }
                Some(_) => return self.sample().map(|sample| Some(Entry::Sample(sample))),
            }
        }
    }

    // --- comments

    fn comment(&mut self) -> Result<Option<Entry<'a>>, Fault> {
        self.at += 1;
        if !self.gap() {
            return self.stranger();
        }
        let keyword = self.word();
        if keyword == "EOF" && self.format == Format::OpenMetrics {
            return self.end();
        }
        let known = match keyword {
            "HELP" | "TYPE" => true,
            "UNIT" => self.format == Format::OpenMetrics,
            _ => false,
        };
        if !known || !self.gap() {
            return self.stranger();
        }
        let name = self.name()?;
        let spaced = self.gap();
        let rest = self.rest_of_line();
        if !spaced && !rest.is_empty() {
            return Err(expected("a space after the name", rest));
        }
        match keyword {
            "HELP" => Ok(Some(Entry::Help { name, text: rest })),
            "TYPE" => {
                let word = match self.format {
                    Format::Text => rest.trim_end_matches([' ', '\t']),
                    Format::OpenMetrics => rest,
                };
                let kind = Kind::of(word, self.format)
                    .ok_or_else(|| Fault::Type(shown(word), kinds(self.format)))?;
                Ok(Some(Entry::Type { name, kind }))
            }
            _ => {
                let fits = name
                    .strip_suffix(rest)
                    .is_some_and(|front| rest.is_empty() || front.ends_with('_'));
                if !fits {
                    return Err(Fault::Unit {
                        name: shown(name),
                        unit: shown(rest),
                    });
                }
                Ok(Some(Entry::Unit { name, unit: rest }))
            }
        }
    }

    /// A comment that says nothing to us: passed over in the text format, an error in OpenMetrics.
    fn stranger(&mut self) -> Result<Option<Entry<'a>>, Fault> {
        if self.format == Format::OpenMetrics {
            let due = "\"# HELP\", \"# TYPE\", \"# UNIT\" or \"# EOF\"";
            return Err(expected(due, &self.page[self.start..]));
        }
        self.rest_of_line();
        Ok(None)
    }

    fn end(&mut self) -> Result<Option<Entry<'a>>, Fault> {
        self.ended = true;
        match &self.bytes[self.at..] {
            b"" | b"\n" => Ok(None),
            _ => Err(Fault::AfterEnd),
        }
    }

    // --- samples

    fn sample(&mut self) -> Result<Sample<'a>, Fault> {
        let start = self.at;
        let name = self.name()?;
        let mut series_end = self.at;
        if self.format == Format::Text {
            self.blanks();
        }
        let braces = self.peek() == Some(b'{');
        let mut labels = Labels::default();
        if braces {
            labels = self.labels()?;
            series_end = self.at;
        }
        self.at = series_end;
        let apart = self.gap() || (braces && self.format == Format::Text);
        if !apart {
            return Err(expected("a space before the value", self.ahead()));
        }
        let (value, text) = self.number()?;
        let (time, exemplar) = self.behind_value()?;
        Ok(Sample {
            series: &self.page[start..series_end],
            name,
            labels,
            value,
            text,
            time,
            exemplar,
        })
    }

    fn number(&mut self) -> Result<(f64, &'a str), Fault> {
        let text = self.word();
        let value = number::value(text).ok_or_else(|| Fault::Value(shown(text)))?;
        Ok((value, text))
    }

    /// Time and exemplar, and the end of the line.
    fn behind_value(&mut self) -> Result<(Option<i64>, Option<Exemplar<'a>>), Fault> {
        let mut time = None;
        if self.gap() && !matches!(self.peek(), None | Some(b'\n' | b'#')) {
            time = Some(self.time()?);
            self.gap();
        }
        let mut exemplar = None;
        if self.format == Format::OpenMetrics && self.peek() == Some(b'#') {
            self.at += 1;
            if !self.gap() || self.peek() != Some(b'{') {
                return Err(expected("an exemplar, \" {\"", self.ahead()));
            }
            let labels = self.labels()?;
            if !self.gap() {
                return Err(expected(
                    "a space before the exemplar's value",
                    self.ahead(),
                ));
            }
            let (value, _) = self.number()?;
            let time = if self.gap() { Some(self.time()?) } else { None };
            exemplar = Some(Exemplar {
                labels,
                value,
                time,
            });
        }
        let rest = self.rest_of_line();
        if rest.is_empty() {
            Ok((time, exemplar))
        } else {
            Err(expected("the end of the line", rest))
        }
    }

    fn time(&mut self) -> Result<i64, Fault> {
        let text = self.word();
        let (time, accepted) = match self.format {
            Format::Text => (number::millis(text), "whole milliseconds since the epoch"),
            Format::OpenMetrics => (number::seconds(text), "seconds since the epoch"),
        };
        time.ok_or_else(|| Fault::Time(shown(text), accepted))
    }

    /// The labels between braces, with the braces taken and everything in them found lawful.
    fn labels(&mut self) -> Result<Labels<'a>, Fault> {
        self.at += 1;
        let (start, text) = (self.at, self.format == Format::Text);
        let mut first = true;
        loop {
            if text {
                self.blanks();
            }
            // The text format allows a comma after the last one.
            if self.peek() == Some(b'}') && (first || text) {
                break;
            }
            let name = self.take(is_label);
            if name == self.at || self.bytes[name].is_ascii_digit() {
                self.at = name;
                return Err(expected("a label name or \"}\"", self.ahead()));
            }
            self.expect(b'=', "\"=\" after the label name")?;
            self.expect(b'"', "a label value in double quotes")?;
            self.quoted()?;
            if text {
                self.blanks();
            }
            first = false;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(expected("\",\" or \"}\" after a label", self.ahead())),
            }
        }
        let inside = &self.page[start..self.at];
        self.at += 1;
        Ok(Labels { text: inside })
    }

    fn expect(&mut self, byte: u8, due: &'static str) -> Result<(), Fault> {
        if self.format == Format::Text {
            self.blanks();
        }
        if self.peek() != Some(byte) {
            return Err(expected(due, self.ahead()));
        }
        self.at += 1;
        Ok(())
    }

    /// Goes behind the closing quote.
    fn quoted(&mut self) -> Result<(), Fault> {
        let start = self.at;
        match end_of_quoted(&self.bytes[start..]) {
            Some(length) => {
                self.at = start + length + 1;
                Ok(())
            }
            None => Err(expected(
                "a closing quote",
                self.page.get(start..).unwrap_or(""),
            )),
        }
    }

    // --- words

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn ahead(&self) -> &'a str {
        self.page.get(self.at..).unwrap_or("")
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes what stands between two words: blanks in the text format, exactly one space in OpenMetrics.
    fn gap(&mut self) -> bool {
        let start = self.at;
        match self.format {
            Format::Text => self.blanks(),
            Format::OpenMetrics => self.at += usize::from(self.peek() == Some(b' ')),
        }
        self.at > start
    }

    /// Goes on as long as the bytes are of a kind; gives where it started.
    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        start
    }

    fn word(&mut self) -> &'a str {
        let start = self.take(|byte| !matches!(byte, b' ' | b'\t' | b'\n'));
        &self.page[start..self.at]
    }

    fn name(&mut self) -> Result<&'a str, Fault> {
        let start = self.take(|byte| is_label(byte) || byte == b':');
        if start == self.at || self.bytes[start].is_ascii_digit() {
            self.at = start;
            return Err(expected("a metric name", self.ahead()));
        }
        Ok(&self.page[start..self.at])
    }

    /// What is left of the line; the line end is taken, too.
    fn rest_of_line(&mut self) -> &'a str {
        let start = self.at;
        let length = memchr(b'\n', &self.bytes[start..]);
        let end = length.map_or(self.bytes.len(), |length| start + length);
        self.at = (end + 1).min(self.bytes.len());
        &self.page[start..end]
    }

    /// Says where, and goes to the next line.
    fn failed(&mut self, fault: Fault) -> ParseError {
        self.at = self.start;
        self.rest_of_line();
        let line = 1 + memchr::memchr_iter(b'\n', &self.bytes[..self.start]).count();
        ParseError { line, fault }
    }
}

/// The labels of a sample, in the order of the page. A name may stand there twice: that is for the reader to refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Labels<'a> {
    /// What stands between the braces, found lawful.
    text: &'a str,
}

impl<'a> Labels<'a> {
    /// Of a text that is known to be lawful.
    pub(crate) fn lawful(text: &'a str) -> Self {
        Self { text }
    }

    /// What stands between the braces.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }
}

impl<'a> IntoIterator for Labels<'a> {
    type Item = (&'a str, Cow<'a, str>);
    type IntoIter = Pairs<'a>;

    fn into_iter(self) -> Pairs<'a> {
        Pairs { rest: self.text }
    }
}

/// Walks over names and values.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.rest.split_once('=')?;
        let quote = memchr(b'"', rest.as_bytes())?;
        let value = &rest[quote + 1..];
        let length = end_of_quoted(value.as_bytes())?;
        self.rest = &value[length + 1..];
        let name = name.trim_start_matches([',', ' ', '\t']).trim_end();
        Some((name, unescape(&value[..length])))
    }
}

/// How far it is to the quote that closes.
fn end_of_quoted(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

fn skip_blanks(bytes: &[u8]) -> &[u8] {
    let blank = bytes.iter().take_while(|b| matches!(b, b' ' | b'\t'));
    &bytes[blank.count()..]
}

fn is_label(byte: u8) -> bool {
    const WORD: [bool; 256] = {
        let mut word = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let c = byte as u8;
            word[byte] = c.is_ascii_alphanumeric() || c == b'_';
            byte += 1;
        }
        word
    };
    WORD[usize::from(byte)]
}

fn kinds(format: Format) -> &'static str {
    match format {
        Format::Text => "counter, gauge, histogram, summary, untyped",
        Format::OpenMetrics => {
            "counter, gauge, histogram, gaugehistogram, summary, info, stateset, unknown"
        }
    }
}

fn expected(due: &'static str, found: &str) -> Fault {
    Fault::Expected {
        due,
        found: shown(found),
    }
}

/// The beginning of a text, up to the end of its line.
fn shown(text: &str) -> String {
    let line = text.split('\n').next().unwrap_or_default();
    line.chars().take(40).collect()
}
