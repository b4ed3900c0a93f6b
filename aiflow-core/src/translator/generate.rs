//! From the nodes of one job to what its executor runs: is there a job type that a user may add?

use std::fmt::Debug;

use serde_json::Value;

use crate::function::{DataInput, FunctionNode, FunctionSpec};
use crate::graph::AiNode;
use crate::id::NodeName;
use crate::workflow::Diagnostic;

/// Turns the nodes of one job into what its executor runs.
///
/// An executor needs none: then a job of it is one [`operation`](crate::graph::operation), whose `spec` and `params` it is given as they are.
/// With a generator, registered by [`SplitTranslator::generator`](super::SplitTranslator::generator) under the name of the executor, a job may have several
/// nodes: data edges lead from node to node and hold them together, as they do in function jobs, and what a value on its way is (a table, a
/// file, a stream) is up to the job type. Nodes may also name datasets and models ([`AiNode::arguments`]).
///
/// # Contract
/// Pure, as a translator is: the same nodes give the same answer in every process. What is wrong with a node is a diagnostic, and all problems
/// are reported at once; what is returned is put into the workflow and is all that the executor will see of the nodes.
///
/// # Source
/// AIFlow 0.3, `JobGenerator.generate(sub_graph, resource_dir) -> Job`. Files for the job are those of the project's snapshot here.
///
/// ```
/// use aiflow_core::graph::{AiGraph, AiNode, operation};
/// use aiflow_core::translator::{Generated, JobGenerator, JobNode, SplitTranslator, TranslateOptions};
/// use aiflow_core::workflow::Diagnostic;
/// use serde_json::{Value, json};
///
/// /// A node that is one statement of a script.
/// fn sql(statement: &str) -> AiNode {
///     operation("sql", json!({ "sql": statement }))
/// }
///
/// /// The script of a job: the statements of its nodes, in order.
/// #[derive(Debug)]
/// struct Script;
///
/// impl JobGenerator for Script {
///     fn generate(&self, nodes: Vec<JobNode<'_>>) -> Result<Generated, Vec<Diagnostic>> {
///         let (mut script, mut wrong) = (Vec::new(), Vec::new());
///         for node in nodes {
///             match node.node.spec["sql"].as_str() {
///                 Some(statement) => script.push(json!({ "node": node.name, "sql": statement })),
///                 None => wrong.push(node.problem("spec must have a statement, \"sql\"")),
///             }
///         }
///         if wrong.is_empty() { Ok(Generated::new(Value::Array(script))) } else { Err(wrong) }
///     }
/// }
///
/// let mut graph = AiGraph::new("shop", "report");
/// graph.node("orders", sql("CREATE TABLE orders (customer, price)"));
/// graph.node("totals", sql("CREATE TABLE totals AS SELECT customer, sum(price) FROM orders GROUP BY 1"));
/// graph.data("orders", "totals");
/// let translator = SplitTranslator::new().generator("sql", Script);
/// let workflow = graph.translate_with(&translator, &TranslateOptions::default())?;
/// assert_eq!(workflow.jobs.len(), 1);
/// assert_eq!(workflow.jobs[0].spec[1]["node"], "totals");
/// # Ok::<(), aiflow_core::Error>(())
/// ```
pub trait JobGenerator: Debug + Send + Sync {
    /// The job of these nodes: at least one, each after those that it reads from, all on this executor. The settings of the job (schedules,
    /// retries, time limits, …) are taken from the nodes beforehand.
    ///
    /// # Errors
    /// Everything that is wrong with the nodes.
    fn generate(&self, nodes: Vec<JobNode<'_>>) -> Result<Generated, Vec<Diagnostic>>;
}

/// A node of a job.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JobNode<'g> {
    /// Its name in the job: that of the node, or, if the node had to be copied, that of the copy.
    pub name: NodeName,
    /// What the user drew.
    pub node: &'g AiNode,
    /// The data edges into it, in the order of their definition.
    pub inputs: Vec<DataInput>,
    /// Its output ports that nodes of other jobs read. Function jobs only.
    pub kept: Vec<u32>,
}

impl JobNode<'_> {
    /// A diagnostic about this node.
    #[must_use]
    pub fn problem(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.node.path(), message)
    }
}

/// What the executor of a job is to run.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Generated {
    /// The job's `spec`, in the executor's own terms.
    pub spec: Value,
    /// The job's parameters, a JSON object or null; those of the workflow execution override them.
    pub params: Value,
}

impl Generated {
    /// A job without parameters of its own.
    #[must_use]
    pub fn new(spec: impl Into<Value>) -> Self {
        Self { spec: spec.into(), params: Value::Null }
    }

    /// Sets the parameters, a JSON object.
    #[must_use]
    pub fn params(mut self, params: Value) -> Self {
        self.params = params;
        self
    }
}

/// Function jobs: see [`FunctionSpec`].
#[derive(Debug)]
pub(super) struct FunctionGenerator;

impl JobGenerator for FunctionGenerator {
    fn generate(&self, nodes: Vec<JobNode<'_>>) -> Result<Generated, Vec<Diagnostic>> {
        let function = |node: JobNode<'_>| {
            // Another spec was reported by the check of the graph.
            let function = node.node.spec.as_str().unwrap_or_default().to_owned();
            let JobNode { name, node, inputs, kept } = node;
            let (params, arguments) = (node.params.clone(), node.arguments.clone());
            FunctionNode { name, function, params, arguments, inputs, outputs: node.outputs, kept }
        };
        let spec = FunctionSpec { nodes: nodes.into_iter().map(function).collect() };
        // Plain data with string keys always serialises.
        Ok(Generated::new(serde_json::to_value(spec).unwrap_or_default()))
    }
}

/// Jobs of executors that have no generator: the one node as it is.
#[derive(Debug)]
pub(super) struct OneNode;

impl JobGenerator for OneNode {
    fn generate(&self, nodes: Vec<JobNode<'_>>) -> Result<Generated, Vec<Diagnostic>> {
        let node = nodes.into_iter().next().map(|node| node.node);
        Ok(node.map(|node| Generated::new(node.spec.clone()).params(node.params.clone())).unwrap_or_default())
    }
}
