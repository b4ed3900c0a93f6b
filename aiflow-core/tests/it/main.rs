//! Tests of core through its public interface.

mod engine;
mod memory;
