//! Captured output.

use crate::{InstanceId, Millis, ServerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The server's standard error.
    Stderr,
    /// The standard output of an HTTP server (a stdio server's stdout carries the protocol), or the
    /// lines on a stdio server's stdout that are not protocol.
    Stdout,
    /// What the supervisor did to it.
    Supervisor,
}

/// One line of output, at most 16 KiB of text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// The instance that wrote it.
    pub instance: InstanceId,
    /// Number within its instance, from 1, without holes at the source: a hole means that lines were evicted.
    pub seq: u64,
    /// When it was read.
    pub at: Millis,
    /// Where it came from.
    pub stream: Stream,
    /// The text, without its line end; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Whether the line was longer than 16 KiB and was cut there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// Lines that were there and are not any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogGap {
    /// The instance that lost them.
    pub instance: InstanceId,
    /// First sequence number that is missing.
    pub from_seq: u64,
    /// How many are missing.
    pub missing: u64,
}

/// An entry of a log as a reader sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum LogEntry {
    /// A line.
    Line(LogLine),
    /// An explicit mark where lines are missing.
    Gap(LogGap),
}

/// Which lines to read or to follow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// Only these servers; empty means all.
    #[serde(default)]
    pub servers: Vec<ServerId>,
    /// Only this instance of the one server named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
    /// At most this many lines, the newest ones (default 500, at most 5000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Only lines that hold this text, case-insensitively.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}
