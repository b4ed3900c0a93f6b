//! `aiflow-sim`: lives through simulated worlds and says in which of them a promise was broken.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::time::Instant;

use aiflow_testkit::sim::{self, Outcome};

const USAGE: &str = "aiflow-sim [--seeds N] [--from S] [--seed S] [--verbose]";
/// Lines of a history that are shown, unless all are asked for.
const TRACE_LINES: usize = 60;

struct Arguments {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    is_verbose: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match arguments.seed {
        Some(seed) => {
            let outcome = sim::run_seed(seed, None, true);
            let lines = if arguments.is_verbose { usize::MAX } else { TRACE_LINES };
            show(&outcome, lines);
            println!("seed {seed}: {} steps, hash {:016x}", outcome.steps, outcome.trace_hash);
            exit_code(outcome.violations.is_empty())
        }
        None => run_many(&arguments),
    }
}

fn run_many(arguments: &Arguments) -> ExitCode {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let report = sim::run_seeds(arguments.from..arguments.from.saturating_add(arguments.seeds), threads);
    let lines = if arguments.is_verbose { usize::MAX } else { TRACE_LINES };
    for outcome in &report.failures {
        show(outcome, lines);
        println!("again with: cargo run -p aiflow-testkit --bin aiflow-sim -- --seed {}", outcome.seed);
    }
    let seconds = started.elapsed().as_secs_f64();
    for (kind, n) in &report.counts {
        println!("{n:>10}  {kind}");
    }
    println!("{} worlds, {} steps, {} failed, in {seconds:.1} s", report.seeds, report.steps, report.failures.len());
    exit_code(report.failures.is_empty())
}

fn show(outcome: &Outcome, lines: usize) {
    for line in outcome.trace.iter().skip(outcome.trace.len().saturating_sub(lines)) {
        println!("{line}");
    }
    for violation in &outcome.violations {
        println!("seed {}: {}: {}", outcome.seed, violation.invariant, violation.message);
    }
}

fn exit_code(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { seeds: 5_000, from: 0, seed: None, is_verbose: false };
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("{word} needs a number, not {text}"))
        };
        match word.as_str() {
            "--seeds" => arguments.seeds = number()?,
            "--from" => arguments.from = number()?,
            "--seed" => arguments.seed = Some(number()?),
            "--verbose" => arguments.is_verbose = true,
            _ => return Err(format!("{word} is not known")),
        }
    }
    Ok(arguments)
}
