//! Runs AIFlow jobs as local processes that survive the host application.

mod environment;
mod events;
mod executor;
mod inotify;
mod launch;
mod life;
mod logs;
mod options;
mod process;
#[cfg(target_os = "linux")]
mod readiness;
mod rundir;
mod shared;
mod spec;
mod wrapper;

pub use environment::{ENV_ALLOWED, PARAMS_BYTES_MAX};
pub use events::{EVENT_LINE_BYTES_MAX, EVENT_LINES_BATCH_MAX, JOB_EVENT_REJECTED};
pub use executor::ProcessExecutor;
pub use options::ProcessOptions;
pub use spec::{ARGS_MAX, Limits, PROCESS_EXECUTOR, ProcessSpec, process, shell};
