//! Schedules: how do they stand, when do they come next, and how are they paused or made up for?

use super::AiFlow;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::execution::{ScheduleAction, ScheduleState, ScheduleStatus, WorkflowState};
use crate::id::{JobName, Offset, ScheduleName, WorkflowExecutionId, WorkflowName};
use crate::time::Timestamp;
use crate::timer::Subject;
use crate::workflow::{OverlapPolicy, Schedule, Workflow};

/// The most next times that are computed at once.
pub const NEXT_TIMES_MAX: usize = 10_000;

/// A schedule and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleInfo {
    /// Whose it is.
    pub of: Subject,
    /// The definition.
    pub schedule: Schedule,
    /// How it stands.
    pub state: ScheduleState,
}

/// What is to be made up for: the times of a schedule in a span of time, as if they came now.
///
/// Each execution knows its time as the parameter [`SCHEDULED_TIME`](crate::workflow::SCHEDULED_TIME) and carries the mark of a backfill in
/// its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    schedule: ScheduleName,
    from: Timestamp,
    to: Timestamp,
    quiet: bool,
    overlap: OverlapPolicy,
}

impl Backfill {
    /// The times of `schedule` from `from` to `to`, both included: at most
    /// [`BACKFILL_TIMES_MAX`](crate::engine::BACKFILL_TIMES_MAX). They start one after the other, each when the one before has ended.
    #[must_use]
    pub fn new(schedule: ScheduleName, from: Timestamp, to: Timestamp) -> Self {
        Self { schedule, from, to, quiet: false, overlap: OverlapPolicy::BufferAll }
    }

    /// Spares all others: rules of other workflows, of other executions and of the workflow itself do not see the status events of these
    /// executions. Rules of the jobs inside each execution do.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Sets what becomes of a time while an execution is live: `allow_all` starts all of them at once.
    #[must_use]
    pub fn overlap(mut self, overlap: OverlapPolicy) -> Self {
        self.overlap = overlap;
        self
    }
}

impl AiFlow {
    /// The schedules of a workflow, as its version in use defines them, in definition order. Deleted ones are left out.
    ///
    /// # Errors
    /// `NotFound`: no scheduler has seen the workflow. `Invalid` if the name is not well formed; others are those of the store.
    pub async fn schedules(&self, workflow: impl AsRef<str>) -> Result<Vec<ScheduleInfo>> {
        let (state, definition) = self.workflow_in_use(workflow.as_ref()).await?;
        let of = Subject::Workflow { project: state.project, workflow: state.name };
        Ok(infos(&of, &definition.schedules, &state.schedules))
    }

    /// The schedules of the jobs of a running workflow execution, in definition order. Deleted ones are left out.
    ///
    /// # Errors
    /// `NotFound`: there is no such execution. Others are those of the store.
    pub async fn job_schedules(&self, execution: WorkflowExecutionId) -> Result<Vec<ScheduleInfo>> {
        let found = self.execution(execution).await?.ok_or_else(|| {
            Error::not_found("schedules", "there is no such workflow execution").with("execution", execution)
        })?;
        let definition = self.definition(found.workflow.as_str(), found.version).await?;
        let mut all = Vec::new();
        for job in &definition.jobs {
            if let Some(states) = self.job_state(execution, &job.name).await?.filter(|_| !job.schedules.is_empty()) {
                let of = Subject::Job { execution, job: job.name.clone() };
                all.extend(infos(&of, &job.schedules, &states.schedules));
            }
        }
        Ok(all)
    }

    /// The next `n` times of a schedule of a workflow, at most [`NEXT_TIMES_MAX`], without jitter: none while it is paused or its workflow is
    /// disabled.
    ///
    /// # Errors
    /// `NotFound`: the workflow has no such schedule. `Invalid` if a name is not well formed; others are those of the store.
    pub async fn next_times(
        &self,
        workflow: impl AsRef<str>,
        schedule: impl AsRef<str>,
        n: usize,
    ) -> Result<Vec<Timestamp>> {
        let name = ScheduleName::parse(schedule)?;
        let all = self.schedules(workflow).await?;
        let found = all.into_iter().find(|info| info.schedule.name == name).ok_or_else(|| {
            Error::not_found("next times", "the workflow has no such schedule").with("schedule", name)
        })?;
        let Some(next) = found.state.next else {
            return Ok(Vec::new());
        };
        let before = Timestamp::from_millis(next.time.as_millis().saturating_sub(1));
        found.schedule.next_times(found.state.since, before, n.min(NEXT_TIMES_MAX))
    }

    /// Lets the times of a schedule of a workflow pass without acting on them. Returns the offset of the request.
    ///
    /// # Errors
    /// `Invalid` if a name is not well formed; others are those of the log. A request that the scheduler refuses becomes a
    /// [dead letter](Self::dead_letter) under its offset.
    pub async fn pause_schedule(&self, workflow: impl AsRef<str>, schedule: impl AsRef<str>) -> Result<Offset> {
        self.act_on_schedule(self.workflow_subject(workflow.as_ref())?, schedule.as_ref(), ScheduleAction::Pause).await
    }

    /// Acts on the times of a schedule of a workflow again, from the next one; for those that passed meanwhile there is
    /// [`backfill`](Self::backfill). Returns the offset of the request.
    ///
    /// # Errors
    /// As [`pause_schedule`](Self::pause_schedule).
    pub async fn resume_schedule(&self, workflow: impl AsRef<str>, schedule: impl AsRef<str>) -> Result<Offset> {
        self.act_on_schedule(self.workflow_subject(workflow.as_ref())?, schedule.as_ref(), ScheduleAction::Resume).await
    }

    /// Ends a schedule of a workflow. It stays so until a version is submitted that has no such schedule, or one with other times. Returns
    /// the offset of the request.
    ///
    /// # Errors
    /// As [`pause_schedule`](Self::pause_schedule).
    pub async fn delete_schedule(&self, workflow: impl AsRef<str>, schedule: impl AsRef<str>) -> Result<Offset> {
        self.act_on_schedule(self.workflow_subject(workflow.as_ref())?, schedule.as_ref(), ScheduleAction::Delete).await
    }

    /// As [`pause_schedule`](Self::pause_schedule), [`resume_schedule`](Self::resume_schedule) and
    /// [`delete_schedule`](Self::delete_schedule), for a schedule of a job in a running execution.
    ///
    /// # Errors
    /// As [`pause_schedule`](Self::pause_schedule).
    pub async fn act_on_job_schedule(
        &self,
        execution: WorkflowExecutionId,
        job: impl AsRef<str>,
        schedule: impl AsRef<str>,
        action: ScheduleAction,
    ) -> Result<Offset> {
        let of = Subject::Job { execution, job: JobName::parse(job)? };
        self.act_on_schedule(of, schedule.as_ref(), action).await
    }

    /// Starts an execution for each time of a schedule in a span of time. Returns the offset of the request: the executions are those with
    /// this cause, numbered in the order of their times.
    ///
    /// # Errors
    /// As [`pause_schedule`](Self::pause_schedule). The scheduler refuses a span with no time of the schedule, or with too many.
    pub async fn backfill(&self, workflow: impl AsRef<str>, backfill: Backfill) -> Result<Offset> {
        let Backfill { schedule, from, to, quiet, overlap } = backfill;
        let (project, workflow) = (self.project_name().clone(), WorkflowName::parse(workflow)?);
        self.control(Control::Backfill { project, workflow, schedule, from, to, quiet, overlap }).await
    }

    fn workflow_subject(&self, workflow: &str) -> Result<Subject> {
        Ok(Subject::Workflow { project: self.project_name().clone(), workflow: WorkflowName::parse(workflow)? })
    }

    async fn act_on_schedule(&self, of: Subject, schedule: &str, action: ScheduleAction) -> Result<Offset> {
        let schedule = ScheduleName::parse(schedule)?;
        self.control(Control::ActOnSchedule { of, schedule, action }).await
    }

    pub(super) async fn workflow_in_use(&self, name: &str) -> Result<(WorkflowState, Workflow)> {
        let state = self.workflow(name).await?.ok_or_else(|| {
            Error::not_found("schedules", "no scheduler has seen this workflow").with("workflow", name.escape_default())
        })?;
        let definition = self.definition(name, state.version).await?;
        Ok((state, definition))
    }

    pub(super) async fn definition(&self, name: &str, version: u32) -> Result<Workflow> {
        let found = self.workflow_version(name, version).await?.ok_or_else(|| {
            Error::not_found("schedules", "there is no such version of the workflow").with("version", version)
        })?;
        Ok(found.workflow)
    }
}

fn infos(
    of: &Subject,
    schedules: &[Schedule],
    states: &std::collections::BTreeMap<ScheduleName, ScheduleState>,
) -> Vec<ScheduleInfo> {
    let known = schedules.iter().filter_map(|schedule| Some((schedule, states.get(&schedule.name)?)));
    known
        .filter(|(_, state)| state.status != ScheduleStatus::Deleted)
        .map(|(schedule, state)| ScheduleInfo { of: of.clone(), schedule: schedule.clone(), state: state.clone() })
        .collect()
}
