//! Tests of the umbrella: the examples as a newcomer runs them, a job type of one's own, rules that begin in the past, logs, the shape of the workspace, and URLs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod examples;
mod logs;
mod open;
mod own_executor;
mod start_positions;
mod tidy;
