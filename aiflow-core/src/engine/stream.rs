//! Streams: how does a job go on after it ended by itself, from where, and how is a new value handed to it while it runs?

use serde_json::{Value, json};

use super::decision::Command;
use super::state::Draft;
use crate::event::SYSTEM_NAMESPACE;
use crate::execution::{Checkpoint, Firing, FiringOutcome, JobStatus, PendingSignal, WorkflowStatus};
use crate::executor::{Ending, SIGNALS_PENDING_MAX, Signal, StopMode};
use crate::id::{AttemptId, FiringId, JobExecutionId, JobName, WorkflowExecutionId};
use crate::job_labels::{LabelChanges, change_labels};
use crate::time::Timestamp;
use crate::timer::{JobTimer, Timer, TimerKey};
use crate::workflow::{SIGNAL_PARAM, merge};

impl Draft<'_> {
    /// Lets the next attempt of a stream follow after a pause, if its policy says so.
    pub(super) fn restarts_by_itself(&mut self, id: JobExecutionId, ending: &Ending) -> bool {
        let now = self.now();
        let Some(policy) =
            self.definition_of(id).map(|job| job.restart.clone()).filter(|policy| policy.follows(ending))
        else {
            return false;
        };
        let Some(job) = self.job_mut(id) else { return false };
        let was_healthy = job.started_at.is_some_and(|started| now.since(started) >= policy.healthy_after);
        job.restarts = if was_healthy { 1 } else { job.restarts.saturating_add(1) };
        if policy.restarts_max.is_some_and(|max| job.restarts > max) {
            return false;
        }
        let pause = policy.pause_after(job.restarts, job.attempt_id());
        job.due.insert(JobTimer::Retry, now + pause);
        job.note_attempt(now);
        self.set_status(id, JobStatus::Retrying);
        true
    }

    /// An attempt says where the next one is to go on. What it said before, and comes late, does not count.
    pub(super) fn on_checkpoint(&mut self, id: JobExecutionId, number: u64, value: Value) {
        let at = self.now();
        let Some(job) = self.job_mut(id) else { return };
        let (attempt, last) = (job.attempt, job.checkpoint.as_ref().map(|last| (last.attempt, last.number)));
        if last.is_none_or(|last| last < (attempt, number)) {
            job.checkpoint = Some(Checkpoint { attempt, number, at, value });
        }
    }

    /// An attempt says something new about itself. What comes late does not count.
    pub(super) fn on_labels(&mut self, id: JobExecutionId, number: u64, changes: LabelChanges) {
        if self.job(id).is_some_and(|job| job.labels_number < number)
            && let Some(job) = self.job_mut(id)
        {
            job.labels_number = number;
            change_labels(&mut job.labels, changes);
        }
    }

    /// What a job execution that ends said last is for the next execution of the job, unless it has done its work.
    pub(super) fn keep_checkpoint(&mut self, id: JobExecutionId, status: JobStatus) {
        let streams = self.definition_of(id).is_some_and(|job| job.streaming);
        let Some(job) = self.job(id) else { return };
        let (execution, name) = (job.workflow_execution, job.job.clone());
        let value = job.checkpoint.as_ref().filter(|_| streams || status != JobStatus::Succeeded);
        let value = value.map(|checkpoint| checkpoint.value.clone());
        if self.job_state(execution, &name).is_some_and(|state| state.checkpoint != value) {
            self.change_job_state(execution, &name, |state| state.checkpoint = value);
        }
    }

    /// The first attempt of an execution goes on where the last execution of the job was.
    pub(super) fn hand_on_checkpoint(&mut self, id: JobExecutionId) {
        let at = self.now();
        let Some(job) = self.job(id).filter(|job| job.attempt == 0 && job.checkpoint.is_none()) else { return };
        let state = self.job_state(job.workflow_execution, &job.job);
        let Some(value) = state.and_then(|state| state.checkpoint.clone()) else { return };
        if let Some(job) = self.job_mut(id) {
            job.checkpoint = Some(Checkpoint { attempt: 0, number: 0, at, value });
        }
    }

    /// Hands a value to the live execution of a job; if there is none that could take it, one starts with it.
    pub(super) fn signal_job(
        &mut self,
        execution: WorkflowExecutionId,
        job: &JobName,
        firing: Firing,
        params: &Value,
        value: Value,
    ) -> Option<FiringOutcome> {
        let key = if self.seen.namespace == SYSTEM_NAMESPACE { String::new() } else { self.seen.key.clone() };
        let signal = Signal { id: self.next_firing_id(), key, value, params: params.clone() };
        let live = self.live_job(execution, job).and_then(|id| self.job(id));
        match live.map(|job| (job.id, job.status, job.signals.len())) {
            Some((id, status, n)) if status != JobStatus::Stopping && n < SIGNALS_PENDING_MAX => {
                if let Some(job) = self.job_mut(id) {
                    job.signals.push(PendingSignal { signal, cause: firing, due: None });
                }
                if matches!(status, JobStatus::Running | JobStatus::Ready) {
                    self.send_signals(id);
                }
                Some(FiringOutcome::HandedOver)
            }
            _ => self.restart_with(execution, job, firing, &signal, None),
        }
    }

    /// The value of the event that rules see, if it is one from outside.
    pub(super) fn signal_value(&self) -> Value {
        if self.seen.namespace == SYSTEM_NAMESPACE { Value::Null } else { self.seen.value.clone() }
    }

    /// Sends what waits to be sent to the running attempt.
    pub(super) fn send_signals(&mut self, id: JobExecutionId) {
        let Some(within) = self.definition_of(id).map(|job| job.ack_within) else { return };
        let due = self.now() + within;
        let Some(job) = self.job_mut(id).filter(|job| job.exceeded.is_none()) else { return };
        let (attempt, executor) = (job.attempt_id(), job.executor.clone());
        let mut commands = Vec::new();
        for pending in job.signals.iter_mut().filter(|pending| pending.due.is_none()) {
            pending.due = Some(due);
            let (executor, signal) = (executor.clone(), pending.signal.clone());
            commands.push(Command::Signal { attempt, executor, signal });
        }
        commands.into_iter().for_each(|command| self.command(command));
    }

    pub(super) fn on_acknowledged(&mut self, id: JobExecutionId, signal: FiringId) {
        if let Some(job) = self.job_mut(id) {
            job.signals.retain(|pending| pending.signal.id != signal);
        }
    }

    /// The running attempt cannot take a signal.
    pub(super) fn on_signal_refused(&mut self, id: JobExecutionId, signal: FiringId, message: &str) {
        if self.job(id).is_some_and(|job| job.signals.iter().any(|pending| pending.signal.id == signal)) {
            self.restart_with_newest(id, &format!("the value could not be handed over: {message}"));
        }
    }

    /// The running attempt has not acknowledged a signal in time.
    pub(super) fn on_signal_timer(&mut self, attempt: AttemptId, signal: FiringId, due: Timestamp) {
        let timer = Timer { due, key: TimerKey::Signal { attempt, signal } };
        let id = attempt.job_execution;
        if self.job(id).is_some_and(|job| job.timers().any(|waits| waits == timer)) {
            self.restart_with_newest(id, "the value was not acknowledged in time");
        }
    }

    fn restart_with_newest(&mut self, id: JobExecutionId, why_not: &str) {
        let Some((execution, name, newest)) = self.take_signal(id) else { return };
        // It made no execution of its own: the one that waits takes the value along.
        let _ = self.restart_with(execution, &name, newest.cause, &newest.signal, Some(why_not));
    }

    /// The newest value that a job execution was to take and has not; it takes none any more.
    pub(super) fn take_signal(&mut self, id: JobExecutionId) -> Option<(WorkflowExecutionId, JobName, PendingSignal)> {
        // Most executions have none, and looking must not change them.
        self.job(id).filter(|job| !job.signals.is_empty())?;
        let job = self.job_mut(id)?;
        let newest = std::mem::take(&mut job.signals).pop()?;
        Some((job.workflow_execution, job.job.clone(), newest))
    }

    /// A job execution that is to stop takes no values any more; the one that waits for its end, if there is one, takes the newest.
    pub(super) fn pass_on_signal(&mut self, id: JobExecutionId) {
        let Some((execution, job, newest)) = self.take_signal(id) else { return };
        let Some(waiting) = self.waiting_job(execution, &job).filter(|waiting| *waiting != id) else { return };
        if let Some(waiting) = self.job_mut(waiting) {
            waiting.params = merge(&with_value(&newest.signal), &waiting.params);
        }
    }

    /// RESTART with the value among the parameters. An execution that waits already takes the value of the newest. `why_not` says why what runs
    /// did not take it.
    pub(super) fn restart_with(
        &mut self,
        execution: WorkflowExecutionId,
        job: &JobName,
        firing: Firing,
        signal: &Signal,
        why_not: Option<&str>,
    ) -> Option<FiringOutcome> {
        if self.execution(execution).is_none_or(|execution| execution.status != WorkflowStatus::Running) {
            return Some(FiringOutcome::NotLive);
        }
        let params = with_value(signal);
        if let Some(waiting) = self.waiting_job(execution, job) {
            if let Some(waiting) = self.job_mut(waiting) {
                waiting.params = merge(&waiting.params, &params);
            }
            return Some(FiringOutcome::Merged);
        }
        let live = self.live_job(execution, job);
        let why = firing.why();
        let why = why_not.map_or(why.clone(), |why_not| format!("{why}; {why_not}"));
        self.create_job(execution, job, firing, &params);
        if let Some(live) = live {
            self.stop_job(live, StopMode::Graceful, &why);
        }
        None
    }
}

/// The parameters of an execution that starts with a value.
fn with_value(signal: &Signal) -> Value {
    merge(&json!({ SIGNAL_PARAM: signal.value.clone() }), &signal.params)
}
