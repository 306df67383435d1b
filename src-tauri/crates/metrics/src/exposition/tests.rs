use super::*;
use proptest::{collection::vec, option, prelude::*, sample::select};

/// Every entry of a page as a line of text.
fn shown(page: &str, format: Format) -> Vec<String> {
    let pairs = |labels: Labels<'_>| {
        let pairs = labels.into_iter().map(|(k, v)| format!("{k}={v}"));
        pairs.collect::<Vec<_>>().join(";")
    };
    let line = |entry: Result<Entry<'_>, ParseError>| match entry {
        Ok(Entry::Help { name, text }) => format!("help {name} {}", unescape(text)),
        Ok(Entry::Type { name, kind }) => format!("type {name} {}", kind.word(format)),
        Ok(Entry::Unit { name, unit }) => format!("unit {name} {unit}"),
        Ok(Entry::Sample(s)) => {
            let time = s.time.map(|t| format!(" @{t}")).unwrap_or_default();
            let exemplar = s.exemplar.map(|e| {
                let time = e.time.map(|t| format!(" @{t}")).unwrap_or_default();
                format!(" # [{}] {}{time}", pairs(e.labels), e.value)
            });
            let exemplar = exemplar.unwrap_or_default();
            format!(
                "{} [{}] {}{time}{exemplar}",
                s.name,
                pairs(s.labels),
                s.value
            )
        }
        Err(error) => error.to_string(),
    };
    parse(page, format).map(line).collect()
}

#[test]
fn the_text_format() {
    let page = r#"
# HELP http_requests_total The total number of\n HTTP requests, in C:\\DIR.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400",}    3	1395066363000
  # a comment that says nothing
#HELP neither
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
job:rate:5m { a = "}" , b="é=,{" }1
x NaN
# TYPE	y   untyped
y{} -0"#;
    let expected = [
        "help http_requests_total The total number of\n HTTP requests, in C:\\DIR.",
        "type http_requests_total counter",
        "http_requests_total [method=post;code=200] 1027 @1395066363000",
        "http_requests_total [method=post;code=400] 3 @1395066363000",
        "msdos_file_access_time_seconds [path=C:\\DIR\\FILE.TXT;error=Cannot find file:\n\"FILE.TXT\"] 1458255915",
        "metric_without_timestamp_and_labels [] 12.47",
        "something_weird [problem=division by zero] inf @-3982045",
        "job:rate:5m [a=};b=é=,{] 1",
        "x [] NaN",
        "type y untyped",
        "y [] -0",
    ];
    assert_eq!(shown(page, Format::Text), expected);
}

#[test]
fn open_metrics() {
    let page = r#"# TYPE acme_http_router_request_seconds summary
# UNIT acme_http_router_request_seconds seconds
# HELP acme_http_router_request_seconds Latency of \"all\" requests.
acme_http_router_request_seconds_sum{path="/api/v1",method="GET"} 9036.32
acme_http_router_request_seconds_created{path="/api/v1",method="GET"} 1605281325.0 1605281325.5
# TYPE foo histogram
foo_bucket{le="1"} 11 # {trace_id="KOO5S4vxi0o"} 0.67
foo_bucket{le="+Inf"} 17 1520879607.789 # {trace_id="oHg5SJYRHA0"} 9.8 1520879607.789
# TYPE s stateset
s{s="a"} 1
# EOF
"#;
    let expected = [
        "type acme_http_router_request_seconds summary",
        "unit acme_http_router_request_seconds seconds",
        "help acme_http_router_request_seconds Latency of \"all\" requests.",
        "acme_http_router_request_seconds_sum [path=/api/v1;method=GET] 9036.32",
        "acme_http_router_request_seconds_created [path=/api/v1;method=GET] 1605281325 @1605281325500",
        "type foo histogram",
        "foo_bucket [le=1] 11 # [trace_id=KOO5S4vxi0o] 0.67",
        "foo_bucket [le=+Inf] 17 @1520879607789 # [trace_id=oHg5SJYRHA0] 9.8 @1520879607789",
        "type s stateset",
        "s [s=a] 1",
    ];
    assert_eq!(shown(page, Format::OpenMetrics), expected);
}

#[test]
fn faults_are_told_with_their_line_and_the_walk_goes_on() {
    let text = |page: &str| shown(page, Format::Text);
    let open = |page: &str| shown(page, Format::OpenMetrics);
    let accepted = "(accepted: decimal, with an exponent, NaN, +Inf, -Inf)";
    for number in ["abc", "1_000", "0x1p3", "1e999", "+nan", "", "--1", "1.2.3"] {
        assert_eq!(
            text(&format!("a 1\nb{{}} {number}\nc 3\n")),
            [
                "a [] 1".into(),
                format!("line 2: value {number:?} is not a number {accepted}"),
                "c [] 3".into()
            ]
        );
    }
    let one = |page, fault: &str| assert_eq!(text(page), [format!("line 1: {fault}")]);
    one(
        "{a=\"1\"} 1",
        "expected a metric name, found \"{a=\\\"1\\\"} 1\"",
    );
    one("9a 1", "expected a metric name, found \"9a 1\"");
    one("a", "expected a space before the value, found \"\"");
    one(
        "a{b=\"1\" c=\"2\"} 1",
        "expected \",\" or \"}\" after a label, found \"c=\\\"2\\\"} 1\"",
    );
    one("a{,} 1", "expected a label name or \"}\", found \",} 1\"");
    one(
        "a{b:c=\"1\"} 1",
        "expected \"=\" after the label name, found \":c=\\\"1\\\"} 1\"",
    );
    one(
        "a{b=1} 1",
        "expected a label value in double quotes, found \"1} 1\"",
    );
    one("a{b=\"1} 1\n", "expected a closing quote, found \"1} 1\"");
    one("a 1 2 3", "expected the end of the line, found \"3\"");
    one(
        "a 1 1.5",
        "time \"1.5\" is not whole milliseconds since the epoch",
    );
    one(
        "a 1 99999999999999999999",
        "time \"99999999999999999999\" is not whole milliseconds since the epoch",
    );
    one(
        "# TYPE a counterr",
        "type \"counterr\" is not one of counter, gauge, histogram, summary, untyped",
    );
    one("# HELP 1a x", "expected a metric name, found \"1a x\"");
    one(
        "a 1 # {x=\"1\"} 1",
        "expected the end of the line, found \"# {x=\\\"1\\\"} 1\"",
    );

    assert_eq!(
        open("a 1\n"),
        ["a [] 1", "line 2: the page does not end with \"# EOF\""]
    );
    assert_eq!(
        open("a 1\n\n# EOF"),
        [
            "a [] 1",
            "line 2: blank lines are not allowed in OpenMetrics"
        ]
    );
    assert_eq!(
        open("# EOF\na 1\n"),
        ["line 1: there is more after \"# EOF\""]
    );
    assert_eq!(
        open("a  1\n# EOF\n")[0],
        format!("line 1: value \"\" is not a number {accepted}")
    );
    assert_eq!(
        open("a{b=\"1\",} 1\n# EOF")[0],
        "line 1: expected a label name or \"}\", found \"} 1\""
    );
    assert_eq!(
        open("# a comment\n# UNIT a_seconds meters\n# EOF"),
        [
            "line 1: expected \"# HELP\", \"# TYPE\", \"# UNIT\" or \"# EOF\", found \"# a comment\"",
            "line 2: unit \"meters\" is not the last part of the name \"a_seconds\"",
        ]
    );
}

/// What Prometheus 2.42 said to a page of this one line, asked by having it scrape each.
#[test]
fn the_judge_says_the_same_but_where_we_follow_the_specification() {
    let taken = |line: &str| parse(line, Format::Text).all(|entry| entry.is_ok());
    for line in [
        "x{ a = \"1\"} 7",
        "x{a=\"1\" ,} 7",
        "x{a=\"1\",} 7",
        "x {a=\"1\"} 7",
        "x{a=\"1\"}7",
        "x{} 7",
        "x\t7",
        "x{a=\"1\n2\"} 7",
        "x{a=\"\\q\"} 7",
        "# a comment\n\nx 7",
    ] {
        assert!(taken(line), "{line:?}");
    }
    for line in ["x 7\r", "x 0x1p3", "x 1e999", "x +nan", "x -nan"] {
        assert!(!taken(line), "{line:?}");
    }
    // It takes the first and refuses the others; the format says otherwise.
    assert!(!taken("x{a=\"1\" b=\"2\"} 7"));
    assert!(taken("x 7 -5") && taken("  x 7"));
}

#[test]
fn a_series_that_is_known_is_not_read_again_and_no_other_is_taken_for_it() {
    let page = "a{b=\"1\"} 5\na{b=\"1\"}  6 77\na{b=\"1\"}x 7\na {b=\"1\"} 8\na 9\na oops\na 10";
    let mut walk = parse(page, Format::Text);
    let known = "a{b=\"1\"}";
    assert_eq!(walk.sample_of("a"), None);
    assert_eq!(walk.sample_of(known), Some(Ok(5.0)));
    assert_eq!(walk.sample_of(known), Some(Ok(6.0)));
    assert_eq!(walk.sample_of(known), None, "no space behind it");
    assert!(walk.next().unwrap().is_err());
    assert_eq!(walk.sample_of("a"), None, "its labels follow");
    assert!(
        matches!(walk.next(), Some(Ok(Entry::Sample(s))) if s.series == "a {b=\"1\"}" && s.value == 8.0)
    );
    assert_eq!(walk.sample_of("a"), Some(Ok(9.0)));
    assert_eq!(walk.sample_of("a").unwrap().unwrap_err().line, 6);
    assert_eq!(walk.sample_of("a"), Some(Ok(10.0)));
    assert_eq!(walk.next(), None);
}

/// Pages as node_exporter 1.5 and Prometheus 2.42 gave them.
const REAL: [&str; 2] = [
    include_str!("pages/node_exporter.txt"),
    include_str!("pages/prometheus.txt"),
];

#[test]
fn real_pages_are_read_whole() {
    for page in REAL {
        let entries: Vec<_> = parse(page, Format::Text).collect::<Result<_, _>>().unwrap();
        let mut samples = entries.iter().filter_map(|entry| match entry {
            Entry::Sample(sample) => Some(sample),
            _ => None,
        });
        let mut read = 0;
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let sample = samples.next().unwrap();
            assert_eq!(format!("{} {}", sample.series, sample.text), line);
            // What the other parser can read, it reads so, too.
            if let prometheus_parse::LineInfo::Sample {
                metric_name,
                labels,
                value,
                ..
            } = prometheus_parse::LineInfo::parse(line)
            {
                assert_eq!((metric_name, value), (sample.name, sample.text));
                assert_eq!(labels.unwrap_or_default(), sample.labels.text());
                read += 1;
            }
        }
        assert_eq!(samples.next(), None);
        assert!(read > 150, "{read}");
        let types = entries
            .iter()
            .filter(|e| matches!(e, Entry::Type { kind, .. } if *kind != Kind::Unknown));
        assert!(types.count() > 50);
    }
}

/// A sample before it is written down.
#[derive(Clone, Debug)]
struct Written {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
    time: Option<i64>,
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z_:][a-zA-Z0-9_:]{0,12}"
}

fn written() -> impl Strategy<Value = Written> {
    let value = prop_oneof![
        any::<f64>().prop_filter("NaN is no equal", |v| !v.is_nan()),
        (-1_000_000_i64..1_000_000, 0_i32..6)
            .prop_map(|(n, places)| n as f64 / 10_f64.powi(places)),
        any::<u64>().prop_map(|n| n as f64),
    ];
    let label = ("[a-zA-Z_][a-zA-Z0-9_]{0,6}", any::<String>());
    let times = option::of(-4_000_000_000_000_i64..4_000_000_000_000);
    (name(), vec(label, 0..5), value, times).prop_map(|(name, labels, value, time)| Written {
        name,
        labels,
        value,
        time,
    })
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// A sample in one of the ways in which the format allows it to be written.
fn line(sample: &Written, format: Format, blank: &str) -> String {
    let text = format == Format::Text;
    let free = if text { blank } else { "" };
    let between = if text {
        format!("{blank} ")
    } else {
        " ".into()
    };
    let labels = sample
        .labels
        .iter()
        .map(|(k, v)| format!("{free}{k}{free}={free}\"{}\"{free}", escaped(v)));
    let labels = labels.collect::<Vec<_>>().join(",");
    let labels = if sample.labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    };
    let time = match (sample.time, text) {
        (None, _) => String::new(),
        (Some(time), true) => format!("{between}{time}"),
        (Some(time), false) => format!(" {}", time as f64 / 1e3),
    };
    format!(
        "{free}{}{labels}{between}{:?}{time}{free}\n",
        sample.name, sample.value
    )
}

proptest! {
    /// Whatever the format can say, however it is written, comes back; read a second time by what is known of it, too.
    #[test]
    fn what_is_written_comes_back(
        samples in vec(written(), 0..12), format in select(vec![Format::Text, Format::OpenMetrics]), blank in "[ \t]{0,2}",
    ) {
        let mut page: String = samples.iter().map(|s| line(s, format, &blank)).collect();
        if format == Format::OpenMetrics {
            page += "# EOF\n";
        }
        let entries: Vec<_> = parse(&page, format).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(entries.len(), samples.len());
        let mut again = parse(&page, format);
        for (entry, sample) in entries.iter().zip(&samples) {
            let Entry::Sample(read) = entry else { panic!("{entry:?}") };
            prop_assert_eq!(read.name, &sample.name);
            let labels: Vec<_> = read.labels.into_iter().map(|(k, v)| (k.to_owned(), v.into_owned())).collect();
            prop_assert_eq!(&labels, &sample.labels);
            prop_assert_eq!(read.value.to_bits(), sample.value.to_bits());
            prop_assert_eq!(read.time, sample.time);
            match again.sample_of(read.series) {
                Some(value) => prop_assert_eq!(value.unwrap().to_bits(), sample.value.to_bits()),
                // Blanks before a name or a tab behind it: the long way.
                None => prop_assert_eq!(again.next().unwrap().unwrap(), entry.clone()),
            }
        }
    }

    /// Nothing brings it down, it always ends, and each line gives at most one thing.
    #[test]
    fn any_text_is_walked_to_its_end(text in "([ -~\n\té]|# (HELP|TYPE|UNIT|EOF) |\\{a=\"|\"\\} |\\\\){0,60}", any in any::<String>()) {
        for page in [&text, &any] {
            for format in [Format::Text, Format::OpenMetrics] {
                let lines = page.split('\n').count();
                let entries: Vec<_> = parse(page, format).collect();
                prop_assert!(entries.len() <= lines + 1);
                for error in entries.iter().filter_map(|e| e.as_ref().err()) {
                    prop_assert!((1..=lines).contains(&error.line), "{} of {lines}", error.line);
                }
                for entry in entries.into_iter().flatten() {
                    if let Entry::Sample(sample) = entry { sample.labels.into_iter().for_each(drop); }
                }
            }
        }
    }

    /// Numbers are those of the standard library, to the last bit.
    #[test]
    fn numbers_are_exact(text in "-?[0-9]{1,18}(\\.[0-9]{0,10})?(e-?[0-9]{1,2})?") {
        let expected: f64 = text.parse().unwrap();
        prop_assert_eq!(number::value(&text).unwrap().to_bits(), expected.to_bits());
    }

    /// Where prometheus-parse can read a page (its subset: no colon in a name; no brace, comma, equals sign, quote or escape in a label
    /// value), both read the same.
    #[test]
    fn plain_pages_read_as_prometheus_parse_reads_them(
        samples in vec(("[a-z_][a-z0-9_]{0,9}", prop::collection::btree_map("[a-z_][a-z0-9_]{0,6}", "[ -!#-+--<>-Z^-z|~é]{1,9}", 0..4), -1e9..1e9_f64), 1..8),
    ) {
        let page: String = samples.iter().map(|(name, labels, value)| {
            let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            format!("{name}{labels} {value}\n")
        }).collect();
        let theirs = prometheus_parse::Scrape::parse(page.lines().map(|l| Ok(l.to_owned()))).unwrap();
        let ours: Vec<_> = parse(&page, Format::Text).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(theirs.samples.len(), ours.len());
        for (theirs, ours) in theirs.samples.iter().zip(&ours) {
            let Entry::Sample(ours) = ours else { panic!("{ours:?}") };
            prop_assert_eq!(&theirs.metric, ours.name);
            prop_assert_eq!(&theirs.value, &prometheus_parse::Value::Untyped(ours.value));
            prop_assert_eq!(theirs.labels.len(), ours.labels.into_iter().count());
            for (name, value) in ours.labels {
                prop_assert_eq!(theirs.labels.get(name), Some(value.as_ref()));
            }
        }
    }
}
