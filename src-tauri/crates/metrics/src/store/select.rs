//! Which series, from which files: what a query takes along so that it needs the store no longer.

use super::{
    LEVELS, Store,
    column::{self, ABSENT, is_absent},
    page::PageRef,
    roll::{self, Bucket},
    series::SeriesName,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    sync::Arc,
};

/// Which series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Select {
    /// Name of the metric; every one when it is absent.
    pub metric: Option<String>,
    /// All of them must hold.
    pub labels: Vec<Matcher>,
}

/// What a label must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Matcher {
    /// The label. `__name__` is the metric's name.
    pub label: String,
    /// Whether it must be one of the values, or must be none of them.
    pub is: bool,
    /// The values. An absent label is the empty text.
    pub values: Vec<String>,
}

impl Select {
    /// All series of a metric.
    #[must_use]
    pub fn metric(name: &str) -> Self {
        Self {
            metric: Some(name.to_owned()),
            labels: Vec::new(),
        }
    }

    /// With a label that must be a value.
    #[must_use]
    pub fn with(mut self, label: &str, value: &str) -> Self {
        self.labels.push(Matcher {
            label: label.to_owned(),
            is: true,
            values: vec![value.to_owned()],
        });
        self
    }

    fn takes(&self, name: &SeriesName) -> bool {
        self.metric
            .as_ref()
            .is_none_or(|metric| name.metric() == metric)
            && self.labels.iter().all(|matcher| {
                let value = name.label(&matcher.label).unwrap_or_default();
                matcher.values.iter().any(|v| *v == value) == matcher.is
            })
    }
}

/// Series and where their points are. It holds files open, and a copy of what is in memory.
#[derive(Debug, Default)]
pub struct Selection {
    /// The series, sorted by name.
    pub(crate) series: Vec<Picked>,
    parts: Vec<Part>,
    heads: Vec<HeadPart>,
    span: (i64, i64),
}

/// A series, with its numbers and the source of each. It has more than one when it has moved from source to source.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    pub(crate) name: SeriesName,
    ids: Vec<(u32, u32)>,
}

#[derive(Debug)]
struct Part {
    width: i64,
    file: Arc<File>,
    page: PageRef,
}

#[derive(Debug)]
struct HeadPart {
    times: Vec<i64>,
    values: BTreeMap<u32, Vec<f64>>,
}

/// The points of one series, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Points {
    /// Samples as they came; [`ABSENT`] where the source no longer had the series.
    pub(crate) raw: Vec<(i64, f64)>,
    /// Start and width of buckets.
    pub(crate) rolled: Vec<(i64, i64, Bucket)>,
}

impl Store {
    /// The series that match, sorted by name.
    #[must_use]
    pub fn series(&self, select: &Select) -> Vec<SeriesName> {
        let names = self.register.by_id.values().map(|entry| &entry.name);
        let names: BTreeSet<_> = names.filter(|name| select.takes(name)).collect();
        names.into_iter().cloned().collect()
    }

    /// Takes along what a query over a span needs; of roll-ups, those up to a width.
    ///
    /// Where a file has no roll-up of that width, the next finer is taken, and at last a coarser one.
    #[must_use]
    pub fn select(&self, select: &Select, from: i64, to: i64, width: i64) -> Selection {
        let mut series: BTreeMap<&SeriesName, Vec<(u32, u32)>> = BTreeMap::new();
        let mut sources = BTreeSet::new();
        for (id, entry) in &self.register.by_id {
            if select.takes(&entry.name) {
                series
                    .entry(&entry.name)
                    .or_default()
                    .push((*id, entry.source));
                sources.insert(entry.source);
            }
        }
        let ids: BTreeSet<u32> = series.values().flatten().map(|(id, _)| *id).collect();
        let heads = sources.iter().filter_map(|source| self.heads.get(source));
        let heads = heads.map(|head| HeadPart {
            times: head.rows.iter().map(|row| row.time).collect(),
            values: (0..)
                .zip(&head.columns)
                .filter(|(_, id)| ids.contains(id))
                .map(|(column, id)| (*id, head.column(column).collect()))
                .collect(),
        });
        Selection {
            heads: heads.collect(),
            parts: self.parts(&sources, from, to, width),
            series: series
                .into_iter()
                .map(|(name, ids)| Picked {
                    name: name.clone(),
                    ids,
                })
                .collect(),
            span: (from, to),
        }
    }

    fn parts(&self, sources: &BTreeSet<u32>, from: i64, to: i64, width: i64) -> Vec<Part> {
        let wanted = LEVELS.iter().rposition(|(_, w)| *w <= width).unwrap_or(0);
        let numbers: BTreeSet<u64> = self
            .levels
            .iter()
            .flat_map(|files| files.keys().copied())
            .collect();
        let mut parts = Vec::new();
        for number in numbers {
            let mut left = sources.clone();
            for level in (0..=wanted).rev().chain(wanted + 1..LEVELS.len()) {
                let Some(file) = self.levels[level].get(&number) else {
                    continue;
                };
                let mut found = BTreeSet::new();
                let width = LEVELS[level].1;
                for page in file.pages.iter().filter(|page| left.contains(&page.source)) {
                    found.insert(page.source);
                    if page.first <= to && page.last + width >= from {
                        parts.push(Part {
                            width,
                            file: file.file.clone(),
                            page: *page,
                        });
                    }
                }
                left.retain(|source| !found.contains(source));
            }
        }
        parts
    }
}

impl Selection {
    /// The times of all samples of its sources in its span, oldest first.
    pub(crate) fn times(&self) -> io::Result<Vec<i64>> {
        let mut times = BTreeSet::new();
        for part in self.parts.iter().filter(|part| part.width == 0) {
            times.extend(part.page.open(&part.file)?.times);
        }
        times.extend(self.heads.iter().flat_map(|head| &head.times));
        let covered = times.into_iter().filter(|time| self.covers(*time, 0));
        Ok(covered.collect())
    }

    /// Reads the points of some of its series.
    pub(crate) fn read(&self, series: &[Picked]) -> io::Result<Vec<Points>> {
        let mut all = vec![Points::default(); series.len()];
        for part in &self.parts {
            let page = part.page.open(&part.file)?;
            for (picked, points) in series.iter().zip(&mut all) {
                let source = part.page.source;
                let mut ids = picked.ids.iter().filter(|(_, s)| *s == source).peekable();
                let mut absent = ids.peek().is_some();
                for (id, _) in ids {
                    if let Some(bytes) = page.column(&part.file, *id)? {
                        absent = false;
                        let rotten =
                            || io::Error::new(io::ErrorKind::InvalidData, "a column is rotten");
                        self.take(part, &page.times, &bytes, points)
                            .ok_or_else(rotten)?;
                    }
                }
                // What a page does not name was absent in all its rows.
                if let (true, 0, Some(first)) = (absent, part.width, page.times.first()) {
                    points.raw.push((*first, ABSENT));
                }
            }
        }
        for head in &self.heads {
            for (picked, points) in series.iter().zip(&mut all) {
                for values in picked.ids.iter().filter_map(|(id, _)| head.values.get(id)) {
                    let span = head.times.iter().copied().zip(values.iter().copied());
                    points
                        .raw
                        .extend(span.filter(|(time, _)| self.covers(*time, 0)));
                }
            }
        }
        all.iter_mut().for_each(in_order);
        Ok(all)
    }

    fn take(&self, part: &Part, times: &[i64], bytes: &[u8], points: &mut Points) -> Option<()> {
        if part.width == 0 {
            let values = column::decode(bytes, times.len())?;
            let span = times.iter().copied().zip(values);
            points
                .raw
                .extend(span.filter(|(time, _)| self.covers(*time, 0)));
        } else {
            let buckets = roll::decode(bytes, times.len())?;
            for (start, bucket) in times.iter().zip(buckets) {
                if let (true, Some(bucket)) = (self.covers(*start, part.width), bucket) {
                    points.rolled.push((*start, part.width, bucket));
                }
            }
        }
        Some(())
    }

    fn covers(&self, start: i64, width: i64) -> bool {
        start <= self.span.1 && start + width >= self.span.0
    }
}

/// Sorts by time. Where a time is there twice (another page of the same rows does not name the series), the one with a value stays.
fn in_order(points: &mut Points) {
    let raw = &mut points.raw;
    if !raw.is_sorted_by(|a, b| a.0 < b.0) {
        raw.sort_by_key(|(time, value)| (*time, is_absent(*value)));
        raw.dedup_by_key(|(time, _)| *time);
    }
    if !points.rolled.is_sorted_by_key(|(start, ..)| *start) {
        points.rolled.sort_by_key(|(start, ..)| *start);
    }
}
