//! Questions over series: a value for each step of a span.
//!
//! Over samples the meaning is that of Prometheus 2.42 to the letter: `Last` is an instant selector with its look-back and marks of staleness, the others are the `…_over_time`
//! functions, `rate`, `increase` and `delta` with their extrapolation (`promql/functions.go`, `extrapolatedRate`), quantiles are `histogram_quantile` (`promql/quantile.go`).
//! Over roll-ups a bucket counts for the step in whose range it ends, and increases are not extrapolated: nothing is known of what is within a bucket.

use super::{
    column::{ABSENT, is_absent},
    roll::{Bucket, rise},
    select::{Picked, Points, Select, Selection},
    series::SeriesName,
};
use std::{borrow::Cow, collections::BTreeMap, io};

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Of which series.
    pub select: Select,
    /// The first point, in milliseconds since the epoch.
    pub from: i64,
    /// No point after this.
    pub to: i64,
    /// Distance of two points, in milliseconds.
    pub step: i64,
    /// What each point is.
    pub function: Function,
    /// How far back a point looks, in milliseconds; of [`Function::Last`] the look-back (Prometheus: 5 min).
    pub range: i64,
    /// How the lines of series are put together.
    pub grouping: Option<Grouping>,
    /// The quantile, 0 to 1, of histograms: their `le` goes into it. Of rates, for the quantile within the range.
    pub quantile: Option<f64>,
}

/// What a point is, of the samples in its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The latest one, unless the series ended since.
    Last,
    /// Their mean.
    Mean,
    /// The lowest.
    Min,
    /// The highest.
    Max,
    /// Their sum.
    Sum,
    /// How many.
    Count,
    /// How much a counter goes up in a second.
    Rate,
    /// How much a counter goes up in the range.
    Increase,
    /// How much a gauge goes up, or down.
    Delta,
}

/// How lines are put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouping {
    /// In which way.
    pub aggregate: Aggregate,
    /// One line for each set of values of these labels.
    pub by: Vec<String>,
}

/// In which way lines become one; where one of them has a gap, it is of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// The sum.
    Sum,
    /// The mean.
    Avg,
    /// The lowest.
    Min,
    /// The highest.
    Max,
    /// How many there are.
    Count,
}

/// Lines on one axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The times of the points.
    pub times: Vec<i64>,
    /// The lines that have a value, sorted by name.
    pub lines: Vec<Line>,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The series, or the labels by which it was put together (then the metric's name is empty).
    pub name: SeriesName,
    /// A value per time, [`ABSENT`] in a gap.
    pub values: Vec<f64>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No step, or a range that is none.
    #[error("{what} is {value} ms (accepted: 1 ms and more)")]
    Zero {
        /// `step` or `range`.
        what: &'static str,
        /// What it is.
        value: i64,
    },
    /// An end before the beginning.
    #[error("to is {to}, before from, which is {from} (accepted: from and later)")]
    Backwards {
        /// The beginning.
        from: i64,
        /// The end.
        to: i64,
    },
    /// Too many points.
    #[error("a line would have {0} points (accepted: at most 11,000); widen the step")]
    Points(i64),
    /// Not a quantile.
    #[error("quantile is {0} (accepted: 0 to 1)")]
    Quantile(f64),
    /// A file.
    #[error("read the points: {0}")]
    Disk(#[from] io::Error),
}

/// Points of a line at most, as in Prometheus.
pub const MOST_POINTS: i64 = 11_000;
/// Series that are read at once: bounds the memory of a query.
pub(crate) const AT_ONCE: usize = 64;

impl Query {
    /// What it needs from the store: the span, and the width of roll-ups that is fine enough.
    #[must_use]
    pub fn needs(&self) -> (i64, i64, i64) {
        let fine = match self.function {
            Function::Last => self.step,
            // A range that leaves out its last millisecond is as wide as the next bucket.
            _ => self.step.min(self.range.saturating_add(1)),
        };
        (self.from.saturating_sub(self.range), self.to, fine)
    }

    /// The answer, from what [`Store::select`](super::Store::select) gave for [`Query::needs`].
    ///
    /// # Errors
    /// When the query makes no sense, or a file cannot be read.
    pub fn answer(&self, selection: &Selection) -> Result<Answer, QueryError> {
        let [answer] = self.answers(selection, [self.function])?;
        Ok(answer)
    }

    /// The answers to the same query with other functions, which need the same of the store. The series are read once.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn answers<const N: usize>(
        &self,
        selection: &Selection,
        functions: [Function; N],
    ) -> Result<[Answer; N], QueryError> {
        let times = self.times()?;
        let queries = functions.map(|function| Self {
            function,
            ..self.clone()
        });
        let mut lines = queries.each_ref().map(Lines::new);
        for series in selection.series.chunks(AT_ONCE) {
            for (Picked { name, .. }, points) in series.iter().zip(selection.read(series)?) {
                for (query, lines) in queries.iter().zip(&mut lines) {
                    lines.add(name, query.line(&points, &times));
                }
            }
        }
        Ok(lines.map(|lines| Answer {
            times: times.clone(),
            lines: lines.finish(),
        }))
    }

    fn times(&self) -> Result<Vec<i64>, QueryError> {
        for (what, value) in [("step", self.step), ("range", self.range)] {
            if value < 1 {
                return Err(QueryError::Zero { what, value });
            }
        }
        if let Some(q) = self.quantile.filter(|q| !(0.0..=1.0).contains(q)) {
            return Err(QueryError::Quantile(q));
        }
        let (from, to) = (self.from, self.to);
        if to < from {
            return Err(QueryError::Backwards { from, to });
        }
        let count = (to.saturating_sub(from) / self.step).saturating_add(1);
        if count > MOST_POINTS {
            return Err(QueryError::Points(count));
        }
        Ok((0..count).map(|i| from + i * self.step).collect())
    }

    fn line(&self, points: &Points, times: &[i64]) -> Vec<f64> {
        if points.rolled.is_empty() {
            self.of_samples(&points.raw, times)
        } else {
            self.of_buckets(points, times)
        }
    }

    fn of_samples(&self, samples: &[(i64, f64)], times: &[i64]) -> Vec<f64> {
        if self.function == Function::Last {
            let mut behind = 0;
            let latest = |time: &i64| {
                behind += samples[behind..]
                    .iter()
                    .take_while(|(t, _)| t <= time)
                    .count();
                let latest = behind.checked_sub(1).map(|i| samples[i]);
                latest
                    .filter(|(t, _)| *t > time - self.range)
                    .map_or(ABSENT, |(_, v)| v)
            };
            return times.iter().map(latest).collect();
        }
        let there: Vec<(i64, f64)> = samples
            .iter()
            .copied()
            .filter(|(_, v)| !is_absent(*v))
            .collect();
        let rises = match self.function {
            Function::Rate | Function::Increase => rises(&there),
            _ => Vec::new(),
        };
        let (mut start, mut end) = (0, 0);
        let point = |time: &i64| {
            start += there[start..]
                .iter()
                .take_while(|(t, _)| *t < time - self.range)
                .count();
            end = end.max(start);
            end += there[end..].iter().take_while(|(t, _)| t <= time).count();
            let rise = match self.function {
                Function::Delta if end > start => there[end - 1].1 - there[start].1,
                Function::Rate | Function::Increase if end > start => rises[end - 1] - rises[start],
                _ => 0.0,
            };
            self.window(&there[start..end], *time, rise)
        };
        times.iter().map(point).collect()
    }

    /// Of the samples in a range that ends at a time.
    fn window(&self, samples: &[(i64, f64)], time: i64, rise: f64) -> f64 {
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            return ABSENT;
        };
        let values = samples.iter().map(|(_, v)| *v);
        #[expect(clippy::cast_precision_loss, reason = "counts of samples")]
        let count = samples.len() as f64;
        match self.function {
            Function::Last => last.1,
            Function::Mean => values.sum::<f64>() / count,
            Function::Min => values.fold(f64::NAN, f64::min),
            Function::Max => values.fold(f64::NAN, f64::max),
            Function::Sum => values.sum(),
            Function::Count => count,
            Function::Rate | Function::Increase | Function::Delta => {
                if samples.len() < 2 {
                    return ABSENT;
                }
                self.extrapolated(*first, *last, count, time, rise)
            }
        }
    }

    /// `extrapolatedRate` of Prometheus: the samples rarely stand at both ends of the range; what is missing is taken to go on as between them, up to half a
    /// distance of samples where the series seems to begin or end within, and for a counter not below zero.
    fn extrapolated(
        &self,
        first: (i64, f64),
        last: (i64, f64),
        count: f64,
        time: i64,
        rise: f64,
    ) -> f64 {
        let seconds = |millis: i64| millis_f64(millis) / 1e3;
        let counter = self.function != Function::Delta;
        let mut to_start = seconds(first.0 - (time - self.range));
        let to_end = seconds(time - last.0);
        let sampled = seconds(last.0 - first.0);
        let distance = sampled / (count - 1.0);
        if counter && rise > 0.0 && first.1 >= 0.0 {
            to_start = to_start.min(sampled * (first.1 / rise));
        }
        let threshold = distance * 1.1;
        let reach = |edge: f64| {
            if edge < threshold {
                edge
            } else {
                distance / 2.0
            }
        };
        let factor = (sampled + reach(to_start) + reach(to_end)) / sampled;
        match self.function {
            Function::Rate => rise * (factor / seconds(self.range)),
            _ => rise * factor,
        }
    }

    fn of_buckets(&self, points: &Points, times: &[i64]) -> Vec<f64> {
        let samples = points.raw.iter().filter(|(_, v)| !is_absent(*v));
        let samples = samples.map(|(time, value)| (*time, 0, Bucket::of(*value)));
        let mut all: Vec<(i64, i64, Bucket)> =
            samples.chain(points.rolled.iter().copied()).collect();
        all.sort_by_key(|(start, ..)| *start);
        // The last millisecond that is within.
        let ends = |(start, width, _): &(i64, i64, Bucket)| start + (width - 1).max(0);
        let mut behind = 0;
        let point = |time: &i64| {
            behind += all[behind..]
                .iter()
                .take_while(|b| ends(b) <= *time)
                .count();
            // A bucket that is wider than the range still says what was so.
            let inside = |b: &&(i64, i64, Bucket)| ends(b) > time - self.range.max(b.1);
            let count = all[..behind].iter().rev().take_while(inside).count();
            let mut inside = all[behind - count..behind]
                .iter()
                .map(|(.., bucket)| *bucket);
            if self.function == Function::Last {
                return inside.next_back().map_or(ABSENT, |bucket| bucket.last);
            }
            // What a counter rose since the bucket before is of this range, too.
            let before = behind.checked_sub(count + 1).map(|i| all[i].2.last);
            inside
                .reduce(Bucket::then)
                .map_or(ABSENT, |bucket| self.of_bucket(&bucket, before))
        };
        times.iter().map(point).collect()
    }

    fn of_bucket(&self, bucket: &Bucket, before: Option<f64>) -> f64 {
        let increase = || bucket.increase + before.map_or(0.0, |before| rise(before, bucket.first));
        match self.function {
            Function::Last => bucket.last,
            Function::Mean => bucket.sum / bucket.count,
            Function::Min => bucket.min,
            Function::Max => bucket.max,
            Function::Sum => bucket.sum,
            Function::Count => bucket.count,
            Function::Rate => increase() / (millis_f64(self.range) / 1e3),
            Function::Increase => increase(),
            Function::Delta => bucket.last - before.unwrap_or(bucket.first),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "spans of time, far below 2^53")]
fn millis_f64(millis: i64) -> f64 {
    millis as f64
}

/// What a counter has risen by since the first sample.
fn rises(samples: &[(i64, f64)]) -> Vec<f64> {
    let mut sum = 0.0;
    let mut before = samples.first().map_or(0.0, |(_, v)| *v);
    let risen = samples.iter().map(|(_, value)| {
        sum += rise(before, *value);
        before = *value;
        sum
    });
    risen.collect()
}

/// Lines as they come together.
struct Lines<'a> {
    query: &'a Query,
    groups: BTreeMap<SeriesName, Vec<Tally>>,
    plain: Vec<Line>,
}

/// Values of several lines at one time.
#[derive(Clone, Copy)]
struct Tally {
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Tally {
    const NONE: Self = Self {
        count: 0.0,
        sum: 0.0,
        min: f64::NAN,
        max: f64::NAN,
    };

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    fn value(&self, aggregate: Aggregate) -> f64 {
        if self.count == 0.0 {
            return ABSENT;
        }
        match aggregate {
            Aggregate::Sum => self.sum,
            Aggregate::Avg => self.sum / self.count,
            Aggregate::Min => self.min,
            Aggregate::Max => self.max,
            Aggregate::Count => self.count,
        }
    }
}

impl<'a> Lines<'a> {
    fn new(query: &'a Query) -> Self {
        Self {
            query,
            groups: BTreeMap::new(),
            plain: Vec::new(),
        }
    }

    fn add(&mut self, name: &SeriesName, values: Vec<f64>) {
        if values.iter().all(|v| is_absent(*v)) {
            return;
        }
        let Some(grouping) = &self.query.grouping else {
            let name = name.clone();
            self.plain.push(Line { name, values });
            return;
        };
        // A quantile is made of what has another `le`.
        let kept = |label: &str| {
            grouping.by.iter().any(|by| by == label)
                || (self.query.quantile.is_some() && label == "le")
        };
        let labels = name.labels().filter(|(label, _)| kept(label));
        let Ok(group) = SeriesName::new("", labels) else {
            return;
        };
        let tallies = self
            .groups
            .entry(group)
            .or_insert_with(|| vec![Tally::NONE; values.len()]);
        for (tally, value) in tallies
            .iter_mut()
            .zip(values)
            .filter(|(_, v)| !is_absent(*v))
        {
            tally.add(value);
        }
    }

    fn finish(self) -> Vec<Line> {
        let mut lines = self.plain;
        if let Some(grouping) = &self.query.grouping {
            lines.extend(self.groups.into_iter().map(|(name, tallies)| {
                Line {
                    values: tallies
                        .iter()
                        .map(|t| t.value(grouping.aggregate))
                        .collect(),
                    name,
                }
            }));
        }
        match self.query.quantile {
            Some(q) => quantiles(q, lines),
            None => lines,
        }
    }
}

/// The quantile of each histogram among lines that have `le`; other lines are left out.
fn quantiles(q: f64, lines: Vec<Line>) -> Vec<Line> {
    let mut histograms: BTreeMap<SeriesName, Vec<(f64, Vec<f64>)>> = BTreeMap::new();
    for line in lines {
        let Some(le) = line.name.label("le").and_then(|le| le.parse().ok()) else {
            continue;
        };
        let labels: Vec<(&str, Cow<'_, str>)> =
            line.name.labels().filter(|(k, _)| *k != "le").collect();
        let metric = line.name.metric();
        if let Ok(name) = SeriesName::new(metric.strip_suffix("_bucket").unwrap_or(metric), labels)
        {
            histograms.entry(name).or_default().push((le, line.values));
        }
    }
    let line = |(name, mut buckets): (SeriesName, Vec<(f64, Vec<f64>)>)| {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let points = buckets.first().map_or(0, |(_, values)| values.len());
        let values = (0..points).map(|i| {
            let there = buckets.iter().map(|(le, values)| (*le, values[i]));
            quantile(q, there.filter(|(_, count)| !is_absent(*count)).collect())
        });
        Line {
            values: values.collect(),
            name,
        }
    };
    histograms
        .into_iter()
        .map(line)
        .filter(|line| line.values.iter().any(|v| !is_absent(*v)))
        .collect()
}

/// `bucketQuantile` of Prometheus 2.42: counts up to each bound, ascending, the last bound infinite; linear within a bucket.
fn quantile(q: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    if buckets.is_empty() {
        return ABSENT;
    }
    buckets.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 += later.1;
        }
        same
    });
    let infinite = buckets.last().is_some_and(|(le, _)| *le == f64::INFINITY);
    if !infinite || buckets.len() < 2 {
        return f64::NAN;
    }
    // Buckets that were not read at one moment may fall.
    let mut highest = f64::NEG_INFINITY;
    for (_, count) in &mut buckets {
        highest = highest.max(*count);
        *count = highest;
    }
    if highest == 0.0 {
        return f64::NAN;
    }
    let mut rank = q * highest;
    let place = buckets[..buckets.len() - 1].partition_point(|(_, count)| *count < rank);
    if place == buckets.len() - 1 {
        return buckets[place - 1].0;
    }
    let (end, mut count) = buckets[place];
    if place == 0 && end <= 0.0 {
        return end;
    }
    let mut start = 0.0;
    if let Some(before) = place.checked_sub(1) {
        start = buckets[before].0;
        count -= buckets[before].1;
        rank -= buckets[before].1;
    }
    start + (end - start) * (rank / count)
}
