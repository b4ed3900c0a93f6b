//! Control by hand: how is a running execution paused and resumed, and the scheduling of one of its jobs stopped?

use serde_json::Value;

use super::AiFlow;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::id::{JobName, Offset, WorkflowExecutionId};

/// The longest reason that is given for what is asked by hand, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

impl AiFlow {
    /// Pauses a running execution: its jobs go on, and nothing in it starts until it is [resumed](Self::resume). Its rules go on to see
    /// events; what would have started waits. A STOP acts at once. `reason` is for people, may be empty, and is kept in the execution's
    /// [`paused`](crate::execution::WorkflowExecution::paused). Returns the offset of the request.
    ///
    /// To keep a workflow from starting executions, [disable](Self::disable) it.
    ///
    /// # Errors
    /// `Invalid`: the reason is longer than [`REASON_BYTES_MAX`]. Others are those of the log. A request that the scheduler refuses becomes a
    /// [dead letter](Self::dead_letter) under its offset.
    pub async fn pause(&self, execution: WorkflowExecutionId, reason: impl Into<String>) -> Result<Offset> {
        let reason = checked_reason("pause", reason.into())?;
        self.control(Control::PauseExecution { execution, reason }).await
    }

    /// Hands a value to a job of a running execution, as a [SIGNAL rule](crate::workflow::signal) would: to its running attempt, or by a
    /// restart with the value as parameter [`SIGNAL_PARAM`](crate::workflow::SIGNAL_PARAM). Returns the offset of the request.
    ///
    /// # Errors
    /// As [`start_job`](Self::start_job).
    pub async fn signal_job(
        &self,
        execution: WorkflowExecutionId,
        job: impl AsRef<str>,
        value: impl Into<Value>,
    ) -> Result<Offset> {
        let job = JobName::parse(job.as_ref())?;
        self.control(Control::SignalJob { execution, job, value: value.into() }).await
    }

    /// Resumes a paused execution: the attempts that were held start, then what fired during the pause acts, in the order of the log. Returns
    /// the offset of the request.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn resume(&self, execution: WorkflowExecutionId) -> Result<Offset> {
        self.control(Control::ResumeExecution { execution }).await
    }

    /// Lets a running execution go on under the latest version of its workflow, so that rules, schedules and jobs can be added, replaced and
    /// removed while it runs. Rules whose condition stays keep what they have seen; what the others had waiting is recorded as lost to the
    /// change. Live jobs go on as they were launched; their next start follows the new definition. A job that is new starts if it starts with
    /// an execution. Parameters stay. Returns the offset of the request, which is refused if a job is live or waits that the latest version
    /// does not have.
    ///
    /// # Errors
    /// Those of the log. A request that the scheduler refuses becomes a [dead letter](Self::dead_letter) under its offset.
    pub async fn upgrade(&self, execution: WorkflowExecutionId) -> Result<Offset> {
        self.control(Control::UpgradeExecution { execution }).await
    }

    /// Stops the scheduling of a job in a running execution: all its rules and schedules are paused. Events and times that come meanwhile do
    /// not count for it, and that is recorded; what its rules have seen before stays. The job itself goes on, and may be started by hand.
    /// Returns the offset of the request.
    ///
    /// # Errors
    /// As [`pause`](Self::pause), and `Invalid` if the name is not well formed.
    pub async fn stop_scheduling_job(&self, execution: WorkflowExecutionId, job: impl AsRef<str>) -> Result<Offset> {
        let job = JobName::parse(job)?;
        self.control(Control::ScheduleJob { execution, job, scheduled: false }).await
    }

    /// Lets the rules and schedules of a job be at work again. Returns the offset of the request.
    ///
    /// # Errors
    /// As [`stop_scheduling_job`](Self::stop_scheduling_job).
    pub async fn resume_scheduling_job(&self, execution: WorkflowExecutionId, job: impl AsRef<str>) -> Result<Offset> {
        let job = JobName::parse(job)?;
        self.control(Control::ScheduleJob { execution, job, scheduled: true }).await
    }
}

pub(super) fn checked_reason(operation: &'static str, reason: String) -> Result<String> {
    if reason.len() > REASON_BYTES_MAX {
        let message = format!("the reason has {} bytes, at most {REASON_BYTES_MAX} are allowed", reason.len());
        return Err(Error::invalid(operation, message));
    }
    Ok(reason)
}
