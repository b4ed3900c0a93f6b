//! Checks and longer proofs of the workspace: `cargo xtask test`, `sim`, `kill-loop`, `fuzz`, `bench`, and others.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its user")]

mod fuzz;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const USAGE: &str = "\
cargo xtask test                      everything that must pass: format, lints, docs, dependencies, simulation, kill loop, tests
cargo xtask sim [--seeds N] [--seed S] [--from S]
                                      more simulated worlds, or one again
cargo xtask kill-loop [--kills N]     kill a real scheduler process, and the Redis under it, again and again
cargo xtask host-loop [--kills N]     kill the processes of several hosts, and the leader among them, again and again
cargo xtask object-store URL          the promises of files and snapshots in S3, Google Cloud Storage or Azure, with the credentials of the environment
cargo xtask fuzz [TARGET] [--seconds N]
                                      random input that learns from what it reaches, for N seconds each; needs cargo-fuzz and a nightly compiler
cargo xtask bench [FILTER]            measure, and print ratios against the floor of the same run";

type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let rest: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("test") if rest.is_empty() => test(),
        Some("sim") => sim(&rest),
        Some("kill-loop") => kill_loop(&rest),
        Some("host-loop") => host_loop(&rest),
        Some("object-store") if rest.len() == 1 => object_store(rest[0]),
        Some("fuzz") => fuzz::fuzz(&rest),
        Some("bench") => bench(&rest),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Cheapest first; the tests last, so that their summary ends the output.
fn test() -> Outcome {
    check_tools()?;
    cargo("format", &["fmt", "--all", "--check"], &[])?;
    cargo("lints", &["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"], &[])?;
    // Somebody's service, with the features that it asks for: the umbrella with sqlite alone.
    cargo("a service that embeds it", &["check", "--package", "aiflow-example-embedding"], &[])?;
    cargo("the umbrella without backends", &["check", "--package", "aiflow", "--no-default-features"], &[])?;
    let docs = [("RUSTDOCFLAGS", "-D warnings")];
    cargo("docs", &["doc", "--workspace", "--all-features", "--no-deps", "--document-private-items"], &docs)?;
    dependencies()?;
    sim(&["--seeds", "5000"])?;
    // The suites of Redis fail without a server, so that they cannot be left out unseen.
    cargo("tests", &["test", "--workspace", "--all-features"], &[])
}

/// Licences, sources and banned crates among the dependencies. Known vulnerabilities are not asked for: that list is not of this checkout, and
/// what was good yesterday would fail today.
fn dependencies() -> Outcome {
    let program = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let found = Command::new(program).args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        println!(
            "\n== dependencies: NOT checked against deny.toml, cargo-deny is not installed (cargo install --locked cargo-deny)"
        );
        return Ok(());
    }
    cargo("dependencies", &["deny", "check", "bans", "licenses", "sources"], &[])
}

/// What the tests run besides Rust: `sh` and `python3`, as jobs.
fn check_tools() -> Outcome {
    for tool in ["sh", "python3"] {
        let found = Command::new(tool).arg("-c").arg("").status().is_ok_and(|status| status.success());
        if !found {
            return Err(format!("the tests run jobs in {tool}, which is not on the PATH: install it"));
        }
    }
    find_redis()
}

/// The tests start Redis servers of their own. Installs the program with the package manager of Debian where that is allowed.
fn find_redis() -> Outcome {
    const VARIABLE: &str = "AIFLOW_REDIS_SERVER";
    let program = env::var(VARIABLE).unwrap_or_else(|_| "redis-server".to_owned());
    if has_redis(&program) {
        return Ok(());
    }
    println!("== {program} is missing: trying to install it");
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", "redis-server"]] {
        let apt = Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status();
        if !apt.is_ok_and(|status| status.success()) {
            break;
        }
    }
    if has_redis(&program) {
        return Ok(());
    }
    Err(format!(
        "the tests start Redis servers, and {program} (7.0 or later) is not there and could not be installed: install it \
         (Debian: apt-get install redis-server), or name the program in {VARIABLE}"
    ))
}

fn has_redis(program: &str) -> bool {
    let version = Command::new(program).arg("--version").output();
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let major = text.split("v=").nth(1).and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major >= 7)
}

fn sim(arguments: &[&str]) -> Outcome {
    let run = ["run", "--quiet", "--package", "aiflow-testkit", "--bin", "aiflow-sim", "--"];
    cargo("simulation", &[&run, arguments].concat(), &[])
}

fn kill_loop(arguments: &[&str]) -> Outcome {
    find_redis()?;
    let run = ["test", "--package", "aiflow", "--all-features", "--test", "kill_loop", "--"];
    cargo("kill loop", &[&run, arguments].concat(), &[])
}

fn host_loop(arguments: &[&str]) -> Outcome {
    find_redis()?;
    let run = ["test", "--package", "aiflow", "--all-features", "--test", "host_loop", "--"];
    cargo("host loop", &[&run, arguments].concat(), &[])
}

fn object_store(url: &str) -> Outcome {
    // The features of all tests, so that nothing is built twice.
    let run = ["test", "--workspace", "--all-features", "--test", "object_store"];
    cargo("object store", &run, &[("AIFLOW_TEST_OBJECT_STORE", url)])
}

fn bench(arguments: &[&str]) -> Outcome {
    let mut run = vec!["bench", "--package", "aiflow", "--features", "project"];
    // Without a server, all but its sections are measured.
    match find_redis() {
        Ok(()) => run.extend(["--features", "redis"]),
        Err(message) => println!("== without Redis: {message}"),
    }
    cargo("benchmarks", &[&run[..], &["--"], arguments].concat(), &[])
}

fn cargo(title: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    println!("\n== {title}: cargo {}", arguments.join(" "));
    let started = Instant::now();
    let program = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied()).current_dir(root());
    let status = command.status().map_err(|error| format!("{title}: cargo did not start: {error}"))?;
    if !status.success() {
        return Err(format!("{title} failed: {status}"));
    }
    if title != "tests" {
        println!("== {title}: ok after {:.0?}", started.elapsed());
    }
    Ok(())
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
