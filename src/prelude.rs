//! The names that an embedding program needs: `use aiflow::prelude::*;`.

pub use aiflow_core::client::{AiFlow, Backfill, Retention, Start, Stop, WhatIf};
pub use aiflow_core::event::{Event, EventFilter, NewEvent};
pub use aiflow_core::execution::{JobStatus, WorkflowStatus};
pub use aiflow_core::function::{FunctionExecutor, Functions, JobContext};
pub use aiflow_core::graph::{AiGraph, function};
pub use aiflow_core::host::Host;
pub use aiflow_core::id::{JobName, Offset, PoolName, ScheduleName, WorkflowExecutionId, WorkflowName};
pub use aiflow_core::runtime::{Scheduler, Settings};
pub use aiflow_core::time::Timestamp;
pub use aiflow_core::workflow::{
    Admission, Comparison, Deadline, FailureTest, KeyOf, Misfire, ModelStage, OverlapPolicy, Parameter, ParameterType,
    Rate, RestartPolicy, RetryPolicy, Schedule, ValueTest, Window, absent, absent_after, all, any, at_least, count,
    cron, custom, deadline_missed, every, field, job_is, job_status, not_within, on, on_alias, on_dataset, on_end,
    on_failure, on_metric, on_model_version, on_stop, on_success, optional, restart, restart_workflow, sequence,
    signal, start, start_workflow, stop, stop_workflow, workflow_deadline_missed, workflow_status,
};
#[cfg(feature = "process")]
pub use aiflow_exec_process::{ProcessExecutor, process, shell};
