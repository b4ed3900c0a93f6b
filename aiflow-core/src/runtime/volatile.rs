//! Attempts that live in this process: which ones must end when another process may lead?

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::execution::{JobExecution, JobStatus};
use crate::executor::Executor;
use crate::id::{AttemptId, ExecutorName, JobExecutionId};

/// The live attempts of executors that do not survive their host, as far as this leader has decided. It outlives the driver, and needs no
/// store: what the next leader makes of these jobs meanwhile does not matter.
#[derive(Debug, Default)]
pub(super) struct Volatile(Mutex<BTreeMap<JobExecutionId, (ExecutorName, AttemptId)>>);

impl Volatile {
    /// Takes in how these job executions stand now.
    pub(super) fn note<'a>(
        &self,
        executors: &BTreeMap<ExecutorName, Arc<dyn Executor>>,
        jobs: impl Iterator<Item = &'a JobExecution>,
    ) {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for job in jobs {
            let dies_with_host =
                executors.get(&job.executor).is_some_and(|executor| !executor.capabilities().survives_host);
            let is_waiting = matches!(job.status, JobStatus::Init | JobStatus::Retrying);
            let is_here = job.placement.host.is_none();
            if is_here && dies_with_host && !is_waiting && !job.status.is_terminal() {
                attempts.insert(job.id, (job.executor.clone(), job.attempt_id()));
            } else {
                attempts.remove(&job.id);
            }
        }
    }

    /// The live attempts of each executor.
    pub(super) fn into_attempts(self) -> BTreeMap<ExecutorName, Vec<AttemptId>> {
        let attempts = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut by_executor: BTreeMap<ExecutorName, Vec<AttemptId>> = BTreeMap::new();
        for (executor, attempt) in attempts.into_values() {
            by_executor.entry(executor).or_default().push(attempt);
        }
        by_executor
    }
}
