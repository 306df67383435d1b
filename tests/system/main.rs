//! The whole product, headless: real processes, real signals, real MCP servers, a real home on disk.

mod alerts;
mod clients;
mod commands;
mod config;
mod demand;
mod engine;
mod faults;
mod fidelity;
mod foreign;
mod gateway;
mod gateway_faults;
mod kept;
mod metrics;
mod reference;
mod storm;
mod surfaces;
mod templates;
mod triggers;
mod workflow;
