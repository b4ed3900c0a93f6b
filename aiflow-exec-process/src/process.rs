//! Processes: is this one still ours, when is it gone, and how is its group signalled?
//!
//! On Linux a pidfd names a process for good and becomes readable when it ends. Elsewhere, and when descriptors run out, the process is
//! asked for again and again, a few times a second.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
#[cfg(target_os = "linux")]
use std::sync::Arc;

const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(500);

/// A process group led by a wrapper.
#[derive(Debug)]
pub(crate) struct Group {
    leader: Pid,
    /// We started the leader: until we reap it, its number names nothing else.
    own: bool,
    #[cfg(target_os = "linux")]
    fd: Option<Arc<OwnedFd>>,
}

impl Group {
    /// The group of a wrapper that we have just started.
    pub(crate) fn of_child(child: &Child) -> Self {
        Self::hold(Pid::from_child(child), true)
    }

    /// The group of the wrapper that claimed `run_dir` as process `pid`, if that is what `pid` still is.
    pub(crate) fn of_claim(pid: i32, run_dir: &Path) -> Option<Self> {
        // The handle comes first: what is then read about the process cannot be about a later one.
        let group = Self::hold(Pid::from_raw(pid)?, false);
        (!group.is_gone() && is_wrapper_of(pid, run_dir)).then_some(group)
    }

    /// The group of a live wrapper of `run_dir` that has not written its number yet.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_unclaimed(run_dir: &Path) -> Option<Self> {
        let processes = std::fs::read_dir("/proc").ok()?;
        processes
            .flatten()
            .filter_map(|process| process.file_name().to_str()?.parse().ok())
            .filter(|pid| is_wrapper_of(*pid, run_dir))
            .find_map(|pid| Self::of_claim(pid, run_dir))
    }

    /// Without `/proc` such a wrapper cannot be found. Between the creation and the content of its claim lie microseconds.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of_unclaimed(_run_dir: &Path) -> Option<Self> {
        None
    }

    fn hold(leader: Pid, own: bool) -> Self {
        Self {
            leader,
            own,
            #[cfg(target_os = "linux")]
            fd: rustix::process::pidfd_open(leader, rustix::process::PidfdFlags::empty()).ok().map(Arc::new),
        }
    }

    /// Waits until the leader has ended.
    pub(crate) async fn gone(&self) {
        #[cfg(target_os = "linux")]
        if let Some(fd) = &self.fd
            && let Ok(fd) = crate::readiness::watched(Arc::clone(fd))
            && fd.readable().await.is_ok()
        {
            return;
        }
        let mut pause = POLL_MIN;
        while !self.is_gone() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// Whether the leader has ended.
    fn is_gone(&self) -> bool {
        if self.own {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            return !matches!(rustix::process::waitid(WaitId::Pid(self.leader), options), Ok(None));
        }
        #[cfg(target_os = "linux")]
        if let Some(fd) = &self.fd {
            let mut poll = [rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)];
            let now = rustix::event::Timespec::default();
            return !matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(0));
        }
        rustix::process::test_kill_process(self.leader) == Err(rustix::io::Errno::SRCH)
    }

    /// Signals every process of the group, while its leader lives.
    pub(crate) fn signal(&self, signal: Signal) {
        if !self.is_gone() {
            // Fails only if the group ended this moment, which is what was wanted.
            let _ = rustix::process::kill_process_group(self.leader, signal);
        }
    }

    /// Kills what is left of the group after its leader has ended, and reaps the leader if it is ours.
    pub(crate) fn bury(&self, run_dir: &Path) {
        if self.own {
            let _ = rustix::process::kill_process_group(self.leader, Signal::KILL);
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = rustix::process::waitid(WaitId::Pid(self.leader), options);
        } else {
            kill_leftovers(self.leader.as_raw_nonzero().get(), run_dir);
        }
    }
}

/// Kills the group that the wrapper `pid` led, if members of it are left. The number may have been given to a stranger since, so a
/// member must carry our run directory in its environment.
#[cfg(target_os = "linux")]
pub(crate) fn kill_leftovers(pid: i32, run_dir: &Path) {
    let Some(group) = Pid::from_raw(pid) else {
        return;
    };
    if rustix::process::test_kill_process_group(group).is_err() {
        return;
    }
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return;
    };
    let ours = [b"AIFLOW_RUN_DIR=", run_dir.as_os_str().as_encoded_bytes()].concat();
    let is_ours = processes
        .flatten()
        .map(|entry| entry.path())
        .filter(|process| group_of(process) == Some(pid))
        .filter_map(|process| std::fs::read(process.join("environ")).ok())
        .any(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == ours));
    if is_ours {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

/// Without `/proc` nobody can tell whose group it is: it is left alone.
#[cfg(not(target_os = "linux"))]
pub(crate) fn kill_leftovers(_pid: i32, _run_dir: &Path) {}

/// The process group in `/proc/<pid>/stat`: the third field after the name, which stands in parentheses and may contain anything.
#[cfg(target_os = "linux")]
fn group_of(process: &Path) -> Option<i32> {
    let stat = std::fs::read(process.join("stat")).ok()?;
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    std::str::from_utf8(stat.get(after_name..)?).ok()?.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// Whether process `pid` is a wrapper of `run_dir`. A zombie is none.
#[cfg(target_os = "linux")]
fn is_wrapper_of(pid: i32, run_dir: &Path) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|cmdline| {
        let mut args = cmdline.split(|byte| *byte == 0);
        // `sh -Cc <script> <run dir> …`
        args.nth(1) == Some(crate::wrapper::FLAGS.as_bytes())
            && args.nth(1) == Some(run_dir.as_os_str().as_encoded_bytes())
    })
}

/// Without `/proc` a live process with the number is taken for the wrapper.
#[cfg(not(target_os = "linux"))]
fn is_wrapper_of(_pid: i32, _run_dir: &Path) -> bool {
    true
}
