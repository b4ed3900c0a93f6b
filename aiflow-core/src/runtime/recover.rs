//! Taking over: what does a new leader find, and how does it come to agree with the executors?
//!
//! Both steps may crash and be repeated: what they find out enters the log as reports, like everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Parts;
use super::commit::Cursor;
use crate::engine::{Engine, Snapshot};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::execution::{
    JobExecution, JobState, JobStatus, KIND_FIRING, KIND_JOB_EXECUTION, KIND_JOB_STATE, KIND_METER, KIND_POOL,
    KIND_WORKFLOW, KIND_WORKFLOW_EXECUTION, Meter, Pool, WorkflowExecution, WorkflowState, WorkflowStatus,
};
use crate::executor::{Ending, Executor, OBSERVE_MAX, Observation, Report, ReportKind};
use crate::host::{HostState, KIND_HOST};
use crate::id::{AttemptId, ExecutorName, JobExecutionId, ProjectName, WorkflowName};
use crate::records::{FIRING_WAITING, WorkflowVersion, body_of, firing_of, workflow_version_key};
use crate::store::{MetaStore, MetaStoreExt as _, PAGE_ROWS_MAX, QUERY_PARENTS_MAX, Query, RecordKey};
use crate::time::Timestamp;
use crate::transfer::refuse_part;

/// The most workflows, live workflow executions or live job executions that a scheduler takes over.
pub const LIVE_ROWS_MAX: usize = 10_000_000;

/// The engine as the last leader left it, and its cursor. Call it while holding the lease: nobody else commits then.
pub(super) async fn load(parts: &Parts) -> Result<(Engine, Cursor)> {
    let store = &*parts.store;
    refuse_part(store, "load state").await?;
    let cursor = Cursor::read(store).await?;
    let workflows: Vec<WorkflowState> = read(store, Query::kind(KIND_WORKFLOW)).await?;
    let live = WorkflowStatus::ALL.iter().filter(|status| !status.is_terminal()).map(|status| status.as_str());
    let executions: Vec<WorkflowExecution> = read(store, Query::kind(KIND_WORKFLOW_EXECUTION).states(live)).await?;
    let mut job_states: Vec<JobState> = Vec::new();
    for executions in executions.chunks(QUERY_PARENTS_MAX) {
        let parents = executions.iter().map(|execution| execution.id.to_string());
        job_states.extend(read(store, Query::kind(KIND_JOB_STATE).parents(parents)).await?);
    }
    let live = JobStatus::ALL.iter().filter(|status| !status.is_terminal()).map(|status| status.as_str());
    let jobs: Vec<JobExecution> = read(store, Query::kind(KIND_JOB_EXECUTION).states(live)).await?;
    let mut versions: BTreeSet<(&ProjectName, &WorkflowName, u32)> = BTreeSet::new();
    versions.extend(workflows.iter().map(|workflow| (&workflow.project, &workflow.name, workflow.version)));
    versions.extend(executions.iter().map(|execution| (&execution.project, &execution.workflow, execution.version)));
    let keys: Vec<RecordKey> =
        versions.into_iter().map(|(project, name, version)| workflow_version_key(project, name, version)).collect();
    let mut definitions = Vec::with_capacity(keys.len());
    for keys in keys.chunks(PAGE_ROWS_MAX) {
        for (key, record) in keys.iter().zip(store.get(keys).await?) {
            let record = record.ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "load state", "a workflow version is missing").with("key", key)
            })?;
            let version: WorkflowVersion = body_of(&record)?;
            definitions.push((version.version, Arc::new(version.workflow)));
        }
    }
    let waiting = Query::kind(KIND_FIRING).states([FIRING_WAITING]);
    let firings: Result<_> = store.query_all(waiting, LIVE_ROWS_MAX).await?.iter().map(firing_of).collect();
    let meters: Vec<Meter> = read(store, Query::kind(KIND_METER)).await?;
    let pools: Vec<Pool> = read(store, Query::kind(KIND_POOL)).await?;
    let hosts: Vec<HostState> = read(store, Query::kind(KIND_HOST)).await?;
    let firings = firings?;
    let snapshot = Snapshot { workflows, definitions, executions, job_states, jobs, firings, meters, pools, hosts };
    Ok((Engine::restore(snapshot).with_conditions(parts.customs.clone()), cursor))
}

async fn read<T: serde::de::DeserializeOwned>(store: &dyn MetaStore, query: Query) -> Result<Vec<T>> {
    store.query_all(query, LIVE_ROWS_MAX).await?.iter().map(body_of).collect()
}

/// The ending of an attempt that its executor does not know any more.
pub(super) fn lost_with_host() -> Ending {
    Ending::Lost { message: "its host died or forgot it".to_owned() }
}

/// What is to be done about attempts that the last leader left behind.
#[derive(Debug, Default)]
pub(super) struct Reconciliation {
    /// What the executors know and the log does not.
    pub(super) reports: Vec<Report>,
    /// Attempts to submit (again): the executor makes the repetition harmless.
    pub(super) submit: Vec<JobExecutionId>,
    /// Attempts to hand values to (again).
    pub(super) signal: Vec<JobExecutionId>,
    /// Attempts to stop (again).
    pub(super) stop: Vec<JobExecutionId>,
    /// Attempts of which the platform cannot say now how they stand: to be asked for again.
    pub(super) unknown: BTreeSet<AttemptId>,
}

/// Asks the executors for these live attempts.
pub(super) async fn reconcile<'a>(
    attempts: impl Iterator<Item = &'a JobExecution>,
    executors: &BTreeMap<ExecutorName, Arc<dyn Executor>>,
    now: Timestamp,
) -> Result<Reconciliation> {
    let mut by_executor: BTreeMap<&ExecutorName, Vec<&JobExecution>> = BTreeMap::new();
    for job in attempts {
        by_executor.entry(&job.executor).or_default().push(job);
    }
    let mut found = Reconciliation::default();
    for (name, jobs) in by_executor {
        let executor = executors.get(name);
        for jobs in jobs.chunks(OBSERVE_MAX) {
            let attempts: Vec<_> = jobs.iter().map(|job| job.attempt_id()).collect();
            let observed = match executor {
                Some(executor) => match executor.observe(&attempts).await {
                    Err(error) if error.retry() != Retry::Never => {
                        tracing::warn!(%error, executor = %name, "attempts cannot be looked up; trying again");
                        vec![Observation::Unknown; jobs.len()]
                    }
                    observed => observed?,
                },
                None => vec![Observation::NotFound; jobs.len()],
            };
            for (job, observation) in jobs.iter().zip(observed) {
                found.settle(job, observation, executor, now);
            }
        }
    }
    Ok(found)
}

impl Reconciliation {
    fn settle(
        &mut self,
        job: &JobExecution,
        observation: Observation,
        executor: Option<&Arc<dyn Executor>>,
        now: Timestamp,
    ) {
        let survives = executor.is_some_and(|executor| executor.capabilities().survives_host);
        let is_stopping = job.status == JobStatus::Stopping || job.exceeded.is_some();
        let mut report = |kind| self.reports.push(Report { attempt: job.attempt_id(), at: now, kind });
        match observation {
            Observation::Ended(ending) => report(ReportKind::Ended(ending)),
            Observation::NotFound if job.status == JobStatus::Stopping => report(ReportKind::Ended(Ending::Stopped)),
            // It was to stop because nobody had accepted it in time.
            Observation::NotFound if is_stopping && job.status == JobStatus::Queued => {
                report(ReportKind::Ended(Ending::Stopped));
            }
            // Only an executor that remembers attempts across its host's death can be given the same one again.
            Observation::NotFound if survives && job.status == JobStatus::Queued => self.submit.push(job.id),
            Observation::NotFound => {
                report(ReportKind::Ended(lost_with_host()));
            }
            Observation::Running if job.status == JobStatus::Queued => {
                let logs = executor.and_then(|executor| executor.log_location(job.attempt_id()));
                report(ReportKind::Started { logs });
            }
            Observation::Unknown => {
                self.unknown.insert(job.attempt_id());
            }
            Observation::Running | Observation::Queued => {
                if job.signals.iter().any(|pending| pending.due.is_some()) {
                    self.signal.push(job.id);
                }
            }
        }
        if is_stopping {
            self.stop.push(job.id);
        }
    }
}
