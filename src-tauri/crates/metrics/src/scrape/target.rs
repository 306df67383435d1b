//! One target: what its pages become in the store. No socket, no clock.

use crate::{
    exposition::{Entry, Format, Kind, ParseError, Sample, parse},
    store::{ABSENT, Error, SeriesName, Source, Store, TwiceError, is_absent},
};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// What is scraped, and how much of it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its label `job`: what it is one of.
    pub job: String,
    /// Its label `instance`: which one.
    pub instance: String,
    /// Labels that its series get besides. One that a series has of its own is kept as `exported_…`, as in Prometheus.
    pub labels: Vec<(String, String)>,
    /// Its page.
    pub url: String,
    /// How often (default 15 s).
    pub interval: Duration,
    /// How long an answer may take (default 10 s, and never longer than the interval).
    pub timeout: Duration,
    /// The most that is taken of a page; more fails the scrape.
    pub limits: Limits,
}

/// The most that is taken of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes (default 16 MiB).
    pub bytes: usize,
    /// Samples (default 50,000).
    pub samples: usize,
    /// Labels of a series (default 64).
    pub labels: usize,
    /// Bytes of a label's name or value (default 4,096).
    pub label_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            samples: 50_000,
            labels: 64,
            label_bytes: 4096,
        }
    }
}

impl Target {
    /// A page with the defaults.
    #[must_use]
    pub fn new(job: &str, instance: &str, url: &str) -> Self {
        Self {
            job: job.to_owned(),
            instance: instance.to_owned(),
            labels: Vec::new(),
            url: url.to_owned(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            limits: Limits::default(),
        }
    }

    /// Its name among targets and as a source of the store.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.job, self.instance)
    }

    /// Job, instance and the other labels.
    fn own_labels(&self) -> Vec<(String, String)> {
        let two = [("job", &self.job), ("instance", &self.instance)];
        let two = two.map(|(name, value)| (name.to_owned(), value.clone()));
        self.labels.iter().cloned().chain(two).collect()
    }
}

/// Why a scrape failed.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// No answer.
    #[error("{0}")]
    Fetch(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Another status than 200.
    #[error("it answered with status {0}")]
    Status(u16),
    /// A page over a limit.
    #[error("the page has more than {most} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// A page that is not UTF-8.
    #[error("the page is not UTF-8")]
    Utf8,
    /// A page that is none.
    #[error(transparent)]
    Page(#[from] ParseError),
    /// A series with a label twice.
    #[error(transparent)]
    Twice(#[from] TwiceError),
    /// The store did not take it.
    #[error("failed to {0}")]
    Store(#[from] Error),
}

/// What came of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Samples on the page.
    pub samples: usize,
    /// Series that were new.
    pub added: usize,
    /// Samples of a series that the page had before.
    pub twice: usize,
}

/// Reads pages of one target into the store.
///
/// Pages name their series in the same order every time, so the text of the series that comes next is known, and comparing it is all there is to do. What is found
/// otherwise is looked up by its text as it stands on the page; only a text that was never seen is taken apart.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    generation: u64,
    labels: Vec<(String, String)>,
    limits: Limits,
    /// Columns by text.
    known: HashMap<Arc<str>, usize>,
    /// The page before.
    order: Vec<(Arc<str>, usize)>,
    row: Vec<f64>,
    /// `up` and what else is said of a scrape.
    report: Option<[usize; REPORT.len()]>,
}

const REPORT: [&str; 4] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_series_added",
];

impl Reader {
    /// Of a target.
    #[must_use]
    pub fn new(target: &Target, store: &mut Store) -> Self {
        let source = store.source(&target.name());
        Self {
            source,
            generation: store.generation(source),
            labels: target.own_labels(),
            limits: target.limits,
            known: HashMap::new(),
            order: Vec::new(),
            row: Vec::new(),
            report: None,
        }
    }

    /// Takes what a scrape gave, a page or the reason why there is none, as the row of a time. A page that is wrong anywhere is not taken at all.
    ///
    /// # Errors
    /// Why the scrape failed, or the store did. A failed scrape is a row, too: `up` is 0, and everything else is absent.
    pub fn take(
        &mut self,
        store: &mut Store,
        at: i64,
        took: Duration,
        page: Result<(&str, Format), ScrapeError>,
    ) -> Result<Taken, ScrapeError> {
        if store.generation(self.source) != self.generation {
            self.generation = store.generation(self.source);
            self.known.clear();
            self.order.clear();
            self.report = None;
        }
        self.row.fill(ABSENT);
        let read = page.and_then(|(page, format)| self.page(store, page, format));
        if read.is_err() {
            self.row.fill(ABSENT);
        }
        let taken = read.as_ref().copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "counts of samples")]
        let report = [
            f64::from(u8::from(read.is_ok())),
            took.as_secs_f64(),
            taken.samples as f64,
            taken.added as f64,
        ];
        for (column, value) in self.report(store)?.into_iter().zip(report) {
            self.set(column, value);
        }
        store.append(self.source, at, &self.row)?;
        read
    }

    /// The row after the last: everything is absent, so that every line ends here.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn end(&mut self, store: &mut Store, at: i64) -> Result<(), Error> {
        store.append(self.source, at, &[])
    }

    fn page(
        &mut self,
        store: &mut Store,
        page: &str,
        format: Format,
    ) -> Result<Taken, ScrapeError> {
        let limits = self.limits;
        let limit = |what, most| Err(ScrapeError::Limit { what, most });
        let mut walk = parse(page, format);
        let mut taken = Taken::default();
        let before = std::mem::take(&mut self.order);
        let mut order = Vec::with_capacity(before.len());
        let mut expected = before.iter();
        let mut family = ("", Kind::Unknown);
        loop {
            let ahead = expected.clone();
            let (value, at) = match expected
                .next()
                .and_then(|e| Some((e, walk.sample_of(&e.0)?)))
            {
                Some((known, value)) => (value?, known.clone()),
                None => {
                    expected = ahead;
                    match walk.next() {
                        None => break,
                        Some(entry) => match entry? {
                            Entry::Type { name, kind } => {
                                family = (name, kind);
                                continue;
                            }
                            Entry::Help { .. } | Entry::Unit { .. } => continue,
                            Entry::Sample(sample) => {
                                let at = self.find(store, &sample, family, &mut taken)?;
                                // Where the page goes on as before behind something new or gone.
                                let mut skipped = expected.clone();
                                if skipped
                                    .by_ref()
                                    .take(SKIP)
                                    .any(|e| Arc::ptr_eq(&e.0, &at.0))
                                {
                                    expected = skipped;
                                }
                                (sample.value, at)
                            }
                        },
                    }
                }
            };
            taken.samples += 1;
            if taken.samples > limits.samples {
                return limit("samples", limits.samples);
            }
            if self.row.get(at.1).is_some_and(|v| !is_absent(*v)) {
                taken.twice += 1;
                continue;
            }
            self.set(at.1, value);
            order.push(at);
        }
        self.order = order;
        if self.known.len() > 2 * self.order.len() + 1000 {
            self.known = self.order.iter().cloned().collect();
        }
        Ok(taken)
    }

    fn set(&mut self, column: usize, value: f64) {
        if self.row.len() <= column {
            self.row.resize(column + 1, ABSENT);
        }
        self.row[column] = value;
    }

    fn find(
        &mut self,
        store: &mut Store,
        sample: &Sample<'_>,
        family: (&str, Kind),
        taken: &mut Taken,
    ) -> Result<(Arc<str>, usize), ScrapeError> {
        if let Some((text, column)) = self.known.get_key_value(sample.series) {
            return Ok((text.clone(), *column));
        }
        let ending = sample.name.strip_prefix(family.0);
        let kind = match ending {
            Some("") => family.1,
            Some(ending) if family.1.endings().contains(&ending) => family.1,
            _ => Kind::Unknown,
        };
        let name = self.name(sample)?;
        let column = store.column(self.source, &name, kind)?;
        let text: Arc<str> = sample.series.into();
        self.known.insert(text.clone(), column);
        taken.added += 1;
        Ok((text, column))
    }

    /// The name of a series in the store: with the target's labels, its own ones of the same name set aside.
    fn name(&self, sample: &Sample<'_>) -> Result<SeriesName, ScrapeError> {
        let mut labels = Vec::new();
        for (label, value) in sample.labels {
            if label.len().max(value.len()) > self.limits.label_bytes {
                let what = "bytes in a label";
                return Err(ScrapeError::Limit {
                    what,
                    most: self.limits.label_bytes,
                });
            }
            labels.push((label.to_owned(), value));
        }
        if labels.len() > self.limits.labels {
            let what = "labels in one series";
            return Err(ScrapeError::Limit {
                what,
                most: self.limits.labels,
            });
        }
        for (label, _) in &mut labels {
            while self.labels.iter().any(|(own, _)| own == label) {
                label.insert_str(0, "exported_");
            }
        }
        let own = self
            .labels
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str().into()));
        let labels = labels.iter().map(|(k, v)| (k.as_str(), v.clone()));
        Ok(SeriesName::new(sample.name, labels.chain(own))?)
    }

    fn report(&mut self, store: &mut Store) -> Result<[usize; REPORT.len()], ScrapeError> {
        if let Some(report) = self.report {
            return Ok(report);
        }
        let mut report = [0; REPORT.len()];
        for (column, metric) in report.iter_mut().zip(REPORT) {
            let own = self
                .labels
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str().into()));
            let name = SeriesName::new(metric, own)?;
            *column = store.column(self.source, &name, Kind::Gauge)?;
        }
        self.report = Some(report);
        Ok(report)
    }
}

/// How many series of the page before may be gone at one place without the order being lost.
const SKIP: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Function, Options, Query, Select};

    struct Bed {
        store: Store,
        reader: Reader,
        at: i64,
        _folder: tempfile::TempDir,
    }

    impl Bed {
        fn new(limits: Limits) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut store = Store::open(Options::new(folder.path())).unwrap();
            let mut target = Target::new("j", "i", "http://x/metrics");
            target.limits = limits;
            Self {
                reader: Reader::new(&target, &mut store),
                store,
                at: 1_000_000,
                _folder: folder,
            }
        }

        /// Takes a page, and shows what is so afterwards, without `scrape_…`.
        fn take(&mut self, page: &str) -> (Result<Taken, String>, Vec<String>) {
            self.at += 15_000;
            let took = Duration::from_millis(5);
            let taken = self
                .reader
                .take(&mut self.store, self.at, took, Ok((page, Format::Text)));
            let query = Query {
                select: Select::default(),
                from: self.at,
                to: self.at,
                step: 1,
                function: Function::Last,
                range: 300_000,
                grouping: None,
                quantile: None,
            };
            let (from, to, width) = query.needs();
            let answer = query
                .answer(&self.store.select(&query.select, from, to, width))
                .unwrap();
            let lines = answer
                .lines
                .iter()
                .filter(|line| !line.name.metric().starts_with("scrape_"));
            let lines = lines.map(|line| {
                format!("{} {}", line.name, line.values[0]).replace("instance=\"i\",job=\"j\"", "~")
            });
            (taken.map_err(|e| e.to_string()), lines.collect())
        }
    }

    fn took(samples: usize, added: usize) -> Result<Taken, String> {
        Ok(Taken {
            samples,
            added,
            twice: 0,
        })
    }

    #[test]
    fn pages_become_rows_and_what_is_gone_is_a_gap() {
        let mut bed = Bed::new(Limits::default());
        let first = "# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 2\nb{job=\"own\"} 3\nc 4\n";
        assert_eq!(
            bed.take(first),
            (
                took(4, 4),
                [
                    "a{~,x=\"1\"} 1",
                    "a{~,x=\"2\"} 2",
                    "b{exported_job=\"own\",~} 3",
                    "c{~} 4",
                    "up{~} 1"
                ]
                .map(String::from)
                .into()
            )
        );
        // One is gone, one is new, the rest goes on; labels in another order are the same series.
        let second = "# TYPE a counter\na{x=\"2\"} 20\nnew 5\nb{ job = \"own\" } 30\nc 40\n";
        assert_eq!(
            bed.take(second),
            (
                took(4, 2),
                [
                    "a{~,x=\"2\"} 20",
                    "b{exported_job=\"own\",~} 30",
                    "c{~} 40",
                    "new{~} 5",
                    "up{~} 1"
                ]
                .map(String::from)
                .into()
            )
        );
        assert_eq!(bed.take(second).0, took(4, 0));
        // A wrong line fails the whole scrape.
        assert_eq!(
            bed.take("c 1\nc\n"),
            (
                Err("line 2: expected a space before the value, found \"\"".into()),
                vec!["up{~} 0".into()]
            )
        );
        assert_eq!(bed.take(first).0, took(4, 0));
        assert_eq!(
            bed.take("c 1\nc 2\n"),
            (
                Ok(Taken {
                    samples: 2,
                    added: 0,
                    twice: 1
                }),
                vec!["c{~} 1".into(), "up{~} 1".into()]
            )
        );
    }

    #[test]
    fn limits_fail_the_scrape_and_name_themselves() {
        let mut bed = Bed::new(Limits {
            bytes: 0,
            samples: 2,
            labels: 1,
            label_bytes: 3,
        });
        let mut fault = |page| bed.take(page).0.unwrap_err();
        assert_eq!(fault("a 1\nb 2\nc 3\n"), "the page has more than 2 samples");
        assert_eq!(
            fault("a{x=\"1\",y=\"2\"} 1\n"),
            "the page has more than 1 labels in one series"
        );
        assert_eq!(
            fault("a{x=\"1234\"} 1\n"),
            "the page has more than 3 bytes in a label"
        );
        assert_eq!(
            fault("a{x=\"1\",x=\"2\"} 1\n"),
            "the page has more than 1 labels in one series"
        );
        assert_eq!(bed.take("a 1\nb 2\n").0.map(|t| t.samples), Ok(2));
    }

    /// A source whose series come and go loses columns now and then; nothing is written into the wrong one.
    #[test]
    fn series_that_come_and_go_keep_to_their_columns() {
        let mut bed = Bed::new(Limits::default());
        for round in 0..600 {
            let page: String = (0..20)
                .filter(|i| (round / (i + 1)) % 7 < 3)
                .map(|i| format!("m{{i=\"{i}\"}} {}\n", round * 100 + i))
                .collect();
            let (taken, lines) = bed.take(&page);
            assert_eq!(taken.unwrap().samples, page.lines().count());
            let shown: Vec<String> = lines
                .iter()
                .filter(|l| l.starts_with('m'))
                .map(|l| l.replace(",~}", "}").replace("m{", "").replace("}", ""))
                .collect();
            let mut expected: Vec<String> = page
                .lines()
                .map(|l| l.replace("m{", "").replace('}', ""))
                .collect();
            expected.sort();
            let mut shown: Vec<String> = shown.into_iter().map(|s| s.replace("~,", "")).collect();
            shown.sort();
            assert_eq!(shown, expected, "round {round}");
        }
    }
}
