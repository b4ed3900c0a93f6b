//! Retention: which records of what has ended are removed, when, and how much at once?

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::AiFlow;
use crate::error::{Error, ErrorKind, Result};
use crate::execution::{
    JobExecution, JobStatus, KIND_DEAD_LETTER, KIND_FIRING, KIND_JOB_EXECUTION, KIND_JOB_STATE, KIND_WORKFLOW,
    KIND_WORKFLOW_EXECUTION, KIND_WORKFLOW_VERSION, WorkflowExecution, WorkflowState, WorkflowStatus,
};
use crate::id::{Offset, WorkflowExecutionId, WorkflowName};
use crate::lineage::{PUBLISHED_BY, TRIGGERED_BY};
use crate::meta::annotation_key;
use crate::records::{
    FIRING_WAITING, WorkflowVersion, body_of, label_relations, workflow_execution_key, workflow_id, workflow_key,
};
use crate::rerun::KIND_RERUN;
use crate::runtime::scheduler_cursor;
use crate::store::{
    Batch, Fence, MetaStore, MetaStoreExt as _, QUERY_PARENTS_MAX, Query, Record, RecordKey, Relation, RelationQuery,
};
use crate::time::Timestamp;
use crate::workflow::millis_option;

/// Records that one transaction of a removal deletes.
const DELETES_MAX: usize = 500;
/// The most relations that are removed in one transaction.
const UNRELATED_MAX: usize = 5_000;
/// Records after which a pass of retention stops; the next one goes on.
pub const RETENTION_RECORDS_MAX: usize = 20_000;
/// The most workflows whose executions retention counts.
const WORKFLOWS_MAX: usize = 100_000;

/// How long the records of what has ended are kept. Without any bound, for ever.
///
/// Never removed: whatever is not over, the events in the log (see [`AiFlow::trim`]), metadata, and the lineage of what a job made, which
/// goes on to name its execution.
///
/// ```
/// use std::time::Duration;
/// use aiflow_core::client::Retention;
///
/// let retention = Retention::default().age(Duration::from_secs(30 * 86_400)).executions(1_000);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// How long after its end an execution is kept, with its jobs and firings; in milliseconds. Also: ended executions of jobs and firings that
    /// are over, in workflow executions that go on, and dead letters.
    #[serde(skip_serializing_if = "Option::is_none", with = "millis_option", rename = "age_ms")]
    pub age: Option<Duration>,
    /// How many ended executions of each workflow are kept: the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executions: Option<usize>,
}

/// What a pass of retention removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retired {
    /// Workflow executions.
    pub executions: usize,
    /// Records in all, with those of their jobs and firings.
    pub records: usize,
    /// It stopped at [`RETENTION_RECORDS_MAX`]; there may be more.
    pub is_more: bool,
}

impl Retention {
    /// Keeps what has ended for so long.
    #[must_use]
    pub fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// Keeps so many ended executions of each workflow.
    #[must_use]
    pub fn executions(mut self, executions: usize) -> Self {
        self.executions = Some(executions);
        self
    }
}

impl AiFlow {
    /// Removes an execution that has ended, with the records of its jobs and firings. Lineage goes on to name them.
    ///
    /// Not one transaction: the execution itself goes last, so that a call that failed can be repeated.
    ///
    /// # Errors
    /// `NotFound`: there is no such execution. `Invalid`: it has not ended. Others are those of the store.
    pub async fn delete_execution(&self, id: WorkflowExecutionId) -> Result<()> {
        let record = self.store().get_one(&workflow_execution_key(id)).await?;
        let record = record.ok_or_else(|| Error::not_found("delete", "there is no such execution").with("id", id))?;
        let execution: WorkflowExecution = body_of(&record)?;
        if !execution.status.is_terminal() {
            let message = "the execution has not ended: stop it first";
            return Err(Error::invalid("delete", message).with("id", id).with("status", execution.status));
        }
        let mut pass = Pass::new(&**self.store(), self.clock().now(), None);
        pass.limit = usize::MAX;
        pass.remove_execution(&record, &execution).await
    }

    /// Removes for good what a deleted workflow left: its executions, as [`delete_execution`](Self::delete_execution) does, and its versions
    /// before the last one, from which numbers go on if it is submitted again. Returns how many executions there were.
    ///
    /// Not one transaction: a call that failed can be repeated.
    ///
    /// # Errors
    /// `NotFound`: no scheduler has seen such a workflow. `Conflict`: it is not deleted, or came back meanwhile. Others are those of the store.
    pub async fn purge_workflow(&self, workflow: impl AsRef<str>) -> Result<usize> {
        let name = WorkflowName::parse(workflow)?;
        let key = workflow_key(self.project_name(), &name);
        let record = self.store().get_one(&key).await?;
        let record =
            record.ok_or_else(|| Error::not_found("purge", "no scheduler has seen it").with("workflow", &name))?;
        let state: WorkflowState = body_of(&record)?;
        if state.deleted_at.is_none() {
            return Err(
                Error::new(ErrorKind::Conflict, "purge", "it is in use: delete it first").with("workflow", name)
            );
        }
        let mut pass = Pass::new(&**self.store(), self.clock().now(), None);
        pass.limit = usize::MAX;
        pass.keep_newest(&state, 0).await?;
        pass.remove_versions(&record, &state).await?;
        Ok(pass.retired.executions)
    }

    /// Removes what is older, or more, than `retention` keeps, of all projects: a bounded number of records; call it again while there
    /// [is more](Retired::is_more). A scheduler does so by itself if its [settings](crate::runtime::Settings) say so.
    ///
    /// # Errors
    /// Those of the store; what was removed until then stays removed.
    pub async fn apply_retention(&self, retention: &Retention) -> Result<Retired> {
        retire(&**self.store(), retention, self.clock().now(), None).await
    }

    /// Removes the events up to and including `through` from the log, but none that the scheduler has not applied. Returns up to where the log
    /// was trimmed.
    ///
    /// An event that waits at a rule still counts when it is trimmed; an [explanation](Self::explain_execution) does not find it any more, and its id may
    /// be used again.
    ///
    /// # Errors
    /// Those of the store and the log.
    pub async fn trim(&self, through: Offset) -> Result<Offset> {
        let through = through.min(scheduler_cursor(&**self.store()).await?);
        self.bus().trim(through).await?;
        Ok(through)
    }
}

/// One pass of retention. Under a fence, if a scheduler does it.
pub(crate) async fn retire(
    store: &dyn MetaStore,
    retention: &Retention,
    now: Timestamp,
    fence: Option<Fence>,
) -> Result<Retired> {
    let mut pass = Pass::new(store, now, fence);
    if let Some(age) = retention.age {
        pass.by_age(now - age).await?;
    }
    if let Some(keep) = retention.executions {
        pass.by_count(keep).await?;
    }
    pass.retired.is_more = pass.is_over();
    Ok(pass.retired)
}

struct Pass<'a> {
    store: &'a dyn MetaStore,
    now: Timestamp,
    fence: Option<Fence>,
    retired: Retired,
    limit: usize,
}

fn ended_executions() -> Query {
    let ended = WorkflowStatus::ALL.iter().filter(|status| status.is_terminal()).map(|status| status.as_str());
    Query::kind(KIND_WORKFLOW_EXECUTION).states(ended)
}

impl<'a> Pass<'a> {
    fn new(store: &'a dyn MetaStore, now: Timestamp, fence: Option<Fence>) -> Self {
        Self { store, now, fence, retired: Retired::default(), limit: RETENTION_RECORDS_MAX }
    }

    fn is_over(&self) -> bool {
        self.retired.records >= self.limit
    }

    async fn by_age(&mut self, before: Timestamp) -> Result<()> {
        let is_old = |record: &Record| {
            let execution: WorkflowExecution = body_of(record)?;
            Ok(execution.finished_at.is_some_and(|finished| finished < before))
        };
        let mut query = ended_executions();
        // Nothing that began later can have ended before.
        while let Some(page) = self.page(&mut query, |record| record.created < before).await? {
            for record in page {
                if self.is_over() {
                    return Ok(());
                }
                if is_old(&record)? {
                    self.remove_execution(&record, &body_of(&record)?).await?;
                }
            }
        }
        let ended = JobStatus::ALL.iter().filter(|status| status.is_terminal()).map(|status| status.as_str());
        let is_ended = |record: &Record| {
            let job: JobExecution = body_of(record)?;
            Ok(job.finished_at.is_some_and(|finished| finished < before))
        };
        self.remove_old(Query::kind(KIND_JOB_EXECUTION).states(ended), before, is_ended).await?;
        let is_over = |record: &Record| Ok(record.state != FIRING_WAITING && record.updated < before);
        self.remove_old(Query::kind(KIND_FIRING), before, is_over).await?;
        self.remove_old(Query::kind(KIND_DEAD_LETTER), before, |_| Ok(true)).await
    }

    async fn by_count(&mut self, keep: usize) -> Result<()> {
        let workflows = self.store.query_all(Query::kind(KIND_WORKFLOW), WORKFLOWS_MAX).await?;
        for workflow in &workflows {
            self.keep_newest(&body_of(workflow)?, keep).await?;
        }
        Ok(())
    }

    /// Removes the ended executions of a workflow but the newest.
    async fn keep_newest(&mut self, workflow: &WorkflowState, keep: usize) -> Result<()> {
        let mut query = ended_executions().parent(workflow_id(&workflow.project, &workflow.name)).newest_first();
        let mut kept = 0_usize;
        while let Some(page) = self.page(&mut query, |_| true).await? {
            for record in page {
                if self.is_over() {
                    return Ok(());
                }
                if kept < keep {
                    kept = kept.saturating_add(1);
                    continue;
                }
                self.remove_execution(&record, &body_of(&record)?).await?;
            }
        }
        Ok(())
    }

    /// Removes the versions before the one in use, as long as the workflow is as it was read.
    async fn remove_versions(&mut self, record: &Record, workflow: &WorkflowState) -> Result<()> {
        let of = workflow_id(&workflow.project, &workflow.name);
        let mut query = Query::kind(KIND_WORKFLOW_VERSION).parent(of).limit(DELETES_MAX);
        while let Some(page) = self.page(&mut query, |_| true).await? {
            let mut batch = Batch::at(self.now).expect(record.key.clone(), Some(record.revision));
            batch.fence.clone_from(&self.fence);
            for version in page {
                if body_of::<WorkflowVersion>(&version)?.version < workflow.version {
                    batch.deletes.push(version.key);
                }
            }
            self.retired.records = self.retired.records.saturating_add(batch.deletes.len());
            self.store.commit(batch).await?;
        }
        Ok(())
    }

    /// The records of the next page as far as `is_wanted`; `None` after the last.
    async fn page(&self, query: &mut Query, is_wanted: impl Fn(&Record) -> bool) -> Result<Option<Vec<Record>>> {
        if query.limit == 0 || self.is_over() {
            return Ok(None);
        }
        let page = self.store.query(query).await?;
        let n = page.items.len();
        let wanted: Vec<Record> = page.items.into_iter().take_while(is_wanted).collect();
        match page.next {
            Some(token) if wanted.len() == n => query.after = Some(token),
            // This is the last one.
            _ => query.limit = 0,
        }
        Ok(Some(wanted))
    }

    async fn remove_old(
        &mut self,
        mut query: Query,
        before: Timestamp,
        is_old: impl Fn(&Record) -> Result<bool>,
    ) -> Result<()> {
        while let Some(page) = self.page(&mut query, |record| record.created < before).await? {
            let mut old = Vec::new();
            for record in page {
                if is_old(&record)? {
                    old.push(record.key);
                }
            }
            self.delete(old).await?;
        }
        Ok(())
    }

    /// Removes what belongs to an execution, then the execution.
    async fn remove_execution(&mut self, record: &Record, execution: &WorkflowExecution) -> Result<()> {
        for kind in [KIND_JOB_EXECUTION, KIND_JOB_STATE, KIND_FIRING, KIND_RERUN] {
            let mut query = Query::kind(kind).parent(execution.id.to_string());
            loop {
                let page = self.store.query(&query).await?;
                self.delete(page.items.into_iter().map(|record| record.key).collect()).await?;
                match page.next {
                    Some(token) => query.after = Some(token),
                    None => break,
                }
            }
        }
        let mut batch =
            Batch::at(self.now).expect(record.key.clone(), Some(record.revision)).delete(record.key.clone());
        batch.deletes.push(annotation_key(&record.key));
        batch.unrelate = label_relations(execution).collect();
        batch.fence.clone_from(&self.fence);
        self.store.commit(batch).await?;
        self.retired.records = self.retired.records.saturating_add(1);
        self.retired.executions = self.retired.executions.saturating_add(1);
        Ok(())
    }

    /// The relations of executions to the events that fired them, and of their events to them.
    async fn causes_of(&self, keys: &[RecordKey]) -> Result<Vec<Relation>> {
        let mut causes = Vec::new();
        let ran: Vec<&RecordKey> = keys.iter().filter(|key| key.kind == KIND_JOB_EXECUTION).collect();
        for keys in ran.chunks(QUERY_PARENTS_MAX) {
            let keys: Vec<RecordKey> = keys.iter().map(|key| (*key).clone()).collect();
            let of = |kind: &str| RelationQuery { kind: Some(kind.to_owned()), ..RelationQuery::default() };
            let fired = RelationQuery { from: keys.clone(), ..of(TRIGGERED_BY) };
            for mut query in [fired, RelationQuery { to: keys, ..of(PUBLISHED_BY) }] {
                loop {
                    let page = self.store.relations(&query).await?;
                    causes.extend(page.items);
                    match page.next {
                        Some(token) => query.after = Some(token),
                        None => break,
                    }
                }
            }
        }
        Ok(causes)
    }

    /// Removes records, and what the scheduler wrote of why they ran; what jobs read and produced stays.
    async fn delete(&mut self, keys: Vec<RecordKey>) -> Result<()> {
        for keys in keys.chunks(DELETES_MAX) {
            for causes in self.causes_of(keys).await?.chunks(UNRELATED_MAX) {
                let mut batch = Batch::at(self.now);
                batch.unrelate = causes.to_vec();
                batch.fence.clone_from(&self.fence);
                self.store.commit(batch).await?;
            }
            let mut batch = Batch::at(self.now);
            batch.deletes = keys.to_vec();
            batch.deletes.extend(keys.iter().filter(|key| key.kind == KIND_JOB_EXECUTION).map(annotation_key));
            batch.fence.clone_from(&self.fence);
            self.store.commit(batch).await?;
            self.retired.records = self.retired.records.saturating_add(keys.len());
        }
        Ok(())
    }
}
