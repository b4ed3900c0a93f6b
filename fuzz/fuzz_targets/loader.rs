//! Projects: is every directory read, or refused with places?
//!
//! The input is written as in `aiflow-project/tests/corpus`: files behind lines `=== path`. What is found becomes a case there.
#![no_main]

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use aiflow_project::{Definition, Environment, LoadOptions, Project};
use libfuzzer_sys::fuzz_target;

const FILES_MAX: usize = 8;

/// Of this process; the files of one input are removed before the next.
static DIR: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("aiflow-fuzz-{}", std::process::id())));

fn files(bytes: &[u8]) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b"=== ") {
            Some(path) if files.len() < FILES_MAX => {
                files.push((PathBuf::from(String::from_utf8_lossy(path).trim_end()), Vec::new()));
            }
            _ => {
                if let Some((_, content)) = files.last_mut() {
                    content.extend_from_slice(line);
                }
            }
        }
    }
    files
}

/// Writes what lies inside of the directory and can be written.
fn write(dir: &Path, files: &[(PathBuf, Vec<u8>)]) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).unwrap();
    for (path, content) in files {
        if path.components().all(|part| matches!(part, Component::Normal(_))) {
            let path = dir.join(path);
            let _ = path.parent().map(fs::create_dir_all);
            let _ = fs::write(path, content);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    write(&DIR, &files(bytes));
    let environment = Environment::empty().with("HOME", "/home/ada");
    let options = LoadOptions::new().environment(environment).functions(["f", "g", "h"]);
    let project = match Project::load_with(&*DIR, &options) {
        Ok(project) => project,
        Err(problems) => {
            assert!(problems.has_errors(), "what is refused says why");
            assert!(problems.iter().all(|problem| problem.line() >= 1 && problem.column() >= 1), "{problems}");
            assert!(!problems.to_string().is_empty());
            return;
        }
    };
    assert!(!project.warnings().has_errors(), "{}", project.warnings());
    project.generate().unwrap();
    for workflow in project.workflows() {
        let (name, empty) = (workflow.workflow.name.as_str(), Environment::empty());
        let read = |file: &str, text: &str| Definition::parse(project.name().as_str(), name, file, text, &empty);
        let (yaml, json) = (workflow.definition.to_yaml().unwrap(), workflow.definition.to_json().unwrap());
        for (file, text) in [("w.yaml", yaml), ("w.json", json)] {
            let again = read(file, &text);
            assert_eq!(again.as_ref().ok(), Some(&workflow.definition), "{text}\n{again:?}");
        }
    }
});
