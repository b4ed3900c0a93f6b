//! Graphs and projects: how long does it take to translate a large graph, and to load a large project?

use std::time::{Duration, Instant};

use aiflow::graph::{AiGraph, function};
use aiflow::project::Project;

use crate::table::{NONE, Table, median, seconds};

const ROUNDS: usize = 5;
/// Nodes of one job.
const JOB_NODES: usize = 12;
const WORKFLOWS: usize = 1_000;

/// Jobs of a dozen nodes in a row, each after the one before.
fn graph(nodes: usize) -> AiGraph {
    let mut graph = AiGraph::new("bench", "large");
    for i in 0..nodes {
        graph.node(format!("n{i}"), function("f"));
        if i % JOB_NODES > 0 {
            graph.data(format!("n{}", i - 1), format!("n{i}"));
        } else if i > 0 {
            graph.after(format!("n{i}"), format!("n{}", i - 1));
        }
    }
    graph
}

fn timed(mut once: impl FnMut()) -> f64 {
    median((0..ROUNDS).map(|_| {
        let begun = Instant::now();
        once();
        begun.elapsed().as_secs_f64()
    }))
}

pub(crate) fn translate(table: &mut Table) {
    for nodes in [1_000, 10_000, 100_000] {
        let graph = graph(nodes);
        let time = timed(|| assert_eq!(graph.translate().unwrap().jobs.len(), nodes.div_ceil(JOB_NODES)));
        let target = Duration::from_secs(1).as_secs_f64();
        let measured =
            format!("{}, {} a node", seconds(time), seconds(time / f64::from(u32::try_from(nodes).unwrap())));
        table.plain(&format!("translate a graph of {nodes} nodes"), NONE, &measured, "< 1.00 s", Some(time < target));
    }
}

pub(crate) fn projects(table: &mut Table) {
    let folder = crate::folder();
    std::fs::write(folder.path().join("project.yaml"), "name: large\n").unwrap();
    for i in 0..WORKFLOWS {
        let name = format!("w{i}");
        let path = folder.path().join("workflows").join(&name);
        std::fs::create_dir_all(&path).unwrap();
        let text = "nodes:\n  read: {function: read}\n  train: {function: train, inputs: [read]}\n  \
                    report: {function: report, rules: [\"START when model(wine) GENERATED\"]}\n";
        std::fs::write(path.join(format!("{name}.yaml")), text).unwrap();
    }
    let time = timed(|| assert_eq!(Project::load(folder.path()).unwrap().workflows().len(), WORKFLOWS));
    let path = format!("load and check a project of {WORKFLOWS} workflows");
    table.plain(&path, NONE, &seconds(time), "< 1.00 s", Some(time < 1.0));
}
