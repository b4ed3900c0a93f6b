//! Pictures of graphs and workflows: do they show everything, and does no text escape?

use aiflow_core::execution::JobStatus;
use aiflow_core::graph::{AiGraph, NodeKind, function};
use aiflow_core::workflow::{job_status, on, restart, start, start_workflow, stop};
use expect_test::expect;

use super::{job, wine};

/// Reads DOT as Graphviz does, as far as we write it: statements of identifiers, quoted strings and attributes, in balanced braces.
pub(super) fn dot_tokens(dot: &str) -> Vec<String> {
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
          b7 [label="model(wine) GENERATED", shape=ellipse, style=dashed];
          b8 [label="model(wine) DEPLOYED", shape=ellipse, style=dashed];
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
          b7(["model(wine) GENERATED"])
          b8(["model(wine) DEPLOYED"])
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
          b6 [label="model(wine) GENERATED", shape=ellipse, style=dashed];
          b7 [label="model(wine) DEPLOYED", shape=ellipse, style=dashed];
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
          b6(["model(wine) GENERATED"])
          b7(["model(wine) DEPLOYED"])
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
