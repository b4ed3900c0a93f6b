//! AI nodes: what does one operation do, and how is it run?

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::function::{DUMMY, EXTERNAL_TRIGGER, FUNCTION_EXECUTOR, NodeArguments, READ_ONLY, VersionRef};
use crate::workflow::{Admission, Deadline, Hook, Parameter, RestartPolicy, RetryPolicy, Schedule, millis_option};

/// One operation, and the settings of the job it becomes part of.
///
/// Nodes that share a job must not disagree on a setting of it; a setting that a node leaves open is no disagreement. An executor crate
/// makes its own specs nodes with `impl From<ItsSpec> for AiNode`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AiNode {
    /// Name, unique in the graph; set by [`AiGraph::node`](super::AiGraph::node).
    pub name: String,
    /// What sort of step it is: a label for people.
    #[serde(default, skip_serializing_if = "NodeKind::is_user_defined")]
    pub kind: NodeKind,
    /// Which dataset and which models it is about; of function nodes only.
    #[serde(default, skip_serializing_if = "NodeArguments::is_none")]
    pub arguments: NodeArguments,
    /// Which executor runs it.
    pub executor: String,
    /// What to run: for `function` the name of the function, otherwise in the executor's own terms.
    pub spec: Value,
    /// Parameters, a JSON object or null; overridden by those of the workflow execution.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
    /// The parameters that the job takes, with their types; see [`Job::parameters`](crate::workflow::Job::parameters).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// Output ports, from 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub outputs: u32,
    /// The job it belongs to; derived from the data edges if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Never ends by itself; makes its job a streaming one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub streaming: bool,
    /// Times at which the job starts or restarts while an execution of the workflow runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
    /// How starts of the job, and its attempts, are admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// What to do when an attempt of the job fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// The longest that an attempt of the job may wait until it runs, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "queue_timeout_ms")]
    pub queue_timeout: Option<Duration>,
    /// The longest that an attempt of the streaming job may run until it is ready, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "start_timeout_ms")]
    pub start_timeout: Option<Duration>,
    /// The longest that one attempt of the job may run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "timeout_ms")]
    pub timeout: Option<Duration>,
    /// An attempt of the job that gives no sign of life for so long is killed and has failed, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "heartbeat_timeout_ms")]
    pub heartbeat_timeout: Option<Duration>,
    /// Time between asking an attempt of the job to stop and killing it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "stop_grace_ms")]
    pub stop_grace: Option<Duration>,
    /// What follows when an attempt of the streaming job ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
    /// How long a running attempt of the job may take to acknowledge a value that is handed to it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "ack_within_ms")]
    pub ack_within: Option<Duration>,
    /// Labels that a host must have to run the job.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub runs_on: BTreeSet<String>,
    /// When the job should be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// Events to publish when an execution of the job ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
}

/// What sort of step a node is. It changes the picture of the graph and nothing else.
///
/// Source: the operations of AIFlow 0.3 (`ai_flow/api/ops.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeKind {
    /// Reads a dataset.
    ReadDataset,
    /// Writes a dataset.
    WriteDataset,
    /// Makes data from data.
    Transform,
    /// Trains a model.
    Train,
    /// Applies a model.
    Predict,
    /// Measures a model.
    Evaluate,
    /// Decides whether data is good enough.
    DatasetValidate,
    /// Decides whether a model version is good enough.
    ModelValidate,
    /// Brings a model version into use.
    PushModel,
    /// Stands for what happens outside.
    ExternalTrigger,
    /// Anything else.
    #[default]
    UserDefined,
}

impl NodeKind {
    /// The kind in words, as stored: `read_dataset`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadDataset => "read_dataset",
            Self::WriteDataset => "write_dataset",
            Self::Transform => "transform",
            Self::Train => "train",
            Self::Predict => "predict",
            Self::Evaluate => "evaluate",
            Self::DatasetValidate => "dataset_validate",
            Self::ModelValidate => "model_validate",
            Self::PushModel => "push_model",
            Self::ExternalTrigger => "external_trigger",
            Self::UserDefined => "user_defined",
        }
    }

    fn is_user_defined(&self) -> bool {
        *self == Self::UserDefined
    }
}

/// A node that runs an async function of the host application, registered under `name`.
#[must_use]
pub fn function(name: impl Into<String>) -> AiNode {
    operation(FUNCTION_EXECUTOR, Value::String(name.into()))
}

/// A node that runs `spec` on an executor, in that executor's own terms. It is a job of its own, unless a
/// [`JobGenerator`](crate::translator::JobGenerator) makes one of several.
#[must_use]
pub fn operation(executor: impl Into<String>, spec: Value) -> AiNode {
    AiNode {
        name: String::new(),
        kind: NodeKind::UserDefined,
        arguments: NodeArguments::default(),
        executor: executor.into(),
        spec,
        params: Value::Null,
        parameters: Vec::new(),
        outputs: 1,
        job: None,
        streaming: false,
        schedules: Vec::new(),
        admission: None,
        retry: None,
        queue_timeout: None,
        start_timeout: None,
        timeout: None,
        heartbeat_timeout: None,
        stop_grace: None,
        restart: None,
        ack_within: None,
        runs_on: BTreeSet::new(),
        deadline: None,
        hooks: Vec::new(),
    }
}

fn about(kind: NodeKind, function_name: impl Into<String>, arguments: NodeArguments) -> AiNode {
    AiNode { kind, arguments, ..function(function_name) }
}

fn dataset(name: impl Into<String>) -> NodeArguments {
    NodeArguments { dataset: Some(name.into()), ..NodeArguments::default() }
}

fn model(name: impl Into<String>) -> NodeArguments {
    NodeArguments { model: Some(name.into()), ..NodeArguments::default() }
}

/// A node that reads a dataset: [`JobContext::dataset`](crate::function::JobContext::dataset) finds it when the job runs.
#[must_use]
pub fn read_dataset(name: impl Into<String>, function: impl Into<String>) -> AiNode {
    about(NodeKind::ReadDataset, function, dataset(name))
}

/// A node that writes a dataset: [`JobContext::dataset`](crate::function::JobContext::dataset) finds it when the job runs.
#[must_use]
pub fn write_dataset(name: impl Into<String>, function: impl Into<String>) -> AiNode {
    about(NodeKind::WriteDataset, function, dataset(name))
}

/// A node that makes data from data.
#[must_use]
pub fn transform(function: impl Into<String>) -> AiNode {
    about(NodeKind::Transform, function, NodeArguments::default())
}

/// A node that trains a model; [`base_model`](AiNode::base_model) says from which it goes on.
#[must_use]
pub fn train(name: impl Into<String>, function: impl Into<String>) -> AiNode {
    about(NodeKind::Train, function, model(name))
}

/// A node that applies a model; [`model_version`](AiNode::model_version) says which version, otherwise it is the newest.
#[must_use]
pub fn predict(name: impl Into<String>, function: impl Into<String>) -> AiNode {
    about(NodeKind::Predict, function, model(name))
}

/// A node that measures a model.
#[must_use]
pub fn evaluate(name: impl Into<String>, function: impl Into<String>) -> AiNode {
    about(NodeKind::Evaluate, function, model(name))
}

/// A node that decides whether a dataset is good enough.
#[must_use]
pub fn dataset_validate(name: impl Into<String>, function: impl Into<String>) -> AiNode {
    about(NodeKind::DatasetValidate, function, dataset(name))
}

/// A node that decides whether a version of a model is good enough; [`base_model_version`](AiNode::base_model_version) says with which it is
/// compared.
#[must_use]
pub fn model_validate(name: impl Into<String>, function: impl Into<String>) -> AiNode {
    about(NodeKind::ModelValidate, function, model(name))
}

/// A node that brings a version of a model into use.
#[must_use]
pub fn push_model(name: impl Into<String>, function: impl Into<String>) -> AiNode {
    about(NodeKind::PushModel, function, model(name))
}

/// A node of a job that does nothing and succeeds: a point at which control edges meet.
#[must_use]
pub fn dummy() -> AiNode {
    function(DUMMY)
}

/// A node of a job that does nothing and runs until it is stopped: what happens outside has a place in the graph.
///
/// A rule needs no such node to wait for events from outside.
#[must_use]
pub fn external_trigger() -> AiNode {
    about(NodeKind::ExternalTrigger, EXTERNAL_TRIGGER, NodeArguments::default()).streaming()
}

/// A node of a job that runs elsewhere, under the name `key`, and is made visible here: nothing is submitted. It is running until events of the
/// type [`OUTSIDE_STATUS`](crate::function::OUTSIDE_STATUS) with that key, in the namespace of the project, say that it has
/// [ended](crate::function::OutsideStatus), or until it is stopped here.
///
/// Like every function job that runs it takes one of the places of its [executor](crate::function::FunctionExecutor::max_concurrent). The
/// [labels](crate::event::NewEvent::label) of these events become [labels](crate::execution::JobExecution::labels) of its job execution.
#[must_use]
pub fn read_only(key: impl Into<String>) -> AiNode {
    function(READ_ONLY).params(json!({"key": key.into()}))
}

impl AiNode {
    /// Says which version of its model the node is about.
    #[must_use]
    pub fn model_version(mut self, version: impl Into<VersionRef>) -> Self {
        self.arguments.model_version = Some(version.into());
        self
    }

    /// Says from which model it goes on, or with which it compares.
    #[must_use]
    pub fn base_model(mut self, name: impl Into<String>) -> Self {
        self.arguments.base_model = Some(name.into());
        self
    }

    /// Says which version of the [base model](Self::base_model) it is, or of the node's own model.
    #[must_use]
    pub fn base_model_version(mut self, version: impl Into<VersionRef>) -> Self {
        self.arguments.base_model_version = Some(version.into());
        self
    }

    /// Says what sort of step it is.
    #[must_use]
    pub fn kind(mut self, kind: NodeKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the parameters, a JSON object.
    #[must_use]
    pub fn params(mut self, params: Value) -> Self {
        self.params = params;
        self
    }

    /// Declares a parameter that the job takes. Where any is declared, others are refused.
    #[must_use]
    pub fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// Sets the number of output ports. With more than one, the function returns an array, one element a port.
    #[must_use]
    pub fn outputs(mut self, n: u32) -> Self {
        self.outputs = n;
        self
    }

    /// Puts the node into this job: nodes with the same job name form one job.
    #[must_use]
    pub fn job(mut self, name: impl Into<String>) -> Self {
        self.job = Some(name.into());
        self
    }

    /// The node never ends by itself.
    #[must_use]
    pub fn streaming(mut self) -> Self {
        self.streaming = true;
        self
    }

    /// Adds times at which the job starts, or with [`Schedule::restart`] restarts, while an execution of the workflow runs. A job with a
    /// schedule does not start with the execution.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.push(schedule);
        self
    }

    /// Says how starts of the job, and its attempts, are admitted.
    #[must_use]
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    /// Sets what to do when an attempt fails.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Limits the time that an attempt may wait from being handed to its executor until it runs.
    #[must_use]
    pub fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.queue_timeout = Some(timeout);
        self
    }

    /// Limits the time that an attempt of a streaming job may run until it is ready.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = Some(timeout);
        self
    }

    /// Limits the time that one attempt may run.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Limits the time that an attempt may give no sign of life.
    #[must_use]
    pub fn heartbeat_timeout(mut self, timeout: Duration) -> Self {
        self.heartbeat_timeout = Some(timeout);
        self
    }

    /// Sets the time between asking an attempt to stop and killing it.
    #[must_use]
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = Some(grace);
        self
    }

    /// Says what follows when an attempt of the streaming job ends by itself.
    #[must_use]
    pub fn restart(mut self, restart: RestartPolicy) -> Self {
        self.restart = Some(restart);
        self
    }

    /// Limits the time that a running attempt may take to acknowledge a value that is handed to it; then the job is restarted with it.
    #[must_use]
    pub fn ack_within(mut self, within: Duration) -> Self {
        self.ack_within = Some(within);
        self
    }

    /// Lets the job run only on [hosts](crate::host::Host) with this label; with several, only on those that have all of them.
    #[must_use]
    pub fn runs_on(mut self, label: impl Into<String>) -> Self {
        self.runs_on.insert(label.into());
        self
    }

    /// Says when the job should be done: if it is not, an event says so.
    #[must_use]
    pub fn deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Adds an event to publish when an execution of the job ends.
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        self.hooks.push(hook);
        self
    }

    /// Whether it runs a function of the host application.
    pub(crate) fn is_function(&self) -> bool {
        self.executor == FUNCTION_EXECUTOR
    }

    /// Whether data edges lead from it to other nodes of its executor: only function nodes keep values between jobs.
    pub(crate) fn hands_on(&self, stored: bool, takes_several: &dyn Fn(&str) -> bool) -> bool {
        self.is_function() || (!stored && takes_several(&self.executor))
    }
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_one(n: &u32) -> bool {
    *n == 1
}
