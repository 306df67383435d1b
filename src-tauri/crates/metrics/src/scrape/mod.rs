//! Scraping: pages of metrics, read again and again into the [store](crate::store).
//!
//! **Owns** a task for each target. [`Scraper::set`] says which there are: what is new gets a task, what is gone loses it and a last row ends its lines; a target that stays as it was is
//! not touched, one that changed begins anew.
//!
//! **Loop** of a task: wait for the next tick of its own interval (spread: the ticks of a target stand at a place of the interval that its name decides), fetch the page within the timeout ([`Fetch`], which the engine has),
//! take it in ([`Reader::take`], under the store's lock, on a thread that may block), publish how it went. A tick that comes while a scrape is under way is left out. So a slow target costs a task that waits, and
//! nobody else.
//!
//! **Time** of a row is when the scrape began; when that is within 2 ms of the tick it is the tick, so that distances are even and cost nothing on disk (Prometheus does so, too). Times that a page
//! gives for its samples are not used: a row has one.
//!
//! **Like Prometheus**: `up`, `scrape_duration_seconds`, `scrape_samples_scraped`, `scrape_series_added` with the target's labels; a failed scrape is a row in which all else is absent;
//! `exported_…` for labels that the target has itself.
//!
//! **Never**: retries within an interval, keeps a page, opens a socket itself.

mod run;
mod target;

pub use run::{Clock, Fetch, Fetching, Page, Scraper, SharedStore, Standing};
pub use target::{Limits, Reader, ScrapeError, Taken, Target};
