//! The run directory of an attempt: what do its files say about how the attempt stands?
//!
//! ```text
//! <run root>/<attempt id>/     0700
//!     launch.json     who the attempt is and how it is to be ended; written before the wrapper starts
//!     trigger.json    the events that made the job run
//!     pid             the claim: created by the wrapper, or by an executor that makes sure no wrapper starts any more
//!     open.2 pid.2 …  another claim was opened after such a one, and who has it; the last that was opened counts
//!     stop            why the attempt does not end by itself; created before the first signal
//!     exit            blanks, then the exit code and a newline over them
//!     stdout stderr   the outputs; stdout.cut stderr.cut: the range removed from their middle
//!     signals         values that were handed to the job, a JSON object a line
//!     events          what the job says; events.done: all of it was published
//!     inputs/         artifacts that were laid before the job; inputs.json: which
//!     outputs/        files that become artifacts; kept.json: the ending, once they have
//! ```

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Result, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aiflow_core::executor::{Ending, JobIdentity, Launch, LogStream, TimeLimit};
use aiflow_core::id::AttemptId;
use serde::{Deserialize, Serialize};

use crate::process::{Group, kill_leftovers};
use crate::wrapper::Outputs;

/// Room for the exit code, taken while the disk has it.
const EXIT_BLANK: &[u8] = b"    ";
/// Content of a claim when no wrapper may have it any more.
const BARRED: &[u8] = b"lost\n";
/// More than any of the small files holds.
const SMALL_FILE_BYTES_MAX: u64 = 64;
pub(crate) const RECORD_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How many claims are opened for an attempt: each but the first is for somebody whose wrapper was kept out, in a moment, by another host.
const CLAIMS_MAX: u32 = 16;
/// A wrapper writes two files: more looks than that find the same.
const LOOKS_MAX: u32 = 4;
/// The most bytes of values that are handed to one attempt.
const SIGNALS_BYTES_MAX: u64 = 16 * 1024 * 1024;
const FILE_MODE: u32 = 0o600;
pub(crate) const DIR_MODE: u32 = 0o700;

/// What `launch.json` holds: all that a later executor needs to know of an attempt that it did not start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) identity: JobIdentity,
    /// Epoch of the leader that submitted it last.
    pub(crate) epoch: u64,
    /// The run directory under the name that the wrapper got.
    pub(crate) run_dir: PathBuf,
    /// The program, resolved.
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) heartbeat_timeout: Option<Duration>,
    pub(crate) stop_grace: Duration,
    /// The files that it must leave; `None` if there is nowhere to keep any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) writes: Option<Vec<String>>,
}

/// Why an attempt does not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    Requested,
    TimedOut,
    /// It gave no sign of life.
    Silent,
    /// Its wrapper died before it could start anything, and that was reported.
    NeverStarted,
}

impl StopReason {
    const ALL: [Self; 4] = [Self::Requested, Self::TimedOut, Self::Silent, Self::NeverStarted];

    /// As written to `stop`.
    fn line(self) -> &'static [u8] {
        match self {
            Self::Requested => b"stop\n",
            Self::TimedOut => b"timeout\n",
            Self::Silent => b"silent\n",
            Self::NeverStarted => b"lost\n",
        }
    }

    pub(crate) fn ending(self) -> Ending {
        match self {
            Self::Requested => Ending::Stopped,
            Self::TimedOut => Ending::TimedOut { limit: TimeLimit::Run },
            Self::Silent => Ending::TimedOut { limit: TimeLimit::Heartbeat },
            Self::NeverStarted => {
                Ending::Lost { message: "its wrapper died before it could start the program".to_owned() }
            }
        }
    }
}

/// Who may start the program of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The first wrapper that comes with this claim.
    Open(u32),
    /// No wrapper started so far ever will: the next claim is to be opened.
    Barred,
    /// It was started, or ended without.
    Taken,
}

/// How an attempt stands, after every doubt was settled.
#[derive(Debug)]
pub(crate) enum Standing {
    Absent,
    Running(Group),
    Ended(Ending),
}

/// What the files say by themselves.
enum Look {
    Absent,
    Unclaimed,
    /// The claim exists, its content does not yet.
    Claiming,
    Claimed(i32),
    Barred,
    Exited(i32),
    TornExit,
}

/// Whether a directory was made by this call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Now,
    Before,
}

/// One run directory.
#[derive(Debug, Clone)]
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    pub(crate) fn of(run_root: &Path, attempt: AttemptId) -> Self {
        Self(run_root.join(attempt.to_string()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Its path, for people.
    pub(crate) fn location(&self) -> String {
        self.0.display().to_string()
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.0.join("events")
    }

    pub(crate) fn inputs(&self) -> PathBuf {
        self.0.join("inputs")
    }

    pub(crate) fn outputs(&self) -> PathBuf {
        self.0.join("outputs")
    }

    pub(crate) fn log(&self, stream: LogStream) -> PathBuf {
        self.0.join(stream_name(stream))
    }

    pub(crate) fn cut(&self, stream: LogStream) -> PathBuf {
        self.0.join(format!("{}.cut", stream_name(stream)))
    }

    /// Makes the directory, and the run root if this is its first.
    pub(crate) fn make(&self) -> Result<Made> {
        let mut builder = DirBuilder::new();
        builder.mode(DIR_MODE);
        let mut made = builder.create(&self.0);
        if let (Err(error), Some(run_root)) = (&made, self.0.parent())
            && error.kind() == ErrorKind::NotFound
        {
            builder.recursive(true).create(run_root)?;
            made = builder.recursive(false).create(&self.0);
        }
        match made {
            Ok(()) => Ok(Made::Now),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Made::Before),
            Err(error) => Err(error),
        }
    }

    /// Writes everything that the wrapper and its program expect. Harmless in a directory where a wrapper is at work already.
    pub(crate) fn fill(&self, made: &Made, record: &Record, launch: &Launch) -> Result<Outputs> {
        let launched = serde_json::to_vec(record)?;
        let trigger = serde_json::to_vec(&launch.events)?;
        match made {
            // Another host may come between: then it has written the same.
            Made::Now => {
                self.create("launch.json", &launched)?;
                self.create("trigger.json", &trigger)?;
            }
            Made::Before => {
                self.replace("launch.json", &launched)?;
                self.replace("trigger.json", &trigger)?;
            }
        }
        if record.writes.is_some() {
            self.make_folders()?;
        }
        self.create("exit", EXIT_BLANK)?;
        append(&self.events())?;
        append(&self.0.join("signals"))?;
        Ok(Outputs { stdout: append(&self.log(LogStream::Stdout))?, stderr: append(&self.log(LogStream::Stderr))? })
    }

    /// The record, or `None` if there is none that can be read.
    pub(crate) fn record(&self) -> Result<Option<Record>> {
        match read_plain(&self.0.join("launch.json"), RECORD_BYTES_MAX) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who may start the program.
    pub(crate) fn claim_state(&self) -> Result<Claim> {
        Ok(match self.look()? {
            Look::Absent => Claim::Open(1),
            Look::Unclaimed => Claim::Open(self.last_claim()?),
            Look::Barred if self.stopped()?.is_none() => Claim::Barred,
            // Its wrapper died in that moment, or is about to write.
            Look::Claiming => match self.settle()? {
                Standing::Absent => Claim::Barred,
                Standing::Running(_) | Standing::Ended(_) => Claim::Taken,
            },
            Look::Barred | Look::Claimed(_) | Look::Exited(_) | Look::TornExit => Claim::Taken,
        })
    }

    /// How the attempt stands. One that nobody has claimed is barred, so that it certainly never starts, and then counts as never
    /// accepted: its host died while submitting it.
    pub(crate) fn settle(&self) -> Result<Standing> {
        // Whatever changes between two looks was said by the wrapper, and then there is more to read.
        for _ in 0..LOOKS_MAX {
            let look = self.look()?;
            if let Look::Claiming = look
                && let Some(group) = Group::of_unclaimed(&self.named()?)
            {
                return Ok(Standing::Running(group));
            }
            return match look {
                Look::Absent => Ok(Standing::Absent),
                Look::Unclaimed if self.bar()? => self.never_started(),
                Look::Unclaimed => continue,
                // Nobody was there to write the claim before this look, so nobody will.
                Look::Claiming if matches!(self.look()?, Look::Claiming) => self.never_started(),
                Look::Claiming => continue,
                Look::Barred => self.never_started(),
                Look::Exited(code) => self.exited(code),
                Look::TornExit => match self.claimed_by()?.and_then(|pid| self.group(pid)) {
                    Some(group) => Ok(Standing::Running(group)),
                    None => self.vanished("its exit code was only partly written"),
                },
                Look::Claimed(pid) => match self.find(pid)? {
                    Some(standing) => Ok(standing),
                    None => continue,
                },
            };
        }
        Err(std::io::Error::other("the run directory keeps changing"))
    }

    /// Whether it has ended, as far as its files say; `None` if there is no such attempt. Settles nothing: for those who only read.
    pub(crate) fn has_ended(&self) -> Result<Option<bool>> {
        let is_gone = |pid: i32| self.group(pid).is_none();
        Ok(Some(match self.look()? {
            Look::Absent => return Ok(None),
            Look::Unclaimed | Look::Claiming => false,
            Look::Barred | Look::Exited(_) => true,
            // If its wrapper is gone, it died without a word.
            Look::Claimed(pid) => is_gone(pid),
            Look::TornExit => self.claimed_by()?.is_none_or(is_gone),
        }))
    }

    fn look(&self) -> Result<Look> {
        match self.small("exit")?.as_deref() {
            None | Some(b"") => {}
            Some(bytes) if bytes.iter().all(|byte| *byte == b' ') => {}
            Some(bytes) => return Ok(parse_line(bytes).map_or(Look::TornExit, Look::Exited)),
        }
        Ok(match self.small(&claim_name(self.last_claim()?))? {
            Some(bytes) if bytes == BARRED => Look::Barred,
            Some(bytes) => parse_line(&bytes).map_or(Look::Claiming, Look::Claimed),
            None if self.0.try_exists()? => Look::Unclaimed,
            None => Look::Absent,
        })
    }

    /// How the wrapper that claimed as `pid` stands; `None` if it wrote its exit code in this moment.
    fn find(&self, pid: i32) -> Result<Option<Standing>> {
        if let Some(group) = self.group(pid) {
            return Ok(Some(Standing::Running(group)));
        }
        if !matches!(self.look()?, Look::Claimed(_)) {
            return Ok(None);
        }
        kill_leftovers(pid, &self.named()?);
        self.vanished("its wrapper died without recording an exit code").map(Some)
    }

    fn claimed_by(&self) -> Result<Option<i32>> {
        Ok(self.small(&claim_name(self.last_claim()?))?.and_then(|bytes| parse_line(&bytes)))
    }

    fn group(&self, pid: i32) -> Option<Group> {
        Group::of_claim(pid, &self.named().ok()?)
    }

    /// The directory under the name that its wrapper got.
    fn named(&self) -> Result<PathBuf> {
        Ok(self.record()?.map_or_else(|| self.0.clone(), |record| record.run_dir))
    }

    fn exited(&self, code: i32) -> Result<Standing> {
        if let Some(ending) = self.stopped()? {
            return Ok(Standing::Ended(ending));
        }
        let program_is_gone = || {
            matches!(code, 126 | 127) && matches!(self.record(), Ok(Some(record)) if !is_executable(&record.program))
        };
        Ok(Standing::Ended(match code {
            0 => self.kept()?.unwrap_or(Ending::Succeeded { output: serde_json::Value::Null }),
            code if program_is_gone() => Ending::Failed {
                message: "the program is missing or cannot be executed".to_owned(),
                exit_code: Some(code),
                kind: None,
                retryable: false,
            },
            code => Ending::Failed {
                message: match code.checked_sub(128) {
                    Some(signal @ 1..=64) => format!("killed by signal {signal}"),
                    _ => format!("exit code {code}"),
                },
                exit_code: Some(code),
                kind: None,
                retryable: true,
            },
        }))
    }

    fn never_started(&self) -> Result<Standing> {
        Ok(self.stopped()?.map_or(Standing::Absent, Standing::Ended))
    }

    fn vanished(&self, message: &str) -> Result<Standing> {
        Ok(Standing::Ended(self.stopped()?.unwrap_or_else(|| Ending::Lost { message: message.to_owned() })))
    }

    /// The ending of an attempt that did not end by itself.
    fn stopped(&self) -> Result<Option<Ending>> {
        Ok(self.small("stop")?.map(|line| {
            StopReason::ALL.into_iter().find(|reason| reason.line() == line).unwrap_or(StopReason::Requested).ending()
        }))
    }

    /// Records that the attempt is to end, and makes sure that it does not start if it has not yet. The first reason stays.
    /// An attempt that has ended keeps its ending.
    pub(crate) fn mark_stop(&self, reason: StopReason) -> Result<()> {
        if matches!(self.look()?, Look::Exited(_)) {
            return Ok(());
        }
        // On a full disk the file is made but stays empty, and that is enough.
        if let Err(error) = self.create("stop", reason.line())
            && !self.0.join("stop").try_exists()?
        {
            return Err(error);
        }
        self.bar().map(drop)
    }

    /// Whether a wrapper has this claim, or `false` if it is barred; `None` as long as nobody has.
    pub(crate) fn is_claimed(&self, claim: u32) -> Option<bool> {
        let bytes = self.small(&claim_name(claim)).ok()??;
        (!bytes.is_empty()).then_some(bytes != BARRED)
    }

    /// The claim that counts: the last that was opened.
    fn last_claim(&self) -> Result<u32> {
        let mut last = 1;
        while last < CLAIMS_MAX && self.0.join(opened_name(last + 1)).try_exists()? {
            last += 1;
        }
        Ok(last)
    }

    /// Opens the claim behind one that is barred. Nothing is taken away, so whoever comes late with an older claim finds that barred still.
    ///
    /// # Errors
    /// There were too many.
    pub(crate) fn open_next(&self) -> Result<u32> {
        let next = self.last_claim()?.saturating_add(1);
        if next > CLAIMS_MAX {
            return Err(std::io::Error::other("others keep the attempt from starting again and again"));
        }
        self.create(&opened_name(next), b"")?;
        Ok(next)
    }

    /// Appends a line to the file of values that the job reads; `false` if the file is as large as it may be.
    pub(crate) fn add_signal(&self, line: &str) -> Result<bool> {
        let mut file = append(&self.0.join("signals"))?;
        if file.metadata()?.len().saturating_add(line.len() as u64) > SIGNALS_BYTES_MAX {
            return Ok(false);
        }
        // One write, so that the job sees the line as a whole or its end missing.
        file.write_all(line.as_bytes())?;
        Ok(true)
    }

    /// How long ago the attempt was told to stop, if it was.
    pub(crate) fn stopping_for(&self) -> Option<Duration> {
        self.age("stop")
    }

    /// How long ago the attempt was claimed.
    pub(crate) fn running_for(&self) -> Option<Duration> {
        self.age(&claim_name(self.last_claim().ok()?))
    }

    /// How long ago the attempt last wrote anything, or was claimed.
    pub(crate) fn silent_for(&self) -> Option<Duration> {
        ["events", "stdout", "stderr"].into_iter().filter_map(|name| self.age(name)).chain(self.running_for()).min()
    }

    fn age(&self, name: &str) -> Option<Duration> {
        let modified = std::fs::metadata(self.0.join(name)).ok()?.modified().ok()?;
        Some(SystemTime::now().duration_since(modified).unwrap_or_default())
    }

    /// Whether there are events that may not have been published.
    pub(crate) fn has_unpublished_events(&self) -> Result<bool> {
        match std::fs::metadata(self.events()) {
            Ok(events) => Ok(events.len() > 0 && !self.0.join("events.done").try_exists()?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Records that all events were published.
    pub(crate) fn mark_published(&self) -> Result<()> {
        self.create("events.done", b"").map(drop)
    }

    /// Makes sure that no wrapper starts any more, if none has; `false` if somebody has the claim.
    ///
    /// The claim appears with its content: a host whose wrapper is kept out by it must see at once that nobody has it.
    pub(crate) fn bar(&self) -> Result<bool> {
        let claim = claim_name(self.last_claim()?);
        let linked = self.write_aside(&claim, BARRED).and_then(|new| {
            let linked = std::fs::hard_link(&new, self.0.join(&claim));
            std::fs::remove_file(new)?;
            linked
        });
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            // A disk that is full, or without links: barred all the same, though not in one step.
            Err(_) => self.create(&claim, BARRED),
        }
    }

    /// Removes the directory and everything in it.
    pub(crate) fn remove(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.0)
    }

    fn small(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match read_plain(&self.0.join(name), SMALL_FILE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_new(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut options = OpenOptions::new();
        // Appending: should a wrapper have written its exit code into the new file already, blanks must not cover it.
        options.append(true).create_new(true).mode(FILE_MODE);
        options.open(self.0.join(name))?.write_all(bytes)
    }

    /// Creates a file exclusively; `false` if it was there.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        match self.write_new(name, bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a file so that a reader sees the old content or the new.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        std::fs::rename(self.write_aside(name, bytes)?, self.0.join(name))
    }

    /// Writes what is to become the file `name` under a name of its own.
    fn write_aside(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        // Several writers, in this process or another, must not meet in one new file.
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let (writer, write) = (std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed));
        // Here, so that a job never meets it among its files.
        let new = self.0.join(format!("{}.{writer}.{write}.new", name.replace('/', ".")));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(FILE_MODE);
        options.open(&new)?.write_all(bytes)?;
        Ok(new)
    }
}

/// The file of a claim, counted from 1.
fn claim_name(claim: u32) -> String {
    if claim == 1 { "pid".to_owned() } else { format!("pid.{claim}") }
}

/// The file that says that a claim was opened.
fn opened_name(claim: u32) -> String {
    format!("open.{claim}")
}

fn stream_name(stream: LogStream) -> &'static str {
    match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    }
}

fn append(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(FILE_MODE);
    options.open(path)
}

/// Opens a file for reading that its job may have replaced: follows no link and waits for no pipe.
pub(crate) fn open_plain(path: &Path) -> Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    options.open(path)
}

pub(crate) fn read_plain(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The number on the first line. A line without its end is torn: there may have been more digits.
fn parse_line(bytes: &[u8]) -> Option<i32> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    std::str::from_utf8(bytes.get(..end)?).ok()?.parse().ok()
}

/// Whether `path` is a file that this process may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_its_end_is_torn() {
        assert_eq!(parse_line(b"143\n"), Some(143));
        assert_eq!(parse_line(b"0\n  "), Some(0));
        for torn in [&b""[..], b"14", b"14  ", b"\n", b"x\n"] {
            assert_eq!(parse_line(torn), None, "{torn:?}");
        }
    }
}
