//! Reruns: how does a new execution take over what an ended one left?

use std::sync::Arc;

use serde_json::Value;

use super::decision::NewFiring;
use super::state::{Draft, workflow_key};
use crate::execution::{Firing, JobStatus, StartRequest};
use crate::id::WorkflowExecutionId;
use crate::rerun::{RerunPlan, RerunStep};
use crate::workflow::{Workflow, WorkflowAction};

impl Draft<'_> {
    /// Takes in that an ended execution is to be run again: a start by hand, which brings along what it takes over.
    pub(super) fn request_rerun(&mut self, plan: &Arc<RerunPlan>, by_hand: Firing) {
        let key = workflow_key(&plan.project, &plan.workflow);
        match self.workflow(&key).map(|state| (state.enabled, self.check_version(plan))) {
            None => self.refuse(format!("workflow {key} is not known")),
            Some((false, _)) => self.refuse(format!("workflow {key} is disabled")),
            Some((true, Err(reason))) => self.refuse(reason),
            Some((true, Ok(()))) => {
                let request = StartRequest {
                    params: plan.params.clone(),
                    context: plan.context.clone(),
                    labels: plan.labels.clone(),
                    rerun: Some(Arc::clone(plan)),
                    by_hand: true,
                    ..StartRequest::default()
                };
                self.request_start(&key, WorkflowAction::Start, by_hand, request);
            }
        }
    }

    /// Whether a start that waited can still be done as its plan says.
    pub(super) fn check_plan(&self, firing: &NewFiring) -> Result<(), String> {
        firing.record.request.rerun.as_ref().map_or(Ok(()), |plan| self.check_version(plan))
    }

    fn check_version(&self, plan: &RerunPlan) -> Result<(), String> {
        let newest = self.workflow(&workflow_key(&plan.project, &plan.workflow)).map_or(0, |state| state.version);
        if newest == plan.version {
            return Ok(());
        }
        Err(format!("the plan is one for version {}, and {newest} is the newest: plan again", plan.version))
    }

    /// Lets the results stand that do, then starts what is to start.
    pub(super) fn begin_rerun(&mut self, id: WorkflowExecutionId, plan: &RerunPlan, definition: &Workflow) {
        for (name, job) in &plan.jobs {
            let reused = match job.step {
                RerunStep::Reused { execution } => Some(execution),
                RerunStep::Starts { .. } | RerunStep::Waits { .. } => None,
            };
            if reused.is_some() || job.checkpoint.is_some() {
                self.change_job_state(id, name, |state| {
                    state.checkpoint.clone_from(&job.checkpoint);
                    state.succeeded = reused.is_some();
                    state.last = reused.map(|_| JobStatus::Succeeded);
                    state.last_execution = reused;
                });
            }
        }
        let asked = self.firing(None, vec![self.event.offset]);
        for job in &definition.jobs {
            let Some(RerunStep::Starts { repeats, .. }) = plan.jobs.get(&job.name).map(|job| &job.step) else {
                continue;
            };
            let (cause, params) = match repeats.as_deref() {
                None => (asked.clone(), &Value::Null),
                Some(repeated) => match (&repeated.cause.rule, &repeated.cause.schedule) {
                    (None, None) => (asked.clone(), &repeated.params),
                    _ => (repeated.cause.clone(), &repeated.params),
                },
            };
            self.create_job(id, &job.name, cause, params);
            let created = self.live_job(id, &job.name);
            if let (Some(job), Some(repeated)) = (created.and_then(|id| self.job_mut(id)), repeats) {
                job.repeats = Some(repeated.execution);
            }
        }
    }
}
