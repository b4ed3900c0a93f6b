//! Tests of the kit: do the wrappers keep the promises of what they wrap, and do the suites notice who breaks one?

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

mod clocks;
mod executor;
mod faults;
mod flaws;
mod idle;
mod lists;
mod relay;
mod sim;
