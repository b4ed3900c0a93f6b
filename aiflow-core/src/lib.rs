//! Vocabulary, ports, pure scheduling engine and runtime of AIFlow.
//!
//! Most applications depend on the crate `aiflow`, which wires backends to this one. Depend on `aiflow-core` to write a backend.
//!
//! In reading order: [`error`], [`id`], [`time`] → [`event`], [`timer`] → [`workflow`], [`execution`], [`graph`] → the ports [`store`], [`bus`],
//! [`executor`], [`translator`], [`artifact_store`] → [`memory`]; [`engine`] decides, [`runtime`] does.

pub mod artifact_files;
pub mod artifact_store;
pub mod bus;
pub mod client;
pub mod control;
pub mod engine;
pub mod error;
pub mod event;
pub mod execution;
pub mod executor;
mod firing;
pub mod function;
pub mod graph;
pub mod history;
pub mod host;
pub mod id;
pub mod job_labels;
mod job_state;
pub mod json;
pub mod lineage;
pub mod memory;
pub mod meta;
pub mod open_lineage;
mod pool;
pub mod records;
pub mod relay;
pub mod rerun;
mod rule_state;
pub mod runtime;
pub mod schedule_state;
pub mod search;
mod status;
pub mod store;
pub mod time;
pub mod timer;
pub mod transfer;
pub mod translator;
pub mod why;
pub mod workflow;

pub use error::{Error, ErrorKind, Result, Retry};
