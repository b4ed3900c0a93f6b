//! Projects: what a directory says, and what reaches the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aiflow_core::bus::EventBus as _;
use aiflow_core::client::AiFlow;
use aiflow_core::memory::MemoryStore;
use aiflow_core::runtime::Scheduler;
use aiflow_core::time::SystemClock;
use aiflow_project::{Definition, Environment, LoadOptions, Project};
use serde_json::{Value, json};

use super::corpus::project;

fn aiflow() -> (Arc<MemoryStore>, AiFlow) {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    (Arc::clone(&store), AiFlow::new(Arc::<MemoryStore>::clone(&store), store).unwrap())
}

#[test]
fn references_take_the_type_of_what_they_refer_to() {
    let dir = project(&[
        ("project.yaml", b"name: p\nproperties:\n  retries: 2\n  rows: {min: 10}\n  place: ${{ env.PLACE ?? here }}\n"),
        (
            "workflows/w/w.yaml",
            br#"properties: {function: "${{ properties.place }}_f"}
nodes:
  a:
    function: ${{ properties.function }}
    params:
      rows: ${{ properties.rows }}
      text: "${{ properties.retries }}"
      rate: ${{ env.RATE }}
      literal: "$${{ env.RATE }}"
      both: from ${{ properties.place }} at ${{ env.RATE }}
    outputs: "${{ env.RATE }}"
    retry: {retries_max: "${{ properties.retries }}", backoff: "${{ env.PAUSE ?? 1 s }}"}
"#,
        ),
    ]);
    let environment = Environment::empty().with("RATE", "0.5");
    let problems = Project::load_with(dir.path(), &LoadOptions::new().environment(environment.clone())).unwrap_err();
    assert!(
        problems.to_string().contains("expected a whole number from 0 to 4294967295, found the number 0.5"),
        "{problems}"
    );
    assert_eq!(problems.iter().count(), 1);
    let path = dir.path().join("workflows/w/w.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"${{ env.RATE }}\"\n    retry", "1\n    retry")).unwrap();
    let project = Project::load_with(dir.path(), &LoadOptions::new().environment(environment)).unwrap();
    let Definition::Graph(graph) = &project.workflow("w").unwrap().definition else { panic!("a graph") };
    let node = &graph.nodes[0];
    assert_eq!(node.spec, json!("here_f"));
    assert_eq!(
        node.params,
        json!({
            "rows": { "min": 10 }, "text": "2", "rate": 0.5, "literal": "${{ env.RATE }}", "both": "from here at 0.5",
        })
    );
    let retry = node.retry.as_ref().unwrap();
    assert_eq!((retry.retries_max, retry.backoff), (2, Duration::from_secs(1)));
}

#[tokio::test]
async fn secrets_are_stored_as_references() {
    let file = br#"nodes:
  a:
    shell: curl example.org
    env: {TOKEN: "${{ secrets.API_TOKEN }}", LEVEL: info}
"#;
    let dir = project(&[("project.yaml", b"name: p\n"), ("workflows/w/w.yaml", file)]);
    let environment = Environment::empty().with("API_TOKEN", "hidden").with("TOKEN", "hidden");
    let project = Project::load_with(dir.path(), &LoadOptions::new().environment(environment)).unwrap();
    let (_, aiflow) = aiflow();
    project.submit(&aiflow).await.unwrap();
    let stored = aiflow.project("p").unwrap().latest_workflow_version("w").await.unwrap().unwrap();
    let spec = &stored.workflow.jobs[0].spec;
    assert_eq!(spec["secrets"], json!({ "TOKEN": "API_TOKEN" }));
    assert_eq!(spec["env"]["LEVEL"], "info");
    let text = serde_json::to_string(&stored.workflow).unwrap();
    assert!(!text.contains("hidden") && !format!("{project:?}").contains("hidden"));
}

#[test]
fn json_is_read_with_its_tabs_and_halves_of_characters() {
    let text = "{\n\t\"nodes\": {\"a\": {\"function\": \"\\ud83d\\ude00 \\u00e4 \\\\ud83d \\/\"}}\n}";
    let read = Definition::parse("p", "w", "w.json", text, &Environment::empty()).unwrap();
    let Definition::Graph(graph) = read else { panic!("a graph") };
    assert_eq!(graph.nodes[0].spec, json!("😀 ä \\ud83d /"));
}

#[tokio::test]
async fn what_is_as_it_was_is_not_written_again() {
    let files: Vec<(String, Vec<u8>)> = (0..20)
        .map(|i| (format!("workflows/w{i}/w{i}.yaml"), format!("nodes:\n  a: {{shell: echo {i}}}\n").into_bytes()))
        .chain([("project.yaml".to_owned(), b"name: p\npools: {gpu: 2}\n".to_vec())])
        .collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let dir = project(&files);
    let (store, aiflow) = aiflow();
    let submitted = Project::load(dir.path()).unwrap().submit(&aiflow).await.unwrap();
    assert!(submitted.len() == 20 && submitted.iter().all(|done| done.is_new && done.version == 1));
    // The pool is known once a scheduler has read the request.
    let host =
        Scheduler::builder(Arc::<MemoryStore>::clone(&store), Arc::<MemoryStore>::clone(&store)).start().unwrap();
    let p = aiflow.project("p").unwrap();
    while p.pools().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    host.shutdown().await.unwrap();
    let (head, exported) = (store.head().await.unwrap(), p.latest_workflow_version("w3").await.unwrap());
    let again = Project::load(dir.path()).unwrap().submit(&aiflow).await.unwrap();
    assert!(again.iter().all(|done| !done.is_new && done.version == 1));
    assert_eq!(store.head().await.unwrap(), head);
    assert_eq!(p.latest_workflow_version("w3").await.unwrap(), exported);
    // One that changed is one that is written.
    std::fs::write(dir.path().join("workflows/w3/w3.yaml"), "nodes:\n  a: {shell: echo other}\n").unwrap();
    let project = Project::load(dir.path()).unwrap();
    let new: Vec<bool> = project.submit(&aiflow).await.unwrap().iter().map(|done| done.is_new).collect();
    assert_eq!(new.iter().filter(|is_new| **is_new).count(), 1);
    assert!(!project.submit_one(&aiflow, "w3").await.unwrap().is_new);
    assert!(project.submit_one(&aiflow, "none").await.is_err());
}

#[test]
fn what_is_generated_is_written_once() {
    let dir = project(&[("project.yaml", b"name: p\n"), ("workflows/w/w.yaml", b"nodes:\n  a: {function: f}\n")]);
    let project = Project::load(dir.path()).unwrap();
    assert_eq!((project.generate().unwrap(), project.generate().unwrap()), (2, 0));
    let stored: Value = serde_json::from_slice(&std::fs::read(dir.path().join("generated/w.json")).unwrap()).unwrap();
    assert_eq!(stored["jobs"][0]["name"], "a");
}

#[test]
fn rules_of_nodes_and_of_the_workflow_keep_what_they_say() {
    let rules = [
        "START when a SUCCEEDED, taking uri from /uri of samples, from event 3 on, named follow",
        "RESTART when model(wine) DEPLOYED, taking version from /version, from the latest of each key on",
    ];
    let of_workflow = "RESTART of the same order when paid for each /id, taking by from sender";
    let text = format!(
        "rules: ['{of_workflow}']\nnodes:\n  a: {{function: f}}\n  b: {{function: g, rules: ['{}', '{}']}}\n",
        rules[0], rules[1]
    );
    let dir = project(&[("project.yaml", b"name: p\n"), ("workflows/w/w.yaml", text.as_bytes())]);
    let project = Project::load(dir.path()).unwrap();
    let workflow = &project.workflow("w").unwrap().workflow;
    let said: Vec<String> = workflow.control_edges.iter().map(|edge| edge.rule.to_string()).collect();
    assert_eq!(said, rules);
    assert_eq!(workflow.rules[0].to_string(), of_workflow);
}

#[test]
fn the_example_project_is_right_and_says_what_the_schema_says() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/project");
    let project = Project::load_with(dir, &LoadOptions::new().environment(Environment::empty())).unwrap();
    assert!(project.warnings().is_empty(), "{}", project.warnings());
    let validator = jsonschema::validator_for(&aiflow_project::workflow_schema()).unwrap();
    for workflow in project.workflows() {
        let json: Value = serde_json::from_str(&workflow.definition.to_json().unwrap()).unwrap();
        assert!(validator.is_valid(&json), "{}", workflow.file);
    }
    let names: Vec<&str> = project.workflows().iter().map(|workflow| workflow.workflow.name.as_str()).collect();
    assert_eq!(names, ["online_training", "periodic", "status_rules"]);
}

#[test]
fn a_thousand_workflows_are_loaded_in_a_second() {
    let files: Vec<(String, Vec<u8>)> = (0..1_000)
        .map(|i| {
            let text = format!(
                "params: {{n: {i}}}\nschedules:\n  - cron: \"{} 2 * * *\"\nnodes:\n  read: {{function: read, kind: read_dataset}}\n  train:\n    function: train\n    inputs: [read]\n    retry: {{retries_max: 3, backoff: 10 s}}\n  evaluate:\n    function: evaluate\n    rules:\n      - START when model(wine) GENERATED\n  serve:\n    shell: serve\n    streaming: true\n    rules:\n      - RESTART when model(wine) DEPLOYED or settings = \"changed\" within 1 h\n",
                i % 60
            );
            (format!("workflows/w{i}/w{i}.yaml"), text.into_bytes())
        })
        .chain([("project.yaml".to_owned(), b"name: p\n".to_vec())])
        .collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let dir = project(&files);
    let started = Instant::now();
    let loaded = Project::load(dir.path()).unwrap();
    let took = started.elapsed();
    assert_eq!(loaded.workflows().len(), 1_000);
    println!("1,000 workflows of 4 nodes are loaded, translated and checked in {took:.0?}");
    // Tests are not optimised and share the machine.
    assert!(took < Duration::from_secs(30), "{took:?}");
}
