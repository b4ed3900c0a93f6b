//! Files in memory: the reference for other artifact stores.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::artifact_store::{ArtifactStore, Object, StoredObject, check_path, check_size};
use crate::error::Result;

/// Keeps files in memory; they go with it.
#[derive(Default)]
pub struct MemoryArtifacts(Mutex<BTreeMap<String, Vec<u8>>>);

impl MemoryArtifacts {
    /// Without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        // A map is whole at every moment, also when a thread died holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryArtifacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryArtifacts").field("files", &self.files().len()).finish()
    }
}

fn uri(path: &str) -> String {
    format!("memory:///{path}")
}

#[async_trait]
impl ArtifactStore for MemoryArtifacts {
    async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<StoredObject> {
        check_path(path)?;
        check_size(bytes.len())?;
        let stored = StoredObject::of(&bytes, uri(path));
        self.files().insert(path.to_owned(), bytes);
        Ok(stored)
    }

    async fn get(&self, path: &str) -> Result<Option<Object>> {
        check_path(path)?;
        let bytes = self.files().get(path).cloned();
        Ok(bytes.map(|bytes| Object { stored: StoredObject::of(&bytes, uri(path)), bytes }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        check_path(path)?;
        self.files().remove(path);
        Ok(())
    }
}
