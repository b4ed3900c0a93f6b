//! Workflows: how are definitions stored as versions, and how are executions started and steered?

use serde_json::Value;

use super::pages::LIVE_STATES;
use super::{AiFlow, CONFLICT_TRIES_MAX, Start, Stop};
use crate::bus::Head;
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EVENT_FIELD_BYTES_MAX, NewEvent};
use crate::execution::{KIND_WORKFLOW, KIND_WORKFLOW_EXECUTION, KIND_WORKFLOW_VERSION, WorkflowState, WorkflowStatus};
use crate::executor::StopMode;
use crate::id::{JobName, Offset, WorkflowExecutionId, WorkflowName, random_id};
use crate::records::{WorkflowVersion, body_of, workflow_id, workflow_key, workflow_version_key, workflow_version_put};
use crate::store::{Batch, MetaStoreExt as _, Query};
use crate::workflow::{Change, ControlEdge, Diagnostic, JobAction, StartPosition, Workflow, hash_of};

/// The most workflows that a project lists.
const WORKFLOWS_LISTED_MAX: usize = 100_000;
/// How often a request is repeated under its id while its outcome is unknown.
const OUTCOME_TRIES_MAX: usize = 3;

/// What a submission came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedVersion {
    /// The version that holds the definition, from 1.
    pub version: u32,
    /// Whether this submission made it; `false` if the latest version was the same already.
    pub is_new: bool,
    /// What the definition says that is probably not meant: jobs that nothing starts, conditions that never hold, rules that feed themselves,
    /// rules that ask for events that are not in the log any more.
    pub warnings: Vec<Diagnostic>,
}

impl AiFlow {
    /// Stores a definition as the next version of its workflow; new executions use it. If the latest version is the same, nothing happens.
    ///
    /// Running executions keep the version they began with. A workflow that was deleted comes back.
    ///
    /// # Errors
    /// `Invalid`: the definition has problems, all of which are named, or belongs to another project, or a rule begins with an event that is yet
    /// to come. `Conflict`: others kept submitting.
    pub async fn submit(&self, workflow: &Workflow) -> Result<SubmittedVersion> {
        if workflow.project != *self.project_name() {
            return Err(Error::invalid(
                "submit",
                "the workflow belongs to another project than this handle; use AiFlow::project",
            )
            .with("workflow", &workflow.name)
            .with("of", &workflow.project)
            .with("handle", self.project_name()));
        }
        let mut warnings = workflow.check();
        self.check_start_positions(workflow, &mut warnings).await?;
        Diagnostic::into_result(&warnings, "submit")?;
        for warning in &warnings {
            tracing::warn!(workflow = %workflow.name, path = warning.path, "{}", warning.message);
        }
        let hash = workflow.content_hash();
        let mut tried = None;
        let mut last_error = None;
        for _ in 0..CONFLICT_TRIES_MAX {
            let latest = self.latest_workflow_version(&workflow.name).await?;
            if let Some(latest) = &latest
                && latest.hash == hash
            {
                let is_new = tried == Some(latest.version);
                if self.workflow(&workflow.name).await?.is_some_and(|state| state.deleted_at.is_some()) {
                    self.restore_workflow(&workflow.name).await?;
                }
                return Ok(SubmittedVersion { version: latest.version, is_new, warnings });
            }
            let version = latest.map_or(0, |latest| latest.version).saturating_add(1);
            match self.store_version(workflow, version, &hash).await {
                Ok(()) => {
                    return Ok(SubmittedVersion { version, is_new: true, warnings });
                }
                Err(error) if error.kind() == ErrorKind::OutcomeUnknown => tried = Some(version),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
            last_error = Some(version);
        }
        Err(too_many_conflicts("submit")
            .with("workflow", &workflow.name)
            .with("version", last_error.unwrap_or_default()))
    }

    /// Whether the log has what rules that begin in the past ask for.
    async fn check_start_positions(&self, workflow: &Workflow, found: &mut Vec<Diagnostic>) -> Result<()> {
        let positions = start_positions(workflow);
        if !positions.is_empty() {
            let head = self.bus().head().await?;
            found.extend(positions.into_iter().filter_map(|(path, from)| problem_of(path, from, head)));
        }
        Ok(())
    }

    async fn store_version(&self, workflow: &Workflow, version: u32, hash: &str) -> Result<()> {
        let now = self.clock().now();
        let Workflow { project, name, .. } = workflow;
        let stored = WorkflowVersion { version, workflow: workflow.clone(), hash: hash.to_owned(), submitted_at: now };
        let announcement = Control::WorkflowSubmitted { project: project.clone(), workflow: name.clone(), version };
        let batch = Batch::at(now)
            .expect(workflow_version_key(project, name, version), None)
            .put(workflow_version_put(&stored))
            .event(self.stamp(announcement.into_event(submission_id(workflow, version))));
        self.store().commit(batch).await.map(|_| ())
    }

    /// A workflow as the scheduler knows it: its version in use, whether it may start and whether it was deleted; `None` until a scheduler has
    /// seen it.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn workflow(&self, name: impl AsRef<str>) -> Result<Option<WorkflowState>> {
        let key = workflow_key(self.project_name(), &WorkflowName::parse(name)?);
        let record = self.store().get_one(&key).await?;
        record.as_ref().map(body_of).transpose()
    }

    /// The workflows of this project that a scheduler has seen and that are not deleted, oldest first.
    ///
    /// # Errors
    /// `Full` if there are more than 100,000; others are those of the store.
    pub async fn workflows(&self) -> Result<Vec<WorkflowState>> {
        let query = Query::kind(KIND_WORKFLOW).project(self.project_name().as_str()).states(LIVE_STATES);
        let records = self.store().query_all(query, WORKFLOWS_LISTED_MAX).await?;
        records.iter().map(body_of).collect()
    }

    /// One submitted version of a workflow.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn workflow_version(&self, name: impl AsRef<str>, version: u32) -> Result<Option<WorkflowVersion>> {
        let key = workflow_version_key(self.project_name(), &WorkflowName::parse(name)?, version);
        let record = self.store().get_one(&key).await?;
        record.as_ref().map(body_of).transpose()
    }

    /// The newest submitted version of a workflow.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn latest_workflow_version(&self, name: impl AsRef<str>) -> Result<Option<WorkflowVersion>> {
        let name = WorkflowName::parse(name)?;
        let query =
            Query::kind(KIND_WORKFLOW_VERSION).parent(workflow_id(self.project_name(), &name)).newest_first().limit(1);
        let page = self.store().query(&query).await?;
        page.items.first().map(body_of).transpose()
    }

    /// What version `to` of a workflow changed of version `from`, ordered by place.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, `NotFound` if there is no such version; others are those of the store.
    pub async fn workflow_changes(&self, name: impl AsRef<str>, from: u32, to: u32) -> Result<Vec<Change>> {
        let name = WorkflowName::parse(name)?;
        let mut versions = Vec::with_capacity(2);
        for version in [from, to] {
            let missing = || Error::not_found("compare", "there is no such version").with("version", version);
            let found = self.workflow_version(&name, version).await?;
            versions.push(found.ok_or_else(|| missing().with("workflow", &name))?.workflow);
        }
        Ok(versions.first().zip(versions.last()).map(|(from, to)| from.changes_to(to)).unwrap_or_default())
    }

    /// Asks for an execution of the latest version, durably, and returns its id. `params` is a JSON object or null.
    ///
    /// The scheduler starts it as soon as one leads; if it refuses, [`wait`](Self::wait) tells why.
    ///
    /// # Errors
    /// `Invalid`: the name or the parameters are not well formed. Others are those of the log.
    pub async fn start(&self, workflow: impl AsRef<str>, params: Value) -> Result<WorkflowExecutionId> {
        self.start_with(workflow, Start::new().params(params)).await
    }

    /// As [`start`](Self::start); asking again with the same `key` returns the first execution instead of starting another.
    ///
    /// # Errors
    /// As [`start`](Self::start). `AlreadyExists`: the key was used in this project for another workflow or other parameters.
    pub async fn start_with_key(
        &self,
        workflow: impl AsRef<str>,
        params: Value,
        key: impl AsRef<str>,
    ) -> Result<WorkflowExecutionId> {
        self.start_with(workflow, Start::new().params(params).key(key.as_ref())).await
    }

    /// Asks to stop an execution and all its jobs. Returns the offset of the request.
    ///
    /// # Errors
    /// Those of the log. A request that the scheduler refuses becomes a [dead letter](Self::dead_letter) under its offset.
    pub async fn stop(&self, execution: WorkflowExecutionId) -> Result<Offset> {
        self.stop_with(execution, Stop::default()).await
    }

    /// Asks to start a job of a running execution, as a rule would. Returns the offset of the request.
    ///
    /// # Errors
    /// As [`stop`](Self::stop), and `Invalid` if the name is not well formed.
    pub async fn start_job(&self, execution: WorkflowExecutionId, job: impl AsRef<str>) -> Result<Offset> {
        self.act_on_job(execution, job.as_ref(), JobAction::Start).await
    }

    /// Asks to stop a job of a running execution, as a rule would. Returns the offset of the request.
    ///
    /// # Errors
    /// As [`start_job`](Self::start_job).
    pub async fn stop_job(&self, execution: WorkflowExecutionId, job: impl AsRef<str>) -> Result<Offset> {
        self.act_on_job(execution, job.as_ref(), JobAction::Stop).await
    }

    /// Asks to restart a job of a running execution, as a rule would. Returns the offset of the request.
    ///
    /// # Errors
    /// As [`start_job`](Self::start_job).
    pub async fn restart_job(&self, execution: WorkflowExecutionId, job: impl AsRef<str>) -> Result<Offset> {
        self.act_on_job(execution, job.as_ref(), JobAction::Restart).await
    }

    async fn act_on_job(&self, execution: WorkflowExecutionId, job: &str, action: JobAction) -> Result<Offset> {
        let job = JobName::parse(job)?;
        self.control(Control::ActOnJob { execution, job, action, mode: StopMode::Graceful, reason: String::new() })
            .await
    }

    /// Lets a workflow start executions again. Returns the offset of the request.
    ///
    /// # Errors
    /// As [`start_job`](Self::start_job).
    pub async fn enable(&self, workflow: impl AsRef<str>) -> Result<Offset> {
        self.set_enabled(workflow.as_ref(), true).await
    }

    /// Keeps a workflow from starting executions; running ones go on. Returns the offset of the request.
    ///
    /// # Errors
    /// As [`start_job`](Self::start_job).
    pub async fn disable(&self, workflow: impl AsRef<str>) -> Result<Offset> {
        self.set_enabled(workflow.as_ref(), false).await
    }

    async fn set_enabled(&self, workflow: &str, enabled: bool) -> Result<Offset> {
        self.control(Control::EnableWorkflow {
            project: self.project_name().clone(),
            workflow: WorkflowName::parse(workflow)?,
            enabled,
        })
        .await
    }

    /// Deletes a workflow, durably: it starts nothing, its rules see nothing, and lists do not show it. Its versions, and the executions that have
    /// ended, stay until [retention](Self::apply_retention) or [`purge_workflow`](Self::purge_workflow) removes them. Submitting it again, or
    /// [`restore_workflow`](Self::restore_workflow), brings it back. Returns the offset of the request.
    ///
    /// # Errors
    /// `NotFound`: no scheduler has seen such a workflow. `Conflict`: an execution of it has not ended. Others are those of the log. If one is
    /// started at the same moment, the scheduler refuses the request, which becomes a [dead letter](Self::dead_letter) under its offset.
    pub async fn delete_workflow(&self, workflow: impl AsRef<str>) -> Result<Offset> {
        let workflow = WorkflowName::parse(workflow)?;
        if self.workflow(&workflow).await?.is_none() {
            return Err(Error::not_found("delete workflow", "no scheduler has seen it").with("workflow", &workflow));
        }
        let live = Query::kind(KIND_WORKFLOW_EXECUTION)
            .parent(workflow_id(self.project_name(), &workflow))
            .states([WorkflowStatus::Running, WorkflowStatus::Stopping].map(|status| status.to_string()))
            .limit(1);
        if let Some(live) = self.store().query(&live).await?.items.first() {
            let message = "an execution of it has not ended: stop it first";
            let error = Error::new(ErrorKind::Conflict, "delete workflow", message);
            return Err(error.with("workflow", workflow).with("execution", &live.key.id));
        }
        self.set_deleted(workflow, true).await
    }

    /// Brings a deleted workflow back, enabled; its rules begin anew. One that is not deleted stays as it is. Returns the offset of the request.
    ///
    /// # Errors
    /// As [`start_job`](Self::start_job).
    pub async fn restore_workflow(&self, workflow: impl AsRef<str>) -> Result<Offset> {
        self.set_deleted(WorkflowName::parse(workflow)?, false).await
    }

    async fn set_deleted(&self, workflow: WorkflowName, deleted: bool) -> Result<Offset> {
        self.control(Control::DeleteWorkflow { project: self.project_name().clone(), workflow, deleted }).await
    }

    pub(super) async fn control(&self, control: Control) -> Result<Offset> {
        self.request(control.into_event(format!("control:{}", random_id()))).await
    }

    /// Publishes a control event; while the outcome is unknown, again under the same id.
    pub(super) async fn request(&self, event: NewEvent) -> Result<Offset> {
        let event = self.stamp(event);
        event.check()?;
        let mut tries = 1;
        loop {
            match self.bus().publish(vec![event.clone()]).await {
                Ok(offsets) => {
                    return offsets
                        .first()
                        .copied()
                        .ok_or_else(|| Error::new(ErrorKind::Internal, "publish", "the log gave no offset"));
                }
                Err(error) if error.kind() == ErrorKind::OutcomeUnknown && tries < OUTCOME_TRIES_MAX => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The rules that begin in the past, each with its path.
fn start_positions(workflow: &Workflow) -> Vec<(String, StartPosition)> {
    let of_jobs = workflow.control_edges.iter().map(|ControlEdge { job, rule }| {
        let path = format!("job {job}, rule {}", rule.name);
        (path, rule.from)
    });
    let own = workflow.rules.iter().map(|rule| (format!("workflow rule {}", rule.name), rule.from));
    of_jobs.chain(own).filter(|(_, from)| *from != StartPosition::Now).collect()
}

fn problem_of(path: String, from: StartPosition, head: Head) -> Option<Diagnostic> {
    let Head { last, trimmed } = head;
    match from {
        StartPosition::Offset(offset) if offset > last.next() => {
            let what =
                format!("begins with event {offset}, and the newest is {last}; without a start position it begins now");
            Some(Diagnostic::new(path, what))
        }
        StartPosition::Offset(offset) if offset > trimmed => None,
        StartPosition::Offset(_) | StartPosition::LatestPerKey if trimmed > Offset::START => {
            let what = format!("begins in the past, and the events up to {trimmed} are not in the log any more");
            Some(Diagnostic::warning(path, what))
        }
        StartPosition::Offset(_) | StartPosition::LatestPerKey | StartPosition::Now => None,
    }
}

/// The id of the event that a version was submitted. A name too long for an event id is replaced by its hash.
fn submission_id(workflow: &Workflow, version: u32) -> String {
    let Workflow { project, name, .. } = workflow;
    let id = format!("submit:{project}/{name}/{version}");
    if id.len() <= EVENT_FIELD_BYTES_MAX {
        return id;
    }
    format!("submit:{}/{version}", hash_of(&(project, name)))
}

/// Others wrote first each time.
pub(crate) fn too_many_conflicts(operation: &'static str) -> Error {
    Error::new(ErrorKind::Conflict, operation, format!("others wrote first, {CONFLICT_TRIES_MAX} times in a row"))
}
