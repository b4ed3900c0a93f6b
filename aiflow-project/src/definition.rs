//! Definitions: a workflow as a file says it, and the file that says a workflow.

use aiflow_core::graph::AiGraph;
use aiflow_core::translator::{SplitTranslator, TranslateOptions, Translator as _};
use aiflow_core::workflow::{Diagnostic, Workflow};
use aiflow_core::{Error, Result};
use serde_json::{Map, Value, json};

use crate::encode;
use crate::file::{Around, read};
use crate::out::Out;
use crate::problem::Problems;
use crate::source::Source;
use crate::step::{StepOf, write};
use crate::substitute::{Environment, escaped};
use crate::tables::{JOB, NODE, WORKFLOW};

/// What a workflow file describes.
///
/// A file with `nodes` is an AI graph, from which a workflow is translated; a file with `jobs` is the workflow itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// An AI graph.
    Graph(Box<AiGraph>),
    /// A workflow.
    Workflow(Box<Workflow>),
}

impl From<AiGraph> for Definition {
    fn from(graph: AiGraph) -> Self {
        Self::Graph(Box::new(graph))
    }
}

impl From<Workflow> for Definition {
    fn from(workflow: Workflow) -> Self {
        Self::Workflow(Box::new(workflow))
    }
}

impl Definition {
    /// The workflow that it becomes, and what is probably not meant; or everything that is wrong.
    pub(crate) fn translate(
        &self,
        translator: &SplitTranslator,
    ) -> Result<(Workflow, Vec<Diagnostic>), Vec<Diagnostic>> {
        let workflow = match self {
            Self::Graph(graph) => translator.translate(graph, &TranslateOptions::default())?,
            Self::Workflow(workflow) => (**workflow).clone(),
        };
        let found = workflow.check();
        if found.iter().any(Diagnostic::is_error) { Err(found) } else { Ok((workflow, found)) }
    }

    /// Reads a workflow file, in YAML or, if its name ends in `.json`, in JSON. `file` is how problems name it.
    ///
    /// The file is read, and not checked as a workflow: [`Project::load`](crate::Project::load) does that as well.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn parse(
        project: &str,
        workflow: &str,
        file: &str,
        text: &str,
        environment: &Environment,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let around = Around { project, workflow, properties: &Map::new(), environment };
        let read = read(&Source::new(file, text), around, &mut problems);
        problems.sort();
        match read {
            Some(read) if !problems.has_errors() => Ok(read.definition),
            _ => Err(problems),
        }
    }

    /// The file that describes it, in YAML.
    ///
    /// What is written is read back as it was. A text that looks like a reference, `${{ … }}`, is written as that text. Project and name are
    /// not in the file: they are those of the directories.
    ///
    /// # Errors
    /// `Invalid`: two nodes, jobs or parameters have the same name, which no file can say.
    pub fn to_yaml(&self) -> Result<String> {
        Ok(self.to_out()?.to_yaml())
    }

    /// The file that describes it, in JSON; otherwise as [`to_yaml`](Self::to_yaml).
    ///
    /// # Errors
    /// As [`to_yaml`](Self::to_yaml).
    pub fn to_json(&self) -> Result<String> {
        Ok(self.to_out()?.to_json())
    }

    fn to_out(&self) -> Result<Out> {
        let (of, steps) = match self {
            Self::Graph(_) => (StepOf::Node, "nodes"),
            Self::Workflow(_) => (StepOf::Job, "jobs"),
        };
        let stored = match self {
            Self::Graph(graph) => serde_json::to_value(graph),
            Self::Workflow(workflow) => serde_json::to_value(workflow),
        };
        let stored = stored.map_err(|error| Error::invalid("write definition", "is no plain data").caused_by(error))?;
        let Value::Object(mut object) = stored else {
            return Err(Error::invalid("write definition", "is no object"));
        };
        object.remove("name");
        check_names(&object, "parameters")?;
        let items = object.remove(steps).and_then(|items| items.as_array().cloned()).unwrap_or_default();
        check_doubles(&items, steps)?;
        for item in &items {
            item.as_object().map_or(Ok(()), |item| check_names(item, "parameters"))?;
        }
        let mut edges = Edges::take(of, &items, &mut object);
        let record = if of == StepOf::Node { &NODE } else { &JOB };
        let written = items.iter().filter_map(|item| {
            let mut item = item.as_object()?.clone();
            let name = item.remove("name")?.as_str()?.to_owned();
            item.extend(edges.of(&name));
            Some((name.clone(), Out::Map(write(of, record, &name, &item))))
        });
        let written: Vec<(String, Out)> = written.collect();
        let mut members = encode::record(&WORKFLOW, &object);
        let at = members.iter().position(|(name, _)| name == "data" || name == "control").unwrap_or(members.len());
        members.insert(at, (steps.to_owned(), Out::Map(written)));
        Ok(Out::Map(members).map_texts(&escaped))
    }
}

fn check_names(object: &Map<String, Value>, what: &str) -> Result<()> {
    object.get(what).and_then(Value::as_array).map_or(Ok(()), |items| check_doubles(items, what))
}

fn check_doubles(items: &[Value], what: &str) -> Result<()> {
    let mut names: Vec<&str> = items.iter().filter_map(|item| item.get("name")?.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.get(1)) {
        Some(pair) => Err(Error::invalid("write definition", format!("two of the {what} have the same name"))
            .with("name", pair.first().copied().unwrap_or_default().escape_debug())),
        None => Ok(()),
    }
}

/// The edges that stand at the nodes or jobs which they lead to; the others stay in the lists of the file.
struct Edges {
    at_steps: Vec<(String, Map<String, Value>)>,
}

impl Edges {
    fn take(of: StepOf, items: &[Value], object: &mut Map<String, Value>) -> Self {
        let names: Vec<&str> = items.iter().filter_map(|item| item.get("name")?.as_str()).collect();
        let mut at_steps: Vec<(String, Map<String, Value>)> =
            names.iter().map(|name| ((*name).to_owned(), Map::new())).collect();
        let list = |object: &Map<String, Value>, name: &str| object.get(name).and_then(Value::as_array).cloned();
        if let Some(edges) = list(object, "data_edges")
            && let Some(inputs) = inputs(&names, &edges)
        {
            object.remove("data_edges");
            insert(&mut at_steps, inputs, "inputs");
        }
        let Some(edges) = list(object, "control_edges") else { return Self { at_steps } };
        match controls(of, &names, &edges) {
            Some(controls) => {
                object.remove("control_edges");
                for (i, (after, rules)) in controls.into_iter().enumerate() {
                    let Some((_, members)) = at_steps.get_mut(i) else { continue };
                    members.extend(after.map(|after| ("after".to_owned(), after)));
                    if !rules.is_empty() {
                        members.insert("rules".to_owned(), rules.into());
                    }
                }
            }
            None => {
                let edges = edges.iter().map(|edge| file_edge(of, edge)).collect();
                object.insert("control_edges".to_owned(), Value::Array(edges));
            }
        }
        Self { at_steps }
    }

    fn of(&mut self, name: &str) -> Map<String, Value> {
        let at = self.at_steps.iter_mut().find(|(known, _)| known == name);
        at.map(|(_, members)| std::mem::take(members)).unwrap_or_default()
    }
}

fn insert(at_steps: &mut [(String, Map<String, Value>)], lists: Vec<Vec<Value>>, name: &str) {
    for ((_, members), list) in at_steps.iter_mut().zip(lists).filter(|(_, list)| !list.is_empty()) {
        members.insert(name.to_owned(), list.into());
    }
}

/// The inputs of each node, if that says the same as the list of edges: grouped by node, in the order of nodes.
fn inputs(names: &[&str], edges: &[Value]) -> Option<Vec<Vec<Value>>> {
    let mut inputs = vec![Vec::new(); names.len()];
    let mut last = 0;
    for edge in edges {
        let (from, to) = (edge.get("from")?.as_str()?, edge.get("to")?.as_str()?);
        let at = names.iter().position(|name| *name == to)?;
        if at < last || from.contains(':') || edge.get("stored").is_some() {
            return None;
        }
        last = at;
        let port = edge.get("port").and_then(Value::as_u64).unwrap_or_default();
        let input = if port == 0 { from.to_owned() } else { format!("{from}:{port}") };
        inputs.get_mut(at)?.push(input.into());
    }
    Some(inputs)
}

type Controls = Vec<(Option<Value>, Vec<Value>)>;

/// `after` and the rules of each node or job, if that says the same as the list of edges.
fn controls(of: StepOf, names: &[&str], edges: &[Value]) -> Option<Controls> {
    let mut controls: Controls = vec![(None, Vec::new()); names.len()];
    let mut last = 0;
    for edge in edges {
        let target = edge.get(if of == StepOf::Node { "target" } else { "job" })?.as_str()?;
        let at = names.iter().position(|name| *name == target)?;
        if at < last {
            return None;
        }
        last = at;
        let (after, rules) = controls.get_mut(at)?;
        let is_first = after.is_none() && rules.is_empty();
        match (edge.pointer("/when/after"), edge.pointer("/when/rule").or_else(|| edge.get("rule"))) {
            (Some(sources), _) if is_first => *after = Some(sources.clone()),
            (None, Some(rule)) => rules.push(rule.clone()),
            _ => return None,
        }
    }
    Some(controls)
}

/// A control edge as it stands in the list of a file, before its rule is written.
fn file_edge(of: StepOf, edge: &Value) -> Value {
    let part = |pointer: &str| edge.pointer(pointer).cloned();
    let mut file = Map::new();
    let target = part(if of == StepOf::Node { "/target" } else { "/job" }).unwrap_or_default();
    file.insert("job".to_owned(), target);
    file.extend(part("/when/after").map(|after| ("after".to_owned(), after)));
    file.extend(part("/when/rule").or_else(|| part("/rule")).map(|rule| ("rule".to_owned(), rule)));
    Value::Object(file)
}

/// A control edge of a graph as it is stored.
pub(crate) fn graph_edge(job: &Value, rule: Option<Value>, after: Option<Value>) -> Value {
    let when = match (rule, after) {
        (Some(rule), _) => json!({ "rule": rule }),
        (None, after) => json!({ "after": after.unwrap_or_else(|| json!([])) }),
    };
    json!({ "target": job, "when": when })
}
