//! The signature of a webhook.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write;

/// Names of the headers.
#[derive(Clone, Copy, Debug)]
pub struct Sign;

impl Sign {
    /// Seconds since the epoch at which the message was sent: a receiver refuses old ones, so that none can be sent again by another.
    pub const TIMESTAMP: &str = "x-flotilla-timestamp";
    /// `sha256=` and the signature in hexadecimal digits.
    pub const SIGNATURE: &str = "x-flotilla-signature";
}

/// HMAC-SHA256 (RFC 2104, FIPS 180-4) over the timestamp, a dot and the body: `sha256=` and 64 hexadecimal digits.
#[must_use]
pub fn signature(secret: &str, timestamp: u64, body: &[u8]) -> String {
    let mut text = String::from("sha256=");
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return text;
    };
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    for byte in mac.finalize().into_bytes() {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_others_work_out() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signature("key", 1_700_000_000, b"{}"),
            "sha256=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
        );
    }
}
