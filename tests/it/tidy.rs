//! The shape of the workspace: what depends on what, and what the engine may not contain.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    assert!(!found.is_empty(), "{}", folder.display());
    found
}

/// Lines of code of a file that contain one of `words`; comments do not count.
fn lines_with(path: &Path, words: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let hits = code.filter(|line| words.iter().any(|word| line.contains(word)));
    hits.map(|line| format!("{}: {}", path.display(), line.trim())).collect()
}

#[test]
fn the_engine_is_synchronous_and_names_no_port() {
    let forbidden = [
        "async ",
        ".await",
        "tokio",
        "crate::bus",
        "crate::runtime",
        "crate::memory",
        "crate::client",
        "MetaStore",
        "EventBus",
        "dyn Executor",
        "dyn Clock",
        "HashMap",
        "HashSet",
        "random_id",
        "std::fs",
        "std::env",
        "std::time::Instant",
    ];
    let found: Vec<String> =
        sources(&root().join("aiflow-core/src/engine")).iter().flat_map(|path| lines_with(path, &forbidden)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_runtime_chooses_no_branch_at_random() {
    for path in sources(&root().join("aiflow-core/src/runtime")) {
        let text = fs::read_to_string(&path).unwrap();
        let selects = text.matches("select! {").count();
        let biased = text.matches("biased;").count();
        assert_eq!(selects, biased, "{}: every select! is biased, so that simulated worlds repeat", path.display());
    }
}

/// Somebody who sees the product for the first time reads it from its first line to its last.
#[test]
fn the_quickstart_is_short() {
    const LINES_MAX: usize = 120;
    let lines = fs::read_to_string(root().join("examples/quickstart.rs")).unwrap().lines().count();
    assert!(lines <= LINES_MAX, "{lines} lines, comments included; {LINES_MAX} are allowed");
}

#[test]
fn imports_run_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed = |name: &str| -> &[&str] {
        match name {
            "aiflow-core" => &[],
            "aiflow" => &[
                "aiflow-artifacts",
                "aiflow-core",
                "aiflow-exec-process",
                "aiflow-project",
                "aiflow-store-redis",
                "aiflow-store-sqlite",
            ],
            "xtask" => &[],
            "aiflow-example-embedding" => &["aiflow"],
            _ => &["aiflow-core"],
        }
    };
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() >= 7);
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let is_internal = on.starts_with("aiflow") && dependency["kind"].is_null();
            assert!(!is_internal || allowed(name).contains(&on), "{name} must not depend on {on}");
        }
    }
}
