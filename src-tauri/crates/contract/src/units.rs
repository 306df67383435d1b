//! Durations and sizes as people write them.

/// Milliseconds of "500ms", "2s", "1m30s", "1h", "2d"; units from large to small, each once.
#[must_use]
pub fn parse_duration(text: &str) -> Option<u64> {
    const UNITS: &[(&str, u64)] = &[
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut units = UNITS;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let at = units.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(units[at].1)?)?;
        units = &units[at + 1..];
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// The shortest text that [`parse_duration`] reads as this.
#[must_use]
pub fn show_duration(ms: u64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    let mut rest = ms;
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

/// Bytes of "512MiB", "1.5 GiB", "64KiB".
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    let number = number.trim_end();
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let decimal = |text: &str| {
        !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit())
    };
    if !decimal(whole) || !decimal(part) {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
    let unit = 1_u64 << shift;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)?
        .checked_add(part.parse::<u64>().ok()?.checked_mul(unit)? / scale)
}

/// A size for people.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_048_576 => (1_u64 << 10, "KiB"),
        1_048_576..1_073_741_824 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    let tenths = bytes.saturating_mul(10) / unit;
    if tenths.is_multiple_of(10) {
        format!("{}{name}", tenths / 10)
    } else {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("500ms", Some(500)),
            ("2s", Some(2_000)),
            ("1m30s", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("1d12h", Some(129_600_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1s1m", None),
            ("1s1s", None),
            ("1.5s", None),
            ("-1s", None),
            ("5 s", None),
            ("99999999999999999999s", None),
            ("9999999999999999d", None),
        ] {
            assert_eq!(parse_duration(text), ms, "{text}");
        }
        for ms in [
            0, 1, 999, 1_000, 90_000, 5_400_000, 3_600_000, 86_400_000, 3_661_001,
        ] {
            assert_eq!(parse_duration(&show_duration(ms)), Some(ms));
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512MiB", Some(512 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("64 KiB", Some(64 << 10)),
            ("512MB", None),
            ("512", None),
            (".5GiB", None),
            ("MiB", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        assert_eq!(
            (show_size(512 << 20), show_size(3 << 29)),
            ("512MiB".into(), "1.5GiB".into())
        );
    }
}
