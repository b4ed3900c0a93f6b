//! What a function job runs: the `spec` of a job whose executor is `function`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::arguments::NodeArguments;
use crate::id::NodeName;

/// Name under which the function executor is registered.
pub const FUNCTION_EXECUTOR: &str = "function";

/// The nodes of a job, in an order in which every node comes after those it reads from.
///
/// The job's output is that of its only sink (the node that none reads from); with several sinks, an object of their outputs by node name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionSpec {
    /// At least one.
    pub nodes: Vec<FunctionNode>,
}

/// One node: a registered function and where its input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionNode {
    /// Node, unique in the job.
    pub name: NodeName,
    /// Name under which the function is registered.
    pub function: String,
    /// Parameters of the node, a JSON object or null; overridden by those of the job and of the workflow execution.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
    /// The dataset and the models that it is about.
    #[serde(default, skip_serializing_if = "NodeArguments::is_none")]
    pub arguments: NodeArguments,
    /// Data edges into it. None: the input is the parameters. One: the value that flows over it. Several: an array in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<DataInput>,
    /// Output ports. With 1, the returned value is port 0; with more, the function returns an array, one element a port.
    #[serde(default = "one_output", skip_serializing_if = "is_one")]
    pub outputs: u32,
    /// The output ports whose values are kept in the artifact store, for other jobs of the execution.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<u32>,
}

/// The source of a data edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataInput {
    /// Node that is read from.
    pub node: NodeName,
    /// Its output port.
    #[serde(default)]
    pub port: u32,
    /// The node is one of another job, which keeps the value in the artifact store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
}

fn one_output() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_one(n: &u32) -> bool {
    *n == 1
}

impl FunctionSpec {
    /// A job of one function.
    #[must_use]
    pub fn single(node: NodeName, function: impl Into<String>) -> Self {
        Self {
            nodes: vec![FunctionNode {
                name: node,
                function: function.into(),
                params: Value::Null,
                arguments: NodeArguments::default(),
                inputs: Vec::new(),
                outputs: 1,
                kept: Vec::new(),
            }],
        }
    }
}
