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
    Misfire, ModelStage, OverlapPolicy, RetryPolicy, Schedule, all, any, cron, every, job_status, on, on_model_version,
    restart, start, start_workflow, stop, stop_workflow, workflow_status,
};
#[cfg(feature = "process")]
pub use aiflow_exec_process::{ProcessExecutor, process, shell};
