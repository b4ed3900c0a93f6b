//! Submission: how do the workflows of a project reach the scheduler?

use std::path::Path;

use aiflow_core::client::AiFlow;
use aiflow_core::id::WorkflowName;
use aiflow_core::workflow::{Diagnostic, Workflow};
use aiflow_core::{Error, Result};
use serde_json::{Map, Value};

use crate::project::Project;
use crate::snapshot::SnapshotId;
use crate::step::PROCESS;

/// What the submission of a workflow came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The workflow.
    pub workflow: WorkflowName,
    /// The version that holds the definition, from 1.
    pub version: u32,
    /// Whether this submission made it.
    pub is_new: bool,
    /// The files that it runs with, if they are kept.
    pub snapshot: Option<SnapshotId>,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
}

impl Project {
    /// Submits all workflows, and sets the pools of the project. What is as it was is not written again.
    ///
    /// Processes run in the directory of their workflow, with `dependencies/python` and that directory in `PYTHONPATH`; so the definitions
    /// that are stored name this directory, and later changes of its code take effect at once.
    ///
    /// # Errors
    /// As [`AiFlow::submit`]. Workflows before the one that failed were submitted.
    pub async fn submit(&self, aiflow: &AiFlow) -> Result<Vec<Submitted>> {
        let aiflow = aiflow.project(self.name.as_str())?;
        self.set_pools(&aiflow).await?;
        let dir = self.absolute()?;
        let mut submitted = Vec::with_capacity(self.workflows.len());
        for workflow in &self.workflows {
            submitted.push(submit(&aiflow, &in_place(&workflow.workflow, &dir), None).await?);
        }
        Ok(submitted)
    }

    /// Submits one workflow; otherwise as [`submit`](Self::submit).
    ///
    /// # Errors
    /// `NotFound`: the project has no such workflow. Others as [`AiFlow::submit`].
    pub async fn submit_one(&self, aiflow: &AiFlow, name: &str) -> Result<Submitted> {
        let workflow = self.workflow(name).ok_or_else(|| {
            Error::not_found("submit", "the project has no such workflow").with("workflow", name.escape_debug())
        })?;
        let aiflow = aiflow.project(self.name.as_str())?;
        self.set_pools(&aiflow).await?;
        submit(&aiflow, &in_place(&workflow.workflow, &self.absolute()?), None).await
    }

    fn absolute(&self) -> Result<std::path::PathBuf> {
        std::path::absolute(&self.dir)
            .map_err(|error| Error::invalid("submit", "the project directory has no path").caused_by(error))
    }

    pub(crate) async fn set_pools(&self, aiflow: &AiFlow) -> Result<()> {
        if self.pools.is_empty() {
            return Ok(());
        }
        let known = aiflow.pools().await?;
        for (name, slots) in &self.pools {
            let is_so = known.iter().any(|known| known.pool.name == *name && known.pool.slots == *slots);
            if !is_so {
                aiflow.set_pool(name.as_str(), *slots).await?;
            }
        }
        Ok(())
    }
}

pub(crate) async fn submit(aiflow: &AiFlow, workflow: &Workflow, snapshot: Option<SnapshotId>) -> Result<Submitted> {
    let done = aiflow.submit(workflow).await?;
    let (version, is_new, warnings) = (done.version, done.is_new, done.warnings);
    Ok(Submitted { workflow: workflow.name.clone(), version, is_new, snapshot, warnings })
}

/// The workflow with its processes in the directory of the project.
fn in_place(workflow: &Workflow, dir: &Path) -> Workflow {
    let mut workflow = workflow.clone();
    for job in workflow.jobs.iter_mut().filter(|job| job.executor.as_str() == PROCESS) {
        if let Value::Object(spec) = &mut job.spec {
            place(spec, dir, workflow.name.as_str());
        }
    }
    workflow
}

/// Lets a process run in the directory of its workflow, below the project at `dir`, and find its Python modules.
pub(crate) fn place(spec: &mut Map<String, Value>, dir: &Path, workflow: &str) {
    let own = dir.join("workflows").join(workflow);
    let cwd = spec.get("cwd").and_then(Value::as_str).map_or_else(|| own.clone(), |cwd| own.join(cwd));
    spec.insert("cwd".to_owned(), cwd.to_string_lossy().into_owned().into());
    let env = spec.entry("env").or_insert_with(|| Map::new().into());
    if let Value::Object(env) = env {
        let python = dir.join("dependencies").join("python");
        let path = format!("{}:{}", python.display(), own.display());
        env.entry("PYTHONPATH").or_insert_with(|| path.into());
        env.entry("PROJECT_DIR").or_insert_with(|| dir.to_string_lossy().into_owned().into());
    }
}
