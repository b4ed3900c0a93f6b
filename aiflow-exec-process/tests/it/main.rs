//! Attempts as real processes.

mod claims;
mod commands;
mod conformance;
mod crashes;
mod groups;
mod outputs;
mod talking;
mod world;
