//! The same work beside Prometheus, in one run: a page of 10,000 series scraped, a day of 50 series queried. Left out, and said so, where `prometheus` and `promtool` are not installed.

use crate::{Children, exposition, timed};
use flotilla_contract::metric::{RangeAnswer, RangeLine};
use flotilla_metrics::{
    exposition::Format,
    scrape::{Reader, Target},
    store::{Answer, Function, Line, Options, Query, Select, SeriesName, Store, is_absent},
};
use serde_json::Value;
use std::{
    error::Error,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// With this argument the program serves the page and does nothing else: its share is in neither side's figures.
pub(crate) const SERVE: &str = "--serve-page";
/// Scrapes of each side, a second apart as Prometheus makes them.
const SCRAPES: u64 = 40;
/// Repetitions of a query.
const ASKED: usize = 15;
/// Seconds of a day, and between its samples.
const DAY: u64 = 86_400;
const APART: u64 = 15;

type Done<T = ()> = Result<T, Box<dyn Error>>;

pub(crate) fn run() -> Done {
    let there = |program| {
        let mut asked = Command::new(program);
        let asked = asked.arg("--version").stdout(Stdio::null());
        asked.stderr(Stdio::null()).status().is_ok()
    };
    if !there("prometheus") || !there("promtool") {
        println!("beside Prometheus: prometheus and promtool are not installed; left out");
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("flotilla-bench-p{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let done = scrapes(&folder).and_then(|()| queries(&folder));
    fs::remove_dir_all(&folder)?;
    done
}

/// Serves the page until it is ended; the first line that it prints is its port.
pub(crate) fn serve() -> Done {
    let page = exposition::page(10_000, 5);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        let page = page.clone();
        std::thread::spawn(move || -> std::io::Result<()> {
            let mut lines = BufReader::new(stream.try_clone()?);
            loop {
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    if lines.read_line(&mut line)? == 0 {
                        return Ok(());
                    }
                }
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n",
                    page.len()
                );
                stream.write_all(head.as_bytes())?;
                stream.write_all(page.as_bytes())?;
            }
        });
    }
    Ok(())
}

fn scrapes(folder: &Path) -> Done {
    let mut target = Command::new(std::env::current_exe()?);
    let mut target = target.arg(SERVE).stdout(Stdio::piped()).spawn()?;
    let mut port = String::new();
    let said = target.stdout.take().ok_or("no output")?;
    let mut children = Children(vec![target]);
    BufReader::new(said).read_line(&mut port)?;
    let port: u16 = port.trim().parse()?;

    let config = folder.join("scrape.yml");
    fs::write(
        &config,
        format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: t, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
        ),
    )?;
    let (prometheus, theirs) = prometheus(&config, &folder.join("scraped"), &mut children)?;
    std::thread::sleep(Duration::from_secs(5));
    let before = cpu_of(prometheus);
    // Both at the same time, one second apart: ours takes the other half of each second.
    let mut ours = Scraper::new(&folder.join("ours"), port)?;
    let mut walls = Vec::new();
    let mut cpu = 0.0;
    for _ in 0..SCRAPES {
        let start = Instant::now();
        let (spent, wall) = timed(1, || ours.scrape());
        cpu += spent / 1e3;
        walls.push(wall / 1e3);
        std::thread::sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
    }
    let spent = (cpu_of(prometheus) - before) / SCRAPES as f64;
    let p50 = ask(
        theirs,
        &format!("/api/v1/query?query=quantile_over_time(0.5,scrape_duration_seconds[{SCRAPES}s])"),
    )?;
    let p50 = &p50["data"]["result"][0]["value"][1];
    let p50: f64 = p50.as_str().ok_or("no duration")?.parse::<f64>()? * 1e3;
    walls.sort_by(f64::total_cmp);
    let wall = walls[walls.len() / 2];
    let cpu = cpu / SCRAPES as f64;
    println!(
        "scraping a page of 10,000 series, fetched and stored, {SCRAPES} times each, beside Prometheus:"
    );
    println!(
        "  p50 {wall:.2} ms, Prometheus {p50:.2} ms, {:.2} x (target 0.35)",
        wall / p50
    );
    println!(
        "  CPU {cpu:.2} ms, Prometheus {spent:.2} ms, {:.2} x (target 0.25)",
        cpu / spent
    );
    Ok(())
}

/// Our side: fetched over a connection that stays open, taken in as the engine does.
struct Scraper {
    store: Store,
    reader: Reader,
    stream: BufReader<TcpStream>,
}

impl Scraper {
    fn new(folder: &Path, port: u16) -> Done<Self> {
        let mut store = Store::open(Options::new(folder))?;
        let reader = Reader::new(&Target::new("bench", "target", ""), &mut store);
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let stream = BufReader::with_capacity(1 << 16, stream);
        Ok(Self {
            store,
            reader,
            stream,
        })
    }

    fn scrape(&mut self) {
        let page = self.fetch().unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_millis() as i64;
        let taken = self.reader.take(
            &mut self.store,
            now,
            Duration::ZERO,
            Ok((&page, Format::Text)),
        );
        assert!(taken.is_ok(), "{taken:?}");
    }

    fn fetch(&mut self) -> Done<String> {
        let stream = &mut self.stream;
        stream
            .get_mut()
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\n\r\n")?;
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line)?;
            if let Some(said) = line.strip_prefix("content-length: ") {
                length = said.trim().parse()?;
            }
        }
        let mut page = vec![0; length];
        stream.read_exact(&mut page)?;
        Ok(String::from_utf8(page)?)
    }
}

fn queries(folder: &Path) -> Done {
    // A day that is over, at whole hours, so that a block of Prometheus holds it.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let end = now / 7_200 * 7_200 - 7_200;
    let start = end - DAY;
    let mut store = Store::open(Options::new(&folder.join("day")))?;
    let source = store.source("bench");
    for i in 0..50 {
        let name = SeriesName::new("x_total", [("i", i.to_string().into())])?;
        store.column(source, &name, Default::default())?;
    }
    let mut rows: Vec<Vec<f64>> = Vec::new();
    let mut totals = vec![0.0; 50];
    for round in 0..DAY / APART {
        for (i, total) in totals.iter_mut().enumerate() {
            *total += exposition::value(2, i as u64, round).round();
        }
        store.append(source, ((start + APART * round) * 1_000) as i64, &totals)?;
        rows.push(totals.clone());
    }
    store.checkpoint()?;
    let mut text = String::from("# TYPE x counter\n");
    for i in 0..50 {
        for (round, row) in rows.iter().enumerate() {
            let at = start + APART * round as u64;
            writeln!(text, "x_total{{i=\"{i}\"}} {} {at}", row[i])?;
        }
    }
    text += "# EOF\n";
    let page = folder.join("day.txt");
    fs::write(&page, text)?;
    let blocks = folder.join("blocks");
    let mut tool = Command::new("promtool");
    tool.args(["tsdb", "create-blocks-from", "openmetrics"]);
    let made = tool.arg(&page).arg(&blocks).output()?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
    }
    let config = folder.join("none.yml");
    fs::write(&config, "global: {}\n")?;
    let mut children = Children(Vec::new());
    let (_, port) = prometheus(&config, &blocks, &mut children)?;
    println!(
        "24 hours of 50 series at 15 s, by minute, beside Prometheus (from a packed file, and a block):"
    );
    for (name, function, expression) in [
        ("the values", Function::Last, "x_total"),
        ("rates over 5 min", Function::Rate, "rate(x_total[5m])"),
    ] {
        let query = Query {
            select: Select::metric("x_total"),
            from: (start * 1_000) as i64,
            to: (end * 1_000) as i64,
            step: 60_000,
            function,
            range: 300_000,
            grouping: None,
            quantile: None,
        };
        let (from, to, _) = query.needs();
        let url = format!(
            "/api/v1/query_range?query={expression}&start={start}&end={end}&step=60&stats=all"
        );
        let (mut evaluated, mut written, mut theirs, mut whole) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ASKED {
            let begun = Instant::now();
            let selection = store.select(&query.select, from, to, 0);
            let answer = query.answer(&selection)?;
            evaluated.push(begun.elapsed().as_secs_f64() * 1e3);
            let text = as_json(&answer)?;
            written.push(begun.elapsed().as_secs_f64() * 1e3);

            let begun = Instant::now();
            let said = fetched(port, &url)?;
            whole.push(begun.elapsed().as_secs_f64() * 1e3);
            let said: Value = serde_json::from_str(&said)?;
            let timings = &said["data"]["stats"]["timings"];
            let eval = timings["evalTotalTime"].as_f64().ok_or("no timings")?;
            theirs.push(eval * 1e3);
            same(&said, &serde_json::from_str(&text)?)?;
        }
        let [evaluated, written, theirs, whole] = [evaluated, written, theirs, whole].map(median);
        println!(
            "  {name:<18} {evaluated:6.2} ms, Prometheus {theirs:6.2} ms, {:.2} x (target 0.5); as JSON {written:6.2} ms, over HTTP {whole:6.2} ms, {:.2} x",
            evaluated / theirs,
            written / whole
        );
    }
    Ok(())
}

/// The answer as `metrics.range` has it.
fn as_json(answer: &Answer) -> Done<String> {
    let line = |line: &Line| {
        let values = line.values.iter().map(|v| (!is_absent(*v)).then_some(*v));
        let label = line.name.label("i").unwrap_or_default();
        RangeLine {
            metric: line.name.metric().to_owned(),
            labels: vec![("i".to_owned(), label.into_owned())],
            values: values.collect(),
        }
    };
    Ok(serde_json::to_string(&RangeAnswer {
        times: answer.times.iter().map(|at| at.cast_unsigned()).collect(),
        lines: answer.lines.iter().map(line).collect(),
    })?)
}

/// A comparison of two different answers says nothing.
fn same(theirs: &Value, ours: &Value) -> Done {
    let (times, lines) = (&ours["times"], &ours["lines"]);
    let theirs = theirs["data"]["result"].as_array().ok_or("no result")?;
    let lines = lines.as_array().ok_or("no lines")?;
    if theirs.len() != lines.len() {
        return Err(format!("{} lines, Prometheus has {}", lines.len(), theirs.len()).into());
    }
    for line in lines {
        let label = &line["labels"][0][1];
        let known = theirs.iter().find(|l| l["metric"]["i"] == *label);
        let known = known
            .and_then(|l| l["values"].as_array())
            .ok_or("no line")?;
        let ours: Vec<(f64, f64)> = times
            .as_array()
            .into_iter()
            .flatten()
            .zip(line["values"].as_array().into_iter().flatten())
            .filter_map(|(at, value)| Some((at.as_f64()? / 1e3, value.as_f64()?)))
            .collect();
        let known: Vec<(f64, f64)> = known
            .iter()
            .filter_map(|p| Some((p[0].as_f64()?, p[1].as_str()?.parse().ok()?)))
            .collect();
        let near = |(a, b): (&(f64, f64), &(f64, f64))| {
            a.0 == b.0 && (a.1 - b.1).abs() <= b.1.abs() * 1e-9
        };
        if ours.len() != known.len() || !ours.iter().zip(&known).all(near) {
            return Err(format!("line {} is another one", label).into());
        }
    }
    Ok(())
}

/// Starts one over a folder of blocks; its process, and its port.
fn prometheus(config: &Path, data: &Path, children: &mut Children) -> Done<(u32, u16)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg("--storage.tsdb.retention.time=10d")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(["--log.level=error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = child.id();
    children.0.push(child);
    for _ in 0..300 {
        if fetched(port, "/-/ready").is_ok_and(|said| said.contains("Ready")) {
            return Ok((pid, port));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("Prometheus did not get ready within 30 s".into())
}

fn ask(port: u16, path: &str) -> Done<Value> {
    Ok(serde_json::from_str(&fetched(port, path)?)?)
}

/// HTTP/1.0, so that what comes is the body until its end.
fn fetched(port: u16, path: &str) -> Done<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: bench\r\n\r\n").as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    let (_, body) = said.split_once("\r\n\r\n").ok_or("no answer")?;
    Ok(body.to_owned())
}

/// CPU that a process has spent, in milliseconds: the sum over its threads, as the scheduler counts it.
fn cpu_of(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let spent = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        });
    spent.sum::<f64>() / 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
