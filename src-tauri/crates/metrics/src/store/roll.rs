//! Roll-ups: a closed file in buckets of time.

use super::{
    Error, LevelFile, PAGE_COLUMNS, at,
    bits::{Bytes, put},
    column::{self, ABSENT, is_absent},
    file::{self, Appender, Frames, SERIES},
    head::ROWS,
    page::{Page, PageBuilder, PageRef},
    series::Register,
};
use std::{collections::BTreeSet, fs, io, path::PathBuf};

/// What the samples of one series in one span of time come to. Merging is associative, so that roll-ups of roll-ups, and of parts, are the same as that of all samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// How many samples.
    pub count: f64,
    /// Their sum; the mean is `sum / count`.
    pub sum: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// The earliest.
    pub first: f64,
    /// The latest.
    pub last: f64,
    /// By how much a counter went up from the first to the last, a fall being a start from zero.
    pub increase: f64,
}

impl Bucket {
    /// Of one sample.
    #[must_use]
    pub fn of(value: f64) -> Self {
        Self {
            count: 1.0,
            sum: value,
            min: value,
            max: value,
            first: value,
            last: value,
            increase: 0.0,
        }
    }

    /// With what comes after it.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            count: self.count + later.count,
            sum: self.sum + later.sum,
            min: self.min.min(later.min),
            max: self.max.max(later.max),
            first: self.first,
            last: later.last,
            increase: self.increase + rise(self.last, later.first) + later.increase,
        }
    }
}

/// By how much a counter went up between two samples.
pub(crate) fn rise(before: f64, after: f64) -> f64 {
    if after < before {
        after
    } else {
        after - before
    }
}

const SINGLE: u8 = 1;
const COUNTER: u8 = 2;

/// Appends a series' buckets of a page. Where each holds one sample, that is all there is to say.
fn encode(buckets: &[Option<Bucket>], counter: bool, out: &mut Vec<u8>) {
    let single = buckets
        .iter()
        .flatten()
        .all(|b| b.count.total_cmp(&1.0).is_eq());
    out.push(if single { SINGLE } else { 0 } | if counter { COUNTER } else { 0 });
    let mut part = |field: fn(&Bucket) -> f64| {
        let values: Vec<f64> = buckets
            .iter()
            .map(|b| b.as_ref().map_or(ABSENT, field))
            .collect();
        let mut bytes = Vec::new();
        column::encode(&values, &mut bytes);
        put(out, bytes.len() as u64);
        out.append(&mut bytes);
    };
    part(|b| b.last);
    if single {
        return;
    }
    part(|b| b.count);
    part(|b| b.first);
    part(|b| b.min);
    part(|b| b.max);
    part(|b| short(b.sum));
    if counter {
        part(|b| b.increase);
    }
}

/// The same sum with few decimals where it differs by rounding only: sums of decimals end in noise that costs six bytes each.
fn short(sum: f64) -> f64 {
    let rounded = (sum * 1e6).round() / 1e6;
    if (rounded - sum).abs() <= sum.abs() * 1e-14 {
        rounded
    } else {
        sum
    }
}

/// The buckets of a column of `rows`.
pub(crate) fn decode(bytes: &[u8], rows: usize) -> Option<Vec<Option<Bucket>>> {
    let mut bytes = Bytes(bytes);
    let flags = bytes.byte()?;
    let mut part = || column::decode(bytes.counted()?, rows);
    let last = part()?;
    let there = |value: f64| (!is_absent(value)).then_some(value);
    if flags & SINGLE != 0 {
        return Some(last.into_iter().map(|v| there(v).map(Bucket::of)).collect());
    }
    let (count, first, min, max, sum) = (part()?, part()?, part()?, part()?, part()?);
    let increase = if flags & COUNTER != 0 {
        part()?
    } else {
        vec![0.0; rows]
    };
    let bucket = |i: usize| {
        there(last[i]).map(|last| Bucket {
            count: count[i],
            sum: sum[i],
            min: min[i],
            max: max[i],
            first: first[i],
            last,
            increase: increase[i],
        })
    };
    Some((0..rows).map(bucket).collect())
}

/// The work of rolling up one closed file into one level.
#[derive(Clone, Debug)]
pub struct RollUp {
    pub(crate) level: usize,
    pub(crate) number: u64,
    /// Width of a bucket, in milliseconds.
    pub(crate) width: i64,
    pub(crate) from: LevelFile,
    pub(crate) to: PathBuf,
    pub(crate) sources: BTreeSet<u32>,
}

impl RollUp {
    /// Reads the file and writes its roll-up. It takes seconds for large ones, holds no lock, and can be done again when it was interrupted.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn run(&self) -> Result<(), Error> {
        let unfinished = self.to.with_extension("tmp");
        let mut out = Appender::create(&unfinished).map_err(at(&unfinished))?;
        let mut register = Register::default();
        self.declare(&mut register, &mut out)
            .map_err(at(&self.from.path))?;
        for source in &self.sources {
            self.source(*source, &register, &mut out)
                .map_err(at(&self.from.path))?;
        }
        out.file.sync_all().map_err(at(&unfinished))?;
        fs::rename(&unfinished, &self.to).map_err(at(&self.to))
    }

    /// Copies the declarations.
    fn declare(&self, register: &mut Register, out: &mut Appender) -> io::Result<()> {
        let file = &self.from.file;
        for frame in Frames::of(file)?.filter(|frame| frame.kind == SERIES) {
            if let Some(payload) = frame.read(file)? {
                register.learn(&payload, |_| {});
                let mut copy = file::frame(SERIES);
                copy.extend_from_slice(&payload);
                out.append(copy)?;
            }
        }
        Ok(())
    }

    fn source(&self, source: u32, register: &Register, out: &mut Appender) -> io::Result<()> {
        let file = &self.from.file;
        let pages = self.from.pages.iter().filter(|page| page.source == source);
        let mut pages: Vec<Page> = pages
            .map(|page: &PageRef| page.open(file))
            .collect::<Result<_, _>>()?;
        pages.sort_by_key(|page| page.times.first().copied());
        let ids: BTreeSet<u32> = pages
            .iter()
            .flat_map(|page| page.ids.iter().copied())
            .collect();
        let starts: BTreeSet<i64> = pages
            .iter()
            .flat_map(|page| &page.times)
            .map(|t| self.start(*t))
            .collect();
        let starts: Vec<i64> = starts.into_iter().collect();
        // As many series at once as make a table of a fair size.
        let chunk = (131_072 / starts.len().max(1)).clamp(64, PAGE_COLUMNS);
        let ids: Vec<u32> = ids.into_iter().collect();
        for ids in ids.chunks(chunk) {
            let mut table = Vec::with_capacity(ids.len());
            for id in ids {
                table.push(self.series(*id, &pages, &starts)?);
            }
            for (at, starts) in starts.chunks(ROWS).enumerate().map(|(i, s)| (i * ROWS, s)) {
                let mut page = PageBuilder::new(source, 0, starts);
                for (id, buckets) in ids.iter().zip(&table) {
                    let buckets = &buckets[at..at + starts.len()];
                    let counter = register.by_id.get(id).is_some_and(|entry| entry.counter);
                    if buckets.iter().any(Option::is_some) {
                        page.column(*id, |out| encode(buckets, counter, out));
                    }
                }
                if page.columns() > 0 {
                    out.append(page.finish())?;
                }
            }
        }
        Ok(())
    }

    /// The buckets of a series, one for each start.
    fn series(&self, id: u32, pages: &[Page], starts: &[i64]) -> io::Result<Vec<Option<Bucket>>> {
        let mut buckets: Vec<Option<Bucket>> = vec![None; starts.len()];
        for page in pages {
            let Some(bytes) = page.column(&self.from.file, id)? else {
                continue;
            };
            let rotten = || io::Error::new(io::ErrorKind::InvalidData, "a column is rotten");
            let values = column::decode(&bytes, page.times.len()).ok_or_else(rotten)?;
            let there = page
                .times
                .iter()
                .zip(values)
                .filter(|(_, v)| !is_absent(*v));
            for (time, value) in there {
                if let Ok(place) = starts.binary_search(&self.start(*time)) {
                    let one = Bucket::of(value);
                    buckets[place] = Some(buckets[place].map_or(one, |bucket| bucket.then(one)));
                }
            }
        }
        Ok(buckets)
    }

    fn start(&self, time: i64) -> i64 {
        time.div_euclid(self.width) * self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, option, prelude::*};

    fn whole() -> impl Strategy<Value = Bucket> {
        vec(0_i32..1000, 1..6).prop_map(|v| {
            v.into_iter()
                .map(|v| Bucket::of(v.into()))
                .reduce(Bucket::then)
                .unwrap()
        })
    }

    proptest! {
        /// However samples are grouped, they come to the same.
        #[test]
        fn merging_is_associative(a in whole(), b in whole(), c in whole()) {
            prop_assert_eq!(a.then(b).then(c), a.then(b.then(c)));
        }

        #[test]
        fn buckets_come_back(buckets in vec(option::of(whole()), 1..120), counter in any::<bool>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            encode(&buckets, counter, &mut bytes);
            let known = |b: &Option<Bucket>| b.map(|b| if counter { b } else { Bucket { increase: 0.0, ..b } });
            let expected: Vec<_> = buckets.iter().map(known).collect();
            prop_assert_eq!(decode(&bytes, buckets.len()), Some(expected));
            let _ = decode(&bytes[..cut.index(bytes.len())], buckets.len());
        }
    }
}
