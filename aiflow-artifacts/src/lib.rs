//! Files of jobs in a folder or an object store: an [`ArtifactStore`].
//!
//! ```
//! use aiflow_artifacts::ObjectArtifacts;
//! use aiflow_core::function::{FunctionExecutor, Functions};
//!
//! # fn main() -> aiflow_core::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let folder = folder.path();
//! let executor = FunctionExecutor::new(Functions::new()).artifact_store(ObjectArtifacts::folder(folder)?);
//! # drop(executor);
//! # Ok(()) }
//! ```
//!
//! [`ObjectArtifacts::open`] takes a URL: `file:///…` always. For `s3://…`, `gs://…` or `az://…` the application names, beside this crate, the crate
//! `object_store` with the feature of the platform, which reaches this one:
//!
//! ```toml
//! object_store = { version = "0.14", default-features = false, features = ["aws"] }   # or "gcp", "azure"
//! ```
//!
//! Credentials come from the environment in the way of each platform: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
//! `AWS_ENDPOINT_URL`; `GOOGLE_SERVICE_ACCOUNT`; `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`; and others that
//! `object_store` documents. There is no feature for it here: it would do no more than this line, and the clients are as much to build as all
//! the rest (HTTP, TLS with a C compiler, XML).

use std::path::Path;
use std::sync::Arc;

use aiflow_core::artifact_store::{ArtifactStore, Object, StoredObject, check_path, check_size};
use aiflow_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _, parse_url_opts};
use url::Url;

/// An [`ArtifactStore`] on any store of the crate `object_store`.
///
/// A clone is the same store. In a folder, files are written beside their place, flushed to the disk and renamed; several processes may use the
/// folder.
#[derive(Debug, Clone)]
pub struct ObjectArtifacts {
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    /// Where it is, without a slash at the end.
    uri: String,
}

impl ObjectArtifacts {
    /// A folder of this machine, which is made if it is missing.
    ///
    /// # Errors
    /// `Unavailable`: it cannot be made. `Invalid`: the path is not one that a URL can say.
    pub fn folder(path: impl AsRef<Path>) -> Result<Self> {
        let unusable = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "open artifacts", "the folder cannot be used")
                .with("path", path.as_ref().display())
                .caused_by(error)
        };
        std::fs::create_dir_all(&path).map_err(unusable)?;
        let path = path.as_ref().canonicalize().map_err(unusable)?;
        let url = Url::from_directory_path(&path)
            .map_err(|()| Error::invalid("open artifacts", "the folder has no URL").with("path", path.display()))?;
        let store = LocalFileSystem::new_with_prefix(&path).map_err(|error| into_error(error, "open artifacts"))?;
        let uri = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { store: Arc::new(store.with_fsync(true)), prefix: ObjectPath::default(), uri })
    }

    /// What a URL names: `file:///var/lib/aiflow/files`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, each with
    /// the feature of `object_store` for it.
    ///
    /// # Errors
    /// `Invalid`: it is no URL, or one of a store that this build does not know. Others are those of [`folder`](Self::folder).
    pub fn open(url: &str) -> Result<Self> {
        let problem = |message: &'static str| Error::invalid("open artifacts", message);
        let url = Url::parse(url).map_err(|error| problem("this is no URL").caused_by(error))?;
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| problem("the URL names no folder of this machine"))?;
            return Self::folder(path);
        }
        // What the environment says in the words of each platform (AWS_REGION, GOOGLE_APPLICATION_CREDENTIALS, …). The rest is nothing to the
        // store: it would take a TOKEN, a REGION or a TIMEOUT for its own.
        let (store, prefix) = parse_url_opts(&url, std::env::vars().filter(|(name, _)| is_of_platform(name))).map_err(|error| {
            problem("this build knows no artifact store for the URL; does the application depend on object_store with the feature aws, gcp or azure?")
                .with("scheme", url.scheme())
                .caused_by(error)
        })?;
        let uri = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { store: Arc::from(store), prefix, uri })
    }

    /// Any store of the crate `object_store`, from its root; `uri` is where it is, for people and metadata: `s3://bucket`.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, uri: impl Into<String>) -> Self {
        let uri = uri.into().trim_end_matches('/').to_owned();
        Self { store, prefix: ObjectPath::default(), uri }
    }

    fn place(&self, path: &str) -> Result<ObjectPath> {
        check_path(path)?;
        Ok(path.split('/').fold(self.prefix.clone(), |place, part| place.join(part)))
    }

    fn uri_of(&self, path: &str) -> String {
        format!("{}/{path}", self.uri)
    }
}

#[async_trait]
impl ArtifactStore for ObjectArtifacts {
    async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<StoredObject> {
        check_size(bytes.len())?;
        let stored = StoredObject::of(&bytes, self.uri_of(path));
        self.store.put(&self.place(path)?, bytes.into()).await.map_err(|error| into_error(error, "put"))?;
        Ok(stored)
    }

    async fn get(&self, path: &str) -> Result<Option<Object>> {
        let found = match self.store.get(&self.place(path)?).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(|error| into_error(error, "get"))?,
        };
        check_size(usize::try_from(found.meta.size).unwrap_or(usize::MAX))?;
        let bytes: Vec<u8> = found.bytes().await.map_err(|error| into_error(error, "get"))?.into();
        Ok(Some(Object { stored: StoredObject::of(&bytes, self.uri_of(path)), bytes }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        match self.store.delete(&self.place(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(into_error(error, "delete")),
        }
    }
}

/// Whether a variable of the environment is one of a platform with an object store.
fn is_of_platform(name: &str) -> bool {
    ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|platform| name.starts_with(platform))
}

fn into_error(error: object_store::Error, operation: &'static str) -> Error {
    let is_full = |error: &(dyn std::error::Error + 'static)| {
        let mut source = Some(error);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                return matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
            }
            source = error.source();
        }
        false
    };
    let (kind, message) = match &error {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            (ErrorKind::Invalid, "the artifact store refuses access")
        }
        object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => {
            (ErrorKind::Unsupported, "the artifact store cannot do this")
        }
        error if is_full(error) => (ErrorKind::Full, "the artifact store has no space"),
        _ => (ErrorKind::Unavailable, "the artifact store does not answer as it should"),
    };
    Error::new(kind, operation, message).caused_by(error)
}
