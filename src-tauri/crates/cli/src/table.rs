//! Aligned columns.

use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

/// How a column stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Colour of a cell; the number is the SGR one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Green = 32,
    Yellow = 33,
    Red = 31,
    Dim = 2,
    Bold = 1,
}

#[derive(Clone)]
pub(crate) struct Cell(pub(crate) String, pub(crate) Option<Colour>);

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self(text.into(), None)
    }
}

/// Text with a colour, if colours are shown.
pub(crate) fn paint(text: &str, colour: Option<Colour>, colours: bool) -> String {
    match colour {
        Some(colour) if colours && !text.is_empty() => {
            format!("\x1b[{}m{text}\x1b[0m", colour as u8)
        }
        _ => text.to_owned(),
    }
}

/// Rows under headings, two blanks apart; the last column is not padded.
pub(crate) fn render(columns: &[(&str, Align)], rows: &[Vec<Cell>], colours: bool) -> String {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(i, (heading, _))| {
            rows.iter()
                .filter_map(|r| Some(r.get(i)?.0.width()))
                .fold(heading.width(), usize::max)
        })
        .collect();
    let headings = columns
        .iter()
        .map(|(heading, _)| Cell((*heading).into(), Some(Colour::Bold)))
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let align = columns.get(i).map_or(Align::Left, |c| c.1);
            let pad = " ".repeat(
                widths
                    .get(i)
                    .copied()
                    .unwrap_or(0)
                    .saturating_sub(cell.0.width()),
            );
            let painted = paint(&cell.0, cell.1, colours);
            let gap = if i == 0 { "" } else { "  " };
            let _ = match align {
                Align::Right => write!(line, "{gap}{pad}{painted}"),
                Align::Left if i + 1 == row.len() => write!(line, "{gap}{painted}"),
                Align::Left => write!(line, "{gap}{painted}{pad}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
