//! What jobs keep: artifacts by name, and values that flow from one job to another.

use std::sync::Arc;

use serde_json::Value;

use super::JobContext;
use super::attempt::Attempt;
use super::registry::JobError;
use crate::artifact_store::{ArtifactStore, Object};
use crate::error::{Error, ErrorKind, Result};
use crate::event::json_bytes;
use crate::id::{EntityName, NodeName};
use crate::meta::{Artifact, Stored};

/// The property of an artifact that holds the SHA-256 of its bytes, in hex.
pub const ARTIFACT_DIGEST: &str = "sha256";
/// The property of an artifact that holds the number of its bytes.
pub const ARTIFACT_SIZE: &str = "bytes";

/// Where the bytes of an artifact lie. Other content lies elsewhere, so that nothing is overwritten while somebody reads it.
fn artifact_path(project: &str, name: &EntityName, digest: &str) -> String {
    format!("artifacts/{project}/{name}/{digest}")
}

/// The file store of the application, and artifacts in it.
impl JobContext {
    /// Where the application keeps files.
    ///
    /// # Errors
    /// `Unsupported`: the executor was not given any, see [`FunctionExecutor::artifact_store`](super::FunctionExecutor::artifact_store).
    pub fn artifact_store(&self) -> Result<&Arc<dyn ArtifactStore>> {
        self.origin().store_of_files().ok_or_else(no_store)
    }

    /// Keeps bytes as the artifact of this name, and registers it with their digest and size. An artifact that is there gets them as its new
    /// content; the old bytes stay where they lie.
    ///
    /// The bytes are durable before the metadata says so: whatever fails, the artifact has either the old content or the new.
    ///
    /// # Errors
    /// As [`artifact_store`](Self::artifact_store); those of the [file store](ArtifactStore) and of
    /// [`Artifacts::register`](crate::meta::Registry::register).
    pub async fn save(&self, name: impl AsRef<str>, bytes: Vec<u8>) -> Result<Stored<Artifact>> {
        let name = EntityName::parse(name)?;
        let digest = crate::artifact_store::StoredObject::of(&bytes, "").digest;
        let path = artifact_path(self.identity().project.as_str(), &name, &digest);
        let stored = self.artifact_store()?.put(&path, bytes).await?;
        let artifacts = self.artifacts();
        let describe = |artifact: &mut Artifact| {
            artifact.uri.clone_from(&stored.uri);
            let size = i64::try_from(stored.size).unwrap_or(i64::MAX);
            artifact.notes.properties.insert(ARTIFACT_DIGEST.to_owned(), stored.digest.clone().into());
            artifact.notes.properties.insert(ARTIFACT_SIZE.to_owned(), size.into());
        };
        let mut new = Artifact::new(&name, "")?;
        describe(&mut new);
        match artifacts.register(new).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => artifacts.update(&name, describe).await,
            registered => registered,
        }
    }

    /// The bytes of an artifact that was [saved](Self::save). The lookup is recorded as `read`.
    ///
    /// # Errors
    /// `NotFound`: there is no such artifact, or its bytes are gone. `Corrupt`: they are not what was saved. Otherwise as
    /// [`artifact_store`](Self::artifact_store) and the stores.
    pub async fn load(&self, name: impl AsRef<str>) -> Result<Vec<u8>> {
        let name = EntityName::parse(name)?;
        let missing = |what: &'static str| Error::not_found("load", what).with("artifact", &name);
        let artifact = self.artifacts().get(&name).await?.ok_or_else(|| missing("there is no such artifact"))?;
        let digest = artifact.notes.properties.get(ARTIFACT_DIGEST).and_then(|digest| digest.as_str());
        let digest = digest.ok_or_else(|| missing("the artifact was not saved by a job"))?;
        let path = artifact_path(self.identity().project.as_str(), &name, digest);
        let object = self.artifact_store()?.get(&path).await?;
        let Object { stored, bytes } = object.ok_or_else(|| missing("the bytes of the artifact are gone"))?;
        if stored.digest != digest {
            let message = "the bytes of the artifact are not what was saved";
            return Err(Error::new(ErrorKind::Corrupt, "load", message)
                .with("artifact", &name)
                .with("uri", stored.uri));
        }
        Ok(bytes)
    }
}

pub(super) fn no_store() -> Error {
    Error::new(ErrorKind::Unsupported, "artifact store", "the function executor was given no artifact store")
}

/// Where the value of a port lies, for the other jobs of the execution.
fn value_path(attempt: &Attempt, node: &NodeName, port: usize) -> String {
    let who = attempt.identity();
    format!("values/{}/{}/{}/{node}.{port}", who.project, who.workflow, who.workflow_execution)
}

/// Keeps the value of a port.
pub(super) async fn keep_value(attempt: &Attempt, node: &NodeName, port: usize, value: &Value) -> Result<(), JobError> {
    let store = attempt.store_of_files().ok_or_else(no_store)?;
    let mut bytes = Vec::with_capacity(json_bytes(value));
    serde_json::to_writer(&mut bytes, value)?;
    store.put(&value_path(attempt, node, port), bytes).await?;
    Ok(())
}

/// The value of a port that another job kept.
pub(super) async fn kept_value(attempt: &Attempt, node: &NodeName, port: usize) -> Result<Value, JobError> {
    let store = attempt.store_of_files().ok_or_else(no_store)?;
    let path = value_path(attempt, node, port);
    match store.get(&path).await? {
        Some(object) => Ok(serde_json::from_slice(&object.bytes)?),
        None => {
            let message = format!("node {node} has not given a value in this execution: nothing lies at {path}");
            Err(JobError::from(message).of_kind("missing_value"))
        }
    }
}
