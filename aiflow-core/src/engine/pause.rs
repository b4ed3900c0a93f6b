//! Pauses: what waits while a workflow execution is paused, and what does a job do whose scheduling is stopped?
//!
//! A paused execution goes on to see events, and its rules go on to fire. What would start something waits: firings as records at the stage
//! [`Pause`](AdmissionStage::Pause), attempts as held job executions, times of schedules for the misfire policy. A STOP acts at once.

use super::admission::{Verdict, queue_full, waiting};
use super::decision::NewFiring;
use super::state::Draft;
use crate::execution::{
    AdmissionStage, Firing, FiringOutcome, FiringRecord, JobSlot, Pause, RuleAction, StartRequest, WorkflowStatus,
};
use crate::id::{FiringId, JobExecutionId, JobName, WorkflowExecutionId};
use crate::timer::Subject;
use crate::workflow::{JobAction, WAITING_PER_KEY_MAX};

impl Draft<'_> {
    pub(super) fn is_paused(&self, id: WorkflowExecutionId) -> bool {
        self.execution(id).is_some_and(|execution| execution.paused.is_some())
    }

    /// Whether the scheduling of a job is stopped.
    pub(super) fn is_unscheduled(&self, id: WorkflowExecutionId, job: &JobName) -> bool {
        self.execution(id).and_then(|execution| execution.jobs.get(job)).is_some_and(|slot| slot.unscheduled)
    }

    /// Pauses a running execution; one that is paused already stays so.
    pub(super) fn pause_execution(&mut self, id: WorkflowExecutionId, reason: String) {
        let pause = Pause { at: self.now(), by: self.event.offset, reason };
        match self.execution(id).map(|execution| execution.status) {
            Some(WorkflowStatus::Running) => {
                if let Some(execution) = self.execution_mut(id) {
                    execution.paused.get_or_insert(pause);
                }
            }
            _ => self.refuse(format!("workflow execution {id} is not running")),
        }
    }

    /// Resumes a paused execution: first the attempts that wait, then the starts, in the order of their firings.
    pub(super) fn resume_execution(&mut self, id: WorkflowExecutionId) {
        if self.execution(id).is_none_or(|execution| execution.status != WorkflowStatus::Running) {
            return self.refuse(format!("workflow execution {id} is not running"));
        }
        let Some(execution) = self.execution_mut(id).filter(|execution| execution.paused.is_some()) else {
            return;
        };
        execution.paused = None;
        let slots: Vec<(JobName, Option<JobExecutionId>)> =
            execution.jobs.iter().map(|(job, slot)| (job.clone(), slot.current)).collect();
        for current in slots.iter().filter_map(|(_, current)| *current) {
            if self.job(current).is_some_and(|job| job.held) {
                self.launch(current);
            }
        }
        for (job, _) in slots.iter().filter(|(_, current)| current.is_none()) {
            self.release_job(id, job);
        }
        for firing in self.held_by_pause(id) {
            let Some(firing) = self.held(firing).cloned() else { continue };
            if firing.record.request.by_hand {
                self.begin(firing);
            } else {
                self.admit(firing, Some(AdmissionStage::Pause));
            }
        }
        self.finish_if_done(id);
    }

    /// The firings that wait for an execution to be resumed, oldest first.
    fn held_by_pause(&self, id: WorkflowExecutionId) -> Vec<FiringId> {
        let Some(compiled) = self.definition(id) else { return Vec::new() };
        if self.execution(id).is_none_or(|execution| execution.held == 0) {
            return Vec::new();
        }
        let row_of = |job: &JobName| {
            let of = Subject::Job { execution: id, job: job.clone() };
            self.row(&(of, AdmissionStage::Pause, String::new()))
        };
        let jobs = compiled.workflow.jobs.iter();
        let mut held: Vec<FiringId> = jobs.flat_map(|job| row_of(&job.name)).map(|(_, id)| id).collect();
        held.sort_unstable();
        held
    }

    /// The stage of admission at which starts of jobs wait while their workflow execution is paused.
    pub(super) fn pass_pause(&self, firing: &NewFiring) -> Verdict {
        let stage = AdmissionStage::Pause;
        if firing.record.workflow_execution.is_none_or(|execution| !self.is_paused(execution)) {
            return Verdict::Pass;
        }
        if self.row_head(&self.row_key(firing, stage, &[])).0 >= WAITING_PER_KEY_MAX {
            return queue_full();
        }
        Verdict::Wait(waiting(stage, String::new(), 0, self.now()), "its workflow execution is paused".to_owned())
    }

    /// Takes `action` on a job by hand. It passes no stage of admission, but waits for a paused execution to be resumed.
    pub(super) fn act_by_hand(
        &mut self,
        execution: WorkflowExecutionId,
        job: &JobName,
        action: JobAction,
        by_hand: Firing,
    ) {
        let starts = matches!(action, JobAction::Start | JobAction::Restart);
        let parent = self.execution(execution).filter(|execution| starts && execution.paused.is_some());
        let Some((project, workflow)) = parent.map(|parent| (parent.project.clone(), parent.workflow.clone())) else {
            return self.act_on_job(execution, job, action, by_hand, &serde_json::Value::Null);
        };
        let record = FiringRecord::new(workflow, by_hand, RuleAction::Job(action), FiringOutcome::Waiting);
        let request = StartRequest { by_hand: true, ..StartRequest::default() };
        let record = FiringRecord { request, ..record.of_job(execution, job.clone()) };
        let mut firing = NewFiring { id: self.next_firing_id(), project, record };
        match self.pass_pause(&firing) {
            Verdict::Wait(waits, reason) => {
                self.say(&mut firing, AdmissionStage::Pause, reason);
                firing.record.waits = Some(waits);
                self.set_firing(firing);
            }
            Verdict::Drop(outcome, reason) => {
                self.drop_firing(firing, outcome, Some(AdmissionStage::Pause), reason);
            }
            Verdict::Pass | Verdict::PassWith(_) => self.begin(firing),
        }
    }

    /// Stops or resumes the scheduling of a job: what its rules have seen stays, events and times that pass meanwhile do not count.
    pub(super) fn schedule_job(&mut self, id: WorkflowExecutionId, job: &JobName, scheduled: bool) {
        if self.is_unscheduled(id, job) != scheduled {
            return;
        }
        if let Some(execution) = self.execution_mut(id) {
            let slot: &mut JobSlot = execution.jobs.entry(job.clone()).or_default();
            slot.unscheduled = !scheduled;
        }
        self.set_job_schedules(id, job, scheduled);
        // Its schedules may have been the last thing that the execution waited for, or will never come again.
        self.finish_if_done(id);
    }
}
