use crate::ring::{Column, Ring, SeriesKey};
use flotilla_contract::{
    Millis, ServerId,
    metric::{Metric, MetricAnswer, MetricQuery, MetricSeries, Sum},
};
use std::{collections::BTreeMap, ops::Range};

/// A point of the answer: its time, and the ticks (places in the list of slots) it stands for. No tick is a gap.
struct Point {
    time: Millis,
    ticks: Range<usize>,
}

impl Ring {
    /// Reads series over a span of time, on one axis.
    ///
    /// Without a step wider than the sampling interval the points are the ticks themselves; where ticks are missing, one
    /// empty point stands in the hole. A wider step starts points at its multiples and holds the mean of each (the last
    /// value for counters). Sums are taken tick by tick, over the instances that have a sample. Series without any value in
    /// the span are left out.
    #[must_use]
    pub fn query(&self, query: &MetricQuery) -> MetricAnswer {
        let step = query.step.filter(|step| *step > self.interval);
        let slots = self.slots_between(query.from, query.to);
        let points = match step {
            Some(step) => self.wide(&slots, step),
            None => self.ticks(&slots),
        };
        let series = self.groups(query).into_iter().map(|(name, columns)| {
            let spread = step.is_some() && has_spread(query, name.metric);
            let of = |value: fn(Metric, &[&Column], &[usize]) -> Option<f32>| {
                let point = |p: &Point| value(name.metric, &columns, &slots[p.ticks.clone()]);
                points.iter().map(point).collect::<Vec<_>>()
            };
            MetricSeries {
                metric: name.metric,
                server: name.server.cloned(),
                instance: name.instance,
                values: of(value),
                low: if spread { of(lowest) } else { Vec::new() },
                high: if spread { of(highest) } else { Vec::new() },
            }
        });
        MetricAnswer {
            series: series
                .filter(|series| series.values.iter().any(Option::is_some))
                .collect(),
            times: points.iter().map(|point| point.time).collect(),
            step: step.unwrap_or(self.interval),
        }
    }

    /// The slots of a span, oldest first.
    fn slots_between(&self, from: Option<Millis>, to: Option<Millis>) -> Vec<usize> {
        let Some(newest) = self.newest().map(|slot| self.times[slot]) else {
            return Vec::new();
        };
        let to = to.unwrap_or(newest);
        // What is older than the span may still be in a slot, when ticks were missed.
        let oldest = newest.saturating_sub(self.span);
        let from = from.unwrap_or(to.saturating_sub(self.span)).max(oldest);
        self.slots()
            .filter(|slot| (from..=to).contains(&self.times[*slot]))
            .collect()
    }

    /// One point per tick, and one empty point in each hole.
    fn ticks(&self, slots: &[usize]) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::with_capacity(slots.len());
        for (i, slot) in slots.iter().enumerate() {
            let time = self.times[*slot];
            // A tick may be late by less than another whole interval without having been missed.
            if let Some(before) = points
                .last()
                .map(|p| p.time)
                .filter(|before| (time - before) * 4 > self.interval * 7)
            {
                points.push(Point {
                    time: before + self.interval,
                    ticks: i..i,
                });
            }
            points.push(Point {
                time,
                ticks: i..i + 1,
            });
        }
        points
    }

    /// One point per multiple of `step`.
    fn wide(&self, slots: &[usize], step: Millis) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::new();
        for (i, slot) in slots.iter().enumerate() {
            let time = self.times[*slot] / step * step;
            while let Some(next) = points
                .last()
                .map(|p| p.time + step)
                .filter(|next| *next <= time)
            {
                points.push(Point {
                    time: next,
                    ticks: i..i,
                });
            }
            match points.last_mut() {
                Some(point) => point.ticks.end = i + 1,
                None => points.push(Point {
                    time,
                    ticks: i..i + 1,
                }),
            }
        }
        points
    }

    /// The columns that make up each series of the answer.
    fn groups(&self, query: &MetricQuery) -> BTreeMap<Name<'_>, Vec<&Column>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let asked = |key: &SeriesKey| {
            query.metrics.contains(&key.metric)
                && query
                    .server
                    .as_ref()
                    .is_none_or(|s| *s == key.instance.server)
        };
        for (key, column) in self.columns.iter().filter(|(key, _)| asked(key)) {
            groups
                .entry(Name::of(key, query.sum))
                .or_default()
                .push(column);
        }
        groups
    }
}

/// Name of a series of the answer.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a> {
    metric: Metric,
    server: Option<&'a ServerId>,
    instance: Option<u32>,
}

impl<'a> Name<'a> {
    fn of(key: &'a SeriesKey, sum: Sum) -> Self {
        Self {
            metric: key.metric,
            server: (sum != Sum::All).then_some(&key.instance.server),
            instance: (sum == Sum::None).then_some(key.instance.index),
        }
    }
}

/// The lowest tick of a point.
fn lowest(metric: Metric, columns: &[&Column], slots: &[usize]) -> Option<f32> {
    let ticks = slots.iter().filter_map(|s| total(metric, columns, *s));
    ticks.reduce(f64::min).map(narrow)
}

/// The highest one.
fn highest(metric: Metric, columns: &[&Column], slots: &[usize]) -> Option<f32> {
    let ticks = slots.iter().filter_map(|s| total(metric, columns, *s));
    ticks.reduce(f64::max).map(narrow)
}

#[expect(clippy::cast_possible_truncation, reason = "the wire carries f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// The value of one point.
fn value(metric: Metric, columns: &[&Column], slots: &[usize]) -> Option<f32> {
    let mut ticks = slots
        .iter()
        .filter_map(|slot| total(metric, columns, *slot));
    let value = if is_counter(metric) {
        ticks.next_back()?
    } else {
        let (count, sum) = ticks.fold((0_u32, 0.0), |(count, sum), tick| (count + 1, sum + tick));
        if count == 0 {
            return None;
        }
        sum / f64::from(count)
    };
    Some(narrow(value))
}

/// One tick, over those that have a sample: their sum, or the highest of what cannot be added.
fn total(metric: Metric, columns: &[&Column], slot: usize) -> Option<f64> {
    let join = if is_additive(metric) {
        |a: f64, b: f64| a + b
    } else {
        f64::max
    };
    let values = columns
        .iter()
        .map(|column| column.values[slot])
        .filter(|value| !value.is_nan());
    values.map(f64::from).reduce(join)
}

/// Whether values of several servers may be added: shares and quantiles say nothing then, the highest of them counts.
#[must_use]
pub fn is_additive(metric: Metric) -> bool {
    !matches!(
        metric,
        Metric::CallErrorPercent | Metric::CallP50Ms | Metric::CallP95Ms | Metric::CallP99Ms
    )
}

/// Whether values only rise, until they begin again.
pub(crate) fn is_counter(metric: Metric) -> bool {
    matches!(metric, Metric::Restarts)
}

/// Whether an answer says how far the ticks of a point reach: only of single series that is known at every distance.
#[must_use]
pub fn has_spread(query: &MetricQuery, metric: Metric) -> bool {
    query.spread && query.sum == Sum::None && !is_counter(metric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Options;
    use proptest::prelude::*;
    use std::time::Duration;

    const INTERVAL: Millis = 100;
    const SLOTS: u32 = 12;

    fn ring() -> Ring {
        let interval = Duration::from_millis(INTERVAL);
        Ring::new(&Options {
            interval,
            span: interval * SLOTS,
            max_series: 100,
        })
    }

    fn key(metric: Metric, instance: &str) -> SeriesKey {
        SeriesKey {
            metric,
            instance: instance.parse().unwrap(),
        }
    }

    fn ask(metric: Metric, sum: Sum, step: Option<Millis>) -> MetricQuery {
        MetricQuery {
            metrics: vec![metric],
            server: None,
            from: None,
            to: None,
            step,
            sum,
            spread: false,
        }
    }

    /// `"a#1 a#2 b#1"` over ticks: each row is a time and the values, `-` for a gap.
    fn filled(metric: Metric, names: &str, rows: &[&str]) -> Ring {
        let mut ring = ring();
        for row in rows {
            let mut words = row.split_whitespace();
            let at = words.next().unwrap().parse().unwrap();
            let samples: Vec<_> = names
                .split_whitespace()
                .zip(words)
                .filter(|(_, v)| *v != "-")
                .map(|(n, v)| (key(metric, n), v.parse().unwrap()))
                .collect();
            ring.push_tick(at, &samples);
        }
        ring
    }

    /// The answer as text: `TIMES | NAME VALUES | …`.
    fn shown(answer: &MetricAnswer) -> String {
        let times = answer
            .times
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ");
        let lines = answer.series.iter().map(|s| {
            let name = match (&s.server, s.instance) {
                (Some(server), Some(index)) => format!("{server}#{index}"),
                (Some(server), None) => server.to_string(),
                _ => "all".to_owned(),
            };
            let values = s
                .values
                .iter()
                .map(|v| v.map_or_else(|| "-".to_owned(), |v| v.to_string()));
            format!(" | {name} {}", values.collect::<Vec<_>>().join(" "))
        });
        times + &lines.collect::<String>()
    }

    #[test]
    fn sums_skip_what_has_no_sample_and_are_a_gap_when_nothing_has() {
        let ring = filled(
            Metric::CpuPercent,
            "a#1 a#2 b#1",
            &["1000 1 2 4", "1100 1 - 4", "1200 - - -", "1300 - - 8"],
        );
        let shown = |sum| shown(&ring.query(&ask(Metric::CpuPercent, sum, None)));
        assert_eq!(
            shown(Sum::None),
            "1000 1100 1200 1300 | a#1 1 1 - - | a#2 2 - - - | b#1 4 4 - 8"
        );
        assert_eq!(
            shown(Sum::Server),
            "1000 1100 1200 1300 | a 3 1 - - | b 4 4 - 8"
        );
        assert_eq!(shown(Sum::All), "1000 1100 1200 1300 | all 7 5 - 8");
    }

    #[test]
    fn what_cannot_be_added_is_the_highest() {
        let rows = ["1000 3 40", "1100 - 7", "1200 - -"];
        let ring = filled(Metric::CallP95Ms, "a#1 b#1", &rows);
        let shown = |sum| shown(&ring.query(&ask(Metric::CallP95Ms, sum, None)));
        assert_eq!(shown(Sum::All), "1000 1100 1200 | all 40 7 -");
        assert_eq!(shown(Sum::Server), "1000 1100 1200 | a 3 - - | b 40 7 -");
    }

    #[test]
    fn a_missed_tick_is_one_empty_point_and_a_late_one_is_not() {
        let ring = filled(Metric::CpuPercent, "a#1", &["1000 1", "1160 2", "1560 3"]);
        assert_eq!(
            shown(&ring.query(&ask(Metric::CpuPercent, Sum::None, None))),
            "1000 1160 1260 1560 | a#1 1 2 - 3"
        );
    }

    #[test]
    fn wide_steps_hold_means_and_counters_their_last() {
        let rows = ["1000 2", "1100 4", "1200 -", "1300 -", "1400 6", "1500 8"];
        let gauge = filled(Metric::RssBytes, "a#1", &rows);
        assert_eq!(
            shown(&gauge.query(&ask(Metric::RssBytes, Sum::None, Some(200)))),
            "1000 1200 1400 | a#1 3 - 7"
        );
        let counter = filled(Metric::Restarts, "a#1", &rows);
        assert_eq!(
            shown(&counter.query(&ask(Metric::Restarts, Sum::None, Some(200)))),
            "1000 1200 1400 | a#1 4 - 8"
        );
        assert_eq!(
            shown(&gauge.query(&ask(Metric::RssBytes, Sum::None, Some(50))))
                .split(" |")
                .next()
                .unwrap(),
            "1000 1100 1200 1300 1400 1500"
        );
    }

    #[test]
    fn a_peak_is_told_beside_the_mean_of_single_series() {
        let rows = ["1000 2 1", "1100 40 -", "1200 - -", "1400 6 -", "1500 8 -"];
        let answer = |metric, sum, step| {
            let ring = filled(metric, "a#1 a#2", &rows);
            let query = MetricQuery {
                spread: true,
                ..ask(metric, sum, step)
            };
            let series = ring.query(&query).series.into_iter();
            series.map(|s| (s.low, s.high)).collect::<Vec<_>>()
        };
        let of = |values: [f32; 2]| vec![Some(values[0]), None, Some(values[1])];
        assert_eq!(
            answer(Metric::RssBytes, Sum::None, Some(200)),
            [
                (of([2.0, 6.0]), of([40.0, 8.0])),
                (vec![Some(1.0), None, None], vec![Some(1.0), None, None]),
            ]
        );
        // Nobody knows what a sum was between its points, a counter has no peak, and a tick is itself.
        for (metric, sum, step) in [
            (Metric::RssBytes, Sum::Server, Some(200)),
            (Metric::Restarts, Sum::None, Some(200)),
            (Metric::RssBytes, Sum::None, None),
        ] {
            let bounds = answer(metric, sum, step);
            assert!(
                bounds
                    .iter()
                    .all(|(low, high)| low.is_empty() && high.is_empty())
            );
        }
    }

    #[test]
    fn a_span_and_a_server_narrow_the_answer() {
        let ring = filled(
            Metric::Threads,
            "a#1 b#1",
            &["1000 1 5", "1100 2 -", "1200 3 -"],
        );
        let query = MetricQuery {
            from: Some(1100),
            to: Some(1150),
            ..ask(Metric::Threads, Sum::None, None)
        };
        assert_eq!(
            shown(&ring.query(&query)),
            "1100 | a#1 2",
            "b#1 has no value in the span"
        );
        let query = MetricQuery {
            server: Some("b".parse().unwrap()),
            ..ask(Metric::Threads, Sum::None, None)
        };
        assert_eq!(shown(&ring.query(&query)), "1000 1100 1200 | b#1 5 - -");
        assert_eq!(
            shown(&ring.query(&MetricQuery {
                metrics: vec![],
                ..query
            })),
            "1000 1100 1200"
        );
    }

    proptest! {
        /// The ring answers what a list of all ticks would.
        #[test]
        fn the_ring_answers_as_a_plain_list_would(
            ticks in prop::collection::vec((1_u64..400, prop::collection::vec(prop::option::of(0_u16..1000), 4)), 1..40),
            step in prop::option::of(101_u64..700),
            sum in prop::sample::select(vec![Sum::None, Sum::Server, Sum::All]),
            counter in any::<bool>(),
        ) {
            let names = ["a#1", "a#2", "b#1", "c#7"];
            let metric = if counter { Metric::Restarts } else { Metric::Threads };
            let (mut ring, mut list, mut at) = (ring(), Vec::new(), 1_000_000);
            for (distance, values) in &ticks {
                at += distance;
                let samples: Vec<_> = names.iter().zip(values).filter_map(|(n, v)| Some((key(metric, n), f32::from((*v)?)))).collect();
                ring.push_tick(at, &samples);
                list.push((at, values.clone()));
            }
            let answer = ring.query(&ask(metric, sum, step));

            let kept: Vec<_> = list.iter().rev().take(SLOTS as usize).rev().filter(|(t, _)| *t + INTERVAL * Millis::from(SLOTS) >= at).collect();
            prop_assert!(answer.times.is_sorted_by(|a, b| a < b));
            let groups: &[&[usize]] = match sum { Sum::None => &[&[0], &[1], &[2], &[3]], Sum::Server => &[&[0, 1], &[2], &[3]], Sum::All => &[&[0, 1, 2, 3]] };
            let mut expected = Vec::new();
            for members in groups {
                let values: Vec<Option<f64>> = answer.times.iter().map(|time| {
                    let inside = kept.iter().filter(|(t, _)| match step { Some(step) => t / step * step == *time, None => t == time });
                    let totals: Vec<f64> = inside.filter_map(|(_, values)| {
                        let there: Vec<f64> = members.iter().filter_map(|m| values[*m].map(f64::from)).collect();
                        (!there.is_empty()).then(|| there.iter().sum())
                    }).collect();
                    if counter { totals.last().copied() } else { (!totals.is_empty()).then(|| totals.iter().sum::<f64>() / totals.len() as f64) }
                }).collect();
                if values.iter().any(Option::is_some) { expected.push(values); }
            }
            let got: Vec<Vec<Option<f64>>> = answer.series.iter().map(|s| s.values.iter().map(|v| v.map(f64::from)).collect()).collect();
            prop_assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
                match (got, expected) {
                    (Some(got), Some(expected)) => prop_assert!((got - expected).abs() < 0.01),
                    (got, expected) => prop_assert_eq!(got, expected),
                }
            }
            // Every tick that is kept is on the axis.
            for (time, _) in kept {
                prop_assert!(answer.times.contains(&step.map_or(*time, |step| time / step * step)));
            }
        }
    }
}
