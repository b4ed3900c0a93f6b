//! Unpacking: once for each host, whatever crashes meanwhile.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use aiflow_core::id::ProjectName;
use aiflow_core::{Error, ErrorKind, Result};
use object_store::ObjectStoreExt as _;

use super::manifest::{File, LIST_BYTES_MAX, Manifest, digest};
use super::{SnapshotId, Snapshots, broken};

impl Snapshots {
    /// The directory of this host that holds the files of a snapshot; unpacks it if it is not there.
    ///
    /// It is unpacked beside its place under a lock that ends with its process, and comes to its place as a whole: who finds it finds all of
    /// it, and a crash leaves nothing that anybody would wait for. Its files cannot be written.
    ///
    /// # Errors
    /// `NotFound`: there is no such snapshot. `Corrupt`: it is not what its name says, or unsafe to unpack. `Unavailable`: the object store or
    /// the disk refused.
    pub async fn fetch(&self, project: &ProjectName, id: &SnapshotId) -> Result<PathBuf> {
        let place = self.place(project, id);
        if place.is_dir() {
            return Ok(place);
        }
        let lock = lock(self.beside(project, id, "lock")).await?;
        // Somebody else may have unpacked it while this waited.
        if !place.is_dir() {
            let part = self.beside(project, id, "part");
            remove(&part)?;
            self.unpack(project, id, &part).await?;
            fs::rename(&part, &place).map_err(|error| unwritable(&place, error))?;
            sync(place.parent().unwrap_or(&place))?;
        }
        drop(lock);
        Ok(place)
    }

    pub(super) fn place(&self, project: &ProjectName, id: &SnapshotId) -> PathBuf {
        self.cache.join(project.as_str()).join(id.as_str())
    }

    pub(super) fn beside(&self, project: &ProjectName, id: &SnapshotId, extension: &str) -> PathBuf {
        self.place(project, id).with_extension(extension)
    }

    async fn unpack(&self, project: &ProjectName, id: &SnapshotId, part: &Path) -> Result<()> {
        let list = self.object(&Self::list_key(project, id), LIST_BYTES_MAX, None, id).await?;
        let manifest = Manifest::read(id, &list)?;
        fs::create_dir_all(part).map_err(|error| unwritable(part, error))?;
        for file in &manifest.files {
            let key = Self::file_key(project, &file.sha256);
            let content = self.object(&key, file.bytes, Some(file.bytes), id).await?;
            if digest(&content) != file.sha256 {
                return Err(corrupt(id, "the content of a file is not what its digest says").with("file", &file.path));
            }
            let (target, file) = (part.join(&file.path), file.clone());
            let written = tokio::task::spawn_blocking(move || write(&target, &file, &content)).await;
            written.map_err(|error| {
                Error::new(ErrorKind::Internal, "unpack snapshot", "the write ended early").caused_by(error)
            })??;
        }
        sync(part)
    }

    /// An object of at most so many bytes, or of exactly so many; its size is asked before it is read.
    async fn object(
        &self,
        key: &object_store::path::Path,
        bytes_max: u64,
        bytes: Option<u64>,
        id: &SnapshotId,
    ) -> Result<Vec<u8>> {
        let found = match self.store.get(key).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(Error::not_found(
                    "unpack snapshot",
                    "the object store has no such snapshot, or not all of it",
                )
                .with("snapshot", id));
            }
            Err(error) => return Err(broken("unpack snapshot", error)),
        };
        let size = found.meta.size;
        if size > bytes_max || bytes.is_some_and(|bytes| bytes != size) {
            return Err(corrupt(id, "an object has another size than is said").with("bytes", size).with("object", key));
        }
        Ok(found.bytes().await.map_err(|error| broken("unpack snapshot", error))?.to_vec())
    }
}

fn corrupt(id: &SnapshotId, message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "unpack snapshot", message).with("snapshot", id)
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "unpack snapshot", "cannot write").with("path", path.display()).caused_by(error)
}

/// Waits for the lock; it ends when the file is dropped, or with the process.
pub(super) async fn lock(path: PathBuf) -> Result<fs::File> {
    let locked = tokio::task::spawn_blocking(move || {
        let dir = path.parent().unwrap_or(&path);
        fs::create_dir_all(dir).map_err(|error| unwritable(dir, error))?;
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| unwritable(&path, error))?;
        file.lock().map_err(|error| unwritable(&path, error))?;
        Ok(file)
    });
    locked
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "unpack snapshot", "the lock ended early").caused_by(error))?
}

/// Removes a directory, if it is there.
pub(super) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unwritable(dir, error)),
        _ => Ok(()),
    }
}

fn write(target: &Path, file: &File, content: &[u8]) -> Result<()> {
    let failed = |error| unwritable(target, error);
    if let Some(dir) = target.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    // Never through something that is there already.
    let mut written = fs::OpenOptions::new().write(true).create_new(true).open(target).map_err(failed)?;
    written.write_all(content).map_err(failed)?;
    make_read_only(&written, file.executable).map_err(failed)?;
    written.sync_all().map_err(failed)
}

#[cfg(unix)]
fn make_read_only(file: &fs::File, executable: bool) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(if executable { 0o555 } else { 0o444 }))
}

#[cfg(not(unix))]
fn make_read_only(_: &fs::File, _: bool) -> std::io::Result<()> {
    Ok(())
}

/// Makes the names in a directory durable.
fn sync(dir: &Path) -> Result<()> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| unwritable(dir, error))
}
