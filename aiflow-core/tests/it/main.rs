//! Tests of core through its public interface.

mod memory;
