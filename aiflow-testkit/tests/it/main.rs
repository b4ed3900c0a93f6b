//! Tests of the kit: do the wrappers keep the promises of what they wrap, and do the suites notice who breaks one?

mod clocks;
mod faults;
mod lists;
