//! SVG pictures: is everything in them, inside the frame, and is it XML whatever the names are?

use std::collections::BTreeSet;

use aiflow_core::ErrorKind;
use aiflow_core::execution::JobStatus;
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::workflow::{Live, SVG_BOXES_MAX, Workflow, job_status, on, start, start_workflow, stop};
use proptest::prelude::*;

use super::{job, wine};

/// The names of the elements, all of which are closed; the attributes `x`, `y`, `width` and `height` of each box.
fn elements(svg: &str) -> (Vec<&str>, Vec<[f64; 4]>) {
    let (mut names, mut open, mut boxes) = (Vec::new(), Vec::new(), Vec::new());
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>') && !tag.contains('<'));
        for (at, _) in text.match_indices('&') {
            assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|entity| text[at + 1..].starts_with(entity)), "{text}");
        }
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        names.push(name);
        if !tag.ends_with('/') {
            open.push(name);
        }
        if name == "rect" {
            let value = |attribute: &str| -> f64 {
                let (_, rest) = tag.split_once(&format!(" {attribute}=\"")).unwrap();
                rest.split('"').next().unwrap().parse().unwrap()
            };
            boxes.push(["x", "y", "width", "height"].map(value));
        }
    }
    assert!(open.is_empty(), "{open:?}");
    (names, boxes)
}

/// Boxes lie in the picture, and in one another or apart.
fn assert_tidy(svg: &str) {
    let (_, boxes) = elements(svg);
    let inside = |[x, y, w, h]: [f64; 4], [u, v, p, q]: [f64; 4]| {
        x >= u - 1.0 && y >= v - 1.0 && x + w <= u + p + 1.0 && y + h <= v + q + 1.0
    };
    let apart = |[x, y, w, h]: [f64; 4], [u, v, p, q]: [f64; 4]| {
        x + w <= u + 0.2 || u + p <= x + 0.2 || y + h <= v + 0.2 || v + q <= y + 0.2
    };
    for (i, a) in boxes.iter().enumerate() {
        assert!(inside(*a, boxes[0]), "{a:?} in {:?}", boxes[0]);
        for b in &boxes[i + 1..] {
            assert!(inside(*b, *a) || apart(*a, *b), "{a:?} and {b:?}");
        }
    }
}

fn graph() -> AiGraph {
    let mut graph = wine();
    for name in ["load", "clean", "split", "join"] {
        graph.node(name, function(name));
    }
    graph.data("load", "clean").data("load", "split").data("clean", "join").data("split", "join");
    graph.control("load", start(on("a<b>&\"c\"\u{1}").equals("]]>")));
    graph.control("load", stop(on("stop").and(job_status(&job("train"), JobStatus::Failed))));
    graph.control("prepare", start(job_status(&job("inference"), JobStatus::Failed)));
    graph.rule(start_workflow(on("samples").and(on("calendar"))));
    graph
}

fn workflow() -> Workflow {
    graph().translate().unwrap()
}

/// A graph in which the four nodes are named as a job, and hand a value on to another one.
fn with_named_job() -> AiGraph {
    let mut graph = graph();
    for node in graph.nodes.iter_mut().filter(|node| ["load", "clean", "split", "join"].contains(&node.name.as_str())) {
        node.job = Some("cleaning".to_owned());
    }
    graph.stored_data("join", "train");
    graph.after("evaluate", "cleaning");
    graph
}

#[test]
fn a_picture_shows_jobs_nodes_edges_and_what_they_wait_for() {
    let svg = workflow().to_svg(None).unwrap();
    assert_tidy(&svg);
    let (names, boxes) = elements(&svg);
    // The ground, five jobs, four nodes in one of them, and events, rules and the workflow.
    let drawn = names.iter().filter(|name| **name == "rect").count();
    assert_eq!(drawn, boxes.len());
    assert!(drawn > 1 + 5 + 4, "{drawn}");
    for text in ["prepare", "clean", "model(wine) DEPLOYED", "a&lt;b&gt;&amp;", "RESTART", "wine/quality", "FAILED"] {
        assert!(svg.contains(text), "{text} is not in {svg}");
    }
    let inner: BTreeSet<_> = ["load", "clean", "split", "join"].into_iter().collect();
    let bold = svg.lines().filter(|line| line.contains("bold") && inner.iter().any(|name| line.contains(name)));
    assert_eq!(bold.count(), 5, "the job and its four nodes");
}

/// How many arrows there are: one path is the tip of all of them.
fn arrows(svg: &str) -> (usize, usize) {
    let paths = svg.lines().filter(|line| line.starts_with("<path"));
    let (control, data): (Vec<_>, Vec<_>) = paths.partition(|path| path.contains("stroke-dasharray"));
    (data.len(), control.len())
}

#[test]
fn a_picture_of_a_graph_shows_jobs_around_their_nodes() {
    let graph = with_named_job();
    let svg = graph.to_svg(None).unwrap();
    assert_tidy(&svg);
    for text in [">cleaning<", ">join<", ">stored<", "model(wine) DEPLOYED", "a&lt;b&gt;&amp;", "START on SUCCEEDED"] {
        assert!(svg.contains(text), "{text} is not in {svg}");
    }
    // Within the named job, and the stored one; every other edge is a control edge, and the rules of two events have three arrows each.
    assert_eq!(arrows(&svg), (graph.data_edges.len(), graph.control_edges.len() + 2 + 3));
    let (_, boxes) = elements(&svg);
    let holds = |[x, y, w, h]: [f64; 4], [u, v, p, q]: [f64; 4]| x < u && y < v && x + w > u + p && y + h > v + q;
    let frames: Vec<usize> =
        boxes.iter().skip(1).map(|outer| boxes.iter().filter(|inner| holds(*outer, **inner)).count()).collect();
    assert_eq!(frames.iter().filter(|n| **n > 0).collect::<Vec<_>>(), [&4], "one box has the four nodes in it");
    // Unnamed, they are one job all the same, for data flows between them.
    let derived = self::graph().to_svg(None).unwrap();
    assert_tidy(&derived);
    assert_eq!(derived.matches("font-weight=\"bold\">load<").count(), 2, "the job and its first node");
}

#[test]
fn a_graph_that_is_wrong_is_drawn_too() {
    let mut graph = with_named_job();
    graph.node("train", function("again")).data("nothing", "train").data("join", "evaluate").data("join", "load");
    graph.after("nobody", "train");
    assert!(graph.translate().is_err());
    assert_tidy(&graph.to_svg(Some(&Live::default())).unwrap());
}

#[test]
fn what_cannot_be_looked_at_is_not_drawn() {
    let mut graph = AiGraph::new("p", "w");
    for i in 0..=SVG_BOXES_MAX {
        graph.node(format!("n{i}"), function("f"));
    }
    for refused in [graph.translate().unwrap().to_svg(None), graph.to_svg(None)] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Full);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any graph is drawn, and any workflow: loops, several edges between two jobs, jobs that nothing leads to.
    #[test]
    fn every_graph_is_drawn(graph in super::random::any_graph()) {
        assert_tidy(&graph.to_svg(None).unwrap());
        if let Ok(workflow) = graph.translate() {
            assert_tidy(&workflow.to_svg(None).unwrap());
        }
    }
}
