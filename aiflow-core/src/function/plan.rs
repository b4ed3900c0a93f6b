//! Plans: is a job's specification one that can run, and how do values flow between its nodes?

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::arguments::NodeArguments;
use super::context::NodeContext;
use super::registry::{Function, Functions, JobError};
use super::spec::{DataInput, FunctionNode, FunctionSpec};
use crate::error::{Error, Result};
use crate::event::json_bytes;
use crate::id::NodeName;

/// The largest output of a job, in bytes of JSON: it travels in an event. Larger results are stored elsewhere and referred to.
pub const OUTPUT_BYTES_MAX: usize = 128 * 1024;

/// A specification whose functions and edges were found.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// The steps by the names of their nodes.
    by_name: BTreeMap<NodeName, usize>,
    /// Values come from other jobs, or go to them.
    pub(super) needs_files: bool,
}

pub(super) struct Step {
    pub(super) node: NodeName,
    pub(super) function: Function,
    pub(super) params: Value,
    arguments: NodeArguments,
    inputs: Vec<Source>,
    n_ports: usize,
    /// How many data edges leave each port.
    readers: Vec<usize>,
    /// Where each data edge from it leads.
    pub(super) feeds: Vec<usize>,
    /// The ports whose values are kept for other jobs.
    pub(super) kept: Vec<usize>,
}

/// Where an input comes from.
enum Source {
    Port(Port),
    /// A port of a node of another job.
    Kept(NodeName, usize),
}

/// An input of a step.
pub(super) enum Input {
    Value(Value),
    /// To be fetched: what a node of another job kept of a port.
    Kept(NodeName, usize),
}

/// What the inputs of a step come to.
pub(super) enum Inputs {
    One(Input),
    Several(Vec<Input>),
}

impl Step {
    /// How many data edges of its job lead to it.
    pub(super) fn n_inputs(&self) -> usize {
        self.ports().count()
    }

    fn ports(&self) -> impl Iterator<Item = Port> {
        self.inputs.iter().filter_map(|input| match input {
            Source::Port(port) => Some(*port),
            Source::Kept(..) => None,
        })
    }

    /// The value of a port in what it returned.
    pub(super) fn at_port<'a>(&self, value: &'a Value, port: usize) -> Option<&'a Value> {
        if self.n_ports <= 1 { Some(value) } else { value.get(port) }
    }

    /// What its context tells, with the parameters of the launch.
    pub(super) fn node_context(&self, params: &Value) -> NodeContext {
        NodeContext { name: self.node.clone(), arguments: self.arguments.clone(), params: merged(&self.params, params) }
    }
}

/// An output port of an earlier step.
#[derive(Clone, Copy)]
struct Port {
    step: usize,
    port: usize,
}

impl Plan {
    /// Reads and checks a specification.
    pub(super) fn new(functions: &Functions, spec: &Value) -> Result<Self> {
        let spec = FunctionSpec::deserialize(spec)
            .map_err(|error| invalid(format!("the job's specification cannot be read: {error}")))?;
        if spec.nodes.is_empty() {
            return Err(invalid("the job has no node"));
        }
        let mut plan =
            Self { steps: Vec::with_capacity(spec.nodes.len()), by_name: BTreeMap::new(), needs_files: false };
        for node in spec.nodes {
            let step = plan.step(functions, node)?;
            plan.steps.push(step);
        }
        Ok(plan)
    }

    fn step(&mut self, functions: &Functions, node: FunctionNode) -> Result<Step> {
        if self.by_name.insert(node.name.clone(), self.steps.len()).is_some() {
            return Err(invalid("the job has two nodes of this name").with("node", node.name));
        }
        let Some(function) = functions.get(&node.function) else {
            let names: Vec<&str> = functions.names().collect();
            return Err(invalid(format!(
                "no function is registered as \"{}\"; registered are: {}",
                node.function.escape_default(),
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ))
            .with("node", node.name));
        };
        let inputs = node.inputs.iter().map(|input| self.source(&node.name, input)).collect::<Result<Vec<_>>>()?;
        let number = self.steps.len();
        for input in &inputs {
            let Source::Port(Port { step, port }) = input else { continue };
            let Some(source) = self.steps.get_mut(*step) else { continue };
            source.feeds.push(number);
            if let Some(readers) = source.readers.get_mut(*port) {
                *readers += 1;
            }
        }
        let kept: Vec<usize> = node.kept.iter().map(|port| usize::try_from(*port).unwrap_or(usize::MAX)).collect();
        if kept.iter().any(|port| *port >= usize::try_from(node.outputs).unwrap_or(usize::MAX)) {
            return Err(invalid("a port that the node does not have is to be kept").with("node", node.name));
        }
        self.needs_files |= !kept.is_empty() || node.inputs.iter().any(|input| input.kept);
        let n_ports = usize::try_from(node.outputs).unwrap_or(usize::MAX);
        if n_ports > OUTPUT_BYTES_MAX {
            return Err(invalid("the node has too many output ports").with("node", node.name));
        }
        Ok(Step {
            node: node.name,
            function: function.clone(),
            params: node.params,
            arguments: node.arguments,
            inputs,
            n_ports,
            readers: vec![0; n_ports],
            feeds: Vec::new(),
            kept,
        })
    }

    fn source(&self, node: &NodeName, input: &DataInput) -> Result<Source> {
        if input.kept {
            return Ok(Source::Kept(input.node.clone(), usize::try_from(input.port).unwrap_or(usize::MAX)));
        }
        // The node itself has no step yet.
        let known = self.by_name.get(&input.node).copied().filter(|step| *step < self.steps.len());
        let Some(step) = known else {
            return Err(invalid("a node reads from one that does not come before it")
                .with("node", node)
                .with("reads", &input.node));
        };
        let port = usize::try_from(input.port).unwrap_or(usize::MAX);
        let n_ports = self.steps.get(step).map_or(0, |step| step.n_ports);
        if port >= n_ports {
            return Err(invalid(format!("a node reads port {port} of one that has {n_ports} output ports"))
                .with("node", node)
                .with("reads", &input.node));
        }
        Ok(Source::Port(Port { step, port }))
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::invalid("submit", message)
}

/// The values that have been produced and not all been read yet.
#[derive(Default)]
pub(super) struct Flow {
    /// By step and port; the number of readers to come.
    ports: Vec<Vec<(Option<Value>, usize)>>,
    /// What the steps returned that nobody reads from.
    sinks: BTreeMap<usize, Value>,
}

impl Flow {
    /// Before any of these steps has run.
    pub(super) fn of(steps: &[Step]) -> Self {
        Self { ports: vec![Vec::new(); steps.len()], sinks: BTreeMap::new() }
    }

    /// The inputs of `step`: what flows over its data edges, or `params` if it has none.
    pub(super) fn inputs(&mut self, step: &Step, params: &Value) -> Inputs {
        let mut input = |source: &Source| match source {
            Source::Port(port) => Input::Value(self.take(*port)),
            Source::Kept(node, port) => Input::Kept(node.clone(), *port),
        };
        match step.inputs.as_slice() {
            [] => Inputs::One(Input::Value(params.clone())),
            [source] => Inputs::One(input(source)),
            sources => Inputs::Several(sources.iter().map(input).collect()),
        }
    }

    /// The value at a port; the last reader gets the value itself, the others copies.
    fn take(&mut self, Port { step, port }: Port) -> Value {
        let Some((value, readers)) = self.ports.get_mut(step).and_then(|ports| ports.get_mut(port)) else {
            return Value::Null;
        };
        *readers = readers.saturating_sub(1);
        if *readers == 0 { value.take() } else { value.clone() }.unwrap_or_default()
    }

    /// Takes in what `step` returned, which is the one of this number.
    pub(super) fn output(&mut self, step: &Step, number: usize, value: Value) -> Result<(), JobError> {
        if step.feeds.is_empty() {
            self.sinks.insert(number, value);
            return Ok(());
        }
        let values = match value {
            value if step.n_ports <= 1 => vec![value],
            Value::Array(values) if values.len() == step.n_ports => values,
            Value::Array(values) => {
                return Err(JobError::permanent(format!(
                    "returned {} values, but has {} output ports",
                    values.len(),
                    step.n_ports
                )));
            }
            _ => {
                return Err(JobError::permanent(format!(
                    "must return an array of {} values, one for each output port",
                    step.n_ports
                )));
            }
        };
        let ports = values.into_iter().map(Some).zip(step.readers.iter().copied());
        if let Some(of) = self.ports.get_mut(number) {
            *of = ports.collect();
        }
        Ok(())
    }

    /// The output of the job: that of its only sink, or of all by name.
    pub(super) fn into_output(mut self, steps: &[Step]) -> Result<Value, JobError> {
        let output = match self.sinks.len() {
            1 => self.sinks.pop_first().map(|(_, value)| value).unwrap_or_default(),
            _ => {
                let name = |number: usize| steps.get(number).map(|step| step.node.to_string());
                let by_name = self.sinks.into_iter().filter_map(|(number, value)| Some((name(number)?, value)));
                Value::Object(by_name.collect())
            }
        };
        let bytes = json_bytes(&output);
        if bytes > OUTPUT_BYTES_MAX {
            return Err(JobError::permanent(format!(
                "the output has {bytes} bytes, at most {OUTPUT_BYTES_MAX} are allowed; store it and return a reference"
            )));
        }
        Ok(output)
    }
}

/// `over` laid over `base`, both objects or null, one level deep.
pub(super) fn merged(base: &Value, over: &Value) -> Value {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            let mut merged: Map<String, Value> = base.clone();
            merged.extend(over.iter().map(|(name, value)| (name.clone(), value.clone())));
            Value::Object(merged)
        }
        (base, Value::Null) => base.clone(),
        (_, over) => over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(spec: Value) -> String {
        let functions = Functions::new().register("f", |_, input: Value| async move { Ok(input) });
        match Plan::new(&functions, &spec) {
            Ok(_) => panic!("accepted: {spec}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_reason() {
        for (spec, reason) in [
            (json!("f"), "cannot be read"),
            (json!({"nodes": []}), "no node"),
            (
                json!({"nodes": [{"name": "a", "function": "g"}]}),
                "no function is registered as \"g\"; registered are: f",
            ),
            (json!({"nodes": [{"name": "a", "function": "f"}, {"name": "a", "function": "f"}]}), "two nodes"),
            (
                json!({"nodes": [{"name": "a", "function": "f", "inputs": [{"node": "b"}]}, {"name": "b", "function": "f"}]}),
                "does not come before it",
            ),
            (
                json!({"nodes": [{"name": "a", "function": "f"}, {"name": "b", "function": "f", "inputs": [{"node": "a", "port": 1}]}]}),
                "reads port 1 of one that has 1 output ports",
            ),
        ] {
            let refusal = refusal(spec);
            assert!(refusal.contains(reason), "{refusal}");
        }
    }

    #[test]
    fn parameters_of_the_launch_override_those_of_the_node() {
        let (node, launch) = (json!({"a": 1, "b": 1}), json!({"b": 2}));
        assert_eq!(merged(&node, &launch), json!({"a": 1, "b": 2}));
        assert_eq!(merged(&node, &Value::Null), node);
        assert_eq!(merged(&Value::Null, &launch), launch);
    }
}
