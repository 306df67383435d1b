//! Workflows: steps that need each other, over the fleet's tools, this machine and the network.
//!
//! **Owns**: the language ([`Definition`], expressions, templates), the [`Plan`] that a definition compiles to, what a [`Run`] decides, and
//! what starts runs without a person ([`trigger`]). It
//! has no clock, no process, no socket and no disk of its own: work is done by an [`Executor`], records are kept by a [`Journal`]; the engine
//! holds both.
//!
//! **The way of a run.** A definition is checked whole and compiled. The run's transition ([`Run::on`]) takes what happened and gives what is
//! to be done; whatever it decides is a [`Record`]. The loop ([`runner`]) writes the records, and only when they are on disk does what follows
//! from them: begins tries, ends them, tells the screens. After a crash the run is rebuilt from its records and goes on: what had ended is
//! not done again; what was at work is done again only if that is declared to be safe, and otherwise waits for a person.
//!
//! **Queues**: for each run one channel of 64 orders, in which people wait for a place; the ends of tries, of which there are at most as many
//! as the workflow's `concurrency`. At most 2,000 runs at once; more are refused.
//!
//! **Never**: does a step's work, evaluates code (expressions are CEL, which ends and reaches nothing), resolves a secret (a
//! `${secret:NAME}` stays what it is until an executor uses it), or forgets what it announced.

#![warn(missing_docs)]

pub mod definition;
mod expr;
pub mod journal;
mod lines;
mod plan;
pub mod run;
pub mod runner;
mod scope;
mod template;
mod templates;
pub mod trigger;
mod uses;
mod vars;

pub use definition::{Definition, schema};
pub use expr::for_each;
pub use journal::Journal;
pub use lines::locate;
pub use plan::{Anything, Catalog, Plan, compile, parse};
pub use run::{Effect, Event, Facts, Failed, Record, Run, Task, Wish};
pub use runner::{Executor, Observer, Runner, Start, Work};
pub use templates::{SAMPLES, TEMPLATES};
pub use uses::{FleetVerb, Uses};
pub use vars::read_text;
