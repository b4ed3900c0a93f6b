//! Attempts as real processes.
