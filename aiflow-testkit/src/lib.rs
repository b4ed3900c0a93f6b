//! Conformance suites, clocks and fault wrappers: does a backend keep its promises, also when things fail?
//!
//! A backend runs a suite by naming its fixture; the list of cases is here, so that no backend can leave one out:
//!
//! ```
//! mod memory {
//!     use aiflow_testkit::MemoryFixture;
//!
//!     aiflow_testkit::meta_store_suite!(MemoryFixture::new());
//!     aiflow_testkit::event_bus_suite!(MemoryFixture::new());
//! }
//! ```
//!
//! Each case is one promise of a port; its documentation is that promise. Each becomes one test with a fresh fixture.

// A case reports by panicking: it is the body of a test.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

pub mod artifact_suite;
pub mod bus_suite;
pub mod clock;
pub mod definitions;
pub mod executor_suite;
pub mod fault;
pub mod fault_executor;
mod fixture;
pub mod meta_suite;
#[cfg(feature = "redis-server")]
pub mod redis_server;
pub mod retrying;
pub mod rng;
mod run;
pub mod sim;
pub mod store_suite;

pub use executor_suite::{Behaviour, ExecutorFixture, Listener};
pub use fixture::{Backend, MemoryFixture, StoreFixture};
pub use run::run_case;
