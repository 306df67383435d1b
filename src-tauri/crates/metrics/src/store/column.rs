//! A column of values as bytes: at most 255 of one series, in the order of time.
//!
//! What series really hold decides: counters and sizes are whole numbers, durations and shares have a few decimals. Such a column is
//! written as whole numbers of a power of ten (found by trying, and taken only if every value comes back to the last bit; the idea is that of
//! ALP, Afroozeh, Kuffo and Boncz 2023), as they are or as differences, whichever is shorter, less a base, in as many bits as most of
//! them need; the few that need more stand behind (PFOR, Zukowski et al. 2006). What has no such form is written as Gorilla does (Pelkonen et al. 2015, 4.1.2).
//! General codecs for numbers (`pco`) want thousands of values to pay for their tables; a series has 120 of them in a page.
//!
//! | byte | meaning |
//! | --- | --- |
//! | 0 | the form: 0 none is there, 1 all alike, 2 whole numbers, 3 Gorilla; +128 when some are absent |
//! | … | with absent ones: a bitmap of those that are there, lowest bit first |
//! | … | form 1: the value. Form 2: power of ten + 16 × order of differences, the first value if the order is 1 (zigzag LEB128), numbers. Form 3: bits |
//!
//! Numbers: base (zigzag LEB128), width (+128 with exceptions), bits; then how many exceptions, and of each its place and what it is above the base.

use super::bits::{BitReader, BitWriter, Bytes, put, unzigzag, width, zigzag};

/// Stands where a series has no sample though its source was read. The bits are those of Prometheus's mark of staleness, so that a `NaN` of
/// the source remains a value.
pub const ABSENT: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether it is [`ABSENT`].
#[must_use]
pub fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT.to_bits()
}

/// Values of a column at most: the place of an exception is one byte.
pub(crate) const MOST: usize = 255;

const NONE: u8 = 0;
const ALIKE: u8 = 1;
const WHOLE: u8 = 2;
const GORILLA: u8 = 3;
const WITH_ABSENT: u8 = 0x80;
const WITH_EXCEPTIONS: u8 = 0x80;

const TEN: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Appends a column.
pub(crate) fn encode(values: &[f64], out: &mut Vec<u8>) {
    let there: Vec<f64> = values.iter().copied().filter(|v| !is_absent(*v)).collect();
    let absent = there.len() < values.len();
    let form = out.len();
    out.push(if absent { WITH_ABSENT } else { 0 });
    let Some((first, rest)) = there.split_first() else {
        out[form] = NONE;
        return;
    };
    if absent {
        for eight in values.chunks(8) {
            let bits = eight.iter().rev();
            out.push(bits.fold(0, |bits, v| bits << 1 | u8::from(!is_absent(*v))));
        }
    }
    if rest.iter().all(|v| v.to_bits() == first.to_bits()) {
        out[form] |= ALIKE;
        out.extend_from_slice(&first.to_le_bytes());
    } else if let Some((power, numbers)) = whole(&there) {
        out[form] |= WHOLE;
        encode_whole(power, &numbers, out);
    } else {
        out[form] |= GORILLA;
        encode_gorilla(*first, rest, out);
    }
}

/// The values of a column of `count`; `None` when the bytes are none.
pub(crate) fn decode(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let mut bytes = Bytes(bytes);
    let form = bytes.byte()?;
    if form == NONE {
        return Some(vec![ABSENT; count]);
    }
    let mut map = None;
    let mut there = count;
    if form & WITH_ABSENT != 0 {
        let bits = bytes.take(count.div_ceil(8))?;
        there = bits.iter().map(|b| b.count_ones() as usize).sum();
        map = Some(bits);
    }
    let values = match form & !WITH_ABSENT {
        ALIKE => vec![f64::from_le_bytes(bytes.array()?); there],
        WHOLE => decode_whole(&mut bytes, there)?,
        GORILLA => decode_gorilla(bytes.0, there)?,
        _ => return None,
    };
    let Some(map) = map else {
        return (values.len() == count).then_some(values);
    };
    let mut values = values.into_iter();
    let cells = (0..count).map(|i| match map[i / 8] >> (i % 8) & 1 {
        0 => Some(ABSENT),
        _ => values.next(),
    });
    cells.collect()
}

/// Appends ascending times of a page: the first, and differences of differences.
pub(crate) fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    let deltas: Vec<i64> = times.windows(2).map(|t| t[1].wrapping_sub(t[0])).collect();
    put(out, zigzag(times.first().copied().unwrap_or_default()));
    let Some(first) = deltas.first() else { return };
    put(out, zigzag(*first));
    let second: Vec<i64> = deltas.windows(2).map(|d| d[1].wrapping_sub(d[0])).collect();
    pack(&second, out);
}

/// The `count` times of a page.
pub(crate) fn decode_times(bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    let mut bytes = Bytes(bytes);
    let mut time = unzigzag(bytes.varint()?);
    let mut times = Vec::with_capacity(count);
    times.push(time);
    if count > 1 {
        let mut delta = unzigzag(bytes.varint()?);
        time = time.wrapping_add(delta);
        times.push(time);
        for second in unpack(&mut bytes, count - 2)? {
            delta = delta.wrapping_add(second);
            time = time.wrapping_add(delta);
            times.push(time);
        }
    }
    (times.len() == count).then_some(times)
}

/// The values as whole numbers of `10^-power`, if each comes back exactly.
fn whole(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut power = 0;
    for value in values {
        while at_power(*value, power).is_none() {
            power += 1;
            TEN.get(power)?;
        }
    }
    let numbers: Option<_> = values.iter().map(|v| at_power(*v, power)).collect();
    Some((u8::try_from(power).ok()?, numbers?))
}

fn at_power(value: f64, power: usize) -> Option<i64> {
    let number = (value * TEN[power]).round();
    if number.is_nan() || number.abs() > 9_007_199_254_740_992.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 2^53")]
    let whole = number as i64;
    // From the whole number, as it is read: it has no sign of zero.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let back = whole as f64 / TEN[power];
    (back.to_bits() == value.to_bits()).then_some(whole)
}

fn encode_whole(power: u8, numbers: &[i64], out: &mut Vec<u8>) {
    let deltas: Vec<i64> = numbers.windows(2).map(|n| n[1] - n[0]).collect();
    let (plain, steps) = (Packing::of(numbers), Packing::of(&deltas));
    // Two bytes for the first value, at a guess.
    if plain.bytes(numbers.len()) <= steps.bytes(deltas.len()) + 2 {
        out.push(power);
        plain.write(numbers, out);
    } else {
        out.push(power | 16);
        put(out, zigzag(numbers.first().copied().unwrap_or_default()));
        steps.write(&deltas, out);
    }
}

#[expect(clippy::cast_precision_loss, reason = "what was written is below 2^53")]
fn decode_whole(bytes: &mut Bytes<'_>, count: usize) -> Option<Vec<f64>> {
    let head = bytes.byte()?;
    let ten = *TEN.get(usize::from(head & 15))?;
    if head < 16 {
        let numbers = unpack(bytes, count)?;
        return Some(numbers.into_iter().map(|n| n as f64 / ten).collect());
    }
    let mut number = unzigzag(bytes.varint()?);
    let mut values = Vec::with_capacity(count);
    values.push(number as f64 / ten);
    for delta in unpack(bytes, count.checked_sub(1)?)? {
        number = number.wrapping_add(delta);
        values.push(number as f64 / ten);
    }
    Some(values)
}

/// How numbers are packed: what is below the base, or needs more bits above it, is an exception.
struct Packing {
    base: i64,
    width: u32,
    exceptions: usize,
}

impl Packing {
    /// The shortest, at a fair guess: the lowest number is the base, or the fourth lowest where few are far below.
    fn of(numbers: &[i64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        let Some(last) = sorted.last() else {
            return Self {
                base: 0,
                width: 0,
                exceptions: 0,
            };
        };
        let mut best: Option<Self> = None;
        for below in [0, 3.min(sorted.len() - 1)] {
            let base = sorted[below];
            let mut width = width(above(*last, base));
            loop {
                let over =
                    sorted.len() - sorted.partition_point(|n| fits(*n, base, width) || *n < base);
                let exceptions = below + over;
                let this = Self {
                    base,
                    width,
                    exceptions,
                };
                let better = best
                    .as_ref()
                    .is_none_or(|best| this.bytes(sorted.len()) < best.bytes(sorted.len()));
                if better {
                    best = Some(this);
                }
                // More than that and the bits were the better choice anyway.
                if width == 0 || exceptions > below + sorted.len() / 16 {
                    break;
                }
                width -= 1;
            }
        }
        best.unwrap_or(Self {
            base: *last,
            width: 64,
            exceptions: 0,
        })
    }

    /// About how long they get.
    fn bytes(&self, count: usize) -> usize {
        (count * self.width as usize).div_ceil(8) + self.exceptions * 5
    }

    fn write(&self, numbers: &[i64], out: &mut Vec<u8>) {
        put(out, zigzag(self.base));
        let odd: Vec<usize> = (0..numbers.len())
            .filter(|i| !fits(numbers[*i], self.base, self.width))
            .collect();
        let flag = if odd.is_empty() { 0 } else { WITH_EXCEPTIONS };
        out.push(self.width.to_le_bytes()[0] | flag);
        let mut bits = BitWriter::new(out);
        for number in numbers {
            bits.push(above(*number, self.base), self.width);
        }
        bits.finish();
        if !odd.is_empty() {
            put(out, odd.len() as u64);
            for place in odd {
                out.push(place.to_le_bytes()[0]);
                put(out, zigzag(numbers[place].wrapping_sub(self.base)));
            }
        }
    }
}

fn above(number: i64, base: i64) -> u64 {
    number.wrapping_sub(base).cast_unsigned()
}

fn fits(number: i64, base: i64, bits: u32) -> bool {
    width(above(number, base)) <= bits
}

fn pack(numbers: &[i64], out: &mut Vec<u8>) {
    Packing::of(numbers).write(numbers, out);
}

fn unpack(bytes: &mut Bytes<'_>, count: usize) -> Option<Vec<i64>> {
    let base = unzigzag(bytes.varint()?);
    let head = bytes.byte()?;
    let width = u32::from(head & !WITH_EXCEPTIONS);
    if width > 64 {
        return None;
    }
    let mut bits = BitReader::new(bytes.take((count * width as usize).div_ceil(8))?);
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        numbers.push(base.wrapping_add(bits.pull(width)?.cast_signed()));
    }
    if head & WITH_EXCEPTIONS != 0 {
        for _ in 0..bytes.count()? {
            let place = usize::from(bytes.byte()?);
            *numbers.get_mut(place)? = base.wrapping_add(unzigzag(bytes.varint()?));
        }
    }
    Some(numbers)
}

fn encode_gorilla(first: f64, rest: &[f64], out: &mut Vec<u8>) {
    let mut bits = BitWriter::new(out);
    let mut before = first.to_bits();
    bits.push(before, 64);
    let (mut leading, mut length) = (0, 0);
    for value in rest {
        let change = value.to_bits() ^ before;
        before = value.to_bits();
        if change == 0 {
            bits.push(0, 1);
            continue;
        }
        let (zeros, trailing) = (change.leading_zeros().min(31), change.trailing_zeros());
        // Within the window of the change before, if there is one.
        if length > 0 && zeros >= leading && trailing >= 64 - leading - length {
            bits.push(0b01, 2);
        } else {
            (leading, length) = (zeros, 64 - zeros - trailing);
            bits.push(0b11, 2);
            bits.push(leading.into(), 5);
            bits.push(u64::from(length - 1), 6);
        }
        bits.push(change >> (64 - leading - length), length);
    }
    bits.finish();
}

fn decode_gorilla(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let mut bits = BitReader::new(bytes);
    let mut value = bits.pull(64)?;
    let mut values = Vec::with_capacity(count);
    values.push(f64::from_bits(value));
    let (mut leading, mut length) = (0, 0);
    for _ in 1..count {
        if bits.pull(1)? == 1 {
            if bits.pull(1)? == 1 {
                leading = u32::try_from(bits.pull(5)?).ok()?;
                length = u32::try_from(bits.pull(6)?).ok()? + 1;
            }
            let shift = 64_u32
                .checked_sub(leading + length)
                .filter(|_| length > 0)?;
            value ^= bits.pull(length)? << shift;
        }
        values.push(f64::from_bits(value));
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn bytes(values: &[f64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(values, &mut out);
        out
    }

    #[test]
    fn what_series_hold_gets_short() {
        // Steps by multiplicative congruence, so that no seed is needed.
        let noise = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 1000;
        let rows = 0..120_u64;
        let mut total = 1_000_000_u64;
        let counter: Vec<f64> = rows
            .clone()
            .map(|i| {
                total += noise(i) % 200;
                total as f64
            })
            .collect();
        let decimals: Vec<f64> = rows
            .clone()
            .map(|i| (100_000 + 60 * noise(i)) as f64 / 1e3)
            .collect();
        let mut reset = counter.clone();
        reset[60..].iter_mut().for_each(|v| *v -= counter[59]);
        assert!(
            bytes(&counter).len() <= 120 + 8,
            "{}",
            bytes(&counter).len()
        );
        assert!(bytes(&reset).len() <= 120 + 18, "{}", bytes(&reset).len());
        assert!(
            bytes(&decimals).len() <= 240 + 8,
            "{}",
            bytes(&decimals).len()
        );
        assert_eq!(bytes(&[0.1; 120]).len(), 9);
        let zeros = decode(&bytes(&[0.0, -0.0]), 2).unwrap();
        assert!(zeros[1].is_sign_negative(), "{zeros:?}");
        assert_eq!(bytes(&[ABSENT; 120]).len(), 1);
        let times: Vec<i64> = (0..120).map(|i| 1_700_000_000_000 + i * 15_000).collect();
        let mut out = Vec::new();
        encode_times(&times, &mut out);
        assert!(out.len() <= 12, "{}", out.len());
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-2_000_000_i64..2_000_000, 0_i32..7).prop_map(|(n, places)| n as f64 / 10_f64.powi(places)),
            2 => any::<f64>(),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => Just(ABSENT),
            1 => prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0, f64::MIN, 5e-324]),
        ]
    }

    proptest! {
        /// Every column comes back, to the last bit.
        #[test]
        fn columns_come_back(mixed in vec(value(), 0..=MOST), start in any::<i32>(), steps in vec(-5_i64..200, 0..=MOST), odd in vec((0_usize..255, any::<i64>()), 0..9)) {
            let mut numbers: Vec<i64> = steps.iter().scan(i64::from(start), |n, step| { *n += step; Some(*n) }).collect();
            for (place, value) in odd {
                if let Some(n) = numbers.get_mut(place) { *n = value / 4096; }
            }
            let counter = numbers.iter().map(|n| *n as f64).collect();
            for values in [mixed, counter] {
                let back = decode(&bytes(&values), values.len()).unwrap();
                prop_assert_eq!(back.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn times_come_back(times in vec(any::<i64>(), 1..=MOST)) {
            let mut out = Vec::new();
            encode_times(&times, &mut out);
            prop_assert_eq!(decode_times(&out, times.len()), Some(times));
        }

        /// Rotten bytes are read as something or refused; they bring nothing down.
        #[test]
        fn rotten_bytes_are_survived(junk in vec(any::<u8>(), 0..300), values in vec(value(), 1..99), flip in any::<prop::sample::Index>(), by in 1_u8..) {
            let _ = (decode(&junk, 120), decode_times(&junk, 120), decode_times(&junk, 0));
            let mut bytes = bytes(&values);
            let at = flip.index(bytes.len());
            bytes[at] ^= by;
            if let Some(back) = decode(&bytes, values.len()) { prop_assert_eq!(back.len(), values.len()); }
            let _ = decode(&bytes[..at], values.len());
        }
    }
}
