//! The published JSON Schema says what the reader says.

use std::path::Path;

use aiflow_project::{Definition, Environment, project_schema, workflow_schema};
use aiflow_testkit::definitions::Definitions;
use aiflow_testkit::rng::{SEED_VARIABLE, test_seed};
use expect_test::expect_file;
use serde_json::Value;

#[test]
fn the_published_schemas_are_those_of_the_reader() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    for (name, schema) in [("project", project_schema()), ("workflow", workflow_schema())] {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        expect_file![dir.join(format!("{name}.schema.json"))].assert_eq(&text);
        jsonschema::meta::validate(&schema).unwrap();
    }
}

#[test]
fn what_is_written_is_valid() {
    let seed = test_seed();
    let validator = jsonschema::validator_for(&workflow_schema()).unwrap();
    let mut definitions = Definitions::new(seed);
    for i in 0..150 {
        for definition in [Definition::from(definitions.graph("p", "w")), definitions.workflow("p", "w").into()] {
            let json: Value = serde_json::from_str(&definition.to_json().unwrap()).unwrap();
            let errors: Vec<String> =
                validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{SEED_VARIABLE}={seed}, definition {i}: {errors:#?}");
        }
    }
}

/// Whatever is wrong with the type or the name of a member is refused by the schema as well.
#[test]
fn the_type_errors_of_the_corpus_are_refused() {
    let validator = jsonschema::validator_for(&workflow_schema()).unwrap();
    for (text, is_valid) in [
        (r#"{"nodes": {"a": {"function": "f"}}}"#, true),
        (r#"{"nodes": {"a": {"function": "f", "streaming": true, "timeout": "1 h 30 min", "outputs": 2}}}"#, true),
        (r#"{"nodes": {"a": {"function": "f", "outputs": "${{ env.N }}"}}}"#, true),
        (r#"{"nodes": {"a": {"function": "f", "rules": ["START when a", {"when": "b", "do": "stop"}]}}}"#, true),
        (r#"{"nodes": {"a": {"funtion": "f"}}}"#, false),
        (r#"{"nodes": {"a": {"function": 12}}}"#, false),
        (r#"{"nodes": {"a": {"function": "f", "streaming": "yes"}}}"#, false),
        (r#"{"nodes": {"a": {"function": "f", "timeout": 300}}}"#, false),
        (r#"{"nodes": {"a": {"function": "f", "timeout": "soon"}}}"#, false),
        (r#"{"nodes": {"a": {"function": "f", "outputs": -1}}}"#, false),
        (r#"{"nodes": {"a": {"function": "f", "outputs": 5000000000}}}"#, false),
        (r#"{"nodes": {"a": {"function": "f", "retry": {"retries_max": 1.5, "backoff": "1 s"}}}}"#, false),
        (r#"{"nodes": {"a": {"function": "f", "retry": {"factor": 2}}}}"#, false),
        (r#"{"nodes": ["a"]}"#, false),
        (r#"{"nodes": {"a": {"function": "f", "inputs": {"b": 1}}}}"#, false),
        (r#"{"nodes": {"a": {"function": "f", "kind": "trian"}}}"#, false),
        (r#"{"colour": "red"}"#, false),
        (r#"{"hooks": [{"on": "failure"}]}"#, false),
        (r#"{"parameters": {"n": {"type": "int"}}}"#, false),
        (r#"{"nodes": {"a": {"function": "f", "rules": [{"when": "b", "do": "begin"}]}}}"#, false),
    ] {
        let json: Value = serde_json::from_str(text).unwrap();
        assert_eq!(validator.is_valid(&json), is_valid, "{text}");
        let read = Definition::parse("p", "w", "w.json", text, &Environment::empty().with("N", "1"));
        assert_eq!(read.is_ok(), is_valid, "{text}: {read:?}");
    }
}
