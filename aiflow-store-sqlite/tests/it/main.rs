//! Tests of the SQLite backend through its public interface, and of its file through SQL.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod conformance;
