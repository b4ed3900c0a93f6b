//! Pictures of a workflow: its jobs, and what starts, stops and restarts them.

use super::{Drawing, End, Job, Shape, Workflow};
use crate::function::{FUNCTION_EXECUTOR, FunctionSpec};

impl Workflow {
    /// The workflow as Graphviz DOT: jobs are boxes, events and rules are dashed.
    #[must_use]
    pub fn to_dot(&self) -> String {
        self.drawing().to_dot()
    }

    /// The workflow as a Mermaid flow chart.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        self.drawing().to_mermaid()
    }

    pub(super) fn drawing(&self) -> Drawing {
        let mut drawing = Drawing { title: format!("{}/{}", self.project, self.name), ..Drawing::default() };
        for job in &self.jobs {
            drawing.block(label(job), Shape::Step);
        }
        let job = |name: &str| self.jobs.iter().position(|job| job.name.as_str() == name).map(End::Block);
        for edge in &self.control_edges {
            if let Some(target) = job(edge.job.as_str()) {
                drawing.rule(&edge.rule.condition, edge.rule.action.as_str(), target, &job);
            }
        }
        if !(self.rules.is_empty() && self.schedules.is_empty()) {
            let times = self.schedules.iter().map(|schedule| format!("\n{schedule}"));
            let label: String = std::iter::once(drawing.title.clone()).chain(times).collect();
            let target = drawing.block(label, Shape::Workflow);
            for rule in &self.rules {
                drawing.rule(&rule.condition, rule.action.as_str(), target, &job);
            }
        }
        drawing
    }
}

/// The name of the job, what runs it, and its nodes if there are several.
fn label(job: &Job) -> String {
    let streaming = if job.streaming { ", streaming" } else { "" };
    let mut label = format!("{}\n{}{streaming}", job.name, job.executor);
    if job.executor.as_str() == FUNCTION_EXECUTOR
        && let Ok(spec) = serde_json::from_value::<FunctionSpec>(job.spec.clone())
        && spec.nodes.len() > 1
    {
        let nodes: Vec<&str> = spec.nodes.iter().map(|node| node.name.as_str()).collect();
        label.push_str(": ");
        label.push_str(&nodes.join(", "));
    }
    for schedule in &job.schedules {
        label.push_str(&format!("\n{schedule}"));
    }
    label
}
