//! The names that an embedding program needs: `use aiflow::prelude::*;`.

pub use aiflow_core::client::{AiFlow, Backfill};
pub use aiflow_core::event::{Event, EventFilter, NewEvent};
pub use aiflow_core::execution::{JobStatus, WorkflowStatus};
pub use aiflow_core::function::{FunctionExecutor, Functions, JobContext};
pub use aiflow_core::graph::{AiGraph, function};
pub use aiflow_core::id::{JobName, Offset, ScheduleName, WorkflowExecutionId, WorkflowName};
pub use aiflow_core::runtime::{Scheduler, Settings};
pub use aiflow_core::time::Timestamp;
pub use aiflow_core::workflow::{
    Comparison, KeyOf, Misfire, ModelStage, OverlapPolicy, RetryPolicy, Schedule, ValueTest, Window, absent,
    absent_after, all, any, at_least, count, cron, custom, every, job_is, job_status, not_within, on, on_model_version,
    optional, restart, sequence, start, start_workflow, stop, stop_workflow, workflow_status,
};
#[cfg(feature = "process")]
pub use aiflow_exec_process::{ProcessExecutor, process, shell};
