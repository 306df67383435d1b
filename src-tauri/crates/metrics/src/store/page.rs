//! A page: columns of one source over at most [`ROWS`](super::head::ROWS) times, as they stand in the files of all levels.
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 4 | source |
//! | 8 | number of the first row of the source (raw level; replaying the log begins behind it) |
//! | 8 + 8 | first and last time, milliseconds since the epoch |
//! | 4 | rows |
//! | 4 | columns, *n* |
//! | 4 | length of the times, *t* |
//! | t | times ([`column::encode_times`]) |
//! | 4·n | numbers of the series, ascending |
//! | 4·n | where each column ends, from the end of this table |
//! | … | the columns |
//!
//! The tables have a fixed shape so that one series of ten thousand is found by two short reads.

use super::{
    bits::Bytes,
    column,
    file::{self, Frame, PAGE},
};
use std::{fs::File, io};

/// Bytes before the times.
const HEAD: usize = 40;

/// A page that is being made.
pub(crate) struct PageBuilder {
    frame: Vec<u8>,
    ids: Vec<u32>,
    ends: Vec<u32>,
    body: Vec<u8>,
}

impl PageBuilder {
    /// Of some times (one at least, [`column::MOST`] at most), ascending.
    pub(crate) fn new(source: u32, first_row: u64, times: &[i64]) -> Self {
        let mut packed = Vec::new();
        column::encode_times(times, &mut packed);
        let mut frame = file::frame(PAGE);
        let (first, last) = (times.first(), times.last());
        frame.extend_from_slice(&source.to_le_bytes());
        frame.extend_from_slice(&first_row.to_le_bytes());
        frame.extend_from_slice(&first.copied().unwrap_or_default().to_le_bytes());
        frame.extend_from_slice(&last.copied().unwrap_or_default().to_le_bytes());
        frame.extend_from_slice(&small(times.len()).to_le_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&small(packed.len()).to_le_bytes());
        frame.extend_from_slice(&packed);
        Self {
            frame,
            ids: Vec::new(),
            ends: Vec::new(),
            body: Vec::new(),
        }
    }

    /// The next column; numbers must ascend.
    pub(crate) fn column(&mut self, id: u32, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.body);
        self.ids.push(id);
        self.ends.push(small(self.body.len()));
    }

    pub(crate) fn columns(&self) -> usize {
        self.ids.len()
    }

    /// The frame to append.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let at = file::FRAME + HEAD - 8;
        self.frame[at..at + 4].copy_from_slice(&small(self.ids.len()).to_le_bytes());
        for n in self.ids.iter().chain(&self.ends) {
            self.frame.extend_from_slice(&n.to_le_bytes());
        }
        self.frame.append(&mut self.body);
        self.frame
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Where a page is, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PageRef {
    pub(crate) at: u64,
    pub(crate) length: u32,
    pub(crate) source: u32,
    pub(crate) first_row: u64,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) rows: u32,
    columns: u32,
    times: u32,
}

impl PageRef {
    /// What the first bytes of a page say; `None` when they make no sense.
    pub(crate) fn read(file: &File, frame: &Frame) -> io::Result<Option<Self>> {
        if frame.length < HEAD {
            return Ok(None);
        }
        let mut head = [0; HEAD];
        flotilla_os::read_at(file, &mut head, frame.at)?;
        Ok(Self::of(&head, frame.at, frame.length))
    }

    /// Of a frame as [`PageBuilder::finish`] made it, now at a place.
    pub(crate) fn of_frame(frame: &[u8], at: u64) -> Option<Self> {
        let payload = frame.get(file::FRAME..)?;
        Self::of(payload.get(..HEAD)?, at, payload.len())
    }

    fn of(head: &[u8], at: u64, length: usize) -> Option<Self> {
        let mut bytes = Bytes(head);
        let page = Self {
            at,
            length: small(length),
            source: bytes.u32()?,
            first_row: bytes.u64()?,
            first: bytes.i64()?,
            last: bytes.i64()?,
            rows: bytes.u32()?,
            columns: bytes.u32()?,
            times: bytes.u32()?,
        };
        let sound = (1..=column::MOST).contains(&(page.rows as usize)) && page.tables() <= length;
        sound.then_some(page)
    }

    /// Number behind its last row.
    pub(crate) fn next_row(&self) -> u64 {
        self.first_row + u64::from(self.rows)
    }

    fn tables(&self) -> usize {
        HEAD + self.times as usize + 8 * self.columns as usize
    }

    /// Reads times and tables.
    pub(crate) fn open(&self, file: &File) -> io::Result<Page> {
        let mut bytes = vec![0; self.tables() - HEAD];
        flotilla_os::read_at(file, &mut bytes, self.at + HEAD as u64)?;
        let rotten = || io::Error::new(io::ErrorKind::InvalidData, "a page's table is rotten");
        self.parse(&bytes).ok_or_else(rotten)
    }

    fn parse(&self, bytes: &[u8]) -> Option<Page> {
        let mut bytes = Bytes(bytes);
        let times = column::decode_times(bytes.take(self.times as usize)?, self.rows as usize)?;
        let columns = self.columns as usize;
        let table = |bytes: &[u8]| -> Vec<u32> {
            let (words, _) = bytes.as_chunks::<4>();
            words.iter().map(|word| u32::from_le_bytes(*word)).collect()
        };
        Some(Page {
            at: self.at + self.tables() as u64,
            body: self.length as usize - self.tables(),
            times,
            ids: table(bytes.take(4 * columns)?),
            ends: table(bytes.take(4 * columns)?),
        })
    }
}

/// A page whose tables have been read.
pub(crate) struct Page {
    at: u64,
    body: usize,
    pub(crate) times: Vec<i64>,
    pub(crate) ids: Vec<u32>,
    ends: Vec<u32>,
}

impl Page {
    /// The bytes of a series' column; `None` when the page has none of it.
    pub(crate) fn column(&self, file: &File, id: u32) -> io::Result<Option<Vec<u8>>> {
        let Ok(place) = self.ids.binary_search(&id) else {
            return Ok(None);
        };
        let end = self.ends[place] as usize;
        let start = place
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        if start > end || end > self.body {
            let text = "a page's table is rotten";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut bytes = vec![0; end - start];
        flotilla_os::read_at(file, &mut bytes, self.at + start as u64)?;
        Ok(Some(bytes))
    }
}
