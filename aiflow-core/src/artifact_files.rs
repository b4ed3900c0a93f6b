//! Artifacts with their bytes: what is kept under a name, and what was kept there?

use std::sync::Arc;

use crate::artifact_store::{ArtifactStore, Object, StoredObject};
use crate::client::{AiFlow, Origin};
use crate::error::{Error, ErrorKind, Result};
use crate::executor::{ExecutorHost, JobIdentity};
use crate::id::EntityName;
use crate::meta::{Artifact, Stored};

/// The property of an artifact that holds the SHA-256 of its bytes, in hex.
pub const ARTIFACT_DIGEST: &str = "sha256";
/// The property of an artifact that holds the number of its bytes.
pub const ARTIFACT_SIZE: &str = "bytes";

/// The artifacts of a project with their bytes: the metadata says what there is, a [file store](ArtifactStore) holds it.
///
/// Functions have it in their [context](crate::function::JobContext::save); executors of other jobs, and applications, make one.
#[derive(Debug, Clone)]
pub struct ArtifactFiles {
    aiflow: AiFlow,
    store: Arc<dyn ArtifactStore>,
}

impl ArtifactFiles {
    /// The artifacts of the project of a handle.
    #[must_use]
    pub fn new(aiflow: AiFlow, store: Arc<dyn ArtifactStore>) -> Self {
        Self { aiflow, store }
    }

    /// On behalf of a job: what is saved and loaded becomes its lineage.
    #[must_use]
    pub fn of_job(host: &ExecutorHost, job: JobIdentity, store: Arc<dyn ArtifactStore>) -> Self {
        let origin = Origin { identity: job, cause: None };
        let (meta, bus, clock) = (Arc::clone(&host.store), Arc::clone(&host.bus), Arc::clone(&host.clock));
        Self::new(AiFlow::of_job(meta, bus, clock, origin), store)
    }

    /// Where the bytes of an artifact lie. Other content lies elsewhere, so that nothing is overwritten while somebody reads it.
    fn path(&self, name: &EntityName, digest: &str) -> String {
        format!("artifacts/{}/{name}/{digest}", self.aiflow.project_name())
    }

    /// Keeps bytes as the artifact of this name, and registers it with their digest and size. An artifact that is there gets them as its new
    /// content; the old bytes stay where they lie.
    ///
    /// The bytes are durable before the metadata says so: whatever fails, the artifact has either the old content or the new.
    ///
    /// # Errors
    /// Those of the [file store](ArtifactStore) and of [`Artifacts::register`](crate::meta::Registry::register).
    pub async fn save(&self, name: impl AsRef<str>, bytes: Vec<u8>) -> Result<Stored<Artifact>> {
        let name = EntityName::parse(name)?;
        let digest = StoredObject::of(&bytes, "").digest;
        let stored = self.store.put(&self.path(&name, &digest), bytes).await?;
        let artifacts = self.aiflow.artifacts();
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

    /// The bytes of an artifact that was [saved](Self::save).
    ///
    /// # Errors
    /// `NotFound`: there is no such artifact, or its bytes are gone. `Corrupt`: they are not what was saved. Otherwise those of the stores.
    pub async fn load(&self, name: impl AsRef<str>) -> Result<Vec<u8>> {
        self.find(name).await.map(|(_, bytes)| bytes)
    }

    /// An artifact that was [saved](Self::save), whose properties say digest and size, and its bytes.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn find(&self, name: impl AsRef<str>) -> Result<(Stored<Artifact>, Vec<u8>)> {
        let name = EntityName::parse(name)?;
        let missing = |what: &'static str| Error::not_found("load", what).with("artifact", &name);
        let artifact = self.aiflow.artifacts().get(&name).await?.ok_or_else(|| missing("there is no such artifact"))?;
        let digest = artifact.notes.properties.get(ARTIFACT_DIGEST).and_then(|digest| digest.as_str());
        let digest = digest.ok_or_else(|| missing("the artifact was not saved by a job"))?;
        let object = self.store.get(&self.path(&name, digest)).await?;
        let Object { stored, bytes } = object.ok_or_else(|| missing("the bytes of the artifact are gone"))?;
        if stored.digest != digest {
            let message = "the bytes of the artifact are not what was saved";
            return Err(Error::new(ErrorKind::Corrupt, "load", message)
                .with("artifact", &name)
                .with("uri", stored.uri));
        }
        Ok((artifact, bytes))
    }
}
