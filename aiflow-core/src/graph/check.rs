//! Checks of a graph: is it well formed, whatever it is translated to?

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{AiGraph, AiNode, ControlEdge, DataEdge, Names, Trigger};
use crate::error::Result;
use crate::function::{NodeArguments, VersionRef};
use crate::id::{EntityName, ExecutorName, JobName, NodeName, ProjectName, WorkflowName};
use crate::workflow::{Diagnostic, RULES_MAX};

/// The most nodes in a graph.
pub const NODES_MAX: usize = 100_000;
/// The most data edges in a graph.
pub const DATA_EDGES_MAX: usize = 500_000;
/// The most output ports of a node.
pub const OUTPUTS_MAX: u32 = 256;
/// How much of a rule is shown in a path.
const RULE_CHARS_MAX: usize = 100;
/// How much of a malformed name is shown.
const SHOWN_CHARS_MAX: usize = 40;

impl AiGraph {
    /// Everything that is malformed: names, doubles, references to nothing, ports, sizes. What only a translation can tell (jobs that
    /// contradict themselves, data edges across jobs, cycles, executors whose jobs have one node) is reported by it, together with all of these.
    #[must_use]
    pub fn check(&self) -> Vec<Diagnostic> {
        self.check_with(&Names::of(self), &|_| true)
    }

    /// `takes_several`: whether a job of this executor may have several nodes.
    pub(crate) fn check_with(&self, names: &Names<'_>, takes_several: &dyn Fn(&str) -> bool) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        check_name(|| "project".to_owned(), &self.project, ProjectName::parse, &mut found);
        check_name(|| "workflow".to_owned(), &self.workflow, WorkflowName::parse, &mut found);
        for (what, n, max) in [
            ("nodes", self.nodes.len(), NODES_MAX),
            ("data edges", self.data_edges.len(), DATA_EDGES_MAX),
            ("control edges", self.control_edges.len(), RULES_MAX),
        ] {
            if n > max {
                found.push(Diagnostic::new("graph", format!("has {n} {what}, at most {max} are allowed")));
            }
        }
        for (at, node) in self.nodes.iter().enumerate() {
            check_node(node, takes_several, &mut found);
            if names.node(&node.name) != Some(at) {
                found.push(Diagnostic::new(node.path(), "is defined twice"));
            }
        }
        self.check_data_edges(names, takes_several, &mut found);
        self.check_control_edges(names, &mut found);
        found
    }

    fn check_data_edges(&self, names: &Names<'_>, takes_several: &dyn Fn(&str) -> bool, found: &mut Vec<Diagnostic>) {
        let node = |name: &str| names.node(name).and_then(|at| self.nodes.get(at));
        let mut edges = BTreeMap::new();
        for edge in &self.data_edges {
            let ends = [&edge.from, &edge.to].map(|end| names.node(end));
            // An edge to nothing is refused for that.
            let before = if ends.contains(&None) { None } else { edges.insert((ends, edge.port), edge.stored) };
            if let Some(stored) = before {
                let how = if stored == edge.stored { "" } else { ", once stored and once not" };
                found.push(Diagnostic::new(edge.path(), format!("is defined twice{how}")));
                continue;
            }
            let is_within = match (node(&edge.from), node(&edge.to)) {
                (Some(from), Some(to)) => from.executor == to.executor,
                _ => false,
            };
            for end in [&edge.from, &edge.to] {
                match node(end) {
                    Some(node) if is_within && node.hands_on(edge.stored, takes_several) => {}
                    None => found.push(Diagnostic::new(
                        edge.path(),
                        format!("there is no node {}", shown(end)),
                    )),
                    Some(node) if !node.is_function() => found.push(Diagnostic::new(
                        edge.path(),
                        format!(
                            "node {} runs on executor {}, and only function nodes exchange data; hand the value over in a dataset or a file, \
                             and let a control edge start the reader",
                            shown(end),
                            shown(&node.executor)
                        ),
                    )),
                    Some(_) => {}
                }
            }
            if let Some(source) = node(&edge.from)
                && edge.port >= source.outputs
            {
                found.push(Diagnostic::new(
                    edge.path(),
                    format!("node {} has no output port {}, it has {}", shown(&edge.from), edge.port, source.outputs),
                ));
            }
        }
    }

    fn check_control_edges(&self, names: &Names<'_>, found: &mut Vec<Diagnostic>) {
        for edge in &self.control_edges {
            if edge.when == Trigger::After(Vec::new()) {
                found.push(Diagnostic::new(edge.path(), "waits for nothing"));
            }
        }
        let mut check = |path: &dyn Fn() -> String, ends: BTreeSet<&str>| {
            for end in ends {
                let node = names.node(end).and_then(|at| self.nodes.get(at));
                let is_job = names.job(end).is_some();
                if node.is_none() && !is_job {
                    let message = format!("there is no node and no job {}", shown(end));
                    found.push(Diagnostic::new(path(), message));
                } else if is_job && node.is_some_and(|node| node.job.as_deref() != Some(end)) {
                    let message = format!("{} is a job and also a node of another job; rename one of them", shown(end));
                    found.push(Diagnostic::new(path(), message));
                }
            }
        };
        for edge in &self.control_edges {
            let ends = edge.sources().into_iter().chain([edge.target.as_str()]);
            check(&|| edge.path(), ends.collect());
        }
        for rule in &self.rules {
            let jobs = rule.condition.jobs().into_iter().map(JobName::as_str);
            check(&|| format!("workflow rule {}", rule.name), jobs.collect());
        }
    }
}

fn check_node(node: &AiNode, takes_several: &dyn Fn(&str) -> bool, found: &mut Vec<Diagnostic>) {
    // Said only where something is wrong: a graph has many nodes.
    let path = || node.path();
    check_name(path, &node.name, NodeName::parse, found);
    check_name(path, &node.executor, ExecutorName::parse, found);
    if let Some(job) = &node.job {
        check_name(path, job, JobName::parse, found);
    }
    if node.is_function() {
        match &node.spec {
            Value::String(function) if !function.is_empty() => {}
            _ => found.push(Diagnostic::new(path(), "the spec of a function node must be the name of the function")),
        }
    }
    check_arguments(node, takes_several, found);
    if !(node.params.is_null() || node.params.is_object()) {
        found.push(Diagnostic::new(path(), "params must be a JSON object"));
    }
    if node.outputs == 0 || node.outputs > OUTPUTS_MAX {
        found.push(Diagnostic::new(
            path(),
            format!("has {} output ports, 1 to {OUTPUTS_MAX} are allowed", node.outputs),
        ));
    }
}

fn check_arguments(node: &AiNode, takes_several: &dyn Fn(&str) -> bool, found: &mut Vec<Diagnostic>) {
    let path = || node.path();
    let NodeArguments { dataset, model, model_version, base_model, base_model_version } = &node.arguments;
    if !(takes_several(&node.executor) || node.arguments.is_none()) {
        let message =
            "names a dataset or a model, which only function nodes look up; hand the name over as a parameter";
        return found.push(Diagnostic::new(path(), message));
    }
    for name in [dataset, model, base_model].into_iter().flatten() {
        check_name(path, name, EntityName::parse, found);
    }
    if model.is_none() && model_version.is_some() {
        found.push(Diagnostic::new(path(), "says which version, but not of which model"));
    }
    if model.is_none() && base_model.is_none() && base_model_version.is_some() {
        found.push(Diagnostic::new(path(), "says which base version, but not of which model"));
    }
    for version in [model_version, base_model_version].into_iter().flatten() {
        match version {
            VersionRef::Number(0) => found.push(Diagnostic::new(path(), "versions are numbered from 1")),
            VersionRef::Alias(alias) => check_name(path, alias, EntityName::parse, found),
            VersionRef::Number(_) | VersionRef::Stage(_) | VersionRef::Latest => {}
        }
    }
}

fn check_name<'a, T>(
    path: impl Fn() -> String,
    name: &'a str,
    parse: impl Fn(&'a str) -> Result<T>,
    found: &mut Vec<Diagnostic>,
) {
    if let Err(error) = parse(name) {
        let message = format!("{} ({})", error.message(), shown(name));
        found.push(Diagnostic::new(path(), message));
    }
}

/// A name as it can stand in a message: itself if it is well formed, otherwise quoted, escaped and cut.
pub(crate) fn shown(name: &str) -> String {
    if NodeName::parse(name).is_ok() {
        return name.to_owned();
    }
    let start: String = name.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{start:?}")
}

impl AiNode {
    /// Where a diagnostic about it points.
    pub(crate) fn path(&self) -> String {
        format!("node {}", shown(&self.name))
    }
}

impl DataEdge {
    /// Where a diagnostic about it points.
    pub(crate) fn path(&self) -> String {
        let from = shown(&self.from);
        let to = shown(&self.to);
        match self.port {
            0 => format!("data edge {from} -> {to}"),
            port => format!("data edge {from}:{port} -> {to}"),
        }
    }
}

impl ControlEdge {
    /// Where a diagnostic about it points.
    pub(crate) fn path(&self) -> String {
        let target = shown(&self.target);
        match &self.when {
            Trigger::After(sources) if sources.is_empty() => format!("control edge {target}"),
            Trigger::After(sources) => {
                let sources: Vec<String> = sources.iter().map(|name| shown(name)).collect();
                format!("control edge {target} after {}", sources.join(", "))
            }
            Trigger::Rule(rule) => {
                let rule: String = format!("{rule:#}").chars().take(RULE_CHARS_MAX).collect();
                format!("control edge {target}: {rule}")
            }
        }
    }

    /// The jobs and nodes whose status it waits for, in definition order.
    pub(crate) fn sources(&self) -> Vec<&str> {
        match &self.when {
            Trigger::After(sources) => sources.iter().map(String::as_str).collect(),
            Trigger::Rule(rule) => rule.condition.jobs().into_iter().map(JobName::as_str).collect(),
        }
    }
}
