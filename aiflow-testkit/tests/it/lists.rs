//! Lists of cases: is every case of a suite run by its macro?

use std::collections::BTreeSet;

/// The lines between the start of the list and its end, without commas.
fn listed(source: &str) -> BTreeSet<&str> {
    let list = source.split("conformance_tests!(").nth(1).unwrap();
    let list = list.split(");").next().unwrap();
    let names = list.lines().skip(1).map(|line| line.trim().trim_end_matches(','));
    names.filter(|name| !name.is_empty()).collect()
}

fn written<'a>(sources: &[&'a str]) -> BTreeSet<&'a str> {
    let functions = sources.iter().flat_map(|source| source.split("\npub async fn ").skip(1));
    functions.map(|text| text.split('(').next().unwrap()).collect()
}

#[test]
fn every_store_case_is_in_the_list() {
    let sources = [
        include_str!("../../src/store_suite/commit.rs"),
        include_str!("../../src/store_suite/leases.rs"),
        include_str!("../../src/store_suite/life.rs"),
        include_str!("../../src/store_suite/pages.rs"),
        include_str!("../../src/store_suite/relations.rs"),
        include_str!("../../src/store_suite/copies.rs"),
        include_str!("../../src/store_suite/search.rs"),
    ];
    let list = include_str!("../../src/store_suite/mod.rs");
    assert_eq!(written(&sources), listed(list));
}

#[test]
fn every_metadata_case_is_in_the_list() {
    let sources = [include_str!("../../src/meta_suite/cases.rs"), include_str!("../../src/meta_suite/lineage.rs")];
    let list = include_str!("../../src/meta_suite/mod.rs");
    let mut written = written(&sources);
    // What cases ask with is no case.
    written.retain(|name| !name.starts_with("lineage_in_"));
    assert_eq!(written, listed(list));
}

#[test]
fn every_case_of_artifact_stores_is_in_the_list() {
    let source = include_str!("../../src/artifact_suite/mod.rs");
    assert_eq!(written(&[source]), listed(source));
}

#[test]
fn every_bus_case_is_in_the_list() {
    let sources = [
        include_str!("../../src/bus_suite/concurrent.rs"),
        include_str!("../../src/bus_suite/publish.rs"),
        include_str!("../../src/bus_suite/read.rs"),
        include_str!("../../src/bus_suite/trim.rs"),
    ];
    let list = include_str!("../../src/bus_suite/mod.rs");
    assert_eq!(written(&sources), listed(list));
}

#[test]
fn every_executor_case_is_in_the_list() {
    let sources = [
        include_str!("../../src/executor_suite/ending.rs"),
        include_str!("../../src/executor_suite/life.rs"),
        include_str!("../../src/executor_suite/logs.rs"),
        include_str!("../../src/executor_suite/observe.rs"),
        include_str!("../../src/executor_suite/start.rs"),
        include_str!("../../src/executor_suite/stop.rs"),
        include_str!("../../src/executor_suite/signal.rs"),
    ];
    let list = include_str!("../../src/executor_suite/mod.rs");
    assert_eq!(written(&sources), listed(list));
}
