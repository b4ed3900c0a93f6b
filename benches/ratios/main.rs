//! How far is each path from the floor of this machine?
//!
//! Every figure stands beside a floor that is measured in the same run, ours and the floor in turn, because machines and neighbours differ
//! and ratios do not. `cargo xtask bench [FILTER]` runs the sections whose names contain the filter.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures, and fails loudly"
)]

mod engine;
#[cfg(feature = "project")]
mod graphs;
mod jobs;
mod latency;
mod log;
mod metadata;
mod processes;
mod raw;
#[cfg(feature = "redis")]
mod redis;
mod restart;
mod shapes;
mod table;
mod world;

use table::Table;

type Section = (&'static str, fn(&mut Table));

/// Memory first, before other sections leave free memory behind that would hide growth.
const SECTIONS: &[Section] = &[
    ("memory", engine::memory),
    ("memory", engine::rule_memory),
    ("match", engine::matching),
    ("publish", log::publish),
    ("subscriber", log::subscriber),
    ("latency", latency::event_to_job),
    ("jobs", jobs::one_job),
    ("steps", jobs::three_steps),
    ("restart", restart::restart),
    ("shapes", shapes::large_workflows),
    ("timers", shapes::timers),
    ("metadata search", metadata::search),
    ("metadata lineage", metadata::lineage),
    ("metadata writes", metadata::writes),
    ("processes", processes::processes),
    #[cfg(feature = "project")]
    ("graphs translate", graphs::translate),
    #[cfg(feature = "project")]
    ("graphs projects", graphs::projects),
    #[cfg(feature = "redis")]
    ("redis publish", redis::publish),
    #[cfg(feature = "redis")]
    ("redis decisions", redis::decisions),
    #[cfg(feature = "redis")]
    ("redis subscriber", redis::subscriber),
    #[cfg(feature = "redis")]
    ("redis memory", redis::memory),
    #[cfg(feature = "redis")]
    ("redis schedulers", redis::schedulers),
];

fn main() {
    // Cargo itself adds `--bench`.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let filter = filter.unwrap_or_default();
    let mut table = Table::default();
    for (name, run) in SECTIONS.iter().filter(|(name, _)| name.contains(&*filter)) {
        eprintln!("== {name} (load {})", table::load());
        run(&mut table);
    }
    if table.is_empty() {
        let names: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
        eprintln!("no section is called so; there are: {}", names.join(", "));
        std::process::exit(2);
    }
    println!("\n{table}\nload at the end: {}", table::load());
}

/// A runtime as a host application on this machine would have it.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A folder on the disk of the build, which is a real one more often than the system's temporary folder.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
