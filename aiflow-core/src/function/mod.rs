//! Function jobs: how do registered functions of the host application run as jobs?
//!
//! ```
//! use aiflow_core::function::{FunctionExecutor, Functions, JobContext};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct TrainInput {
//!     rows: u32,
//! }
//!
//! #[derive(Serialize)]
//! struct Trained {
//!     accuracy: f64,
//! }
//!
//! let functions = Functions::new()
//!     .register("train", |ctx: JobContext, input: TrainInput| async move {
//!         let text = String::from_utf8(vec![b'0' + u8::try_from(input.rows)?])?;
//!         ctx.publish(ctx.event("trained").value(text)).await?;
//!         Ok(Trained { accuracy: 0.9 })
//!     })
//!     .register_blocking("crunch", |_, n: u64| Ok((0..n).sum::<u64>()));
//! let executor = FunctionExecutor::new(functions).max_concurrent(64);
//! # drop(executor);
//! ```

mod arguments;
mod attempt;
mod built_in;
mod context;
mod executor;
mod files;
mod labels;
mod plan;
mod processor;
mod registry;
mod run;
mod signal;
mod spec;

pub use arguments::{NodeArguments, VersionRef};
pub use attempt::CHECKPOINT_PAUSE;
pub use built_in::{DUMMY, EXTERNAL_TRIGGER, OUTSIDE_STATUS, OutsideStatus, READ_ONLY};
pub use context::JobContext;
pub use executor::{FunctionExecutor, MAX_CONCURRENT};
pub use labels::LABELS_PAUSE;
pub use plan::OUTPUT_BYTES_MAX;
pub use processor::Processor;
pub use registry::{ERROR_KIND_BYTES_MAX, Functions, JobError};
pub use signal::ReceivedSignal;
pub use spec::{DataInput, FUNCTION_EXECUTOR, FunctionNode, FunctionSpec};
