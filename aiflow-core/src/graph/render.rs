//! Pictures of an AI graph: its nodes, what flows between them, and what controls them.

use std::collections::{BTreeMap, BTreeSet};

use super::{AiGraph, AiNode, DataEdge, Names, NodeKind};
use crate::function::NodeArguments;
use crate::workflow::{Arrow, Drawing, End, Group, Shape};

impl AiGraph {
    /// The graph as Graphviz DOT: data edges are solid, control edges dashed, explicit jobs are frames.
    #[must_use]
    pub fn to_dot(&self) -> String {
        self.drawing().to_dot()
    }

    /// The graph as a Mermaid flow chart.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        self.drawing().to_mermaid()
    }

    /// Works on malformed graphs too, so that one can look at what is wrong: an edge to nothing is left out.
    pub(super) fn drawing(&self) -> Drawing {
        let names = Names::of(self);
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        let mut drawing = Drawing { title: format!("{}/{}", self.project, self.workflow), ..Drawing::default() };
        for (i, node) in self.nodes.iter().enumerate() {
            let shape = match node.kind {
                NodeKind::ReadDataset | NodeKind::WriteDataset => Shape::Data,
                NodeKind::Transform
                | NodeKind::Train
                | NodeKind::Predict
                | NodeKind::Evaluate
                | NodeKind::DatasetValidate
                | NodeKind::ModelValidate
                | NodeKind::PushModel
                | NodeKind::ExternalTrigger
                | NodeKind::UserDefined => Shape::Step,
            };
            drawing.block(label(node), shape);
            let Some(job) = &node.job else { continue };
            let group = *groups.entry(job).or_insert_with(|| {
                drawing.groups.push(Group { label: job.clone(), blocks: Vec::new() });
                drawing.groups.len().saturating_sub(1)
            });
            drawing.groups[group].blocks.push(i);
        }
        for edge in &self.data_edges {
            if let (Some(from), Some(to)) = (names.node(&edge.from), names.node(&edge.to)) {
                drawing.arrows.push(Arrow {
                    from: End::Block(from),
                    to: End::Block(to),
                    label: flow_label(edge),
                    control: false,
                });
            }
        }
        let end = |name: &str| {
            let job = groups.get(name).copied().map(End::Group);
            job.or_else(|| names.node(name).map(End::Block))
        };
        let streaming = self.nodes.iter().filter(|node| node.streaming);
        let streaming: BTreeSet<&str> =
            streaming.flat_map(|node| [Some(node.name.as_str()), node.job.as_deref()]).flatten().collect();
        let streams = |name: &str| streaming.contains(name);
        for edge in &self.control_edges {
            if let (Some(target), Some(rule)) = (end(&edge.target), edge.rule(&streams)) {
                drawing.rule(&rule.condition, rule.action.as_str(), target, &end);
            }
        }
        if !self.rules.is_empty() {
            let target = drawing.block(drawing.title.clone(), Shape::Workflow);
            for rule in &self.rules {
                drawing.rule(&rule.condition, rule.action.as_str(), target, &end);
            }
        }
        drawing
    }
}

/// What is special about a data edge.
fn flow_label(edge: &DataEdge) -> String {
    match (edge.port, edge.stored) {
        (0, false) => String::new(),
        (0, true) => "stored".to_owned(),
        (port, false) => format!("port {port}"),
        (port, true) => format!("port {port}, stored"),
    }
}

fn label(node: &AiNode) -> String {
    let what = match node.kind {
        NodeKind::UserDefined => node.executor.as_str(),
        kind => kind.as_str(),
    };
    let NodeArguments { dataset, model, .. } = &node.arguments;
    let about: String = [dataset, model].into_iter().flatten().map(|name| format!(" {name}")).collect();
    let streaming = if node.streaming { ", streaming" } else { "" };
    format!("{}\n{what}{about}{streaming}", node.name)
}
