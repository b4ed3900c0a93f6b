//! Graphs and their translation: does what a user draws become the workflow that it means, and are all mistakes named?

mod pictures;
mod random;
mod refusals;
mod split;
#[cfg(feature = "svg")]
mod svg;

use std::time::Duration;

use aiflow_core::function::FunctionSpec;
use aiflow_core::graph::{AiGraph, NodeKind, function};
use aiflow_core::id::JobName;
use aiflow_core::translator::{SplitTranslator, TranslateOptions, Translator as _};
use aiflow_core::workflow::{ModelStage, RetryPolicy, Workflow, on, on_model_version, restart, start};
use expect_test::Expect;
use serde_json::json;

/// Jobs with their nodes, then control edges, one a line.
pub(super) fn outline(workflow: &Workflow) -> String {
    let mut text = String::new();
    for job in &workflow.jobs {
        text += &format!("{}:", job.name);
        match serde_json::from_value::<FunctionSpec>(job.spec.clone()) {
            Ok(spec) => {
                for node in &spec.nodes {
                    text += &format!(" {}", node.name);
                    let inputs: Vec<String> = node
                        .inputs
                        .iter()
                        .map(|input| match input.port {
                            0 => input.node.to_string(),
                            port => format!("{}:{port}", input.node),
                        })
                        .collect();
                    if !inputs.is_empty() {
                        text += &format!("({})", inputs.join(", "));
                    }
                }
            }
            Err(_) => text += &format!(" {} {}", job.executor, job.spec),
        }
        text.push('\n');
    }
    for edge in &workflow.control_edges {
        text += &format!("{} {}\n", edge.job, edge.rule);
    }
    text
}

pub(super) fn check(graph: &AiGraph, expected: &Expect) {
    let workflow = graph.translate().expect("the graph is sound");
    expected.assert_eq(&outline(&workflow));
}

pub(super) fn check_problems(graph: &AiGraph, expected: &Expect) {
    let found = SplitTranslator::new()
        .translate(graph, &TranslateOptions::default())
        .expect_err("something is wrong with the graph");
    let lines: Vec<String> = found.iter().map(|problem| format!("{problem}\n")).collect();
    expected.assert_eq(&lines.concat());
}

pub(super) fn wine() -> AiGraph {
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("prepare", function("prepare"));
    graph.node(
        "train",
        function("train")
            .kind(NodeKind::Train)
            .params(json!({"depth": 5}))
            .retry(RetryPolicy::fixed(2, Duration::from_secs(1))),
    );
    graph.node("evaluate", function("evaluate").kind(NodeKind::Evaluate));
    graph.node("inference", function("inference").streaming());
    graph.control("train", start(on("samples")));
    graph.control("evaluate", start(on_model_version("wine", ModelStage::Generated)));
    graph.control("inference", restart(on_model_version("wine", ModelStage::Deployed)));
    graph
}

pub(super) fn graph(nodes: &[&str]) -> AiGraph {
    let mut graph = AiGraph::new("p", "w");
    for name in nodes {
        graph.node(*name, function(*name));
    }
    graph
}

pub(super) fn job(name: &str) -> JobName {
    JobName::parse(name).expect("a well-formed name")
}
