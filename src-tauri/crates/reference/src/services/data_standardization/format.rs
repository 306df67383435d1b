//! How values are written: formats that a field can declare, and moments in time.

use email_address::{EmailAddress, Options};
use jiff::{Timestamp, civil, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::Ipv4Addr;
use url::Url;
use uuid::Uuid;

/// A way to write a value: email (RFC 5321, with a dotted domain), phone (7 to 15 digits as E.164, spaces and ()-. allowed), url
/// (http, https or ftp with a host), date_iso (2026-01-31), datetime_iso (2026-01-31T12:00:00Z, zone optional), uuid (with hyphens),
/// ipv4, alphanumeric (letters and digits only), numeric (a number, or a decimal number as text).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    Email,
    Phone,
    Url,
    DateIso,
    DatetimeIso,
    Uuid,
    Ipv4,
    Alphanumeric,
    Numeric,
}

impl Format {
    pub(super) const ALL: [Self; 9] = [
        Self::Email,
        Self::Phone,
        Self::Url,
        Self::DateIso,
        Self::DatetimeIso,
        Self::Uuid,
        Self::Ipv4,
        Self::Alphanumeric,
        Self::Numeric,
    ];

    /// Whether a value is written so. Only `numeric` takes JSON numbers.
    pub(super) fn holds(self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.holds_text(text),
            Value::Number(_) => self == Self::Numeric,
            _ => false,
        }
    }

    fn holds_text(self, text: &str) -> bool {
        match self {
            Self::Email => {
                let options = Options::default()
                    .with_required_tld()
                    .without_display_text()
                    .without_domain_literal();
                EmailAddress::parse_with_options(text, options).is_ok()
            }
            Self::Phone => is_phone(text),
            Self::Url => Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https" | "ftp") && url.has_host()
            }),
            Self::DateIso => {
                text.len() == 10
                    && text.as_bytes().get(4) == Some(&b'-')
                    && text.parse::<civil::Date>().is_ok()
            }
            Self::DatetimeIso => {
                matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' '))
                    && moment_of_text(text).is_some()
            }
            // The hyphenated form is the one of this length.
            Self::Uuid => text.len() == 36 && Uuid::try_parse(text).is_ok(),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Alphanumeric => !text.is_empty() && text.chars().all(char::is_alphanumeric),
            Self::Numeric => is_decimal(text),
        }
    }
}

/// Milliseconds since 1970 of a text in ISO 8601 (UTC where it names no zone), or of a number: seconds since 1970, or
/// milliseconds when it is 1e11 or more, which as seconds would be after the year 5000.
pub(super) fn moment(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => moment_of_text(text),
        Value::Number(number) => {
            let number = number.as_f64()?;
            let milliseconds = if number.abs() < 1e11 {
                number * 1e3
            } else {
                number
            };
            // Within jiff's years -9999 to 9999, thus well within i64.
            #[expect(clippy::cast_possible_truncation, reason = "checked to fit")]
            (milliseconds.abs() < 2.5e14).then_some(milliseconds as i64)
        }
        _ => None,
    }
}

/// Milliseconds since 1970 of a text in ISO 8601, UTC where it names no zone.
pub(super) fn moment_of_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_millisecond());
    }
    let local: civil::DateTime = text.parse().ok()?;
    let zoned = local.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// Milliseconds since 1970 in ISO 8601.
pub(super) fn iso(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

fn is_phone(text: &str) -> bool {
    let number = text.strip_prefix('+').unwrap_or(text);
    let digits = number.chars().filter(char::is_ascii_digit).count();
    (7..=15).contains(&digits)
        && number
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, ' ' | '(' | ')' | '-' | '.'))
}

fn is_decimal(text: &str) -> bool {
    // `parse` also takes "inf" and "nan".
    text.chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'))
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_know_their_own() {
        let check = |format: Format, good: &[&str], bad: &[&str]| {
            for text in good {
                assert!(
                    format.holds(&Value::from(*text)),
                    "{format:?} refused {text:?}"
                );
            }
            for text in bad {
                assert!(
                    !format.holds(&Value::from(*text)),
                    "{format:?} took {text:?}"
                );
            }
        };
        check(
            Format::Email,
            &["a.b+c@example.org", "ü@example.org"],
            &[
                "a@localhost",
                "a@",
                "@b.org",
                "Ann <a@b.org>",
                "a b@c.org",
                "",
            ],
        );
        check(
            Format::Phone,
            &["+49 30 1234567", "(555) 010-9999", "5550109999"],
            &["12345", "+1234567890123456", "555-CALL-NOW", "++4930123456"],
        );
        check(
            Format::Url,
            &["https://example.org/a?b#c", "ftp://h/x"],
            &[
                "example.org",
                "mailto:a@b.org",
                "http://",
                "javascript:alert(1)",
            ],
        );
        check(
            Format::DateIso,
            &["2026-01-31", "2024-02-29"],
            &[
                "2026-02-29",
                "20260131",
                "31.01.2026",
                "2026-1-31",
                "2026-01-31T00:00",
                "日本語x",
            ],
        );
        check(
            Format::DatetimeIso,
            &[
                "2026-01-31T12:00:00Z",
                "2026-01-31 12:00:00",
                "2026-01-31T12:00:00+02:00",
            ],
            &["2026-01-31", "2026-01-31T25:00:00Z", "now"],
        );
        check(
            Format::Uuid,
            &["67e55044-10b1-426f-9247-bb680e5fe0c8"],
            &[
                "67e5504410b1426f9247bb680e5fe0c8",
                "67e55044-10b1-426f-9247-bb680e5fe0cg",
            ],
        );
        check(
            Format::Ipv4,
            &["192.0.2.1"],
            &["192.0.2.256", "192.0.2", "::1"],
        );
        check(Format::Alphanumeric, &["A1", "é9"], &["A-1", "", "a b"]);
        check(
            Format::Numeric,
            &["-1.5e3", "7"],
            &["inf", "nan", "1,5", "", "e"],
        );
        assert!(Format::Numeric.holds(&Value::from(7)));
        assert!(!Format::Phone.holds(&Value::from(5_550_109_999_i64)));
    }

    #[test]
    fn moments_are_utc_milliseconds() {
        // date -u -d 2024-03-01T00:00:00Z +%s: 1709251200
        let check =
            |value: Value, expected: Option<i64>| assert_eq!(moment(&value), expected, "{value}");
        check("2024-03-01".into(), Some(1_709_251_200_000));
        check("2024-03-01T00:00:00".into(), Some(1_709_251_200_000));
        check("2024-03-01T02:00:00+02:00".into(), Some(1_709_251_200_000));
        check(1_709_251_200.into(), Some(1_709_251_200_000));
        check(1_709_251_200_000_i64.into(), Some(1_709_251_200_000));
        check("yesterday".into(), None);
        check(1e300.into(), None);
        assert_eq!(iso(1_709_251_200_000), "2024-03-01T00:00:00Z");
    }
}
