//! Taking snapshots: which files of a project belong to each workflow?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use aiflow_core::id::WorkflowName;
use aiflow_core::{Error, ErrorKind, Result};
use object_store::{ObjectStore as _, PutMode, PutOptions, PutPayload};

use super::manifest::{File, Manifest, SNAPSHOT_FILE_BYTES_MAX, SNAPSHOT_FILES_MAX, SNAPSHOT_NESTING_MAX, digest};
use super::{SnapshotId, Snapshots, broken};
use crate::project::{Project, ProjectWorkflow};

/// What is never part of a snapshot: what is made anew, and what belongs to other tools.
const IGNORED: [&str; 5] = ["generated", ".git", "__pycache__", "*.pyc", ".venv"];

/// A file of a snapshot, and where it is read.
type Found = (File, PathBuf);

impl Snapshots {
    /// Takes a snapshot of the files of each workflow of a project: its own directory, and all that lies in the directory of no other, without
    /// `generated/`, what Python and Git leave there, and what the project's `ignore` names. The same files give the same snapshot, on every
    /// machine; what the object store has is not written again.
    ///
    /// A link is taken as the file that it names, if that lies in the project.
    ///
    /// # Errors
    /// `Invalid`: a link that leads out of the project or to a directory, something that is no file, a name that is no UTF-8, or more or larger files
    /// than a snapshot may have. `Unavailable`: the object store refused.
    pub async fn take(&self, project: &Project) -> Result<BTreeMap<WorkflowName, SnapshotId>> {
        let (dir, ignore) = (project.dir.clone(), project.ignore.clone());
        let walk = tokio::task::spawn_blocking(move || walk(&dir, &ignore));
        let found = walk.await.map_err(|error| {
            Error::new(ErrorKind::Internal, "take snapshot", "the walk ended early").caused_by(error)
        })??;
        let names: BTreeSet<&str> =
            project.workflows().iter().map(|workflow| workflow.workflow.name.as_str()).collect();
        let mut taken = BTreeMap::new();
        for ProjectWorkflow { workflow, .. } in project.workflows() {
            let own = workflow.name.as_str();
            let of_it = found.iter().filter(|(file, _)| owner(&file.path, &names).is_none_or(|owner| owner == own));
            let id = self.keep(project, &of_it.collect::<Vec<_>>()).await?;
            taken.insert(workflow.name.clone(), id);
        }
        Ok(taken)
    }

    /// Keeps these files as a snapshot.
    async fn keep(&self, project: &Project, found: &[&Found]) -> Result<SnapshotId> {
        let manifest = Manifest::new(found.iter().map(|(file, _)| file.clone()).collect());
        if let Some(problem) = manifest.problem() {
            return Err(Error::invalid("take snapshot", problem).with("project", &project.name));
        }
        let bytes = manifest.to_bytes();
        let id = SnapshotId(digest(&bytes));
        // The list is written last: where it is, all of its files are.
        let list = Self::list_key(&project.name, &id);
        if self.has(&list).await? {
            return Ok(id);
        }
        for (file, path) in found {
            let key = Self::file_key(&project.name, &file.sha256);
            if self.has(&key).await? {
                continue;
            }
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || read(&path));
            let content = read.await.map_err(|error| {
                Error::new(ErrorKind::Internal, "take snapshot", "the read ended early").caused_by(error)
            })??;
            if digest(&content) != file.sha256 {
                let message = "a file changed while the snapshot was taken; take it again";
                return Err(Error::new(ErrorKind::Conflict, "take snapshot", message).with("file", &file.path));
            }
            self.put(&key, content).await?;
        }
        self.put(&list, bytes).await?;
        Ok(id)
    }

    /// Writes an object that is named by its content: whoever writes it second writes the same.
    async fn put(&self, key: &object_store::path::Path, bytes: Vec<u8>) -> Result<()> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(key, PutPayload::from(bytes), options).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(broken("take snapshot", error)),
        }
    }
}

/// The workflow in whose directory a file lies.
fn owner<'a>(path: &'a str, workflows: &BTreeSet<&str>) -> Option<&'a str> {
    let (workflow, _) = path.strip_prefix("workflows/")?.split_once('/')?;
    workflows.contains(workflow).then_some(workflow)
}

fn refuse(path: &Path, message: impl Into<String>) -> Error {
    Error::invalid("take snapshot", message).with("file", path.display())
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "take snapshot", "a file cannot be read")
        .with("file", path.display())
        .caused_by(error)
}

/// All files of a directory, each with the path to read it at.
fn walk(dir: &Path, ignore: &[String]) -> Result<Vec<Found>> {
    let root = dir.canonicalize().map_err(|error| unreadable(dir, error))?;
    let mut found = Vec::new();
    let mut dirs = vec![(root.clone(), String::new(), 0_usize)];
    while let Some((dir, prefix, depth)) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(|error| unreadable(&dir, error))? {
            let entry = entry.map_err(|error| unreadable(&dir, error))?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| refuse(&path, "the name is no UTF-8"))?;
            if IGNORED.iter().copied().chain(ignore.iter().map(String::as_str)).any(|pattern| is_like(name, pattern)) {
                continue;
            }
            let relative = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(|error| unreadable(&path, error))?;
            if kind.is_dir() {
                if depth >= SNAPSHOT_NESTING_MAX {
                    return Err(refuse(&path, format!("nested deeper than {SNAPSHOT_NESTING_MAX}")));
                }
                dirs.push((path, format!("{relative}/"), depth.saturating_add(1)));
                continue;
            }
            let target = if kind.is_symlink() { followed(&root, &path)? } else { path };
            found.push((described(&target, relative)?, target));
            if found.len() > SNAPSHOT_FILES_MAX {
                return Err(refuse(&root, format!("there are more than {SNAPSHOT_FILES_MAX} files")));
            }
        }
    }
    Ok(found)
}

/// Whether a name is like a pattern: itself, or with a star at one end.
fn is_like(name: &str, pattern: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
    }
}

/// The file that a link leads to.
fn followed(root: &Path, link: &Path) -> Result<PathBuf> {
    let target = link.canonicalize().map_err(|error| refuse(link, "the link leads nowhere").caused_by(error))?;
    if !target.starts_with(root) {
        return Err(refuse(link, "the link leads out of the project"));
    }
    Ok(target)
}

fn described(path: &Path, relative: String) -> Result<File> {
    let metadata = fs::symlink_metadata(path).map_err(|error| unreadable(path, error))?;
    if !metadata.is_file() {
        return Err(refuse(path, "this is no file"));
    }
    let content = read(path)?;
    Ok(File {
        path: relative,
        bytes: content.len() as u64,
        sha256: digest(&content),
        executable: is_executable(&metadata),
    })
}

#[cfg(unix)]
fn is_executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &fs::Metadata) -> bool {
    false
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = fs::File::open(path).map_err(|error| unreadable(path, error))?;
    file.take(SNAPSHOT_FILE_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|error| unreadable(path, error))?;
    if content.len() as u64 > SNAPSHOT_FILE_BYTES_MAX {
        return Err(refuse(path, format!("the file has more than {SNAPSHOT_FILE_BYTES_MAX} bytes")));
    }
    Ok(content)
}
