//! (theory of operation: in the making)
mod api;
pub use api::{Boot, Engine, Handle, Options, Outgoing, StartError, Subscription};
