//! What came out, beside what it was to be.

use std::fmt;

/// Rows under headings.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

enum Row {
    Section(String),
    Figure {
        name: String,
        ours: String,
        floor: String,
        ratio: String,
        target: String,
        ok: Option<bool>,
    },
}

impl Table {
    pub(crate) fn section(&mut self, title: &str) {
        self.rows.push(Row::Section(title.to_owned()));
    }

    /// A figure of both; the target is for their ratio.
    pub(crate) fn ratio(&mut self, name: &str, ours: f64, floor: f64, target: Option<f64>) {
        let ratio = ours / floor;
        self.rows.push(Row::Figure {
            name: name.to_owned(),
            ours: format!("{ours:.2}"),
            floor: format!("{floor:.2}"),
            ratio: format!("{ratio:.2}"),
            target: target.map_or_else(String::new, |target| format!("≤ {target}×")),
            ok: target.map(|target| ratio <= target),
        });
    }

    /// A figure of ours with a limit of its own.
    pub(crate) fn limit(&mut self, name: &str, ours: f64, target: f64, digits: usize) {
        self.rows.push(Row::Figure {
            name: name.to_owned(),
            ours: format!("{ours:.digits$}"),
            floor: String::new(),
            ratio: String::new(),
            target: format!("≤ {target}"),
            ok: Some(ours <= target),
        });
    }

    /// A figure of ours without a limit.
    pub(crate) fn note(&mut self, name: &str, ours: f64, digits: usize) {
        self.rows.push(Row::Figure {
            name: name.to_owned(),
            ours: format!("{ours:.digits$}"),
            floor: String::new(),
            ratio: String::new(),
            target: String::new(),
            ok: None,
        });
    }

    pub(crate) fn missed(&self) -> usize {
        let missed = |row: &&Row| {
            matches!(
                row,
                Row::Figure {
                    ok: Some(false),
                    ..
                }
            )
        };
        self.rows.iter().filter(missed).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            match row {
                Row::Section(title) => writeln!(
                    f,
                    "\n{title:<36}{:>10}{:>10}{:>8}{:>10}",
                    "engine", "floor", "ratio", "target"
                )?,
                Row::Figure {
                    name,
                    ours,
                    floor,
                    ratio,
                    target,
                    ok,
                } => {
                    let verdict = match ok {
                        Some(true) => "  ok",
                        Some(false) => "  missed",
                        None => "",
                    };
                    writeln!(
                        f,
                        "  {name:<34}{ours:>10}{floor:>10}{ratio:>8}{target:>10}{verdict}"
                    )?;
                }
            }
        }
        Ok(())
    }
}
