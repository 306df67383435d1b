//! Tools that the cache could serve: equal questions within an hour got equal answers.

use crate::slots::Slots;
use flotilla_contract::{ServerId, gateway::CacheCandidate};
use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hasher},
};
use tokio::time::{Duration, Instant};

/// Tools watched.
const MOST_TOOLS: usize = 1_000;
/// Questions remembered for each.
const MOST_QUESTIONS: usize = 256;
/// For how long.
const SPAN: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct Candidates {
    tools: BTreeMap<(ServerId, String), Watched>,
    start: Instant,
}

#[derive(Debug)]
struct Watched {
    /// The newest last; each question once.
    asked: VecDeque<Asked>,
    repeated: Slots<Repeated, 60>,
}

/// A question and its answer, by their hashes: of equal ones there are so few that 64 bits tell them apart.
#[derive(Debug)]
struct Asked {
    at: Instant,
    question: u64,
    answer: u64,
}

#[derive(Debug, Default)]
struct Repeated {
    all: u32,
    equal: u32,
}

impl Candidates {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tools: BTreeMap::new(),
            start: now,
        }
    }

    pub(super) fn note(
        &mut self,
        server: &ServerId,
        tool: &str,
        question: &[u8],
        answer: &str,
        now: Instant,
    ) {
        let name = (server.clone(), tool.to_owned());
        if self.tools.len() >= MOST_TOOLS && !self.tools.contains_key(&name) {
            return;
        }
        let start = self.start;
        let tool = self.tools.entry(name).or_insert_with(|| Watched {
            asked: VecDeque::new(),
            repeated: Slots::new(SPAN / 60, start),
        });
        let asked = Asked {
            at: now,
            question: short(question),
            answer: short(answer.as_bytes()),
        };
        tool.note(asked, now);
    }

    /// Those with questions that came again, the most first.
    pub(super) fn list(&self, now: Instant) -> Vec<CacheCandidate> {
        let one = |((server, tool), watched): (&(ServerId, String), &Watched)| {
            let of = |what: fn(&Repeated) -> u32| {
                watched.repeated.live(now).map(|r| u64::from(what(r))).sum()
            };
            CacheCandidate {
                server: server.clone(),
                tool: tool.clone(),
                repeated: of(|r| r.all),
                equal: of(|r| r.equal),
            }
        };
        let mut list: Vec<_> = self.tools.iter().map(one).collect();
        list.retain(|candidate| candidate.repeated > 0);
        list.sort_by_key(|candidate| std::cmp::Reverse((candidate.equal, candidate.repeated)));
        list
    }
}

impl Watched {
    fn note(&mut self, asked: Asked, now: Instant) {
        while self.asked.front().is_some_and(|old| old.at + SPAN <= now) {
            self.asked.pop_front();
        }
        let before = self
            .asked
            .iter()
            .position(|old| old.question == asked.question);
        if let Some(before) = before.and_then(|at| self.asked.remove(at)) {
            let repeated = self.repeated.at(now);
            repeated.all += 1;
            repeated.equal += u32::from(before.answer == asked.answer);
        }
        if self.asked.len() == MOST_QUESTIONS {
            self.asked.pop_front();
        }
        self.asked.push_back(asked);
    }
}

fn short(bytes: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    hash.write(bytes);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Play {
        candidates: Candidates,
        start: Instant,
    }

    impl Play {
        fn new() -> Self {
            let start = Instant::now();
            let candidates = Candidates::new(start);
            Self { candidates, start }
        }

        fn note(&mut self, minute: u64, tool: &str, question: &str, answer: &str) {
            let now = self.at(minute);
            let server = "echo".parse().expect("a name");
            self.candidates
                .note(&server, tool, question.as_bytes(), answer, now);
        }

        fn at(&self, minute: u64) -> Instant {
            self.start + Duration::from_secs(60 * minute)
        }

        fn list(&self, minute: u64) -> Vec<(String, u64, u64)> {
            let list = self.candidates.list(self.at(minute));
            list.into_iter()
                .map(|c| (c.tool, c.repeated, c.equal))
                .collect()
        }
    }

    #[test]
    fn equal_answers_to_equal_questions() {
        let mut play = Play::new();
        for (minute, tool, question, answer) in [
            (0, "now", "q", "1"),
            (1, "now", "q", "2"),
            (2, "now", "q", "3"),
            (0, "read", "q", "1"),
            (1, "read", "q", "1"),
            (2, "read", "r", "1"),
            (0, "once", "q", "1"),
        ] {
            play.note(minute, tool, question, answer);
        }
        assert_eq!(play.list(3), [("read".into(), 1, 1), ("now".into(), 2, 0)]);
        assert_eq!(play.list(62), [], "an hour later");
    }

    #[test]
    fn only_within_an_hour() {
        let mut play = Play::new();
        play.note(0, "read", "q", "1");
        play.note(60, "read", "q", "1");
        assert_eq!(play.list(60), []);
        play.note(119, "read", "q", "1");
        assert_eq!(play.list(119), [("read".into(), 1, 1)]);
    }

    #[test]
    fn bounded() {
        let mut play = Play::new();
        for n in 0..=256 {
            play.note(0, "read", &n.to_string(), "1");
        }
        play.note(0, "read", "0", "1");
        assert_eq!(play.list(0), [], "the first of 257 is forgotten");
        play.note(0, "read", "256", "1");
        assert_eq!(play.list(0).len(), 1);
        for n in 0..1_500 {
            play.note(0, &n.to_string(), "q", "1");
        }
        assert_eq!(play.candidates.tools.len(), 1_000);
    }
}
