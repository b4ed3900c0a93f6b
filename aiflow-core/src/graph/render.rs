//! Pictures of an AI graph: its nodes, what flows between them, and what controls them.

use super::{AiGraph, AiNode, NodeKind};
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
    fn drawing(&self) -> Drawing {
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
            match drawing.groups.iter_mut().find(|group| group.label == *job) {
                Some(group) => group.blocks.push(i),
                None => drawing.groups.push(Group { label: job.clone(), blocks: vec![i] }),
            }
        }
        let node = |name: &str| self.nodes.iter().position(|node| node.name == name);
        for edge in &self.data_edges {
            if let (Some(from), Some(to)) = (node(&edge.from), node(&edge.to)) {
                drawing.arrows.push(Arrow {
                    from: End::Block(from),
                    to: End::Block(to),
                    label: match edge.port {
                        0 => String::new(),
                        port => format!("port {port}"),
                    },
                    control: false,
                });
            }
        }
        let jobs: Vec<String> = drawing.groups.iter().map(|group| group.label.clone()).collect();
        let end = |name: &str| {
            let job = jobs.iter().position(|job| job == name).map(End::Group);
            job.or_else(|| node(name).map(End::Block))
        };
        let is_of = |node: &AiNode, name: &str| node.name == name || node.job.as_deref() == Some(name);
        let streams = |name: &str| self.nodes.iter().any(|node| node.streaming && is_of(node, name));
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
