//! Mistakes and bounds: what is refused, and is everything named at once?

use std::time::Duration;

use aiflow_core::execution::JobStatus;
use aiflow_core::graph::{AiGraph, NODES_MAX, function, operation};
use aiflow_core::translator::{SharedNodes, SplitTranslator, TranslateOptions, Translator as _};
use aiflow_core::workflow::{Condition, RetryPolicy, all, job_status, on, start, start_workflow, stop};
use expect_test::expect;
use serde_json::json;

use super::{check_problems, graph, job};

#[test]
fn malformed_parts_are_all_named_at_once() {
    let mut graph = AiGraph::new("wi ne", "");
    graph.node("a\"b", function("f"));
    graph.node("twice", function("")).node("twice", function("f").outputs(0));
    graph.node("p", operation("no such", json!({})).job("-x").params(json!([1])));
    graph.data("twice", "nowhere").data("twice", "twice").data("a\"b", "p");
    graph.data_port("a\"b", 3, "twice").data_port("a\"b", 3, "twice");
    graph.control("gone", start(on("x")));
    graph.control("twice", start(all::<Condition>([])));
    graph.after("twice", "lost").after_all("twice", Vec::<String>::new());
    graph.rule(start_workflow(job_status(&job("missing"), JobStatus::Failed)));
    graph.params(json!(7));
    check_problems(
        &graph,
        &expect![[r#"
            project: project name has ' ' at byte 2; allowed are A-Z a-z 0-9 . _ - ("wi ne")
            workflow: workflow name must not be empty ("")
            node "a\"b": node name has '"' at byte 1; allowed are A-Z a-z 0-9 . _ - ("a\"b")
            node twice: the spec of a function node must be the name of the function
            node twice: has 0 output ports, 1 to 256 are allowed
            node twice: is defined twice
            node p: executor name has ' ' at byte 2; allowed are A-Z a-z 0-9 . _ - ("no such")
            node p: job name must not start with '.' or '-' ("-x")
            node p: params must be a JSON object
            data edge twice -> nowhere: there is no node nowhere
            data edge "a\"b" -> p: node p runs on executor "no such", and only function nodes exchange data; hand the value over in a dataset or a file, and let a control edge start the reader
            data edge "a\"b":3 -> twice: node "a\"b" has no output port 3, it has 1
            data edge "a\"b":3 -> twice: is defined twice
            control edge twice: waits for nothing
            control edge gone: START when x: there is no node and no job gone
            control edge twice after lost: there is no node and no job lost
            workflow rule start-9f0dc36c025c: there is no node and no job missing
            data edges: form a cycle: twice -> twice; only control edges may
            params: must be a JSON object
            control edge 1 of job _a_b, rule start-b2c7f4c891b8: has an empty all, any or sequence; it must have at least one operand
        "#]],
    );
}

#[test]
fn an_empty_graph_is_refused() {
    check_problems(
        &AiGraph::new("p", "w"),
        &expect![[r#"
            workflow w: has no job
        "#]],
    );
}

#[test]
fn a_graph_beyond_its_bounds_is_refused() {
    let mut graph = AiGraph::new("p", "w");
    for i in 0..=NODES_MAX {
        graph.node(format!("n{i}"), function("f"));
    }
    check_problems(
        &graph,
        &expect![[r#"
        graph: has 100001 nodes, at most 100000 are allowed
    "#]],
    );
}

#[test]
fn nodes_of_a_job_must_agree() {
    let second = Duration::from_secs(1);
    let mut graph = AiGraph::new("p", "w");
    graph
        .node("a", function("f").job("j").timeout(second).stop_grace(second))
        .node("b", function("f").job("j").timeout(2 * second).retry(RetryPolicy::fixed(1, second)))
        .node("c", function("f").job("j").retry(RetryPolicy::never()).heartbeat_timeout(second))
        .node("d", function("f").job("j").stop_grace(second).heartbeat_timeout(2 * second))
        .node("e", function("f").job("mixed"))
        .node("f", operation("process", json!({})).job("mixed"))
        .node("g", operation("process", json!({})).job("many"))
        .node("h", operation("process", json!({})).job("many"));
    check_problems(
        &graph,
        &expect![[r#"
            job j: nodes b and c set different values of retry; set it on one of them
            job j: nodes a and b set different values of timeout; set it on one of them
            job j: nodes c and d set different values of heartbeat_timeout; set it on one of them
            job mixed: node e runs on executor function and node f on process; the nodes of one job share its executor
            job many: has the nodes g, h, but a job of executor process has one node; only function jobs and those of a job generator have several
        "#]],
    );
}

#[test]
fn data_edges_stay_in_one_function_job() {
    let mut graph = AiGraph::new("p", "w");
    graph
        .node("read", function("f").job("etl"))
        .node("clean", function("f"))
        .node("train", function("f").job("fit"))
        .node("shell", operation("process", json!({})))
        .data("read", "train")
        .data("clean", "train")
        .data("read", "shell")
        .data("shell", "train");
    check_problems(
        &graph,
        &expect![[r#"
            data edge read -> shell: node shell runs on executor process, and only function nodes exchange data; hand the value over in a dataset or a file, and let a control edge start the reader
            data edge shell -> train: node shell runs on executor process, and only function nodes exchange data; hand the value over in a dataset or a file, and let a control edge start the reader
            data edge read -> train: leads from job etl to job fit, but values flow inside a job only; put both nodes into one job, or have the value stored on its way (`stored_data`)
            data edge clean -> train: leads from job clean to job fit, but values flow inside a job only; put both nodes into one job, or have the value stored on its way (`stored_data`)
        "#]],
    );
}

#[test]
fn cycles_of_data_edges_are_listed() {
    let mut graph = graph(&["a", "b", "c", "d", "alone"]);
    graph.data("a", "b").data("b", "c").data("c", "a").data("c", "b").data("c", "d");
    graph.data("alone", "alone");
    check_problems(
        &graph,
        &expect![[r#"
        data edges: form a cycle: a -> b -> c -> a; only control edges may
        data edges: form a cycle: alone -> alone; only control edges may
    "#]],
    );
}

#[test]
fn a_job_cannot_wait_for_what_it_feeds_itself() {
    let mut direct = graph(&["read", "train"]);
    direct.data("read", "train").after("train", "read");
    check_problems(
        &direct,
        &expect![[r#"
        control edge train after read: makes node train wait for node read, but data flows from the one to the other, or from both into a third, so they run in one job; remove the control edge, or hand the value over in a dataset or a file
    "#]],
    );

    let mut joined = graph(&["a", "b", "join", "other"]);
    joined.data("a", "join").data("b", "join");
    joined.after("other", "a").after("b", "other");
    check_problems(
        &joined,
        &expect![[r#"
        control edge other after a: makes node b wait for node a, but data flows from the one to the other, or from both into a third, so they run in one job; remove the control edge, or hand the value over in a dataset or a file
    "#]],
    );
}

#[test]
fn copying_can_be_refused() {
    let mut graph = graph(&["read", "train", "evaluate"]);
    graph.data("read", "train").data("read", "evaluate").after("evaluate", "train");
    let options = TranslateOptions::default().shared(SharedNodes::Refuse);
    let error = graph.translate_with(&SplitTranslator::new(), &options).unwrap_err();
    expect!["translate graph: invalid: control edge evaluate after train: makes node evaluate wait for node train, but both need read, which may not be copied; put what is shared into a job of its own, and hand its values over in a dataset or a file (problems=1)"].assert_eq(&error.to_string());
}

/// Four nodes that wait for one another and all read from a chain of `length` nodes.
fn chain(length: usize) -> AiGraph {
    let mut graph = AiGraph::new("p", "w");
    for i in 0..length {
        graph.node(format!("c{i}"), function("f"));
        if i > 0 {
            graph.data(format!("c{}", i - 1), format!("c{i}"));
        }
    }
    for i in 0..4 {
        graph.node(format!("t{i}"), function("f"));
        graph.data(format!("c{}", length - 1), format!("t{i}"));
        if i > 0 {
            graph.after(format!("t{i}"), format!("t{}", i - 1));
        }
    }
    graph
}

#[test]
fn copies_are_bounded() {
    check_problems(
        &chain(334),
        &expect![[r#"
        control edge t1 after t0: makes node t3 wait for node t0, but more than 1000 nodes would have to be copied; name the jobs of these nodes
    "#]],
    );
    assert_eq!(chain(333).translate().unwrap().jobs.len(), 4);
}

#[test]
fn a_large_graph_translates() {
    let mut graph = AiGraph::new("p", "w");
    for i in 0..10_000 {
        graph.node(format!("n{i}"), function("f"));
        if i % 5 > 0 {
            graph.data(format!("n{}", i - 1), format!("n{i}"));
        } else if i > 0 {
            graph.after(format!("n{i}"), format!("n{}", i - 1));
        }
    }
    assert_eq!(graph.translate().unwrap().jobs.len(), 2_000);
}

#[test]
fn names_of_jobs_and_nodes_must_not_clash() {
    let mut graph = AiGraph::new("p", "w");
    graph
        .node("a", function("f").job("b"))
        .node("b", function("f"))
        .node("c", function("f").job("d"))
        .node("d", function("f").job("c"))
        .after("c", "a")
        .after("b", "a");
    check_problems(
        &graph,
        &expect![[r#"
            control edge c after a: c is a job and also a node of another job; rename one of them
            control edge b after a: b is a job and also a node of another job; rename one of them
            job b: has nodes that were put into it, and node b, which was put into no job, would form a job of the same name; put node b into a job
        "#]],
    );
}

#[test]
fn a_copy_whose_name_is_too_long_is_named() {
    let read = "r".repeat(128);
    let mut graph = graph(&[&read, "train", "evaluate"]);
    graph.data(&read, "train").data(&read, "evaluate").after("evaluate", "train");
    let found = SplitTranslator::new().translate(&graph, &TranslateOptions::default()).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("copy cannot be named"), "{}", found[0]);
}

#[test]
fn what_only_the_workflow_can_tell_is_reported_with_the_rest() {
    let mut graph = graph(&["read", "train", "read"]);
    graph.data("read", "train");
    graph.control("read", start(on("go"))).control("train", start(on("go")));
    graph.control("read", stop(job_status(&job("train"), JobStatus::Queued)));
    check_problems(
        &graph,
        &expect![[r#"
        node read: is defined twice
        control edge 2 of job read, rule start-6fac818c1d71: the job has another rule of this name or content
        control edge 3 of job read, rule stop-1728f8772e00: waits for status QUEUED of job read, which is never announced to rules
    "#]],
    );
}
