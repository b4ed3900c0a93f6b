//! Attempts as real processes.

mod conformance;
