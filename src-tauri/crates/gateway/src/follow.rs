//! Requests that are followed while they run: what is said of one is kept for whoever comes to hear it.
//!
//! Only of a request whose client gave it a correlation id, for nobody else could name it beforehand; other requests cost nothing here.
//! Events are numbered from 1 for each id: `start`, a `chunk` for each progress and message of the server, then `final` or `error`.
//!
//! **Bounds**: [`MOST`] ids, of which those that are over go first, [`KEPT`] after their end at the latest; [`CHUNKS`] chunks and
//! [`LONGEST`] bytes of a result are kept for who comes late; [`FOLLOWERS`] followers of an id. A follower that is too slow misses chunks,
//! which the numbers show; an id for which there is no room is not known.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::broadcast,
    time::{Duration, Instant},
};

/// Ids at once.
const MOST: usize = 1_000;
/// How long an id is known after its end (seed document 000).
const KEPT: Duration = Duration::from_secs(300);
/// Followers of one id (seed document 000).
const FOLLOWERS: usize = 16;
/// Chunks kept for who comes late, and those that one follower may lag behind.
const CHUNKS: usize = 64;
/// Bytes of a result, or of a chunk, beyond which it is told to be left out.
const LONGEST: usize = 1 << 20;
/// Bytes of a result that are kept for who comes after the end.
const KEEP: usize = 64 << 10;
/// Characters of an id.
const ID: usize = 128;

/// What is said of a request, as it stands on the wire.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(flatten)]
    what: What<'a>,
    #[serde(rename = "requestId")]
    request: &'a str,
    /// Milliseconds since the epoch.
    ts: u64,
    seq: u64,
}

/// What happened.
#[derive(Clone, Copy, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum What<'a> {
    Start,
    Chunk {
        content: &'a RawValue,
    },
    Final {
        result: Option<&'a RawValue>,
        /// Why there is no result here.
        #[serde(skip_serializing_if = "Option::is_none")]
        omitted: Option<&'static str>,
    },
    Error {
        message: &'a str,
    },
}

/// Why a request is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFollowed {
    /// No request of this id is under way, or was lately.
    Unknown,
    /// It has as many followers as it may have.
    Crowded,
}

/// A request as a follower hears it.
#[derive(Debug)]
pub struct Followed {
    past: VecDeque<Bytes>,
    live: Option<broadcast::Receiver<Bytes>>,
}

impl Followed {
    /// The next event, as JSON text; `None` after the last one.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(past) = self.past.pop_front() {
            return Some(past);
        }
        loop {
            match self.live.as_mut()?.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct Streams(Mutex<State>);

#[derive(Default)]
struct State {
    known: HashMap<String, Stream>,
    /// Those that are over, the oldest first.
    over: VecDeque<(Instant, String)>,
}

struct Stream {
    seq: u64,
    past: VecDeque<Bytes>,
    /// While requests of this id are under way.
    live: Option<broadcast::Sender<Bytes>>,
    under_way: u32,
}

impl Stream {
    fn say(&mut self, request: &str, ts: u64, what: What<'_>) -> Option<Bytes> {
        self.seq += 1;
        let event = Event {
            what,
            request,
            ts,
            seq: self.seq,
        };
        let event = Bytes::from(serde_json::to_vec(&event).ok()?);
        if let Some(live) = &self.live {
            // Nobody listening is no error.
            let _ = live.send(event.clone());
        }
        Some(event)
    }

    fn keep(&mut self, event: Option<Bytes>) {
        // The start stays.
        if self.past.len() > CHUNKS {
            self.past.remove(1);
        }
        self.past.extend(event);
    }
}

impl Streams {
    /// A request begins. False when it is not followed.
    pub(crate) fn begin(&self, id: Option<&str>, ts: u64) -> bool {
        let Some(id) = id.filter(|id| (1..=ID).contains(&id.len())) else {
            return false;
        };
        let now = Instant::now();
        let mut state = self.state();
        state.forget(now);
        if !state.known.contains_key(id) && state.known.len() >= MOST {
            let Some((_, oldest)) = state.over.pop_front() else {
                return false;
            };
            state.known.remove(&oldest);
        }
        state.over.retain(|(_, over)| over != id);
        let stream = state.known.entry(id.to_owned()).or_insert_with(|| Stream {
            seq: 0,
            past: VecDeque::new(),
            live: None,
            under_way: 0,
        });
        stream.under_way += 1;
        stream
            .live
            .get_or_insert_with(|| broadcast::channel(CHUNKS).0);
        let event = stream.say(id, ts, What::Start);
        stream.keep(event);
        true
    }

    /// The server says something before its answer.
    pub(crate) fn chunk(&self, id: Option<&str>, content: &RawValue, ts: u64) {
        let Some(id) = id.filter(|_| content.get().len() <= LONGEST) else {
            return;
        };
        if let Some(stream) = self.state().known.get_mut(id) {
            let event = stream.say(id, ts, What::Chunk { content });
            stream.keep(event);
        }
    }

    /// A request is over.
    pub(crate) fn end(&self, id: &str, outcome: Result<&RawValue, &str>, ts: u64) {
        let mut state = self.state();
        let Some(stream) = state.known.get_mut(id) else {
            return;
        };
        let left_out = What::Final {
            result: None,
            omitted: Some("the result is too long to be told here"),
        };
        let kept = match outcome {
            Ok(result) if result.get().len() <= KEEP => stream.say(
                id,
                ts,
                What::Final {
                    result: Some(result),
                    omitted: None,
                },
            ),
            Ok(result) => {
                // Those who listen get it as far as it is told at all; what is kept says that it was left out.
                let told = if result.get().len() <= LONGEST {
                    What::Final {
                        result: Some(result),
                        omitted: None,
                    }
                } else {
                    left_out
                };
                stream.say(id, ts, told);
                let live = stream.live.take();
                stream.seq -= 1;
                let kept = stream.say(id, ts, left_out);
                stream.live = live;
                kept
            }
            Err(message) => stream.say(id, ts, What::Error { message }),
        };
        stream.keep(kept);
        stream.under_way = stream.under_way.saturating_sub(1);
        if stream.under_way == 0 {
            stream.live = None;
            state.over.push_back((Instant::now(), id.to_owned()));
        }
    }

    /// Follows a request from its start.
    pub(crate) fn follow(&self, id: &str) -> Result<Followed, NotFollowed> {
        let mut state = self.state();
        state.forget(Instant::now());
        let stream = state.known.get(id).ok_or(NotFollowed::Unknown)?;
        let live = match &stream.live {
            Some(live) if live.receiver_count() >= FOLLOWERS => {
                return Err(NotFollowed::Crowded);
            }
            live => live.as_ref().map(broadcast::Sender::subscribe),
        };
        Ok(Followed {
            past: stream.past.clone(),
            live,
        })
    }

    /// Requests under way that have followers.
    pub(crate) fn followed(&self) -> usize {
        let state = self.state();
        let live = state
            .known
            .values()
            .filter_map(|stream| stream.live.as_ref());
        live.filter(|live| live.receiver_count() > 0).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, now: Instant) {
        while let Some((at, _)) = self.over.front() {
            if now.saturating_duration_since(*at) < KEPT {
                return;
            }
            if let Some((_, id)) = self.over.pop_front() {
                self.known.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    async fn all(mut followed: Followed) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = followed.next().await {
            events.push(String::from_utf8(event.to_vec()).unwrap());
        }
        events
    }

    #[tokio::test(start_paused = true)]
    async fn early_and_late_followers_hear_the_same_and_forgetting_has_its_time() {
        let streams = Streams::default();
        assert_eq!(streams.follow("r").unwrap_err(), NotFollowed::Unknown);
        assert!(!streams.begin(None, 1) && !streams.begin(Some(&"x".repeat(129)), 1));
        assert!(streams.begin(Some("r"), 1));
        let early = streams.follow("r").unwrap();
        streams.chunk(Some("r"), &raw(r#"{"progress":1}"#), 2);
        streams.end("r", Ok(&raw(r#"{"a":1}"#)), 3);
        let late = streams.follow("r").unwrap();
        let expected = [
            r#"{"type":"start","requestId":"r","ts":1,"seq":1}"#,
            r#"{"type":"chunk","content":{"progress":1},"requestId":"r","ts":2,"seq":2}"#,
            r#"{"type":"final","result":{"a":1},"requestId":"r","ts":3,"seq":3}"#,
        ];
        assert_eq!(all(early).await, expected);
        assert_eq!(all(late).await, expected);
        // Used again, the numbers go on.
        streams.begin(Some("r"), 4);
        streams.end("r", Err("unreachable"), 5);
        let again = all(streams.follow("r").unwrap()).await;
        assert_eq!(
            again.last().unwrap(),
            r#"{"type":"error","message":"unreachable","requestId":"r","ts":5,"seq":5}"#
        );
        tokio::time::advance(KEPT).await;
        assert_eq!(streams.follow("r").unwrap_err(), NotFollowed::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_bounded() {
        let streams = Streams::default();
        streams.begin(Some("r"), 1);
        let crowd: Vec<_> = (0..FOLLOWERS)
            .map(|_| streams.follow("r").unwrap())
            .collect();
        assert_eq!(streams.follow("r").unwrap_err(), NotFollowed::Crowded);
        assert_eq!((streams.followed(), crowd.len()), (1, FOLLOWERS));
        for n in 0..500 {
            streams.chunk(Some("r"), &raw(&n.to_string()), 2);
        }
        streams.end("r", Ok(&raw(&format!("\"{}\"", "x".repeat(KEEP)))), 3);
        let late = all(streams.follow("r").unwrap()).await;
        assert!(late.len() <= CHUNKS + 2 && late[0].contains("start"));
        assert!(late.last().unwrap().contains("\"omitted\""), "{late:?}");
        assert!(late.last().unwrap().contains("\"seq\":502"), "{late:?}");
        let live = all(crowd.into_iter().next().unwrap()).await;
        assert!(live.last().unwrap().contains("xxx"));
        for n in 0..2 * MOST {
            assert!(streams.begin(Some(&n.to_string()), 1));
            streams.end(&n.to_string(), Err("x"), 1);
        }
        assert_eq!(streams.follow("0").unwrap_err(), NotFollowed::Unknown);
        assert!(streams.state().known.len() <= MOST);
        for n in 0..MOST {
            streams.begin(Some(&format!("u{n}")), 1);
        }
        assert!(!streams.begin(Some("one more"), 1), "all are under way");
    }
}
