//! Answers that are given again.
//!
//! Only of tools that the operator listed, only to an equal question of a client with the same rights, only successes. An answer
//! is raw text that nobody changes; whoever gets it shares it.
//!
//! **One asks, the others wait.** Of equal questions at the same time one goes to the server. If it fails, its error is its own,
//! is not kept, and those who waited ask for themselves, all at once: nobody waits for two failures. If it is given up, the next
//! one asks.
//!
//! **Bounded** in bytes and in number by one figure: each answer weighs its bytes, but at least what it may on average, so the
//! bytes are full no later than the places. The answer that was not used for longest goes first, a moment after the new one came.

use crate::{canonical::canonical, relay::Json};
use flotilla_contract::{
    ServerId,
    gateway::{CacheCandidate, CacheClear, CacheSpec, CacheView, CachedTool},
};
use moka::{Expiry, future::Cache as Moka, notification::RemovalCause, policy::EvictionPolicy};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::time::{Duration, Instant};

mod candidates;
use candidates::Candidates;

/// What an answer costs beside its text, in bytes, roughly.
const OVERHEAD: u64 = 200;

/// SHA-256 of a question.
type Key = [u8; 32];

/// A question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) server: &'a ServerId,
    /// The server's own name of the tool.
    pub(crate) tool: &'a str,
    /// As JSON.
    pub(crate) arguments: Option<&'a str>,
    /// On whose behalf: answers do not cross from one to another. Empty for what all clients may share.
    pub(crate) whose: &'a str,
}

impl Question<'_> {
    /// Each part with its length in front, so that no two questions run into the same text.
    fn key(&self) -> Key {
        let mut arguments = String::new();
        if let Some(json) = self.arguments {
            canonical(json, &mut arguments);
        }
        let mut hash = Sha256::new();
        for part in [self.server.as_str(), self.tool, &arguments, self.whose] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// An answer as the server gave it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The result, as it came.
    pub(crate) text: Json,
    /// How long the server took, in milliseconds.
    pub(crate) upstream_ms: f64,
}

/// An answer that is kept.
#[derive(Debug)]
struct Kept {
    server: ServerId,
    tool: String,
    answer: Arc<Answer>,
    ttl: Duration,
}

impl Kept {
    fn bytes(&self) -> u64 {
        let text = self.answer.text.len() + self.tool.len() + self.server.as_str().len();
        text as u64 + size_of::<Key>() as u64 + OVERHEAD
    }

    fn meant(&self, which: &CacheClear) -> bool {
        which
            .server
            .as_ref()
            .is_none_or(|server| *server == self.server)
            && which.tool.as_ref().is_none_or(|tool| *tool == self.tool)
    }
}

/// The cache. Its own clock decides when an answer is too old.
#[derive(Debug)]
pub(crate) struct Cache {
    spec: CacheSpec,
    kept: Moka<Key, Arc<Kept>>,
    bytes: Arc<Bytes>,
    counts: Mutex<Counts>,
    candidates: Mutex<Candidates>,
}

/// Bytes that came and went; each is counted up only, in whatever order it is heard.
#[derive(Debug, Default)]
struct Bytes {
    came: AtomicU64,
    went: AtomicU64,
    /// Answers that went, by why: too old, taken out, replaced, for want of room.
    left: [AtomicU64; 4],
}

type Counts = BTreeMap<ServerId, BTreeMap<String, Count>>;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    hits: u64,
    misses: u64,
    saved_ms: f64,
}

impl Cache {
    pub(crate) fn new(spec: CacheSpec, now: Instant) -> Self {
        let bytes = Arc::new(Bytes::default());
        Self {
            kept: kept(spec, &bytes),
            spec,
            bytes,
            counts: Mutex::default(),
            candidates: Mutex::new(Candidates::new(now)),
        }
    }

    /// The answer, and whether it is one given again. Unless it is there or on its way, `ask` gets it from the server; a success
    /// is kept for `ttl`. An answer of the tool that is not to be given again, such as its own error, is an `Err` here.
    pub(crate) async fn get_or<E>(
        &self,
        question: Question<'_>,
        ttl: Duration,
        ask: impl Future<Output = Result<Answer, E>>,
    ) -> Result<(Arc<Answer>, bool), E> {
        let key = question.key();
        let keep = |answer: Answer| {
            Arc::new(Kept {
                server: question.server.clone(),
                tool: question.tool.to_owned(),
                answer: Arc::new(answer),
                ttl,
            })
        };
        let mut ask = pin!(ask);
        let mut error = None;
        let first = async {
            ask.as_mut().await.map(keep).map_err(|own| {
                error = Some(own);
                NotKept
            })
        };
        if let Ok(entry) = self.kept.entry(key).or_try_insert_with(first).await {
            let (fresh, kept) = (entry.is_fresh(), entry.into_value());
            self.count(question, (!fresh).then_some(kept.answer.upstream_ms));
            return Ok((Arc::clone(&kept.answer), !fresh));
        }
        self.count(question, None);
        let kept = match error {
            Some(own) => return Err(own),
            // Another one asked, and failed.
            None => ask.await.map(keep)?,
        };
        self.kept.insert(key, Arc::clone(&kept)).await;
        Ok((Arc::clone(&kept.answer), false))
    }

    /// Lets go of what is meant, and says how many answers that were. A tool without a server means that tool of every server.
    pub(crate) async fn clear(&self, which: &CacheClear) -> u64 {
        let meant: Vec<_> = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.meant(which))
            .map(|(key, _)| key)
            .collect();
        let mut cleared = 0;
        for key in meant {
            cleared += u64::from(self.kept.remove(&*key).await.is_some());
        }
        cleared
    }

    /// A tool that changes nothing, and is not listed, answered: is it one that could be?
    pub(crate) fn consider(&self, question: Question<'_>, text: &str, now: Instant) {
        let key = question.key();
        lock(&self.candidates).note(question.server, question.tool, &key, text, now);
    }

    /// Answers that went: why, and how many.
    pub(crate) fn evictions(&self) -> [(&'static str, u64); 4] {
        let [expired, explicit, replaced, size] = &self.bytes.left;
        [
            ("expired", expired),
            ("explicit", explicit),
            ("replaced", replaced),
            ("size", size),
        ]
        .map(|(why, count)| (why, count.load(Ordering::Relaxed)))
    }

    /// In numbers.
    pub(crate) async fn view(&self, now: Instant) -> CacheView {
        self.kept.run_pending_tasks().await;
        let mut tools = tools(&lock(&self.counts));
        tools.sort_by_key(|tool| std::cmp::Reverse((tool.hits, tool.misses)));
        let went = self.bytes.went.load(Ordering::Relaxed);
        CacheView {
            entries: self.kept.entry_count(),
            bytes: self.bytes.came.load(Ordering::Relaxed).saturating_sub(went),
            max_bytes: self.spec.bytes,
            hits: tools.iter().map(|tool| tool.hits).sum(),
            misses: tools.iter().map(|tool| tool.misses).sum(),
            saved_ms: tools.iter().map(|tool| tool.saved_ms).sum(),
            tools,
            candidates: self.candidates(now),
        }
    }

    fn candidates(&self, now: Instant) -> Vec<CacheCandidate> {
        lock(&self.candidates).list(now)
    }

    /// A hit saved so many milliseconds; a miss saved none.
    fn count(&self, question: Question<'_>, saved_ms: Option<f64>) {
        let mut counts = lock(&self.counts);
        let tools = counts.entry(question.server.clone()).or_default();
        let count = tools.entry(question.tool.to_owned()).or_default();
        match saved_ms {
            Some(ms) => {
                count.hits += 1;
                count.saved_ms += ms;
            }
            None => count.misses += 1,
        }
    }
}

/// The first one that asked got nothing to keep.
struct NotKept;

fn kept(spec: CacheSpec, bytes: &Arc<Bytes>) -> Moka<Key, Arc<Kept>> {
    let least = spec.bytes / spec.entries.max(1);
    let (coming, going) = (Arc::clone(bytes), Arc::clone(bytes));
    Moka::builder()
        .max_capacity(spec.bytes)
        .weigher(move |_, kept: &Arc<Kept>| {
            u32::try_from(kept.bytes().max(least)).unwrap_or(u32::MAX)
        })
        .eviction_policy(EvictionPolicy::lru())
        .expire_after(Ttl(coming))
        .eviction_listener(move |_, kept, why| {
            going.went.fetch_add(kept.bytes(), Ordering::Relaxed);
            let [expired, explicit, replaced, size] = &going.left;
            let left = match why {
                RemovalCause::Expired => expired,
                RemovalCause::Explicit => explicit,
                RemovalCause::Replaced => replaced,
                RemovalCause::Size => size,
            };
            left.fetch_add(1, Ordering::Relaxed);
        })
        .build()
}

/// Each answer has its own time to live. This is also where each that is put in passes exactly once.
struct Ttl(Arc<Bytes>);

impl Expiry<Key, Arc<Kept>> for Ttl {
    fn expire_after_create(
        &self,
        _: &Key,
        kept: &Arc<Kept>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        self.0.came.fetch_add(kept.bytes(), Ordering::Relaxed);
        Some(kept.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        kept: &Arc<Kept>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.0.came.fetch_add(kept.bytes(), Ordering::Relaxed);
        Some(kept.ttl)
    }
}

fn tools(counts: &Counts) -> Vec<CachedTool> {
    let of_server = |(server, tools): (&ServerId, &BTreeMap<String, Count>)| {
        let one = |(tool, count): (&String, &Count)| CachedTool {
            server: server.clone(),
            tool: tool.clone(),
            hits: count.hits,
            misses: count.misses,
            saved_ms: count.saved_ms,
        };
        tools.iter().map(one).collect::<Vec<_>>()
    };
    counts.iter().flat_map(of_server).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
