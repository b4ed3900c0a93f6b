//! Tests of the Redis backend against real servers, which each test starts by itself.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod conformance;
