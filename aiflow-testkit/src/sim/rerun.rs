//! Reruns in a world: an operator runs again what has ended, and everything that was planned has happened.

use std::sync::Arc;

use aiflow_core::client::AiFlow;
use aiflow_core::execution::{KIND_WORKFLOW_EXECUTION, WorkflowExecution, WorkflowStatus};
use aiflow_core::id::WorkflowExecutionId;
use aiflow_core::records::body_of;
use aiflow_core::rerun::{KIND_RERUN, Rerun, RerunPlan, RerunStep};
use aiflow_core::store::{MetaStoreExt as _, Query};
use aiflow_core::{ErrorKind, Result, Retry};

use super::check::{Checker, State};
use super::clients::RETRY_PAUSE;
use super::process::Shared;
use super::workload::{job_name, one_of, project};
use crate::Backend;

/// Plans to run one of the ended executions again, and asks for it until that is acknowledged.
pub(super) async fn run_again(connection: &Backend, shared: &Arc<Shared>, order: u32) {
    let plan = match planned(connection, shared).await {
        Ok(Some(plan)) => RerunPlan { id: format!("plan-{order}"), ..plan },
        Ok(None) => return,
        Err(error) => {
            let expected = [ErrorKind::Invalid, ErrorKind::NotFound, ErrorKind::Unavailable, ErrorKind::OutcomeUnknown];
            if !expected.contains(&error.kind()) {
                shared.ledger.violate("I29", format!("a rerun cannot be planned: {error}"));
            }
            return;
        }
    };
    shared.ledger.count("rerun");
    let Ok(flow) = flow(connection, shared) else { return };
    while let Err(error) = flow.rerun(&plan).await {
        // A commit that is still under way may be in the way of its repetition.
        if error.retry() == Retry::Never && error.kind() != ErrorKind::Conflict {
            return shared.ledger.violate("I29", format!("a plan was refused: {error}"));
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

fn flow(connection: &Backend, shared: &Arc<Shared>) -> Result<AiFlow> {
    let flow = AiFlow::new(Arc::clone(&connection.store), Arc::clone(&connection.bus))?;
    flow.with_clock(Arc::clone(&shared.clock) as Arc<_>).project(project())
}

async fn planned(connection: &Backend, shared: &Arc<Shared>) -> Result<Option<RerunPlan>> {
    let ended = WorkflowStatus::ALL.iter().filter(|status| status.is_terminal()).map(|status| status.as_str());
    let rows = connection.store.query_all(Query::kind(KIND_WORKFLOW_EXECUTION).states(ended), 100_000).await?;
    let ended: Result<Vec<WorkflowExecution>> = rows.iter().map(body_of).collect();
    let ids: Vec<WorkflowExecutionId> = ended?.iter().map(|execution| execution.id).collect();
    let (id, rerun) = shared.ledger.draw(|rng| {
        let from_job = rng.chance(60).then(|| one_of(rng, &[0, 1, 2, 3, 4]).unwrap_or(0));
        let rerun = from_job.map_or_else(Rerun::from_failed, |job| Rerun::from_job(job_name(job).as_str()));
        (one_of(rng, &ids), rerun)
    });
    let Some(id) = id else { return Ok(None) };
    flow(connection, shared)?.plan_rerun(id, rerun).await.map(Some)
}

impl Checker<'_> {
    /// I29: an execution that runs another one again has done what its plan says.
    pub(super) fn reruns(&self, state: &State) {
        let plans = state.records.values().filter(|record| record.key.kind == KIND_RERUN);
        for plan in plans.filter_map(|record| body_of::<RerunPlan>(record).ok()) {
            let request = format!("rerun:{}", plan.id);
            let Some(request) = state.log.iter().find(|event| event.id == request) else { continue };
            let id = WorkflowExecutionId::new(request.offset, 0);
            let Some(again) = state.executions().into_iter().find(|execution| execution.id == id) else { continue };
            if again.rerun_of != Some(plan.execution) || again.version < plan.version {
                self.violate("I29", format!("{id} is not a rerun of {}", plan.execution));
            }
            for (job, planned) in &plan.jobs {
                let RerunStep::Starts { repeats: Some(repeated), .. } = &planned.step else { continue };
                let jobs = state.jobs();
                let n =
                    jobs.iter().filter(|job| job.workflow_execution == id && job.repeats == Some(repeated.execution));
                let n = n.count();
                if n != 1 {
                    self.violate("I29", format!("{id} repeats {} of {job} {n} times", repeated.execution));
                }
                self.ledger.count("repeated job");
            }
        }
    }
}
