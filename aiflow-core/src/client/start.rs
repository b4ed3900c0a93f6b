//! Starts and stops by hand: what is an execution given when it is asked for, and why does it end?

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde_json::Value;

use super::AiFlow;
use super::control::checked_reason;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::event::EVENT_FIELD_BYTES_MAX;
use crate::execution::{KIND_WORKFLOW_VERSION, WorkflowExecution};
use crate::executor::StopMode;
use crate::id::{JobName, Offset, WorkflowExecutionId, WorkflowName, random_id};
use crate::records::{LABELLED, WorkflowVersion, body_of, label_key, workflow_execution_key, workflow_id};
use crate::store::{PAGE_ROWS_MAX, Query, RecordKey, RelationQuery};
use crate::workflow::{JobAction, Workflow};

/// The most labels of an execution.
pub const LABELS_MAX: usize = 32;
/// The most definitions that a handle remembers for the checks of starts.
const DEFINITIONS_KNOWN_MAX: usize = 1_000;
/// The most executions of one label that are listed.
pub const LABELLED_LISTED_MAX: usize = 10_000;

/// What an execution is given when it is started by hand.
///
/// ```
/// use aiflow_core::client::Start;
/// use serde_json::json;
///
/// let start = Start::new().params(json!({"rate": 0.1})).label("owner", "ada").key("2026-03-01");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "pass it to AiFlow::start_with"]
pub struct Start {
    params: Value,
    context: Option<String>,
    labels: BTreeMap<String, String>,
    key: Option<String>,
}

impl Start {
    /// Nothing but what the workflow says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parameters that override those of the workflow, a JSON object.
    pub fn params(mut self, params: Value) -> Self {
        self.params = params;
        self
    }

    /// The named context: the execution's jobs do not see events [in another one](crate::event::NewEvent::in_context).
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// A label by which the execution is [found](AiFlow::executions_labelled); at most [`LABELS_MAX`].
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Names the request: asking again under the same key returns the first execution. It holds as long as the log keeps the first request.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// Why, and how, something is asked to stop by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "pass it to AiFlow::stop_with"]
pub struct Stop {
    reason: String,
    mode: StopMode,
}

impl Stop {
    /// Gracefully, for this reason; it is kept in the records and said by the status events, as their label
    /// [`STOP_REASON`](crate::event::STOP_REASON).
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), mode: StopMode::Graceful }
    }

    /// At once, without grace. What was asked to stop before, in vain, can still be killed.
    pub fn kill(mut self) -> Self {
        self.mode = StopMode::Kill;
        self
    }
}

impl AiFlow {
    /// Asks for an execution of the latest version, durably, and returns its id.
    ///
    /// The scheduler starts it as soon as one leads; if it refuses, [`wait`](Self::wait) tells why.
    ///
    /// # Errors
    /// `Invalid`: the name, the parameters, the labels or the key are not well formed, or the parameters are not those that the newest version
    /// declares. `AlreadyExists`: the key was used in this project for
    /// another request. Others are those of the store and the log.
    pub async fn start_with(&self, workflow: impl AsRef<str>, start: Start) -> Result<WorkflowExecutionId> {
        let Start { params, context, labels, key } = start;
        let workflow = WorkflowName::parse(workflow)?;
        if !(params.is_null() || params.is_object()) {
            return Err(
                Error::invalid("start", "params must be a JSON object or null").with("workflow", workflow.as_str())
            );
        }
        check_labels(&labels, context.as_deref())?;
        if let Some(definition) = self.latest_definition(&workflow).await? {
            definition
                .check_start(&params)
                .map_err(|reason| Error::invalid("start", reason).with("workflow", workflow.as_str()))?;
        }
        let id = match key {
            None => format!("start:{}", random_id()),
            Some(key) => format!("start:{}/{}", self.project_name(), checked_key(self.project_name().as_str(), &key)?),
        };
        let project = self.project_name().clone();
        let request = Control::StartWorkflow { project, workflow, params, context, labels };
        let offset = self.request(request.into_event(id)).await?;
        Ok(WorkflowExecutionId::new(offset, 0))
    }

    /// Asks to stop an execution and all its jobs. Returns the offset of the request.
    ///
    /// # Errors
    /// `Invalid`: the reason is longer than [`REASON_BYTES_MAX`](super::REASON_BYTES_MAX). Others are those of the log. A request that the
    /// scheduler refuses becomes a [dead letter](Self::dead_letter) under its offset.
    pub async fn stop_with(&self, execution: WorkflowExecutionId, stop: Stop) -> Result<Offset> {
        let reason = checked_reason("stop", stop.reason)?;
        self.control(Control::StopExecution { execution, mode: stop.mode, reason }).await
    }

    /// Asks to stop a job of a running execution. Returns the offset of the request.
    ///
    /// # Errors
    /// As [`stop_with`](Self::stop_with), and `Invalid` if the name is not well formed.
    pub async fn stop_job_with(
        &self,
        execution: WorkflowExecutionId,
        job: impl AsRef<str>,
        stop: Stop,
    ) -> Result<Offset> {
        let (job, reason) = (JobName::parse(job)?, checked_reason("stop job", stop.reason)?);
        self.control(Control::ActOnJob { execution, job, action: JobAction::Stop, mode: stop.mode, reason }).await
    }

    /// The newest executions of this project with a label, newest first, at most `limit`.
    ///
    /// # Errors
    /// `Full`: more than [`LABELLED_LISTED_MAX`] executions have it. Others are those of the store.
    pub async fn executions_labelled(&self, name: &str, value: &str, limit: usize) -> Result<Vec<WorkflowExecution>> {
        let to = label_key(self.project_name(), name, value);
        let mut query = RelationQuery { kind: Some(LABELLED.to_owned()), to: vec![to], ..RelationQuery::default() };
        let mut ids: Vec<WorkflowExecutionId> = Vec::new();
        loop {
            let page = self.store().relations(&query).await?;
            ids.extend(page.items.iter().filter_map(|relation| relation.from.id.parse::<WorkflowExecutionId>().ok()));
            if ids.len() > LABELLED_LISTED_MAX {
                let message = format!("more than {LABELLED_LISTED_MAX} executions have this label");
                return Err(Error::new(crate::ErrorKind::Full, "list by label", message).with("label", name));
            }
            match page.next {
                Some(token) => query.after = Some(token),
                None => break,
            }
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let keys: Vec<RecordKey> = ids.into_iter().take(limit).map(workflow_execution_key).collect();
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(PAGE_ROWS_MAX) {
            for record in self.store().get(keys).await?.iter().flatten() {
                found.push(body_of(record)?);
            }
        }
        Ok(found)
    }
}

impl AiFlow {
    /// The newest submitted version. It is read each time, and parsed when it is another one than the last time.
    async fn latest_definition(&self, workflow: &WorkflowName) -> Result<Option<Arc<Workflow>>> {
        let parent = workflow_id(self.project_name(), workflow);
        let query = Query::kind(KIND_WORKFLOW_VERSION).parent(&parent).newest_first().limit(1);
        let Some(record) = self.store().query(&query).await?.items.into_iter().next() else { return Ok(None) };
        let known = self.0.definitions.lock().unwrap_or_else(PoisonError::into_inner).get(&parent).cloned();
        if let Some((_, definition)) = known.filter(|(id, _)| *id == record.key.id) {
            return Ok(Some(definition));
        }
        let definition = Arc::new(body_of::<WorkflowVersion>(&record)?.workflow);
        let mut known = self.0.definitions.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= DEFINITIONS_KNOWN_MAX {
            known.clear();
        }
        known.insert(parent, (record.key.id, Arc::clone(&definition)));
        Ok(Some(definition))
    }
}

fn checked_key<'k>(project: &str, key: &'k str) -> Result<&'k str> {
    let bytes = "start:/".len().saturating_add(project.len()).saturating_add(key.len());
    if key.is_empty() || bytes > EVENT_FIELD_BYTES_MAX {
        return Err(Error::invalid(
            "start",
            format!("the key must not be empty, and with the project at most {EVENT_FIELD_BYTES_MAX} bytes"),
        ));
    }
    Ok(key)
}

fn check_labels(labels: &BTreeMap<String, String>, context: Option<&str>) -> Result<()> {
    let is_short = |text: &str| (1..=EVENT_FIELD_BYTES_MAX).contains(&text.len());
    if labels.len() > LABELS_MAX {
        return Err(Error::invalid("start", format!("{} labels, at most {LABELS_MAX} are allowed", labels.len())));
    }
    let texts = labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).chain(context);
    for text in texts {
        if !is_short(text) {
            let message = format!("labels and contexts have 1 to {EVENT_FIELD_BYTES_MAX} bytes, not {}", text.len());
            return Err(Error::invalid("start", message));
        }
    }
    if let Some(name) = labels.keys().find(|name| name.contains('=')) {
        return Err(Error::invalid("start", "the name of a label must not contain \"=\"").with("label", name));
    }
    Ok(())
}
