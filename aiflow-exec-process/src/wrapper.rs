//! The wrapper around every attempt: how is a program started at most once, and its exit code kept, without the host application?
//!
//! A constant script for `/bin/sh`, builtins only. It lives as long as the job, in the job's own process group, and needs nobody.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::PipeReader;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::spec::{Limits, SHELL};

/// The script gets these flags: noclobber, command.
pub(crate) const FLAGS: &str = "-Cc";

/// `$0` is the run directory, `$@` the program (an absolute path, so that no builtin shadows it) and its arguments.
///
/// - Noclobber makes `>` create exclusively: whoever makes the claim owns the attempt.
/// - Trapped signals keep their default effect in the program, and the shell finishes waiting for a foreground command before it
///   looks at them. So a SIGTERM to the group ends the program, never the wrapper.
/// - Where the attempt ends with its host, standard input is a pipe into which nobody writes, and whose other end the host alone holds: it is
///   read to its end by a second shell, which then kills the group. Stops do not reach that shell.
/// - `exit` was filled with blanks beforehand and is overwritten in place, which works on a full disk too.
/// - The last line ends what the job left behind in its process group, and the wrapper with it.
const CLAIM: &str = r#"echo $$ >"$0/pid"#;
const PREPARE: &str = r#"" || exit
trap : HUP INT QUIT USR1 USR2 TERM
"#;
const WATCH_HOST: &str = r#"exec 3<&0 </dev/null
{ trap '' HUP INT QUIT USR1 USR2 TERM; read -r end <&3; kill -9 0; } &
exec 3<&-
"#;
const LIMIT: &str = r#"[ -e "$0/stop" ] || { ulimit -c 0"#;
const RUN: &str = r#" && "$@"; }
echo $? 1<>"$0/exit"
kill -9 0
"#;

/// The files that become the outputs of the job.
pub(crate) struct Outputs {
    pub(crate) stdout: File,
    pub(crate) stderr: File,
}

/// On which terms the program runs.
pub(crate) struct Terms {
    /// Which claim the wrapper is to make.
    pub(crate) claim: u32,
    pub(crate) limits: Limits,
    /// If the attempt is to end with its host: what comes to its end then.
    pub(crate) lifeline: Option<PipeReader>,
}

/// Starts a wrapper. It decides by itself whether it runs the program: at most one wrapper of a run directory ever does.
pub(crate) fn spawn(
    run_dir: &Path,
    program: &Path,
    args: &[&str],
    cwd: Option<&Path>,
    env: &BTreeMap<OsString, OsString>,
    terms: Terms,
    outputs: Outputs,
) -> std::io::Result<Child> {
    let mut command = Command::new(SHELL);
    command
        .arg(FLAGS)
        .arg(script(&terms))
        .arg(run_dir)
        .arg(program)
        .args(args)
        .env_clear()
        .envs(env)
        .stdin(terms.lifeline.map_or_else(Stdio::null, Stdio::from))
        .stdout(outputs.stdout)
        .stderr(outputs.stderr)
        .process_group(0);
    if let Some(cwd) = cwd {
        command.current_dir(cwd);
    }
    command.spawn()
}

/// The script. Only numbers are ever put into it.
fn script(terms: &Terms) -> String {
    let Terms { claim, limits, lifeline } = terms;
    let mut script = CLAIM.to_owned();
    if *claim > 1 {
        script.push_str(&format!(".{claim}"));
    }
    script.push_str(PREPARE);
    if lifeline.is_some() {
        script.push_str(WATCH_HOST);
    }
    script.push_str(LIMIT);
    for (letter, limit) in
        [('v', limits.memory_bytes.map(|bytes| bytes / 1024)), ('t', limits.cpu_seconds), ('n', limits.open_files)]
    {
        if let Some(limit) = limit {
            script.push_str(&format!(" && ulimit -{letter} {limit}"));
        }
    }
    script + RUN
}
