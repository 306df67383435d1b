//! Faults on purpose, for drills. All are off unless asked for.
//!
//! They are predictable: a rate of 0.25 fails each fourth call, and "after" counts from the start, so that a drill can be repeated.

use clap::Args;
use std::{
    str::FromStr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use tokio::sync::watch;

/// The switches.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Drills, all off by default")]
pub(crate) struct Drills {
    /// Share of the calls that fail, 0 to 1; 0.25 fails each fourth
    #[arg(long, value_name = "RATE", value_parser = rate, default_value = "0")]
    pub(crate) fail_rate: f64,
    /// Adds this much to each call, as 200ms or 2s
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "0ms")]
    pub(crate) latency: Duration,
    /// Ends the process at once (exit code 70) after so many calls (100) or so long (30s)
    #[arg(long, value_name = "CALLS|TIME")]
    pub(crate) crash_after: Option<After>,
    /// Answers nothing any more, checks included, after so many calls or so long
    #[arg(long, value_name = "CALLS|TIME")]
    pub(crate) hang_after: Option<After>,
    /// Lists no tools any more after so many calls or so long, and says that the list changed
    #[arg(long, value_name = "CALLS|TIME")]
    pub(crate) lose_tools_after: Option<After>,
    /// Keeps this many KiB of memory for each call, at most 4 GiB in all
    #[arg(long, value_name = "KIB", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub(crate) leak_per_call: u32,
}

/// After so many calls, or so long after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// So many calls.
    Calls(u64),
    /// So long.
    Time(Duration),
}

impl FromStr for After {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self::Calls)
            .or_else(|_| time(text).map(Self::Time))
            .map_err(|_| "give a number of calls (100) or a time (500ms, 30s, 2m)".to_owned())
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("give a number from 0 to 1".to_owned()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    match number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(milliseconds))
    {
        Some(total) if milliseconds > 0 => Ok(Duration::from_millis(total)),
        _ => Err("give a time as 500ms, 30s or 2m".to_owned()),
    }
}

/// What the drills do to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Runs,
    /// It fails.
    Fails,
}

/// Drills under way.
#[derive(Debug)]
pub(crate) struct Drilling {
    drills: Drills,
    calls: AtomicU64,
    leaked: AtomicUsize,
    hung: watch::Sender<bool>,
    lost: watch::Sender<bool>,
}

/// Of all calls together. A drill shall be noticed, not take the machine down.
const LEAK_LIMIT: usize = 4 << 30;

impl Drilling {
    /// Nothing has happened yet.
    pub(crate) fn new(drills: Drills) -> Self {
        Self {
            drills,
            calls: AtomicU64::new(0),
            leaked: AtomicUsize::new(0),
            hung: watch::channel(false).0,
            lost: watch::channel(false).0,
        }
    }

    /// Waits for those that come with time; never returns.
    pub(crate) async fn clock(&self) {
        let at = |after: Option<After>, what: fn(&Self)| async move {
            if let Some(After::Time(time)) = after {
                tokio::time::sleep(time).await;
                what(self);
            }
        };
        tokio::join!(
            at(self.drills.crash_after, |_| crash()),
            at(self.drills.hang_after, Self::hang),
            at(self.drills.lose_tools_after, Self::lose_tools),
        );
        std::future::pending::<()>().await;
    }

    /// Does to one call what was asked for.
    pub(crate) async fn call(&self) -> Fate {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let due =
            |after: Option<After>| matches!(after, Some(After::Calls(calls)) if number > calls);
        if due(self.drills.crash_after) {
            crash();
        }
        if due(self.drills.hang_after) {
            self.hang();
        }
        if due(self.drills.lose_tools_after) {
            self.lose_tools();
        }
        self.answers().await;
        self.leak();
        if !self.drills.latency.is_zero() {
            tokio::time::sleep(self.drills.latency).await;
        }
        if fails(number, self.drills.fail_rate) {
            Fate::Fails
        } else {
            Fate::Runs
        }
    }

    /// Returns at once, or never once the server hangs.
    pub(crate) async fn answers(&self) {
        if *self.hung.borrow() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the tools are gone.
    pub(crate) fn tools_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Changes when the tools go. None when that is not part of the drill.
    pub(crate) fn loss(&self) -> Option<watch::Receiver<bool>> {
        self.drills.lose_tools_after.map(|_| self.lost.subscribe())
    }

    fn hang(&self) {
        self.hung.send_replace(true);
    }

    fn lose_tools(&self) {
        self.lost
            .send_if_modified(|lost| !std::mem::replace(lost, true));
    }

    fn leak(&self) {
        let bytes = self.drills.leak_per_call as usize * 1024;
        if bytes > 0 && self.leaked.fetch_add(bytes, Ordering::Relaxed) + bytes <= LEAK_LIMIT {
            // Written to: memory that nobody touched would not show.
            std::mem::forget(vec![1_u8; bytes]);
        }
    }
}

/// Exactly `rate` of all calls, evenly spread.
#[expect(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "whole numbers far below 2^53"
)]
fn fails(number: u64, rate: f64) -> bool {
    (number as f64 * rate).floor() != ((number - 1) as f64 * rate).floor()
}

/// `EX_SOFTWARE` of sysexits.h.
fn crash() {
    tracing::error!("drill: the process ends now");
    std::process::exit(70);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_exactly() {
        let failed = |rate| (1..=1000).filter(|n| fails(*n, rate)).count();
        assert_eq!([failed(0.0), failed(0.25), failed(1.0)], [0, 250, 1000]);
        assert_eq!(
            (1..=8).filter(|n| fails(*n, 0.25)).collect::<Vec<_>>(),
            [4, 8]
        );
    }

    #[test]
    fn times_and_counts_are_told_apart() {
        let check = |text: &str, expected: Result<After, &str>| {
            assert_eq!(text.parse(), expected.map_err(str::to_owned), "{text}");
        };
        check("100", Ok(After::Calls(100)));
        check("500ms", Ok(After::Time(Duration::from_millis(500))));
        check("2m", Ok(After::Time(Duration::from_secs(120))));
        let said = Err("give a number of calls (100) or a time (500ms, 30s, 2m)");
        for bad in ["", "s", "-1", "3h", "99999999999999999999m"] {
            check(bad, said);
        }
    }

    #[tokio::test]
    async fn tools_are_lost_after_so_many_calls_and_that_is_told_once() {
        let drilling = Drilling::new(Drills {
            lose_tools_after: Some(After::Calls(2)),
            ..Drills::default()
        });
        let mut loss = drilling.loss().expect("the drill is on");
        for lost in [false, false, true, true] {
            drilling.call().await;
            assert_eq!(drilling.tools_lost(), lost);
        }
        assert!(loss.changed().await.is_ok());
        loss.borrow_and_update();
        drilling.call().await;
        assert!(!loss.has_changed().expect("the drill is on"));
    }
}
