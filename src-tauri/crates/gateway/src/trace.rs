//! Which trace of its client a call is part of: the W3C trace context (<https://www.w3.org/TR/trace-context/>), read and never made.
//!
//! MCP has it in a request's `_meta`, which goes on to the server as it came; HTTP has it in a header. Where both are there, the
//! message's own word counts.

/// The trace of a `traceparent`: 32 hexadecimal digits. Nothing for what is not one.
pub(crate) fn of(traceparent: &str) -> Option<&str> {
    let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is = |text: &str, length| text.len() == length && hex(text);
    let mut parts = traceparent.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    // A later version may say more at the end; 255 is no version.
    let whole = parts.next().is_none() || version != "00";
    let whole = whole && is(version, 2) && version != "ff" && is(flags, 2);
    let some = |text: &str| text.bytes().any(|b| b != b'0');
    (whole && is(trace, 32) && some(trace) && is(parent, 16) && some(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn only_what_the_recommendation_allows_is_a_trace() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (said, is) in [
            ("00-T-00f067aa0ba902b7-01", true),
            ("cc-T-00f067aa0ba902b7-01-what-will-be", true),
            ("00-T-00f067aa0ba902b7-01-more", false),
            ("ff-T-00f067aa0ba902b7-01", false),
            ("00-T-0000000000000000-01", false),
            ("00-T-00f067aa0ba902b7-1", false),
            ("00-T-00F067AA0BA902B7-01", false),
            ("00-T-00f067aa0ba902b7", false),
            ("T", false),
        ] {
            let found = of(&said.replace('T', trace)).map(ToOwned::to_owned);
            assert_eq!(found.as_deref(), is.then_some(trace), "{said}");
        }
        let none = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        assert_eq!(of(&none), None);
        assert_eq!(
            of("00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01"),
            None
        );
    }
}
