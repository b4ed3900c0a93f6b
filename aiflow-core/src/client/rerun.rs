//! Reruns: what would running an ended execution again come to, and how is it asked for?

use std::collections::{BTreeMap, BTreeSet};

use super::AiFlow;
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventFilter;
use crate::execution::JobExecution;
use crate::id::{JobExecutionId, JobName, Offset, WorkflowExecutionId, random_id};
use crate::records::{WorkflowVersion, body_of, job_execution_key, rerun_key, rerun_put, workflow_version_key};
use crate::rerun::{FirstRun, Rerun, RerunPlan};
use crate::store::{Batch, MetaStoreExt as _, PAGE_ROWS_MAX, RecordKey};

/// How many events are read at a time.
const SOURCES_PAGE_EVENTS: usize = 64;

impl AiFlow {
    /// What running an ended execution again comes to, before anything happens: which results stand, which jobs start, and which wait for
    /// them. The new execution has the newest version of the workflow, the parameters of the first run with those of `rerun` above them, its
    /// context and its labels.
    ///
    /// ```no_run
    /// # use aiflow_core::{client::AiFlow, rerun::Rerun, id::WorkflowExecutionId};
    /// # async fn example(aiflow: &AiFlow, ended: WorkflowExecutionId) -> aiflow_core::Result<()> {
    /// let plan = aiflow.plan_rerun(ended, Rerun::from_failed()).await?;
    /// println!("{plan}");
    /// let execution = aiflow.rerun(&plan).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `NotFound`: the execution, a job that was chosen, or a job execution whose result would stand is not there. `Invalid`: it has not
    /// ended, it is one of another project, nothing would start, or the parameters are not those that the version declares. `Full`: it is
    /// larger than [`RERUN_JOBS_MAX`](crate::rerun::RERUN_JOBS_MAX) or [`RERUN_EVENTS_MAX`](crate::rerun::RERUN_EVENTS_MAX) allow. Others are
    /// those of the store and the log.
    pub async fn plan_rerun(&self, execution: WorkflowExecutionId, rerun: Rerun) -> Result<RerunPlan> {
        let missing = |what: &str| Error::not_found("plan rerun", format!("{what} is not in the store"));
        let Some(before) = self.execution(execution).await? else {
            return Err(missing("the execution").with("execution", execution));
        };
        if before.project != *self.project_name() {
            return Err(Error::invalid("plan rerun", "the execution belongs to another project than this handle")
                .with("of", &before.project)
                .with("handle", self.project_name()));
        }
        let key = workflow_version_key(&before.project, &before.workflow, before.version);
        let first_version: WorkflowVersion =
            body_of(&self.store().get_one(&key).await?.ok_or_else(|| missing("its version"))?)?;
        let newest =
            self.latest_workflow_version(&before.workflow).await?.ok_or_else(|| missing("the newest version"))?;
        let jobs = self.jobs_of(&before).await?;
        let last: Vec<(JobName, JobExecutionId)> =
            jobs.iter().filter_map(|(name, job)| Some((name.clone(), job.last_execution?))).collect();
        let ran = self.executions_of_jobs(&last).await?;
        let sources = self.sources(FirstRun::events(&jobs, &ran)).await?;
        let definition = &first_version.workflow;
        let first = FirstRun { execution: &before, jobs: &jobs, ran: &ran, sources: &sources, definition };
        RerunPlan::new(random_id(), &first, newest.version, &newest.workflow, &rerun)
    }

    /// Asks for what a plan says, durably, and returns the id of the new execution. Asking again with the same plan returns the same execution.
    ///
    /// The scheduler refuses a plan if a newer version of the workflow is in use by then; [`wait`](Self::wait) tells so.
    ///
    /// # Errors
    /// Those of the store and the log.
    pub async fn rerun(&self, plan: &RerunPlan) -> Result<WorkflowExecutionId> {
        let batch = Batch::at(self.clock().now()).expect(rerun_key(&plan.id), None).put(rerun_put(plan));
        match self.store().commit(batch).await {
            Ok(_) => {}
            // It was asked for before.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::OutcomeUnknown) => {
                let stored = self.store().get_one(&rerun_key(&plan.id)).await?;
                if stored.is_none_or(|stored| stored.body != rerun_put(plan).body) {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        let request = Control::RerunExecution { execution: plan.execution, plan: plan.id.clone() };
        let offset = self.request(request.into_event(format!("rerun:{}", plan.id))).await?;
        Ok(WorkflowExecutionId::new(offset, 0))
    }

    async fn executions_of_jobs(&self, last: &[(JobName, JobExecutionId)]) -> Result<BTreeMap<JobName, JobExecution>> {
        let mut found = BTreeMap::new();
        for last in last.chunks(PAGE_ROWS_MAX) {
            let keys: Vec<RecordKey> = last.iter().map(|(_, id)| job_execution_key(*id)).collect();
            for ((job, id), record) in last.iter().zip(self.store().get(&keys).await?) {
                let record = record.ok_or_else(|| {
                    Error::not_found("plan rerun", "the last execution of a job is not in the store any more")
                        .with("job", job)
                        .with("job_execution", id)
                })?;
                found.insert(job.clone(), body_of(&record)?);
            }
        }
        Ok(found)
    }

    /// From which job execution each of these events comes. What was trimmed from the log comes from none.
    async fn sources(&self, events: BTreeSet<Offset>) -> Result<BTreeMap<Offset, JobExecutionId>> {
        let mut sources = BTreeMap::new();
        let mut known_to = Offset::START;
        for offset in &events {
            if *offset <= known_to {
                continue;
            }
            let before = Offset(offset.0.saturating_sub(1));
            let page = match self.bus().read(before, &EventFilter::all(), SOURCES_PAGE_EVENTS).await {
                Ok(page) => page,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for event in page.events.iter().filter(|event| events.contains(&event.offset)) {
                sources.extend(event.context.attempt.map(|attempt| (event.offset, attempt.job_execution)));
            }
            known_to = page.covered.max(*offset);
        }
        Ok(sources)
    }
}
