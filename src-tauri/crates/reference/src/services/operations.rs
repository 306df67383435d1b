//! Arguments of tools that do one of several things: which of them an operation needs, and which it does not take.

use crate::tool::Refusal;

/// An argument that the operation cannot do without.
pub(crate) fn required<'a, T>(
    operation: &str,
    field: &str,
    value: Option<&'a T>,
) -> Result<&'a T, Refusal> {
    value.ok_or_else(|| {
        Refusal::argument(field, format!("is required by {operation:?} and missing"))
    })
}

/// Refuses arguments that were given though the operation makes nothing of them: silence would look like consent.
pub(crate) fn nothing_more(
    operation: &str,
    taken: &[&str],
    given: &[(&str, bool)],
) -> Result<(), Refusal> {
    match given
        .iter()
        .find(|(field, is_given)| *is_given && !taken.contains(field))
    {
        None => Ok(()),
        Some((field, _)) => Err(Refusal::argument(
            *field,
            format!("is not taken by {operation:?}"),
        )),
    }
}
