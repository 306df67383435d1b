use super::*;
use proptest::{collection::vec, option, prelude::*};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};
use tempfile::TempDir;

const START: i64 = 1_700_000_000_000;

fn name(text: &str) -> SeriesName {
    let (metric, labels) = text.split_once('{').unwrap_or((text, ""));
    let labels = labels
        .trim_end_matches('}')
        .split(',')
        .filter_map(|l| l.split_once('='));
    SeriesName::new(metric, labels.map(|(k, v)| (k, v.trim_matches('"').into()))).unwrap()
}

/// A store in a folder that is gone with it, and the rows it was given.
struct Bed {
    store: Option<Store>,
    options: Options,
    folder: TempDir,
    given: BTreeMap<SeriesName, Vec<(i64, f64)>>,
}

impl Bed {
    fn new(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path());
        options.keep = [i64::MAX / 4; 4];
        change(&mut options);
        let store = Some(Store::open(options.clone()).unwrap());
        Self {
            store,
            options,
            folder,
            given: BTreeMap::new(),
        }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(self.options.clone()).unwrap());
    }

    /// One row of a source: names and values.
    fn row(&mut self, source: &str, time: i64, cells: &[(&str, f64)]) {
        let store = self.store.as_mut().unwrap();
        let from = store.source(source);
        let mut values = Vec::new();
        for (text, value) in cells {
            let name = name(text);
            let column = store.column(from, &name, Kind::Unknown).unwrap();
            if values.len() <= column {
                values.resize(column + 1, ABSENT);
            }
            values[column] = *value;
            self.given.entry(name).or_default().push((time, *value));
        }
        store.append(from, time, &values).unwrap();
    }

    fn roll_up(&mut self) {
        while let Some(work) = self.store().pending() {
            work.run().unwrap();
            self.store().adopt(&work).unwrap();
        }
    }

    fn read(&self, width: i64) -> BTreeMap<SeriesName, select::Points> {
        let selection = self.store.as_ref().unwrap().select(
            &Select::default(),
            i64::MIN / 2,
            i64::MAX / 2,
            width,
        );
        let points = selection.read(&selection.series).unwrap();
        selection
            .series
            .iter()
            .map(|picked| picked.name.clone())
            .zip(points)
            .collect()
    }

    /// The samples, without the marks of absence.
    fn samples(&self) -> BTreeMap<SeriesName, Vec<(i64, f64)>> {
        let there = |points: select::Points| {
            points
                .raw
                .into_iter()
                .filter(|(_, v)| !is_absent(*v))
                .collect()
        };
        self.read(0)
            .into_iter()
            .map(|(name, points)| (name, there(points)))
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Row {
        source: usize,
        after: i64,
        values: Vec<Option<f64>>,
    },
    Checkpoint,
    Close,
    RollUp,
    Reopen,
    /// The end of the log is cut off by this many bytes, and the store opened again: rows may be lost, but only the newest.
    Tear(u64),
}

const NAMES: [[&str; 4]; 2] = [
    ["a_total{x=\"1\"}", "a_total{x=\"2\"}", "b", "c{y=\"z\"}"],
    ["a_total{x=\"3\"}", "d", "e", "f"],
];

fn deed() -> impl Strategy<Value = Deed> {
    let value = prop_oneof![4 => (0_i32..5000).prop_map(|n| f64::from(n) / 4.0), 1 => any::<f64>().prop_filter("NaN is no equal", |v| !v.is_nan())];
    let row = (
        0_usize..2,
        1_i64..30_000,
        vec(option::weighted(0.7, value), 4),
    );
    prop_oneof![
        40 => row.prop_map(|(source, after, values)| Deed::Row { source, after, values }),
        1 => Just(Deed::Checkpoint),
        1 => Just(Deed::Close),
        1 => Just(Deed::RollUp),
        1 => Just(Deed::Reopen),
        1 => (1_u64..40).prop_map(Deed::Tear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever happens between the rows, they all come back, from every level.
    #[test]
    fn the_store_gives_what_a_list_would(deeds in vec(deed(), 1..600), memory in prop::sample::select(vec![600_usize, 1 << 20])) {
        let mut bed = Bed::new(|options| options.memory = memory);
        let mut time = START;
        for deed in deeds {
            match deed {
                Deed::Row { source, after, values } => {
                    time += after;
                    let cells: Vec<_> = NAMES[source].iter().zip(values).filter_map(|(n, v)| Some((*n, v?))).collect();
                    bed.row(["one", "two"][source], time, &cells);
                }
                Deed::Checkpoint => bed.store().checkpoint().unwrap(),
                Deed::Close => bed.store().close().unwrap(),
                Deed::RollUp => bed.roll_up(),
                Deed::Reopen => bed.reopen(),
                Deed::Tear(by) => {
                    let (path, length) = (bed.store().log.path.clone(), bed.store().log.length);
                    let log = fs::OpenOptions::new().write(true).open(path).unwrap();
                    log.set_len(length.saturating_sub(by).max(8)).unwrap();
                    bed.reopen();
                    // Samples that are gone are the newest of their series, of few rows.
                    let there = bed.samples();
                    for (name, given) in &mut bed.given {
                        let kept = there.get(name).cloned().unwrap_or_default();
                        prop_assert!(given.starts_with(&kept));
                        prop_assert!(given.len() - kept.len() <= usize::try_from(by).unwrap());
                        *given = kept;
                    }
                    bed.given.retain(|_, given| !given.is_empty());
                }
            }
        }
        let mut there = bed.samples();
        there.retain(|_, samples| !samples.is_empty());
        prop_assert_eq!(&there, &bed.given);

        bed.store().close().unwrap();
        bed.roll_up();
        bed.reopen();
        for (_, width) in &LEVELS[1..] {
            for (name, points) in bed.read(*width) {
                let mut merged: BTreeMap<i64, Bucket> = BTreeMap::new();
                for (start, of, bucket) in points.rolled {
                    prop_assert_eq!(of, *width);
                    merged.entry(start).and_modify(|b| *b = b.then(bucket)).or_insert(bucket);
                }
                let mut expected: BTreeMap<i64, Bucket> = BTreeMap::new();
                for (time, value) in bed.given.get(&name).into_iter().flatten() {
                    let one = Bucket::of(*value);
                    expected.entry(time / width * width).and_modify(|b| *b = b.then(one)).or_insert(one);
                }
                prop_assert_eq!(merged.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
                let counter = accumulates(name.metric(), Kind::Unknown);
                for (ours, all) in merged.values().zip(expected.values()) {
                    prop_assert_eq!((ours.count, ours.min, ours.max, ours.first, ours.last), (all.count, all.min, all.max, all.first, all.last));
                    // Sums of what differs by powers lose the small ones, in an order of their own.
                    let near = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-9 * all.min.abs().max(all.max.abs()) * all.count || !(a - b).is_finite();
                    prop_assert!(near(ours.sum, all.sum), "{} {}", ours.sum, all.sum);
                    prop_assert!(!counter || near(ours.increase, all.increase), "{} {}", ours.increase, all.increase);
                }
            }
        }
    }

    /// Queries give what going through all samples for each point gives.
    #[test]
    fn queries_give_what_the_definition_gives(
        rows in vec((1_i64..40_000, option::weighted(0.85, 0_i32..400)), 1..400), step in 1_i64..90_000, range in 1_i64..300_000, from in -50_000_i64..2_000_000, cut in any::<prop::sample::Index>(),
    ) {
        let mut bed = Bed::new(|_| {});
        let (mut time, mut all) = (START, Vec::new());
        let cut = cut.index(rows.len());
        for (i, (after, value)) in rows.iter().enumerate() {
            time += after;
            // `up` makes it a row even when the series is absent.
            let mut cells = vec![("up", 1.0)];
            cells.extend(value.map(|v| ("x_total", f64::from(v))));
            bed.row("one", time, &cells);
            all.push((time, value.map(f64::from)));
            if i == cut { bed.store().checkpoint().unwrap(); }
        }
        for function in [Function::Last, Function::Mean, Function::Min, Function::Max, Function::Sum, Function::Count, Function::Increase, Function::Rate, Function::Delta] {
            let query = Query { select: Select::metric("x_total"), from: START + from, to: START + from + 50 * step, step, function, range, grouping: None, quantile: None };
            let (since, until, _) = query.needs();
            let answer = query.answer(&bed.store().select(&query.select, since, until, 0)).unwrap();
            let expected: Vec<Option<f64>> = answer.times.iter().map(|t| defined(function, &all, *t, range)).collect();
            let line = answer.lines.first().map(|line| line.values.clone());
            let got: Vec<Option<f64>> = line.map_or_else(|| vec![None; expected.len()], |v| v.into_iter().map(|v| (!is_absent(v)).then_some(v)).collect());
            for (got, expected) in got.iter().zip(&expected) {
                match (got, expected) {
                    (Some(got), Some(expected)) => prop_assert!((got - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{function:?}: {got} {expected}"),
                    _ => prop_assert_eq!(got, expected, "{:?}", function),
                }
            }
        }
    }
}

/// A point by its definition in the documentation of Prometheus.
fn defined(function: Function, all: &[(i64, Option<f64>)], time: i64, range: i64) -> Option<f64> {
    if function == Function::Last {
        return all
            .iter()
            .rev()
            .find(|(t, _)| *t <= time)
            .filter(|(t, _)| *t > time - range)?
            .1;
    }
    let inside: Vec<(i64, f64)> = all
        .iter()
        .filter(|(t, _)| (time - range..=time).contains(t))
        .filter_map(|(t, v)| Some((*t, (*v)?)))
        .collect();
    let values = || inside.iter().map(|(_, v)| *v);
    let (first, last) = (inside.first()?, inside.last()?);
    let count = inside.len() as f64;
    let counter = function != Function::Delta;
    let rise = if counter {
        inside
            .windows(2)
            .map(|w| {
                if w[1].1 < w[0].1 {
                    w[1].1
                } else {
                    w[1].1 - w[0].1
                }
            })
            .sum()
    } else {
        last.1 - first.1
    };
    let extrapolated = || {
        let sampled = (last.0 - first.0) as f64;
        let mean = sampled / (count - 1.0);
        let mut start = (first.0 - (time - range)) as f64;
        if counter && rise > 0.0 {
            start = start.min(sampled * first.1 / rise);
        }
        let end = (time - last.0) as f64;
        let part = |gap: f64| if gap < mean * 1.1 { gap } else { mean / 2.0 };
        rise * (sampled + part(start) + part(end)) / sampled
    };
    match function {
        Function::Last => None,
        Function::Mean => Some(values().sum::<f64>() / count),
        Function::Min => values().reduce(f64::min),
        Function::Max => values().reduce(f64::max),
        Function::Sum => Some(values().sum()),
        Function::Count => Some(count),
        _ if inside.len() < 2 => None,
        Function::Rate => Some(extrapolated() / (range as f64 / 1e3)),
        Function::Increase | Function::Delta => Some(extrapolated()),
    }
}

/// The lines of an answer as text, gaps as `-`.
fn shown(store: &Store, query: &Query) -> Vec<String> {
    let (from, to, width) = query.needs();
    let answer = query
        .answer(&store.select(&query.select, from, to, width))
        .unwrap();
    let cell = |v: &f64| {
        if is_absent(*v) {
            "-".to_owned()
        } else {
            format!("{}", (v * 1e4).round() / 1e4)
        }
    };
    let line = |line: &Line| {
        format!(
            "{} {}",
            line.name,
            line.values.iter().map(cell).collect::<Vec<_>>().join(" ")
        )
    };
    answer.lines.iter().map(line).collect()
}

fn ask(metric: &str, function: Function, points: i64, step: i64) -> Query {
    Query {
        select: Select::metric(metric),
        from: START + step,
        to: START + points * step,
        step,
        function,
        range: step,
        grouping: None,
        quantile: None,
    }
}

#[test]
fn lines_are_put_together_by_labels() {
    let mut bed = Bed::new(|_| {});
    for (i, (a, b)) in [(1.0, 10.0), (2.0, 20.0), (3.0, 30.0)]
        .into_iter()
        .enumerate()
    {
        let time = START + 10_000 * (i64::try_from(i).unwrap() + 1);
        let mut cells = vec![("x{s=\"1\",t=\"a\"}", a), ("x{s=\"1\",t=\"b\"}", b)];
        if i < 2 {
            cells.push(("x{s=\"2\",t=\"a\"}", 100.0));
        }
        bed.row("one", time, &cells);
    }
    let grouped = |aggregate, by: &[&str]| {
        let by = by.iter().map(|s| (*s).to_owned()).collect();
        let query = Query {
            grouping: Some(Grouping { aggregate, by }),
            range: 300_000,
            ..ask("x", Function::Last, 4, 10_000)
        };
        shown(bed.store.as_ref().unwrap(), &query)
    };
    assert_eq!(
        grouped(Aggregate::Sum, &["s"]),
        ["{s=\"1\"} 11 22 33 33", "{s=\"2\"} 100 100 - -"],
        "a series that ended is a gap at once"
    );
    assert_eq!(
        grouped(Aggregate::Avg, &["t"]),
        ["{t=\"a\"} 50.5 51 3 3", "{t=\"b\"} 10 20 30 30"]
    );
    assert_eq!(grouped(Aggregate::Max, &[]), [" 100 100 30 30"]);
    assert_eq!(grouped(Aggregate::Min, &[]), [" 1 2 3 3"]);
    assert_eq!(grouped(Aggregate::Count, &[]), [" 3 3 2 2"]);
}

#[test]
fn quantiles_of_histograms_survive_the_roll_up() {
    let mut bed = Bed::new(|_| {});
    for i in 0..720 {
        let time = START + 5_000 * i;
        let n = i as f64;
        bed.row(
            "one",
            time,
            &[
                ("took_bucket{le=\"0.1\"}", 5.0 * n),
                ("took_bucket{le=\"1\"}", 9.0 * n),
                ("took_bucket{le=\"+Inf\"}", 10.0 * n),
            ],
        );
    }
    let query = |store: &Store, q| {
        let query = Query {
            from: START + 1_800_000,
            range: 1_200_000,
            quantile: Some(q),
            ..ask("took_bucket", Function::Rate, 3, 1_200_000)
        };
        shown(store, &query)
    };
    let before = [0.5, 0.7, 0.95].map(|q| query(bed.store.as_ref().unwrap(), q));
    assert_eq!(before[0], ["took 0.1 0.1"]);
    assert_eq!(before[1], ["took 0.55 0.55"]);
    assert_eq!(before[2], ["took 1 1"]);
    bed.store().close().unwrap();
    bed.roll_up();
    assert_eq!(
        before,
        [0.5, 0.7, 0.95].map(|q| query(bed.store.as_ref().unwrap(), q))
    );
}

#[test]
fn roll_ups_stand_in_for_samples_and_for_each_other() {
    let mut bed = Bed::new(|_| {});
    for i in 0..1_800_i64 {
        bed.row(
            "one",
            START - START % 60_000 + 2_000 * i,
            &[("x_total", (i % 900) as f64), ("y", i as f64)],
        );
    }
    bed.store().close().unwrap();
    let minute = |metric, function| Query {
        from: START - START % 60_000 + 60_000,
        to: START - START % 60_000 + 300_000,
        ..ask(metric, function, 0, 60_000)
    };
    let all = [
        ("x_total", Function::Increase),
        ("y", Function::Mean),
        ("y", Function::Max),
        ("y", Function::Delta),
        ("y", Function::Last),
        ("y", Function::Count),
    ];
    let answers = |bed: &Bed| {
        all.map(|(metric, function)| {
            shown(bed.store.as_ref().unwrap(), &minute(metric, function)).concat()
        })
    };
    bed.roll_up();
    let rolled = [
        "x_total 29 30 30 30 30",
        "y 14.5 44.5 74.5 104.5 134.5",
        "y 29 59 89 119 149",
        "y 29 30 30 30 30",
        "y 29 59 89 119 149",
        "y 30 30 30 30 30",
    ];
    assert_eq!(answers(&bed), rolled);
    // The finer levels are gone: an hour is what is left, and it says so by standing where it ends.
    let end = START + 4 * 3_600_000;
    for level in 0..3 {
        bed.store().drop_file(level, 1).unwrap();
        if level < 2 {
            assert_eq!(answers(&bed), rolled, "{level}");
        }
    }
    let hours = Query {
        from: end - end % 3_600_000 - 4 * 3_600_000,
        to: end,
        ..ask("x_total", Function::Increase, 0, 3_600_000)
    };
    let total: f64 = {
        let (from, to, width) = hours.needs();
        let answer = hours
            .answer(&bed.store().select(&hours.select, from, to, width))
            .unwrap();
        answer.lines[0]
            .values
            .iter()
            .filter(|v| !is_absent(**v))
            .sum()
    };
    assert_eq!(total, 1798.0, "899 and, after the reset to zero, 899 again");
}

#[test]
fn a_series_that_ends_leaves_its_column_and_comes_back_under_its_number() {
    let mut bed = Bed::new(|_| {});
    let row = |bed: &mut Bed, i: i64, with: bool| {
        let mut cells = vec![("up", 1.0)];
        if with {
            cells.push(("x", 2.0));
        }
        bed.row("one", START + i * 10_000, &cells);
    };
    (0..5).for_each(|i| row(&mut bed, i, true));
    let source = bed.store().source("one");
    let generation = bed.store().generation(source);
    (5..300).for_each(|i| row(&mut bed, i, false));
    assert_ne!(bed.store().generation(source), generation);
    bed.reopen();
    row(&mut bed, 300, true);
    assert_eq!(bed.store().stats().series, 2);
    let query = Query {
        from: START,
        range: 300_000,
        to: START + 3_000_000,
        ..ask("x", Function::Last, 0, 20_000)
    };
    let line = shown(bed.store(), &query).concat();
    let cells: Vec<&str> = line.split(' ').collect();
    assert_eq!(&cells[..5], ["x", "2", "2", "2", "-"]);
    assert_eq!(cells[150..], ["-", "2"]);
    assert!(cells[4..151].iter().all(|c| *c == "-"));
}

#[test]
fn bounds_hold() {
    let mut bed = Bed::new(|options| {
        options.max_series = 3;
        options.disk = 4 << 20;
        options.memory = 4096;
        options.span = 3_600_000;
        options.keep = [3_600_000, 7_200_000, i64::MAX / 4, i64::MAX / 4];
    });
    bed.row("one", START, &[("a", 0.1), ("b", 0.2), ("c", 0.3)]);
    let source = bed.store().source("one");
    assert!(matches!(
        bed.store().column(source, &name("d"), Kind::Gauge),
        Err(Error::Full(3))
    ));
    let other = bed.store().source("two");
    assert_eq!(
        bed.store()
            .column(other, &name("a"), Kind::Gauge)
            .unwrap_err()
            .to_string(),
        "take a from two: it comes from one already"
    );
    assert!(matches!(
        bed.store().append(source, START, &[1.0]),
        Err(Error::Late { .. })
    ));
    assert!(matches!(
        bed.store().append(source, START + 1, &[1.0; 4]),
        Err(Error::Columns {
            values: 4,
            columns: 3
        })
    ));
    // Values without a form: eight bytes each.
    let mut noise = 1_u64;
    for i in 1..200_000_i64 {
        let mut next = || {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f64::from_bits(noise >> 2)
        };
        let time = START + i * 1_000;
        let row = [next(), next(), next()];
        bed.store().append(source, time, &row).unwrap();
        if i % 500 == 0 {
            bed.store().tick(time).unwrap();
            bed.roll_up();
            let stats = bed.store().stats();
            assert!(stats.disk <= 4 << 20 && stats.memory <= 4096, "{stats:?}");
        }
    }
    let on_disk: u64 = LEVELS
        .iter()
        .map(|(n, _)| *n)
        .chain([LOG])
        .flat_map(|n| fs::read_dir(bed.folder.path().join(n)).unwrap())
        .map(|e| e.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk <= 4 << 20);
    let stats = bed.store().stats();
    assert_eq!(stats.disk, on_disk, "what is counted is what is there");
    assert!(stats.levels.iter().all(|bytes| *bytes > 0), "{stats:?}");
    assert_eq!((stats.lost_rows, stats.refused_series), (0, 1));
}

#[test]
fn a_file_that_is_none_of_ours_is_set_aside_and_said() {
    let mut bed = Bed::new(|_| {});
    bed.row("one", START, &[("a", 1.0)]);
    bed.store().close().unwrap();
    bed.row("one", START + 1, &[("a", 2.0)]);
    fs::write(
        bed.folder.path().join("raw/00000001.pages"),
        "not ours at all",
    )
    .unwrap();
    bed.reopen();
    let notices = bed.store().notices();
    assert!(
        notices.len() == 1
            && notices[0].contains("FLOTMET1")
            && notices[0].contains("00000001.broken"),
        "{notices:?}"
    );
    assert_eq!(bed.samples()[&name("a")], [(START + 1, 2.0)]);
}

#[test]
fn a_clock_that_was_set_back_is_believed_after_a_minute() {
    let mut bed = Bed::new(|_| {});
    bed.row("one", START + 100_000, &[("a", 1.0)]);
    let source = bed.store().source("one");
    assert!(bed.store().append(source, START + 50_000, &[2.0]).is_err());
    bed.row("one", START, &[("a", 3.0)]);
    bed.row("one", START + 1_000, &[("a", 4.0)]);
    assert_eq!(
        bed.samples()[&name("a")],
        [(START, 3.0), (START + 1_000, 4.0), (START + 100_000, 1.0)]
    );
}

/// A process that writes rows until it is killed, and says each when the store has it.
#[test]
#[ignore = "the kill test starts it"]
fn the_writer_that_is_killed() {
    let Some(folder) = std::env::var_os("FLOTILLA_KILLED_STORE") else {
        return;
    };
    let mut store = Store::open(Options {
        memory: 20_000,
        ..Options::new(Path::new(&folder))
    })
    .unwrap();
    let source = store.source("one");
    let columns = 50;
    for i in 0..columns {
        store
            .column(source, &name(&format!("x{{i=\"{i}\"}}")), Kind::Gauge)
            .unwrap();
    }
    for row in 0.. {
        store
            .append(source, START + row * 1_000, &vec![row as f64; columns])
            .unwrap();
        println!("row {row}");
    }
}

#[test]
fn a_kill_loses_no_row_that_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    for kill_after in [3_i64, 130, 1_000] {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "store::tests::the_writer_that_is_killed",
            ])
            .env("FLOTILLA_KILLED_STORE", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut taken = -1;
        while taken < kill_after {
            let line = lines
                .next()
                .expect("the writer goes on until it is killed")
                .unwrap();
            taken = line
                .rsplit_once("row ")
                .and_then(|(_, n)| n.parse().ok())
                .unwrap_or(taken);
        }
        // SIGKILL: nothing of the process runs any more.
        writer.kill().unwrap();
        writer.wait().unwrap();
        let mut store = Store::open(Options::new(folder.path())).unwrap();
        assert_eq!(store.notices(), [""; 0]);
        let selection = store.select(&Select::metric("x"), 0, i64::MAX, 0);
        assert_eq!(selection.series.len(), 50);
        for points in selection.read(&selection.series).unwrap() {
            let newest = points.raw.last().unwrap().1;
            assert!(
                newest >= taken as f64,
                "row {taken} was taken, the newest is {newest}"
            );
            let expected: Vec<(i64, f64)> = (0..points.raw.len())
                .map(|i| (START + i as i64 * 1_000, i as f64))
                .collect();
            assert_eq!(points.raw, expected);
        }
        drop(store);
        fs::remove_dir_all(folder.path()).unwrap();
    }
}

#[test]
fn a_query_that_makes_no_sense_says_what_is_wrong() {
    let sound = Query {
        select: Select::metric("x"),
        from: 1_000,
        to: 2_000,
        step: 1_000,
        function: Function::Rate,
        range: 1_000,
        grouping: None,
        quantile: None,
    };
    let selection = Selection::default();
    assert_eq!(sound.answer(&selection).unwrap().times, [1_000, 2_000]);
    let point = Query {
        to: 1_000,
        ..sound.clone()
    };
    assert_eq!(point.answer(&selection).unwrap().times, [1_000]);
    for (query, said) in [
        (
            Query {
                to: 999,
                ..sound.clone()
            },
            "to is 999, before from, which is 1000 (accepted: from and later)",
        ),
        (
            Query {
                step: 0,
                ..sound.clone()
            },
            "step is 0 ms (accepted: 1 ms and more)",
        ),
        (
            Query {
                range: -1,
                ..sound.clone()
            },
            "range is -1 ms (accepted: 1 ms and more)",
        ),
        (
            Query {
                quantile: Some(1.5),
                ..sound.clone()
            },
            "quantile is 1.5 (accepted: 0 to 1)",
        ),
        (
            Query {
                to: i64::MAX,
                step: 1,
                ..sound.clone()
            },
            "a line would have 9223372036854774808 points (accepted: at most 11,000); widen the step",
        ),
    ] {
        assert_eq!(query.answer(&selection).unwrap_err().to_string(), said);
    }
}
