//! Who called a server lately: for what a stop would hit, exact over ten minutes however busy the server is.

use crate::slots::Slots;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Clients counted one by one; of those beyond them, the calls count for nobody.
const MOST: usize = 200;
/// Ten slots of a minute.
const MINUTE: Duration = Duration::from_secs(60);

type Calls = Slots<u32, 10>;

/// Calls of each client in the last ten minutes.
pub(crate) struct Callers {
    start: Instant,
    clients: HashMap<String, Calls>,
}

impl Callers {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            start: now,
            clients: HashMap::new(),
        }
    }

    /// A call of a client came.
    pub(crate) fn note(&mut self, client: &str, now: Instant) {
        if let Some(calls) = self.clients.get_mut(client) {
            *calls.at(now) += 1;
            return;
        }
        if self.clients.len() >= MOST {
            self.clients.retain(|_, calls| total(calls, now) > 0);
        }
        if self.clients.len() < MOST {
            // All have one start, so that they are divided by one span.
            let mut calls = Calls::new(MINUTE, self.start);
            *calls.at(now) += 1;
            self.clients.insert(client.to_owned(), calls);
        }
    }

    /// Each client that called, with its calls, in no order.
    pub(crate) fn lately(&self, now: Instant) -> Vec<(String, u32)> {
        self.clients
            .iter()
            .map(|(client, calls)| (client.clone(), total(calls, now)))
            .filter(|(_, calls)| *calls > 0)
            .collect()
    }

    /// How long a time that covers.
    pub(crate) fn covered(&self, now: Instant) -> Duration {
        Calls::new(MINUTE, self.start).covered(now)
    }
}

fn total(calls: &Calls, now: Instant) -> u32 {
    calls.live(now).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn clients_of_the_last_ten_minutes_are_counted_and_bounded() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut callers = Callers::new(start);
        callers.note("early", at(0));
        for second in 0..10 {
            callers.note("n8n", at(300 + second));
        }
        let sorted = |callers: &Callers, now| {
            let mut list = callers.lately(now);
            list.sort();
            list
        };
        assert_eq!(
            sorted(&callers, at(310)),
            [("early".to_owned(), 1), ("n8n".to_owned(), 10)]
        );
        assert_eq!(callers.covered(at(310)), Duration::from_secs(310));
        assert_eq!(sorted(&callers, at(650)), [("n8n".to_owned(), 10)]);
        assert!(callers.covered(at(6_000)) <= Duration::from_secs(600));
        for client in 0..1_000 {
            callers.note(&client.to_string(), at(660));
        }
        assert_eq!(callers.lately(at(660)).len(), MOST);
        // The place of one that has not called for long is given to the next.
        callers.note("late", at(2_000));
        assert_eq!(sorted(&callers, at(2_000)), [("late".to_owned(), 1)]);
    }
}
