use crate::exposition::{Entry, Format, Kind, parse, unescape};
use flotilla_contract::metric::PageSample;
use std::collections::HashMap;

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

/// Reads a Prometheus or OpenMetrics page for display: the samples in the page's own order, values as they stand. Lines that are no
/// samples are passed over.
///
/// # Errors
/// When the page is over a bound, or holds text and not one sample.
pub fn page(text: &str) -> Result<Vec<PageSample>, PageError> {
    if text.len() > MAX_PAGE_BYTES {
        return Err(PageError::TooLong(text.len()));
    }
    let format = if text.trim_end().ends_with("\n# EOF") {
        Format::OpenMetrics
    } else {
        Format::Text
    };
    let mut help = HashMap::new();
    let mut kinds = HashMap::new();
    let mut samples = Vec::new();
    let mut foreign = false;
    for entry in parse(text, format) {
        match entry {
            Ok(Entry::Help { name, text }) => drop(help.insert(name, unescape(text))),
            Ok(Entry::Type { name, kind }) => drop(kinds.insert(name, kind)),
            Ok(Entry::Unit { .. }) => {}
            Ok(Entry::Sample(sample)) => {
                if samples.len() == MAX_PAGE_SAMPLES {
                    return Err(PageError::TooMany);
                }
                let (base, kind) = family(sample.name, &kinds);
                let labels = sample.labels.into_iter();
                let mut labels: Vec<_> = labels.map(|(k, v)| (k.to_owned(), v.into())).collect();
                labels.sort();
                samples.push(PageSample {
                    name: sample.name.to_owned(),
                    labels,
                    value: sample.text.to_owned(),
                    kind: kind.word(Format::Text).to_owned(),
                    help: help.get(base).map(|text| text.clone().into_owned()),
                });
            }
            Err(_) => foreign = true,
        }
    }
    if samples.is_empty() && foreign {
        Err(PageError::NoSample)
    } else {
        Ok(samples)
    }
}

/// The name and kind of the family a sample belongs to: `x_bucket`, `x_sum` and `x_count` of a histogram belong to `x`.
fn family<'a>(name: &'a str, kinds: &HashMap<&str, Kind>) -> (&'a str, Kind) {
    if let Some(kind) = kinds.get(name) {
        return (name, *kind);
    }
    let base = name.rfind('_').map(|at| name.split_at(at));
    let known = base.and_then(|(base, ending)| {
        let kind = *kinds.get(base)?;
        kind.endings().contains(&ending).then_some((base, kind))
    });
    known.unwrap_or((name, Kind::Unknown))
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
