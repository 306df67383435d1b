//! Times of a schedule.

use croner::parser::{CronParser, Seconds, Year};
use flotilla_contract::Millis;
use jiff::{Timestamp, Zoned, tz::TimeZone};

/// Characters of a pattern at most.
const LONGEST: usize = 200;
/// No pattern names a day that comes less often than this: 29 February on a given day of the week.
const RAREST_MS: u64 = 41 * 366 * 86_400_000;
const ANY_TIME: Millis = 1_767_225_600_000;

/// A pattern of cron in a time zone.
#[derive(Clone, Debug)]
pub struct Cron {
    cron: croner::Cron,
    zone: TimeZone,
}

impl Cron {
    /// Reads a pattern of five fields, or six with seconds; the machine's time zone when none is named.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the pattern, as `Err((false, …))`, or with the zone, as `Err((true, …))`.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, (bool, String)> {
        let wrong = |why: String| {
            (
                false,
                format!(
                    "{text:?} is no schedule: {why}; accepted are five fields (minute, hour, day of month, month, day of week), or six with seconds first"
                ),
            )
        };
        if text.len() > LONGEST || !text.is_ascii() {
            return Err(wrong(format!(
                "it is longer than {LONGEST} characters, or not of ASCII"
            )));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(text)
            .map_err(|error| wrong(error.to_string().trim_end_matches('.').to_owned()))?;
        let zone = match zone {
            None => TimeZone::system(),
            Some(name) => TimeZone::get(name).map_err(|_| {
                let why = format!("{name:?} is no time zone; accepted are the names of the IANA database, as \"Europe/Berlin\" or \"UTC\"");
                (true, why)
            })?,
        };
        let cron = Self { cron, zone };
        // No year can be named, so any time will do to see whether it comes at all.
        match cron.after(ANY_TIME) {
            Some(next) if next - ANY_TIME <= RAREST_MS => Ok(cron),
            _ => Err((false, format!("{text:?} never comes due"))),
        }
    }

    /// The first time of it after this one.
    #[must_use]
    pub fn after(&self, at: Millis) -> Option<Millis> {
        let found = self
            .cron
            .find_next_occurrence(&self.second(at)?, false)
            .ok()?;
        millis(&found)
    }

    /// The last time of it that is not after this one.
    #[must_use]
    pub fn until(&self, at: Millis) -> Option<Millis> {
        let found = self
            .cron
            .find_previous_occurrence(&self.second(at)?, true)
            .ok()?;
        millis(&found)
    }

    /// Its time zone, as the database names it.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("local time")
    }

    /// The second in which a time is, on the clock of the zone.
    fn second(&self, at: Millis) -> Option<Zoned> {
        let second = Timestamp::from_second(i64::try_from(at / 1_000).ok()?).ok()?;
        Some(second.to_zoned(self.zone.clone()))
    }
}

fn millis(at: &Zoned) -> Option<Millis> {
    u64::try_from(at.timestamp().as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cron(text: &str, zone: &str) -> Cron {
        Cron::parse(text, Some(zone)).unwrap()
    }

    fn ms(text: &str) -> Millis {
        let at: Timestamp = text.parse().unwrap();
        u64::try_from(at.as_millisecond()).unwrap()
    }

    #[test]
    fn times_follow_the_clock_of_their_zone() {
        for (text, zone, from, expected) in [
            // No hour from 02:00 to 03:00 on 29 March 2026: taken at its end.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-03-28T12:00:00Z",
                &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"][..],
            ),
            // The hour from 02:00 to 03:00 comes twice on 25 October 2026: a fixed time is taken once, the first time.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-10-24T12:00:00Z",
                &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
            ),
            // What comes every half hour goes on through both.
            (
                "*/30 * * * *",
                "Europe/Berlin",
                "2026-10-25T00:00:00Z",
                &[
                    "2026-10-25T00:30:00Z",
                    "2026-10-25T01:00:00Z",
                    "2026-10-25T01:30:00Z",
                    "2026-10-25T02:00:00Z",
                ],
            ),
            (
                "*/30 * * * *",
                "Europe/Berlin",
                "2026-03-29T00:30:00Z",
                &["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
            ),
            (
                "0 3 * * *",
                "UTC",
                "2026-03-28T12:00:00Z",
                &["2026-03-29T03:00:00Z"],
            ),
            (
                "*/20 * * * * *",
                "UTC",
                "2026-01-01T00:00:00Z",
                &[
                    "2026-01-01T00:00:20Z",
                    "2026-01-01T00:00:40Z",
                    "2026-01-01T00:01:00Z",
                ],
            ),
            (
                "@daily",
                "America/New_York",
                "2026-01-01T12:00:00Z",
                &["2026-01-02T05:00:00Z"],
            ),
            (
                "0 0 29 2 MON",
                "UTC",
                "2026-03-01T00:00:00Z",
                &["2026-03-02T00:00:00Z"][..0],
            ),
        ] {
            let cron = cron(text, zone);
            let mut at = ms(from);
            for expected in expected {
                let next = cron.after(at).unwrap();
                assert_eq!(next, ms(expected), "{text} {zone} after {from}");
                at = next;
            }
        }
    }

    #[test]
    fn what_is_no_schedule_says_so() {
        for (text, zone, said) in [
            ("", None, "is no schedule"),
            ("* * * *", None, "is no schedule"),
            ("* * * * * * 2030", None, "is no schedule"),
            ("61 * * * *", None, "is no schedule"),
            ("0 0 30 2 *", None, "never comes due"),
            ("@reboot", None, "is no schedule"),
            ("0 0 * * *", Some("Mars/Olympus"), "is no time zone"),
        ] {
            let why = Cron::parse(text, zone).unwrap_err().1;
            assert!(why.contains(said), "{text:?} {zone:?}: {why}");
        }
    }

    proptest! {
        /// Going back from the end finds what going forward from the beginning found, over changes of the clock too.
        #[test]
        fn back_and_forth_are_the_same(
            pattern in prop::sample::select(vec!["30 2 * * *", "*/7 * * * *", "0 */3 * * *", "15,45 1-3 * * *", "0 0 * * SUN", "59 23 31 * *", "0 12 */2 * 1", "*/13 2 * * *", "30 */2 * * *"]),
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu", "Africa/Casablanca"]),
            day in 0_u64..1_000,
            length in 1_u64..72,
        ) {
            let cron = cron(pattern, zone);
            let from = ms("2025-01-01T00:00:00Z") + day * 86_400_000;
            let to = from + length * 3_600_000;
            let forth: Vec<_> = std::iter::successors(cron.after(from), |at| cron.after(*at)).take_while(|at| *at <= to).collect();
            let mut back: Vec<_> = std::iter::successors(cron.until(to), |at| cron.until(*at - 1)).take_while(|at| *at > from).collect();
            back.reverse();
            prop_assert_eq!(forth, back);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9A-Za-z*/,?#@+ -]{0,40}|[ -~]{0,30}|\\PC{0,20}") {
            drop(Cron::parse(&text, Some("UTC")));
        }
    }
}
