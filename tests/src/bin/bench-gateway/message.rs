//! Where things stand in messages of the load and in replies of the SDK, by their shape: nothing is parsed that need not be.

use std::ops::Range;

/// The digits of a message's id; none in a notification.
pub(crate) fn id(message: &[u8]) -> Option<Range<usize>> {
    // Behind `"jsonrpc":"2.0",` in both.
    let start = after(&message[..message.len().min(64)], br#""id":"#)?;
    let digits = message[start..].iter().take_while(|b| b.is_ascii_digit());
    Some(start..start + digits.count()).filter(|found| !found.is_empty())
}

/// The argument `text` of a call, quotes and all.
pub(crate) fn text(call: &[u8]) -> Option<&[u8]> {
    let start = after(call, br#""text":"#)?;
    call[start..].strip_suffix(b"}}}")
}

/// Whether it is a request of this method.
pub(crate) fn is(message: &[u8], method: &str) -> bool {
    let start = after(&message[..message.len().min(128)], br#""method":""#);
    start.is_some_and(|start| {
        message[start..]
            .strip_prefix(method.as_bytes())
            .is_some_and(|rest| rest.starts_with(b"\""))
    })
}

fn after(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let at = haystack
        .windows(needle.len())
        .position(|window| window == needle)?;
    Some(at + needle.len())
}
