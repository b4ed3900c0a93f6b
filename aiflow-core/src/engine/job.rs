//! The life of a job execution: what do actions, reports and timers make of it?

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::decision::Command;
use super::state::{Draft, workflow_key};
use crate::event::{JOB_STATUS_CHANGED, NewEvent, STOP_REASON};
use crate::execution::{
    Firing, FiringOutcome, FiringRecord, JobExecution, JobStatus, RuleAction, Slots, StopNote, WorkflowStatus,
};
use crate::executor::{Ending, ReportKind, StopMode, TimeLimit};
use crate::host::Placement;
use crate::id::{AttemptId, JobExecutionId, JobName, WorkflowExecutionId};
use crate::time::Timestamp;
use crate::timer::{JobTimer, Subject, Timer, TimerKey};
use crate::workflow::{DeadlineOf, Job, JobAction, job_key};

/// How often an attempt may be lost with its host before its job execution fails.
pub const LOSSES_MAX: u32 = 1_000;

impl Draft<'_> {
    /// Takes `action` on a job of a running execution, because of `firing`, and records it if it makes no execution.
    pub(super) fn act_on_job(
        &mut self,
        execution: WorkflowExecutionId,
        job: &JobName,
        action: JobAction,
        firing: Firing,
        params: &Value,
    ) {
        if let Some(outcome) = self.job_outcome(execution, job, action, firing.clone(), params) {
            self.record_outcome(execution, job, action, firing, outcome);
        }
    }

    /// Takes `action` on a job of a running execution, because of `firing`. `None` if it made an execution.
    pub(super) fn job_outcome(
        &mut self,
        execution: WorkflowExecutionId,
        job: &JobName,
        action: JobAction,
        firing: Firing,
        params: &Value,
    ) -> Option<FiringOutcome> {
        let outcome = match (action, self.live_job(execution, job)) {
            (JobAction::None, _) => FiringOutcome::None,
            (JobAction::Signal, _) => {
                let value = self.signal_value();
                return self.signal_job(execution, job, firing, params, value);
            }
            (JobAction::Stop, _) => self.stop_job_of(execution, job, StopMode::Graceful, &firing.why()),
            (JobAction::Start | JobAction::Restart, None) => {
                self.create_job(execution, job, firing, params);
                return None;
            }
            (JobAction::Start, Some(current)) if !self.is_stopping(current) => FiringOutcome::AlreadyLive,
            (JobAction::Start | JobAction::Restart, Some(_)) if self.has_waiting(execution, job) => {
                FiringOutcome::Merged
            }
            (JobAction::Start | JobAction::Restart, Some(current)) => {
                // The new execution waits; it is created first, so that the end of the old one starts it.
                let why = firing.why();
                self.create_job(execution, job, firing, params);
                self.stop_job(current, StopMode::Graceful, &why);
                return None;
            }
        };
        Some(outcome)
    }

    /// Stops a job, and cancels what waits to start it.
    pub(super) fn stop_job_of(
        &mut self,
        execution: WorkflowExecutionId,
        job: &JobName,
        mode: StopMode,
        reason: &str,
    ) -> FiringOutcome {
        let is_start_cancelled = self.cancel_starts(execution, job);
        self.cancel_waiting(execution, job);
        match self.live_job(execution, job) {
            Some(current) => self.stop_job(current, mode, reason),
            None if is_start_cancelled => self.finish_if_done(execution),
            None => return FiringOutcome::NotLive,
        }
        FiringOutcome::Stopped
    }

    /// STOP cancels starts that wait to be admitted.
    fn cancel_starts(&mut self, execution: WorkflowExecutionId, job: &JobName) -> bool {
        let waits = self.execution(execution).is_some_and(|execution| execution.held > 0);
        waits && self.cancel_held(&Subject::Job { execution, job: job.clone() }, "a STOP came while it waited") > 0
    }

    /// Records a firing that made no execution.
    pub(super) fn record_outcome(
        &mut self,
        execution: WorkflowExecutionId,
        job: &JobName,
        action: JobAction,
        firing: Firing,
        outcome: FiringOutcome,
    ) {
        let Some(parent) = self.execution(execution) else {
            return;
        };
        let (project, workflow) = (parent.project.clone(), parent.workflow.clone());
        self.record_firing(
            project,
            FiringRecord::new(workflow, firing, RuleAction::Job(action), outcome).of_job(execution, job.clone()),
        );
    }

    pub(super) fn live_job(&self, execution: WorkflowExecutionId, job: &JobName) -> Option<JobExecutionId> {
        self.job_state(execution, job)?.current
    }

    fn has_waiting(&self, execution: WorkflowExecutionId, job: &JobName) -> bool {
        self.waiting_job(execution, job).is_some()
    }

    pub(super) fn waiting_job(&self, execution: WorkflowExecutionId, job: &JobName) -> Option<JobExecutionId> {
        self.job_state(execution, job)?.waiting
    }

    fn is_stopping(&self, job: JobExecutionId) -> bool {
        self.job(job).is_some_and(|job| job.status == JobStatus::Stopping)
    }

    /// Creates an execution of a job: launched at once if none is live, otherwise when the live one has ended.
    pub(super) fn create_job(&mut self, execution: WorkflowExecutionId, job: &JobName, cause: Firing, params: &Value) {
        let Some(parent) = self.execution(execution) else {
            return;
        };
        let (project, workflow, version) = (parent.project.clone(), parent.workflow.clone(), parent.version);
        let Some(compiled) = self.state.definition(&workflow_key(&project, &workflow), version) else {
            return;
        };
        let Some(definition) = compiled.job(job) else {
            return;
        };
        // A chain of jobs that each run for the first time is no loop, however long it is.
        let is_first_run = self.job_state(execution, job).is_none_or(|job| job.runs == 0);
        let cause = Firing { hops: cause.hops.saturating_sub(is_first_run.into()), ..cause };
        let id = self.next_job_id(execution, job);
        let now = self.now();
        self.out.jobs.insert(
            id,
            Arc::new(JobExecution {
                id,
                workflow_execution: execution,
                project,
                workflow,
                job: job.clone(),
                executor: definition.executor.clone(),
                status: JobStatus::Init,
                attempt: 0,
                failures: 0,
                losses: 0,
                restarts: 0,
                checkpoint: None,
                signals: Vec::new(),
                cause,
                params: params.clone(),
                created_at: now,
                started_at: None,
                finished_at: None,
                due: definition
                    .deadline
                    .filter(|d| d.of == DeadlineOf::Job)
                    .map(|d| (JobTimer::Deadline, now + d.after))
                    .into_iter()
                    .collect(),
                exceeded: None,
                killed: false,
                stops: Vec::new(),
                held: false,
                repeats: None,
                slots: definition.admission.pool.clone().map(|of| Slots {
                    of,
                    priority: definition.admission.priority,
                    taken: 0,
                    waiting: false,
                }),
                placement: Placement {
                    runs_on: definition.runs_on.clone(),
                    priority: definition.admission.priority,
                    ..Placement::default()
                },
                logs: None,
                attempts: Vec::new(),
                ending: None,
                nodes: Vec::new(),
                labels: BTreeMap::new(),
                labels_number: 0,
            }),
        );
        let is_first = self.change_job_state(execution, job, |state| {
            state.runs = state.runs.saturating_add(1);
            let place = if state.current.is_some() { &mut state.waiting } else { &mut state.current };
            *place = Some(id);
            state.current == Some(id)
        });
        if is_first == Some(true) {
            self.launch(id);
        }
    }

    /// Hands the next attempt to the executor; while its workflow execution is paused, when that is resumed; while no host or its pool has room,
    /// when there is some.
    pub(super) fn launch(&mut self, id: JobExecutionId) {
        let is_paused = self.job(id).is_some_and(|job| self.is_paused(job.workflow_execution));
        self.hand_on_checkpoint(id);
        let limit = self.definition_of(id).and_then(|job| job.queue_timeout).map(|limit| self.now() + limit);
        let Some(job) = self.job_mut(id) else { return };
        job.held = is_paused;
        job.forget_attempt_timers();
        if is_paused {
            return;
        }
        // A place is looked for first, so that nobody holds slots while it waits for one.
        let Some(spot) = self.find_spot(id) else { return self.wait_for_host(id) };
        if !self.take_slots(id) {
            return;
        }
        self.place(id, spot);
        let Some(job) = self.job_mut(id) else { return };
        job.attempt = job.attempt.saturating_add(1);
        job.labels.clear();
        job.labels_number = 0;
        job.logs = None;
        job.status = JobStatus::Queued;
        job.started_at = None;
        job.due.extend(limit.map(|limit| (JobTimer::Queue, limit)));
        job.exceeded = None;
        let attempt = job.attempt_id();
        self.command(Command::Launch { attempt });
    }

    /// Asks a live job to end; one that waits for its next attempt ends at once.
    pub(super) fn stop_job(&mut self, id: JobExecutionId, mode: StopMode, reason: &str) {
        let note = StopNote { at: self.now(), by: self.event.offset, mode, reason: reason.to_owned() };
        let is_asked = |job: &&JobExecution| {
            let is_stopping = job.status == JobStatus::Stopping;
            !job.status.is_terminal() && !(is_stopping && (mode == StopMode::Graceful || job.killed))
        };
        let Some(status) = self.job(id).filter(is_asked).map(|job| job.status) else {
            return;
        };
        self.pass_on_signal(id);
        if let Some(job) = self.job_mut(id) {
            note.add(&mut job.stops);
        }
        match status {
            JobStatus::Queued | JobStatus::Running | JobStatus::Ready | JobStatus::Unknown => {
                let Some(job) = self.job_mut(id) else { return };
                job.status = JobStatus::Stopping;
                job.killed = mode == StopMode::Kill;
                job.due.clear();
                let (attempt, executor) = (job.attempt_id(), job.executor.clone());
                self.command(Command::Stop { attempt, executor, mode });
            }
            // Asked before, and in vain so far.
            JobStatus::Stopping if mode == StopMode::Kill => {
                let Some(job) = self.job_mut(id).filter(|job| !job.killed) else { return };
                job.killed = true;
                let (attempt, executor) = (job.attempt_id(), job.executor.clone());
                self.command(Command::Stop { attempt, executor, mode });
            }
            JobStatus::Init | JobStatus::Retrying => self.end_job(id, JobStatus::Stopped),
            JobStatus::Stopping
            | JobStatus::Succeeded
            | JobStatus::Failed
            | JobStatus::Stopped
            | JobStatus::Skipped => {}
        }
    }

    /// Cancels the execution that waits for the live one to end.
    pub(super) fn cancel_waiting(&mut self, execution: WorkflowExecutionId, job: &JobName) {
        if !self.has_waiting(execution, job) {
            return;
        }
        if let Some(waiting) = self.change_job_state(execution, job, |job| job.waiting.take()).flatten() {
            self.set_status(waiting, JobStatus::Stopped);
        }
    }

    /// Takes in what an executor says of an attempt. What is stale (an old attempt, an ended execution) changes nothing.
    pub(super) fn on_report(&mut self, attempt: AttemptId, report: ReportKind) {
        let Some(job) = self.job(attempt.job_execution).filter(|job| job.attempt == attempt.attempt) else {
            return;
        };
        let (id, status) = (job.id, job.status);
        match (report, status) {
            (
                _,
                JobStatus::Init
                | JobStatus::Retrying
                | JobStatus::Succeeded
                | JobStatus::Failed
                | JobStatus::Stopped
                | JobStatus::Skipped,
            ) => {}
            (ReportKind::Checkpoint { number, value }, _) => self.on_checkpoint(id, number, value),
            (ReportKind::Labels { number, labels }, _) => self.on_labels(id, number, labels),
            (ReportKind::Acknowledged { signal }, _) => self.on_acknowledged(id, signal),
            (ReportKind::SignalRefused { signal, message }, _) => self.on_signal_refused(id, signal, &message),
            (ReportKind::Started { logs }, JobStatus::Queued | JobStatus::Unknown) => self.on_started(id, logs),
            (ReportKind::Ready, JobStatus::Running) => self.on_ready(id),
            (ReportKind::Ready, JobStatus::Queued | JobStatus::Unknown) => {
                self.on_started(id, None);
                self.on_ready(id);
            }
            (ReportKind::Started { logs: Some(logs) }, _) => {
                if let Some(job) = self.job_mut(id) {
                    job.logs = Some(logs);
                }
            }
            (ReportKind::Started { logs: None } | ReportKind::Ready, _) => {}
            (ReportKind::Nodes { nodes }, _) => {
                if let Some(job) = self.job_mut(id) {
                    job.nodes = nodes;
                }
            }
            (ReportKind::Ended(ending), _) => self.on_ended(id, ending),
        }
    }

    pub(super) fn definition_of(&self, id: JobExecutionId) -> Option<&Job> {
        let job = self.job(id)?;
        let version = self.execution(job.workflow_execution)?.version;
        self.state.definition(&workflow_key(&job.project, &job.workflow), version)?.job(&job.job)
    }

    fn on_started(&mut self, id: JobExecutionId, logs: Option<String>) {
        let now = self.now();
        let limits = self.definition_of(id).map(|job| {
            let start = job.start_timeout.filter(|_| job.streaming);
            [(JobTimer::Start, start), (JobTimer::Run, job.timeout)]
        });
        if let Some(job) = self.job_mut(id) {
            job.started_at = Some(now);
            job.logs = logs;
            job.due.remove(&JobTimer::Queue);
            if job.exceeded.is_none() {
                let limits = limits.into_iter().flatten();
                job.due.extend(limits.filter_map(|(purpose, limit)| Some((purpose, now + limit?))));
            }
        }
        self.set_status(id, JobStatus::Running);
        self.send_signals(id);
    }

    fn on_ready(&mut self, id: JobExecutionId) {
        if let Some(job) = self.job_mut(id) {
            job.due.remove(&JobTimer::Start);
            // A stream is done with getting ready.
            job.due.remove(&JobTimer::Deadline);
        }
        self.set_status(id, JobStatus::Ready);
    }

    pub(super) fn on_ended(&mut self, id: JobExecutionId, ending: Ending) {
        let Some(job) = self.job_mut(id) else { return };
        let is_stopping = job.status == JobStatus::Stopping;
        // An attempt that was told to stop because of a limit has timed out, however it ended.
        let ending = match job.exceeded {
            Some(limit) if !is_stopping => Ending::TimedOut { limit },
            _ => ending,
        };
        job.forget_attempt_timers();
        job.ending = Some(ending.clone());
        match &ending {
            _ if is_stopping => self.end_job(id, JobStatus::Stopped),
            ending if self.restarts_by_itself(id, ending) => {}
            Ending::Succeeded { .. } => self.end_job(id, JobStatus::Succeeded),
            Ending::Stopped => self.end_job(id, JobStatus::Stopped),
            Ending::Failed { .. } | Ending::TimedOut { .. } => self.on_failed(id, &ending),
            Ending::Lost { .. } => self.on_lost(id),
        }
    }

    fn on_failed(&mut self, id: JobExecutionId, ending: &Ending) {
        let policy = self.definition_of(id).map(|job| job.retry.clone()).unwrap_or_default();
        let now = self.now();
        let Some(job) = self.job_mut(id) else { return };
        job.failures = job.failures.saturating_add(1);
        if job.failures > policy.retries_max || !policy.mends(ending) {
            return self.end_job(id, JobStatus::Failed);
        }
        let pause = policy.pause_after(job.failures, job.attempt_id());
        job.due.insert(JobTimer::Retry, now + pause);
        job.note_attempt(now);
        self.set_status(id, JobStatus::Retrying);
    }

    /// A lost attempt says nothing about the job: it is repeated at once, and does not count as a failure.
    fn on_lost(&mut self, id: JobExecutionId) {
        let now = self.now();
        let Some(job) = self.job_mut(id) else { return };
        job.losses = job.losses.saturating_add(1);
        if job.losses > LOSSES_MAX {
            return self.end_job(id, JobStatus::Failed);
        }
        job.note_attempt(now);
        self.set_status(id, JobStatus::Retrying);
        self.launch(id);
    }

    /// The timer of a job execution is due: its next attempt, or the end of its patience with the running one.
    pub(super) fn on_job_timer(&mut self, attempt: AttemptId, purpose: JobTimer, due: Timestamp) {
        let timer = Timer { due, key: TimerKey::Job { attempt, purpose } };
        let id = attempt.job_execution;
        let Some(status) = self.job(id).filter(|job| job.timers().any(|waits| waits == timer)).map(|job| job.status)
        else {
            return;
        };
        match (purpose, status) {
            (JobTimer::Deadline, _) => self.on_job_deadline(id),
            (JobTimer::Retry, JobStatus::Retrying) => self.launch(id),
            (JobTimer::Queue, JobStatus::Queued | JobStatus::Unknown) => self.exceed(id, TimeLimit::Queue),
            (JobTimer::Start, JobStatus::Running | JobStatus::Unknown) => self.exceed(id, TimeLimit::Start),
            (JobTimer::Run, JobStatus::Running | JobStatus::Ready | JobStatus::Unknown) => {
                self.exceed(id, TimeLimit::Run);
            }
            _ => {}
        }
    }

    /// Tells the current attempt to stop because it exceeded a limit. It has failed when it has ended.
    fn exceed(&mut self, id: JobExecutionId, limit: TimeLimit) {
        let Some(job) = self.job_mut(id) else { return };
        job.forget_attempt_timers();
        job.exceeded = Some(limit);
        let (attempt, executor) = (job.attempt_id(), job.executor.clone());
        self.command(Command::Stop { attempt, executor, mode: StopMode::Graceful });
    }

    /// Ends a job execution and starts the one that waits for it, if its workflow execution still runs.
    fn end_job(&mut self, id: JobExecutionId, status: JobStatus) {
        let unheard = self.take_signal(id).filter(|_| status != JobStatus::Stopped);
        self.set_status(id, status);
        self.keep_checkpoint(id, status);
        let Some((execution, job)) = self.job(id).map(|job| (job.workflow_execution, job.job.clone())) else {
            return;
        };
        let is_running = self.execution(execution).is_some_and(|execution| execution.status == WorkflowStatus::Running);
        let next = self.change_job_state(execution, &job, |state| {
            (state.last, state.last_execution) = (Some(status), Some(id));
            state.succeeded |= status == JobStatus::Succeeded;
            state.current = state.waiting.take();
            state.current
        });
        match next.flatten() {
            Some(next) if is_running => self.launch(next),
            Some(next) => self.end_job(next, JobStatus::Stopped),
            None => {
                if is_running {
                    if let Some((.., newest)) = unheard {
                        // It ended before it took the value.
                        let _ = self.restart_with(execution, &job, newest.cause, &newest.signal, None);
                    }
                    self.release_job(execution, &job);
                }
                self.finish_if_done(execution);
            }
        }
    }

    /// Moves a job execution to `status` and announces it.
    pub(super) fn set_status(&mut self, id: JobExecutionId, status: JobStatus) {
        let now = self.now();
        let Some(job) = self.job_mut(id) else { return };
        debug_assert!(job.status.may_become(status), "{id}: {} -> {status}", job.status);
        job.status = status;
        if status.is_terminal() {
            job.finished_at = Some(now);
            job.due.clear();
            job.held = false;
            self.run_job_hooks(id, status);
        }
        if status.is_terminal() || status == JobStatus::Retrying {
            self.free_slots(id);
            self.free_host(id);
        }
        if status.is_announced() {
            let Some(job) = self.job(id) else { return };
            let mut event = NewEvent::identified("", job.project.as_str(), job_key(&job.workflow, &job.job))
                .event_type(JOB_STATUS_CHANGED)
                .value(status.as_str())
                .sender(job.job.as_str())
                .for_execution(job.workflow_execution);
            event.context.attempt = Some(job.attempt_id());
            let reason = StopNote::reason_of(&job.stops).filter(|_| status == JobStatus::Stopped).map(str::to_owned);
            let (execution, behind) = (job.workflow_execution, job.cause.hops);
            event.context.quiet = self.is_quiet(execution);
            event.context.labels.extend(reason.map(|reason| (STOP_REASON.to_owned(), reason)));
            let event_id = self.emit(event, behind);
            if status.is_terminal()
                && let Some(execution) = self.execution_mut(execution)
            {
                execution.last_word = Some(event_id);
            }
        }
    }

    /// Why something is done now: the given rule, used events and the chain behind the current event.
    pub(super) fn firing(&self, rule: Option<crate::id::RuleName>, events: Vec<crate::id::Offset>) -> Firing {
        let hops = self.event.hops().max(self.seen.hops()).saturating_add(1);
        Firing { rule, schedule: None, events, key: None, hops }
    }

    /// The rules of a version, kept alive while the draft changes.
    pub(super) fn definition(&self, execution: WorkflowExecutionId) -> Option<Arc<super::state::Compiled>> {
        let execution = self.execution(execution)?;
        self.state.definition(&workflow_key(&execution.project, &execution.workflow), execution.version).cloned()
    }
}
