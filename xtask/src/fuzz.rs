//! Fuzzing: which target learns from which files, and for how long?

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::{Outcome, root};

/// Each target of `fuzz/`, and the folder that it begins with beside what earlier runs found. Others begin with the lines of `fuzz/seeds/<target>.txt`.
const TARGETS: [(&str, Option<&str>); 4] = [
    ("loader", Some("aiflow-project/tests/corpus")),
    ("workflow_file", Some("aiflow-project/tests/corpus")),
    ("condition", None),
    ("search", None),
];
const SECONDS: &str = "600";

pub(crate) fn fuzz(arguments: &[&str]) -> Outcome {
    let (named, seconds) = match *arguments {
        [] => (None, SECONDS),
        ["--seconds", seconds] => (None, seconds),
        [target] => (Some(target), SECONDS),
        [target, "--seconds", seconds] => (Some(target), seconds),
        _ => return Err("cargo xtask fuzz [TARGET] [--seconds N]".to_owned()),
    };
    let targets: Vec<_> = TARGETS.iter().filter(|(target, _)| named.is_none_or(|named| named == *target)).collect();
    if targets.is_empty() {
        return Err(format!("there is no such target; there are {}", TARGETS.map(|(target, _)| target).join(", ")));
    }
    for (target, folder) in targets {
        run(target, *folder, seconds)?;
    }
    Ok(())
}

fn run(target: &str, folder: Option<&str>, seconds: &str) -> Outcome {
    println!("\n== fuzz {target} for {seconds} s");
    let corpus = corpus(target, folder.is_none()).map_err(|error| format!("fuzz/corpus/{target}: {error}"))?;
    // Nothing here is `unsafe`: a sanitizer would find nothing, and cost half of the speed.
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz", "run", "--sanitizer", "none", target]).arg(corpus);
    command.args(folder.map(|folder| root().join(folder)));
    command.args(["--", &format!("-max_total_time={seconds}"), "-timeout=20", "-rss_limit_mb=2048"]);
    let status = command.arg("-print_final_stats=1").current_dir(root()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!(
            "{target}: see above; without the tools: cargo install cargo-fuzz, rustup toolchain install nightly"
        )),
        Err(error) => Err(format!("rustup did not start: {error}")),
    }
}

/// The folder that new input is written to.
fn corpus(target: &str, with_lines: bool) -> io::Result<PathBuf> {
    let corpus = root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus)?;
    if with_lines {
        let lines = fs::read_to_string(root().join(format!("fuzz/seeds/{target}.txt")))?;
        for (i, line) in lines.lines().enumerate() {
            fs::write(corpus.join(format!("line-{}", i + 1)), line)?;
        }
    }
    Ok(corpus)
}
