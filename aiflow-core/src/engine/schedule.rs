//! Schedules at work: which times have come, and which of them are acted on?
//!
//! A schedule waits for one time after the other and never goes back: the next one is computed from the last, not from the clock. So a clock
//! that is set back delays, and one that is set forward makes times pass, but none comes twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::decision::WorkflowKey;
use super::state::{Compiled, Draft, workflow_key};
use crate::execution::{Firing, FiringOutcome, FiringRecord, RuleAction, StartRequest, WorkflowStatus};
use crate::id::{JobName, Offset, ScheduleName, WorkflowExecutionId};
use crate::schedule_state::{NextTime, ScheduleAction, ScheduleState, ScheduleStatus, ScheduledTime};
use crate::time::Timestamp;
use crate::timer::{Alarm, Subject};
use crate::workflow::{
    CompiledSchedule, JobAction, MISFIRE_TIMES_MAX, Misfire, OverlapPolicy, SCHEDULED_TIME, Schedule, Workflow,
    WorkflowAction, merge,
};

/// The most times that one backfill starts an execution for.
pub const BACKFILL_TIMES_MAX: usize = 1_000;

/// The schedules of a workflow, of itself (`None`) and of its jobs, compiled.
pub(super) type CompiledSchedules = BTreeMap<(Option<JobName>, ScheduleName), CompiledSchedule>;

/// What is asked for by a backfill.
pub(super) struct BackfillRequest {
    pub(super) schedule: ScheduleName,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) quiet: bool,
    pub(super) overlap: OverlapPolicy,
}

/// Compiles every schedule of a definition. One that is not well formed is left out: it never has a time.
pub(super) fn compile(workflow: &Workflow) -> CompiledSchedules {
    let of = format!("{}/{}", workflow.project, workflow.name);
    let own = workflow.schedules.iter().map(|schedule| (None, schedule));
    let jobs = workflow
        .jobs
        .iter()
        .flat_map(|job| job.schedules.iter().map(move |schedule| (Some(job.name.clone()), schedule)));
    let mut compiled = CompiledSchedules::new();
    for (job, schedule) in own.chain(jobs) {
        let identity = match &job {
            Some(job) => format!("{of}/{job}/{}", schedule.name),
            None => format!("{of}/{}", schedule.name),
        };
        if let Some(times) = CompiledSchedule::new(schedule, identity) {
            compiled.insert((job, schedule.name.clone()), times);
        }
    }
    compiled
}

/// The schedules that `schedules` come to under a definition: what was done for the same times stays done.
pub(super) fn adopt(
    before: Option<(&[Schedule], BTreeMap<ScheduleName, ScheduleState>)>,
    schedules: &[Schedule],
    compiled: &CompiledSchedules,
    job: Option<&JobName>,
    is_enabled: bool,
    at: (Timestamp, Offset),
) -> BTreeMap<ScheduleName, ScheduleState> {
    let (old, mut states) = before.unwrap_or_default();
    let mut adopted = BTreeMap::new();
    for schedule in schedules {
        let kept = states.remove(&schedule.name);
        let is_same = old.iter().any(|old| old.name == schedule.name && old.has_times_of(schedule));
        let state = match kept {
            Some(kept) if is_same => kept,
            kept => {
                let last = kept.as_ref().and_then(|kept| kept.last);
                let status = match kept.map(|kept| kept.status) {
                    Some(ScheduleStatus::Paused) => ScheduleStatus::Paused,
                    _ => ScheduleStatus::Active,
                };
                let mut state = ScheduleState { since: at.0, last, next: None, status };
                let times = compiled.get(&(job.cloned(), schedule.name.clone())).filter(|_| is_enabled);
                wait_for_next(&mut state, times, at);
                state
            }
        };
        adopted.insert(schedule.name.clone(), state);
    }
    adopted
}

/// Lets a schedule wait for the first time that lies after the last one and has not passed.
fn wait_for_next(state: &mut ScheduleState, times: Option<&CompiledSchedule>, (now, set_by): (Timestamp, Offset)) {
    let after = state.last.map_or(now, |last| last.max(now));
    let times = times.filter(|_| state.status == ScheduleStatus::Active);
    state.next = times.and_then(|times| {
        let time = times.next(state.since, after)?;
        Some(NextTime { time, alarm: Alarm { due: times.due(time), set_by } })
    });
}

/// The times that have come, oldest first: those that are acted on, and the first and last of those that are not.
struct Came {
    acted_on: Vec<Timestamp>,
    passed: Option<(Timestamp, Timestamp)>,
    newest: Timestamp,
}

/// Which times have come with `first`, which is due, and what the misfire policy makes of them.
fn came(schedule: &Schedule, times: &CompiledSchedule, since: Timestamp, first: Timestamp, now: Timestamp) -> Came {
    let before = Timestamp::from_millis(first.as_millis().saturating_sub(1));
    let (mut found, is_more) = times.newest(since, before, now, MISFIRE_TIMES_MAX);
    let n_due = found.iter().rposition(|time| times.due(*time) <= now).map_or(0, |last| last.saturating_add(1));
    found.truncate(n_due);
    let Some(newest) = found.last().copied() else {
        // The jitter of the newer ones is not over.
        return Came { acted_on: vec![first], passed: None, newest: first };
    };
    let is_late = |time: &Timestamp| times.due(*time) + schedule.misfire_grace < now;
    let n_late = found.iter().rposition(is_late).map_or(0, |last| last.saturating_add(1));
    let n_passed = match schedule.misfire {
        _ if n_late == 0 && !is_more => 0,
        Misfire::Skip => n_late,
        Misfire::Once => n_due.saturating_sub(1),
        Misfire::All { max } => n_late.min(n_due.saturating_sub(max)),
    };
    let acted_on = found.split_off(n_passed);
    // Of more times than are looked at, the last that is not is somewhere before the first that is.
    let unseen =
        acted_on.first().filter(|_| is_more).map(|next| Timestamp::from_millis(next.as_millis().saturating_sub(1)));
    let last_passed = found.last().copied().or(unseen);
    Came { acted_on, passed: last_passed.map(|last| (first, last)), newest }
}

impl Draft<'_> {
    /// The time of a schedule has come.
    pub(super) fn on_schedule_timer(&mut self, of: &Subject, name: &ScheduleName, alarm: Alarm) {
        // The timer may have been under way when the execution was stopped.
        if !self.may_wait(of) {
            return;
        }
        let Some((compiled, place)) = self.schedules_of(of) else { return };
        let waits = |state: &ScheduleState| state.next.filter(|next| next.alarm == alarm);
        let Some((next, since)) = self.schedule(of, name).and_then(|state| Some((waits(state)?, state.since))) else {
            return;
        };
        if matches!(of, Subject::Job { execution, .. } if self.is_paused(*execution)) {
            // It was under way when its execution was paused. Once that is resumed it has to come again, under another name.
            let set_by = self.event.offset;
            let again = |next| NextTime { alarm: Alarm { set_by, ..alarm }, ..next };
            self.change_schedule(of, name, |state| state.next = state.next.map(again));
            return;
        }
        let schedule = compiled.workflow.schedule(place.as_ref(), name);
        let Some((schedule, times)) = schedule.zip(compiled.schedules.get(&(place.clone(), name.clone()))) else {
            self.change_schedule(of, name, |state| state.next = None);
            return;
        };
        // The clock that said so may be ahead of the one that stamps the log.
        let now = self.now().max(alarm.due);
        let came = came(schedule, times, since, next.time, now);
        let set_by = self.event.offset;
        self.change_schedule(of, name, |state| {
            state.last = Some(came.newest);
            // Not the clock but the last time says which comes next, so that none is left out.
            wait_for_next(state, Some(times), (Timestamp::from_millis(i64::MIN), set_by));
        });
        if let Some((first, last)) = came.passed {
            let passed = ScheduledTime { until: Some(last), ..ScheduledTime::new(name.clone(), first) };
            self.record_time(of, schedule.action, passed, FiringOutcome::Missed);
        }
        for time in came.acted_on {
            self.act_on_schedule_of(of, schedule, ScheduledTime::new(name.clone(), time), schedule.overlap);
        }
    }

    /// Does what a schedule does at one of its times.
    fn act_on_schedule_of(&mut self, of: &Subject, schedule: &Schedule, time: ScheduledTime, overlap: OverlapPolicy) {
        let firing = self.schedule_firing(time.clone());
        match of {
            Subject::Workflow { project, workflow } => {
                let key = workflow_key(project, workflow);
                let params = merge(&schedule.params, &time_param(time.time));
                let request = StartRequest { params, overlap: Some(overlap), ..StartRequest::default() };
                self.request_start(&key, WorkflowAction::Start, firing, request);
            }
            Subject::Job { execution, job } => {
                // A START of a live job does nothing: that is `skip` as it is `allow_all`.
                let overlap =
                    Some(overlap).filter(|policy| !matches!(policy, OverlapPolicy::Skip | OverlapPolicy::AllowAll));
                let request = StartRequest { overlap, params: schedule.params.clone(), ..StartRequest::default() };
                self.request_job(*execution, job, schedule.action, firing, request);
            }
        }
    }

    fn schedule_firing(&self, time: ScheduledTime) -> Firing {
        Firing { schedule: Some(time), ..self.firing(None, vec![self.event.offset]) }
    }

    fn record_time(&mut self, of: &Subject, action: JobAction, time: ScheduledTime, outcome: FiringOutcome) {
        let firing = self.schedule_firing(time);
        match of {
            Subject::Workflow { project, workflow } => {
                let action = RuleAction::Workflow(WorkflowAction::Start);
                self.record_firing(project.clone(), FiringRecord::new(workflow.clone(), firing, action, outcome));
            }
            Subject::Job { execution, job } => self.record_outcome(*execution, job, action, firing, outcome),
        }
    }

    /// Does what is asked of a schedule by hand.
    pub(super) fn on_schedule_action(&mut self, of: &Subject, name: &ScheduleName, action: ScheduleAction) {
        if let Subject::Job { execution, .. } = of
            && self.execution(*execution).is_none_or(|execution| execution.status != WorkflowStatus::Running)
        {
            return self.refuse(format!("workflow execution {execution} is not running"));
        }
        let status = self.schedule(of, name).map(|state| state.status);
        let status = match (status, action) {
            (None | Some(ScheduleStatus::Deleted), _) => return self.refuse(format!("{of} has no schedule {name}")),
            (Some(_), ScheduleAction::Pause) => ScheduleStatus::Paused,
            (Some(_), ScheduleAction::Delete) => ScheduleStatus::Deleted,
            (Some(_), ScheduleAction::Resume) => ScheduleStatus::Active,
        };
        self.set_schedule_status(of, name, status);
        if let Subject::Job { execution, .. } = of {
            // It may have been the last thing that the execution waited for.
            self.finish_if_done(*execution);
        }
    }

    fn set_schedule_status(&mut self, of: &Subject, name: &ScheduleName, status: ScheduleStatus) {
        let Some((compiled, place)) = self.schedules_of(of) else { return };
        let times = compiled.schedules.get(&(place, name.clone())).filter(|_| self.may_wait(of));
        let at = (self.now(), self.event.offset);
        self.change_schedule(of, name, |state| {
            if status != ScheduleStatus::Active || state.status != status || state.next.is_none() {
                state.status = status;
                wait_for_next(state, times, at);
            }
        });
    }

    /// Lets the schedules of a workflow wait for their next times, or for none, when it is enabled or disabled.
    pub(super) fn set_schedules_enabled(&mut self, key: &WorkflowKey, enabled: bool) {
        let Some(state) = self.workflow(key) else { return };
        let Some(compiled) = self.state.definition(key, state.version).cloned() else { return };
        let at = (self.now(), self.event.offset);
        let Some(state) = self.workflow_mut(key) else { return };
        for (name, state) in &mut state.schedules {
            if enabled == state.next.is_some() {
                continue;
            }
            let times = compiled.schedules.get(&(None, name.clone()));
            wait_for_next(state, times.filter(|_| enabled), at);
        }
    }

    /// The schedules of the jobs of a new execution come into force.
    pub(super) fn begin_job_schedules(&mut self, id: WorkflowExecutionId, compiled: &Compiled) {
        let at = (self.now(), self.event.offset);
        for job in compiled.workflow.jobs.iter().filter(|job| !job.schedules.is_empty()) {
            let schedules = adopt(None, &job.schedules, &compiled.schedules, Some(&job.name), true, at);
            self.change_job_state(id, &job.name, |state| state.schedules = schedules);
        }
    }

    /// Starts an execution for each time of a schedule in a span of time.
    pub(super) fn on_backfill(&mut self, key: &WorkflowKey, request: &BackfillRequest) {
        let BackfillRequest { schedule: name, from, to, quiet, overlap } = request;
        let Some(state) = self.workflow(key) else {
            return self.refuse(format!("workflow {key} is not known"));
        };
        if !state.enabled {
            return self.refuse(format!("workflow {key} is disabled"));
        }
        let of = Subject::Workflow { project: state.project.clone(), workflow: state.name.clone() };
        let since = state.schedules.get(name).map(|state| state.since);
        let compiled = self.state.definition(key, state.version).cloned();
        let schedule = compiled.as_ref().and_then(|compiled| {
            let times = compiled.schedules.get(&(None, name.clone()))?;
            Some((compiled.workflow.schedule(None, name)?, times))
        });
        let Some(((schedule, times), since)) = schedule.zip(since) else {
            return self.refuse(format!("workflow {key} has no schedule {name}"));
        };
        let mut found = Vec::new();
        let mut last = Timestamp::from_millis(from.as_millis().saturating_sub(1));
        // An interval without a start counts from when it came into force; in the past it lies on the same grid.
        while let Some(time) = times.next_in_past(since, last).filter(|time| time <= to) {
            if found.len() >= BACKFILL_TIMES_MAX {
                return self.refuse(format!(
                    "schedule {name} of {key} has more than {BACKFILL_TIMES_MAX} times from {} to {}",
                    from.to_rfc3339(),
                    to.to_rfc3339()
                ));
            }
            found.push(time);
            last = time;
        }
        if found.is_empty() {
            let (from, to) = (from.to_rfc3339(), to.to_rfc3339());
            return self.refuse(format!("schedule {name} of {key} has no time from {from} to {to}"));
        }
        for time in found {
            let time = ScheduledTime { backfill: true, quiet: *quiet, ..ScheduledTime::new(name.clone(), time) };
            self.act_on_schedule_of(&of, schedule, time, *overlap);
        }
    }

    /// The definition that the schedules of a subject are in, and the job if they are a job's.
    fn schedules_of(&self, of: &Subject) -> Option<(Arc<Compiled>, Option<JobName>)> {
        match of {
            Subject::Workflow { project, workflow } => {
                let key = workflow_key(project, workflow);
                let version = self.workflow(&key)?.version;
                Some((Arc::clone(self.state.definition(&key, version)?), None))
            }
            Subject::Job { execution, job } => Some((self.definition(*execution)?, Some(job.clone()))),
        }
    }

    /// Whether schedules of this subject may wait for anything.
    fn may_wait(&self, of: &Subject) -> bool {
        match of {
            Subject::Workflow { project, workflow } => {
                self.workflow(&workflow_key(project, workflow)).is_some_and(|workflow| workflow.enabled)
            }
            Subject::Job { execution, job } => {
                !self.is_unscheduled(*execution, job)
                    && self.execution(*execution).is_some_and(|execution| execution.status == WorkflowStatus::Running)
            }
        }
    }

    /// Lets the schedules of a job wait for their next times, or for none, when its scheduling is resumed or stopped.
    pub(super) fn set_job_schedules(&mut self, execution: WorkflowExecutionId, job: &JobName, scheduled: bool) {
        let Some(compiled) = self.definition(execution) else { return };
        let at = (self.now(), self.event.offset);
        self.change_job_state(execution, job, |state| {
            for (name, schedule) in &mut state.schedules {
                let times = compiled.schedules.get(&(Some(job.clone()), name.clone()));
                wait_for_next(schedule, times.filter(|_| scheduled), at);
            }
        });
    }

    fn schedule(&self, of: &Subject, name: &ScheduleName) -> Option<&ScheduleState> {
        match of {
            Subject::Workflow { project, workflow } => {
                self.workflow(&workflow_key(project, workflow))?.schedules.get(name)
            }
            Subject::Job { execution, job } => self.job_state(*execution, job)?.schedules.get(name),
        }
    }

    fn change_schedule(&mut self, of: &Subject, name: &ScheduleName, change: impl FnOnce(&mut ScheduleState)) {
        match of {
            Subject::Workflow { project, workflow } => {
                let workflow = self.workflow_mut(&workflow_key(project, workflow));
                workflow.and_then(|workflow| workflow.schedules.get_mut(name)).map(change);
            }
            Subject::Job { execution, job } => {
                self.change_job_state(*execution, job, |state| state.schedules.get_mut(name).map(change));
            }
        }
    }

    /// Whether the rules outside its execution are to be spared what becomes of it.
    pub(super) fn is_quiet(&self, id: WorkflowExecutionId) -> bool {
        let cause = self.execution(id).map(|execution| &execution.cause);
        cause.and_then(|cause| cause.schedule.as_ref()).is_some_and(|time| time.quiet)
    }
}

/// The parameter that tells jobs the scheduled time.
pub(super) fn time_param(time: Timestamp) -> Value {
    json!({ SCHEDULED_TIME: time.to_rfc3339() })
}
