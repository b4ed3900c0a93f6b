//! Translation: which jobs and rules does a graph become?

use std::time::Duration;

use aiflow_core::execution::JobStatus;
use aiflow_core::function::FunctionSpec;
use aiflow_core::graph::{AiGraph, function, operation};
use aiflow_core::workflow::{Completion, RetryPolicy, Workflow, job_status, on, restart, start, start_workflow, stop};
use expect_test::expect;
use serde_json::json;

use super::{check, graph, job, outline, wine};

#[test]
fn the_four_stages_become_four_jobs() {
    let workflow = wine().translate().unwrap();
    expect![[r#"
        prepare: prepare
        train: train
        evaluate: evaluate
        inference: inference
        train START when samples
        evaluate START when model(wine) GENERATED
        inference RESTART when model(wine) DEPLOYED
    "#]]
    .assert_eq(&outline(&workflow));
    assert_eq!(workflow.completion(), Completion::Standing);
    let train = workflow.job(&job("train")).unwrap();
    assert_eq!(train.retry, RetryPolicy::fixed(2, Duration::from_secs(1)));
    expect![[r#"{"nodes":[{"function":"train","name":"train","params":{"depth":5}}]}"#]]
        .assert_eq(&train.spec.to_string());
}

#[test]
fn nodes_that_data_edges_connect_form_one_job_in_topological_order() {
    let mut graph = graph(&["join", "other", "left", "right", "read"]);
    graph.node("split", function("split").outputs(2));
    graph.data("read", "split");
    graph.data("split", "right").data_port("split", 1, "left");
    graph.data("right", "join").data("left", "join");
    check(
        &graph,
        &expect![[r#"
        join: read split(read) left(split:1) right(split) join(right, left)
        other: other
    "#]],
    );
}

#[test]
fn nodes_with_the_same_job_name_form_one_job() {
    let mut graph = AiGraph::new("p", "w");
    graph
        .node("a", function("f").job("both").timeout(Duration::from_secs(9)))
        .node("b", operation("process", json!({"argv": ["true"]})))
        .node("c", function("g").job("both").streaming().params(json!({"x": 1})))
        .after("b", "c")
        .after_all("both", ["b", "both"]);
    let workflow = graph.translate().unwrap();
    expect![[r#"
        both: a c
        b: process {"argv":["true"]}
        b START when both READY
        both START when all of (b SUCCEEDED, both READY)
    "#]]
    .assert_eq(&outline(&workflow));
    let both = workflow.job(&job("both")).unwrap();
    assert!(both.streaming);
    assert_eq!(both.timeout, Some(Duration::from_secs(9)));
}

#[test]
fn a_node_that_two_jobs_need_is_copied() {
    let mut graph = graph(&["read", "train", "evaluate"]);
    graph.data("read", "train").data("read", "evaluate");
    graph.control("read", start(on("samples")));
    graph.control("read", stop(on("halt")));
    graph.after("evaluate", "train");
    check(
        &graph,
        &expect![[r#"
        read: read train(read)
        evaluate: read.copy1 evaluate(read.copy1)
        read START when samples
        read STOP when halt
        evaluate STOP when halt
        evaluate START when read SUCCEEDED
    "#]],
    );
}

/// A stored data edge is a boundary: the value is kept, and the reader waits for the job that gives it.
#[test]
fn stored_data_edges_lead_from_job_to_job() {
    let mut graph = graph(&["read", "clean", "train", "test", "report"]);
    graph
        .data("read", "clean")
        .stored_data("clean", "train")
        .stored_data("clean", "report")
        .stored_data("train", "report");
    graph.data("test", "report").control("test", start(on("samples")));
    let workflow = graph.translate().unwrap();
    let spec = |name: &str| -> FunctionSpec {
        serde_json::from_value(workflow.job(&job(name)).unwrap().spec.clone()).unwrap()
    };
    let names: Vec<&str> = workflow.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["read", "train", "test"]);
    assert_eq!(spec("read").nodes[1].kept, [0]);
    assert!(spec("read").nodes[0].kept.is_empty());
    assert_eq!(spec("train").nodes[0].kept, [0]);
    let inputs = |name: &str, node: usize| -> Vec<(String, bool)> {
        spec(name).nodes[node].inputs.iter().map(|input| (input.node.to_string(), input.kept)).collect()
    };
    assert_eq!(inputs("train", 0), [("clean".to_owned(), true)]);
    let own = |name: &str, kept| (name.to_owned(), kept);
    assert_eq!(inputs("test", 1), [own("clean", true), own("train", true), own("test", false)]);
    let waits: Vec<String> =
        workflow.control_edges.iter().map(|edge| format!("{}: {}", edge.job, edge.rule.condition)).collect();
    // `test` has a rule of its own, so that it is started by that alone.
    assert_eq!(waits.len(), 2, "{waits:?}");
    assert!(waits.iter().any(|wait| wait.starts_with("train: ") && wait.contains("read")), "{waits:?}");
    // Within one job nothing is kept.
    for node in ["clean", "train"] {
        graph
            .nodes
            .iter_mut()
            .filter(|known| known.name == node || known.name == "read")
            .for_each(|node| node.job = Some("one".to_owned()));
    }
    let workflow = graph.translate().unwrap();
    let one: FunctionSpec = serde_json::from_value(workflow.job(&job("one")).unwrap().spec.clone()).unwrap();
    assert!(!one.nodes.iter().any(|node| node.inputs.iter().any(|input| input.kept)));
}

#[test]
fn stored_values_of_streams_and_circles_are_refused() {
    let mut endless = graph(&["read", "train"]);
    endless.nodes[0].streaming = true;
    endless.stored_data("read", "train");
    super::check_problems(
        &endless,
        &expect![[r#"
        data edge read -> train: job read streams: it never ends, and gives no value
    "#]],
    );
    let mut circle = graph(&["a", "b"]);
    circle.stored_data("a", "b").stored_data("b", "a");
    super::check_problems(
        &circle,
        &expect![[r#"
        data edges: form a cycle: a -> b -> a; only control edges may
    "#]],
    );
}

#[test]
fn a_stop_reaches_copies_once() {
    let mut graph = graph(&["read", "train", "evaluate", "report"]);
    for name in ["train", "evaluate", "report"] {
        graph.data("read", name);
    }
    graph.after("evaluate", "train").after("report", "train");
    graph.control("read", stop(on("halt")));
    graph.control("report", stop(on("halt")));
    check(
        &graph,
        &expect![[r#"
        read: read train(read)
        evaluate: read.copy1 evaluate(read.copy1)
        report: read.copy2 report(read.copy2)
        evaluate START when read SUCCEEDED
        report START when read SUCCEEDED
        read STOP when halt
        evaluate STOP when halt
        report STOP when halt
    "#]],
    );
}

#[test]
fn control_that_comes_back_through_other_jobs_divides_too() {
    let mut graph = graph(&["read", "clean", "train", "push", "report", "approve", "sign"]);
    graph.data("read", "clean").data("clean", "train").data("clean", "push");
    graph.data("push", "report").data("read", "report").data("approve", "sign");
    graph.after("approve", "train").after("push", "sign");
    check(
        &graph,
        &expect![[r#"
        read: read clean(read) train(clean)
        push: read.copy1 clean.copy1(read.copy1) push(clean.copy1) report(push, read.copy1)
        approve: approve sign(approve)
        approve START when read SUCCEEDED
        push START when approve SUCCEEDED
    "#]],
    );
}

#[test]
fn copies_of_copies_are_named_after_the_original() {
    let mut graph = graph(&["read", "read.copy1", "a", "b", "c"]);
    graph.data("read", "a").data("read", "b").data("read", "c");
    graph.after("b", "a").after("c", "b");
    check(
        &graph,
        &expect![[r#"
        read: read a(read)
        read.copy1: read.copy1
        b: read.copy2 b(read.copy2)
        c: read.copy3 c(read.copy3)
        b START when read SUCCEEDED
        c START when b SUCCEEDED
    "#]],
    );
}

#[test]
fn loops_of_control_edges_are_legal() {
    let mut graph = graph(&["read", "train", "evaluate"]);
    graph.data("read", "train");
    graph.after("evaluate", "train");
    graph.control("read", restart(job_status(&job("evaluate"), JobStatus::Failed)));
    graph.control("train", restart(job_status(&job("train"), JobStatus::Failed)));
    check(
        &graph,
        &expect![[r#"
        read: read train(read)
        evaluate: evaluate
        evaluate START when read SUCCEEDED
        read RESTART when evaluate FAILED
        read RESTART when read FAILED
    "#]],
    );
}

#[test]
fn a_rule_keeps_its_own_name_and_a_derived_one_follows_the_job() {
    let mut graph = graph(&["read", "train", "evaluate"]);
    graph.data("read", "train");
    let rule = start(job_status(&job("train"), JobStatus::Succeeded));
    graph.control("evaluate", rule.clone());
    graph.control("evaluate", rule.named("mine".parse().unwrap()));
    let workflow = graph.translate().unwrap();
    let rules: Vec<_> = workflow.control_edges.iter().map(|edge| &edge.rule).collect();
    let by_job = start(job_status(&job("read"), JobStatus::Succeeded));
    assert_eq!(*rules[0], by_job);
    assert_eq!(*rules[1], by_job.named("mine".parse().unwrap()));
}

#[test]
fn a_graph_and_its_workflow_read_back_from_json() {
    let mut graph = wine();
    graph.data_port("prepare", 0, "train").after("inference", "evaluate");
    graph.rule(start_workflow(on("go"))).params(json!({"n": 1})).completion(Completion::Idle);
    let text = serde_json::to_string(&graph).unwrap();
    let back: AiGraph = serde_json::from_str(&text).unwrap();
    assert_eq!(back, graph);
    let workflow = graph.translate().unwrap();
    assert_eq!(back.translate().unwrap().content_hash(), workflow.content_hash());
    let text = serde_json::to_string(&workflow).unwrap();
    assert_eq!(serde_json::from_str::<Workflow>(&text).unwrap(), workflow);
}
