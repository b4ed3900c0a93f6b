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
//! [`ObjectArtifacts::open`] takes a URL. `file:///…` is always known; each cloud has a feature, here and of `aiflow`:
//!
//! | feature | URL | what the environment says |
//! |---|---|---|
//! | `s3` | `s3://bucket/prefix` | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`; `AWS_ENDPOINT_URL`, and `AWS_ALLOW_HTTP=true` if that is no `https`, for other servers of this protocol |
//! | `gcs` | `gs://bucket/prefix` | `GOOGLE_SERVICE_ACCOUNT` or `GOOGLE_APPLICATION_CREDENTIALS`, the path of a file |
//! | `azure` | `az://container/prefix` | `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY` |
//!
//! and what else `object_store` documents of these three. Nothing else of the environment is looked at, and no secret stands in a URL: URLs are
//! kept with the metadata of files.
//!
//! # TLS
//! Its cryptography is that of `ring`, which [`open`](ObjectArtifacts::open) makes the one of this process if the application has chosen none
//! (`CryptoProvider::install_default` of `rustls`, best at the start of `main`). Whoever makes a client of `object_store` for
//! [`ObjectArtifacts::new`] has to do so. Servers are trusted that the operating system trusts.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aiflow_core::artifact_store::{ArtifactStore, Object, StoredObject, check_path, check_size};
use aiflow_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, parse_url_opts};
use url::Url;

/// An [`ArtifactStore`] on any store of the crate `object_store`.
///
/// A clone is the same store. In a folder, files are written beside their place, flushed to the disk and renamed; several processes may use the
/// folder. In a cloud, a call is repeated as `object_store` does it, up to ten times within three minutes.
#[derive(Clone)]
pub struct ObjectArtifacts {
    store: Arc<dyn ObjectStore>,
    /// Where it is, without a slash at the end.
    uri: String,
}

/// Without the store: some clients show their keys.
impl fmt::Debug for ObjectArtifacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectArtifacts").field("uri", &self.uri).finish_non_exhaustive()
    }
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
        Ok(Self::new(Arc::new(store.with_fsync(true)), url))
    }

    /// What a URL names: `file:///var/lib/aiflow/files`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`; see [the table](crate).
    ///
    /// In a cloud, nothing is asked here: that a bucket is missing, or access to it, is found by the first call.
    ///
    /// # Errors
    /// `Invalid`: it is no URL, says more than a place, or what the environment says of the platform is not right. `Unsupported`: this build knows no such
    /// store. Others are those of [`folder`](Self::folder).
    pub fn open(url: &str) -> Result<Self> {
        let problem = |message: &'static str| Error::invalid("open artifacts", message);
        let url = Url::parse(url).map_err(|error| problem("this is no URL").caused_by(error))?;
        if url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(problem("the URL says more than a place; credentials belong into the environment"));
        }
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| problem("the URL names no folder of this machine"))?;
            return Self::folder(path);
        }
        check_build(&url)?;
        choose_cryptography();
        let (store, prefix) = parse_url_opts(&url, of_platforms(std::env::vars_os())).map_err(|error| {
            problem("the store of the URL cannot be opened").with("scheme", url.scheme()).caused_by(error)
        })?;
        Ok(Self::new(Arc::new(PrefixStore::new(store, prefix)), url))
    }

    /// Any store of the crate `object_store`, from its root; `uri` is where it is, for people and metadata: `s3://bucket`.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, uri: impl Into<String>) -> Self {
        Self { store, uri: uri.into().trim_end_matches('/').to_owned() }
    }

    /// The store beneath, with this place as its root: for other things that lie in one, such as the snapshots of projects
    /// (`Snapshots::new(ObjectArtifacts::open("s3://bucket/snapshots")?.object_store(), …)`).
    #[must_use]
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
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
        self.store.put(&place(path)?, bytes.into()).await.map_err(|error| into_error(error, "put"))?;
        Ok(stored)
    }

    async fn get(&self, path: &str) -> Result<Option<Object>> {
        let found = match self.store.get(&place(path)?).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(|error| into_error(error, "get"))?,
        };
        check_size(usize::try_from(found.meta.size).unwrap_or(usize::MAX))?;
        let bytes: Vec<u8> = found.bytes().await.map_err(|error| into_error(error, "get"))?.into();
        Ok(Some(Object { stored: StoredObject::of(&bytes, self.uri_of(path)), bytes }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        match self.store.delete(&place(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(into_error(error, "delete")),
        }
    }
}

fn place(path: &str) -> Result<ObjectPath> {
    check_path(path)?;
    Ok(path.split('/').collect())
}

/// Whether the clients of this build know the URL.
fn check_build(url: &Url) -> Result<()> {
    let unsupported = |message: &'static str| {
        Err(Error::new(ErrorKind::Unsupported, "open artifacts", message).with("scheme", url.scheme()))
    };
    match ObjectStoreScheme::parse(url) {
        Ok((ObjectStoreScheme::AmazonS3, _)) if !cfg!(feature = "s3") => unsupported("this needs the feature s3"),
        Ok((ObjectStoreScheme::GoogleCloudStorage, _)) if !cfg!(feature = "gcs") => {
            unsupported("this needs the feature gcs")
        }
        Ok((ObjectStoreScheme::MicrosoftAzure, _)) if !cfg!(feature = "azure") => {
            unsupported("this needs the feature azure")
        }
        Ok((
            ObjectStoreScheme::AmazonS3 | ObjectStoreScheme::GoogleCloudStorage | ObjectStoreScheme::MicrosoftAzure,
            _,
        )) => Ok(()),
        Ok(_) | Err(_) => unsupported("no artifact store has such a URL; known are file, s3, gs and az"),
    }
}

/// Sets what TLS computes with, unless the application has. Of two that set it at once, the first counts.
fn choose_cryptography() {
    #[cfg(feature = "_cloud")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The variables of an environment in the words of a platform (`AWS_REGION`, `GOOGLE_APPLICATION_CREDENTIALS`, …). The rest is nothing to the
/// store: it would take a `TOKEN`, a `REGION` or a `TIMEOUT` for its own. So is what is no text.
fn of_platforms(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let is_of_platform = |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|platform| name.starts_with(platform));
    environment.into_iter().filter_map(text).filter(|(name, _)| is_of_platform(name)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_environment_only_what_platforms_call_their_own_is_passed_on() {
        let passed = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "GOOGLE_SERVICE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_KEY"];
        let others =
            ["REGION", "TOKEN", "TIMEOUT", "ENDPOINT", "BUCKET", "MY_AWS_REGION", "AWSREGION", "aws_region", "AWS", ""];
        let all = passed.iter().chain(&others).map(|name| (OsString::from(name), OsString::from("x")));
        let found: Vec<String> = of_platforms(all).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, passed);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_text_is_passed_by() {
        use std::os::unix::ffi::OsStringExt as _;
        let broken = || OsString::from_vec(b"AWS_\xff".to_vec());
        let all = [(broken(), "x".into()), ("AWS_REGION".into(), broken()), ("AWS_REGION".into(), "eu".into())];
        assert_eq!(of_platforms(all), [("AWS_REGION".to_owned(), "eu".to_owned())]);
    }
}
