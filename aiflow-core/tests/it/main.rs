//! Tests of core through its public interface.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod commits;
mod control;
mod engine;
mod function;
mod function_suite;
mod graph;
mod history;
mod hosts;
mod labels;
mod lineage;
mod memory;
mod meta;
mod nodes;
mod open_lineage;
mod rerun;
mod scheduler;
mod schedules;
mod syntax;
mod transfer;
