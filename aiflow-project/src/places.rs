//! Places of parts: where in its file does that stand which a diagnostic of the library names?

use std::collections::BTreeMap;

use aiflow_core::graph::Trigger;

use crate::definition::Definition;
use crate::source::Place;
use crate::tree::{Key, Kind, Node};

/// A member of a mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'n> {
    pub(crate) key: &'n Key,
    pub(crate) node: &'n Node,
}

/// The member of this name.
pub(crate) fn member<'n>(node: &'n Node, name: &str) -> Option<Member<'n>> {
    members_of(node).iter().find(|(key, _)| key.name == name).map(|(key, node)| Member { key, node })
}

/// The members of a mapping; none of anything else.
pub(crate) fn members_of(node: &Node) -> &[(Key, Node)] {
    match &node.kind {
        Kind::Map(members) => members,
        _ => &[],
    }
}

fn items_of(node: Option<Member<'_>>) -> &[Node] {
    match node.map(|member| &member.node.kind) {
        Some(Kind::List(items)) => items,
        _ => &[],
    }
}

/// Where each part of a definition stands, by the path that diagnostics name it with.
#[derive(Debug, Default)]
pub(crate) struct Places {
    by_path: BTreeMap<String, Place>,
    /// Texts that name functions, executors, pools and files, to be looked up.
    pub(crate) functions: Vec<(String, Place)>,
    pub(crate) executors: Vec<(String, Place)>,
    pub(crate) pools: Vec<(String, Place)>,
    pub(crate) files: Vec<(String, Place)>,
    pub(crate) directories: Vec<(String, Place)>,
}

impl Places {
    pub(crate) fn new(workflow: &str, root: &Node, definition: &Definition) -> Self {
        let mut places = Self::default();
        let own = format!("workflow {workflow}");
        places.settings(&own, root);
        places.put(own, root.place);
        if let Some(params) = member(root, "params") {
            places.put("params", params.key.place);
        }
        match definition {
            Definition::Graph(graph) => {
                places.named("workflow rule", graph.rules.iter().map(|rule| rule.name.as_str()), member(root, "rules"));
                places.schedules(
                    &format!("workflow {workflow}"),
                    root,
                    graph.schedules.iter().map(|s| s.name.as_str()),
                );
                for (node, (key, at)) in
                    graph.nodes.iter().zip(member(root, "nodes").map_or(&[][..], |m| members_of(m.node)))
                {
                    places.step(at);
                    places.put(format!("node {}", node.name), key.place);
                    let job = node.job.as_ref().unwrap_or(&node.name);
                    for job in [job, &node.name] {
                        places.put(format!("job {job}"), key.place);
                        places.settings(&format!("job {job}"), at);
                        places.schedules(&format!("job {job}"), at, node.schedules.iter().map(|s| s.name.as_str()));
                    }
                }
                places.graph_edges(graph, root);
            }
            Definition::Workflow(workflow) => {
                places.named(
                    "workflow rule",
                    workflow.rules.iter().map(|rule| rule.name.as_str()),
                    member(root, "rules"),
                );
                places.schedules(
                    &format!("workflow {}", workflow.name),
                    root,
                    workflow.schedules.iter().map(|s| s.name.as_str()),
                );
                for (job, (key, at)) in
                    workflow.jobs.iter().zip(member(root, "jobs").map_or(&[][..], |m| members_of(m.node)))
                {
                    places.step(at);
                    let path = format!("job {}", job.name);
                    places.schedules(&path, at, job.schedules.iter().map(|s| s.name.as_str()));
                    places.settings(&path, at);
                    places.put(path, key.place);
                }
                let rules =
                    workflow.control_edges.iter().map(|edge| (edge.job.as_str(), Some(edge.rule.name.as_str())));
                places.rules("jobs", rules.collect(), root);
            }
        }
        places
    }

    fn put(&mut self, path: impl Into<String>, place: Place) {
        self.by_path.entry(path.into()).or_insert(place);
    }

    fn named<'n>(&mut self, what: &str, names: impl Iterator<Item = &'n str>, list: Option<Member<'_>>) {
        for (name, node) in names.zip(items_of(list)) {
            self.put(format!("{what} {name}"), node.place);
        }
    }

    fn schedules<'n>(&mut self, of: &str, at: &Node, names: impl Iterator<Item = &'n str>) {
        self.named(&format!("{of}, schedule"), names, member(at, "schedules"));
    }

    fn settings(&mut self, of: &str, at: &Node) {
        if let Some(admission) = member(at, "admission") {
            self.put(format!("{of}, admission"), admission.key.place);
        }
        for (key, _) in member(at, "parameters").map_or(&[][..], |parameters| members_of(parameters.node)) {
            self.put(format!("{of}, parameter {}", key.name), key.place);
        }
        for (i, hook) in items_of(member(at, "hooks")).iter().enumerate() {
            self.put(format!("{of}, hook {}", i.saturating_add(1)), hook.place);
        }
    }

    /// What a step refers to.
    fn step(&mut self, at: &Node) {
        let text_in = |at: &Node, name: &str| {
            let member = member(at, name)?;
            match &member.node.kind {
                Kind::Text { text, .. } => Some((text.clone(), member.node.place)),
                _ => None,
            }
        };
        let pool = member(at, "admission").and_then(|admission| member(admission.node, "pool"));
        self.pools.extend(pool.and_then(|pool| text_in(pool.node, "pool")));
        let text = |name: &str| text_in(at, name);
        self.functions.extend(text("function"));
        self.executors.extend(text("executor"));
        self.files.extend(text("python"));
        self.files.extend(text("bash"));
        self.directories.extend(text("cwd"));
        for (name, executor) in [
            ("function", "function"),
            ("run", "process"),
            ("python", "process"),
            ("bash", "process"),
            ("shell", "process"),
        ] {
            self.executors.extend(member(at, name).map(|member| (executor.to_owned(), member.key.place)));
        }
    }

    fn graph_edges(&mut self, graph: &aiflow_core::graph::AiGraph, root: &Node) {
        let mut edges = graph.data_edges.iter();
        let nodes = member(root, "nodes").map_or(&[][..], |nodes| members_of(nodes.node));
        let at_nodes = nodes.iter().flat_map(|(_, node)| items_of(member(node, "inputs")));
        for (edge, node) in edges.by_ref().zip(at_nodes.chain(items_of(member(root, "data")))) {
            let port = if edge.port == 0 { String::new() } else { format!(":{}", edge.port) };
            self.put(format!("data edge {}{port} -> {}", edge.from, edge.to), node.place);
            self.put("data edges", node.place);
        }
        let rules = graph.control_edges.iter().map(|edge| {
            let rule = match &edge.when {
                Trigger::Rule(rule) => Some(rule.name.as_str()),
                _ => None,
            };
            (edge.target.as_str(), rule)
        });
        let places = self.rules("nodes", rules.collect(), root);
        for (edge, place) in graph.control_edges.iter().zip(places) {
            let path = match &edge.when {
                Trigger::After(sources) if sources.is_empty() => format!("control edge {}", edge.target),
                Trigger::After(sources) => format!("control edge {} after {}", edge.target, sources.join(", ")),
                Trigger::Rule(rule) => {
                    let rule: String = format!("{rule:#}").chars().take(100).collect();
                    format!("control edge {}: {rule}", edge.target)
                }
                _ => continue,
            };
            self.put(path, place);
        }
    }

    /// The places of control edges, in their order: those at the steps, then those of the list.
    fn rules(&mut self, steps: &str, edges: Vec<(&str, Option<&str>)>, root: &Node) -> Vec<Place> {
        let mut places = Vec::new();
        for (_, node) in member(root, steps).map_or(&[][..], |steps| members_of(steps.node)) {
            places.extend(member(node, "after").map(|after| after.node.place));
            places.extend(items_of(member(node, "rules")).iter().map(|node| node.place));
        }
        for node in items_of(member(root, "control")) {
            let rule = member(node, "rule").or_else(|| member(node, "after"));
            places.push(rule.map_or(node.place, |rule| rule.node.place));
        }
        for ((job, rule), place) in edges.into_iter().zip(&places) {
            if let Some(rule) = rule {
                self.put(format!("job {job}, rule {rule}"), *place);
                self.put(format!("rule {rule}"), *place);
            }
        }
        places
    }

    /// Where that stands which a path names; the beginning of the file if that is not known.
    pub(crate) fn of(&self, path: &str) -> Place {
        let path = match path.split_once(" of job ") {
            Some((before, job)) if before.starts_with("control edge ") => format!("job {job}"),
            _ => path.to_owned(),
        };
        if let Some(place) = self.by_path.get(&path) {
            return *place;
        }
        // A rule of a job that is named by another node.
        if let Some((_, rule)) = path.rsplit_once(", rule ")
            && let Some(place) = self.by_path.get(&format!("rule {rule}"))
        {
            return *place;
        }
        let is_end = |rest: &str| rest.is_empty() || rest.starts_with([',', ':', ' ']);
        let known = self.by_path.iter().filter(|(known, _)| path.strip_prefix(known.as_str()).is_some_and(is_end));
        known.max_by_key(|(known, _)| known.len()).map_or(Place::START, |(_, place)| *place)
    }
}
