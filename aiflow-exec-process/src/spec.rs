//! What a process job runs: which program, with which arguments, environment and limits?

use std::collections::BTreeMap;
use std::path::PathBuf;

use aiflow_core::graph::{AiNode, operation};
use aiflow_core::id::EntityName;
use aiflow_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::environment;

/// The program that interprets [`shell`] jobs and the wrapper around every attempt.
pub(crate) const SHELL: &str = "/bin/sh";
/// The most arguments of one command.
pub const ARGS_MAX: usize = 10_000;

/// The command of a job, with its environment and limits; the `spec` of a job whose executor runs processes.
///
/// # Shape
/// Exactly one of `argv` and `shell` is given. Nothing is ever pasted into a shell line: `argv` reaches the program byte for byte, and
/// a `shell` line is run as it stands, so keep event data out of it and read `AIFLOW_PARAMS` or `AIFLOW_TRIGGER` instead.
///
/// ```
/// use aiflow_exec_process::{Limits, process};
/// let spec = process(["python3", "train.py", "--epochs", "3"])
///     .env("OMP_NUM_THREADS", "2")
///     .limits(Limits { cpu_seconds: Some(3600), ..Limits::default() })
///     .to_spec();
/// assert_eq!(spec["argv"][1], "train.py");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    /// Program and arguments. A program without `/` is looked up in `PATH` when the attempt is submitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// A line for `/bin/sh -c`, instead of `argv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Environment variables, added to those that are let through from the host application.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Working directory; that of the host application if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// Resource limits of each process of the job.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// Artifacts that are laid before it as files of the directory `AIFLOW_INPUTS`, each under its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// Artifacts that it must have left in the directory `AIFLOW_OUTPUTS` when it ends; it may leave others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<String>,
}

/// The most artifacts that a job reads, and the most that it writes.
pub const JOB_ARTIFACTS_MAX: usize = 256;
/// The most problems that an error names; of the others it says how many there are.
const PROBLEMS_NAMED_MAX: usize = 20;

/// Resource limits, applied to each process of the job by the operating system (`setrlimit`). No core files are ever written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Address space, in bytes, rounded down to KiB: further allocation fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor time, in seconds: the process is killed beyond it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
    /// Open files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
}

impl Limits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Name under which jobs ask for this executor.
pub const PROCESS_EXECUTOR: &str = "process";

/// A job that runs a program with arguments, without a shell.
pub fn process<I, S>(argv: I) -> ProcessSpec
where
    I: IntoIterator<Item = S>,
    S: Into<String>,
{
    ProcessSpec { argv: argv.into_iter().map(Into::into).collect(), ..ProcessSpec::default() }
}

/// A job that runs a line of `/bin/sh`.
pub fn shell(line: impl Into<String>) -> ProcessSpec {
    ProcessSpec { shell: Some(line.into()), ..ProcessSpec::default() }
}

impl ProcessSpec {
    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Sets the resource limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds an artifact that is laid before the job: the file of its name in the directory that `AIFLOW_INPUTS` names.
    #[must_use]
    pub fn reads(mut self, artifact: impl Into<String>) -> Self {
        self.reads.push(artifact.into());
        self
    }

    /// Adds an artifact that the job makes: it leaves a file of this name in the directory that `AIFLOW_OUTPUTS` names, and has failed if it
    /// does not.
    #[must_use]
    pub fn writes(mut self, artifact: impl Into<String>) -> Self {
        self.writes.push(artifact.into());
        self
    }

    /// An AI node that runs this, by the executor registered as `process`: add it to a graph.
    #[must_use]
    pub fn node(&self) -> AiNode {
        operation(PROCESS_EXECUTOR, self.to_spec())
    }

    /// The specification as JSON: the `spec` of a job. A path that is not UTF-8 is written with replacement characters.
    #[must_use]
    pub fn to_spec(&self) -> Value {
        let mut plain = self.clone();
        plain.cwd = self.cwd.as_ref().map(|cwd| PathBuf::from(cwd.to_string_lossy().into_owned()));
        serde_json::to_value(plain).unwrap_or(Value::Null)
    }

    /// Reads and checks a specification.
    ///
    /// # Errors
    /// `Invalid`, naming all that is wrong, each with its place.
    pub fn from_spec(spec: &Value) -> Result<Self> {
        let spec = Self::deserialize(spec)
            .map_err(|error| Error::invalid("read process spec", "is not a process specification").caused_by(error))?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<()> {
        let problems = self.problems();
        if problems.is_empty() {
            return Ok(());
        }
        let mut message = problems.iter().take(PROBLEMS_NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
        if let Some(others) = problems.len().checked_sub(PROBLEMS_NAMED_MAX).filter(|others| *others > 0) {
            message.push_str(&format!("; and {others} more"));
        }
        Err(Error::invalid("read process spec", message))
    }

    /// All that is wrong, each with its place.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        match (&self.shell, self.argv.first()) {
            (Some(_), Some(_)) => problems.push("it has both argv and shell: give one".to_owned()),
            (None, None) => problems.push("it has neither argv nor shell".to_owned()),
            (None, Some(program)) if program.is_empty() => problems.push("argv[0]: names an empty program".to_owned()),
            _ => {}
        }
        let counts = [
            ("argv", self.argv.len(), ARGS_MAX),
            ("reads", self.reads.len(), JOB_ARTIFACTS_MAX),
            ("writes", self.writes.len(), JOB_ARTIFACTS_MAX),
        ];
        let too_many = counts.into_iter().filter(|(_, count, max)| count > max);
        problems
            .extend(too_many.map(|(what, count, max)| format!("{what}: {count} entries, at most {max} are allowed")));
        let with_nul = self.words().filter(|(_, word)| word.contains('\0'));
        problems.extend(with_nul.map(|(place, _)| format!("{place}: contains a NUL character")));
        for (what, names) in [("reads", &self.reads), ("writes", &self.writes)] {
            let wrong = names.iter().enumerate().filter_map(|(n, name)| Some((n, EntityName::parse(name).err()?)));
            problems.extend(wrong.map(|(n, error)| format!("{what}[{n}]: {error}")));
        }
        problems.extend(environment::problems(&self.env));
        problems
    }

    /// What reaches the program, each with its place.
    fn words(&self) -> impl Iterator<Item = (String, &str)> {
        let argv = self.argv.iter().enumerate().map(|(n, word)| (format!("argv[{n}]"), word.as_str()));
        let shell = self.shell.iter().map(|line| ("shell".to_owned(), line.as_str()));
        argv.chain(shell)
            .chain(self.env.iter().map(|(name, value)| (format!("env.{}", name.escape_debug()), value.as_str())))
    }

    /// The program and its arguments.
    pub(crate) fn command(&self) -> (&str, Vec<&str>) {
        match (&self.shell, self.argv.split_first()) {
            (Some(line), _) => (SHELL, vec!["-c", line]),
            (None, Some((program, args))) => (program, args.iter().map(String::as_str).collect()),
            (None, None) => ("", Vec::new()),
        }
    }
}

impl From<ProcessSpec> for AiNode {
    fn from(spec: ProcessSpec) -> Self {
        spec.node()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_spec_reads_back_as_written() {
        for spec in [
            process(["a", "b"]).env("X", "1").cwd("/tmp"),
            shell("echo hello"),
            process(["a"]).reads("samples.csv").writes("model"),
            process(["a"]).limits(Limits { memory_bytes: Some(1 << 30), cpu_seconds: Some(1), open_files: Some(64) }),
        ] {
            assert_eq!(ProcessSpec::from_spec(&spec.to_spec()).unwrap(), spec);
        }
    }

    #[test]
    fn malformed_specs_are_refused_with_the_reason() {
        for (spec, reason) in [
            (json!({}), "neither"),
            (json!({"argv": ["a"], "shell": "b"}), "both"),
            (json!({"argv": [""]}), "empty program"),
            (json!({"argv": ["a", "b\0c"]}), "NUL"),
            (json!({"argv": ["a"], "comand": 1}), "not a process"),
            (json!("ls"), "not a process"),
            (json!({"argv": ["a"], "env": {"X": "\0"}}), "NUL"),
            (json!({"argv": ["a"], "env": {"A=B": ""}}), "A=B"),
            (json!({"argv": ["a"], "reads": ["a/b"]}), "a/b"),
            (json!({"argv": ["a"], "writes": [".."]}), "must not start with"),
        ] {
            let error = ProcessSpec::from_spec(&spec).unwrap_err();
            assert_eq!(error.kind(), aiflow_core::ErrorKind::Invalid);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let spec = json!({
            "argv": ["", "b\0c"], "env": {"A=B": "", "LD_PRELOAD": "x", "X": "\0"}, "reads": ["ok", "a/b"], "writes": [".."],
        });
        let error = ProcessSpec::from_spec(&spec).unwrap_err().to_string();
        for said in ["argv[0]: ", "argv[1]: ", "env.A=B: ", "env.LD_PRELOAD: ", "env.X: ", "reads[1]: ", "writes[0]: "]
        {
            assert!(error.contains(said), "{said} is missing in {error}");
        }
        let names: Vec<String> = (0..100).map(|n| format!("a/{n}")).collect();
        let error = ProcessSpec::from_spec(&json!({"argv": ["a"], "reads": names})).unwrap_err().to_string();
        assert!(error.ends_with("; and 80 more"), "{error}");
    }
}
