//! From a launch to a process: is it runnable, was it started before, and if not, start it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::PipeReader;
use std::path::{Path, PathBuf};

use aiflow_core::executor::Launch;
use aiflow_core::{Error, ErrorKind, Result};

use crate::environment;
use crate::options::ProcessOptions;
use crate::process::Group;
use crate::rundir::{Claim, Made, Record, RunDir, is_executable};
use crate::spec::ProcessSpec;
use crate::wrapper;

/// Where programs are looked up when there is no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// An attempt that was accepted.
pub(crate) enum Accepted {
    /// Its wrapper was started by this call, with this claim.
    Now(Record, Group, u32),
    /// It was accepted before.
    Before(Record),
}

/// A launch that was checked.
struct Plan {
    record: Record,
    cwd: Option<PathBuf>,
    env: BTreeMap<OsString, OsString>,
    spec: ProcessSpec,
}

/// Starts the attempt unless it was started before. Blocks.
///
/// Of a launch that ends with its host, `lifeline` is what its wrapper reads to learn that the host is gone.
pub(crate) fn launch(
    dir: &RunDir,
    launch: &Launch,
    options: &ProcessOptions,
    has_files: bool,
    lifeline: impl FnOnce() -> std::io::Result<PipeReader>,
) -> Result<Accepted> {
    let failed = |error| io_error("submit", error).with("attempt", launch.attempt);
    let mut claim = 1;
    if dir.path().is_dir() {
        match accepted_before(dir, launch)? {
            Before::Accepted(record) => return Ok(Accepted::Before(*record)),
            Before::Open(open) => claim = open,
        }
    }
    let plan = match Plan::of(dir, launch, options, has_files) {
        Ok(plan) => plan,
        Err(error) => {
            if dir.path().is_dir() {
                // The refusal is final: a wrapper of an earlier submission must not start after it.
                dir.bar().map_err(failed)?;
            }
            return Err(error);
        }
    };
    let made = dir.make().map_err(failed)?;
    if made == Made::Before {
        match accepted_before(dir, launch)? {
            Before::Accepted(record) => return Ok(Accepted::Before(*record)),
            Before::Open(open) => claim = open,
        }
    }
    let lifeline = launch.ends_with_host.then(lifeline).transpose().map_err(failed)?;
    let outputs = dir.fill(&made, &plan.record, launch).map_err(failed)?;
    if !plan.spec.reads.is_empty() && dir.laid().map_err(failed)?.is_none() {
        let message = "the directory of the attempt was made anew while its artifacts were laid before it";
        return Err(Error::new(ErrorKind::Unavailable, "submit", message).with("attempt", launch.attempt));
    }
    let args: Vec<&str> = plan.record.args.iter().map(String::as_str).collect();
    let child = wrapper::spawn(
        &plan.record.run_dir,
        &plan.record.program,
        &args,
        plan.cwd.as_deref(),
        &plan.env,
        wrapper::Terms { claim, limits: plan.spec.limits, lifeline },
        outputs,
    );
    match child {
        Ok(child) => Ok(Accepted::Now(plan.record, Group::of_child(&child), claim)),
        Err(error) if error.kind() == std::io::ErrorKind::ArgumentListTooLong => {
            dir.bar().map_err(failed)?;
            let message = "the arguments and environment are larger than the system allows";
            Err(Error::invalid("submit", message).caused_by(error))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Makes the directory of an attempt, for files that are laid before it; `false` if it was accepted before and needs none. Blocks.
pub(crate) fn make_ready(dir: &RunDir, launch: &Launch) -> Result<bool> {
    let failed = |error| io_error("submit", error).with("attempt", launch.attempt);
    if dir.path().is_dir() && matches!(accepted_before(dir, launch)?, Before::Accepted(_)) {
        return Ok(false);
    }
    dir.make().map_err(failed)?;
    dir.make_folders().map_err(failed)?;
    Ok(true)
}

/// What a directory that exists says of the attempt.
enum Before {
    Accepted(Box<Record>),
    /// Nobody has this claim.
    Open(u32),
}

fn accepted_before(dir: &RunDir, launch: &Launch) -> Result<Before> {
    let failed = |error| io_error("submit", error).with("attempt", launch.attempt);
    let record = dir.record().map_err(failed)?;
    if let Some(record) = &record {
        check_epoch(record.epoch, launch)?;
    }
    match dir.claim_state().map_err(failed)? {
        Claim::Open(claim) => return Ok(Before::Open(claim)),
        // No wrapper of before can start it: it begins anew.
        Claim::Barred => return dir.open_next().map(Before::Open).map_err(failed),
        Claim::Taken => {}
    }
    match record {
        Some(record) => Ok(Before::Accepted(Box::new(record))),
        None => Err(Error::new(
            ErrorKind::Corrupt,
            "submit",
            "the run directory is claimed but its launch.json cannot be read",
        )
        .with("attempt", launch.attempt)),
    }
}

/// Refuses a launch by a leader that was deposed.
pub(crate) fn check_epoch(known: u64, launch: &Launch) -> Result<()> {
    if launch.epoch >= known {
        return Ok(());
    }
    let message = "a later leader has submitted this attempt";
    Err(Error::new(ErrorKind::Fenced, "submit", message)
        .with("attempt", launch.attempt)
        .with("epoch", launch.epoch)
        .with("later_epoch", known))
}

impl Plan {
    fn of(dir: &RunDir, launch: &Launch, options: &ProcessOptions, has_files: bool) -> Result<Self> {
        let spec = ProcessSpec::from_spec(&launch.spec)?;
        let env = environment::build(launch, &spec.env, &options.env_allow, dir, has_files)?;
        let cwd = spec.cwd.as_deref().map(resolve_cwd).transpose()?;
        let (program, args) = spec.command();
        let path = env.get(OsStr::new("PATH")).map(OsString::as_os_str);
        let record = Record {
            identity: launch.identity(),
            epoch: launch.epoch,
            run_dir: dir.path().to_owned(),
            program: resolve_program(program, cwd.as_deref(), path)?,
            args: args.into_iter().map(str::to_owned).collect(),
            timeout: launch.timeout,
            heartbeat_timeout: launch.heartbeat_timeout,
            stop_grace: launch.stop_grace,
            writes: has_files.then(|| spec.writes.clone()),
        };
        Ok(Self { record, cwd, env, spec })
    }
}

fn resolve_cwd(cwd: &Path) -> Result<PathBuf> {
    if cwd.is_dir() {
        return std::path::absolute(cwd).map_err(|error| io_error("submit", error));
    }
    Err(Error::invalid("submit", "the working directory is not a directory").with("cwd", cwd.display()))
}

/// The absolute path of a program: beside the working directory if it contains `/`, else from `PATH`.
fn resolve_program(program: &str, cwd: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf> {
    let found = if program.contains('/') {
        let candidate = cwd.map_or_else(|| program.into(), |cwd| cwd.join(program));
        let candidate = std::path::absolute(candidate).map_err(|error| io_error("submit", error))?;
        Some(candidate).filter(|candidate| is_executable(candidate))
    } else {
        std::env::split_paths(path.unwrap_or(OsStr::new(PATH_DEFAULT)))
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(program))
            .find(|candidate| is_executable(candidate))
    };
    found.ok_or_else(|| {
        Error::invalid("submit", "no such program, or it may not be executed").with("program", program.escape_debug())
    })
}

/// An error of the file system or of starting a process. All of them may pass: rights are given, disks are emptied, processes end.
pub(crate) fn io_error(operation: &'static str, error: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let kind = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::Full,
        Io::InvalidData => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, operation, error.to_string()).caused_by(error)
}
