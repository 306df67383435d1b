//! The listeners of an engine: the panel's files, the HTTP API and the control WebSocket on one loopback port, the gateway's
//! `/mcp` on another; and, for clients of other makes, the realtime dashboard and the agent stream, each on its own.
//!
//! It owns the listening sockets, the sessions of browsers, and one task per connection. It holds nothing of the fleet:
//! every answer comes from the engine's handle (anything that is a [`Fleet`]), and every command goes through the one
//! list of the contract.
//!
//! **Who gets in.** A request must name this listener in `Host` and, if it names an `Origin`, that one must be the same
//! (a web page elsewhere, or one whose name was re-bound to 127.0.0.1, gets 403). Everything but `/healthz` on loopback
//! then needs the engine's token as a bearer, or a browser session; but `/metrics`, `/api/agent`, the dashboard and the agent stream,
//! which only tell, are open on loopback too. `/hooks/` is open to who knows the secret of a webhook, and to nobody else, the token included. A browser gets its session for a one-time key in the
//! address (`/?t=…`, once, within five minutes): an `HttpOnly` cookie that is neither the token nor the key.
//!
//! **Queues.** A control WebSocket has one queue of [`ws::QUEUE`] frames towards the client, at most [`ws::MAX_CALLS`]
//! calls under way and [`ws::MAX_SUBSCRIPTIONS`] subscriptions. A subscription whose client is slow waits here; its
//! engine side is bounded and starts it afresh. A client that takes nothing for [`ws::PATIENCE`] is cut off.
//!
//! What it never does: decide anything about a server, hold a command back, or end one because its caller went away.

#![warn(missing_docs)]

mod api;
mod dashboard;
mod door;
mod fleet;
mod gateway;
mod hooks;
mod http1;
mod listen;
mod socket;
mod sockets;
mod stream;
mod ui;
pub mod ws;

pub use dashboard::DASHBOARD_PORT;
pub use fleet::{Fleet, News};
pub use gateway::GATEWAY_PORT;
pub use listen::{DEFAULT_PORT, Error, ServeOptions, Serving, serve};
pub use stream::STREAM_PORT;
pub use ui::UiSource;
