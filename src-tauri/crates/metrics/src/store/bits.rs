//! Numbers as few bytes, and back. Reading never trusts: what is cut short or senseless gives `None`.

/// Signed to unsigned, small ones staying small.
pub(crate) fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

/// Back from [`zigzag`].
pub(crate) fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

/// Seven bits a byte, the lowest first (LEB128).
pub(crate) fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

/// What is left of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// Back from [`put`].
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    pub(crate) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    /// Bytes behind their length.
    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let count = self.count()?;
        self.take(count)
    }
}

/// Bits into bytes, the lowest first.
pub(crate) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    held: u128,
    count: u32,
}

impl<'a> BitWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            held: 0,
            count: 0,
        }
    }

    /// The lowest `width` bits of `n`, up to 64.
    pub(crate) fn push(&mut self, n: u64, width: u32) {
        let n = n & mask(width);
        self.held |= u128::from(n) << self.count;
        self.count += width;
        while self.count >= 32 {
            self.out.extend_from_slice(&self.held.to_le_bytes()[..4]);
            self.held >>= 32;
            self.count -= 32;
        }
    }

    pub(crate) fn finish(self) {
        let bytes = self.count.div_ceil(8) as usize;
        self.out
            .extend_from_slice(&self.held.to_le_bytes()[..bytes]);
    }
}

/// Bits out of bytes.
pub(crate) struct BitReader<'a> {
    rest: &'a [u8],
    held: u128,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            held: 0,
            count: 0,
        }
    }

    /// The next `width` bits, up to 64.
    pub(crate) fn pull(&mut self, width: u32) -> Option<u64> {
        if self.count < width {
            if let Some((word, rest)) = self.rest.split_first_chunk::<8>() {
                self.held |= u128::from(u64::from_le_bytes(*word)) << self.count;
                self.count += 64;
                self.rest = rest;
            } else {
                for byte in self.rest {
                    self.held |= u128::from(*byte) << self.count;
                    self.count += 8;
                }
                self.rest = &[];
            }
            if self.count < width {
                return None;
            }
        }
        let n = u64::try_from(self.held & u128::from(mask(width))).ok()?;
        self.held >>= width;
        self.count -= width;
        Some(n)
    }
}

/// How many bits a number needs.
pub(crate) fn width(n: u64) -> u32 {
    64 - n.leading_zeros()
}

fn mask(width: u32) -> u64 {
    1_u64.checked_shl(width).map_or(u64::MAX, |bit| bit - 1)
}
