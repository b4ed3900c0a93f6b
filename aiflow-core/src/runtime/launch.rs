//! Launches: what is an executor given for an attempt?

use std::sync::Arc;

use crate::engine::LaunchPlan;
use crate::event::Event;
use crate::executor::Launch;

/// The launch of the current attempt, with those of its events that are at hand.
pub(super) fn launch_of(plan: LaunchPlan<'_>, epoch: u64, events: Vec<Arc<Event>>) -> Launch {
    let LaunchPlan { execution, job, params } = plan;
    Launch {
        attempt: execution.attempt_id(),
        epoch,
        project: execution.project.clone(),
        workflow: execution.workflow.clone(),
        workflow_execution: execution.workflow_execution,
        job: execution.job.clone(),
        spec: job.spec.clone(),
        params,
        events,
        checkpoint: execution.checkpoint.as_ref().map(|checkpoint| checkpoint.value.clone()),
        timeout: job.timeout,
        heartbeat_timeout: job.heartbeat_timeout,
        stop_grace: job.stop_grace,
        ends_with_host: false,
    }
}
