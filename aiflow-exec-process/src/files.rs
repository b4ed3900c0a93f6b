//! Artifacts of a job: what is laid before it, and what becomes of the files that it leaves?

use std::collections::BTreeMap;
use std::fs::{DirBuilder, DirEntry, Metadata};
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::time::Duration;

use aiflow_core::artifact_files::{ARTIFACT_DIGEST, ARTIFACT_SIZE, ArtifactFiles};
use aiflow_core::artifact_store::OBJECT_BYTES_MAX;
use aiflow_core::executor::{Ending, Launch};
use aiflow_core::id::EntityName;
use aiflow_core::meta::Artifact;
use aiflow_core::{Error, ErrorKind, Result, Retry};
use serde_json::{Map, Value, json};

use crate::launch::make_ready;
use crate::rundir::{DIR_MODE, RECORD_BYTES_MAX, Record, RunDir, open_plain, read_plain};
use crate::shared::{Shared, blocking, blocking_io};
use crate::spec::{JOB_ARTIFACTS_MAX, ProcessSpec};

/// How often files are kept again when the store does not answer; then another attempt may have more luck.
const KEEP_TRIES_MAX: u32 = 20;
const KEEP_PAUSE_MIN: Duration = Duration::from_millis(20);
const KEEP_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Kind of the failure of a job that left files which cannot be kept, or not those that it says to write.
const BAD_OUTPUT: &str = "bad_output";

/// Lays the artifacts before an attempt that it reads, unless it was accepted before.
pub(crate) async fn lay(shared: &Shared, dir: &RunDir, launch: &Launch) -> Result<()> {
    // What is wrong with the specification is said by whoever starts the process.
    let Ok(spec) = ProcessSpec::from_spec(&launch.spec) else { return Ok(()) };
    if spec.reads.is_empty() && spec.writes.is_empty() {
        return Ok(());
    }
    let (ready, known) = (dir.clone(), launch.clone());
    if !blocking("submit", move || make_ready(&ready, &known)).await? {
        return Ok(());
    }
    let laid = lay_all(shared, dir, launch, spec.reads).await;
    if laid.as_ref().is_err_and(|error| error.retry() == Retry::Never) {
        // The refusal is final: a wrapper of an earlier submission must not start after it.
        let dir = dir.clone();
        blocking_io("submit", move || dir.bar()).await?;
    }
    laid
}

async fn lay_all(shared: &Shared, dir: &RunDir, launch: &Launch, reads: Vec<String>) -> Result<()> {
    if shared.files.is_none() {
        let message = "the job reads or writes artifacts, and the executor was given no artifact store";
        return Err(Error::invalid("submit", message));
    }
    let not_attached = || Error::new(ErrorKind::Unavailable, "submit", "the executor is not attached to a scheduler");
    let artifacts = shared.artifacts(&launch.identity()).ok_or_else(not_attached)?;
    let mut laid = Map::new();
    for name in reads {
        let (artifact, bytes) = artifacts.find(&name).await?;
        laid.insert(name.clone(), described(&artifact));
        let dir = dir.clone();
        blocking_io("submit", move || dir.lay(&name, &bytes)).await?;
    }
    let dir = dir.clone();
    blocking_io("submit", move || dir.mark_laid(&laid.into())).await
}

/// Digest and size of an artifact, as it says them itself.
fn described(artifact: &Artifact) -> Value {
    let properties = &artifact.notes.properties;
    let said = |name: &str| (name.to_owned(), properties.get(name).map(|value| json!(value)).unwrap_or_default());
    Value::Object([ARTIFACT_DIGEST, ARTIFACT_SIZE].map(said).into_iter().collect())
}

/// Keeps the files that an attempt has left, if it succeeded, and gives the ending that follows; `None` if the executor closes before.
pub(crate) async fn keep(shared: &Shared, dir: &RunDir, record: &Record, ending: Ending) -> Option<Ending> {
    let mut pause = KEEP_PAUSE_MIN;
    for n in 1..=KEEP_TRIES_MAX {
        let (looked, so_far) = (dir.clone(), ending.clone());
        let kept = match blocking_io("keep outputs", move || looked.has_unkept_outputs(&so_far)).await {
            Ok(false) => return Some(ending),
            Ok(true) => keep_all(shared, dir, record).await,
            Err(error) => Err(error),
        };
        let error = match kept {
            Ok(ending) => return Some(ending),
            Err(error) => error,
        };
        let attempt = record.identity.attempt;
        if error.retry() == Retry::Never || n == KEEP_TRIES_MAX {
            let failed = Ending::failed(format!("its outputs could not be kept: {error}"));
            let (dir, ending) = (dir.clone(), failed.clone());
            if let Err(error) = blocking_io("keep outputs", move || dir.mark_kept(&ending)).await {
                tracing::warn!(%attempt, %error, "cannot record that the outputs of a job could not be kept");
            }
            return Some(failed);
        }
        tracing::warn!(%attempt, %error, "the outputs of a job wait for the artifact store");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.closed() => return None,
        }
        pause = (pause * 2).min(KEEP_PAUSE_MAX);
    }
    None
}

/// Keeps all files, or none if there is something wrong with one, and writes down the ending.
async fn keep_all(shared: &Shared, dir: &RunDir, record: &Record) -> Result<Ending> {
    let (listed, writes) = (dir.clone(), record.writes.clone().unwrap_or_default());
    let names = blocking_io("keep outputs", move || list(&listed, &writes)).await?;
    let ending = match names {
        Ok(names) => {
            let not_attached =
                || Error::new(ErrorKind::Unavailable, "keep outputs", "the executor is not attached to a scheduler");
            let artifacts = shared.artifacts(&record.identity).ok_or_else(not_attached)?;
            let wrote = save(&artifacts, dir, names).await?;
            let read = dir.clone();
            let laid = blocking_io("keep outputs", move || read.laid()).await?;
            let parts = [("read", laid.unwrap_or_default()), ("wrote", wrote.into())];
            let is_some = |part: &Value| part.as_object().is_some_and(|part| !part.is_empty());
            let output = parts.into_iter().filter(|(_, part)| is_some(part));
            Ending::Succeeded { output: output.map(|(name, part)| (name.to_owned(), part)).collect() }
        }
        Err(problem) => {
            Ending::Failed { message: problem, exit_code: Some(0), kind: Some(BAD_OUTPUT.to_owned()), retryable: true }
        }
    };
    let (marked, written) = (dir.clone(), ending.clone());
    blocking_io("keep outputs", move || marked.mark_kept(&written)).await?;
    Ok(ending)
}

async fn save(artifacts: &ArtifactFiles, dir: &RunDir, names: Vec<String>) -> Result<Map<String, Value>> {
    let mut wrote = Map::new();
    for name in names {
        let path = dir.outputs().join(&name);
        let read = move || {
            let mut bytes = Vec::new();
            open_plain(&path)?.take(OBJECT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = blocking_io("keep outputs", read).await?;
        let artifact = artifacts.save(&name, bytes).await?;
        wrote.insert(name, described(&artifact));
    }
    Ok(wrote)
}

/// The names of the files that are to be kept, or what is wrong with one of them.
fn list(dir: &RunDir, writes: &[String]) -> std::io::Result<std::result::Result<Vec<String>, String>> {
    let mut found: BTreeMap<String, Metadata> = BTreeMap::new();
    for entry in dir.left()? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| EntityName::parse(name).is_ok()) else {
            return Ok(Err(format!("it left {name:?} in AIFLOW_OUTPUTS, which is no name of an artifact")));
        };
        found.insert(name.to_owned(), entry.metadata()?);
        if found.len() > JOB_ARTIFACTS_MAX {
            return Ok(Err(format!("it left more than {JOB_ARTIFACTS_MAX} files in AIFLOW_OUTPUTS")));
        }
    }
    for (name, metadata) in &found {
        if !metadata.is_file() {
            return Ok(Err(format!("it left {name} in AIFLOW_OUTPUTS, which is no file")));
        }
        if metadata.len() > OBJECT_BYTES_MAX as u64 {
            let bytes = metadata.len();
            return Ok(Err(format!("its output {name} has {bytes} bytes, at most {OBJECT_BYTES_MAX} are allowed")));
        }
    }
    Ok(match writes.iter().find(|name| !found.contains_key(*name)) {
        Some(missing) => Err(format!("it did not leave its output {missing} in AIFLOW_OUTPUTS")),
        None => Ok(found.into_keys().collect()),
    })
}

/// What the run directory holds of artifacts.
impl RunDir {
    /// The directories of files that are laid before the job, and of those that it leaves.
    pub(crate) fn make_folders(&self) -> std::io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.mode(DIR_MODE).recursive(true).create(self.inputs())?;
        builder.create(self.outputs())
    }

    /// Whether what an attempt that succeeded read and left has not been written down yet, and its files have not become artifacts.
    pub(crate) fn has_unkept_outputs(&self, ending: &Ending) -> std::io::Result<bool> {
        if !matches!(ending, Ending::Succeeded { .. }) || self.kept()?.is_some() {
            return Ok(false);
        }
        if self.record()?.is_none_or(|record| record.writes.is_none()) {
            return Ok(false);
        }
        Ok(self.laid()?.is_some() || self.left()?.next().is_some())
    }

    /// The files that the job has left; none if it has removed their directory.
    fn left(&self) -> std::io::Result<impl Iterator<Item = std::io::Result<DirEntry>>> {
        match std::fs::read_dir(self.outputs()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
            read => read.map(|entries| Some(entries).into_iter().flatten()),
        }
    }

    /// How an attempt that succeeded ended, once its files have become artifacts.
    pub(crate) fn kept(&self) -> std::io::Result<Option<Ending>> {
        match read_plain(&self.path().join("kept.json"), RECORD_BYTES_MAX) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Records how an attempt that succeeded ended, now that its files have become artifacts.
    pub(crate) fn mark_kept(&self, ending: &Ending) -> std::io::Result<()> {
        self.replace("kept.json", &serde_json::to_vec(ending)?)
    }

    /// Lays an artifact before the job.
    pub(crate) fn lay(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.replace(&format!("inputs/{name}"), bytes)
    }

    /// Records what was laid before a job that reads or writes artifacts.
    pub(crate) fn mark_laid(&self, laid: &serde_json::Value) -> std::io::Result<()> {
        self.replace("inputs.json", laid.to_string().as_bytes())
    }

    /// What was laid before the job.
    pub(crate) fn laid(&self) -> std::io::Result<Option<serde_json::Value>> {
        match read_plain(&self.path().join("inputs.json"), RECORD_BYTES_MAX) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
