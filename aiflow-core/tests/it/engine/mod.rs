//! Tests of the engine: a few lines of rules and events in, what it decides out.

mod invariants;
mod text;
mod traps;
mod world;
