//! Code, file and store: a definition is the same in each.

use aiflow_core::graph::AiGraph;
use aiflow_core::workflow::Workflow;
use aiflow_project::{Definition, Environment};
use aiflow_testkit::definitions::Definitions;
use aiflow_testkit::rng::{SEED_VARIABLE, test_seed};

const DEFINITIONS: usize = 400;

fn reads_back(definition: &Definition, told: &str) {
    for (file, text) in [("w.yaml", definition.to_yaml().unwrap()), ("w.json", definition.to_json().unwrap())] {
        match Definition::parse("p", "w", file, &text, &Environment::empty()) {
            Ok(read) => assert!(read == *definition, "{told}: reads as {read:#?}\ninstead of {definition:#?}\n{text}"),
            Err(problems) => panic!("{told}:\n{problems}\n{text}"),
        }
        if file == "w.json" {
            serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{told}: {error}\n{text}"));
        }
    }
}

#[test]
fn every_definition_reads_back_from_its_file_and_from_what_is_stored() {
    let seed = test_seed();
    let mut definitions = Definitions::new(seed);
    for i in 0..DEFINITIONS {
        let graph = definitions.graph("p", "w");
        let stored = serde_json::to_string(&graph).unwrap();
        assert_eq!(serde_json::from_str::<AiGraph>(&stored).unwrap(), graph, "{SEED_VARIABLE}={seed}, graph {i}");
        reads_back(&graph.into(), &format!("{SEED_VARIABLE}={seed}, graph {i}"));
        let workflow = definitions.workflow("p", "w");
        let stored = serde_json::to_string(&workflow).unwrap();
        assert_eq!(
            serde_json::from_str::<Workflow>(&stored).unwrap(),
            workflow,
            "{SEED_VARIABLE}={seed}, workflow {i}"
        );
        reads_back(&workflow.into(), &format!("{SEED_VARIABLE}={seed}, workflow {i}"));
    }
}
