use flotilla_contract::metric::PageSample;
use prometheus_parse::{LineInfo, SampleType};
use std::{borrow::Cow, collections::HashMap};

/// Largest page that is read, in bytes.
pub const MAX_PAGE_BYTES: usize = 4 << 20;
/// Samples of a page at most.
pub const MAX_PAGE_SAMPLES: usize = 20_000;

/// Why a page is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Too long.
    #[error("read a metrics page of {0} bytes; at most 4 MiB are read")]
    TooLong(usize),
    /// Too many samples.
    #[error("read a metrics page of more than 20,000 samples")]
    TooMany,
    /// It has text, and none of it is a sample.
    #[error("find a sample on the page; is it a Prometheus page?")]
    NoSample,
}

/// Reads a Prometheus text page for display: the samples in the page's own order, values as they stand. Lines that are no
/// samples are passed over.
///
/// # Errors
/// When the page is over a bound, or holds text and not one sample.
pub fn page(text: &str) -> Result<Vec<PageSample>, PageError> {
    if text.len() > MAX_PAGE_BYTES {
        return Err(PageError::TooLong(text.len()));
    }
    let mut help = HashMap::new();
    let mut kinds = HashMap::new();
    let mut samples = Vec::new();
    let mut foreign = false;
    for line in text.lines() {
        let line = shield(line);
        match LineInfo::parse(&line) {
            LineInfo::Doc { metric_name, doc } => {
                drop(help.insert(unshield(metric_name), doc.to_owned()))
            }
            LineInfo::Type {
                metric_name,
                metric_alias,
                sample_type,
            } => {
                let name = metric_alias.unwrap_or(metric_name);
                kinds.insert(unshield(&name), sample_type);
            }
            LineInfo::Sample {
                metric_name,
                labels,
                value,
                ..
            } if is_value(value) => {
                if samples.len() == MAX_PAGE_SAMPLES {
                    return Err(PageError::TooMany);
                }
                let name = unshield(metric_name);
                let (base, kind) = family(&name, &kinds);
                samples.push(PageSample {
                    labels: labels.map(read_labels).unwrap_or_default(),
                    value: value.to_owned(),
                    kind: word(kind).to_owned(),
                    help: help.get(base).cloned(),
                    name,
                });
            }
            LineInfo::Empty => {}
            _ => foreign |= !line.trim_start().starts_with('#'),
        }
    }
    if samples.is_empty() && foreign {
        Err(PageError::NoSample)
    } else {
        Ok(samples)
    }
}

/// The name and type of the family a sample belongs to: `x_bucket`, `x_sum` and `x_count` belong to `x`.
fn family<'a>(name: &'a str, kinds: &HashMap<String, SampleType>) -> (&'a str, SampleType) {
    if let Some(kind) = kinds.get(name) {
        return (name, *kind);
    }
    let base = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|part| name.strip_suffix(part))
        .unwrap_or(name);
    match kinds.get(base) {
        Some(kind @ (SampleType::Histogram | SampleType::Summary)) => (base, *kind),
        _ => (name, SampleType::Untyped),
    }
}

fn word(kind: SampleType) -> &'static str {
    match kind {
        SampleType::Counter => "counter",
        SampleType::Gauge => "gauge",
        SampleType::Histogram => "histogram",
        SampleType::Summary => "summary",
        SampleType::Untyped => "untyped",
    }
}

/// Rust reads `NaN`, `+Inf` and `-Inf` in any case, as the format wants them.
fn is_value(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}

// The patterns of prometheus-parse end the labels at the first `}`, even inside a quoted value, and know no `:` in a name.
// Both are lawful; they pass through as characters that the patterns accept, and come back afterwards.
const QUOTED_BRACE: char = '\u{e000}';
const COLON: char = '\u{2d0}';

fn shield(line: &str) -> Cow<'_, str> {
    if !line.contains([':', '}']) {
        return line.into();
    }
    let (mut quoted, mut escaped, mut past_name) = (false, false, false);
    let comment = line.trim_start().starts_with('#');
    let mut words = 0;
    let shielded = line.chars().map(|c| {
        let shown = match c {
            '}' if quoted => QUOTED_BRACE,
            // The name of a comment is its third word, that of a sample its first.
            ':' if !quoted && (if comment { words == 2 } else { !past_name }) => COLON,
            other => other,
        };
        words += usize::from(c == ' ');
        past_name |= matches!(c, '{' | ' ');
        quoted ^= c == '"' && !escaped && !comment;
        escaped = c == '\\' && !escaped;
        shown
    });
    shielded.collect::<String>().into()
}

fn unshield(name: &str) -> String {
    name.replace(COLON, ":")
}

/// `a="1",b="x\"y"` as pairs, sorted by name, escapes undone.
fn read_labels(text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some((name, value)) = rest.split_once('=') {
        let name = name.trim_start_matches([',', ' ']).trim();
        let Some(value) = value.trim_start().strip_prefix('"') else {
            break;
        };
        let (value, behind) = unquote(value);
        labels.push((name.to_owned(), value));
        rest = behind;
    }
    labels.sort();
    labels
}

/// The text up to the closing quote, and what stands behind it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            QUOTED_BRACE => value.push('}'),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Vec<String> {
        let line = |s: PageSample| {
            let labels: Vec<_> = s.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!(
                "{} [{}] {} {} {}",
                s.name,
                labels.join(";"),
                s.value,
                s.kind,
                s.help.as_deref().unwrap_or("-")
            )
        };
        page(text).unwrap().into_iter().map(line).collect()
    }

    #[test]
    fn a_page_keeps_its_order_its_words_and_what_it_says_about_them() {
        let text = r#"
# HELP calls_total Calls made
# TYPE calls_total counter
calls_total{tool="read",code="200"} 1027 1395066363000
# TYPE took_seconds histogram
# HELP took_seconds Time taken
took_seconds_bucket{le="0.05"} 24054
took_seconds_bucket{le="+Inf"} 1.44e+05
took_seconds_sum 53423
# TYPE queue gauge
queue NaN
bare +Inf
<p>not a sample</p>
"#;
        assert_eq!(
            shown(text),
            [
                "calls_total [code=200;tool=read] 1027 counter Calls made",
                "took_seconds_bucket [le=0.05] 24054 histogram Time taken",
                "took_seconds_bucket [le=+Inf] 1.44e+05 histogram Time taken",
                "took_seconds_sum [] 53423 histogram Time taken",
                "queue [] NaN gauge -",
                "bare [] +Inf untyped -",
            ]
        );
    }

    #[test]
    fn labels_may_hold_braces_commas_equals_signs_and_quotes() {
        let text = "# TYPE job:http:rate gauge\njob:http:rate{path=\"/a/{id}\",q=\"x=1,y=\\\"2\\\"\\n\",t=\"12:30\"} 3";
        assert_eq!(
            shown(text),
            ["job:http:rate [path=/a/{id};q=x=1,y=\"2\"\n;t=12:30] 3 gauge -"]
        );
    }

    #[test]
    fn bounds_and_strangers_are_said() {
        assert_eq!(
            page(&"x".repeat(MAX_PAGE_BYTES + 1)),
            Err(PageError::TooLong(MAX_PAGE_BYTES + 1))
        );
        assert_eq!(
            page(&"x 1\n".repeat(MAX_PAGE_SAMPLES + 1)),
            Err(PageError::TooMany)
        );
        assert_eq!(
            page(&"x 1\n".repeat(MAX_PAGE_SAMPLES)).unwrap().len(),
            MAX_PAGE_SAMPLES
        );
        assert_eq!(
            page("<!doctype html>\n<title>Hello</title>"),
            Err(PageError::NoSample)
        );
        assert_eq!(page("\n# nothing yet\n"), Ok(vec![]));
    }

    proptest! {
        /// Any label value comes back as it was written.
        #[test]
        fn label_values_come_back(value in "[ -~éü}{]{0,20}", text in any::<String>()) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let samples = page(&format!("x{{a=\"{escaped}\"}} 1")).unwrap();
            prop_assert_eq!(&samples[0].labels, &[("a".to_owned(), value)]);
            // And nothing brings it down.
            let _ = page(&text);
        }
    }
}
