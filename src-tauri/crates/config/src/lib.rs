//! `fleet.toml`: reading it, saying what is wrong with it, saying what changed, and editing it; importing other programs'
//! configurations; keeping secrets.
//!
//! Everything but the secret stores is a pure function from text to values. [`parse`] gives a [`Fleet`] with every default filled
//! in, or *all* findings, each at its line and column. [`diff`] says what differs between two fleets and how deep that cuts.
//! The functions of [`edit`] change a text and keep its comments and order; what they give back always parses. [`import`] turns the
//! files of AI clients into tables to add. [`resolve`] turns a declared command into one that can be run.
//!
//! Two parts have effects. [`secrets`] is the desktop's keyring, or a private file in the home. [`clients`] puts the gateway into the
//! file of an AI client, when the operator has seen what it would become, and takes it out again.
//!
//! What it never does: watch or write `fleet.toml`, start anything, write to another program's file unasked, or print a secret.

#![warn(missing_docs)]

pub mod clients;
mod diff;
pub mod edit;
pub mod file;
mod fleet;
mod gateway;
pub mod import;
mod metrics;
mod parse;
pub mod resolve;
pub mod secrets;
mod text;

pub use diff::{Change, ChangeKind, Effects, diff};
pub use fleet::{DashboardSpec, Fleet, Profile, StreamSpec};
pub use metrics::{KeepSpec, MetricsSpec, SourceSpec, TargetSpec};
pub use parse::parse;
pub use resolve::expand;
pub use text::{hash, unified_diff};

use flotilla_contract::units;
