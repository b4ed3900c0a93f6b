//! Snapshots: the files of a workflow as they were, by which its executions stay until they end.
//!
//! In an object store: one object for each file, named by the digest of its content, and one that lists the files of a snapshot, named by
//! the digest of the list. So the same files are the same snapshot, and a file that is in several is stored once.

mod cache;
mod collect;
mod manifest;
mod take;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aiflow_core::client::AiFlow;
use aiflow_core::id::ProjectName;
use aiflow_core::{Error, ErrorKind, Result};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde_json::{Value, json};

pub use collect::Collected;
pub use manifest::{
    SNAPSHOT_BYTES_MAX, SNAPSHOT_FILE_BYTES_MAX, SNAPSHOT_FILES_MAX, SNAPSHOT_NESTING_MAX, SNAPSHOT_PATH_BYTES_MAX,
};

use crate::project::Project;
use crate::step::PROCESS;
use crate::submit::{Submitted, submit};

/// Member of a process specification that names the project files it runs with.
pub(crate) const PROJECT_MEMBER: &str = "project";

/// A snapshot: the SHA-256 of the list of its files, in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(String);

impl SnapshotId {
    /// Reads an id.
    ///
    /// # Errors
    /// `Invalid` if it is not 64 hex digits in lower case.
    pub fn parse(text: &str) -> Result<Self> {
        if manifest::is_digest(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid("read snapshot", "a snapshot is named by 64 hex digits").with("found", text.escape_debug()))
    }

    /// The hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Snapshots of projects in an object store, and a directory of this host into which they are unpacked.
///
/// Any [`ObjectStore`] does: a directory ([`local`](Self::local)), or the one that `ObjectArtifacts::open("s3://bucket/snapshots")?.object_store()` of
/// `aiflow-artifacts` gives, with its feature `s3`, `gcs` or `azure`.
#[derive(Clone)]
pub struct Snapshots {
    store: Arc<dyn ObjectStore>,
    cache: PathBuf,
}

/// Without what the client of the store would show of itself: it may be a key.
impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = format_args!("{}", self.store);
        f.debug_struct("Snapshots").field("store", &store).field("cache", &self.cache).finish()
    }
}

impl Snapshots {
    /// Snapshots in `store`, unpacked below the directory `cache`, which processes of this host may share.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, cache: impl Into<PathBuf>) -> Self {
        Self { store, cache: cache.into() }
    }

    /// Snapshots in the directory `store`, which is made if it is missing.
    ///
    /// # Errors
    /// `Unavailable`: the directory cannot be made.
    pub fn local(store: impl AsRef<Path>, cache: impl Into<PathBuf>) -> Result<Self> {
        let failed = |error| {
            Error::new(ErrorKind::Unavailable, "open snapshots", "the directory cannot be used").caused_by(error)
        };
        std::fs::create_dir_all(store.as_ref()).map_err(failed)?;
        let store = LocalFileSystem::new_with_prefix(store).map_err(|error| broken("open snapshots", error))?;
        // What was submitted with a snapshot survives a power loss as the definition does that names it.
        Ok(Self::new(Arc::new(store.with_fsync(true)), cache))
    }

    pub(crate) fn list_key(project: &ProjectName, id: &SnapshotId) -> Key {
        Key::from(format!("{project}/snapshots/{id}.json"))
    }

    pub(crate) fn file_key(project: &ProjectName, digest: &str) -> Key {
        Key::from(format!("{project}/files/{digest}"))
    }

    async fn has(&self, key: &Key) -> Result<bool> {
        match self.store.head(key).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(broken("look up snapshot", error)),
        }
    }
}

fn broken(operation: &'static str, error: object_store::Error) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "the object store refused").caused_by(error)
}

impl Project {
    /// Takes a snapshot of the files of each workflow and submits all workflows with them: executions run with these files until they end,
    /// whatever becomes of the directory, on every host whose executor of processes is a [`ProjectExecutor`](crate::ProjectExecutor) with the
    /// same object store. What is as it was is not written again: a change of the files of one workflow is a new version of that one.
    ///
    /// # Errors
    /// As [`Snapshots::take`] and [`AiFlow::submit`].
    pub async fn submit_snapshot(&self, aiflow: &AiFlow, snapshots: &Snapshots) -> Result<Vec<Submitted>> {
        let aiflow = aiflow.project(self.name.as_str())?;
        let taken = snapshots.take(self).await?;
        self.set_pools(&aiflow).await?;
        let mut submitted = Vec::with_capacity(self.workflows.len());
        for workflow in &self.workflows {
            let mut workflow = workflow.workflow.clone();
            let snapshot = taken.get(&workflow.name).cloned();
            for job in workflow.jobs.iter_mut().filter(|job| job.executor.as_str() == PROCESS) {
                if let (Value::Object(spec), Some(id)) = (&mut job.spec, &snapshot) {
                    spec.insert(PROJECT_MEMBER.to_owned(), json!({ "snapshot": id.as_str() }));
                }
            }
            submitted.push(submit(&aiflow, &workflow, snapshot).await?);
        }
        // One that nothing referred to may have been collected meanwhile.
        if snapshots.take(self).await? != taken {
            let message = "the files changed while the project was submitted; submit it again";
            return Err(Error::new(ErrorKind::Conflict, "submit", message).with("project", &self.name));
        }
        Ok(submitted)
    }
}
