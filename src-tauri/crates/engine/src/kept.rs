//! Metrics that outlive the live ring: the store, what is scraped into it, and what is asked of it.

use crate::{
    clock,
    core::Core,
    pages::{self, Address, Pages},
};
use flotilla_config::{MetricsSpec, TargetSpec};
use flotilla_contract::{
    Millis, WireError,
    error::ErrorCode,
    metric::{
        LabelMatch, MetricName, RangeAggregate, RangeAnswer, RangeFunction, RangeLine, RangeQuery,
        ScrapeTarget, SeriesLabels, SeriesPage, SeriesQuery,
    },
};
use flotilla_metrics::{
    History, Live,
    scrape::{Scraper, SharedStore, Standing, Target},
    store::{
        Aggregate, Error, Function, Grouping, Matcher, Options, Query, Select, SeriesName, Store,
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// The store is tended this often.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// Which pages there are is looked up this often.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// What could not be filled in is tried again after this long: a secret may have been stored meanwhile.
const TRY_AGAIN: Duration = Duration::from_secs(15);
/// The look-back of Prometheus.
const LOOK_BACK: i64 = 5 * 60_000;
/// No time is later, and no span longer: beyond 2^53 the wire's numbers are not exact.
const LATEST: Millis = 1 << 53;
/// Series of an answer, when the query does not say how many.
pub(crate) const SERIES: u32 = 1_000;

/// The store and who writes into it.
pub(crate) struct Kept {
    pub(crate) store: SharedStore,
    pub(crate) history: History,
    scraper: Scraper,
}

/// Opens the store, and gives the charts back what they showed before. An engine without a store still supervises: its charts then reach
/// back as far as the ring. What is wrong comes as notices.
pub(crate) async fn open(
    folder: PathBuf,
    spec: &MetricsSpec,
    pages: Pages,
    live: Live,
) -> (Option<Kept>, Vec<String>) {
    let mut options = Options::new(&folder);
    (options.memory, options.disk, options.keep) = bounds(spec);
    let opened = tokio::task::spawn_blocking(move || {
        let mut store = Store::open(options)?;
        let mut notices = store.notices();
        let store = SharedStore::new(store);
        let history = History::new(store.clone());
        match history.recall(clock::now().saturating_sub(live.span())) {
            Ok(recalled) => live.restore(&recalled),
            Err(error) => notices.push(format!(
                "The charts of the last half hour begin anew: failed to read what was kept ({error})."
            )),
        }
        Ok((store, history, notices))
    });
    let failed = match opened.await {
        Ok(Ok((store, history, notices))) => {
            let now = Arc::new(|| clock::now().cast_signed());
            let scraper = Scraper::new(store.clone(), Arc::new(pages), now);
            let kept = Kept {
                store,
                history,
                scraper,
            };
            return (Some(kept), notices);
        }
        Ok(Err::<_, Error>(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    let said = format!(
        "Metrics are kept for half an hour only: failed to {failed}. Free space or correct its permissions, then start the engine again."
    );
    (None, vec![said])
}

/// Closes, rolls up and forgets files, about every minute.
pub(crate) async fn tend(core: Arc<Core>) {
    let Some(store) = core.kept.as_ref().map(|kept| kept.store.clone()) else {
        return;
    };
    loop {
        tokio::time::sleep(TEND_EVERY).await;
        let (store, now) = (store.clone(), clock::now().cast_signed());
        let tended = tokio::task::spawn_blocking(move || store.tend(now)).await;
        match tended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => core.notice(format!(
                "The metrics on disk cannot be tended: failed to {error}."
            )),
            Err(error) => tracing::error!(%error, "tending the metrics ended"),
        }
    }
}

/// Keeps to what the fleet says: targets are each running instance of a server that has a `metrics_path`, and those that `[metrics]` names; the
/// store keeps what it is to keep.
pub(crate) async fn follow(core: Arc<Core>) {
    let Some(kept) = &core.kept else { return };
    let mut named = Named::default();
    let mut kept_to = bounds(&core.fleet().metrics);
    loop {
        let fleet = core.fleet();
        let spec = &fleet.metrics;
        let (memory, disk, keep) = bounds(spec);
        if kept_to != (memory, disk, keep) {
            kept_to = (memory, disk, keep);
            kept.store.lock().bound(memory, disk, keep);
        }
        named.follow(&core, &spec.targets).await;
        let of_servers = fleet.servers.iter().flat_map(|spec| {
            let pages = pages::addresses(&core, spec).into_iter();
            pages.filter_map(|page| pages::target(spec, &page))
        });
        let targets = of_servers.chain(named.targets.iter().cloned());
        let timed = targets.map(|target| Target {
            interval: spec.scrape_interval,
            timeout: spec.scrape_timeout,
            ..target
        });
        kept.scraper.set(timed.collect());
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// What rows take in memory, what files take, and how long each level is kept, as the store wants it.
fn bounds(spec: &MetricsSpec) -> (usize, u64, [i64; 4]) {
    let memory = usize::try_from(spec.memory).unwrap_or(usize::MAX);
    let keep = spec.keep;
    let keep = [keep.raw, keep.seconds, keep.minutes, keep.hours];
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    (memory, spec.disk, keep.map(millis))
}

/// The targets that the file names, variables and secrets filled in. Filled in anew when the file says something else, and where it failed.
#[derive(Default)]
struct Named {
    specs: Vec<TargetSpec>,
    targets: Vec<Target>,
    /// When to try again what failed.
    again: Option<Instant>,
}

impl Named {
    async fn follow(&mut self, core: &Core, specs: &[TargetSpec]) {
        let due = self.again.is_some_and(|again| Instant::now() >= again);
        if self.specs == specs && !due {
            return;
        }
        let (secrets, asked) = (core.secrets.clone(), specs.to_vec());
        let filled = tokio::task::spawn_blocking(move || {
            let fill = |spec: TargetSpec| {
                let address = pages::address(&spec.url, &spec.headers, &*secrets);
                (spec, address)
            };
            asked.into_iter().map(fill).collect::<Vec<_>>()
        });
        // A panic of a keyring: what held before holds on, and it is tried again.
        let Ok(filled) = filled.await else { return };
        self.specs = specs.to_vec();
        self.targets.clear();
        let mut along = HashMap::new();
        let mut failed = false;
        for (spec, address) in filled {
            failed |= address.is_err();
            let (target, headers) = named(&spec, address);
            along.insert(target.name(), headers);
            self.targets.push(target);
        }
        self.again = failed.then(|| Instant::now() + TRY_AGAIN);
        core.pages.send_along(along);
    }
}

/// A target that the file names, and what goes along with it. One that cannot be filled in is a target, too: it is down, and says why.
fn named(
    spec: &TargetSpec,
    address: Result<Address, String>,
) -> (Target, Result<reqwest::header::HeaderMap, String>) {
    let (url, instance, headers) = match address {
        Ok(Address { url, headers }) => {
            let host = url.host_str().unwrap_or_default();
            let port = url.port_or_known_default().unwrap_or_default();
            (
                String::from(url.clone()),
                format!("{host}:{port}"),
                Ok(headers),
            )
        }
        Err(why) => (spec.url.clone(), spec.name.clone(), Err(why)),
    };
    let mut target = Target::new(&spec.name, &instance, &url);
    target.labels = spec.labels.clone().into_iter().collect();
    (target, headers)
}

impl Core {
    /// The kept metrics, or why there are none.
    pub(crate) fn kept(&self) -> Result<&Kept, WireError> {
        let none = "read kept metrics: their folder cannot be used; the engine's notices say why";
        let kept = self.kept.as_ref();
        kept.ok_or_else(|| WireError::new(ErrorCode::Unsupported, none.to_owned()))
    }
}

impl Kept {
    pub(crate) fn names(&self) -> Vec<MetricName> {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for name in self.store.lock().series(&Select::default()) {
            match counts.get_mut(name.metric()) {
                Some(count) => *count += 1,
                None => drop(counts.insert(name.metric().to_owned(), 1)),
            }
        }
        let name = |(name, series)| MetricName { name, series };
        counts.into_iter().map(name).collect()
    }

    pub(crate) fn series(&self, query: SeriesQuery) -> SeriesPage {
        let select = Select {
            metric: query.metric,
            labels: matchers(query.labels),
        };
        let mut names = self.store.lock().series(&select);
        let total = u32::try_from(names.len()).unwrap_or(u32::MAX);
        names.truncate(query.limit.unwrap_or(SERIES) as usize);
        SeriesPage {
            series: names.iter().map(labels).collect(),
            total,
        }
    }

    pub(crate) async fn range(&self, query: RangeQuery) -> Result<RangeAnswer, WireError> {
        let query = asked(query);
        let (from, to, width) = query.needs();
        // The lock is for the look; reading is done off it, and off the async threads.
        let selection = self.store.lock().select(&query.select, from, to, width);
        let answer = tokio::task::spawn_blocking(move || query.answer(&selection)).await;
        let answer = answer
            .map_err(|e| WireError::new(ErrorCode::Internal, e.to_string()))?
            .map_err(|e| WireError::new(ErrorCode::BadRequest, format!("read metrics: {e}")))?;
        let line = |line: flotilla_metrics::store::Line| {
            let SeriesLabels { metric, labels } = labels(&line.name);
            // What is absent is not finite, either.
            let values = line.values.iter().map(|v| v.is_finite().then_some(*v));
            RangeLine {
                metric,
                labels,
                values: values.collect(),
            }
        };
        Ok(RangeAnswer {
            times: answer.times.iter().map(|t| t.cast_unsigned()).collect(),
            lines: answer.lines.into_iter().map(line).collect(),
        })
    }

    pub(crate) fn targets(&self) -> Vec<ScrapeTarget> {
        let view = |(target, standing): (Target, Standing)| ScrapeTarget {
            interval: u64::try_from(target.interval.as_millis()).unwrap_or(u64::MAX),
            job: target.job,
            instance: target.instance,
            url: pages::shown(&target.url),
            up: standing.up,
            at: standing.up.map(|_| standing.at.cast_unsigned()),
            took_ms: standing.took.as_secs_f64() * 1e3,
            samples: u32::try_from(standing.samples).unwrap_or(u32::MAX),
            error: standing.error,
        };
        self.scraper.standings().into_iter().map(view).collect()
    }
}

fn asked(query: RangeQuery) -> Query {
    let millis = |time: Millis| i64::try_from(time.min(LATEST)).unwrap_or_default();
    let function = match query.function {
        RangeFunction::Last => Function::Last,
        RangeFunction::Mean => Function::Mean,
        RangeFunction::Min => Function::Min,
        RangeFunction::Max => Function::Max,
        RangeFunction::Sum => Function::Sum,
        RangeFunction::Count => Function::Count,
        RangeFunction::Rate => Function::Rate,
        RangeFunction::Increase => Function::Increase,
        RangeFunction::Delta => Function::Delta,
    };
    let usual = match function {
        Function::Last => LOOK_BACK,
        _ => millis(query.step),
    };
    let grouping = query.grouping.map(|grouping| Grouping {
        aggregate: match grouping.aggregate {
            RangeAggregate::Sum => Aggregate::Sum,
            RangeAggregate::Avg => Aggregate::Avg,
            RangeAggregate::Min => Aggregate::Min,
            RangeAggregate::Max => Aggregate::Max,
            RangeAggregate::Count => Aggregate::Count,
        },
        by: grouping.by,
    });
    Query {
        select: Select {
            metric: Some(query.metric),
            labels: matchers(query.labels),
        },
        from: millis(query.from),
        to: millis(query.to),
        step: millis(query.step),
        function,
        range: query.range.map_or(usual, millis),
        grouping,
        quantile: query.quantile,
    }
}

fn matchers(labels: Vec<LabelMatch>) -> Vec<Matcher> {
    let matcher = |LabelMatch { label, is, values }| Matcher { label, is, values };
    labels.into_iter().map(matcher).collect()
}

fn labels(name: &SeriesName) -> SeriesLabels {
    let pairs = name.labels().map(|(k, v)| (k.to_owned(), v.into_owned()));
    SeriesLabels {
        metric: name.metric().to_owned(),
        labels: pairs.collect(),
    }
}
