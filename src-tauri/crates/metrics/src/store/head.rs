//! The newest rows of one source, in memory, and how they stand in the log.
//!
//! A source is read all at once, so its series share their times: a row is a time and one value per column. A row in the log holds what changed since the
//! row before, byte by byte: of each value the bytes that differ, without the zeros around them.

use super::{
    bits::{Bytes, put, unzigzag, zigzag},
    column::{ABSENT, is_absent},
    file::{self, COLUMNS, ROW},
};

/// Rows that are kept before they become a page. 120 as in Prometheus's chunks: half an hour at 15 s.
pub(crate) const ROWS: usize = 120;

/// A time and its values, by column; what is beyond the end is absent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) time: i64,
    pub(crate) values: Vec<f64>,
}

/// The head of a source.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Series numbers by column.
    pub(crate) columns: Vec<u32>,
    pub(crate) rows: Vec<Row>,
    /// Number of the first of `rows`; rows are counted through the life of the source.
    pub(crate) first_row: u64,
    /// Changes whenever columns change their places.
    pub(crate) generation: u64,
    /// The row before, as the log has it.
    base: Vec<u64>,
    /// Columns that the log knows of; `None`: none, or other ones.
    pub(crate) logged: Option<usize>,
}

impl Head {
    pub(crate) fn next_row(&self) -> u64 {
        self.first_row + self.rows.len() as u64
    }

    pub(crate) fn newest(&self) -> Option<i64> {
        self.rows.last().map(|row| row.time)
    }

    /// Bytes that its rows take.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.iter().map(|row| 32 + 8 * row.values.len()).sum()
    }

    /// The values of a column, oldest first.
    pub(crate) fn column(&self, column: usize) -> impl Iterator<Item = f64> + '_ {
        self.rows
            .iter()
            .map(move |row| row.values.get(column).copied().unwrap_or(ABSENT))
    }

    /// The frame that tells what the columns are; a row may follow it.
    pub(crate) fn columns_frame(&mut self, source: u32) -> Vec<u8> {
        let mut frame = file::frame(COLUMNS);
        put(&mut frame, source.into());
        put(&mut frame, self.columns.len() as u64);
        let mut before = 0;
        for id in &self.columns {
            put(&mut frame, zigzag(i64::from(*id) - before));
            before = i64::from(*id);
        }
        self.logged = Some(self.columns.len());
        self.base.clear();
        frame
    }

    /// The frame of the row that comes next.
    pub(crate) fn row_frame(&mut self, source: u32, time: i64, values: &[f64]) -> Vec<u8> {
        let mut frame = file::frame(ROW);
        frame.reserve(32 + values.len() * 6);
        put(&mut frame, source.into());
        put(&mut frame, self.next_row());
        put(&mut frame, zigzag(time));
        put(&mut frame, values.len() as u64);
        self.base.resize(values.len().max(self.base.len()), 0);
        let mut same = 0_u64;
        for (value, base) in values.iter().zip(&mut self.base) {
            let change = value.to_bits() ^ *base;
            *base = value.to_bits();
            if change == 0 {
                same += 1;
                continue;
            }
            unchanged(&mut frame, &mut same);
            let (above, below) = (change.leading_zeros() / 8, change.trailing_zeros() / 8);
            let count = 8 - above - below;
            frame.push((below << 4 | count).to_le_bytes()[0]);
            let bytes = (change >> (8 * below)).to_le_bytes();
            frame.extend_from_slice(&bytes[..count as usize]);
        }
        unchanged(&mut frame, &mut same);
        frame
    }
}

/// A run of values that are as before: a zero and how many.
fn unchanged(frame: &mut Vec<u8>, same: &mut u64) {
    if *same > 0 {
        frame.push(0);
        put(frame, *same);
        *same = 0;
    }
}

/// The source and the columns of a [`COLUMNS`] frame.
pub(crate) fn read_columns(payload: &[u8]) -> Option<(u32, Vec<u32>)> {
    let mut bytes = Bytes(payload);
    let source = u32::try_from(bytes.varint()?).ok()?;
    let count = bytes.count()?;
    let mut columns = Vec::new();
    let mut id = 0_i64;
    for _ in 0..count {
        id = id.checked_add(unzigzag(bytes.varint()?))?;
        columns.push(u32::try_from(id).ok()?);
    }
    Some((source, columns))
}

/// A row of the log.
pub(crate) struct LoggedRow {
    pub(crate) source: u32,
    pub(crate) number: u64,
    pub(crate) row: Row,
}

/// Reads a row over the row before; `base` must be that of its source.
pub(crate) fn read_row(
    payload: &[u8],
    base: impl FnOnce(u32) -> Option<Vec<u64>>,
) -> Option<(LoggedRow, Vec<u64>)> {
    let mut bytes = Bytes(payload);
    let source = u32::try_from(bytes.varint()?).ok()?;
    let number = bytes.varint()?;
    let time = unzigzag(bytes.varint()?);
    let count = bytes.count()?;
    let mut base = base(source)?;
    if count > base.len() {
        return None;
    }
    let mut column = 0;
    while column < count {
        let head = bytes.byte()?;
        if head == 0 {
            column = column.checked_add(bytes.count()?).filter(|c| *c <= count)?;
            continue;
        }
        let (below, length) = (u32::from(head >> 4), usize::from(head & 15));
        if length > 8 || below > 7 {
            return None;
        }
        let mut change = [0; 8];
        change[..length].copy_from_slice(bytes.take(length)?);
        base[column] ^= u64::from_le_bytes(change) << (8 * below);
        column += 1;
    }
    let values = base[..count]
        .iter()
        .map(|bits| f64::from_bits(*bits))
        .collect();
    let row = Row { time, values };
    Some((
        LoggedRow {
            source,
            number,
            row,
        },
        base,
    ))
}

/// Columns that have a value in some row, as places ordered by the number of their series.
pub(crate) fn alive(head: &Head) -> Vec<usize> {
    let mut there = vec![false; head.columns.len()];
    for row in &head.rows {
        for (there, value) in there.iter_mut().zip(&row.values) {
            *there |= !is_absent(*value);
        }
    }
    let mut places: Vec<usize> = (0..there.len()).filter(|place| there[*place]).collect();
    places.sort_by_key(|place| head.columns[*place]);
    places
}
