//! A job within a workflow execution: what runs, how did it end, and what do its rules and schedules wait with?

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::execution::{RuleState, is_zero, rule_timers};
use crate::id::{JobExecutionId, JobName, ProjectName, RuleName, ScheduleName, WorkflowExecutionId};
use crate::schedule_state::{ScheduleState, ScheduleStatus, schedule_timers};
use crate::status::JobStatus;
use crate::time::Timestamp;
use crate::timer::{Subject, Timer, TimerKey};

/// Record kind of a job within a workflow execution.
pub const KIND_JOB_STATE: &str = "job_state";

/// A job within a workflow execution, from the first moment at which something concerns it. It has a record of its own, so that what
/// happens to one job costs the same beside ten others and beside ten thousand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// The workflow execution.
    pub execution: WorkflowExecutionId,
    /// Project.
    pub project: ProjectName,
    /// The job.
    pub job: JobName,
    /// The live execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<JobExecutionId>,
    /// The execution that starts when `current` has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<JobExecutionId>,
    /// Executions so far.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runs: u32,
    /// Its scheduling is stopped: its rules and schedules are paused as a whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unscheduled: bool,
    /// Its workflow execution is paused: times of its schedules pass, and their misfire policies say what becomes of them afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Where its next execution is to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Value>,
    /// An execution of it has succeeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub succeeded: bool,
    /// When it should be done, counted from the start of the workflow execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// How the last ended one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<JobStatus>,
    /// The one that ended last; one of an earlier run if its result stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_execution: Option<JobExecutionId>,
    /// What its rules have seen so far; empty states are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<RuleName, Arc<RuleState>>,
    /// How its schedules stand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<ScheduleName, ScheduleState>,
}

impl JobState {
    /// A job that nothing has happened to.
    #[must_use]
    pub fn new(execution: WorkflowExecutionId, project: ProjectName, job: JobName) -> Self {
        Self {
            execution,
            project,
            job,
            current: None,
            waiting: None,
            runs: 0,
            unscheduled: false,
            paused: false,
            checkpoint: None,
            succeeded: false,
            deadline: None,
            last: None,
            last_execution: None,
            rules: BTreeMap::new(),
            schedules: BTreeMap::new(),
        }
    }

    /// What it waits for.
    pub fn timers(&self) -> impl Iterator<Item = Timer> {
        let key = TimerKey::Deadline { execution: self.execution, job: Some(self.job.clone()) };
        let deadline = self.deadline.map(|due| Timer { due, key });
        deadline.into_iter().chain(self.work_timers())
    }

    /// What its rules and schedules wait for: a deadline keeps nothing open.
    fn work_timers(&self) -> impl Iterator<Item = Timer> {
        let of = || Subject::Job { execution: self.execution, job: self.job.clone() };
        rule_timers(&self.rules, of).chain(schedule_timers(&self.schedules, of).filter(|_| !self.paused))
    }

    /// Whether a rule or schedule waits for a moment, or would if it were not paused, or a rule has yet to come to the present.
    fn waits_for_a_moment(&self) -> bool {
        let would_wait = |schedule: &ScheduleState| match schedule.status {
            ScheduleStatus::Paused => true,
            ScheduleStatus::Active => self.unscheduled,
            ScheduleStatus::Deleted => false,
        };
        self.schedules.values().any(would_wait)
            || self.work_timers().next().is_some()
            || self.rules.values().any(|rule| rule.is_catching_up())
    }

    pub(crate) fn counts(&self) -> JobCounts {
        JobCounts {
            live: self.current.is_some().into(),
            failed: (self.last == Some(JobStatus::Failed)).into(),
            stopped: (self.last == Some(JobStatus::Stopped)).into(),
            moments: self.waits_for_a_moment().into(),
        }
    }
}

/// The jobs of a workflow execution in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCounts {
    /// Jobs with a live execution.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub live: u32,
    /// Jobs whose last ended execution failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u32,
    /// Jobs whose last ended execution was stopped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stopped: u32,
    /// Jobs of which a rule or schedule waits for a moment, or would if it were not paused, or a rule has yet to come to the present.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moments: u32,
}

impl JobCounts {
    pub(crate) fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// These numbers after one job has changed.
    pub(crate) fn changed(self, before: Self, now: Self) -> Self {
        let change = |n: u32, before: u32, now: u32| n.saturating_add(now).saturating_sub(before);
        Self {
            live: change(self.live, before.live, now.live),
            failed: change(self.failed, before.failed, now.failed),
            stopped: change(self.stopped, before.stopped, now.stopped),
            moments: change(self.moments, before.moments, now.moments),
        }
    }
}
