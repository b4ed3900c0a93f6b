//! Pauses: what waits while a workflow execution is paused, and what does a job do whose scheduling is stopped?
//!
//! A paused execution goes on to see events, and its rules go on to fire. What would start something waits: firings as records at the stage
//! [`Pause`](AdmissionStage::Pause), attempts as held job executions, times of schedules for the misfire policy. A STOP acts at once.

use super::admission::{Verdict, queue_full, waiting};
use super::decision::NewFiring;
use super::state::Draft;
use crate::execution::{
    AdmissionStage, Firing, FiringOutcome, FiringRecord, Pause, RuleAction, StartRequest, WorkflowStatus,
};
use crate::id::{FiringId, JobName, WorkflowExecutionId};
use crate::timer::Subject;
use crate::workflow::{JobAction, WAITING_PER_KEY_MAX};

impl Draft<'_> {
    pub(super) fn is_paused(&self, id: WorkflowExecutionId) -> bool {
        self.execution(id).is_some_and(|execution| execution.paused.is_some())
    }

    /// Whether the scheduling of a job is stopped.
    pub(super) fn is_unscheduled(&self, id: WorkflowExecutionId, job: &JobName) -> bool {
        self.job_state(id, job).is_some_and(|job| job.unscheduled)
    }

    /// Pauses a running execution; one that is paused already stays so.
    pub(super) fn pause_execution(&mut self, id: WorkflowExecutionId, reason: String) {
        let pause = Pause { at: self.now(), by: self.event.offset, reason };
        match self.execution(id).map(|execution| execution.status) {
            Some(WorkflowStatus::Running) => {
                if let Some(execution) = self.execution_mut(id) {
                    execution.paused.get_or_insert(pause);
                }
                self.pause_schedules(id, true);
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
        self.pause_schedules(id, false);
        let (live, idle): (Vec<JobName>, Vec<JobName>) =
            self.jobs_of(id).into_iter().partition(|job| self.live_job(id, job).is_some());
        for job in live {
            if let Some(held) = self.live_job(id, &job).filter(|live| self.job(*live).is_some_and(|job| job.held)) {
                self.launch(held);
            }
        }
        for job in idle {
            self.release_job(id, &job);
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

    fn pause_schedules(&mut self, id: WorkflowExecutionId, paused: bool) {
        for job in self.jobs_of(id) {
            if self.job_state(id, &job).is_some_and(|job| job.paused != paused && !job.schedules.is_empty()) {
                self.change_job_state(id, &job, |job| job.paused = paused);
            }
        }
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
        if let Err(reason) = self.check_job_params(execution, job, &serde_json::Value::Null)
            && starts
        {
            return self.refuse(reason);
        }
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
        self.change_job_state(id, job, |job| job.unscheduled = !scheduled);
        self.set_job_schedules(id, job, scheduled);
        // Its schedules may have been the last thing that the execution waited for, or will never come again.
        self.finish_if_done(id);
    }
}
