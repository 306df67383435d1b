use crate::history::Recalled;
use flotilla_contract::{
    InstanceId, Millis,
    metric::{Metric, SeriesInfo},
};
use std::{collections::BTreeMap, time::Duration};

/// How much is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Distance of two ticks (default 2 s).
    pub interval: Duration,
    /// How far back the ring reaches (default 30 min).
    pub span: Duration,
    /// Series at most (default 10,000: 36 MB when all are in use).
    pub max_series: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            span: Duration::from_secs(30 * 60),
            max_series: 10_000,
        }
    }
}

/// Which series. Ordered by metric, server, instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// What it measures.
    pub metric: Metric,
    /// Of which instance; index 0 is the whole server.
    pub instance: InstanceId,
}

/// What a tick changed beside the values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Series appeared or were dropped: screens need the new list before the frame.
    pub series_changed: bool,
    /// New series that found no room.
    pub refused: usize,
}

/// The last half hour, in columns.
#[derive(Debug)]
pub struct Ring {
    pub(crate) interval: Millis,
    pub(crate) span: Millis,
    /// Times by slot; only `len` slots before `next` are in use.
    pub(crate) times: Vec<Millis>,
    pub(crate) columns: BTreeMap<SeriesKey, Column>,
    next: usize,
    len: usize,
    /// Ticks pushed since the start; tells how long a series has been gone.
    tick: u64,
    number: u32,
    max_series: usize,
}

#[derive(Debug)]
pub(crate) struct Column {
    number: u32,
    /// Tick of its newest sample.
    seen: u64,
    /// One value per slot; NaN where there is none.
    pub(crate) values: Box<[f32]>,
}

impl Ring {
    /// An empty ring.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let millis = |d: Duration| {
            Millis::try_from(d.as_millis())
                .unwrap_or(Millis::MAX)
                .max(1)
        };
        let (interval, span) = (millis(options.interval), millis(options.span));
        let slots = usize::try_from(span / interval)
            .unwrap_or(usize::MAX)
            .clamp(1, 1 << 20);
        Self {
            interval,
            span,
            times: vec![0; slots],
            columns: BTreeMap::new(),
            next: 0,
            len: 0,
            tick: 0,
            number: 0,
            max_series: options.max_series,
        }
    }

    /// Takes the samples of one tick. A series that is not named has a gap; so has one whose value is not finite.
    pub fn push_tick(&mut self, at: Millis, samples: &[(SeriesKey, f32)]) -> Pushed {
        self.forget_from(at);
        let slot = self.next;
        self.next = (slot + 1) % self.times.len();
        self.len = (self.len + 1).min(self.times.len());
        self.tick += 1;
        self.times[slot] = at;
        self.columns
            .values_mut()
            .for_each(|column| column.values[slot] = f32::NAN);

        let mut pushed = Pushed {
            series_changed: self.drop_gaps(),
            refused: 0,
        };
        for (key, value) in samples.iter().filter(|(_, value)| value.is_finite()) {
            if !self.columns.contains_key(key) {
                if !self.room() {
                    pushed.refused += 1;
                    continue;
                }
                pushed.series_changed = true;
            }
            let (tick, slots, number) = (self.tick, self.times.len(), &mut self.number);
            let column = self.columns.entry(key.clone()).or_insert_with(|| {
                *number += 1;
                Column {
                    number: *number,
                    seen: 0,
                    values: vec![f32::NAN; slots].into(),
                }
            });
            column.values[slot] = *value;
            column.seen = tick;
        }
        pushed
    }

    /// Takes the ticks that an earlier engine kept, before the first of its own. Those that do not fit are left out: the oldest ticks,
    /// and series beyond the bound.
    pub fn restore(&mut self, recalled: &Recalled) {
        let slots = self.times.len();
        let left_out = recalled.times.len().saturating_sub(slots);
        let times = &recalled.times[left_out..];
        self.columns.clear();
        self.len = times.len();
        self.next = self.len % slots;
        self.tick = self.len as u64;
        self.times[..self.len].copy_from_slice(times);
        for (key, kept) in &recalled.series {
            let kept = kept.get(left_out..).unwrap_or_default();
            let newest = kept.iter().rposition(|value| value.is_finite());
            let Some(newest) = newest.filter(|_| self.columns.len() < self.max_series) else {
                continue;
            };
            let mut values: Box<[f32]> = vec![f32::NAN; slots].into();
            for (slot, value) in values.iter_mut().take(self.len).zip(kept) {
                *slot = *value;
            }
            self.number += 1;
            let column = Column {
                number: self.number,
                seen: newest as u64 + 1,
                values,
            };
            self.columns.insert(key.clone(), column);
        }
    }

    /// Every series, by metric, server, instance.
    #[must_use]
    pub fn series(&self) -> Vec<SeriesInfo> {
        let info = |(key, column): (&SeriesKey, &Column)| SeriesInfo {
            number: column.number,
            metric: key.metric,
            server: key.instance.server.clone(),
            instance: key.instance.index,
        };
        self.columns.iter().map(info).collect()
    }

    /// The newest tick in the binary form of [`flotilla_contract::metric`]; `None` before the first one.
    ///
    /// It names the series that have a sample and, once, as NaN, those that had one in the tick before.
    #[must_use]
    pub fn frame(&self) -> Option<Vec<u8>> {
        let slot = self.newest()?;
        let named = || {
            self.columns
                .values()
                .filter(|column| column.seen + 1 >= self.tick)
        };
        let count = named().count();
        let mut frame = Vec::with_capacity(16 + 8 * count);
        frame.extend_from_slice(b"FMX1");
        frame.extend_from_slice(&self.times[slot].to_le_bytes());
        frame.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        named().for_each(|column| frame.extend_from_slice(&column.number.to_le_bytes()));
        named().for_each(|column| frame.extend_from_slice(&column.values[slot].to_le_bytes()));
        Some(frame)
    }

    /// Distance of two ticks, in milliseconds.
    #[must_use]
    pub fn interval(&self) -> Millis {
        self.interval
    }

    /// Time of the oldest tick.
    pub(crate) fn oldest(&self) -> Option<Millis> {
        self.slots().next().map(|slot| self.times[slot])
    }

    /// Slots in use, oldest first.
    pub(crate) fn slots(&self) -> impl Iterator<Item = usize> + '_ {
        let slots = self.times.len();
        (0..self.len).map(move |i| (self.next + slots - self.len + i) % slots)
    }

    /// The slot of the newest tick.
    pub(crate) fn newest(&self) -> Option<usize> {
        (self.len > 0).then(|| (self.next + self.times.len() - 1) % self.times.len())
    }

    /// The clock was set back: what claims to be at `at` or later cannot stay on an ascending axis.
    fn forget_from(&mut self, at: Millis) {
        while let Some(slot) = self.newest().filter(|slot| self.times[*slot] >= at) {
            self.columns
                .values_mut()
                .for_each(|column| column.values[slot] = f32::NAN);
            self.next = slot;
            self.len -= 1;
        }
    }

    /// Drops the series whose whole column is a gap.
    fn drop_gaps(&mut self) -> bool {
        let (before, tick, slots) = (self.columns.len(), self.tick, self.times.len() as u64);
        self.columns.retain(|_, column| tick - column.seen < slots);
        self.columns.len() != before
    }

    /// Makes room for one more series, if need be by dropping the one that has been gone longest.
    fn room(&mut self) -> bool {
        if self.columns.len() < self.max_series {
            return true;
        }
        // Live ones were seen in the tick before or have been seen in this one.
        let gone = self
            .columns
            .iter()
            .filter(|(_, column)| column.seen + 1 < self.tick);
        let Some(longest) = gone
            .min_by_key(|(_, column)| column.seen)
            .map(|(key, _)| key.clone())
        else {
            return false;
        };
        self.columns.remove(&longest).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(metric: Metric, instance: &str) -> SeriesKey {
        SeriesKey {
            metric,
            instance: instance.parse().unwrap(),
        }
    }

    fn ring(slots: u64, max_series: usize) -> Ring {
        let interval = Duration::from_secs(2);
        Ring::new(&Options {
            interval,
            span: interval * u32::try_from(slots).unwrap(),
            max_series,
        })
    }

    fn numbers(ring: &Ring) -> Vec<(String, u32)> {
        ring.series()
            .into_iter()
            .map(|s| (s.server.instance(s.instance).to_string(), s.number))
            .collect()
    }

    #[test]
    fn a_frame_is_the_documented_bytes() {
        let mut ring = ring(4, 10);
        assert_eq!(ring.frame(), None);
        ring.push_tick(
            0x0102_0304,
            &[
                (key(Metric::Threads, "a#1"), 3.0),
                (key(Metric::CpuPercent, "b#1"), 0.5),
            ],
        );
        // Columns stand by metric, numbers by first appearance.
        let mut expected = b"FMX1".to_vec();
        expected.extend([4, 3, 2, 1, 0, 0, 0, 0]);
        expected.extend([2, 0, 0, 0]);
        expected.extend([2, 0, 0, 0, 1, 0, 0, 0]);
        expected.extend([0, 0, 0, 0x3f, 0, 0, 0x40, 0x40]);
        assert_eq!(ring.frame().unwrap(), expected);

        // A series that is gone is named once more, as NaN, and then no more.
        ring.push_tick(0x0102_0305, &[(key(Metric::Threads, "a#1"), 3.0)]);
        let frame = ring.frame().unwrap();
        assert_eq!(frame[12..16], 2_u32.to_le_bytes());
        assert!(f32::from_le_bytes(frame[24..28].try_into().unwrap()).is_nan());
        ring.push_tick(0x0102_0306, &[(key(Metric::Threads, "a#1"), 3.0)]);
        assert_eq!(ring.frame().unwrap()[12..16], 1_u32.to_le_bytes());
    }

    #[test]
    fn a_series_outlives_its_instance_by_the_span_and_its_number_is_not_reused() {
        let mut ring = ring(3, 10);
        let tick = |ring: &mut Ring, at, names: &[&str]| {
            let samples: Vec<_> = names
                .iter()
                .map(|name| (key(Metric::Threads, name), 1.0))
                .collect();
            ring.push_tick(at, &samples).series_changed
        };
        assert!(tick(&mut ring, 1, &["a#1", "b#1"]));
        assert!(!tick(&mut ring, 2, &["b#1"]));
        assert!(!tick(&mut ring, 3, &["b#1"]));
        assert_eq!(numbers(&ring), [("a#1".into(), 1), ("b#1".into(), 2)]);
        assert!(
            tick(&mut ring, 4, &["b#1"]),
            "the last value of a#1 left the ring"
        );
        assert_eq!(numbers(&ring), [("b#1".into(), 2)]);
        assert!(tick(&mut ring, 5, &["a#1", "b#1"]));
        assert_eq!(numbers(&ring), [("a#1".into(), 3), ("b#1".into(), 2)]);
    }

    #[test]
    fn the_number_of_series_is_bounded_and_the_longest_gone_makes_room() {
        let mut ring = ring(100, 2);
        let one = |name| [(key(Metric::Threads, name), 1.0)];
        ring.push_tick(1, &one("a#1"));
        ring.push_tick(2, &one("b#1"));
        ring.push_tick(3, &one("b#1"));
        assert_eq!(
            ring.push_tick(4, &one("c#1")),
            Pushed {
                series_changed: true,
                refused: 0
            }
        );
        assert_eq!(numbers(&ring), [("b#1".into(), 2), ("c#1".into(), 3)]);
        let all: Vec<_> = ["b#1", "c#1", "d#1"]
            .iter()
            .flat_map(|name| one(name))
            .collect();
        assert_eq!(
            ring.push_tick(5, &all),
            Pushed {
                series_changed: false,
                refused: 1
            }
        );
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_an_ascending_axis() {
        let mut ring = ring(4, 10);
        let one = |value| [(key(Metric::Threads, "a#1"), value)];
        for at in [10, 20, 30, 40, 50] {
            ring.push_tick(at, &one(1.0));
        }
        ring.push_tick(35, &one(2.0));
        let times: Vec<_> = ring.slots().map(|slot| ring.times[slot]).collect();
        assert_eq!(times, [20, 30, 35]);
        ring.push_tick(5, &one(3.0));
        assert_eq!(
            ring.slots()
                .map(|slot| ring.times[slot])
                .collect::<Vec<_>>(),
            [5]
        );
    }
}
