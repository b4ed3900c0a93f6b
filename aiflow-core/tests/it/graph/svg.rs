//! SVG pictures: is everything in them, inside the frame, and is it XML whatever the names are?

use std::collections::BTreeSet;

use aiflow_core::ErrorKind;
use aiflow_core::execution::JobStatus;
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::workflow::{SVG_BOXES_MAX, Workflow, job_status, on, start, start_workflow, stop};
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

fn workflow() -> Workflow {
    let mut graph = wine();
    for name in ["load", "clean", "split", "join"] {
        graph.node(name, function(name));
    }
    graph.data("load", "clean").data("load", "split").data("clean", "join").data("split", "join");
    graph.control("load", start(on("a<b>&\"c\"\u{1}").equals("]]>")));
    graph.control("load", stop(on("stop").and(job_status(&job("train"), JobStatus::Failed))));
    graph.control("prepare", start(job_status(&job("inference"), JobStatus::Failed)));
    graph.rule(start_workflow(on("samples").and(on("calendar"))));
    graph.translate().unwrap()
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

#[test]
fn what_cannot_be_looked_at_is_not_drawn() {
    let mut graph = AiGraph::new("p", "w");
    for i in 0..=SVG_BOXES_MAX {
        graph.node(format!("n{i}"), function("f"));
    }
    let error = graph.translate().unwrap().to_svg(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any graph that translates is drawn: loops, several edges between two jobs, jobs that nothing leads to.
    #[test]
    fn every_workflow_is_drawn(graph in super::random::any_graph()) {
        if let Ok(workflow) = graph.translate() {
            assert_tidy(&workflow.to_svg(None).unwrap());
        }
    }
}
