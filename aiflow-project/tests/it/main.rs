//! Tests of projects through the public interface.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arbitrary;
mod corpus;
mod killed;
mod load;
mod round_trip;
mod schema;
mod snapshots;
