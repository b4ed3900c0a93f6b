//! Tests of core through its public interface.

mod graph;
mod memory;
