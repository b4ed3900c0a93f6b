//! Graphs and their translation: does what a user draws become the workflow that it means, and are all mistakes named?

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aiflow_core::execution::JobStatus;
use aiflow_core::function::FunctionSpec;
use aiflow_core::graph::{AiGraph, NodeKind, function, operation};
use aiflow_core::id::JobName;
use aiflow_core::translator::{SharedNodes, SplitTranslator, TranslateOptions, Translator as _};
use aiflow_core::workflow::{
    Completion, Condition, Diagnostic, ModelStage, RetryPolicy, Workflow, all, job_status, on, on_model_version,
    restart, start, start_workflow, stop,
};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

/// Jobs with their nodes, then control edges, one a line.
fn outline(workflow: &Workflow) -> String {
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

fn check(graph: &AiGraph, expected: &Expect) {
    let workflow = graph.translate().expect("the graph is sound");
    expected.assert_eq(&outline(&workflow));
}

fn check_problems(graph: &AiGraph, expected: &Expect) {
    let found =
        SplitTranslator.translate(graph, &TranslateOptions::default()).expect_err("something is wrong with the graph");
    let lines: Vec<String> = found.iter().map(|problem| format!("{problem}\n")).collect();
    expected.assert_eq(&lines.concat());
}

fn wine() -> AiGraph {
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

fn graph(nodes: &[&str]) -> AiGraph {
    let mut graph = AiGraph::new("p", "w");
    for name in nodes {
        graph.node(*name, function(*name));
    }
    graph
}

fn job(name: &str) -> JobName {
    JobName::parse(name).expect("a well-formed name")
}

#[test]
fn the_four_stages_become_four_jobs() {
    let workflow = wine().translate().unwrap();
    expect![[r#"
        prepare: prepare
        train: train
        evaluate: evaluate
        inference: inference
        train START when samples
        evaluate START when MODEL_GENERATED wine
        inference RESTART when MODEL_DEPLOYED wine
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
    for i in 0..=10_000 {
        graph.node(format!("n{i}"), function("f"));
    }
    check_problems(
        &graph,
        &expect![[r#"
        graph: has 10001 nodes, at most 10000 are allowed
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
        job many: has the nodes g, h, but a job of executor process has one node; only function jobs have several
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
        data edge read -> train: leads from job etl to job fit, but values flow inside a job only; put both nodes into one job, or hand the value over in a dataset or a file and start fit after etl with a control edge
        data edge clean -> train: leads from job clean to job fit, but values flow inside a job only; put both nodes into one job, or hand the value over in a dataset or a file and start fit after clean with a control edge
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
    let error = graph.translate_with(&SplitTranslator, &options).unwrap_err();
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
    let found = SplitTranslator.translate(&graph, &TranslateOptions::default()).unwrap_err();
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

/// Reads DOT as Graphviz does, as far as we write it: statements of identifiers, quoted strings and attributes, in balanced braces.
fn dot_tokens(dot: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut chars = dot.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '"' {
            let mut string = String::from('"');
            loop {
                match chars.next().expect("a string is closed") {
                    '"' => break,
                    '\\' => {
                        let escaped = chars.next().expect("an escape is complete");
                        assert!(matches!(escaped, '"' | '\\' | 'n'), "escape {escaped:?}");
                        string.push(if escaped == 'n' { '\n' } else { escaped });
                    }
                    c => {
                        assert!(!c.is_control(), "control character in a string");
                        string.push(c);
                    }
                }
            }
            tokens.push(string);
        } else if c.is_alphanumeric() || c == '_' {
            let mut word = String::from(c);
            while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                word.push(c);
            }
            tokens.push(word);
        } else if c == '-' {
            assert_eq!(chars.next(), Some('>'));
            tokens.push("->".to_owned());
        } else if !c.is_whitespace() {
            assert!("{}[];=,".contains(c), "{c:?} outside a string");
            tokens.push(c.to_string());
        }
    }
    let mut open = Vec::new();
    for token in &tokens {
        match token.as_str() {
            "{" | "[" => open.push(token.as_str()),
            "}" => assert_eq!(open.pop(), Some("{")),
            "]" => assert_eq!(open.pop(), Some("[")),
            _ => {}
        }
    }
    assert!(open.is_empty());
    tokens
}

fn hostile() -> AiGraph {
    let mut graph = wine();
    graph.node("in", function("f").kind(NodeKind::ReadDataset).job("etl"));
    graph.node("out", function("f").kind(NodeKind::WriteDataset).job("etl").outputs(2));
    graph.data_port("out", 1, "in");
    graph.control("etl", start(on("a\"] -> b;\n}\\").equals("<b>|#quot;`%%\u{0}")));
    graph.control("etl", stop(on("x").or(job_status(&job("train"), JobStatus::Failed))));
    graph.control("evaluate", restart(job_status(&job("out"), JobStatus::Failed)));
    graph.rule(start_workflow(on("samples").and(on("calendar"))));
    graph
}

#[test]
fn pictures_show_nodes_edges_and_rules() {
    let graph = hostile();
    expect![[r#"
        digraph "wine/quality" {
          compound=true; rankdir=LR; node [shape=box, style=rounded];
          b0 [label="prepare\nfunction"];
          b1 [label="train\ntrain"];
          b2 [label="evaluate\nevaluate"];
          b3 [label="inference\nfunction, streaming"];
          b4 [label="in\nread_dataset", shape=cylinder, style=solid];
          b5 [label="out\nwrite_dataset", shape=cylinder, style=solid];
          b6 [label="samples", shape=ellipse, style=dashed];
          b7 [label="MODEL_GENERATED wine", shape=ellipse, style=dashed];
          b8 [label="MODEL_DEPLOYED wine", shape=ellipse, style=dashed];
          b9 [label="\"a\\\"] -> b;\\n}\\\\\" = \"<b>|#quot;`%%\\u0000\"", shape=ellipse, style=dashed];
          b10 [label="any of (x, train FAILED)", shape=hexagon, style=dashed];
          b11 [label="x", shape=ellipse, style=dashed];
          b12 [label="wine/quality", shape=doubleoctagon, style=solid];
          b13 [label="all of (samples, calendar)", shape=hexagon, style=dashed];
          b14 [label="calendar", shape=ellipse, style=dashed];
          subgraph cluster_0 { label="etl"; b4; b5; }
          b5 -> b4 [label="port 1"];
          b6 -> b1 [label="START", style=dashed];
          b7 -> b2 [label="START", style=dashed];
          b8 -> b3 [label="RESTART", style=dashed];
          b9 -> b4 [label="START", style=dashed, lhead=cluster_0];
          b11 -> b10 [style=dashed];
          b1 -> b10 [label="FAILED", style=dashed];
          b10 -> b4 [label="STOP", style=dashed, lhead=cluster_0];
          b5 -> b2 [label="RESTART on FAILED", style=dashed];
          b6 -> b13 [style=dashed];
          b14 -> b13 [style=dashed];
          b13 -> b12 [label="START", style=dashed];
        }
    "#]]
    .assert_eq(&graph.to_dot());
    expect![[r##"
        flowchart LR
          b0("prepare<br/>function")
          b1("train<br/>train")
          b2("evaluate<br/>evaluate")
          b3("inference<br/>function, streaming")
          b4[("in<br/>read_dataset")]
          b5[("out<br/>write_dataset")]
          b6(["samples"])
          b7(["MODEL_GENERATED wine"])
          b8(["MODEL_DEPLOYED wine"])
          b9(["#34;a#92;#34;#93; -#62; b#59;#92;n#125;#92;#92;#34; = #34;#60;b#62;#124;#35;quot#59;#96;#37;#37;#92;u0000#34;"])
          b10{{"any of (x, train FAILED)"}}
          b11(["x"])
          b12[["wine/quality"]]
          b13{{"all of (samples, calendar)"}}
          b14(["calendar"])
          subgraph g0["etl"]
            b4
            b5
          end
          b5 -->|"port 1"| b4
          b6 -.->|"START"| b1
          b7 -.->|"START"| b2
          b8 -.->|"RESTART"| b3
          b9 -.->|"START"| g0
          b11 -.-> b10
          b1 -.->|"FAILED"| b10
          b10 -.->|"STOP"| g0
          b5 -.->|"RESTART on FAILED"| b2
          b6 -.-> b13
          b14 -.-> b13
          b13 -.->|"START"| b12
    "##]].assert_eq(&graph.to_mermaid());
    let workflow = graph.translate().unwrap();
    expect![[r#"
        digraph "wine/quality" {
          compound=true; rankdir=LR; node [shape=box, style=rounded];
          b0 [label="prepare\nfunction"];
          b1 [label="train\nfunction"];
          b2 [label="evaluate\nfunction"];
          b3 [label="inference\nfunction, streaming"];
          b4 [label="etl\nfunction: out, in"];
          b5 [label="samples", shape=ellipse, style=dashed];
          b6 [label="MODEL_GENERATED wine", shape=ellipse, style=dashed];
          b7 [label="MODEL_DEPLOYED wine", shape=ellipse, style=dashed];
          b8 [label="\"a\\\"] -> b;\\n}\\\\\" = \"<b>|#quot;`%%\\u0000\"", shape=ellipse, style=dashed];
          b9 [label="any of (x, train FAILED)", shape=hexagon, style=dashed];
          b10 [label="x", shape=ellipse, style=dashed];
          b11 [label="wine/quality", shape=doubleoctagon, style=solid];
          b12 [label="all of (samples, calendar)", shape=hexagon, style=dashed];
          b13 [label="calendar", shape=ellipse, style=dashed];
          b5 -> b1 [label="START", style=dashed];
          b6 -> b2 [label="START", style=dashed];
          b7 -> b3 [label="RESTART", style=dashed];
          b8 -> b4 [label="START", style=dashed];
          b10 -> b9 [style=dashed];
          b1 -> b9 [label="FAILED", style=dashed];
          b9 -> b4 [label="STOP", style=dashed];
          b4 -> b2 [label="RESTART on FAILED", style=dashed];
          b5 -> b12 [style=dashed];
          b13 -> b12 [style=dashed];
          b12 -> b11 [label="START", style=dashed];
        }
    "#]]
    .assert_eq(&workflow.to_dot());
    expect![[r##"
        flowchart LR
          b0("prepare<br/>function")
          b1("train<br/>function")
          b2("evaluate<br/>function")
          b3("inference<br/>function, streaming")
          b4("etl<br/>function: out, in")
          b5(["samples"])
          b6(["MODEL_GENERATED wine"])
          b7(["MODEL_DEPLOYED wine"])
          b8(["#34;a#92;#34;#93; -#62; b#59;#92;n#125;#92;#92;#34; = #34;#60;b#62;#124;#35;quot#59;#96;#37;#37;#92;u0000#34;"])
          b9{{"any of (x, train FAILED)"}}
          b10(["x"])
          b11[["wine/quality"]]
          b12{{"all of (samples, calendar)"}}
          b13(["calendar"])
          b5 -.->|"START"| b1
          b6 -.->|"START"| b2
          b7 -.->|"RESTART"| b3
          b8 -.->|"START"| b4
          b10 -.-> b9
          b1 -.->|"FAILED"| b9
          b9 -.->|"STOP"| b4
          b4 -.->|"RESTART on FAILED"| b2
          b5 -.-> b12
          b13 -.-> b12
          b12 -.->|"START"| b11
    "##]].assert_eq(&workflow.to_mermaid());
}

#[test]
fn no_text_escapes_from_a_picture() {
    let graph = hostile();
    let workflow = graph.translate().unwrap();
    for dot in [graph.to_dot(), workflow.to_dot()] {
        let tokens = dot_tokens(&dot);
        let hostile = tokens.iter().filter(|token| token.contains("] -> b;"));
        assert!(hostile.clone().count() == 1 && hostile.clone().all(|token| token.starts_with('"')));
    }
    for text in [graph.to_mermaid(), workflow.to_mermaid()] {
        for line in text.lines() {
            assert!(line.matches('"').count() % 2 == 0, "{line}");
            let inside: String = line.split('"').skip(1).step_by(2).collect();
            assert!(!inside.contains(['[', ']', '{', '}', '|', '`']), "{line}");
        }
    }
}

/// A random graph: nodes, few of them with jobs, data edges with few cycles, and control edges of every kind.
fn any_graph() -> impl Strategy<Value = AiGraph> {
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
        let translated = SplitTranslator.translate(&graph, &options);
        let back: AiGraph = serde_json::from_str(&serde_json::to_string(&graph).unwrap()).unwrap();
        prop_assert_eq!(&translated, &SplitTranslator.translate(&back, &options));
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
