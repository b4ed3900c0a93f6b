//! Jobs within a workflow execution: what runs, and how did it end?

use std::collections::BTreeMap;

use super::AiFlow;
use crate::error::Result;
use crate::execution::{JobState, JobStatus, KIND_JOB_STATE, WorkflowExecution};
use crate::id::{JobName, WorkflowExecutionId};
use crate::records::{WorkflowVersion, body_of, job_state_key, workflow_version_key};
use crate::store::{MetaStoreExt as _, Query};

/// The most jobs of one workflow execution that are listed.
const JOBS_LISTED_MAX: usize = 100_000;

impl AiFlow {
    /// The jobs of a workflow execution by name: while it runs, those that something has happened to; after its end all of them, with the
    /// last status `Skipped` where none was ever started. Empty if there is no such execution.
    ///
    /// # Errors
    /// `Full` if there are more than 100,000; others are those of the store.
    pub async fn jobs(&self, execution: WorkflowExecutionId) -> Result<BTreeMap<JobName, JobState>> {
        match self.execution(execution).await? {
            Some(found) => self.jobs_of(&found).await,
            None => Ok(BTreeMap::new()),
        }
    }

    /// One job of a workflow execution; `None` if nothing has happened to it.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn job_state(&self, execution: WorkflowExecutionId, job: impl AsRef<str>) -> Result<Option<JobState>> {
        let record = self.store().get_one(&job_state_key(execution, &JobName::parse(job)?)).await?;
        record.as_ref().map(body_of).transpose()
    }

    pub(super) async fn jobs_of(&self, execution: &WorkflowExecution) -> Result<BTreeMap<JobName, JobState>> {
        let query = Query::kind(KIND_JOB_STATE).parent(execution.id.to_string());
        let records = self.store().query_all(query, JOBS_LISTED_MAX).await?;
        let mut jobs = BTreeMap::new();
        for record in &records {
            let job: JobState = body_of(record)?;
            jobs.insert(job.job.clone(), job);
        }
        if execution.status.is_terminal() {
            let key = workflow_version_key(&execution.project, &execution.workflow, execution.version);
            let version: Option<WorkflowVersion> =
                self.store().get_one(&key).await?.as_ref().map(body_of).transpose()?;
            for job in version.into_iter().flat_map(|version| version.workflow.jobs) {
                let new = || JobState::new(execution.id, execution.project.clone(), job.name.clone());
                jobs.entry(job.name.clone()).or_insert_with(new).last.get_or_insert(JobStatus::Skipped);
            }
        }
        Ok(jobs)
    }
}
