//! Broken projects: what is said of each?
//!
//! `tests/corpus/<case>.project` holds the files of a project behind lines `=== path`; `<case>.expected` is what is said of it. Set
//! `UPDATE_EXPECT=1` to write what is said now.

use std::fs;
use std::path::{Path, PathBuf};

use aiflow_project::{Environment, LoadOptions, PROBLEMS_MAX, Problems, Project, TEXT_BYTES_MAX};
use expect_test::expect_file;

/// As many broken projects there are at least.
const CASES_MIN: usize = 60;

/// A directory with these files.
pub(crate) fn project(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

/// The files of a case.
fn files(bytes: &[u8]) -> Vec<File> {
    let mut files: Vec<File> = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b"=== ") {
            Some(path) => files.push((String::from_utf8(path.to_vec()).unwrap().trim_end().to_owned(), Vec::new())),
            None => files.last_mut().unwrap().1.extend_from_slice(line),
        }
    }
    files
}

/// A path in a project, and what the file holds.
type File = (String, Vec<u8>);

pub(crate) fn cases() -> Vec<(PathBuf, Vec<File>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "project"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), files(&fs::read(path).unwrap()))).collect()
}

fn load(dir: &Path) -> Result<Project, Problems> {
    let options = LoadOptions::new().environment(Environment::empty()).functions(["f", "g", "h"]);
    Project::load_with(dir, &options)
}

#[test]
fn each_broken_project_is_refused_with_what_is_expected() {
    let cases = cases();
    assert!(cases.len() >= CASES_MIN, "{}", cases.len());
    for (path, files) in cases {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        let dir = project(&files);
        let problems = load(dir.path()).expect_err(&path.display().to_string());
        assert!(problems.has_errors(), "{}", path.display());
        for problem in problems.iter() {
            assert!(problem.line() >= 1 && problem.column() >= 1, "{problem}");
        }
        expect_file![path.with_extension("expected")].assert_eq(&problems.to_string());
    }
}

/// What would be large in a repository. None of it takes long or much.
#[test]
fn bombs_are_refused_before_they_grow() {
    let nodes = "nodes:\n  a: {function: f}\n";
    let laughs: String =
        (1..30).map(|i| format!("x{i}: &x{i} [{}]\n", vec![format!("*x{}", i - 1); 10].join(", "))).collect();
    let wide = "x".repeat(200_000);
    let deep = |open: &str, close: &str| format!("params: {}{}\n{nodes}", open.repeat(100_000), close.repeat(100_000));
    let indented: String = (0..400).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    for (name, text, says) in [
        ("10 MB scalar", format!("params: {{a: \"{}\"}}\n{nodes}", "x".repeat(10_000_000)), "the file has 100000"),
        ("long text", format!("params: {{a: \"{}\"}}\n{nodes}", "x".repeat(TEXT_BYTES_MAX + 1)), "the text has"),
        ("laughs", format!("x0: &x0 [lol, lol]\n{laughs}{nodes}"), "aliases repeat"),
        (
            "copies of a long text",
            format!("a: &a {wide}\nb: [{}]\n{nodes}", vec!["*a"; 5_000].join(", ")),
            "aliases repeat",
        ),
        ("deep lists", deep("[", "]"), "limit exceeded"),
        ("deep mappings", deep("{a: ", "}"), "nested deeper than 64"),
        ("deep dashes", format!("params: \n  {}x\n{nodes}", "- ".repeat(50_000)), "nested deeper than 64"),
        ("deep indentation", indented, "nested deeper than 64"),
        ("many values", format!("params: [{}]\n{nodes}", "1,".repeat(300_000)), "more than 200000 values"),
        (
            "deep condition",
            format!("rules: [\"START when {}a\"]\n{nodes}", "(".repeat(100_000)),
            "nested more than 64 deep",
        ),
        (
            "many anchors",
            format!("{}\n{nodes}", (0..20_000).map(|i| format!("k{i}: &a{i} 1\n")).collect::<String>()),
            "has no member",
        ),
        ("long key", format!("? {wide}\n: 1\n{nodes}"), "has no member"),
        ("open quotes", "\"".repeat(500_000), "no YAML"),
        ("question marks", "? ".repeat(300_000), ""),
        ("references", format!("params: {{a: \"{}\"}}\n{nodes}", "${{ env.A ?? b }}".repeat(10_000)), ""),
    ] {
        let dir = project(&[("project.yaml", b"name: p\n"), ("workflows/w/w.yaml", text.as_bytes())]);
        let started = std::time::Instant::now();
        let said = load(dir.path()).map_or_else(|problems| problems.to_string(), |_| String::new());
        let took = started.elapsed();
        assert!(said.contains(says), "{name}: {}", said.chars().take(2_000).collect::<String>());
        assert!(said.len() < 200_000, "{name}: {} bytes are said", said.len());
        println!("{name}: {} bytes refused after {took:.0?}", text.len());
        assert!(took.as_secs() < 20, "{name}: {took:?}");
    }
}

#[test]
fn many_problems_are_counted_and_not_all_listed() {
    let nodes: String = (0..1_000).map(|i| format!("  n{i}: {{funtion: f}}\n")).collect();
    let dir = project(&[("project.yaml", b"name: p\n"), ("workflows/w/w.yaml", format!("nodes:\n{nodes}").as_bytes())]);
    let problems = load(dir.path()).unwrap_err();
    assert_eq!(problems.iter().count(), PROBLEMS_MAX);
    assert_eq!(problems.n_left_out(), 2_000 - PROBLEMS_MAX);
}
