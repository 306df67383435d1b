use super::{Reader, ScrapeError, Taken, Target};
use crate::{
    exposition::Format,
    store::{Error, Store},
};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

/// Tells the time in milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A page as it came.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its bytes, not more than [`Limits::bytes`](super::Limits::bytes).
    pub bytes: Vec<u8>,
    /// What its `Content-Type` says.
    pub format: Format,
}

/// An answer that is on its way.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Page, ScrapeError>> + Send + 'a>>;

/// Gets the pages of targets. The engine's is an HTTP client; it asks for [`Format::ACCEPT`], takes no status but 200, and stops reading at the limit. It is dropped when the timeout is over.
pub trait Fetch: Send + Sync {
    /// Gets the page of a target.
    fn fetch<'a>(&'a self, target: &'a Target) -> Fetching<'a>;
}

/// A store that tasks share. The lock is held for the length of one row or one look, and never across an await.
#[derive(Clone, Debug)]
pub struct SharedStore(Arc<Mutex<Store>>);

impl SharedStore {
    /// Shares a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    /// Closes files that are due, forgets what is too old, and rolls up what was closed. It may take seconds and blocks its thread; others go on meanwhile. To be called about every minute.
    ///
    /// # Errors
    /// When the disk cannot be read or written; the next call tries again.
    pub fn tend(&self, now: i64) -> Result<(), Error> {
        self.lock().tick(now)?;
        loop {
            let Some(work) = self.lock().pending() else {
                return Ok(());
            };
            work.run()?;
            self.lock().adopt(&work)?;
        }
    }

    /// The store, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How it stands with a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Whether the last scrape went well; `None` before the first.
    pub up: Option<bool>,
    /// When it began, in milliseconds since the epoch.
    pub at: i64,
    /// How long it took.
    pub took: Duration,
    /// Samples on the page.
    pub samples: usize,
    /// Why it failed.
    pub error: Option<String>,
}

/// Scrapes targets: see the [module](super).
#[derive(Debug)]
pub struct Scraper {
    shared: Shared,
    targets: Mutex<BTreeMap<String, Running>>,
}

#[derive(Clone)]
struct Shared {
    store: SharedStore,
    fetch: Arc<dyn Fetch>,
    clock: Clock,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Running {
    target: Target,
    standing: watch::Receiver<Standing>,
    end: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Scraper {
    /// A scraper without targets. Dropping it ends all tasks.
    #[must_use]
    pub fn new(store: SharedStore, fetch: Arc<dyn Fetch>, clock: Clock) -> Self {
        Self {
            shared: Shared {
                store,
                fetch,
                clock,
            },
            targets: Mutex::default(),
        }
    }

    /// Says which targets there are. Must be called within a tokio runtime.
    pub fn set(&self, targets: Vec<Target>) {
        let mut wanted: BTreeMap<String, Target> = BTreeMap::new();
        for target in targets {
            wanted.entry(target.name()).or_insert(target);
        }
        let mut running = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|name, running| wanted.get(name) == Some(&running.target));
        for (name, target) in wanted {
            running.entry(name).or_insert_with(|| self.start(target));
        }
    }

    /// The targets and how it stands with each, by name.
    #[must_use]
    pub fn standings(&self) -> Vec<(Target, Standing)> {
        let running = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let each = running.values();
        each.map(|r| (r.target.clone(), r.standing.borrow().clone()))
            .collect()
    }

    fn start(&self, target: Target) -> Running {
        let (tell, standing) = watch::channel(Standing::default());
        let end = CancellationToken::new();
        let (shared, ending, own) = (self.shared.clone(), end.clone(), target.clone());
        tokio::spawn(async move {
            let reader = Reader::new(&own, &mut shared.store.lock());
            let reader = Arc::new(Mutex::new(reader));
            let () = tokio::select! {
                () = ending.cancelled() => {}
                () = scrape_on(&shared, &own, &reader, &tell) => {}
            };
            // A page that is being taken in is waited for: its row stands before the last one.
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let now = (shared.clock)();
            if let Err(error) = reader.end(&mut shared.store.lock(), now) {
                tracing::debug!(target = own.name(), %error, "the last row of a target");
            }
        });
        Running {
            target,
            standing,
            end,
        }
    }
}

async fn scrape_on(
    shared: &Shared,
    target: &Target,
    reader: &Arc<Mutex<Reader>>,
    tell: &watch::Sender<Standing>,
) {
    let (now, interval) = (
        (shared.clock)(),
        target.interval.max(Duration::from_millis(100)),
    );
    let distance = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    let (first, wait) = first_tick(now, distance, &target.name());
    let mut ticks = interval_at(tokio::time::Instant::now() + wait, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let at = even(first, distance, (shared.clock)());
        let began = Instant::now();
        let timeout = target.timeout.min(interval);
        let fetched = tokio::time::timeout(timeout, shared.fetch.fetch(target)).await;
        let fetched = fetched.unwrap_or(Err(ScrapeError::Timeout(timeout)));
        let took = began.elapsed();
        let page = fetched.and_then(|page| match String::from_utf8(page.bytes) {
            Ok(text) => Ok((text, page.format)),
            Err(_) => Err(ScrapeError::Utf8),
        });
        let (store, reader) = (shared.store.clone(), reader.clone());
        let taken = tokio::task::spawn_blocking(move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let mut store = store.lock();
            match page {
                Ok((page, format)) => reader.take(&mut store, at, took, Ok((&page, format))),
                Err(error) => reader.take(&mut store, at, took, Err(error)),
            }
        });
        match taken.await {
            Ok(taken) => drop(tell.send_replace(standing(at, took, taken))),
            Err(error) => tracing::error!(target = target.name(), %error, "a page is not taken in"),
        }
    }
}

fn standing(at: i64, took: Duration, taken: Result<Taken, ScrapeError>) -> Standing {
    Standing {
        up: Some(taken.is_ok()),
        at,
        took,
        samples: taken.as_ref().map_or(0, |taken| taken.samples),
        error: taken.err().map(|error| error.to_string()),
    }
}

/// Time of the next tick of a target, and how far it is: at the place of the interval that its name decides.
fn first_tick(now: i64, distance: i64, name: &str) -> (i64, Duration) {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let place = i64::try_from(hasher.finish() >> 1).unwrap_or_default() % distance;
    let wait = (place - now).rem_euclid(distance);
    (now + wait, Duration::from_millis(wait.unsigned_abs()))
}

/// The tick that is meant, when a time is within 2 ms of one.
fn even(first: i64, distance: i64, at: i64) -> i64 {
    let off = (at - first).rem_euclid(distance);
    match off.min(distance - off) {
        0..=2 if off <= 2 => at - off,
        0..=2 => at + distance - off,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Function, Options, Query, Select};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Targets that answer, fail, or hang.
    struct Scripted {
        calls: AtomicU64,
    }

    impl Fetch for Scripted {
        fn fetch<'a>(&'a self, target: &'a Target) -> Fetching<'a> {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                match target.job.as_str() {
                    "good" => Ok(Page {
                        bytes: format!("x {call}\n").into(),
                        format: Format::Text,
                    }),
                    "bytes" => Ok(Page {
                        bytes: vec![0xff],
                        format: Format::Text,
                    }),
                    "refused" => Err(ScrapeError::Status(503)),
                    _ => std::future::pending().await,
                }
            })
        }
    }

    fn target(job: &str) -> Target {
        Target {
            interval: Duration::from_millis(100),
            timeout: Duration::from_millis(300),
            ..Target::new(job, "i", "http://x/metrics")
        }
    }

    // On the runtime that a plain test has, of one thread: a scraper must not ask for more.
    #[tokio::test]
    async fn each_target_stands_for_itself_and_one_that_goes_ends_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let store = SharedStore::new(Store::open(Options::new(folder.path())).unwrap());
        let now = AtomicU64::new(1_000_000);
        let clock: Clock = Arc::new(move || now.fetch_add(7, Ordering::Relaxed).cast_signed());
        let fetch = Arc::new(Scripted {
            calls: AtomicU64::new(0),
        });
        let scraper = Scraper::new(store.clone(), fetch, clock.clone());
        scraper.set(["good", "bytes", "refused", "hangs"].map(target).into());
        let watched: Vec<_> = {
            let running = scraper.targets.lock().unwrap();
            running.values().map(|r| r.standing.clone()).collect()
        };
        for mut standing in watched {
            standing.wait_for(|s| s.up.is_some()).await.unwrap();
        }
        let shown: Vec<_> = scraper
            .standings()
            .into_iter()
            .map(|(t, s)| (t.job, s.up, s.error))
            .collect();
        let said = |text: &str| Some(text.to_owned());
        let expected = [
            (
                "bytes".to_owned(),
                Some(false),
                said("the page is not UTF-8"),
            ),
            ("good".to_owned(), Some(true), None),
            (
                "hangs".to_owned(),
                Some(false),
                said("no answer within 100ms"),
            ),
            (
                "refused".to_owned(),
                Some(false),
                said("it answered with status 503"),
            ),
        ];
        assert_eq!(shown, expected);
        let latest = |metric: &str| {
            let at = clock();
            let query = Query {
                select: Select::metric(metric),
                from: at,
                to: at,
                step: 1,
                function: Function::Last,
                range: 300_000,
                grouping: None,
                quantile: None,
            };
            let (from, to, width) = query.needs();
            let selection = store.lock().select(&query.select, from, to, width);
            query.answer(&selection).unwrap().lines.len()
        };
        assert_eq!((latest("up"), latest("x")), (4, 1));

        scraper.set(vec![target("refused")]);
        // The last row of a target is written by its task, which nobody waits for but us.
        while latest("x") > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scraper.standings().len(), 1);
    }

    #[test]
    fn ticks_are_spread_and_even() {
        let places: std::collections::BTreeSet<i64> = (0..100)
            .map(|i| first_tick(0, 15_000, &format!("j/{i}")).0 / 1_500)
            .collect();
        assert_eq!(places.len(), 10, "all tenths of the interval are used");
        let (at, wait) = first_tick(1_000_003, 15_000, "j/i");
        assert_eq!(at, 1_000_003 + i64::try_from(wait.as_millis()).unwrap());
        for (off, expected) in [
            (0, 0),
            (2, 0),
            (3, 3),
            (-2, 0),
            (-3, -3),
            (15_001, 15_000),
            (44_998, 45_000),
        ] {
            assert_eq!(even(at, 15_000, at + off), at + expected, "{off}");
        }
    }
}
