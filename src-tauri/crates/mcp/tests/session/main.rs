//! Sessions against scripted peers: in memory for pipes, on a free port of this machine for HTTP.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod http;
mod pipes;

use serde_json::{Value, value::RawValue};

fn raw(value: &Value) -> Option<Box<RawValue>> {
    Some(RawValue::from_string(value.to_string()).unwrap())
}
