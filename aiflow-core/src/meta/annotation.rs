//! Annotations: how is something that the scheduler keeps given tags, without touching the scheduler's records?

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::draft::{Draft, Tries, decide};
use super::entity::changed_fields;
use super::problems::Problems;
use super::{ANNOTATION_CHANGED, KIND_ANNOTATION, Notes, names};
use crate::client::AiFlow;
use crate::error::Result;
use crate::id::{JobExecutionId, JobName, WorkflowExecutionId, WorkflowName};
use crate::records::{
    body_of, job_execution_key, put, workflow_execution_key, workflow_id, workflow_key, workflow_version_key,
};
use crate::store::{MetaStoreExt as _, RecordKey, RecordPut};

/// What is annotated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Annotated {
    /// A workflow of the project.
    Workflow(WorkflowName),
    /// A version of a workflow of the project.
    WorkflowVersion {
        /// Workflow.
        workflow: WorkflowName,
        /// Version.
        version: u32,
    },
    /// A job of a workflow of the project, over all its executions.
    Job {
        /// Workflow.
        workflow: WorkflowName,
        /// Job.
        job: JobName,
    },
    /// One execution of a workflow.
    WorkflowExecution(WorkflowExecutionId),
    /// One execution of a job.
    JobExecution(JobExecutionId),
}

impl From<WorkflowExecutionId> for Annotated {
    fn from(id: WorkflowExecutionId) -> Self {
        Self::WorkflowExecution(id)
    }
}

impl From<JobExecutionId> for Annotated {
    fn from(id: JobExecutionId) -> Self {
        Self::JobExecution(id)
    }
}

impl From<WorkflowName> for Annotated {
    fn from(workflow: WorkflowName) -> Self {
        Self::Workflow(workflow)
    }
}

impl Annotated {
    /// The key of its own record, which lineage names.
    pub(super) fn key(&self, flow: &AiFlow) -> RecordKey {
        let project = flow.project_name();
        match self {
            Self::Workflow(workflow) => workflow_key(project, workflow),
            Self::WorkflowVersion { workflow, version } => workflow_version_key(project, workflow, *version),
            Self::Job { workflow, job } => RecordKey::new("job", format!("{}/{job}", workflow_id(project, workflow))),
            Self::WorkflowExecution(id) => workflow_execution_key(*id),
            Self::JobExecution(id) => job_execution_key(*id),
        }
    }

    /// What events of it are about: its name, or the id of an execution.
    fn subject(&self) -> String {
        match self {
            Self::Workflow(workflow) | Self::WorkflowVersion { workflow, .. } => workflow.to_string(),
            Self::Job { workflow, job } => format!("{workflow}/{job}"),
            Self::WorkflowExecution(id) => id.to_string(),
            Self::JobExecution(id) => id.to_string(),
        }
    }
}

/// The key under which the annotation of the record with this key is stored.
#[must_use]
pub fn annotation_key(of: &RecordKey) -> RecordKey {
    RecordKey::new(KIND_ANNOTATION, of.to_string())
}

/// Description, tags and properties of something that the scheduler keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Annotation {
    /// Of what.
    pub of: Annotated,
    /// Description, tags and properties.
    #[serde(flatten)]
    pub notes: Notes,
}

impl Deref for Annotation {
    type Target = Notes;
    fn deref(&self) -> &Notes {
        &self.notes
    }
}

/// Tags and properties of workflows, jobs and executions. Obtained from [`AiFlow::annotations`] or the context of a job.
///
/// They are records of their own: the scheduler neither reads them nor is disturbed. Those of an execution are removed with it.
#[derive(Debug, Clone)]
pub struct Annotations(pub(super) AiFlow);

impl Annotations {
    /// What was annotated; empty if nothing was.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn get(&self, of: impl Into<Annotated>) -> Result<Annotation> {
        let of = of.into();
        let record = self.0.store().get_one(&annotation_key(&of.key(&self.0))).await?;
        Ok(match record {
            Some(record) => body_of(&record)?,
            None => Annotation { of, notes: Notes::default() },
        })
    }

    /// Changes tags, properties and description: what `edit` leaves alone stays. Announced as `ANNOTATION_CHANGED`; an edit that changes
    /// nothing is not.
    ///
    /// # Errors
    /// `NotFound`: there is no such workflow or execution. `Invalid`: out of bounds. Others are those of the store.
    pub async fn update(
        &self,
        of: impl Into<Annotated>,
        mut edit: impl FnMut(&mut Notes) + Send,
    ) -> Result<Annotation> {
        let of = of.into();
        Ok(decide!(&self.0, Tries::repeatable("annotate"), |draft| update(&mut draft, &self.0, &of, &mut edit).await?))
    }
}

async fn update(
    draft: &mut Draft,
    flow: &AiFlow,
    of: &Annotated,
    edit: &mut (dyn FnMut(&mut Notes) + Send),
) -> Result<Annotation> {
    const OPERATION: &str = "annotate";
    let target = of.key(flow);
    let key = annotation_key(&target);
    let known = draft.get(&key).await?;
    let before = match &known {
        Some(record) => body_of(record)?,
        None => Annotation { of: of.clone(), notes: Notes::default() },
    };
    let mut after = before.clone();
    edit(&mut after.notes);
    if after == before {
        return Ok(before);
    }
    let mut problems = Problems::default();
    after.notes.check(&mut problems);
    problems.none(OPERATION)?;
    // The scheduler changes the record all the time, so it is looked at outside the draft.
    let is_job = matches!(of, Annotated::Job { .. });
    if known.is_none() && !is_job && flow.store().get_one(&target).await?.is_none() {
        return Err(names::missing(OPERATION, &target));
    }
    draft.put(RecordPut { project: flow.project_name().to_string(), parent: target.to_string(), ..put(key, &after) });
    let fields = changed_fields(&before, &after);
    let value = json!({"of": target.to_string(), "fields": fields, "tags": after.notes.tags});
    draft.event(flow.stamp_for_execution(flow.event(of.subject()).event_type(ANNOTATION_CHANGED).value(value)));
    Ok(after)
}
