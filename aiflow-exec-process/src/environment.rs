//! The environment of a job: which variables does it get, and which may nobody set?

use std::collections::BTreeMap;
use std::ffi::OsString;

use aiflow_core::executor::Launch;
use aiflow_core::{Error, Result};

use crate::rundir::RunDir;

/// Variables of the host application that every job gets, if they are set.
pub const ENV_ALLOWED: [&str; 7] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR"];
/// The largest parameters, in bytes of JSON: they travel in one environment variable, and Linux refuses more than 128 KiB.
pub const PARAMS_BYTES_MAX: usize = 96 * 1024;

/// Names that change how the dynamic linker or the wrapper's shell behaves.
const DENIED: [&str; 7] = ["BASH_ENV", "ENV", "IFS", "SHELLOPTS", "BASHOPTS", "PS4", "POSIXLY_CORRECT"];
const DENIED_PREFIXES: [&str; 4] = ["LD_", "DYLD_", "BASH_FUNC_", "AIFLOW_"];

/// What is wrong with the names of variables: those that are no identifiers (a shell would drop them) or are denied.
pub(crate) fn problems(env: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    env.keys().filter_map(|name| {
        let problem = if !is_identifier(name) {
            "is not a variable name (letters, digits and _, not starting with a digit)"
        } else if DENIED.contains(&name.as_str()) || DENIED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            "may not be set by a job"
        } else {
            return None;
        };
        Some(format!("env.{}: {problem}", name.escape_debug()))
    })
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The whole environment of an attempt. Later sources win: allow-list, then the job's own, then ours.
pub(crate) fn build(
    launch: &Launch,
    spec_env: &BTreeMap<String, String>,
    allowed: &[String],
    run_dir: &RunDir,
    has_files: bool,
) -> Result<BTreeMap<OsString, OsString>> {
    let params = launch.params.to_string();
    if params.len() > PARAMS_BYTES_MAX {
        return Err(Error::invalid(
            "submit",
            format!("parameters have {} bytes of JSON, at most {PARAMS_BYTES_MAX} are allowed", params.len()),
        ));
    }
    let mut env: BTreeMap<OsString, OsString> = ENV_ALLOWED
        .into_iter()
        .chain(allowed.iter().map(String::as_str))
        .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
        .collect();
    env.extend(spec_env.iter().map(|(name, value)| (name.into(), value.into())));
    let path = run_dir.path();
    let ours = [
        ("AIFLOW_PROJECT", launch.project.as_str().into()),
        ("AIFLOW_WORKFLOW", launch.workflow.as_str().into()),
        ("AIFLOW_WORKFLOW_EXECUTION", launch.workflow_execution.to_string().into()),
        ("AIFLOW_JOB", launch.job.as_str().into()),
        ("AIFLOW_JOB_EXECUTION", launch.attempt.job_execution.to_string().into()),
        ("AIFLOW_ATTEMPT", launch.attempt.attempt.to_string().into()),
        ("AIFLOW_ATTEMPT_ID", launch.attempt.to_string().into()),
        ("AIFLOW_PARAMS", params.into()),
        ("AIFLOW_EVENTS", path.join("events").into()),
        ("AIFLOW_TRIGGER", path.join("trigger.json").into()),
        ("AIFLOW_SIGNALS", path.join("signals").into()),
        ("AIFLOW_RUN_DIR", path.into()),
    ];
    env.extend(ours.map(|(name, value): (&str, OsString)| (name.into(), value)));
    if has_files {
        env.insert("AIFLOW_INPUTS".into(), run_dir.inputs().into());
        env.insert("AIFLOW_OUTPUTS".into(), run_dir.outputs().into());
    }
    if let Some(checkpoint) = &launch.checkpoint {
        env.insert("AIFLOW_CHECKPOINT".into(), checkpoint.to_string().into());
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dangerous_names_are_refused() {
        for name in [
            "LD_PRELOAD",
            "DYLD_INSERT_LIBRARIES",
            "BASH_ENV",
            "ENV",
            "IFS",
            "AIFLOW_ATTEMPT",
            "BASH_FUNC_x",
            "1X",
            "",
            "A B",
            "x%%",
        ] {
            let env = BTreeMap::from([(name.to_owned(), String::new())]);
            assert_eq!(problems(&env).count(), 1, "{name}");
        }
        let env = BTreeMap::from([("PYTHONPATH".to_owned(), "x".to_owned())]);
        assert_eq!(problems(&env).next(), None);
    }
}
