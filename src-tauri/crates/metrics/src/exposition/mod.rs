//! The text formats of metrics: Prometheus's own (0.0.4) and OpenMetrics 1.0.
//!
//! [`parse`] walks a page entry by entry and copies nothing: names, labels and texts are slices of the page, and only an escaped
//! label value is written anew, when it is asked for. A line that is wrong gives a [`ParseError`] with its number; the walk then goes on behind
//! it, so that one caller may refuse the page (a scrape, as Prometheus does) and another pass over the line (a page for display).
//!
//! Sources: "Exposition formats" of the Prometheus documentation, "OpenMetrics 1.0" (both say what a page *should* be), and
//! the lexers of Prometheus 2.42 (`model/textparse/promlex.l`, `openmetricslex.l`), which say what is taken in practice. We follow the lexers
//! but for three things, in which they differ from the documentation: labels must have commas between them, a line may begin with blanks, and a time may be negative.
//! What Prometheus leaves open is open here too: samples are not compared with the type of their family.

mod number;
mod scan;
#[cfg(test)]
mod tests;

pub use scan::{Labels, Pairs, Parser, parse};

use std::borrow::Cow;

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4: times in milliseconds, comments and blank lines anywhere, no end mark.
    Text,
    /// OpenMetrics 1.0: times in seconds, exemplars, units, `# EOF` as the last line.
    OpenMetrics,
}

impl Format {
    /// What a scrape asks for: `Accept` of a request, OpenMetrics first, as Prometheus asks.
    pub const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

    /// The format that a `Content-Type` names; anything but OpenMetrics is read as text.
    #[must_use]
    pub fn of(content_type: &str) -> Self {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}

/// What a family is said to be. `Untyped` of the text format is [`Kind::Unknown`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only goes up, or starts again from zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// `_bucket` by `le`, `_sum`, `_count`.
    Histogram,
    /// A histogram that may go down.
    GaugeHistogram,
    /// Quantiles, `_sum`, `_count`.
    Summary,
    /// Labels about the target, value 1.
    Info,
    /// One sample of 0 or 1 for each state.
    StateSet,
    /// Nothing is said.
    #[default]
    Unknown,
}

impl Kind {
    /// The word of a `# TYPE` line, in either format.
    #[must_use]
    pub fn word(self, format: Format) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => match format {
                Format::Text => "untyped",
                Format::OpenMetrics => "unknown",
            },
        }
    }

    /// The kind of a word, if the format has it.
    fn of(word: &str, format: Format) -> Option<Self> {
        let shared = [Self::Counter, Self::Gauge, Self::Histogram, Self::Summary];
        let open = [Self::GaugeHistogram, Self::Info, Self::StateSet];
        let more: &[Self] = match format {
            Format::Text => &[],
            Format::OpenMetrics => &open,
        };
        let mut all = shared.iter().chain(more).chain(&[Self::Unknown]);
        all.find(|kind| kind.word(format) == word).copied()
    }

    /// Endings that the samples of such a family may have beside its own name.
    #[must_use]
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["_total", "_created"],
            Self::Histogram => &["_bucket", "_sum", "_count", "_created"],
            Self::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
            Self::Summary => &["_sum", "_count", "_created"],
            Self::Info => &["_info"],
            Self::Gauge | Self::StateSet | Self::Unknown => &[],
        }
    }
}

/// One thing that a page says.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// What a family is for.
    Help {
        /// The family.
        name: &'a str,
        /// The text as it stands, escapes and all: see [`unescape`].
        text: &'a str,
    },
    /// What a family is.
    Type {
        /// The family.
        name: &'a str,
        /// Its kind.
        kind: Kind,
    },
    /// In what a family counts (OpenMetrics).
    Unit {
        /// The family.
        name: &'a str,
        /// The unit, the last part of the name; may be empty.
        unit: &'a str,
    },
    /// A value.
    Sample(Sample<'a>),
}

/// A value of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Name and labels as they stand on the page, `name{a="b"}`: the cheapest key by which to find a series again.
    pub series: &'a str,
    /// Name of the metric.
    pub name: &'a str,
    /// Its labels, in the page's own order.
    pub labels: Labels<'a>,
    /// The value.
    pub value: f64,
    /// The value as it stands on the page.
    pub text: &'a str,
    /// Milliseconds since the epoch, if the page says when it was taken. OpenMetrics's seconds are rounded.
    pub time: Option<i64>,
    /// An exemplar (OpenMetrics).
    pub exemplar: Option<Exemplar<'a>>,
}

/// One observation beside a sample, for instance with the id of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar<'a> {
    /// What tells where it comes from.
    pub labels: Labels<'a>,
    /// The value that was observed.
    pub value: f64,
    /// When, in milliseconds since the epoch.
    pub time: Option<i64>,
}

/// A line that is not of the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct ParseError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something else was due.
    #[error("expected {due}, found {found:?}")]
    Expected {
        /// What was due.
        due: &'static str,
        /// The beginning of what stands there instead, at most 40 characters; empty at the end of the page.
        found: String,
    },
    /// A value that is no number, or too large for one.
    #[error("value {0:?} is not a number (accepted: decimal, with an exponent, NaN, +Inf, -Inf)")]
    Value(String),
    /// A time that is no number, or out of range.
    #[error("time {0:?} is not {1}")]
    Time(String, &'static str),
    /// A word that the format does not have.
    #[error("type {0:?} is not one of {1}")]
    Type(String, &'static str),
    /// A unit that its family does not carry.
    #[error("unit {unit:?} is not the last part of the name {name:?}")]
    Unit {
        /// The family.
        name: String,
        /// The unit.
        unit: String,
    },
    /// OpenMetrics allows none.
    #[error("blank lines are not allowed in OpenMetrics")]
    Blank,
    /// OpenMetrics ends with `# EOF`; without it the page may have been cut short.
    #[error("the page does not end with \"# EOF\"")]
    NoEnd,
    /// Nothing may follow `# EOF`.
    #[error("there is more after \"# EOF\"")]
    AfterEnd,
}

/// A text without its escapes: `\\`, `\n`, and `\"` in label values and OpenMetrics. An escape that is none stays as it is,
/// as in Prometheus.
#[must_use]
pub fn unescape(text: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', text.as_bytes()) else {
        return text.into();
    };
    let mut plain = String::with_capacity(text.len());
    plain.push_str(&text[..first]);
    let mut chars = text[first..].chars();
    while let Some(c) = chars.next() {
        let mut next = chars.clone();
        let escaped = match (c, next.next()) {
            ('\\', Some('n')) => '\n',
            ('\\', Some(other @ ('\\' | '"'))) => other,
            _ => {
                plain.push(c);
                continue;
            }
        };
        plain.push(escaped);
        chars = next;
    }
    plain.into()
}
