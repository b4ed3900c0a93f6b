//! The port for files: where do models, reports and values between jobs lie?
//!
//! The metadata of an [`Artifact`](crate::meta::Artifact) says what it is; what it is made of lies here.

use std::fmt;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// The longest path, in bytes.
pub const OBJECT_PATH_BYTES_MAX: usize = 1_024;
/// The most bytes of one object: it is written and read as a whole.
pub const OBJECT_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Keeps bytes under paths.
///
/// # Contract
/// 1. **Whole or not at all.** A path holds what one `put` gave it, whole, also if the process dies meanwhile or several write at once; until the
///    new content is there, readers get the old.
/// 2. **Durable.** What `put` has returned stays, as long as the storage itself does.
/// 3. **Exact.** `get` gives the bytes as they were put, and their digest as it is now.
/// 4. **Paths** are checked with [`check_path`], so that none leads out of the store.
///
/// # Errors
/// `Invalid`: the path is not well formed, or there are more than [`OBJECT_BYTES_MAX`] bytes. `Unavailable`: try again; a `put` may be repeated.
/// `Full`: there is no space.
#[async_trait]
pub trait ArtifactStore: Send + Sync + fmt::Debug {
    /// Keeps `bytes` at `path`, instead of what was there.
    async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<StoredObject>;

    /// What lies at `path`; `None` if nothing does.
    async fn get(&self, path: &str) -> Result<Option<Object>>;

    /// Removes what lies at `path`. Removing what is not there is fine.
    async fn delete(&self, path: &str) -> Result<()>;
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Where, as others outside find it.
    pub uri: String,
    /// SHA-256 of the bytes, in hex.
    pub digest: String,
    /// How many bytes.
    pub size: u64,
}

/// What was read from a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What is known of it.
    pub stored: StoredObject,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl StoredObject {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8], uri: impl Into<String>) -> Self {
        let digest = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { uri: uri.into(), digest, size: u64::try_from(bytes.len()).unwrap_or(u64::MAX) }
    }
}

/// Whether a path is well formed: parts of letters, digits and `._-` (none of them `.` or `..`), separated by `/`.
///
/// # Errors
/// `Invalid`, with the path.
pub fn check_path(path: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(allowed);
    if path.len() <= OBJECT_PATH_BYTES_MAX && path.split('/').all(is_part) {
        return Ok(());
    }
    let message = format!(
        "a path consists of parts of letters, digits and `._-` that are separated by `/`, at most {OBJECT_PATH_BYTES_MAX} bytes"
    );
    let shown: String = path.chars().take(100).collect();
    Err(Error::invalid("artifact store", message).with("path", shown.escape_default()))
}

/// Whether so many bytes may be one object.
///
/// # Errors
/// `Invalid`, with the number.
pub fn check_size(bytes: usize) -> Result<()> {
    if bytes <= OBJECT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the object has {bytes} bytes, at most {OBJECT_BYTES_MAX} are allowed");
    Err(Error::invalid("artifact store", message))
}

#[async_trait]
impl<S: ArtifactStore + ?Sized> ArtifactStore for std::sync::Arc<S> {
    async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<StoredObject> {
        (**self).put(path, bytes).await
    }
    async fn get(&self, path: &str) -> Result<Option<Object>> {
        (**self).get(path).await
    }
    async fn delete(&self, path: &str) -> Result<()> {
        (**self).delete(path).await
    }
}
