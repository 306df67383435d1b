//! What came out.

use crate::measure::{Measured, Round, Shape};
use std::fmt;

/// All rows under each load, and their memory. The first row is what the ratios are to.
pub(crate) struct Table<'a>(pub(crate) &'a [Measured]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(direct) = self.0.first() else {
            return Ok(());
        };
        for shape in Shape::ALL {
            writeln!(
                f,
                "\n{:<22}{:>9}{:>9}{:>10}{:>13}{:>15}{:>8}",
                shape.name(),
                "p50 µs",
                "p99 µs",
                "calls/s",
                "p50÷direct",
                "calls÷direct",
                "CPU µs"
            )?;
            for row in self.0.iter().filter(|row| !row.rounds(shape).is_empty()) {
                let cpu = match row.own {
                    true => format!("{:.1}", row.median(shape, |round| round.cpu)),
                    false => String::new(),
                };
                writeln!(
                    f,
                    "  {:<20}{:>9.1}{:>9.1}{:>10.0}{:>13.2}{:>15.2}{:>8}",
                    row.name,
                    row.median(shape, |round| round.p50),
                    row.median(shape, |round| round.p99),
                    row.median(shape, |round| round.rate),
                    row.ratio(direct, shape, |round: &Round| round.p50),
                    row.ratio(direct, shape, |round: &Round| round.rate),
                    cpu
                )?;
            }
        }
        writeln!(
            f,
            "\n{:<22}{:>9}{:>9}{:>10}",
            "RSS MiB", "idle", "peak", "after"
        )?;
        for row in self.0.iter().filter(|row| row.own) {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let peaks = Shape::ALL.map(|shape| row.peak(shape));
            writeln!(
                f,
                "  {:<20}{:>9.1}{:>9.1}{:>10.1}",
                row.name,
                mib(row.idle),
                mib(peaks.into_iter().max().unwrap_or(0)),
                mib(row.after)
            )?;
        }
        Ok(())
    }
}
