//! Tests of the umbrella: the examples as a newcomer runs them, the shape of the workspace, and URLs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod examples;
mod open;
mod tidy;
