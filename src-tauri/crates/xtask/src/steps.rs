//! Numbered steps with their time.

use anyhow::{Context as _, Result};
use std::time::Instant;

/// What a step has to say when it is done ("up to date").
pub(crate) type Said = &'static str;

pub(crate) struct Steps {
    total: usize,
    number: usize,
    start: Instant,
}

impl Steps {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            number: 0,
            start: Instant::now(),
        }
    }

    /// Runs the next step and prints what came of it, with the time it took and the time since the first one.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result<Said>) -> Result<()> {
        self.next(name);
        let start = Instant::now();
        let said =
            step().with_context(|| format!("step {} of {} ({name})", self.number, self.total))?;
        let (took, since) = (
            start.elapsed().as_secs_f64(),
            self.start.elapsed().as_secs_f64(),
        );
        println!("      {said} ({took:.1} s; {since:.1} s since the start)");
        Ok(())
    }

    /// Prints the line of a last step that does not come back.
    pub(crate) fn next(&mut self, name: &str) {
        self.number += 1;
        println!("[{}/{}] {name}", self.number, self.total);
    }
}
