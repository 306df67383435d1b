//! Debian's Prometheus as the judge: it and we scrape one target, and agree on every series at every moment; it and we answer the
//! same queries over the same samples, and agree on every point.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use flotilla_metrics::{
    exposition::Format,
    scrape::{Fetch, Fetching, Page, ScrapeError, Scraper, SharedStore, Target},
    store::{
        Aggregate, Function, Grouping, Line, Options, Query, Select, SeriesName, Store, is_absent,
    },
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What the target says, phase by phase; `None`: it answers with an error.
fn phases() -> Vec<Option<String>> {
    let page = |round: u32, more: &str| {
        let (a, b) = (round * 3, round * 5 + 1);
        Some(format!(
            "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{{tool=\"read\",q=\"a \\\"b\\\" \\\\ }}\"}} {a}\ncalls_total{{tool=\"write\"}} {b}\n\
             # TYPE took_seconds histogram\ntook_seconds_bucket{{le=\"0.1\"}} {a}\ntook_seconds_bucket{{le=\"1\"}} {b}\ntook_seconds_bucket{{le=\"+Inf\"}} {}\ntook_seconds_sum {a}.25\ntook_seconds_count {}\n\
             # TYPE up_and_down gauge\nup_and_down{{job=\"own\",empty=\"\"}} -{a}.125\nodd NaN\nlarge 1e300\nendless -Inf\n{more}",
            b + 2,
            b + 2
        ))
    };
    vec![
        page(1, "early 1\n"),
        page(2, "early 2\n"),
        page(3, ""),
        None,
        page(4, "late{x=\"\u{e9}\u{4e16}\"} 5 \n"),
        // The counters start again.
        page(0, "late{x=\"\u{e9}\u{4e16}\"} 6\n"),
        page(
            6,
            "# a comment\n\nlate { x = \"\u{e9}\u{4e16}\" ,} 7\nearly 8\n",
        ),
        // Prometheus keeps alive what stands before a broken line; here nothing does.
        Some("broken\ncalls_total 1\n".into()),
        page(7, ""),
    ]
}

/// A target that counts who asked how often in its present phase.
#[derive(Default)]
struct Stage {
    now: Mutex<(Option<String>, HashMap<bool, u32>)>,
    asked: Condvar,
}

impl Stage {
    /// Shows a page until both have asked four times, and gives the moment at which both had asked twice: what is seen at that moment is of this page, however
    /// late a request and however early its time.
    fn play(&self, page: Option<String>) -> i64 {
        let mut now = self.now.lock().unwrap();
        *now = (page, HashMap::new());
        let mut moment = None;
        loop {
            let asked = [true, false].map(|who| now.1.get(&who).copied().unwrap_or(0));
            let both = asked[0].min(asked[1]);
            if both >= 2 && moment.is_none() {
                moment = Some(clock());
            }
            if let (4.., Some(moment)) = (both, moment) {
                return moment;
            }
            let (next, timeout) = self
                .asked
                .wait_timeout(now, Duration::from_secs(60))
                .unwrap();
            assert!(!timeout.timed_out(), "both scrape: {:?}", next.1);
            now = next;
        }
    }

    fn serve(self: Arc<Self>, listener: TcpListener) {
        for stream in listener.incoming().flatten() {
            let stage = self.clone();
            std::thread::spawn(move || stage.answer(stream));
        }
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut theirs = false;
        for line in BufReader::new(stream.try_clone()?).lines() {
            let line = line?;
            theirs |= line.to_lowercase().starts_with("user-agent: prometheus");
            if line.is_empty() {
                break;
            }
        }
        let page = {
            let mut now = self.now.lock().unwrap();
            *now.1.entry(theirs).or_default() += 1;
            now.0.clone()
        };
        let (status, body) = page.map_or(("500 Oops", String::new()), |page| ("200 OK", page));
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        self.asked.notify_all();
        Ok(())
    }
}

fn clock() -> i64 {
    i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap()
}

/// A GET without any library: status and body.
fn get(address: SocketAddr, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = String::from_utf8_lossy(&answer[9..12])
        .parse()
        .map_err(|_| io::ErrorKind::InvalidData)?;
    Ok((status, answer[end + 4..].to_vec()))
}

struct Plain(SocketAddr);

impl Fetch for Plain {
    fn fetch<'a>(&'a self, _: &'a Target) -> Fetching<'a> {
        let address = self.0;
        Box::pin(async move {
            let got = tokio::task::spawn_blocking(move || get(address, "/metrics")).await;
            match got.map_err(|e| ScrapeError::Fetch(e.to_string()))? {
                Ok((200, bytes)) => Ok(Page {
                    bytes,
                    format: Format::Text,
                }),
                Ok((status, _)) => Err(ScrapeError::Status(status)),
                Err(error) => Err(ScrapeError::Fetch(error.to_string())),
            }
        })
    }
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn start(folder: &std::path::Path, target: SocketAddr) -> Self {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 150ms, scrape_timeout: 150ms}}\nscrape_configs: [{{job_name: t, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("prometheus").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus is installed (Debian's package of that name)");
        let this = Self { child, address };
        while !matches!(get(address, "/-/ready"), Ok((200, _))) {
            // It tells nobody when it listens.
            std::thread::sleep(Duration::from_millis(50));
        }
        this
    }

    fn ask(&self, what: &str, parameters: &[(&str, String)]) -> Vec<(SeriesName, Vec<(i64, f64)>)> {
        let escaped = |text: &str| {
            text.bytes()
                .map(|b| format!("%{b:02x}"))
                .collect::<String>()
        };
        let parameters: Vec<String> = parameters
            .iter()
            .map(|(k, v)| format!("{k}={}", escaped(v)))
            .collect();
        let (status, body) = get(
            self.address,
            &format!("/api/v1/{what}?{}", parameters.join("&")),
        )
        .unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let answer: Value = serde_json::from_slice(&body).unwrap();
        let point = |point: &Value| {
            (
                (point[0].as_f64().unwrap() * 1e3).round() as i64,
                point[1].as_str().unwrap().parse().unwrap(),
            )
        };
        let line = |line: &Value| {
            let labels = line["metric"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str().unwrap().into()));
            let (own, labels): (Vec<_>, Vec<_>) = labels.partition(|(k, _)| *k == "__name__");
            let metric = own
                .first()
                .map_or("".into(), |(_, v): &(&str, std::borrow::Cow<'_, str>)| {
                    v.clone()
                });
            let points = line["values"].as_array().map_or_else(
                || vec![point(&line["value"])],
                |values| values.iter().map(point).collect(),
            );
            (SeriesName::new(&metric, labels).unwrap(), points)
        };
        answer["data"]["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(line)
            .collect()
    }
}

fn answer(store: &Store, query: &Query) -> (Vec<i64>, Vec<Line>) {
    let (from, to, width) = query.needs();
    let answer = query
        .answer(&store.select(&query.select, from, to, width))
        .unwrap();
    (answer.times, answer.lines)
}

fn shown(lines: impl Iterator<Item = (SeriesName, f64)>) -> BTreeMap<String, String> {
    let told = lines.filter(|(name, _)| !name.metric().starts_with("scrape_"));
    told.map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_and_we_see_the_same_target_and_answer_alike() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let stage = Arc::new(Stage::default());
    std::thread::spawn({
        let stage = stage.clone();
        move || stage.serve(listener)
    });
    let prometheus = Prometheus::start(folder.path(), target);
    let store = SharedStore::new(Store::open(Options::new(&folder.path().join("ours"))).unwrap());
    let scraper = Scraper::new(store.clone(), Arc::new(Plain(target)), Arc::new(clock));
    let ours = Target {
        interval: Duration::from_millis(150),
        ..Target::new("t", &target.to_string(), "")
    };
    scraper.set(vec![ours]);

    let mut moments = Vec::new();
    for page in phases() {
        let stage = stage.clone();
        moments.push(
            tokio::task::spawn_blocking(move || stage.play(page))
                .await
                .unwrap(),
        );
    }
    drop(scraper);
    for (phase, at) in moments.iter().enumerate() {
        let theirs = prometheus.ask(
            "query",
            &[
                ("query", "{job=\"t\"}".into()),
                ("time", format!("{}", *at as f64 / 1e3)),
            ],
        );
        let query = Query {
            select: Select::default(),
            from: *at,
            to: *at,
            step: 1,
            function: Function::Last,
            range: 300_000,
            grouping: None,
            quantile: None,
        };
        let (_, lines) = answer(&store.lock(), &query);
        let ours = shown(lines.into_iter().map(|line| (line.name, line.values[0])));
        assert_eq!(
            ours,
            shown(theirs.into_iter().map(|(name, points)| (name, points[0].1))),
            "phase {phase}"
        );
    }

    // The same samples, put into a store of ours: the same answers to queries.
    let (start, end) = (moments[0] - 2_000, *moments.last().unwrap());
    let mut rows: BTreeMap<i64, Vec<(SeriesName, f64)>> = BTreeMap::new();
    for (name, points) in prometheus.ask(
        "query",
        &[
            ("query", "{job=\"t\"}[1h]".into()),
            ("time", format!("{}", end as f64 / 1e3)),
        ],
    ) {
        for (time, value) in points {
            rows.entry(time).or_default().push((name.clone(), value));
        }
    }
    let mut again = Store::open(Options::new(&folder.path().join("again"))).unwrap();
    let source = again.source("t");
    for (time, cells) in rows {
        let mut row = Vec::new();
        for (name, value) in cells {
            let column = again.column(source, &name, Default::default()).unwrap();
            row.resize(row.len().max(column + 1), flotilla_metrics::store::ABSENT);
            row[column] = value;
        }
        again.append(source, time, &row).unwrap();
    }
    again.checkpoint().unwrap();
    let by = |aggregate, by: &[&str]| {
        Some(Grouping {
            aggregate,
            by: by.iter().map(|s| (*s).to_owned()).collect(),
        })
    };
    type Asked<'a> = (&'a str, &'a str, Function, Option<Grouping>, Option<f64>);
    let asked: [Asked<'_>; 12] = [
        (
            "rate(calls_total[1s])",
            "calls_total",
            Function::Rate,
            None,
            None,
        ),
        (
            "increase(calls_total[1s])",
            "calls_total",
            Function::Increase,
            None,
            None,
        ),
        (
            "delta(up_and_down[1s])",
            "up_and_down",
            Function::Delta,
            None,
            None,
        ),
        (
            "avg_over_time(up_and_down[1s])",
            "up_and_down",
            Function::Mean,
            None,
            None,
        ),
        (
            "min_over_time(up_and_down[1s])",
            "up_and_down",
            Function::Min,
            None,
            None,
        ),
        (
            "max_over_time(up_and_down[1s])",
            "up_and_down",
            Function::Max,
            None,
            None,
        ),
        (
            "count_over_time(calls_total[1s])",
            "calls_total",
            Function::Count,
            None,
            None,
        ),
        (
            "sum_over_time(calls_total[1s])",
            "calls_total",
            Function::Sum,
            None,
            None,
        ),
        (
            "sum by (job) (rate(calls_total[1s]))",
            "calls_total",
            Function::Rate,
            by(Aggregate::Sum, &["job"]),
            None,
        ),
        (
            "max by (tool) (increase(calls_total[1s]))",
            "calls_total",
            Function::Increase,
            by(Aggregate::Max, &["tool"]),
            None,
        ),
        (
            "histogram_quantile(0.9, rate(took_seconds_bucket[1s]))",
            "took_seconds_bucket",
            Function::Rate,
            None,
            Some(0.9),
        ),
        (
            "histogram_quantile(0.2, sum by (le) (rate(took_seconds_bucket[1s])))",
            "took_seconds_bucket",
            Function::Rate,
            by(Aggregate::Sum, &[]),
            Some(0.2),
        ),
    ];
    for (expression, metric, function, grouping, quantile) in asked {
        let span = [
            ("query", expression.into()),
            ("start", format!("{}", start as f64 / 1e3)),
            ("end", format!("{}", end as f64 / 1e3)),
            ("step", "0.05".into()),
        ];
        let mut theirs = prometheus.ask("query_range", &span);
        theirs.sort_by(|a, b| a.0.cmp(&b.0));
        let query = Query {
            select: Select::metric(metric),
            from: start,
            to: end,
            step: 50,
            function,
            range: 1_000,
            grouping,
            quantile,
        };
        let (times, lines) = answer(&again, &query);
        // Prometheus leaves the metric's name out of what it has worked on.
        let unnamed = |line: &Line| SeriesName::new("", line.name.labels()).unwrap();
        let mut ours: Vec<(SeriesName, Vec<(i64, f64)>)> = lines
            .iter()
            .map(|line| {
                (
                    unnamed(line),
                    times
                        .iter()
                        .copied()
                        .zip(line.values.iter().copied())
                        .filter(|(_, v)| !is_absent(*v))
                        .collect(),
                )
            })
            .collect();
        ours.sort_by(|a, b| a.0.cmp(&b.0));
        assert!(!theirs.is_empty(), "{expression}");
        let names = |lines: &[(SeriesName, Vec<(i64, f64)>)]| {
            lines
                .iter()
                .map(|(n, p)| (n.clone(), p.iter().map(|(t, _)| *t).collect::<Vec<_>>()))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&ours), names(&theirs), "{expression}");
        for ((time, ours), (_, theirs)) in ours
            .iter()
            .flat_map(|l| &l.1)
            .zip(theirs.iter().flat_map(|l| &l.1))
        {
            let same = ours == theirs
                || (ours.is_nan() && theirs.is_nan())
                || (ours - theirs).abs() <= 1e-9 * theirs.abs();
            assert!(same, "{expression} at {time}: {ours}, Prometheus {theirs}");
        }
    }
}
