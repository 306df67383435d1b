//! Metrics that outlive the live ring: the store, what is scraped into it, and what is asked of it.

use crate::{
    clock,
    core::Core,
    pages::{self, Pages},
};
use flotilla_contract::{
    Millis, WireError,
    error::ErrorCode,
    metric::{
        LabelMatch, RangeAggregate, RangeAnswer, RangeFunction, RangeLine, RangeQuery,
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
use std::{path::PathBuf, sync::Arc, time::Duration};

/// The store is tended this often.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// Which pages there are is looked up this often.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// The look-back of Prometheus.
const LOOK_BACK: i64 = 5 * 60_000;
/// No time is later, and no span longer: beyond 2^53 the wire's numbers are not exact.
const LATEST: Millis = 1 << 53;
/// Series of an answer, when the query does not say how many.
const SERIES: u32 = 1_000;

/// The store and who writes into it.
pub(crate) struct Kept {
    pub(crate) store: SharedStore,
    pub(crate) history: History,
    scraper: Scraper,
}

/// Opens the store, and gives the charts back what they showed before. An engine without a store still supervises: its charts then reach
/// back as far as the ring. What is wrong comes as notices.
pub(crate) async fn open(folder: PathBuf, pages: Pages, live: Live) -> (Option<Kept>, Vec<String>) {
    let options = Options::new(&folder);
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

/// Keeps the targets at those of the fleet: each running instance of a server that has a `metrics_path`.
pub(crate) async fn follow(core: Arc<Core>) {
    let Some(kept) = &core.kept else { return };
    loop {
        let fleet = core.fleet();
        let targets = fleet.servers.iter().flat_map(|spec| {
            let pages = pages::addresses(&core, spec).into_iter();
            pages.filter_map(|page| pages::target(spec, &page))
        });
        kept.scraper.set(targets.collect());
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
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
