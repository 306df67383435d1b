//! What `[metrics]` declares: what is scraped, how long it is kept, and where else charts may be read from.

use flotilla_contract::spec::Value;
use std::{collections::BTreeMap, time::Duration};

/// Scraping and keeping of metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsSpec {
    /// Distance of two scrapes of a page (default 15 s).
    pub scrape_interval: Duration,
    /// How long a page may take, not longer than the interval (default 10 s, or the interval where that is shorter).
    pub scrape_timeout: Duration,
    /// Bytes that all files may take (default 1 GiB).
    pub disk: u64,
    /// Bytes that rows may take in memory (default 64 MiB).
    pub memory: u64,
    /// How long each level is kept.
    pub keep: KeepSpec,
    /// Pages that are scraped besides those of the servers, by name.
    pub targets: Vec<TargetSpec>,
    /// A Prometheus that answers `metrics.range` in place of the store.
    pub source: Option<SourceSpec>,
}

impl Default for MetricsSpec {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(15),
            scrape_timeout: Duration::from_secs(10),
            disk: 1 << 30,
            memory: 64 << 20,
            keep: KeepSpec::default(),
            targets: Vec::new(),
            source: None,
        }
    }
}

impl MetricsSpec {
    /// Every address that is asked, with its headers.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, Value>)> {
        let targets = self.targets.iter().map(|it| (it.url.as_str(), &it.headers));
        let source = self.source.iter().map(|it| (it.url.as_str(), &it.headers));
        targets.chain(source)
    }
}

/// How long each level is kept; a coarser one at least as long as a finer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepSpec {
    /// Samples as they came (default 2 days).
    pub raw: Duration,
    /// Ten seconds (default 14 days).
    pub seconds: Duration,
    /// Minutes (default 90 days).
    pub minutes: Duration,
    /// Hours (default 400 days).
    pub hours: Duration,
}

impl Default for KeepSpec {
    fn default() -> Self {
        let days = |n: u64| Duration::from_secs(n * 24 * 3_600);
        Self {
            raw: days(2),
            seconds: days(14),
            minutes: days(90),
            hours: days(400),
        }
    }
}

/// A page that is scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    /// Its name: the label `job` of its series.
    pub name: String,
    /// Its page, with variables and secrets as they are written.
    pub url: String,
    /// Labels that its series get.
    pub labels: BTreeMap<String, String>,
    /// Headers that are sent with each scrape.
    pub headers: BTreeMap<String, Value>,
}

/// A Prometheus that is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSpec {
    /// Its address, below which `/api/v1/query_range` is, with variables and secrets as they are written.
    pub url: String,
    /// Headers that are sent with each query.
    pub headers: BTreeMap<String, Value>,
}
