//! Tests of core through its public interface.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;
mod graph;
mod memory;
