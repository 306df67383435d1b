//! What happened lately, in slots of equal length: the newest `N` are kept, older ones are forgotten whole.

use tokio::time::{Duration, Instant};

/// `N` slots, each `width` long. What is read covers between `N − 1` and `N` widths.
#[derive(Debug)]
pub(crate) struct Slots<T, const N: usize> {
    width: Duration,
    start: Instant,
    /// Number of the newest slot that was written, counted from `start`.
    newest: u64,
    cells: [T; N],
}

impl<T: Default, const N: usize> Slots<T, N> {
    pub(crate) fn new(width: Duration, start: Instant) -> Self {
        Self {
            width,
            start,
            newest: 0,
            cells: std::array::from_fn(|_| T::default()),
        }
    }

    /// The slot of now. A moment before the newest slot counts there: callers may come a little out of order.
    pub(crate) fn at(&mut self, now: Instant) -> &mut T {
        self.forget(now);
        let place = Self::place(self.newest);
        &mut self.cells[place]
    }

    /// Empties the slots that are too old by now.
    pub(crate) fn forget(&mut self, now: Instant) {
        let number = self.number(now);
        let passed = number.saturating_sub(self.newest).min(N as u64);
        for back in 0..passed {
            self.cells[Self::place(number - back)] = T::default();
        }
        self.newest = self.newest.max(number);
    }

    /// The slots that are not too old by now, in no order.
    pub(crate) fn live(&self, now: Instant) -> impl Iterator<Item = &T> {
        let oldest = (self.number(now) + 1).saturating_sub(N as u64);
        let kept = (self.newest + 1).saturating_sub(N as u64);
        (oldest.max(kept)..=self.newest).map(|number| &self.cells[Self::place(number)])
    }

    /// How long a time the live slots cover by now.
    pub(crate) fn covered(&self, now: Instant) -> Duration {
        let lived = now.saturating_duration_since(self.start);
        let oldest = (self.number(now) + 1).saturating_sub(N as u64);
        let skipped = self.width.as_nanos().saturating_mul(u128::from(oldest));
        lived.saturating_sub(Duration::from_nanos(
            u64::try_from(skipped).unwrap_or(u64::MAX),
        ))
    }

    fn number(&self, now: Instant) -> u64 {
        let lived = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(lived / self.width.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    fn place(number: u64) -> usize {
        usize::try_from(number % N as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three slots of a second: writes at these tenths of a second, then reads the sum at another.
    fn sum(writes: &[u64], read: u64) -> u32 {
        let start = Instant::now();
        let tenths = |n| start + Duration::from_millis(100 * n);
        let mut slots = Slots::<u32, 3>::new(Duration::from_secs(1), start);
        for write in writes {
            *slots.at(tenths(*write)) += 1;
        }
        slots.live(tenths(read)).sum()
    }

    #[test]
    fn old_slots_are_forgotten_written_to_or_not() {
        for (writes, read, expected) in [
            (&[][..], 0, 0),
            (&[0, 5, 9], 9, 3),
            (&[0, 10, 20], 29, 3),
            (&[0, 10, 20], 30, 2),
            (&[0, 10, 20], 49, 1),
            (&[0, 10, 20], 50, 0),
            (&[0, 10, 20], 9_999, 0),
            (&[0, 40], 40, 1),
            (&[0, 9_999], 9_999, 1),
            // Out of order: it counts in the newest slot.
            (&[25, 4], 29, 2),
            (&[25, 4], 49, 2),
            (&[25], 4, 1),
        ] {
            assert_eq!(sum(writes, read), expected, "{writes:?} read at {read}");
        }
    }

    #[test]
    fn what_is_covered_grows_to_the_full_length() {
        let start = Instant::now();
        let slots = Slots::<u32, 3>::new(Duration::from_secs(1), start);
        for (ms, covered) in [
            (0, 0),
            (700, 700),
            (2_999, 2_999),
            (3_000, 2_000),
            (9_400, 2_400),
        ] {
            assert_eq!(
                slots.covered(start + Duration::from_millis(ms)),
                Duration::from_millis(covered)
            );
        }
    }
}
