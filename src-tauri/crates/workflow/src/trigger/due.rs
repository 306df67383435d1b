//! Which times of a schedule are to start runs now.

use super::{cron::Cron, written::CatchUp};
use flotilla_contract::Millis;

/// What came due within this time starts; what is older was missed.
const LATE_MS: u64 = 60_000;
/// Due times that start runs at once at most.
const MOST: usize = 100;
/// A clock that is put back by more than this is no correction of the one before.
const BACK_MS: u64 = 3_600_000;

/// What a schedule does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Due times that start runs, oldest first.
    pub start: Vec<Millis>,
    /// Due times that start none because they were missed.
    pub missed: usize,
    /// There are more of those than were counted.
    pub more: bool,
    /// Up to when it has decided by now.
    pub seen: Millis,
    /// When the next comes due.
    pub next: Option<Millis>,
}

/// Decides about the due times after `seen` up to `now`.
#[must_use]
pub fn due(cron: &Cron, seen: Millis, now: Millis, catch_up: CatchUp) -> Due {
    let mut due = Due {
        start: Vec::new(),
        missed: 0,
        more: false,
        seen,
        next: None,
    };
    if seen > now {
        if seen - now > BACK_MS {
            due.seen = now;
        }
        due.next = cron.after(due.seen);
        return due;
    }
    // From the latest back, so that ten years without an engine cost no more than a day.
    let back = std::iter::successors(cron.until(now), |at| cron.until(at.checked_sub(1)?));
    let mut times: Vec<_> = back.take_while(|at| *at > seen).take(MOST + 1).collect();
    due.more = times.len() > MOST;
    times.truncate(MOST);
    times.reverse();
    let in_time = times.partition_point(|at| now - at > LATE_MS);
    let first = match catch_up {
        CatchUp::All => 0,
        CatchUp::Last if in_time == times.len() => in_time.saturating_sub(1),
        CatchUp::None | CatchUp::Last => in_time,
    };
    due.missed = first;
    due.more &= first > 0 || catch_up == CatchUp::All;
    due.start = times.split_off(first);
    due.seen = now;
    due.next = cron.after(now);
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn ms(text: &str) -> Millis {
        let at: Timestamp = text.parse().unwrap();
        u64::try_from(at.as_millisecond()).unwrap()
    }

    fn shown(at: Millis) -> String {
        Timestamp::from_millisecond(i64::try_from(at).unwrap())
            .unwrap()
            .to_string()
    }

    #[test]
    fn what_starts_and_what_was_missed() {
        use CatchUp::{All, Last, None};
        let hourly = "0 * * * *";
        for (name, text, seen, now, catch_up, starts, missed) in [
            (
                "not yet",
                hourly,
                "2026-01-01T10:00:00Z",
                "2026-01-01T10:59:59.999Z",
                None,
                &[][..],
                0,
            ),
            (
                "in time",
                hourly,
                "2026-01-01T10:00:00Z",
                "2026-01-01T11:00:00Z",
                None,
                &["2026-01-01T11:00:00Z"],
                0,
            ),
            (
                "in time, once",
                hourly,
                "2026-01-01T11:00:00Z",
                "2026-01-01T11:00:00.500Z",
                None,
                &[],
                0,
            ),
            (
                "a little late",
                hourly,
                "2026-01-01T10:00:00Z",
                "2026-01-01T11:01:00Z",
                None,
                &["2026-01-01T11:00:00Z"],
                0,
            ),
            (
                "too late",
                hourly,
                "2026-01-01T10:00:00Z",
                "2026-01-01T11:01:01Z",
                None,
                &[],
                1,
            ),
            (
                "down over several, none",
                hourly,
                "2026-01-01T10:00:00Z",
                "2026-01-01T15:30:00Z",
                None,
                &[],
                5,
            ),
            (
                "down over several, last",
                hourly,
                "2026-01-01T10:00:00Z",
                "2026-01-01T15:30:00Z",
                Last,
                &["2026-01-01T15:00:00Z"],
                4,
            ),
            (
                "down over several, all",
                hourly,
                "2026-01-01T10:00:00Z",
                "2026-01-01T13:30:00Z",
                All,
                &[
                    "2026-01-01T11:00:00Z",
                    "2026-01-01T12:00:00Z",
                    "2026-01-01T13:00:00Z",
                ],
                0,
            ),
            (
                "last is the one in time",
                hourly,
                "2026-01-01T10:00:00Z",
                "2026-01-01T15:00:10Z",
                Last,
                &["2026-01-01T15:00:00Z"],
                4,
            ),
            (
                "back a little",
                hourly,
                "2026-01-01T11:00:00Z",
                "2026-01-01T10:30:00Z",
                All,
                &[],
                0,
            ),
            (
                "back a year",
                hourly,
                "2027-01-01T11:00:00Z",
                "2026-01-01T10:30:00Z",
                All,
                &[],
                0,
            ),
        ] {
            let cron = Cron::parse(text, Some("UTC")).unwrap();
            let due = due(&cron, ms(seen), ms(now), catch_up);
            let started: Vec<_> = due.start.iter().map(|at| shown(*at)).collect();
            assert_eq!(
                (started.as_slice(), due.missed, due.more),
                (
                    starts
                        .iter()
                        .map(|at| (*at).to_owned())
                        .collect::<Vec<_>>()
                        .as_slice(),
                    missed,
                    false
                ),
                "{name}"
            );
            let next = match name {
                "back a little" => "2026-01-01T12:00:00Z".to_owned(),
                "back a year" => "2026-01-01T11:00:00Z".to_owned(),
                _ => shown(cron.after(ms(now)).unwrap()),
            };
            assert_eq!(due.next.map(shown), Some(next), "{name}");
        }
    }

    #[test]
    fn ten_years_without_an_engine_are_bounded() {
        let cron = Cron::parse("* * * * * *", Some("UTC")).unwrap();
        let (seen, now) = (ms("2016-01-01T00:00:00Z"), ms("2026-01-01T00:00:00Z"));
        for (catch_up, starts, missed) in [(CatchUp::All, 100, 0), (CatchUp::None, 61, 39)] {
            let due = due(&cron, seen, now, catch_up);
            assert_eq!(
                (due.start.len(), due.missed, due.more),
                (starts, missed, true)
            );
            assert_eq!(due.start.last(), Some(&now));
        }
    }
}
