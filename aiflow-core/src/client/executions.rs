//! Executions: how do they stand, and when do they end?

use std::collections::BTreeMap;

use super::AiFlow;
use crate::error::{Error, Result};
use crate::execution::{
    FiringOutcome, FiringRecord, JobExecution, JobState, KIND_FIRING, KIND_JOB_EXECUTION, KIND_WORKFLOW_EXECUTION,
    WorkflowExecution,
};
use crate::id::{JobExecutionId, JobName, WorkflowExecutionId, WorkflowName};
use crate::records::{
    DeadLetter, FIRING_WAITING, body_of, dead_letter_key, job_execution_key, workflow_execution_key, workflow_id,
};
use crate::runtime::scheduler_cursor;
use crate::store::{MetaStoreExt as _, Query, Record, RecordKey};

/// The most job executions of one workflow execution that are listed.
const JOB_EXECUTIONS_LISTED_MAX: usize = 100_000;

impl AiFlow {
    /// How a workflow execution stands; `None` until the scheduler has started it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn execution(&self, id: WorkflowExecutionId) -> Result<Option<WorkflowExecution>> {
        let record = self.store().get_one(&workflow_execution_key(id)).await?;
        record.as_ref().map(body_of).transpose()
    }

    /// The newest executions of a workflow, newest first: at most `limit`, and at most [`PAGE_ROWS_MAX`](crate::store::PAGE_ROWS_MAX).
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn executions(&self, workflow: impl AsRef<str>, limit: usize) -> Result<Vec<WorkflowExecution>> {
        let workflow = WorkflowName::parse(workflow)?;
        let query = Query::kind(KIND_WORKFLOW_EXECUTION).parent(workflow_id(self.project_name(), &workflow));
        self.newest(query, limit).await
    }

    /// How a job execution stands.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn job_execution(&self, id: JobExecutionId) -> Result<Option<JobExecution>> {
        let record = self.store().get_one(&job_execution_key(id)).await?;
        record.as_ref().map(body_of).transpose()
    }

    /// The job executions of a workflow execution, oldest first.
    ///
    /// # Errors
    /// `Full` if there are more than 100,000; others are those of the store.
    pub async fn job_executions(&self, execution: WorkflowExecutionId) -> Result<Vec<JobExecution>> {
        let query = Query::kind(KIND_JOB_EXECUTION).parent(execution.to_string());
        let records = self.store().query_all(query, JOB_EXECUTIONS_LISTED_MAX).await?;
        records.iter().map(body_of).collect()
    }

    /// Waits until a workflow execution has ended and returns it.
    ///
    /// Wrap it in a time limit if no scheduler may be running. An execution that ended before is returned at once.
    ///
    /// # Errors
    /// `Invalid`, with the scheduler's reason, if the start was refused. `NotFound`: it was deleted, or nothing came of the event that it is
    /// named after. Others are those of the store and the log.
    pub async fn wait(&self, execution: WorkflowExecutionId) -> Result<WorkflowExecution> {
        let mut ticket = self.0.waits.ticket(execution, self.head().await?);
        let mut lookup = Lookup { flow: self, execution, held: None };
        loop {
            ticket.forget();
            if let Some(now) = lookup.look().await?
                && now.status.is_terminal()
            {
                return Ok(now);
            }
            ticket.news(&**self.bus()).await?;
        }
    }

    /// Waits until `predicate` holds for a workflow execution and its [`jobs`](Self::jobs), and returns them; they are looked at whenever the
    /// log has grown.
    ///
    /// For the end of an execution [`wait`](Self::wait) is cheaper.
    ///
    /// # Errors
    /// As [`wait`](Self::wait). `Invalid` also if it ends without the predicate having held.
    pub async fn wait_until(
        &self,
        execution: WorkflowExecutionId,
        mut predicate: impl FnMut(&WorkflowExecution, &BTreeMap<JobName, JobState>) -> bool + Send,
    ) -> Result<(WorkflowExecution, BTreeMap<JobName, JobState>)> {
        let mut lookup = Lookup { flow: self, execution, held: None };
        loop {
            // The head is taken before the records are read: whatever changes them afterwards also lies after the head.
            let head = self.head().await?;
            if let Some(now) = lookup.look().await? {
                let jobs = self.jobs_of(&now).await?;
                if predicate(&now, &jobs) {
                    return Ok((now, jobs));
                }
                if now.status.is_terminal() {
                    return Err(Error::invalid("wait", "the execution ended before what was waited for")
                        .with("execution", execution)
                        .with("status", now.status));
                }
            }
            self.bus().wait(head).await?;
        }
    }

    /// The newest firings of job rules in `execution` that made no job execution, newest first: at most `limit`, and at most
    /// [`PAGE_ROWS_MAX`](crate::store::PAGE_ROWS_MAX).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn firings(&self, execution: WorkflowExecutionId, limit: usize) -> Result<Vec<FiringRecord>> {
        let query = Query::kind(KIND_FIRING).parent(execution.to_string());
        self.newest(query, limit).await
    }

    /// The newest firings of a workflow's own rules that made no execution, newest first: at most `limit`, and at most
    /// [`PAGE_ROWS_MAX`](crate::store::PAGE_ROWS_MAX).
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn workflow_firings(&self, workflow: impl AsRef<str>, limit: usize) -> Result<Vec<FiringRecord>> {
        let workflow = WorkflowName::parse(workflow)?;
        let query = Query::kind(KIND_FIRING).parent(workflow_id(self.project_name(), &workflow));
        self.newest(query, limit).await
    }

    pub(super) async fn newest<T: serde::de::DeserializeOwned>(&self, query: Query, limit: usize) -> Result<Vec<T>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let page = self.store().query(&query.newest_first().limit(limit)).await?;
        page.items.iter().map(body_of).collect()
    }
}

/// Looks for an execution that somebody waits for.
struct Lookup<'a> {
    flow: &'a AiFlow,
    execution: WorkflowExecutionId,
    /// The firing that waits to be admitted before it starts, if one was found.
    held: Option<RecordKey>,
}

impl Lookup<'_> {
    /// The execution; `None` if it was not started yet, an error if it never will be, or is not there any more.
    async fn look(&mut self) -> Result<Option<WorkflowExecution>> {
        if let Some(found) = self.found().await? {
            return Ok(Some(found));
        }
        let store = &**self.flow.store();
        if scheduler_cursor(store).await? < self.execution.cause || self.is_held().await? {
            return Ok(None);
        }
        // What it is named after was applied before this look: an execution that is not there now has been.
        match self.found().await? {
            Some(found) => Ok(Some(found)),
            None => Err(Error::not_found(
                "wait",
                "the execution was deleted, or nothing came of the event it is named after",
            )
            .with("execution", self.execution)),
        }
    }

    async fn found(&self) -> Result<Option<WorkflowExecution>> {
        let keys = [workflow_execution_key(self.execution), dead_letter_key(self.execution.cause)];
        let mut found = self.flow.store().get(&keys).await?.into_iter();
        if let Some(record) = found.next().flatten() {
            return body_of(&record).map(Some);
        }
        match found.next().flatten() {
            None => Ok(None),
            Some(record) => {
                let letter: DeadLetter = body_of(&record)?;
                let message = format!("the scheduler refused: {}", letter.reason);
                Err(Error::invalid("start", message).with("execution", self.execution))
            }
        }
    }

    /// Whether its start waits to be admitted. One that was found is remembered, so that the others are gone through once.
    async fn is_held(&mut self) -> Result<bool> {
        let store = self.flow.store();
        let holds = |record: &Record| -> Result<bool> {
            let firing: FiringRecord = body_of(record)?;
            Ok(firing.outcome == FiringOutcome::Waiting && firing.request.execution == Some(self.execution))
        };
        if let Some(key) = &self.held
            && let Some(record) = store.get_one(key).await?
            && holds(&record)?
        {
            return Ok(true);
        }
        let mut query = Query::kind(KIND_FIRING).states([FIRING_WAITING]);
        loop {
            let page = store.query(&query).await?;
            for record in page.items {
                if holds(&record)? {
                    self.held = Some(record.key);
                    return Ok(true);
                }
            }
            match page.next {
                Some(token) => query.after = Some(token),
                None => return Ok(false),
            }
        }
    }
}
