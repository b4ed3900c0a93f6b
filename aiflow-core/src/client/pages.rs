//! Pages: how are workflows, their versions and their executions listed, however many there are?

use serde::de::DeserializeOwned;

use super::AiFlow;
use crate::error::Result;
use crate::execution::{
    JobExecution, KIND_JOB_EXECUTION, KIND_WORKFLOW, KIND_WORKFLOW_EXECUTION, KIND_WORKFLOW_VERSION, WorkflowExecution,
    WorkflowState,
};
use crate::id::{WorkflowExecutionId, WorkflowName};
use crate::meta::Listing;
use crate::records::{WorkflowVersion, body_of, workflow_id};
use crate::store::{Page, Query};

/// The states of workflows that are not deleted.
pub(super) const LIVE_STATES: [&str; 2] = ["ENABLED", "DISABLED"];

impl AiFlow {
    /// One page of the workflows of this project that a scheduler has seen. Their states are `ENABLED`, `DISABLED` and `DELETED`.
    ///
    /// # Errors
    /// `Invalid` if the token is not one of this store; others are those of the store.
    pub async fn workflows_page(&self, listing: &Listing) -> Result<Page<WorkflowState>> {
        let query = Query::kind(KIND_WORKFLOW).project(self.project_name().as_str());
        self.page_of(query, &listing.clone().or_states(LIVE_STATES)).await
    }

    /// One page of the submitted versions of a workflow.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, or the token is not one of this store; others are those of the store.
    pub async fn workflow_versions(
        &self,
        workflow: impl AsRef<str>,
        listing: &Listing,
    ) -> Result<Page<WorkflowVersion>> {
        self.page_of(self.parts(KIND_WORKFLOW_VERSION, workflow.as_ref())?, listing).await
    }

    /// The newest submitted version of a workflow with this [content hash](crate::workflow::Workflow::content_hash).
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn workflow_version_of_hash(
        &self,
        workflow: impl AsRef<str>,
        hash: &str,
    ) -> Result<Option<WorkflowVersion>> {
        let query = self.parts(KIND_WORKFLOW_VERSION, workflow.as_ref())?;
        let mut listing = Listing::new().newest_first();
        loop {
            let page = self.page_of::<WorkflowVersion>(query.clone(), &listing).await?;
            let found = page.items.into_iter().find(|version| version.hash == hash);
            if found.is_some() || page.next.is_none() {
                return Ok(found);
            }
            listing = listing.after(page.next);
        }
    }

    /// One page of the executions of a workflow. Their states are their statuses in capitals.
    ///
    /// # Errors
    /// As [`workflow_versions`](Self::workflow_versions).
    pub async fn executions_page(
        &self,
        workflow: impl AsRef<str>,
        listing: &Listing,
    ) -> Result<Page<WorkflowExecution>> {
        self.page_of(self.parts(KIND_WORKFLOW_EXECUTION, workflow.as_ref())?, listing).await
    }

    /// One page of the job executions of a workflow execution. Their states are their statuses in capitals.
    ///
    /// # Errors
    /// `Invalid` if the token is not one of this store; others are those of the store.
    pub async fn job_executions_page(
        &self,
        execution: WorkflowExecutionId,
        listing: &Listing,
    ) -> Result<Page<JobExecution>> {
        self.page_of(Query::kind(KIND_JOB_EXECUTION).parent(execution.to_string()), listing).await
    }

    fn parts(&self, kind: &str, workflow: &str) -> Result<Query> {
        Ok(Query::kind(kind).parent(workflow_id(self.project_name(), &WorkflowName::parse(workflow)?)))
    }

    async fn page_of<T: DeserializeOwned>(&self, query: Query, listing: &Listing) -> Result<Page<T>> {
        let page = self.store().query(&listing.query(query)).await?;
        Ok(Page { items: page.items.iter().map(body_of).collect::<Result<_>>()?, next: page.next })
    }
}
