//! The context of a running function: who am I, what made me run, and how do I speak with AIFlow?

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::arguments::NodeArguments;
use super::attempt::Attempt;
use super::registry::read_params;
use super::signal::ReceivedSignal;
use crate::client::AiFlow;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, NewEvent};
use crate::executor::{JobIdentity, ReportKind};
use crate::id::{AttemptId, NodeName, Offset};
use crate::meta::{Annotations, Artifacts, Datasets, MetricDefinitions, Metrics, Models};
use crate::time::Timestamp;
use crate::workflow::SCHEDULED_TIME;

/// What a running function knows and can do. Cloning is cheap; a clone may be given to other tasks and threads.
///
/// What is published or registered through it carries the job, its workflow execution and the event that made it run, and metadata also
/// carries lineage.
#[derive(Clone)]
pub struct JobContext {
    attempt: Arc<Attempt>,
    node: Arc<NodeContext>,
}

/// What differs between the nodes of a job.
pub(super) struct NodeContext {
    pub(super) name: NodeName,
    pub(super) arguments: NodeArguments,
    pub(super) params: Value,
}

impl JobContext {
    pub(super) fn new(attempt: Arc<Attempt>, node: Arc<NodeContext>) -> Self {
        Self { attempt, node }
    }

    pub(super) fn origin(&self) -> &Arc<Attempt> {
        &self.attempt
    }

    pub(super) fn node_context(&self) -> &NodeContext {
        &self.node
    }

    /// Who this job is.
    #[must_use]
    pub fn identity(&self) -> &JobIdentity {
        self.attempt.identity()
    }

    /// The node that runs.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.node.name
    }

    /// The attempt: an idempotency key for effects outside AIFlow.
    #[must_use]
    pub fn attempt(&self) -> AttemptId {
        self.identity().attempt
    }

    /// The parameters: of the node, overridden by those of the job, overridden by those of the workflow execution.
    ///
    /// # Errors
    /// `Invalid`, naming the place, if they are not of type `T`.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T> {
        read_params(&self.node.params)
    }

    /// The time for which a schedule made the job or its workflow execution run; `None` if no schedule did.
    #[must_use]
    pub fn scheduled_time(&self) -> Option<Timestamp> {
        self.node
            .params
            .get(SCHEDULED_TIME)
            .and_then(Value::as_str)
            .and_then(|text| Timestamp::parse_rfc3339(text).ok())
    }

    /// The events that made the job run, oldest first.
    #[must_use]
    pub fn events(&self) -> &[Arc<Event>] {
        self.attempt.events()
    }

    /// A new event about `key` in the namespace of the project, with a fresh id.
    #[must_use]
    pub fn event(&self, key: impl Into<String>) -> NewEvent {
        self.aiflow().event(key)
    }

    /// Publishes an event that concerns the job's own workflow execution; it is durable when this returns its offset.
    ///
    /// An attempt that is repeated publishes again; see [`publish_once`](Self::publish_once).
    ///
    /// # Errors
    /// As [`AiFlow::publish`].
    pub async fn publish(&self, event: NewEvent) -> Result<Offset> {
        self.aiflow().publish(event).await
    }

    /// Publishes an event that concerns all running executions of its namespace.
    ///
    /// # Errors
    /// As [`AiFlow::publish`].
    pub async fn broadcast(&self, event: NewEvent) -> Result<Offset> {
        let offsets = self.aiflow().append(vec![event], AiFlow::stamp).await?;
        offsets.first().copied().ok_or_else(|| Error::new(ErrorKind::Internal, "publish", "the log gave no offset"))
    }

    /// As [`publish`](Self::publish), but once for all attempts of this job execution: a later attempt that publishes the same under the same
    /// `name` changes nothing.
    ///
    /// # Errors
    /// As [`publish`](Self::publish). `AlreadyExists` if an earlier attempt published other content under this name.
    pub async fn publish_once(&self, name: &str, event: NewEvent) -> Result<Offset> {
        self.publish(event.id(self.once(name))).await
    }

    /// A key that is the same in all attempts of this job execution and in no other: for
    /// [`idempotency_key`](crate::meta::NewModelVersion::idempotency_key).
    #[must_use]
    pub fn once(&self, name: &str) -> String {
        format!("job:{}:{name}", self.attempt().job_execution)
    }

    /// A handle in the job's project that speaks for this job.
    #[must_use]
    pub fn aiflow(&self) -> &AiFlow {
        self.attempt.aiflow()
    }

    /// The models of the project. What is registered and looked up becomes lineage of this job.
    #[must_use]
    pub fn models(&self) -> Models {
        self.aiflow().models()
    }

    /// The datasets of the project. What is registered and looked up becomes lineage of this job.
    #[must_use]
    pub fn datasets(&self) -> Datasets {
        self.aiflow().datasets()
    }

    /// The metrics of the project. What is recorded becomes lineage of this job.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.aiflow().metrics()
    }

    /// The artifacts of the project. What is registered and looked up becomes lineage of this job.
    #[must_use]
    pub fn artifacts(&self) -> Artifacts {
        self.aiflow().artifacts()
    }

    /// What the metrics of the project mean.
    #[must_use]
    pub fn metric_definitions(&self) -> MetricDefinitions {
        self.aiflow().metric_definitions()
    }

    /// Tags and properties of workflows, jobs and executions, this one's too.
    #[must_use]
    pub fn annotations(&self) -> Annotations {
        self.aiflow().annotations()
    }

    /// Gives a sign of life. Needed at least once in each `heartbeat_timeout` of the job, if it has one; cheap enough for every step.
    pub fn heartbeat(&self) {
        self.attempt.beat();
    }

    /// Says where the next attempt is to go on if this one does not come to its end: a reference to saved state, any JSON of at most
    /// [`CHECKPOINT_BYTES_MAX`](crate::executor::CHECKPOINT_BYTES_MAX) bytes. Durable when this returns.
    ///
    /// A call within [`CHECKPOINT_PAUSE`](super::CHECKPOINT_PAUSE) of the last one waits for the rest of it. The reference is given to
    /// retries, restarts, and the next execution of the job in the same workflow execution; that of a batch job that succeeds is forgotten.
    ///
    /// # Errors
    /// `Invalid` if it is too large; otherwise as [`AiFlow::publish`].
    pub async fn checkpoint(&self, reference: impl Into<Value>) -> Result<()> {
        self.attempt.checkpoint(reference.into()).await
    }

    /// What an earlier attempt, or one of an earlier execution of the job, gave to [`checkpoint`](Self::checkpoint) last.
    #[must_use]
    pub fn last_checkpoint(&self) -> Option<&Value> {
        self.attempt.last_checkpoint()
    }

    /// Says something about the running job, for people and searches: progress, the address of a page, the name of the job on its platform. It
    /// stands in [`JobExecution::labels`](crate::execution::JobExecution::labels) within [`LABELS_PAUSE`](super::LABELS_PAUSE), replaces what the
    /// label said before, and is kept after the end; another attempt begins without labels. Returns at once: call it as often as you like.
    ///
    /// # Errors
    /// `Invalid`: name or value is empty or longer than [`JOB_LABEL_BYTES_MAX`](crate::job_labels::JOB_LABEL_BYTES_MAX), or the job has
    /// [`JOB_LABELS_MAX`](crate::job_labels::JOB_LABELS_MAX) others.
    pub fn set_label(&self, name: impl Into<String>, value: impl fmt::Display) -> Result<()> {
        self.attempt.labels().change(name.into(), Some(value.to_string()))
    }

    /// Takes a label away.
    ///
    /// # Errors
    /// `Invalid`: the name is no name of a label.
    pub fn remove_label(&self, name: impl Into<String>) -> Result<()> {
        self.attempt.labels().change(name.into(), None)
    }

    /// The next value that a SIGNAL rule hands to this job. Cancel safe: race it against the work. Acknowledge the value within
    /// [`Job::ack_within`](crate::workflow::Job::ack_within), or the job is restarted with it.
    pub async fn next_signal(&self) -> ReceivedSignal {
        ReceivedSignal::new(self.attempt.signals().next().await, Arc::clone(&self.attempt))
    }

    /// Says that a streaming job is ready: what depends on it may start.
    pub async fn ready(&self) {
        self.attempt.report(ReportKind::Ready).await;
    }

    /// Returns when the job is asked to stop. Race it against the work, clean up, and return: the job then has stopped, whatever the function
    /// returns.
    pub async fn cancelled(&self) {
        self.attempt.cancelled().await;
    }

    /// Whether the job was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.attempt.is_cancelled()
    }

    /// Waits for a future within a function that was registered with
    /// [`register_blocking`](super::Functions::register_blocking).
    ///
    /// # Panics
    /// In an async function: `await` there instead.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.attempt.runtime().block_on(future)
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext").field("identity", self.identity()).finish_non_exhaustive()
    }
}
