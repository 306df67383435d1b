//! The time-series store: what sources say about themselves, kept for months in files of our own.
//!
//! **Owns** a folder, and nothing outside it:
//!
//! | path | holds |
//! | --- | --- |
//! | `log/N.log` | rows since the last checkpoint, one frame each, written before [`Store::append`] returns |
//! | `raw/N.pages` | columns of up to 120 rows, compressed; the file with the highest number grows, the others are closed |
//! | `10s/N.pages`, `1m/N.pages`, `1h/N.pages` | the roll-ups of `raw/N.pages` |
//!
//! The format of all of them stands in [`file`], that of a page in [`page`], that of a column in [`column`].
//!
//! **The way of a point.** A *source* (a scrape target, the engine's own sampling) gives one row at a time: a time and a value for each of its series.
//! The row goes to the log, then to the *head* of its source in memory. After 120 rows the head becomes a page of the open raw file. A *checkpoint*
//! makes pages of all heads, whatever they hold, and begins a new log; it comes when the log has grown to its bound, and when the raw file is closed: after
//! [`Options::span`], or sooner when it is large. A closed file is rolled up into buckets of 10 seconds, a minute and an hour: [`Store::pending`] gives the work,
//! which needs no lock, and [`Store::adopt`] takes its result in.
//!
//! **A bucket** ([`Bucket`]) holds count, sum (and so the mean), minimum, maximum, first, last and, for counters, the increase with resets
//! undone. Buckets merge, in any grouping; a bucket that is cut by the border of two files is simply there twice. Histograms in Prometheus's form are counters by `le`: their
//! roll-ups add up and give quantiles over any time.
//!
//! **A kill** loses the row that was being written, no more: the rest is in the log, with the operating system. When the machine itself dies, what it had
//! not yet written is lost; a checkpoint waits for the disk. Opening reads the log, cuts off a frame that is torn, and goes on. A file that is not of this format is
//! renamed to `.broken` and said in [`Store::notices`]; opening fails only when the folder cannot be used.
//!
//! **Bounds.** Series: [`Options::max_series`]; new ones beyond are refused and counted. Memory: heads beyond [`Options::memory`] become pages early. Disk: beyond
//! [`Options::disk`] the oldest closed file of the finest level goes first; a level also forgets what is older than it keeps. When the disk cannot be written, heads keep twice
//! their rows and then drop the oldest, counted in [`Stats::lost_rows`].
//!
//! **Absent is not zero.** A series that its source did not name in a row is [`ABSENT`] there, and a gap in every answer, from that time on. A source that could not be
//! read is a row in which everything is absent. No row at all is a gap after the look-back of a query.
//!
//! **Never**: reads a clock (time comes in), spawns, opens a socket, waits for anything but the disk.

pub(crate) mod bits;
mod column;
mod file;
mod head;
mod page;
mod query;
mod roll;
mod select;
mod series;
#[cfg(test)]
mod tests;

pub use column::{ABSENT, is_absent};
pub(crate) use query::AT_ONCE;
pub use query::{Aggregate, Answer, Function, Grouping, Line, MOST_POINTS, Query, QueryError};
pub use roll::{Bucket, RollUp};
pub use select::{Matcher, Select, Selection};
pub use series::{SeriesName, TwiceError, accumulates};

use crate::exposition::Kind;
use file::{Appender, COLUMNS, Frames, PAGE, ROW, SERIES};
use head::{Head, ROWS, Row};
use page::{PageBuilder, PageRef};
use series::Register;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What is kept and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder; it is made when it is not there.
    pub folder: PathBuf,
    /// Bytes that rows may take in memory (default 64 MiB).
    pub memory: usize,
    /// Bytes that all files may take (default 1 GiB, at least 4 MiB).
    pub disk: u64,
    /// Series at most, those of the past included as long as a file has them (default 100,000).
    pub max_series: usize,
    /// A raw file is closed after this many milliseconds (default 6 h).
    pub span: i64,
    /// How long each level is kept, in milliseconds: raw, 10 s, 1 min, 1 h (default 2, 14, 90 and 400 days).
    pub keep: [i64; 4],
}

impl Options {
    /// The defaults in a folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        const DAY: i64 = 24 * 3_600_000;
        Self {
            folder: folder.to_owned(),
            memory: 64 << 20,
            disk: 1 << 30,
            max_series: 100_000,
            span: DAY / 4,
            keep: [2 * DAY, 14 * DAY, 90 * DAY, 400 * DAY],
        }
    }
}

/// Folder and width of a bucket of each level, in milliseconds.
const LEVELS: [(&str, i64); 4] = [
    ("raw", 0),
    ("10s", 10_000),
    ("1m", 60_000),
    ("1h", 3_600_000),
];
const PAGES: &str = "pages";
const LOG: &str = "log";
/// Columns of a page at most: bounds what making one takes in memory.
const PAGE_COLUMNS: usize = 4096;
/// Below this, files would be dropped while they are written.
const LEAST_DISK: u64 = 4 << 20;
/// A clock that was set back by more than this is believed.
const SET_BACK: i64 = 60_000;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("use {path}: {error}")]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The bound on series.
    #[error("keep another series: {0} are kept, and that is the most")]
    Full(usize),
    /// The series is another source's.
    #[error("take {series} from {source_name}: it comes from {owner} already")]
    Taken {
        /// The series.
        series: SeriesName,
        /// Who gave it now.
        source_name: String,
        /// Whose it is.
        owner: String,
    },
    /// A row that is not newer than the one before.
    #[error("take a row at {time}: the source has one at {newest}")]
    Late {
        /// Its time.
        time: i64,
        /// The newest one's.
        newest: i64,
    },
    /// A row with more values than its source has columns.
    #[error("take a row of {values} values: the source has {columns} columns")]
    Columns {
        /// Of the row.
        values: usize,
        /// Of the source.
        columns: usize,
    },
}

/// The store in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series that are known.
    pub series: usize,
    /// Bytes that rows take in memory.
    pub memory: usize,
    /// Bytes of all files.
    pub disk: u64,
    /// Of the log among them.
    pub log: u64,
    /// Bytes of each level.
    pub levels: [u64; 4],
    /// Rows that were dropped because the disk could not be written.
    pub lost_rows: u64,
    /// New series that were refused, each time they came.
    pub refused_series: u64,
}

/// A source of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(u32);

/// The store: see the [module](self).
#[derive(Debug)]
pub struct Store {
    options: Options,
    register: Register,
    heads: BTreeMap<u32, Head>,
    log: Appender,
    log_number: u64,
    raw: Appender,
    raw_number: u64,
    levels: [BTreeMap<u64, LevelFile>; 4],
    /// Files up to this number were dropped, by level.
    dropped: [u64; 4],
    lost_rows: u64,
    refused_series: u64,
    notices: Vec<String>,
}

/// A file of pages.
#[derive(Clone, Debug)]
pub(crate) struct LevelFile {
    path: PathBuf,
    file: Arc<File>,
    length: u64,
    pages: Vec<PageRef>,
}

impl LevelFile {
    fn first(&self) -> Option<i64> {
        self.pages.iter().map(|page| page.first).min()
    }

    fn last(&self) -> Option<i64> {
        self.pages.iter().map(|page| page.last).max()
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| Error::Disk {
        path: path.to_owned(),
        error,
    }
}

impl Store {
    /// Opens the store of a folder, or makes one.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn open(mut options: Options) -> Result<Self, Error> {
        options.disk = options.disk.max(LEAST_DISK);
        let folders = LEVELS.map(|(name, _)| options.folder.join(name));
        let logs = options.folder.join(LOG);
        for folder in folders.iter().chain([&logs]) {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        for folder in &folders {
            for (_, unfinished) in file::numbered(folder, "tmp").map_err(at(folder))? {
                fs::remove_file(&unfinished).map_err(at(&unfinished))?;
            }
        }
        let mut register = Register::default();
        let mut notices = Vec::new();
        let mut levels: [BTreeMap<u64, LevelFile>; 4] = Default::default();
        for (level, folder) in levels.iter_mut().zip(&folders) {
            for (number, path) in file::numbered(folder, PAGES).map_err(at(folder))? {
                match scan(&path, number, &mut register) {
                    Ok(file) => drop(level.insert(number, file)),
                    Err(error) => set_aside(&path, &error, &mut notices),
                }
            }
        }
        let (raw_number, raw) = open_raw(&folders[0], &mut levels)?;
        let (log_number, log) = newest_log(&logs, &mut notices)?;
        let mut store = Self {
            options,
            register,
            heads: BTreeMap::new(),
            log,
            log_number,
            raw,
            raw_number,
            levels,
            dropped: [0; 4],
            lost_rows: 0,
            refused_series: 0,
            notices,
        };
        for page in store.levels[0].values().flat_map(|file| &file.pages) {
            let head = store.heads.entry(page.source).or_default();
            head.first_row = head.first_row.max(page.next_row());
        }
        store.replay(&logs)?;
        Ok(store)
    }

    /// Sets what is kept anew; [`tick`](Self::tick) brings it about.
    pub fn bound(&mut self, memory: usize, disk: u64, keep: [i64; 4]) {
        let options = &mut self.options;
        (options.memory, options.disk, options.keep) = (memory, disk.max(LEAST_DISK), keep);
    }

    /// What opening and tidying found, for the operator. Asking empties the list.
    pub fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// A source by its name, which stays the same over restarts.
    pub fn source(&mut self, name: &str) -> Source {
        let source = self.register.source(name);
        self.heads.entry(source).or_default();
        Source(source)
    }

    /// The column of a series in the rows of its source; it is made when it is new. It holds until [`Store::generation`] changes.
    ///
    /// # Errors
    /// When there are too many series, or another source has this one.
    pub fn column(
        &mut self,
        source: Source,
        name: &SeriesName,
        kind: Kind,
    ) -> Result<usize, Error> {
        let mut known = self.register.find(name);
        if let Some(entry) = known.and_then(|id| self.register.by_id.get(&id)) {
            match entry.column {
                Some(column) if entry.source == source.0 => return Ok(column as usize),
                Some(_) => {
                    let called = |source| self.register.sources.get(source).cloned();
                    return Err(Error::Taken {
                        series: name.clone(),
                        owner: called(&entry.source).unwrap_or_default(),
                        source_name: called(&source.0).unwrap_or_default(),
                    });
                }
                // Its former source gives it no more: it goes on under another number.
                None if entry.source != source.0 => known = None,
                None => {}
            }
        }
        let id = match known {
            Some(id) => id,
            None if self.register.by_id.len() >= self.options.max_series => {
                self.refused_series += 1;
                return Err(Error::Full(self.options.max_series));
            }
            None => {
                let counter = accumulates(name.metric(), kind);
                self.register.add(source.0, name.clone(), counter)
            }
        };
        let head = self.heads.entry(source.0).or_default();
        let column = head.columns.len();
        head.columns.push(id);
        if let Some(entry) = self.register.by_id.get_mut(&id) {
            entry.column = u32::try_from(column).ok();
        }
        Ok(column)
    }

    /// Changes when the columns of a source have moved: then each series is to be asked for again.
    #[must_use]
    pub fn generation(&self, source: Source) -> u64 {
        self.heads.get(&source.0).map_or(0, |head| head.generation)
    }

    /// How many columns a source has.
    #[must_use]
    pub fn columns(&self, source: Source) -> usize {
        self.heads
            .get(&source.0)
            .map_or(0, |head| head.columns.len())
    }

    /// Takes a row: one value per column of the source, [`ABSENT`] where there is none; columns beyond the end are absent. When it returns, the operating system has it.
    ///
    /// # Errors
    /// When the row is not newer than the one before (a clock set back by more than a minute is believed), or has too many values. A disk that cannot be written is an error too; then the
    /// row is kept in memory.
    pub fn append(&mut self, source: Source, time: i64, values: &[f64]) -> Result<(), Error> {
        let head = self.heads.entry(source.0).or_default();
        let (values_len, columns) = (values.len(), head.columns.len());
        if values_len > columns {
            return Err(Error::Columns {
                values: values_len,
                columns,
            });
        }
        if let Some(newest) = head.newest().filter(|newest| time <= *newest) {
            if newest - time <= SET_BACK {
                return Err(Error::Late { time, newest });
            }
            self.seal(source.0)?;
        }
        let logged = self.log_row(source.0, time, values);
        let head = self.heads.entry(source.0).or_default();
        head.rows.push(Row {
            time,
            values: values.to_vec(),
        });
        if logged.is_err() {
            // What was declared may not be there.
            head.logged = None;
            for id in &head.columns {
                if let Some(entry) = self.register.by_id.get_mut(id) {
                    entry.log = 0;
                }
            }
        }
        let full = head.rows.len() >= ROWS;
        let sealed = if full { self.seal(source.0) } else { Ok(()) };
        let bounded = self.bound_memory();
        logged.and(sealed).and(bounded)?;
        if self.log.length > self.log_bound() {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Closes the raw file when it is due, and forgets what is too old or too much. To be called now and then, with the time.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn tick(&mut self, now: i64) -> Result<(), Error> {
        let file = self.levels[0].get(&self.raw_number);
        let first = file.and_then(LevelFile::first);
        let heads = self.heads.values().filter_map(|head| head.rows.first());
        let first = heads.map(|row| row.time).chain(first).min();
        let due = first.is_some_and(|first| now - first >= self.options.span);
        if due || self.raw.length > self.options.disk / 16 {
            self.close()?;
        }
        self.forget(now)
    }

    /// Makes pages of everything and begins a new log.
    ///
    /// # Errors
    /// When the disk cannot be written; nothing is lost then that was not lost before.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        let sources: Vec<u32> = self.heads.keys().copied().collect();
        for source in sources {
            self.seal(source)?;
        }
        self.raw.file.sync_data().map_err(at(&self.raw.path))?;
        let number = self.log_number + 1;
        let path = file::path(&self.options.folder.join(LOG), number, LOG);
        let log = Appender::create(&path).map_err(at(&path))?;
        let old = std::mem::replace(&mut self.log, log);
        self.log_number = number;
        self.heads.values_mut().for_each(|head| head.logged = None);
        fs::remove_file(&old.path).map_err(at(&old.path))
    }

    /// The next closed file that has no roll-up yet.
    #[must_use]
    pub fn pending(&self) -> Option<RollUp> {
        let closed = self.levels[0]
            .iter()
            .filter(|(n, _)| **n != self.raw_number);
        for (number, file) in closed {
            for (level, (name, width)) in LEVELS.iter().enumerate().skip(1) {
                if *number > self.dropped[level] && !self.levels[level].contains_key(number) {
                    let to = file::path(&self.options.folder.join(name), *number, PAGES);
                    let counters = file.pages.iter().map(|page| page.source).collect();
                    return Some(RollUp {
                        level,
                        number: *number,
                        width: *width,
                        from: file.clone(),
                        to,
                        sources: counters,
                    });
                }
            }
        }
        None
    }

    /// Takes in a roll-up whose work was done.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn adopt(&mut self, done: &RollUp) -> Result<(), Error> {
        let file = scan(&done.to, done.number, &mut self.register).map_err(at(&done.to))?;
        self.levels[done.level].insert(done.number, file);
        Ok(())
    }

    /// The store in numbers.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let level = |files: &BTreeMap<u64, LevelFile>| files.values().map(|file| file.length).sum();
        let levels: [u64; 4] = std::array::from_fn(|i| level(&self.levels[i]));
        Stats {
            series: self.register.by_id.len(),
            memory: self.heads.values().map(Head::bytes).sum(),
            disk: levels.iter().sum::<u64>() + self.log.length,
            log: self.log.length,
            levels,
            lost_rows: self.lost_rows,
            refused_series: self.refused_series,
        }
    }

    // --- the log

    fn log_bound(&self) -> u64 {
        (self.options.disk / 32).min(16 << 20)
    }

    fn log_row(&mut self, source: u32, time: i64, values: &[f64]) -> Result<(), Error> {
        let head = self.heads.entry(source).or_default();
        let mut frames = Vec::new();
        if head.logged != Some(head.columns.len()) {
            let number = self.log_number;
            if let Some(frame) = declaration(&mut self.register, source, &head.columns, |entry| {
                std::mem::replace(&mut entry.log, number) != number
            }) {
                frames.push(frame);
            }
            frames.push(head.columns_frame(source));
        }
        frames.push(head.row_frame(source, time, values));
        for frame in frames {
            self.log.append(frame).map_err(at(&self.log.path))?;
        }
        Ok(())
    }

    /// Reads what the logs have beyond the pages.
    fn replay(&mut self, folder: &Path) -> Result<(), Error> {
        let logs = file::numbered(folder, LOG).map_err(at(folder))?;
        for (number, path) in logs {
            let file = File::open(&path).map_err(at(&path))?;
            let end = self.replay_log(&file, number).map_err(at(&path))?;
            if number == self.log_number {
                self.log = Appender::resume(&path, end).map_err(at(&path))?;
            } else {
                // The next one was begun when all of this was in pages.
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    /// Gives the place behind the last frame that is whole.
    fn replay_log(&mut self, file: &File, number: u64) -> io::Result<u64> {
        let mut bases: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        let mut end = 8;
        for frame in Frames::of(file)? {
            let Some(payload) = frame.read(file)? else {
                break;
            };
            let taken = match frame.kind {
                SERIES => self.register.learn(&payload, |entry| entry.log = number),
                COLUMNS => head::read_columns(&payload).map(|(source, columns)| {
                    bases.insert(source, vec![0; columns.len()]);
                    self.replay_columns(source, columns);
                }),
                ROW => {
                    head::read_row(&payload, |source| bases.remove(&source)).map(|(row, base)| {
                        bases.insert(row.source, base);
                        self.replay_row(row);
                    })
                }
                _ => None,
            };
            if taken.is_none() {
                break;
            }
            end = frame.end();
        }
        Ok(end)
    }

    fn replay_columns(&mut self, source: u32, columns: Vec<u32>) {
        let head = self.heads.entry(source).or_default();
        if !columns.starts_with(&head.columns) && !head.rows.is_empty() {
            // An error is told by the next one who writes.
            let _ = self.seal(source);
        }
        let head = self.heads.entry(source).or_default();
        for id in &head.columns {
            if let Some(entry) = self.register.by_id.get_mut(id) {
                entry.column = None;
            }
        }
        head.columns = columns;
        self.number_columns(source);
    }

    fn replay_row(&mut self, logged: head::LoggedRow) {
        let head = self.heads.entry(logged.source).or_default();
        if logged.number < head.first_row {
            return;
        }
        if head.rows.is_empty() {
            head.first_row = logged.number;
        }
        head.rows.push(logged.row);
        if head.rows.len() >= ROWS {
            let _ = self.seal(logged.source);
        }
    }

    // --- pages

    /// Makes a page of the head of a source.
    fn seal(&mut self, source: u32) -> Result<(), Error> {
        let Some(head) = self.heads.get(&source).filter(|head| !head.rows.is_empty()) else {
            return Ok(());
        };
        let alive = head::alive(head);
        let written = self.write_pages(source, &alive);
        let Some(head) = self.heads.get_mut(&source) else {
            return written;
        };
        if written.is_err() && head.rows.len() < 2 * ROWS {
            return written;
        }
        let rows = std::mem::take(&mut head.rows).len() as u64;
        head.first_row += rows;
        if written.is_err() {
            self.lost_rows += rows;
        }
        if alive.len() < head.columns.len() {
            self.drop_columns(source, &alive);
        }
        written
    }

    fn write_pages(&mut self, source: u32, alive: &[usize]) -> Result<(), Error> {
        let Some(head) = self.heads.get(&source) else {
            return Ok(());
        };
        let number = self.raw_number;
        let ids: Vec<u32> = alive.iter().map(|place| head.columns[*place]).collect();
        let declared = declaration(&mut self.register, source, &ids, |entry| {
            entry.file != number
        });
        if let Some(frame) = declared {
            self.raw.append(frame).map_err(at(&self.raw.path))?;
            for id in &ids {
                if let Some(entry) = self.register.by_id.get_mut(id) {
                    entry.file = number;
                }
            }
        }
        let times: Vec<i64> = head.rows.iter().map(|row| row.time).collect();
        let mut values = Vec::with_capacity(times.len());
        for (rows, times) in times.chunks(ROWS).enumerate().map(|(i, t)| (i * ROWS, t)) {
            for places in alive.chunks(PAGE_COLUMNS) {
                let mut page = PageBuilder::new(source, head.first_row + rows as u64, times);
                for place in places {
                    values.clear();
                    values.extend(head.column(*place).skip(rows).take(times.len()));
                    page.column(head.columns[*place], |out| column::encode(&values, out));
                }
                let frame = page.finish();
                let reference = PageRef::of_frame(&frame, self.raw.length + file::FRAME as u64);
                self.raw.append(frame).map_err(at(&self.raw.path))?;
                if let Some(file) = self.levels[0].get_mut(&number) {
                    file.pages.extend(reference);
                    file.length = self.raw.length;
                }
            }
        }
        Ok(())
    }

    /// Leaves out the columns that had no value for a whole page.
    fn drop_columns(&mut self, source: u32, alive: &[usize]) {
        let Some(head) = self.heads.get_mut(&source) else {
            return;
        };
        for id in &head.columns {
            if let Some(entry) = self.register.by_id.get_mut(id) {
                entry.column = None;
            }
        }
        head.columns = alive.iter().map(|place| head.columns[*place]).collect();
        head.generation += 1;
        head.logged = None;
        self.number_columns(source);
    }

    fn number_columns(&mut self, source: u32) {
        let columns = self.heads.get(&source).map(|head| head.columns.as_slice());
        for (column, id) in (0..).zip(columns.unwrap_or_default()) {
            if let Some(entry) = self.register.by_id.get_mut(id) {
                entry.column = Some(column);
                entry.source = source;
            }
        }
    }

    /// Makes a page of the largest head as long as they take too much.
    fn bound_memory(&mut self) -> Result<(), Error> {
        loop {
            let sizes = self
                .heads
                .iter()
                .map(|(source, head)| (head.bytes(), *source));
            let total: usize = sizes.clone().map(|(bytes, _)| bytes).sum();
            let Some((_, source)) = sizes.max().filter(|_| total > self.options.memory) else {
                return Ok(());
            };
            self.seal(source)?;
        }
    }

    // --- files

    /// Closes the raw file and begins the next.
    fn close(&mut self) -> Result<(), Error> {
        self.checkpoint()?;
        if self.levels[0]
            .get(&self.raw_number)
            .is_none_or(|file| file.pages.is_empty())
        {
            return Ok(());
        }
        let number = self.raw_number + 1;
        let path = file::path(&self.options.folder.join(LEVELS[0].0), number, PAGES);
        self.raw = Appender::create(&path).map_err(at(&path))?;
        self.raw_number = number;
        self.levels[0].insert(number, fresh(&self.raw));
        Ok(())
    }

    fn forget(&mut self, now: i64) -> Result<(), Error> {
        let mut dropped = false;
        for level in 0..LEVELS.len() {
            let limit = now - self.options.keep[level];
            while let Some(number) = self.oldest_closed(level) {
                let file = self.levels[level].get(&number);
                if file
                    .and_then(LevelFile::last)
                    .is_some_and(|last| last >= limit)
                {
                    break;
                }
                dropped = true;
                self.drop_file(level, number)?;
            }
        }
        // What the open file and the log may grow by until the next look.
        let bound = self.options.disk - self.options.disk / 8;
        while self.stats().disk > bound {
            let Some((level, number)) =
                (0..LEVELS.len()).find_map(|l| Some((l, self.oldest_closed(l)?)))
            else {
                break;
            };
            dropped = true;
            self.drop_file(level, number)?;
        }
        if dropped {
            let oldest = self.levels.iter().filter_map(|files| files.keys().next());
            self.register
                .forget_before(oldest.min().copied().unwrap_or_default());
        }
        Ok(())
    }

    fn oldest_closed(&self, level: usize) -> Option<u64> {
        let number = *self.levels[level].keys().next()?;
        (level > 0 || number != self.raw_number).then_some(number)
    }

    fn drop_file(&mut self, level: usize, number: u64) -> Result<(), Error> {
        let Some(file) = self.levels[level].remove(&number) else {
            return Ok(());
        };
        self.dropped[level] = self.dropped[level].max(number);
        fs::remove_file(&file.path).map_err(at(&file.path))
    }
}

/// A frame that declares those of the series of which `new` says so.
fn declaration(
    register: &mut Register,
    source: u32,
    ids: &[u32],
    mut new: impl FnMut(&mut series::Entry) -> bool,
) -> Option<Vec<u8>> {
    let entries = &mut register.by_id;
    let ids: Vec<u32> = ids
        .iter()
        .copied()
        .filter(|id| entries.get_mut(id).is_some_and(&mut new))
        .collect();
    if ids.is_empty() {
        return None;
    }
    let mut frame = file::frame(SERIES);
    register.declare(source, &ids, &mut frame);
    Some(frame)
}

fn fresh(raw: &Appender) -> LevelFile {
    LevelFile {
        path: raw.path.clone(),
        file: raw.file.clone(),
        length: raw.length,
        pages: Vec::new(),
    }
}

/// Reads which series and pages a file has.
fn scan(path: &Path, number: u64, register: &mut Register) -> io::Result<LevelFile> {
    let file = File::open(path)?;
    let mut pages = Vec::new();
    let mut length = 8;
    for frame in Frames::of(&file)? {
        let sound = match frame.kind {
            SERIES => frame.read(&file)?.and_then(|declared| {
                register.learn(&declared, |entry| entry.file = entry.file.max(number))
            }),
            PAGE => PageRef::read(&file, &frame)?.map(|page| pages.push(page)),
            _ => None,
        };
        if sound.is_none() {
            break;
        }
        length = frame.end();
    }
    Ok(LevelFile {
        path: path.to_owned(),
        file: Arc::new(file),
        length,
        pages,
    })
}

/// The raw file that grows: the newest, unless it was closed.
fn open_raw(
    folder: &Path,
    levels: &mut [BTreeMap<u64, LevelFile>; 4],
) -> Result<(u64, Appender), Error> {
    let rolled = levels[1..]
        .iter()
        .filter_map(|files| files.keys().last())
        .max()
        .copied();
    let newest = levels[0].keys().last().copied();
    if let Some(number) = newest.filter(|newest| Some(*newest) > rolled) {
        let Some(file) = levels[0].get_mut(&number) else {
            return Err(at(folder)(io::ErrorKind::NotFound.into()));
        };
        // A torn page may have a whole head: all are read.
        let frames = Frames::of(&file.file).map_err(at(&file.path))?;
        let mut length = 8;
        for frame in frames.take_while(|frame| frame.end() <= file.length) {
            match frame.read(&file.file) {
                Ok(Some(_)) => length = frame.end(),
                _ => break,
            }
        }
        let raw = Appender::resume(&file.path, length).map_err(at(&file.path))?;
        file.pages
            .retain(|page| page.at + u64::from(page.length) <= length);
        (file.length, file.file) = (length, raw.file.clone());
        return Ok((number, raw));
    }
    let number = newest.max(rolled).map_or(1, |last| last + 1);
    let path = file::path(folder, number, PAGES);
    let raw = Appender::create(&path).map_err(at(&path))?;
    levels[0].insert(number, fresh(&raw));
    Ok((number, raw))
}

/// The log to go on with; those before it are read and then go with the next checkpoint.
fn newest_log(folder: &Path, notices: &mut Vec<String>) -> Result<(u64, Appender), Error> {
    let mut newest = None;
    for (number, path) in file::numbered(folder, LOG).map_err(at(folder))? {
        let sound = File::open(&path).and_then(|file| Frames::of(&file).map(|_| ()));
        match sound {
            Ok(()) => newest = Some((number, path)),
            Err(error) => set_aside(&path, &error, notices),
        }
    }
    let (number, path) = match newest {
        Some((number, path)) => {
            let length = fs::metadata(&path).map_err(at(&path))?.len();
            return Ok((number, Appender::resume(&path, length).map_err(at(&path))?));
        }
        None => (1, file::path(folder, 1, LOG)),
    };
    Ok((number, Appender::create(&path).map_err(at(&path))?))
}

fn set_aside(path: &Path, error: &io::Error, notices: &mut Vec<String>) {
    let aside = path.with_extension("broken");
    let renamed = fs::rename(path, &aside).is_ok();
    let what = if renamed {
        format!("It is kept as {}.", aside.display())
    } else {
        "It is left out.".into()
    };
    notices.push(format!(
        "The metrics file {} cannot be read: {error}. {what}",
        path.display()
    ));
}
