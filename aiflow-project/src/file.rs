//! Workflow files: from a tree to a definition, and from what is wrong with the definition back to lines of the file.

use std::sync::Arc;

use aiflow_core::execution::JobStatus;
use aiflow_core::id::JobName;
use aiflow_core::workflow::{Diagnostic, SchedulingRule, all, job_status, start};
use serde_json::{Map, Value, json};

use crate::decode::Decoder;
use crate::definition::{Definition, graph_edge};
use crate::places::{Member, Places, member, members_of};
use crate::problem::{Problem, Problems};
use crate::source::{Place, Source};
use crate::step::{self, StepOf};
use crate::substitute::{Environment, Meaning, substitute};
use crate::tables::WORKFLOW;
use crate::tree::{Kind, Node, parse, shown};

/// What surrounds a workflow file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) project: &'a str,
    pub(crate) workflow: &'a str,
    pub(crate) properties: &'a Map<String, Value>,
    pub(crate) environment: &'a Environment,
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) definition: Definition,
    pub(crate) places: Places,
}

impl Read {
    /// A problem of the definition as one of the file.
    pub(crate) fn problem(&self, source: &Arc<Source>, found: &Diagnostic) -> Problem {
        let place = self.places.of(&found.path);
        let problem = Problem::new(source, place, format!("{}: {}", found.path, found.message));
        if found.is_error() { problem } else { problem.warning() }
    }
}

/// Reads a workflow file; `None` if a problem was said.
pub(crate) fn read(source: &Arc<Source>, around: Around<'_>, problems: &mut Problems) -> Option<Read> {
    let mut root = parse(source, problems)?;
    let mut decoder = Decoder { source, problems };
    let properties = own_properties(&mut decoder, around, &mut root);
    let n = decoder.problems.n();
    substitute(&mut decoder, &Meaning { environment: around.environment, properties: &properties }, &mut root);
    // What refers to nothing has no type that could be checked.
    if decoder.problems.n() > n {
        return None;
    }
    let object = decoder.record(&WORKFLOW, &root);
    let steps = check_steps(&mut decoder, around, &root);
    let (object, of) = (object?, steps?);
    let stored = assemble(&mut decoder, around, of, &root, object)?;
    let definition = match of {
        StepOf::Node => serde_json::from_value(stored).map(Definition::Graph),
        StepOf::Job => serde_json::from_value(stored).map(Definition::Workflow),
    };
    match definition {
        Ok(definition) => {
            let places = Places::new(around.workflow, &root, &definition);
            Some(Read { definition, places })
        }
        Err(error) => {
            decoder.say(Place::START, format!("the file describes nothing that can be stored: {error}"));
            None
        }
    }
}

/// The properties of the project, overridden by those of the file.
fn own_properties(decoder: &mut Decoder<'_>, around: Around<'_>, root: &mut Node) -> Map<String, Value> {
    let mut properties = around.properties.clone();
    if let Kind::Map(members) = &mut root.kind
        && let Some((_, node)) = members.iter_mut().find(|(key, _)| key.name == "properties")
    {
        substitute(decoder, &Meaning { environment: around.environment, properties: around.properties }, node);
        if let Value::Object(own) = node.to_json() {
            properties.extend(own);
        }
    }
    properties
}

/// Whether each step says one thing to run; whose steps they are.
fn check_steps(decoder: &mut Decoder<'_>, around: Around<'_>, root: &Node) -> Option<StepOf> {
    if let Some(Member { node, .. }) = member(root, "name")
        && matches!(&node.kind, Kind::Text { text, .. } if text != around.workflow)
    {
        decoder
            .say(node.place, format!("the directory and the file are named {}, the workflow is not", around.workflow));
    }
    let (nodes, jobs) = (member(root, "nodes"), member(root, "jobs"));
    let (of, steps) = match (nodes, jobs) {
        (Some(_), Some(jobs)) => {
            decoder.say(jobs.key.place, "the workflow has both nodes and jobs; give one");
            return None;
        }
        (None, None) => {
            if matches!(root.kind, Kind::Map(_)) {
                decoder.say(root.place, "the workflow has neither nodes nor jobs");
            }
            return None;
        }
        (Some(nodes), None) => (StepOf::Node, nodes),
        (None, Some(jobs)) => (StepOf::Job, jobs),
    };
    if let (StepOf::Job, Some(data)) = (of, member(root, "data")) {
        decoder.say(data.key.place, "data flows between nodes; a workflow of jobs has none");
    }
    let mut fits = matches!(steps.node.kind, Kind::Map(_));
    for (key, node) in members_of(steps.node) {
        let what = if of == StepOf::Node { "node" } else { "job" };
        fits &= decoder.check_name(&key.name, key.place, &format!("{what} name"));
        fits &= step::check(decoder, &format!("{what} {}", key.name), node);
    }
    fits.then_some(of)
}

/// Everything as it is stored.
fn assemble(
    decoder: &mut Decoder<'_>,
    around: Around<'_>,
    of: StepOf,
    root: &Node,
    mut object: Map<String, Value>,
) -> Option<Value> {
    let name = if of == StepOf::Node { "nodes" } else { "jobs" };
    let n = decoder.problems.n();
    let mut items = object.remove(name).and_then(|items| items.as_array().cloned()).unwrap_or_default();
    let streams = streaming(&items);
    let (mut data, mut control) = (Vec::new(), Vec::new());
    let steps = member(root, name).map(|steps| members_of(steps.node)).unwrap_or_default();
    for (item, (key, node)) in items.iter_mut().zip(steps) {
        let Value::Object(item) = item else { continue };
        let target = Value::from(key.name.as_str());
        let inputs = member(node, "inputs").map(|inputs| inputs.node);
        for (i, input) in array(item.remove("inputs")).iter().enumerate() {
            let place = inputs.and_then(|inputs| nth(inputs, i)).unwrap_or(key.place);
            data.extend(input.as_str().and_then(|input| data_edge(decoder, place, input, &target)));
        }
        if let Some(after) = item.remove("after") {
            let place = member(node, "after").map_or(key.place, |after| after.node.place);
            control.extend(control_edge(decoder, of, place, &target, None, Some(after), &streams));
        }
        for rule in array(item.remove("rules")) {
            control.extend(control_edge(decoder, of, key.place, &target, Some(rule), None, &streams));
        }
        step::store(of, &key.name, item);
    }
    data.extend(array(object.remove("data_edges")));
    let edges = member(root, "control").map(|edges| edges.node);
    for (i, edge) in array(object.remove("control_edges")).into_iter().enumerate() {
        let Value::Object(mut edge) = edge else { continue };
        let place = edges.and_then(|edges| nth(edges, i)).unwrap_or(Place::START);
        let (rule, after) = (edge.remove("rule"), edge.remove("after"));
        if rule.is_some() == after.is_some() {
            decoder.say(place, "a control edge has either rule or after");
            continue;
        }
        let job = edge.remove("job").unwrap_or_default();
        control.extend(control_edge(decoder, of, place, &job, rule, after, &streams));
    }
    object.remove("properties");
    object.insert("project".to_owned(), around.project.into());
    object.insert(if of == StepOf::Node { "workflow" } else { "name" }.to_owned(), around.workflow.into());
    if of == StepOf::Node {
        object.remove("name");
        object.insert("data_edges".to_owned(), data.into());
    }
    object.insert(name.to_owned(), items.into());
    object.insert("control_edges".to_owned(), control.into());
    (decoder.problems.n() == n).then_some(Value::Object(object))
}

fn array(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn nth(list: &Node, i: usize) -> Option<Place> {
    match &list.kind {
        Kind::List(items) => items.get(i).map(|node| node.place),
        _ => None,
    }
}

/// The names of the steps that stream.
fn streaming(items: &[Value]) -> Vec<String> {
    let streams = items.iter().filter(|item| item.get("streaming") == Some(&Value::Bool(true)));
    streams.filter_map(|item| Some(item.get("name")?.as_str()?.to_owned())).collect()
}

fn data_edge(decoder: &mut Decoder<'_>, place: Place, input: &str, to: &Value) -> Option<Value> {
    let Some((from, port)) = input.split_once(':') else { return Some(json!({ "from": input, "to": to })) };
    match port.parse::<u32>() {
        Ok(port) => Some(json!({ "from": from, "port": port, "to": to })),
        Err(_) => {
            decoder.say(place, format!("expected a node or node:port, found {}", shown(input)));
            None
        }
    }
}

fn control_edge(
    decoder: &mut Decoder<'_>,
    of: StepOf,
    place: Place,
    job: &Value,
    rule: Option<Value>,
    after: Option<Value>,
    streams: &[String],
) -> Option<Value> {
    if of == StepOf::Node {
        return Some(graph_edge(job, rule, after));
    }
    let is_job = |name: &str| JobName::parse(name).is_ok();
    if !job.as_str().is_some_and(is_job) {
        decoder.check_name(job.as_str().unwrap_or_default(), place, "job name");
        return None;
    }
    let rule = match rule {
        Some(rule) => rule,
        None => serde_json::to_value(after_rule(decoder, place, &after.unwrap_or_default(), streams)?).ok()?,
    };
    Some(json!({ "job": job, "rule": rule }))
}

/// START when all of these jobs are done.
fn after_rule(decoder: &mut Decoder<'_>, place: Place, sources: &Value, streams: &[String]) -> Option<SchedulingRule> {
    let mut conditions = Vec::new();
    for source in sources.as_array()? {
        let name = source.as_str()?;
        if !decoder.check_name(name, place, "job name") {
            return None;
        }
        // A stream does not end; what depends on it needs it at work.
        let is_stream = streams.iter().any(|stream| stream == name);
        let done = if is_stream { JobStatus::Ready } else { JobStatus::Succeeded };
        conditions.push(job_status(&JobName::parse(name).ok()?, done));
    }
    match conditions.len() {
        0 => {
            decoder.say(place, "after names no job");
            None
        }
        1 => conditions.pop().map(start),
        _ => Some(start(all(conditions))),
    }
}
