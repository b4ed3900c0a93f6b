//! Control events: how do operators, executors and timers speak to the scheduler?
//!
//! Each is an event in the reserved namespace [`SYSTEM_NAMESPACE`], on the same log and in the same order as everything else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::event::{NewEvent, SYSTEM_NAMESPACE};
use crate::executor::{ReportKind, StopMode};
use crate::history::HistoryRead;
use crate::host::{HostCommand, HostId, HostOffer};
use crate::id::{
    AttemptId, JobName, Offset, PoolName, ProjectName, RuleName, ScheduleName, WorkflowExecutionId, WorkflowName,
};
use crate::rule_state::RuleChange;
use crate::schedule_state::ScheduleAction;
use crate::time::Timestamp;
use crate::timer::{Subject, Timer};
use crate::workflow::{JobAction, OverlapPolicy};

/// Type of the event that says that a control event was refused. Namespace = system, key = its offset, value = the reason.
pub const CONTROL_REFUSED: &str = "CONTROL_REFUSED";

/// Type of the events that tell a host what to do. Namespace = system, key = the host.
pub(crate) const TELL_HOST: &str = "TELL_HOST";

/// What is asked of the scheduler, or reported to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "control")]
#[non_exhaustive]
pub enum Control {
    /// A version of a workflow was stored; new executions use it.
    WorkflowSubmitted {
        /// Project.
        project: ProjectName,
        /// Workflow.
        workflow: WorkflowName,
        /// Version, from 1.
        version: u32,
    },
    /// Start an execution of the latest version. The execution's id is this event's offset, number 0.
    StartWorkflow {
        /// Project.
        project: ProjectName,
        /// Workflow.
        workflow: WorkflowName,
        /// Parameters that override those of the workflow, a JSON object or null.
        params: Value,
        /// The named context that the execution is to carry.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
        /// The labels of the execution.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
    },
    /// Stop a workflow execution and all its jobs. One that is stopping already can still be killed.
    StopExecution {
        /// Which.
        execution: WorkflowExecutionId,
        /// How.
        #[serde(default, skip_serializing_if = "StopMode::is_graceful")]
        mode: StopMode,
        /// Why, for people; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Pause a running workflow execution: its jobs go on, and nothing in it starts.
    PauseExecution {
        /// Which.
        execution: WorkflowExecutionId,
        /// Why, for people; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Resume a paused workflow execution: what would have started meanwhile starts now, in the order of the log.
    ResumeExecution {
        /// Which.
        execution: WorkflowExecutionId,
    },
    /// Stop or resume the scheduling of one job of a running workflow execution: all its rules and schedules are paused, or at work again.
    ScheduleJob {
        /// The workflow execution.
        execution: WorkflowExecutionId,
        /// The job.
        job: JobName,
        /// Whether its rules and schedules are at work.
        scheduled: bool,
    },
    /// Act on one job of a running workflow execution, as a rule would.
    ActOnJob {
        /// The workflow execution.
        execution: WorkflowExecutionId,
        /// The job.
        job: JobName,
        /// What to do.
        action: JobAction,
        /// STOP only: how.
        #[serde(default, skip_serializing_if = "StopMode::is_graceful")]
        mode: StopMode,
        /// STOP only: why, for people; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Hand a value to one job of a running workflow execution, as a SIGNAL rule would.
    SignalJob {
        /// The workflow execution.
        execution: WorkflowExecutionId,
        /// The job.
        job: JobName,
        /// The value.
        value: Value,
    },
    /// Let a workflow start executions, or not. Running ones go on.
    EnableWorkflow {
        /// Project.
        project: ProjectName,
        /// Workflow.
        workflow: WorkflowName,
        /// Whether it may start.
        enabled: bool,
    },
    /// Delete a workflow that has nothing live, or let it come back. Its versions and the executions that have ended stay.
    DeleteWorkflow {
        /// Project.
        project: ProjectName,
        /// Workflow.
        workflow: WorkflowName,
        /// Whether it is to be deleted; otherwise it comes back, enabled.
        deleted: bool,
    },
    /// Pause, resume, clear or remove a rule. It stays so until its workflow is submitted without it, or with another condition; the rule of a
    /// job, until its execution ends.
    ActOnRule {
        /// Whose rule.
        of: Subject,
        /// The rule.
        rule: RuleName,
        /// What to do.
        change: RuleChange,
    },
    /// Pause, resume or delete a schedule.
    ActOnSchedule {
        /// Whose.
        of: Subject,
        /// The schedule.
        schedule: ScheduleName,
        /// What to do.
        action: ScheduleAction,
    },
    /// Start an execution for each time of a schedule in a span of time. Their ids are this event's offset, numbers from 0, in the order of
    /// the times.
    Backfill {
        /// Project.
        project: ProjectName,
        /// Workflow.
        workflow: WorkflowName,
        /// The schedule.
        schedule: ScheduleName,
        /// The earliest time.
        from: Timestamp,
        /// The latest time.
        to: Timestamp,
        /// Spare the rules outside each execution its status events.
        quiet: bool,
        /// What becomes of a time while an execution is live.
        overlap: OverlapPolicy,
    },
    /// Run an ended execution again, as a stored [plan](crate::rerun::RerunPlan) says. The execution's id is this event's offset, number 0.
    RerunExecution {
        /// The execution that is run again.
        execution: WorkflowExecutionId,
        /// The plan.
        plan: String,
    },
    /// Let a running workflow execution go on under the latest version of its workflow.
    UpgradeExecution {
        /// Which.
        execution: WorkflowExecutionId,
    },
    /// Say how many slots a pool has, or remove it.
    SetPool {
        /// Project.
        project: ProjectName,
        /// The pool.
        pool: PoolName,
        /// How many; `None` removes the pool.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slots: Option<u32>,
    },
    /// A host offers executors. Said by the host itself, under its lease.
    HostJoined {
        /// Which life of which host.
        host: HostId,
        /// What it offers.
        offer: HostOffer,
    },
    /// Nothing new is to be placed on a host.
    HostDrains {
        /// The host.
        host: HostId,
    },
    /// A host is gone: what was placed on it is lost.
    HostLeft {
        /// The host.
        host: HostId,
        /// It fell silent; otherwise it left by itself.
        lost: bool,
    },
    /// What a host is to do with an attempt that is placed on it. Said by the scheduler itself.
    TellHost {
        /// The host.
        host: HostId,
        /// The attempt.
        attempt: AttemptId,
        /// What to do.
        #[serde(flatten)]
        command: HostCommand,
    },
    /// The leader cannot run an attempt that no host offered to run: it is to wait for one. Said by the leader.
    Unplaced {
        /// The attempt.
        attempt: AttemptId,
    },
    /// An executor's report.
    Reported {
        /// The attempt.
        attempt: AttemptId,
        /// What happened.
        #[serde(flatten)]
        report: ReportKind,
    },
    /// A new version of a workflow is in use: starts that wait to be admitted are looked at again. Said by the scheduler itself.
    LookAgain {
        /// Project.
        project: ProjectName,
        /// Workflow.
        workflow: WorkflowName,
    },
    /// A new rule is to see events that came before it. Said by the scheduler itself.
    CatchUp {
        /// Whose rule.
        of: Subject,
        /// The rule.
        rule: RuleName,
        /// The event that brought it.
        begun: Offset,
        /// What it is to see, of the events before this one.
        read: Box<HistoryRead>,
    },
    /// A timer is due. One that was set anew meanwhile is not meant.
    TimerFired(Timer),
}

impl Control {
    /// The event that carries this. Give facts an id that names them, so that repeating the publish is harmless.
    #[must_use]
    pub fn into_event(self, id: impl Into<String>) -> NewEvent {
        let (event_type, key) = match &self {
            Self::WorkflowSubmitted { project, workflow, .. } => {
                ("WORKFLOW_SUBMITTED", format!("{project}/{workflow}"))
            }
            Self::StartWorkflow { project, workflow, .. } => ("START_WORKFLOW", format!("{project}/{workflow}")),
            Self::LookAgain { project, workflow } => ("LOOK_AGAIN", format!("{project}/{workflow}")),
            Self::EnableWorkflow { project, workflow, .. } => ("ENABLE_WORKFLOW", format!("{project}/{workflow}")),
            Self::DeleteWorkflow { project, workflow, .. } => ("DELETE_WORKFLOW", format!("{project}/{workflow}")),
            Self::StopExecution { execution, .. } => ("STOP_EXECUTION", execution.to_string()),
            Self::PauseExecution { execution, .. } => ("PAUSE_EXECUTION", execution.to_string()),
            Self::ResumeExecution { execution } => ("RESUME_EXECUTION", execution.to_string()),
            Self::RerunExecution { execution, .. } => ("RERUN_EXECUTION", execution.to_string()),
            Self::ScheduleJob { execution, job, .. } => ("SCHEDULE_JOB", format!("{execution}/{job}")),
            Self::SignalJob { execution, job, .. } => ("SIGNAL_JOB", format!("{execution}/{job}")),
            Self::ActOnJob { execution, job, .. } => ("ACT_ON_JOB", format!("{execution}/{job}")),
            Self::ActOnRule { of, rule, .. } => ("ACT_ON_RULE", format!("{of}/{rule}")),
            Self::CatchUp { of, rule, .. } => ("CATCH_UP", format!("{of}/{rule}")),
            Self::UpgradeExecution { execution } => ("UPGRADE_EXECUTION", execution.to_string()),
            Self::SetPool { project, pool, .. } => ("SET_POOL", format!("{project}/{pool}")),
            Self::HostJoined { host, .. } => ("HOST_JOINED", host.to_string()),
            Self::HostDrains { host } => ("HOST_DRAINS", host.to_string()),
            Self::HostLeft { host, .. } => ("HOST_LEFT", host.to_string()),
            Self::TellHost { host, .. } => (TELL_HOST, host.to_string()),
            Self::Unplaced { attempt } => ("UNPLACED", attempt.to_string()),
            Self::ActOnSchedule { of, schedule, .. } => ("ACT_ON_SCHEDULE", format!("{of}/{schedule}")),
            Self::Backfill { project, workflow, schedule, .. } => {
                ("BACKFILL", format!("{project}/{workflow}/{schedule}"))
            }
            Self::Reported { attempt, .. } => ("REPORTED", attempt.to_string()),
            Self::TimerFired(timer) => ("TIMER_FIRED", timer.key.to_string()),
        };
        // Control events are plain data with string keys, which always serialise.
        let value = serde_json::to_value(&self).unwrap_or_default();
        NewEvent::identified(id, SYSTEM_NAMESPACE, key).event_type(event_type).value(value)
    }

    /// What `event` asks or reports; `None` if it is no control event.
    ///
    /// # Errors
    /// `Corrupt` if it stands in the system namespace and cannot be read.
    pub fn from_event(event: &NewEvent) -> Result<Option<Self>> {
        if event.namespace != SYSTEM_NAMESPACE || event.event_type == CONTROL_REFUSED {
            return Ok(None);
        }
        Self::deserialize(&event.value).map(Some).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "read control event", error.to_string()).with("type", &event.event_type)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Ending;
    use crate::id::JobExecutionId;

    #[test]
    fn a_report_reads_back() {
        let attempt = AttemptId::new(JobExecutionId::new(Offset(3), 0), 1);
        for report in [
            ReportKind::started(),
            ReportKind::Ready,
            ReportKind::Ended(Ending::failed("boom")),
            ReportKind::Ended(Ending::Stopped),
        ] {
            let control = Control::Reported { attempt, report };
            let event = control.clone().into_event("x");
            assert_eq!(Control::from_event(&event).unwrap(), Some(control));
        }
    }

    #[test]
    fn what_stands_in_the_system_namespace_unreadable_is_an_error() {
        let event = NewEvent::new(SYSTEM_NAMESPACE, "x").value("nonsense");
        assert_eq!(Control::from_event(&event).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(Control::from_event(&NewEvent::new("wine", "x")).unwrap(), None);
    }
}
