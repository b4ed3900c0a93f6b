//! AI graphs: which operations are there, what flows between them, and what starts them?
//!
//! The graph is what a user draws; a [`Translator`](crate::translator::Translator) turns it into a workflow. It is plain data, and a draft:
//! names stand in it as they were written, the builder methods never fail, and [`AiGraph::check`] or the translation reports everything
//! that is wrong with it at once. No server or store is needed. Source: seed "AI Graph".

mod check;
mod edge;
mod names;
mod node;
mod render;
#[cfg(feature = "svg")]
mod svg;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use check::shown;
pub use check::{DATA_EDGES_MAX, NODES_MAX, OUTPUTS_MAX};
pub(crate) use edge::all_done;
pub use edge::{ControlEdge, DataEdge, Trigger};
pub(crate) use names::Names;
pub use node::{
    AiNode, NodeKind, dataset_validate, dummy, evaluate, external_trigger, function, model_validate, operation,
    predict, push_model, read_dataset, read_only, train, transform, write_dataset,
};

use crate::workflow::{
    Admission, Completion, ContextOf, Hook, Parameter, Schedule, SchedulingRule, WorkflowRule, millis_option,
};

/// AI nodes, the data edges between them, and the control edges that start, stop and restart them.
///
/// ```
/// use std::time::Duration;
/// use aiflow_core::graph::{AiGraph, function};
/// use aiflow_core::workflow::{ModelStage, RetryPolicy, on, on_model_version, restart, start};
///
/// let mut graph = AiGraph::new("wine", "quality");
/// graph.node("read", function("read_samples"));
/// graph.node("train", function("train").retry(RetryPolicy::fixed(2, Duration::from_secs(1))));
/// graph.node("inference", function("inference").streaming());
/// graph.data("read", "train");
/// graph.control("read", start(on("samples")));
/// graph.control("inference", restart(on_model_version("wine", ModelStage::Deployed)));
///
/// let workflow = graph.translate()?;
/// assert_eq!(workflow.jobs.len(), 2); // `read` and `train` form one job
/// # Ok::<(), aiflow_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AiGraph {
    /// Project it belongs to.
    pub project: String,
    /// Name of the workflow it becomes.
    pub workflow: String,
    /// The nodes, in definition order.
    pub nodes: Vec<AiNode>,
    /// The data edges, in definition order: the inputs of a node are in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_edges: Vec<DataEdge>,
    /// The control edges, in definition order: of the rules of one job, the first satisfied one acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control_edges: Vec<ControlEdge>,
    /// Rules on the workflow as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<WorkflowRule>,
    /// Times at which an execution of the workflow starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
    /// How starts of executions are admitted.
    #[serde(default, skip_serializing_if = "Admission::is_none")]
    pub admission: Admission,
    /// Parameters that every execution starts with, a JSON object or null.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
    /// The parameters that the workflow takes, with their types; see [`Workflow::parameters`](crate::workflow::Workflow::parameters).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// When an execution should have ended, counted from its start, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "deadline_ms")]
    pub deadline: Option<Duration>,
    /// Events to publish when an execution ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// Where events name the contexts that they concern, see [`Workflow::contexts`](crate::workflow::Workflow::contexts).
    #[serde(default, skip_serializing_if = "ContextOf::is_event")]
    pub contexts: ContextOf,
    /// When an execution ends; inferred if `None`, see [`Workflow::completion`](crate::workflow::Workflow::completion).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<Completion>,
}

impl AiGraph {
    /// A graph without nodes, for a workflow of a project.
    #[must_use]
    pub fn new(project: impl Into<String>, workflow: impl Into<String>) -> Self {
        Self {
            project: project.into(),
            workflow: workflow.into(),
            nodes: Vec::new(),
            data_edges: Vec::new(),
            control_edges: Vec::new(),
            rules: Vec::new(),
            schedules: Vec::new(),
            admission: Admission::new(),
            params: Value::Null,
            parameters: Vec::new(),
            deadline: None,
            hooks: Vec::new(),
            contexts: ContextOf::Event,
            completion: None,
        }
    }

    /// Adds a node: what it is called, and what it does.
    pub fn node(&mut self, name: impl Into<String>, node: impl Into<AiNode>) -> &mut Self {
        let mut node = node.into();
        node.name = name.into();
        self.nodes.push(node);
        self
    }

    /// Adds a data edge: the output of `from` becomes the next input of `to`. Both run in one job.
    pub fn data(&mut self, from: impl Into<String>, to: impl Into<String>) -> &mut Self {
        self.data_port(from, 0, to)
    }

    /// Adds a data edge from one of several output ports.
    pub fn data_port(&mut self, from: impl Into<String>, port: u32, to: impl Into<String>) -> &mut Self {
        self.data_edges.push(DataEdge { from: from.into(), port, to: to.into(), stored: false });
        self
    }

    /// Adds a data edge between nodes that may be of different jobs: the output of `from` is kept in the artifact store (of the
    /// [function executor](crate::function::FunctionExecutor::artifact_store)), and read from there. Nodes that are put into no job are of
    /// different ones then.
    ///
    /// The job of `to` starts when that of `from` has succeeded, unless a control edge or a schedule starts it. A value belongs to one execution of
    /// the workflow; it is replaced when the node runs again in it.
    pub fn stored_data(&mut self, from: impl Into<String>, to: impl Into<String>) -> &mut Self {
        self.data_edges.push(DataEdge { from: from.into(), port: 0, to: to.into(), stored: true });
        self
    }

    /// Adds a control edge: `rule` acts on `target`, which names a job, or a node and thereby its job.
    pub fn control(&mut self, target: impl Into<String>, rule: SchedulingRule) -> &mut Self {
        self.control_edges.push(ControlEdge { target: target.into(), when: Trigger::Rule(rule) });
        self
    }

    /// Adds a control edge: start `target` when `source` has succeeded or, if it streams, is ready. Each names a job, or a node and thereby
    /// its job.
    pub fn after(&mut self, target: impl Into<String>, source: impl Into<String>) -> &mut Self {
        self.after_all(target, [source])
    }

    /// Adds a control edge: start `target` when all of `sources` have succeeded or, those that stream, are ready.
    pub fn after_all<S: Into<String>>(
        &mut self,
        target: impl Into<String>,
        sources: impl IntoIterator<Item = S>,
    ) -> &mut Self {
        self.control_edges.push(ControlEdge {
            target: target.into(),
            when: Trigger::After(sources.into_iter().map(Into::into).collect()),
        });
        self
    }

    /// Adds a rule on the workflow as a whole.
    pub fn rule(&mut self, rule: WorkflowRule) -> &mut Self {
        self.rules.push(rule);
        self
    }

    /// Adds times at which an execution of the workflow starts. For a job there is [`AiNode::schedule`].
    pub fn schedule(&mut self, schedule: Schedule) -> &mut Self {
        self.schedules.push(schedule);
        self
    }

    /// Says how starts of executions are admitted. For a job there is [`AiNode::admission`].
    pub fn admission(&mut self, admission: Admission) -> &mut Self {
        self.admission = admission;
        self
    }

    /// Says when an execution should have ended, counted from its start: if it has not, an event says so. For a job there is
    /// [`AiNode::deadline`].
    pub fn deadline(&mut self, deadline: Duration) -> &mut Self {
        self.deadline = Some(deadline);
        self
    }

    /// Adds an event to publish when an execution ends. For a job there is [`AiNode::hook`].
    pub fn hook(&mut self, hook: Hook) -> &mut Self {
        self.hooks.push(hook);
        self
    }

    /// Sets the parameters that every execution starts with, a JSON object.
    pub fn params(&mut self, params: Value) -> &mut Self {
        self.params = params;
        self
    }

    /// Declares a parameter that the workflow takes. Where any is declared, others are refused. For a job there is [`AiNode::parameter`].
    pub fn parameter(&mut self, parameter: Parameter) -> &mut Self {
        self.parameters.push(parameter);
        self
    }

    /// Says where events name the contexts that they concern: `graph.contexts(Field::Value("/customers".into()))`.
    pub fn contexts(&mut self, contexts: impl Into<ContextOf>) -> &mut Self {
        self.contexts = contexts.into();
        self
    }

    /// Sets when an execution ends, instead of having it inferred.
    pub fn completion(&mut self, completion: Completion) -> &mut Self {
        self.completion = Some(completion);
        self
    }
}
