//! Random graphs: does every translation keep all nodes and orders?

use std::collections::{BTreeMap, BTreeSet};

use aiflow_core::execution::JobStatus;
use aiflow_core::function::FunctionSpec;
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::translator::{SplitTranslator, TranslateOptions, Translator as _};
use aiflow_core::workflow::{Condition, Diagnostic, Workflow, job_status, on, restart, start, stop};
use proptest::prelude::*;

use super::job;
use super::pictures::dot_tokens;

/// A random graph: nodes, few of them with jobs, data edges with few cycles, and control edges of every kind.
pub(super) fn any_graph() -> impl Strategy<Value = AiGraph> {
    let n = 8usize;
    let nodes = prop::collection::vec(prop::option::weighted(0.1, 0..2u8), 3..=n);
    let data = prop::collection::vec((0..n, 0..n, 0..50u8), 0..9);
    let control = prop::collection::vec((0..n, 0..n, 0..4u8), 0..6);
    (nodes, data, control).prop_map(|(nodes, data, control)| {
        let n = nodes.len();
        let mut graph = AiGraph::new("p", "w");
        // Names run against definition order, so that an order by name would show.
        let name = |i: usize| format!("n{}", 9 - i % n);
        for (i, job) in nodes.iter().enumerate() {
            let node = function("f");
            graph.node(
                name(i),
                match job {
                    Some(job) => node.job(format!("job{job}")),
                    None => node,
                },
            );
        }
        let mut seen = BTreeSet::new();
        for (from, to, backward) in data {
            let (from, to) = (from % n, to % n);
            // Data flows by another order than that of definition; few edges go against it.
            let rank = |i: usize| (i * 3) % 8;
            let forward = rank(from) < rank(to) || backward == 0;
            let (from, to) = if forward { (from, to) } else { (to, from) };
            if from == to && backward > 0 {
                continue;
            }
            if nodes[from] == nodes[to] && seen.insert((from, to)) {
                graph.data(name(from), name(to));
            }
        }
        for (target, source, kind) in control {
            let status = job_status(&job(&name(source)), JobStatus::Failed);
            match kind {
                0 => graph.after(name(target), name(source)),
                1 => graph.control(name(target), restart(status)),
                2 => graph.control(name(target), stop(status)),
                _ => graph.control(name(target), start(on(format!("key{source}")))),
            };
        }
        graph
    })
}

fn specs(workflow: &Workflow) -> Vec<FunctionSpec> {
    let spec = |job: &aiflow_core::workflow::Job| {
        serde_json::from_value(job.spec.clone()).expect("only function jobs are generated")
    };
    workflow.jobs.iter().map(spec).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_translation_keeps_every_node_and_every_order(graph in any_graph()) {
        let options = TranslateOptions::default();
        let translated = SplitTranslator::new().translate(&graph, &options);
        let back: AiGraph = serde_json::from_str(&serde_json::to_string(&graph).unwrap()).unwrap();
        prop_assert_eq!(&translated, &SplitTranslator::new().translate(&back, &options));
        let workflow = match translated {
            Ok(workflow) => workflow,
            Err(found) => {
                // The graph has no malformed part, so only these may be wrong with it.
                let legal = ["form a cycle", "wait for node", "another rule of this name"];
                for problem in &found {
                    prop_assert!(legal.iter().any(|text| problem.message.contains(text)), "{problem}");
                }
                return Ok(());
            }
        };
        prop_assert!(!workflow.check().iter().any(Diagnostic::is_error));
        let specs = specs(&workflow);
        let mut job_of = BTreeMap::new();
        for (i, spec) in specs.iter().enumerate() {
            let mut before = BTreeSet::new();
            for node in &spec.nodes {
                for input in &node.inputs {
                    prop_assert!(before.contains(&input.node), "{} runs before its input", node.name);
                }
                prop_assert!(before.insert(node.name.clone()), "{} is twice in a job", node.name);
                prop_assert!(job_of.insert(node.name.to_string(), i).is_none(), "{} is in two jobs", node.name);
            }
        }
        for node in &graph.nodes {
            prop_assert!(job_of.contains_key(&node.name), "{} is in no job", node.name);
            // A node and its copies read from the same nodes, or copies of them, in the same order.
            let wanted: Vec<&str> = graph.data_edges.iter().filter(|edge| edge.to == node.name).map(|edge| edge.from.as_str()).collect();
            let copy = format!("{}.copy", node.name);
            for found in specs.iter().flat_map(|spec| &spec.nodes) {
                if found.name.as_str() == node.name || found.name.as_str().starts_with(&copy) {
                    let inputs: Vec<&str> = found.inputs.iter().map(|input| input.node.as_str().split('.').next().unwrap()).collect();
                    prop_assert_eq!(&inputs, &wanted, "inputs of {}", found.name);
                }
            }
        }
        // Every control edge acts on the job of its target and waits for the jobs of its sources.
        for edge in &graph.control_edges {
            let target = &workflow.jobs[job_of[&edge.target]].name;
            let sources: Vec<_> = edge_sources(edge).iter().map(|source| workflow.jobs[job_of[source]].name.to_string()).collect();
            let acts = workflow.rules_of(target).any(|rule| waits_for(&rule.condition) == sources);
            prop_assert!(acts, "{edge:?} has no counterpart");
        }
        // What waits for another node of its own derived job feeds that node: everything else was divided.
        for edge in &graph.control_edges {
            for source in edge_sources(edge) {
                let target = graph.nodes.iter().find(|node| node.name == edge.target).unwrap();
                if job_of[&source] == job_of[&edge.target] && target.job.is_none() {
                    prop_assert!(feeds(&graph, &edge.target, &source), "{} waits for {source} in its own job", edge.target);
                }
            }
        }
        dot_tokens(&graph.to_dot());
        dot_tokens(&workflow.to_dot());
    }

    /// What is added beside a graph changes no job, rule or name of it, wherever it stands in the definition: what rules have seen hangs on these.
    #[test]
    fn an_edit_elsewhere_changes_no_job(graph in any_graph(), at in 0..9usize) {
        let translate = |graph: &AiGraph| SplitTranslator::new().translate(graph, &TranslateOptions::default());
        let Ok(before) = translate(&graph) else { return Ok(()) };
        let mut edited = graph;
        let mut beside = AiGraph::new("p", "w");
        beside.node("another", function("g"));
        edited.nodes.insert(at % (edited.nodes.len() + 1), beside.nodes.remove(0));
        edited.control("another", start(on("key")));
        let after = translate(&edited).unwrap();
        prop_assert_eq!(after.jobs.len(), before.jobs.len() + 1);
        prop_assert!(before.jobs.iter().all(|job| after.jobs.contains(job)), "{after:?}");
        prop_assert!(before.control_edges.iter().all(|edge| after.control_edges.contains(edge)), "{after:?}");
    }
}

fn edge_sources(edge: &aiflow_core::graph::ControlEdge) -> Vec<String> {
    use aiflow_core::graph::Trigger;
    match &edge.when {
        Trigger::After(sources) => sources.clone(),
        Trigger::Rule(rule) => waits_for(&rule.condition),
        _ => Vec::new(),
    }
}

fn waits_for(condition: &Condition) -> Vec<String> {
    match condition {
        Condition::JobStatus { job, .. } => vec![job.to_string()],
        _ => Vec::new(),
    }
}

/// Whether data flows from `from` to `to`, or they are the same.
fn feeds(graph: &AiGraph, from: &str, to: &str) -> bool {
    let mut reached = BTreeSet::from([from]);
    loop {
        let n = reached.len();
        for edge in &graph.data_edges {
            if reached.contains(edge.from.as_str()) {
                reached.insert(&edge.to);
            }
        }
        if reached.len() == n {
            return reached.contains(to);
        }
    }
}
