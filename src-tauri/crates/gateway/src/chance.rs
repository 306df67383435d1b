//! A small random source for lots and jitter; the seed comes from outside so that tests decide.

/// splitmix64 (Steele, Lea and Flood 2014): any seed is a good one. Not for secrets.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number of 64 bits, for instance the seed of another source.
    pub(crate) fn draw(&mut self) -> u64 {
        self.bits()
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, but not including, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a f64")]
        let numerator = (self.bits() >> 11) as f64;
        numerator / 9_007_199_254_740_992.0
    }

    /// A number from -1 up to, but not including, 1.
    pub(crate) fn swing(&mut self) -> f64 {
        self.unit() * 2.0 - 1.0
    }

    /// A place below `n`; 0 when `n` is 0. The bias of the remainder is below n/2⁶⁴.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.bits() % n).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_and_numbers_stay_in_range() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            (chance.unit(), chance.swing(), chance.below(7))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mut chance = Chance::new(0);
        let mut seen = [0_u32; 7];
        for _ in 0..7_000 {
            assert!((0.0..1.0).contains(&chance.unit()));
            assert!((-1.0..1.0).contains(&chance.swing()));
            seen[chance.below(7)] += 1;
        }
        assert!(seen.iter().all(|n| (850..1_150).contains(n)), "{seen:?}");
        assert_eq!(chance.below(0), 0);
    }
}
