//! The wall clock.

use flotilla_contract::Millis;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn now() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
