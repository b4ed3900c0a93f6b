//! The executor of a project's processes: with which files and which secrets does one run?

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aiflow_core::executor::{
    Executor, ExecutorCapabilities, ExecutorHost, Launch, LogChunk, LogStream, Observation, Signal, StopMode,
    Submission,
};
use aiflow_core::id::{AttemptId, ProjectName};
use aiflow_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::snapshot::{PROJECT_MEMBER, SnapshotId, Snapshots};
use crate::submit::place;

/// The largest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

type Look = dyn Fn(&ProjectName, &str) -> Result<Option<String>> + Send + Sync;

/// Where secrets are looked up when a process starts.
#[derive(Clone)]
pub struct Secrets(Arc<Look>);

impl Secrets {
    /// Looked up by code of the host: a project, and the name of a secret.
    pub fn by(look: impl Fn(&ProjectName, &str) -> Result<Option<String>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }

    /// The secret NAME is the variable `<prefix>NAME` of this process.
    #[must_use]
    pub fn of_process(prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        Self::by(move |_, name| Ok(std::env::var(format!("{prefix}{name}")).ok()))
    }

    /// The secret NAME is the content of the file `NAME` in a directory, without the line end behind it.
    #[must_use]
    pub fn in_directory(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self::by(move |_, name| {
            let path = dir.join(name);
            let failed = |error| {
                Error::new(ErrorKind::Unavailable, "read secret", "the file cannot be read")
                    .with("secret", name)
                    .caused_by(error)
            };
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.len() > SECRET_BYTES_MAX => {
                    Err(Error::invalid("read secret", "the file is too large").with("secret", name))
                }
                Ok(_) => {
                    let text = std::fs::read_to_string(&path).map_err(failed)?;
                    Ok(Some(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed(error)),
            }
        })
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// Gives each process of a project the files of its snapshot and its secrets, and leaves the rest to another executor.
///
/// Register it as `process`. What a definition says of snapshots and secrets reaches the other executor as a working directory and
/// variables, so secrets are where those of a process are: in its environment, in no record and in no file of AIFlow.
#[derive(Debug, Clone)]
pub struct ProjectExecutor {
    inner: Arc<dyn Executor>,
    snapshots: Option<Snapshots>,
    secrets: Option<Secrets>,
}

impl ProjectExecutor {
    /// Around the executor of processes.
    #[must_use]
    pub fn new(inner: impl Executor + 'static) -> Self {
        Self { inner: Arc::new(inner), snapshots: None, secrets: None }
    }

    /// Sets where snapshots are unpacked from.
    #[must_use]
    pub fn snapshots(mut self, snapshots: Snapshots) -> Self {
        self.snapshots = Some(snapshots);
        self
    }

    /// Sets where secrets are looked up.
    #[must_use]
    pub fn secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// The launch as the other executor understands it.
    async fn prepared(&self, mut launch: Launch) -> Result<Launch> {
        let Value::Object(spec) = &mut launch.spec else { return Ok(launch) };
        if let Some(project) = spec.remove(PROJECT_MEMBER) {
            let id = project.get("snapshot").and_then(Value::as_str).unwrap_or_default();
            let id = SnapshotId::parse(id)?;
            let snapshots = self.snapshots.as_ref().ok_or_else(|| {
                Error::invalid("submit", "the process runs with a snapshot, and this host has no snapshots")
                    .with("snapshot", &id)
            })?;
            let dir = snapshots.fetch(&launch.project, &id).await?;
            let dir = std::path::absolute(&dir)
                .map_err(|error| Error::invalid("submit", "the directory of snapshots has no path").caused_by(error))?;
            place(spec, &dir, launch.workflow.as_str());
        }
        if let Some(Value::Object(secrets)) = spec.remove("secrets") {
            self.reveal(&launch.project, &secrets, spec)?;
        }
        Ok(launch)
    }

    fn reveal(&self, project: &ProjectName, secrets: &Map<String, Value>, spec: &mut Map<String, Value>) -> Result<()> {
        let missing = |name: &str| {
            Error::invalid("submit", "the process needs a secret that this host does not have")
                .with("secret", name.escape_debug())
        };
        let env = spec.entry("env").or_insert_with(|| Map::new().into());
        for (variable, name) in secrets {
            let name = name.as_str().unwrap_or_default();
            let is_name = !name.is_empty()
                && !name.starts_with('.')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
            let found = match &self.secrets {
                Some(secrets) if is_name => (secrets.0)(project, name)?,
                _ => None,
            };
            let secret = found.ok_or_else(|| missing(name))?;
            if let Value::Object(env) = env {
                env.insert(variable.clone(), secret.into());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Executor for ProjectExecutor {
    async fn attach(&self, host: ExecutorHost) -> Result<()> {
        self.inner.attach(host).await
    }

    async fn submit(&self, launch: Launch) -> Result<Submission> {
        let attempt = launch.attempt;
        match self.prepared(launch).await {
            Ok(launch) => self.inner.submit(launch).await,
            // What was accepted before goes on, whatever has become of its secrets since.
            Err(error) => match self.inner.observe(&[attempt]).await?.first() {
                None | Some(Observation::NotFound) => Err(error),
                Some(_) => Ok(Submission::AlreadySubmitted),
            },
        }
    }

    async fn observe(&self, attempts: &[AttemptId]) -> Result<Vec<Observation>> {
        self.inner.observe(attempts).await
    }

    async fn stop(&self, attempt: AttemptId, mode: StopMode) -> Result<()> {
        self.inner.stop(attempt, mode).await
    }

    async fn signal(&self, attempt: AttemptId, signal: Signal) -> Result<()> {
        self.inner.signal(attempt, signal).await
    }

    async fn logs(&self, attempt: AttemptId, stream: LogStream, from: u64, bytes_max: usize) -> Result<LogChunk> {
        self.inner.logs(attempt, stream, from, bytes_max).await
    }

    fn log_location(&self, attempt: AttemptId) -> Option<String> {
        self.inner.log_location(attempt)
    }

    fn capabilities(&self) -> ExecutorCapabilities {
        self.inner.capabilities()
    }

    async fn shutdown(&self) -> Result<()> {
        self.inner.shutdown().await
    }
}
