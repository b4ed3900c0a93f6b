//! Attempts as real processes.

#![allow(clippy::unwrap_used, reason = "a test fails loudly, in its helpers too")]

mod artifacts;
mod claims;
mod commands;
mod conformance;
mod crashes;
mod groups;
mod hosts;
mod outputs;
mod streams;
mod talking;
mod world;
