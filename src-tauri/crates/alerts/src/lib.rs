//! Alerts: rules over the metrics store, what they find, and who is told.
//!
//! # What it owns
//! The [`Book`]: rules, the alerts that are pending or fire, silences, groups of alerts that were told, the last changes. It is a value
//! without tasks: [`Book::evaluated`] takes what the rules found at a time, [`Book::due`] gives the messages that are to go out at a time.
//! And one queue for each channel, [`Channels`].
//!
//! # An alert's life, as in Prometheus
//! A rule asks for a value of each series of its expression. Each set of labels for which the condition holds is an alert: *pending* until it
//! has held for `for`, then *firing*. When it holds no more, or the series is gone, a pending alert is dropped, and a firing one is
//! *resolved*, `keep_firing_for` later. An evaluation that failed changes nothing. A rule for whose questions the store has no series is
//! *absent*: it is shown as such, since it can find nothing.
//!
//! # From alert to message, as in Alertmanager
//! Firing alerts that are neither silenced nor inhibited are grouped by the values of `group_by`. A new group is told after `group_wait`;
//! then what is new in it, or has ended, `group_interval` after its last message at the earliest; the same again after `repeat_interval`. An
//! alert that ended is told once, and only if its firing was told. A warning or an info is inhibited while a critical alert of the same thing
//! fires: of the same server, and of the same instance and tool where both name one; or, of no server, with the same label `about` and the same
//! other labels, as the memory of the machine. What has the label `about="calls"` is inhibited while its server is stopped or failed: nobody
//! answers, and that is said already.
//!
//! # Over a restart
//! What is pending and fires, what was told, and the silences are [kept](Book::kept) by the engine whenever they change, and
//! [restored](Book::restore). So a restart neither forgets an alert nor tells it twice. For a minute after it, a series that is not there yet ends no
//! alert.
//!
//! # Its bounds
//! 1,000 alerts of a rule (more are left out, and the rule says so); 500 silences; 500 changes remembered. A channel's queue holds 100
//! messages, a message 100 alerts; when it is full the oldest message is given up. A message is tried 6 times over about a minute; one that is given up becomes a dead letter, of which the
//! last 20 are kept. An answer of a webhook is read to 4 KiB. A program is ended, with its whole tree, at its time-out. A mail server has 30 s.
//!
//! # What it never does
//! Ask the store, resolve a secret or write a file: the engine does, through [`Source`] and [`Reach`].

#![warn(missing_docs)]

mod book;
mod channel;
mod group;
mod rule;
mod standard;

pub use book::{Book, Change, Found, Kept, Message, SilenceError};
pub use channel::{Channels, Reach, Sign, TestError, signature};
pub use standard::standard;

use flotilla_contract::metric::{RangeAnswer, RangeQuery};
use std::{future::Future, pin::Pin};

/// A future in a box.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where rules ask.
pub trait Source: Send + Sync {
    /// Values over a span.
    fn range(&self, query: RangeQuery) -> Boxed<'_, Result<RangeAnswer, String>>;
}
