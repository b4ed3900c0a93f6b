//! Searches: which executions and records are like this?

use super::AiFlow;
use crate::error::Result;
use crate::execution::{JobExecution, KIND_JOB_EXECUTION, KIND_WORKFLOW_EXECUTION, WorkflowExecution};
use crate::records::body_of;
use crate::search::Search;
use crate::store::{Page, PageToken, Record};

impl AiFlow {
    /// The workflow executions of this project that `text` describes, in its order; see [the language](crate::search). Tags are those of their
    /// [annotations](Self::annotations), metrics those recorded of the execution.
    ///
    /// ```no_run
    /// # async fn example(aiflow: &aiflow_core::client::AiFlow) -> aiflow_core::Result<()> {
    /// let failed = aiflow.search_executions("status = 'FAILED' and labels.owner = 'ada' and created > '2026-03-01'", None).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Invalid`: the text, with the column where it is wrong, or a token of another search. Others are those of the store.
    pub async fn search_executions(&self, text: &str, after: Option<PageToken>) -> Result<Page<WorkflowExecution>> {
        self.found(KIND_WORKFLOW_EXECUTION, text, after).await
    }

    /// The job executions of this project that `text` describes; as [`search_executions`](Self::search_executions).
    ///
    /// # Errors
    /// As [`search_executions`](Self::search_executions).
    pub async fn search_job_executions(&self, text: &str, after: Option<PageToken>) -> Result<Page<JobExecution>> {
        self.found(KIND_JOB_EXECUTION, text, after).await
    }

    /// The records of any kind that `text` describes, in this project.
    ///
    /// # Errors
    /// As [`search_executions`](Self::search_executions).
    pub async fn search(&self, kind: &str, text: &str, after: Option<PageToken>) -> Result<Page<Record>> {
        self.store().search(&Search::parse(kind, text)?.project(self.project_name().as_str()).after(after)).await
    }

    async fn found<T>(&self, kind: &str, text: &str, after: Option<PageToken>) -> Result<Page<T>>
    where
        T: serde::de::DeserializeOwned,
    {
        let page = self.search(kind, text, after).await?;
        let items: Result<Vec<T>> = page.items.iter().map(body_of).collect();
        Ok(Page { items: items?, next: page.next })
    }
}
