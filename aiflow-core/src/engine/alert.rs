//! Deadlines and hooks: what is said when something is late, and when it ends?

use serde_json::{Value, json};

use super::state::{Compiled, Draft};
use crate::event::{DEADLINE_MISSED, NewEvent};
use crate::execution::{JobStatus, WorkflowStatus};
use crate::id::{JobExecutionId, JobName, WorkflowExecutionId};
use crate::time::Timestamp;
use crate::timer::JobTimer;
use crate::workflow::{DeadlineOf, job_key};

impl Draft<'_> {
    /// Sets the deadlines of jobs that count from the start of their execution.
    pub(super) fn begin_deadlines(&mut self, id: WorkflowExecutionId, compiled: &Compiled) {
        let now = self.now();
        for job in &compiled.workflow.jobs {
            if let Some(deadline) = job.deadline.filter(|deadline| deadline.of == DeadlineOf::WorkflowExecution) {
                self.change_job_state(id, &job.name, |state| state.deadline = Some(now + deadline.after));
            }
        }
    }

    /// The deadline of a job that counts from its own start is over, and it is not done.
    pub(super) fn on_job_deadline(&mut self, id: JobExecutionId) {
        let Some(job) = self.job_mut(id) else { return };
        let due = job.due.remove(&JobTimer::Deadline);
        let known = json!({ "job_execution": id.to_string(), "status": job.status.as_str(), "deadline": rfc3339(due) });
        let (execution, name) = (job.workflow_execution, job.job.clone());
        self.say_late(execution, Some(&name), known);
    }

    /// A deadline that counts from the start of the workflow execution is over.
    pub(super) fn on_deadline(&mut self, id: WorkflowExecutionId, job: Option<&JobName>, due: Timestamp) {
        let is_due = |deadline: Option<Timestamp>| deadline == Some(due);
        let deadline = rfc3339(Some(due));
        let known = match job {
            None => {
                let Some(execution) = self.execution_mut(id).filter(|execution| is_due(execution.deadline)) else {
                    return;
                };
                execution.deadline = None;
                json!({ "status": execution.status.as_str(), "deadline": deadline })
            }
            Some(job) => {
                let Some(state) = self.job_state(id, job).filter(|state| is_due(state.deadline)) else { return };
                let (current, succeeded, last) = (state.current, state.succeeded, state.last);
                let live = current.and_then(|id| self.job(id)).map(|job| job.status);
                self.change_job_state(id, job, |state| state.deadline = None);
                if succeeded || live == Some(JobStatus::Ready) {
                    return;
                }
                json!({ "status": live.or(last).map(JobStatus::as_str), "deadline": deadline })
            }
        };
        self.say_late(id, job, known);
    }

    fn say_late(&mut self, id: WorkflowExecutionId, job: Option<&JobName>, known: Value) {
        let quiet = self.is_quiet(id);
        let Some(execution) = self.execution(id) else { return };
        let key = job.map_or_else(|| execution.workflow.to_string(), |job| job_key(&execution.workflow, job));
        let sender = job.map_or(execution.workflow.as_str(), JobName::as_str);
        let behind = execution.cause.hops;
        let mut event = NewEvent::identified("", execution.project.as_str(), key)
            .event_type(DEADLINE_MISSED)
            .value(known)
            .sender(sender)
            .for_execution(id);
        event.context.quiet = quiet;
        self.emit(event, behind);
    }

    /// Publishes what the hooks of a job say of its ending. Before the ending is announced: a rule of the same execution that is to
    /// follow is then heard before the execution may end.
    pub(super) fn run_job_hooks(&mut self, id: JobExecutionId, status: JobStatus) {
        let Some(hooks) = self.definition_of(id).filter(|job| !job.hooks.is_empty()).map(|job| job.hooks.clone())
        else {
            return;
        };
        let Some(job) = self.job(id).cloned() else { return };
        let known = || {
            json!({
                "workflow": job.workflow.as_str(), "execution": job.workflow_execution.to_string(), "job": job.job.as_str(),
                "job_execution": id.to_string(), "status": status.as_str(), "ending": job.ending,
            })
        };
        let quiet = self.is_quiet(job.workflow_execution);
        for hook in hooks.iter().filter(|hook| hook.is_of_job(status)) {
            let mut event = hook.event(job.project.as_str(), known).sender(job.job.as_str());
            event.context.attempt = Some(job.attempt_id());
            event.context.quiet = quiet;
            if !hook.broadcast {
                event = event.for_execution(job.workflow_execution);
            }
            self.emit(event, job.cause.hops);
        }
    }

    /// Publishes what the hooks of a workflow say of the ending of one of its executions.
    pub(super) fn run_workflow_hooks(&mut self, id: WorkflowExecutionId, status: WorkflowStatus) {
        let Some(compiled) = self.definition(id).filter(|compiled| !compiled.workflow.hooks.is_empty()) else {
            return;
        };
        let quiet = self.is_quiet(id);
        let Some(execution) = self.execution(id) else { return };
        let (workflow, project, hops) = (execution.workflow.clone(), execution.project.clone(), execution.cause.hops);
        let known = || json!({ "workflow": workflow.as_str(), "execution": id.to_string(), "status": status.as_str() });
        for hook in compiled.workflow.hooks.iter().filter(|hook| hook.is_of_workflow(status)) {
            let mut event = hook.event(project.as_str(), known).sender(workflow.as_str());
            event.context.quiet = quiet;
            self.emit(event, hops);
        }
    }
}

fn rfc3339(moment: Option<Timestamp>) -> Value {
    moment.map(|moment| moment.to_rfc3339()).into()
}
