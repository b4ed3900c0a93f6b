//! Sizes: what follows from one event fits into one transaction, also in the widest workflow that may be submitted.

use aiflow_core::engine::Decision;
use aiflow_core::store::BATCH_ITEMS_MAX;
use aiflow_core::workflow::JOBS_MAX;

use super::world::World;

fn items(decision: &Decision) -> usize {
    let job_states: usize = decision.job_states.values().map(|jobs| jobs.len()).sum();
    let records = decision.jobs.len() + job_states + decision.executions.len() + decision.firings.len();
    records + decision.workflows.len() + decision.events.len() + 1
}

/// The record of an execution once held all its jobs, and its widest step did not fit into a transaction.
#[test]
fn the_widest_workflow_is_fanned_out_and_stopped_in_one_transaction_each() {
    let jobs: Vec<String> = (1..JOBS_MAX).map(|n| format!("job-{n}: START when status(first SUCCEEDED)")).collect();
    let mut world = World::new(&format!("first: function\n{}", jobs.join("\n")));
    world.play("start | first ok");
    let fanned_out = world.decisions.last().expect("a decision");
    assert_eq!(fanned_out.jobs.len(), JOBS_MAX - 1);
    assert!(items(fanned_out) <= BATCH_ITEMS_MAX, "{}", items(fanned_out));
    world.play("stop");
    let widest = world.decisions.iter().map(items).max().expect("a decision");
    assert!(widest <= BATCH_ITEMS_MAX, "{widest}");
}
