//! What jobs keep: artifacts by name, and values that flow from one job to another.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::JobContext;
use super::attempt::Attempt;
use super::registry::JobError;
use super::spec::FunctionSpec;
use crate::artifact_files::ArtifactFiles;
use crate::artifact_store::ArtifactStore;
use crate::error::{Error, ErrorKind, Result};
use crate::event::json_bytes;
use crate::id::{JobName, NodeName, WorkflowExecutionId};
use crate::meta::{Artifact, Stored};

/// The file store of the application, and artifacts in it.
impl JobContext {
    /// Where the application keeps files.
    ///
    /// # Errors
    /// `Unsupported`: the executor was not given any, see [`FunctionExecutor::artifact_store`](super::FunctionExecutor::artifact_store).
    pub fn artifact_store(&self) -> Result<&Arc<dyn ArtifactStore>> {
        self.origin().store_of_files().ok_or_else(no_store)
    }

    fn artifact_files(&self) -> Result<ArtifactFiles> {
        Ok(ArtifactFiles::new(self.aiflow().clone(), Arc::clone(self.artifact_store()?)))
    }

    /// Keeps bytes as the artifact of this name: see [`ArtifactFiles::save`].
    ///
    /// # Errors
    /// As [`artifact_store`](Self::artifact_store) and [`ArtifactFiles::save`].
    pub async fn save(&self, name: impl AsRef<str>, bytes: Vec<u8>) -> Result<Stored<Artifact>> {
        self.artifact_files()?.save(name, bytes).await
    }

    /// The bytes of an artifact that was [saved](Self::save), by this job or another. The lookup is recorded as `read`.
    ///
    /// # Errors
    /// As [`artifact_store`](Self::artifact_store) and [`ArtifactFiles::load`].
    pub async fn load(&self, name: impl AsRef<str>) -> Result<Vec<u8>> {
        self.artifact_files()?.load(name).await
    }
}

pub(super) fn no_store() -> Error {
    Error::new(ErrorKind::Unsupported, "artifact store", "the function executor was given no artifact store")
}

/// Where the value of a port lies, for the other jobs of the execution.
fn value_path(attempt: &Attempt, of: WorkflowExecutionId, node: &NodeName, port: usize) -> String {
    let who = attempt.identity();
    format!("values/{}/{}/{of}/{node}.{port}", who.project, who.workflow)
}

/// Keeps the value of a port.
pub(super) async fn keep_value(attempt: &Attempt, node: &NodeName, port: usize, value: &Value) -> Result<(), JobError> {
    let store = attempt.store_of_files().ok_or_else(no_store)?;
    let mut bytes = Vec::with_capacity(json_bytes(value));
    serde_json::to_writer(&mut bytes, value)?;
    store.put(&value_path(attempt, attempt.identity().workflow_execution, node, port), bytes).await?;
    Ok(())
}

/// The value of a port that another job kept: in this execution, or in the one that it reruns if the result of that job stands.
pub(super) async fn kept_value(attempt: &Attempt, node: &NodeName, port: usize) -> Result<Value, JobError> {
    let store = attempt.store_of_files().ok_or_else(no_store)?;
    let path = value_path(attempt, attempt.identity().workflow_execution, node, port);
    let mut found = store.get(&path).await?;
    if found.is_none()
        && let Some(earlier) = where_it_stands(attempt, node).await?
    {
        found = store.get(&value_path(attempt, earlier, node, port)).await?;
    }
    match found {
        Some(object) => Ok(serde_json::from_slice(&object.bytes)?),
        None => {
            let message = format!("node {node} has not given a value in this execution: nothing lies at {path}");
            Err(JobError::from(message).of_kind("missing_value"))
        }
    }
}

/// In a rerun, the execution in which the job of a node ran last, if that is an earlier one.
async fn where_it_stands(attempt: &Attempt, node: &NodeName) -> Result<Option<WorkflowExecutionId>> {
    let (aiflow, execution) = (attempt.aiflow(), attempt.identity().workflow_execution);
    let givers = attempt.givers.get_or_try_init(|| givers(attempt)).await?;
    let Some((giver, _)) = givers.iter().find(|(_, nodes)| nodes.contains(node)) else { return Ok(None) };
    let state = aiflow.job_state(execution, giver).await?;
    let Some(last) = state.and_then(|state| state.last_execution) else { return Ok(None) };
    let ran = aiflow.job_execution(last).await?.map(|ran| ran.workflow_execution);
    Ok(ran.filter(|ran| *ran != execution))
}

/// In a rerun, the jobs that keep values, with the nodes whose they are; otherwise none.
async fn givers(attempt: &Attempt) -> Result<Vec<(JobName, BTreeSet<NodeName>)>> {
    let aiflow = attempt.aiflow();
    let execution = aiflow.execution(attempt.identity().workflow_execution).await?;
    let Some(execution) = execution.filter(|execution| execution.rerun_of.is_some()) else { return Ok(Vec::new()) };
    let version = aiflow.workflow_version(&execution.workflow, execution.version).await?;
    let jobs = version.into_iter().flat_map(|version| version.workflow.jobs);
    let nodes = jobs.filter_map(|job| {
        let spec: FunctionSpec = serde_json::from_value(job.spec).ok()?;
        let kept = spec.nodes.into_iter().filter(|node| !node.kept.is_empty()).map(|node| node.name);
        Some((job.name, kept.collect()))
    });
    Ok(nodes.collect())
}
