//! Runs AIFlow jobs as local processes that survive the host application.
//!
//! ```
//! use aiflow_exec_process::{ProcessExecutor, process, shell};
//!
//! // One directory of runs for each store.
//! let executor = ProcessExecutor::new("/var/lib/my-app/runs");
//! // The `spec` of a job:
//! let train = process(["python3", "train.py", "--epochs", "3"]).env("OMP_NUM_THREADS", "4").to_spec();
//! let clean = shell("rm -rf ./cache && mkdir ./cache").to_spec();
//! # let _ = (executor, train, clean);
//! ```
//!
//! Nothing else is needed: no helper program, no daemon, no call early in `main`. Around each attempt stands a constant script of
//! `/bin/sh` that claims the attempt, runs the program, and writes down its exit code. The script lives as long as the program and
//! needs nobody; the executor only watches it.
//!
//! # What it promises
//!
//! - **An attempt starts at most once**, however often it is submitted, by however many hosts, and wherever a host is killed: the first
//!   act of a wrapper is to create a file that can be created only once.
//! - **The exit code is kept** while no host is there. The next one finds it, or goes on to watch what still runs.
//! - **A stop and a time limit hold** across hosts: both are written down before the first signal. While no host is there, nobody
//!   enforces a time limit; the next host does at once.
//! - **What belongs to an attempt ends with it.** An attempt is a process group. A stop is SIGTERM to the group, after the grace time
//!   SIGKILL; what a program leaves in its group when it ends is killed.
//! - **What is placed on a host ends with it.** Where several hosts run the attempts of a scheduler, that of a host which is gone is repeated on
//!   another, so it must not go on: beside the program stands a shell that notices the end of the host process (`kill -9` included), and kills
//!   the group. Attempts of a scheduler without hosts go on as said above.
//! - **Events come before the ending.** All lines of the event file are in the log before the ending is reported, each once.
//!
//! # What it does not promise
//!
//! - **Power loss** is not covered: nothing is flushed to the disk. After it an attempt may be lost or, if its claim was not on the disk
//!   yet, started again.
//! - **A killed wrapper** costs the exit code. `kill -9` of the wrapper alone, by hand or by the kernel for want of memory, ends the
//!   attempt as lost; what is left of its group is killed as soon as a host looks.
//! - **A session of its own escapes.** A program that calls `setsid`, or moves to another process group, is not ended with its attempt.
//! - **A host that stands still is not dead.** Its processes go on while it is stopped (SIGSTOP) or its machine is cut off, beside their next
//!   attempts elsewhere, until it goes on itself or ends; then they are killed. So does one whose watching shell was killed.
//! - **Ignored signals stay ignored.** What the host application ignores (`HUP` under `nohup`, `INT` in the background of a script), its
//!   jobs ignore too, and a shell cannot trap it. Stops use `TERM`, then `KILL`.
//! - **It is containment, not a sandbox.** Jobs run as the same user as the host application and can do whatever it can, to the run
//!   directory too. Limits are those of `setrlimit`, for each process by itself.
//! - **One machine.** Hosts that share a run root must share the process numbers as well: same machine, same container.
//! - **Without `/proc`** (everywhere but on Linux) a process is recognised by its number alone and asked for a few times a second,
//!   leftovers of a killed wrapper are found only by the host that started it, outputs are not cut, and events are read twice a second.
//!
//! # What a job sees
//!
//! Its environment is empty but for [`ENV_ALLOWED`] and what [`ProcessOptions::env_allow`] adds, the variables of its specification, and:
//!
//! | variable | |
//! |---|---|
//! | `AIFLOW_PROJECT`, `AIFLOW_WORKFLOW`, `AIFLOW_JOB` | names |
//! | `AIFLOW_WORKFLOW_EXECUTION`, `AIFLOW_JOB_EXECUTION`, `AIFLOW_ATTEMPT` | which execution, and its how manieth attempt |
//! | `AIFLOW_ATTEMPT_ID` | all of it in one word: the idempotency key for what the job does elsewhere |
//! | `AIFLOW_PARAMS` | parameters, JSON |
//! | `AIFLOW_TRIGGER` | path of the events that made it run, a JSON array, oldest first |
//! | `AIFLOW_EVENTS` | path of the file to which it appends events |
//! | `AIFLOW_CHECKPOINT` | where to go on, JSON: what an earlier attempt said; unset if none did |
//! | `AIFLOW_SIGNALS` | path of the file to which values are appended that are handed to it while it runs |
//! | `AIFLOW_INPUTS` | directory of the artifacts that it [reads](ProcessSpec::reads), a file each |
//! | `AIFLOW_OUTPUTS` | directory whose files become artifacts when it has succeeded |
//! | `AIFLOW_RUN_DIR` | its own directory |
//!
//! Standard input is empty, standard output and error go to files, and no core file is written. Variables that change the linker or
//! the shell (`LD_*`, `DYLD_*`, `BASH_ENV`, `ENV`, `IFS`, …) are refused. The working directory is that of the host application unless
//! the specification names one. The shell may add variables of its own, such as `PWD`.
//!
//! # How a job talks back
//!
//! It appends lines to the file that `AIFLOW_EVENTS` names, each one JSON object ([`JobEventLine`]): `key`, and if need be `value`,
//! `event_type`, `namespace`, `broadcast`, `contexts`. They are published a moment later, under ids that name attempt and line. From a shell:
//!
//! ```sh
//! echo '{"key": "samples", "value": {"rows": 320}}' >>"$AIFLOW_EVENTS"
//! echo '{"aiflow": "ready"}' >>"$AIFLOW_EVENTS"      # a streaming job: what depends on it may start
//! echo '{"aiflow": "checkpoint", "value": {"path": "ckpt-7"}}' >>"$AIFLOW_EVENTS"  # where the next attempt is to go on
//! echo '{"aiflow": "labels", "labels": {"epoch": 7, "loss": 0.25}}' >>"$AIFLOW_EVENTS"  # shown as labels of the job execution; null takes one away
//! ```
//!
//! A value that a SIGNAL rule hands over becomes a line of the file that `AIFLOW_SIGNALS` names: `{"id": …, "key": …, "value": …}`.
//! The job says `{"aiflow": "acknowledge", "signal": <id>}` in its event file when it has taken it; otherwise it is restarted with the
//! value. The same id may come again after a crash of the scheduler. Of checkpoints said at once the last one counts,
//! and of labels the last value; what is said of itself costs an event each time it is read, so do not say it for every step of a tight loop.
//!
//! From Python:
//!
//! ```python
//! import json, os
//!
//! def publish(key, value=None, **fields):
//!     with open(os.environ["AIFLOW_EVENTS"], "a") as events:
//!         events.write(json.dumps({"key": key, "value": value, **fields}) + "\n")
//!
//! publish("loss", {"epoch": 1, "loss": 0.25}, event_type="METRIC")
//! ```
//!
//! Write a line at once, and let one process write at a time or keep lines below 4 KiB, so that they do not mix. Append only. A line that
//! is no event, or longer than [`EVENT_LINE_BYTES_MAX`], harms nothing: it becomes an event of the type [`JOB_EVENT_REJECTED`] that says
//! why. A last line without a newline counts once the job has ended.
//!
//! # Artifacts that it reads and makes
//!
//! With [`ProcessExecutor::artifact_store`] a job finds what other jobs made and leaves what it made, by name:
//!
//! ```sh
//! awk -F, '$2 > 0' "$AIFLOW_INPUTS/samples.csv" >"$AIFLOW_OUTPUTS/positive.csv"
//! ```
//!
//! ```python
//! import os, pathlib
//!
//! samples = pathlib.Path(os.environ["AIFLOW_INPUTS"], "samples.csv").read_text()
//! pathlib.Path(os.environ["AIFLOW_OUTPUTS"], "model.json").write_text(train(samples))
//! ```
//!
//! What it [reads](ProcessSpec::reads) is laid before it when it starts, as it is then; an attempt for which an artifact is missing fails for good.
//! When it has ended with success, every file in `AIFLOW_OUTPUTS` is kept as the artifact of its name, with digest and size, before the ending
//! is reported: what waits for its success finds them; events that it published itself come before. A file that it says to [write](ProcessSpec::writes)
//! and does not leave, a directory, a link, or a name that is none is a failure, and nothing is kept. Nor is anything of an attempt that fails or
//! is stopped. The output of the job says what was `read` and what was `wrote`, each with digest and size, and its lineage says so too.
//!
//! # How an attempt ends
//!
//! Exit code 0 is success; another code is a failure with that code, `128 + n` for signal `n`, which another attempt may mend. A
//! program that is missing at submission is refused; one that has gone by the time the shell looks for it fails for good.
//! After a stop the ending is stopped, whatever the exit code. A heartbeat time limit looks at outputs and event file: a job that
//! writes nothing for so long is killed and has failed.
//!
//! # Disk
//!
//! Each attempt keeps its directory until [`ProcessExecutor::remove`]. Each output is bounded by [`ProcessOptions::log_bytes_max`]: its
//! head and its tail are kept, and the reader of the log is told how much is missing between them. That needs a file system that can
//! punch holes (ext4, xfs, btrfs, tmpfs can); elsewhere a warning is logged and outputs grow.
//!
//! [`JobEventLine`]: aiflow_core::executor::JobEventLine

mod environment;
mod events;
mod executor;
mod files;
mod inotify;
mod launch;
mod life;
mod logs;
mod options;
mod process;
#[cfg(target_os = "linux")]
mod readiness;
mod rundir;
mod shared;
mod spec;
mod wrapper;

pub use environment::{ENV_ALLOWED, PARAMS_BYTES_MAX};
pub use events::{EVENT_LINE_BYTES_MAX, EVENT_LINES_BATCH_MAX, JOB_EVENT_REJECTED};
pub use executor::ProcessExecutor;
pub use options::ProcessOptions;
pub use spec::{ARGS_MAX, JOB_ARTIFACTS_MAX, Limits, PROCESS_EXECUTOR, ProcessSpec, process, shell};
