//! Metrics: what the process trees of the instances use, and what programs say about themselves.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`Sampler`], [`Live`] | the ticks of this engine, half an hour of them in memory |
//! | [`Page`] | writes a page in either format |
//! | [`exposition`] | reads Prometheus's text format and OpenMetrics; [`page`] does so for display |
//! | [`store`] | keeps series for months, in files of its own, and answers queries |
//! | [`scrape`] | reads the pages of targets into the store |
//! | [`History`] | the ticks of this engine, in the store |
//!
//! Each of the larger ones opens with its own theory of operation; this is that of the live part.
//!
//! **Owns** the [`Ring`]: one shared column of times and one `f32` column per series (a [`SeriesKey`]: metric × instance; instance 0 is the whole server),
//! and the [`Sampler`], which turns two readings of the process table into CPU shares and totals per tree.
//!
//! **Loop**: none of its own. The engine ticks: it asks the sampler, adds restarts, health and the calls of clients, and hands the whole tick to
//! [`Live::record`], which gives back the bytes of the tick for the screens. Before its first tick it hands over what
//! [`History::recall`] has of the engine before. Readers call [`Live::query`] whenever they like. One writer, many readers, a lock that is held for the length of one copy and never across an await.
//!
//! **Bounds**: a series costs 4 bytes per slot (900 slots by default, 3.6 KB); the number of series is bounded too. A series
//! is dropped once its whole column is a gap, that is, one span after its instance was last seen; when the bound is
//! reached, the one that has been gone longest makes room; when all are live, new ones are refused and counted.
//!
//! **Numbers**: a series gets a number when it first appears, and the number is never given to another one in this boot.
//!
//! A gap is a gap: a missing sample is neither zero nor the value before it, in columns, sums, wider steps and frames
//! alike. Time goes forward only: when the clock is set back, points that claim to be later than the newest tick are
//! discarded.
//!
//! **Never** (the whole crate): reads a clock, starts a process, opens a socket. Only the [`store`] touches a disk.

#![warn(missing_docs)]

mod expose;
pub mod exposition;
mod history;
mod live;
mod page;
mod process;
mod query;
mod ring;
pub mod scrape;
pub mod store;

pub use expose::{Exemplar, Family, Format, Kind, Labels, Page};
pub use history::{Fact, History, Recalled, ToolKey};
pub use live::{Live, Recorded};
pub use page::{MAX_PAGE_BYTES, MAX_PAGE_SAMPLES, PageError, page};
pub use process::{Sampler, Totals, TreeSample, totals};
pub use query::{has_spread, is_additive};
pub use ring::{Options, Pushed, Ring, SeriesKey};
