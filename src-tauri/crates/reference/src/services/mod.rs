//! The nine servers, one module each, and the list of them.

use crate::service::{Host, Service};

/// A server that can be run.
#[derive(Clone, Copy)]
pub struct Entry {
    /// As on the command line.
    pub name: &'static str,
    /// Makes it, under a host.
    pub make: fn(&Host) -> Service,
}

/// All of them, in the order of their ports.
pub const ALL: &[Entry] = &[];

/// The server of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}
