//! Numbers as they stand on a page.

/// Powers of ten that are exact in `f64`.
const EXACT: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// A value. `NaN` and the infinities may be written in any case, as Prometheus takes them.
///
/// Most values have few digits and no exponent. Those are read here: digits below 2^53 divided by an exact power of ten are rounded
/// once, so correctly (Clinger, "How to read floating point numbers accurately", 1990). The rest is the standard library's.
pub(super) fn value(text: &str) -> Option<f64> {
    short(text.as_bytes()).or_else(|| long(text))
}

fn short(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    // Fifteen digits are below 2^53; one more place for the point.
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let (mut number, mut point) = (0_u64, None);
    for (at, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            number = number * 10 + u64::from(digit);
        } else if *byte == b'.' && point.is_none() && digits.len() > 1 {
            point = Some(at);
        } else {
            return None;
        }
    }
    if point.is_none() && digits.len() > 15 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let mut value = number as f64;
    if let Some(point) = point {
        value /= EXACT[digits.len() - 1 - point];
    }
    Some(if negative { -value } else { value })
}

fn long(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let unsigned = text.trim_start_matches(['+', '-']);
    let word = unsigned.starts_with(|c: char| c.is_ascii_alphabetic());
    // A number that is too large for `f64` is an error, not infinity; `NaN` has no sign.
    let lawful = match (value.is_finite(), word) {
        (true, _) => true,
        (false, word) => word && !(value.is_nan() && unsigned.len() != text.len()),
    };
    lawful.then_some(value)
}

/// Whole milliseconds, as the text format writes times.
pub(super) fn millis(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Seconds, as OpenMetrics writes times, in milliseconds.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let millis = (value(text)? * 1e3).round();
    // Beyond this a step of f64 is more than a millisecond; it is also the year 287396.
    #[expect(clippy::cast_possible_truncation, reason = "compared just before")]
    (millis.abs() <= 9_007_199_254_740_992.0).then_some(millis as i64)
}
