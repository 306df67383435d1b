//! Writes one page of metrics for Prometheus and its kin, in either of its formats.
//!
//! The text format 0.0.4 and OpenMetrics 1.0.0 differ where it hurts: a counter's family is named with `_total` in one and without
//! it in the other, what has no type is `untyped` here and `unknown` there, one has an end and the other none. `prometheus-client`,
//! which the reference servers use, writes OpenMetrics only, from counters of its own; what stands on this page is read from where
//! it lives when somebody asks. So the page is written here: families in the caller's order, each once.
//!
//! A family without a sample is not on the page: what has no source is absent.

use std::fmt::Write as _;

/// In which words a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What the reader likes best, by its `Accept` header; the text format where it does not say.
    #[must_use]
    pub fn negotiate(accept: &str) -> Self {
        let (mut text, mut open) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut q, mut version) = (1.0, None);
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key.trim().to_ascii_lowercase().as_str() {
                    "q" => q = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match kind.as_str() {
                "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => {
                    open = open.max(q);
                }
                "text/plain" | "text/*" | "*/*" => text = text.max(q),
                _ => {}
            }
        }
        if open > 0.0 && open >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The `Content-Type` of such a page.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What the samples of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from the start of the engine; its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts below bounds, and a sum.
    Histogram,
    /// Labels that say something, beside the value 1; its name ends in `_info`.
    Info,
    /// No type is told: a gauge whose name, inherited from elsewhere, ends in `_total`.
    Unknown,
}

/// A page that is being written.
#[derive(Debug)]
pub struct Page {
    format: Format,
    text: String,
}

/// One family of a page.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'a str,
    kind: Kind,
    help: &'a str,
    begun: bool,
}

/// Labels of a sample: names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// An observation by name: the trace that it was part of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar<'a> {
    /// The trace.
    pub trace: &'a str,
    /// What was observed, in the unit of the bounds.
    pub value: f64,
    /// When, in milliseconds since the epoch.
    pub at: u64,
}

impl Page {
    /// An empty one.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            text: String::with_capacity(16 << 10),
        }
    }

    /// Begins a family; `name` is that of its samples, without `_bucket`, `_sum` and `_count`. Each name once.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &'a str) -> Family<'a> {
        Family {
            page: self,
            name,
            kind,
            help,
            begun: false,
        }
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The page.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// Adds a sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: f64) {
        self.line("", labels, None, value, None);
    }

    /// Adds a histogram: for each bound how many were at most that, then how many there are, and their sum.
    pub fn histogram(
        &mut self,
        labels: Labels<'_>,
        within: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        self.traced_histogram(labels, within, count, sum, &[]);
    }

    /// The same with examples, from low to high: OpenMetrics has the latest of each bucket, the text format has none.
    pub fn traced_histogram(
        &mut self,
        labels: Labels<'_>,
        within: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
        exemplars: &[Exemplar<'_>],
    ) {
        let mut above = f64::NEG_INFINITY;
        let buckets = within.into_iter().map(|(bound, n)| (bound, float(n)));
        for (bound, cumulative) in buckets.chain([(f64::INFINITY, float(count))]) {
            let inside = exemplars
                .iter()
                .filter(|e| above < e.value && e.value <= bound);
            let latest = inside.max_by_key(|exemplar| exemplar.at);
            self.line("_bucket", labels, Some(bound), cumulative, latest);
            above = bound;
        }
        self.line("_count", labels, None, float(count), None);
        self.line("_sum", labels, None, sum, None);
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<f64>,
        value: f64,
        exemplar: Option<&Exemplar<'_>>,
    ) {
        self.begin();
        let text = &mut self.page.text;
        text.push_str(self.name);
        text.push_str(suffix);
        let mut open = '{';
        // A label without a value is none.
        for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            text.push(open);
            open = ',';
            let _ = write!(text, "{name}=\"");
            escape(text, value, true);
            text.push('"');
        }
        if let Some(bound) = bound {
            text.push(open);
            open = ',';
            text.push_str("le=\"");
            if bound.is_finite() {
                // With a point in both formats, so that a series keeps its name when the format changes.
                let _ = write!(text, "{bound:?}");
            } else {
                text.push_str("+Inf");
            }
            text.push('"');
        }
        text.push_str(if open == ',' { "} " } else { " " });
        number(text, value);
        if let Some(Exemplar { trace, value, at }) =
            exemplar.filter(|_| self.page.format == Format::OpenMetrics)
        {
            text.push_str(" # {trace_id=\"");
            escape(text, trace, true);
            text.push_str("\"} ");
            number(text, *value);
            let _ = write!(text, " {}.{:03}", at / 1_000, at % 1_000);
        }
        text.push('\n');
    }

    /// The lines before the first sample.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let open = self.page.format == Format::OpenMetrics;
        let name = match self.kind {
            Kind::Counter if open => self.name.strip_suffix("_total").unwrap_or(self.name),
            Kind::Info if open => self.name.strip_suffix("_info").unwrap_or(self.name),
            _ => self.name,
        };
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info if open => "info",
            Kind::Info => "gauge",
            Kind::Unknown if open => "unknown",
            Kind::Unknown => "untyped",
        };
        let text = &mut self.page.text;
        let _ = write!(text, "# HELP {name} ");
        escape(text, self.help, open);
        let _ = writeln!(text, "\n# TYPE {name} {kind}");
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus holds every value as f64"
)]
fn float(count: u64) -> f64 {
    count as f64
}

fn escape(into: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '"' if quotes => into.push_str("\\\""),
            c => into.push(c),
        }
    }
}

fn number(into: &mut String, value: f64) {
    if value.is_nan() {
        into.push_str("NaN");
    } else if value.is_infinite() {
        into.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        let _ = write!(into, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_format_is_what_the_reader_likes_best() {
        for (accept, open) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", true),
            ("application/openmetrics-text;version=0.0.1", false),
            ("application/openmetrics-text;q=0", false),
            (
                "application/openmetrics-text;q=0.3, text/plain;q=0.5",
                false,
            ),
            // Prometheus 2.42.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                true,
            ),
        ] {
            let found = Format::negotiate(accept) == Format::OpenMetrics;
            assert_eq!(found, open, "{accept}");
        }
    }

    fn page(format: Format) -> String {
        let mut page = Page::new(format);
        page.single(
            "a2a_agents_total",
            Kind::Unknown,
            "Agents \"known\"\n\\now.",
            3.0,
        );
        let mut calls = page.family("calls_total", Kind::Counter, "Calls.");
        calls.sample(&[("tool", "say \"a\\b\"\n"), ("none", "")], 2.0);
        page.family("nothing", Kind::Gauge, "Never on the page.");
        let exemplar = |trace, value, at| Exemplar { trace, value, at };
        page.family("took", Kind::Histogram, "Time.")
            .traced_histogram(
                &[("s", "x")],
                [(0.5, 1), (1.0, 2)],
                3,
                7.25,
                &[
                    exemplar("at most", 0.5, 1_005),
                    exemplar("older", 0.6, 2_000),
                    exemplar("newer", 0.9, 3_000),
                    exemplar("above", 5.0, 4_000),
                ],
            );
        page.family("flotilla_build_info", Kind::Info, "Build.")
            .sample(&[("version", "1")], 1.0);
        page.finish()
    }

    #[test]
    fn both_formats_to_the_letter() {
        let text = "# HELP a2a_agents_total Agents \"known\"\\n\\\\now.\n# TYPE a2a_agents_total untyped\na2a_agents_total 3\n\
            # HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{tool=\"say \\\"a\\\\b\\\"\\n\"} 2\n\
            # HELP took Time.\n# TYPE took histogram\ntook_bucket{s=\"x\",le=\"0.5\"} 1\ntook_bucket{s=\"x\",le=\"1.0\"} 2\n\
            took_bucket{s=\"x\",le=\"+Inf\"} 3\ntook_count{s=\"x\"} 3\ntook_sum{s=\"x\"} 7.25\n\
            # HELP flotilla_build_info Build.\n# TYPE flotilla_build_info gauge\nflotilla_build_info{version=\"1\"} 1\n";
        assert_eq!(page(Format::Text), text);
        let open = text
            .replace("Agents \"known\"", "Agents \\\"known\\\"")
            .replace("untyped", "unknown")
            .replace("# HELP calls_total", "# HELP calls")
            .replace("# TYPE calls_total", "# TYPE calls")
            .replace("# HELP flotilla_build_info", "# HELP flotilla_build")
            .replace("flotilla_build_info gauge", "flotilla_build info")
            .replace(
                "le=\"0.5\"} 1",
                "le=\"0.5\"} 1 # {trace_id=\"at most\"} 0.5 1.005",
            )
            .replace(
                "le=\"1.0\"} 2",
                "le=\"1.0\"} 2 # {trace_id=\"newer\"} 0.9 3.000",
            )
            .replace(
                "le=\"+Inf\"} 3",
                "le=\"+Inf\"} 3 # {trace_id=\"above\"} 5 4.000",
            )
            + "# EOF\n";
        assert_eq!(page(Format::OpenMetrics), open);
    }

    proptest! {
        /// Whatever a label holds, it stays one sample on one line, and what was written is read back.
        #[test]
        fn what_is_written_is_read_back(label in any::<String>(), value in any::<f64>()) {
            let mut page = Page::new(Format::Text);
            page.family("m", Kind::Gauge, &label).sample(&[("l", &label), ("z", "z")], value);
            let text = page.finish();
            let lines: Vec<&str> = text.split_terminator('\n').collect();
            prop_assert_eq!(lines.len(), 3);
            let (labels, number) = lines[2].rsplit_once(' ').unwrap();
            let back: f64 = number.parse().unwrap();
            prop_assert!(back == value || value.is_nan() && back.is_nan());
            if !label.is_empty() {
                let inner = labels.strip_prefix("m{l=\"").unwrap().strip_suffix("\",z=\"z\"}").unwrap();
                let unescaped = inner.replace("\\\\", "\u{0}").replace("\\\"", "\"").replace("\\n", "\n");
                prop_assert_eq!(unescaped, label.replace('\\', "\u{0}"));
            }
        }
    }
}
