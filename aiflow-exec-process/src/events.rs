//! What jobs say: which events stand in the file that `AIFLOW_EVENTS` names, and which lines are none?

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read, Result, Seek, SeekFrom};
use std::path::PathBuf;

use aiflow_core::client::check_user_event;
use aiflow_core::event::{EVENT_VALUE_BYTES_MAX, NewEvent};
use aiflow_core::executor::{CHECKPOINT_BYTES_MAX, JobEventLine, JobIdentity, Report, ReportKind};
use aiflow_core::id::FiringId;
use aiflow_core::job_labels::{LabelChanges, check_label_changes};
use aiflow_core::time::{Clock as _, SystemClock};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::rundir::open_plain;

/// Type of the event that a line of a job's event file was refused. Key = `workflow/job`, value = `{"line": …, "reason": …}`.
pub const JOB_EVENT_REJECTED: &str = "JOB_EVENT_REJECTED";
/// The longest line of an event file, in bytes: the largest value with room for escapes and the other fields.
pub const EVENT_LINE_BYTES_MAX: usize = 2 * EVENT_VALUE_BYTES_MAX;
/// The most lines that are published together.
pub const EVENT_LINES_BATCH_MAX: usize = 256;
/// The most bytes of events that are published together, apart from one line beyond it.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// One thing that a job said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Event(Box<NewEvent>),
    Ready,
    /// Where the next attempt is to go on.
    Checkpoint(Box<NewEvent>),
    /// What it says about itself, and which labels that changes.
    Labels(Box<NewEvent>, BTreeSet<String>),
}

/// Whether to wait for the end of the last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The job runs: a line without its end is still being written.
    LastNewline,
    /// The job has ended: the file ends where it ends.
    EndOfFile,
}

/// Reads an event file from the start, line by line, as it grows.
#[derive(Debug)]
pub(crate) struct Follower {
    path: PathBuf,
    identity: JobIdentity,
    bytes_max: u64,
    file: Option<File>,
    bytes_read: u64,
    /// Number of the last complete line, from 1.
    line: u64,
    /// Bytes read; those before `rest_at` belong to lines that were taken.
    buffer: Vec<u8>,
    rest_at: usize,
    /// The current line is too long; skip to its end.
    skipping: bool,
}

impl Follower {
    pub(crate) fn new(path: PathBuf, identity: JobIdentity, bytes_max: u64) -> Self {
        Self {
            path,
            identity,
            bytes_max,
            file: None,
            bytes_read: 0,
            line: 0,
            buffer: Vec::new(),
            rest_at: 0,
            skipping: false,
        }
    }

    /// The next things said, in order; empty when there is no more now.
    pub(crate) fn read(&mut self, until: Until) -> Result<Vec<Said>> {
        let mut said = Vec::new();
        let mut batch_bytes = 0;
        loop {
            while said.len() < EVENT_LINES_BATCH_MAX && batch_bytes < BATCH_BYTES_MAX {
                let Some(line) = self.take_line() else { break };
                batch_bytes += line.len();
                said.extend(self.hear(&line));
            }
            if said.len() >= EVENT_LINES_BATCH_MAX || batch_bytes >= BATCH_BYTES_MAX {
                return Ok(said);
            }
            let n_bytes = match self.fill() {
                Ok(n_bytes) => n_bytes,
                Err(error) if said.is_empty() => return Err(error),
                // What was read counts; the error comes back the next time.
                Err(_) => return Ok(said),
            };
            if n_bytes == 0 {
                if until == Until::EndOfFile {
                    said.extend(self.take_rest());
                }
                return Ok(said);
            }
            said.extend(self.skip_long_line());
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.rest_at..).unwrap_or_default()
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        loop {
            let rest = self.rest();
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let line = rest.get(..end)?.to_vec();
            self.rest_at += end + 1;
            if !std::mem::take(&mut self.skipping) {
                self.line += 1;
                return Some(line);
            }
        }
    }

    /// A line beyond the bound is refused as soon as that is known, and its bytes are not kept.
    fn skip_long_line(&mut self) -> Option<Said> {
        if self.rest().len() <= EVENT_LINE_BYTES_MAX || self.rest().contains(&b'\n') {
            return None;
        }
        self.rest_at = self.buffer.len();
        if std::mem::replace(&mut self.skipping, true) {
            return None;
        }
        self.line += 1;
        Some(self.refuse(format!("the line has more than {EVENT_LINE_BYTES_MAX} bytes")))
    }

    fn take_rest(&mut self) -> Option<Said> {
        let rest = self.rest().to_vec();
        self.rest_at = self.buffer.len();
        if rest.is_empty() || self.skipping {
            return None;
        }
        self.line += 1;
        self.hear(&rest)
    }

    /// Reads the next bytes of the file.
    fn fill(&mut self) -> Result<usize> {
        let Some(file) = self.open()? else {
            return Ok(0);
        };
        let size = file.metadata()?.len();
        if size < self.bytes_read {
            tracing::warn!(attempt = %self.identity.attempt, "the job shortened its event file; reading it from its start");
            self.bytes_read = 0;
            self.buffer.clear();
            self.rest_at = 0;
            if let Some(file) = &mut self.file {
                file.seek(SeekFrom::Start(0))?;
            }
        }
        let room = self.bytes_max.saturating_sub(self.bytes_read);
        let Some(file) = &self.file else {
            return Ok(0);
        };
        let room = room.min(READ_BYTES as u64);
        self.buffer.drain(..self.rest_at);
        self.rest_at = 0;
        let n_bytes = file.take(room).read_to_end(&mut self.buffer)?;
        self.bytes_read = self.bytes_read.saturating_add(n_bytes as u64);
        if n_bytes > 0 && self.bytes_read >= self.bytes_max {
            tracing::warn!(attempt = %self.identity.attempt, bytes_max = self.bytes_max, "the event file is full; what the job says from now on is not heard");
        }
        Ok(n_bytes)
    }

    fn open(&mut self) -> Result<Option<&File>> {
        if self.file.is_none() {
            match open_plain(&self.path) {
                Ok(file) if file.metadata()?.is_file() => self.file = Some(file),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.file.as_ref())
    }

    /// What a complete line says; nothing if it is blank.
    fn hear(&self, line: &[u8]) -> Option<Said> {
        if line.trim_ascii().is_empty() {
            return None;
        }
        Some(if line.len() > EVENT_LINE_BYTES_MAX {
            self.refuse(format!("the line has more than {EVENT_LINE_BYTES_MAX} bytes"))
        } else {
            self.parse(line).unwrap_or_else(|reason| self.refuse(reason))
        })
    }

    fn parse(&self, line: &[u8]) -> std::result::Result<Said, String> {
        let event_line = match serde_json::from_slice::<JobEventLine>(line) {
            Ok(event_line) => event_line,
            Err(error) => {
                return match serde_json::from_slice::<Word>(line) {
                    Ok(word) => self.word(word),
                    Err(_) => Err(format!("not an event: {error}")),
                };
            }
        };
        let event = event_line.into_event(&self.identity, self.line);
        check_user_event(&event).map_err(|error| error.to_string())?;
        Ok(Said::Event(Box::new(event)))
    }

    fn word(&self, word: Word) -> std::result::Result<Said, String> {
        let (attempt, number) = (self.identity.attempt, self.line);
        let event = |kind| Box::new(Report { attempt, at: SystemClock.now(), kind }.into_event());
        match word {
            Word::Ready {} => Ok(Said::Ready),
            Word::Acknowledge { signal } => Ok(Said::Event(event(ReportKind::Acknowledged { signal }))),
            Word::Labels { labels } => {
                let labels = label_changes(labels)?;
                let names = labels.keys().cloned().collect();
                Ok(Said::Labels(event(ReportKind::Labels { number, labels }), names))
            }
            Word::Checkpoint { value } if value.to_string().len() > CHECKPOINT_BYTES_MAX => {
                Err(format!("the checkpoint has more than {CHECKPOINT_BYTES_MAX} bytes of JSON"))
            }
            Word::Checkpoint { value } => Ok(Said::Checkpoint(event(ReportKind::Checkpoint { number, value }))),
        }
    }

    /// The event that says that the current line was refused.
    fn refuse(&self, reason: String) -> Said {
        let JobIdentity { attempt, project, workflow, workflow_execution, job } = &self.identity;
        tracing::warn!(%attempt, line = self.line, reason, "an event of a job was refused");
        let mut event =
            NewEvent::identified(format!("job:{attempt}:{}", self.line), project.as_str(), format!("{workflow}/{job}"))
                .event_type(JOB_EVENT_REJECTED)
                .value(json!({"line": self.line, "reason": reason}))
                .sender(job.as_str())
                .for_execution(*workflow_execution);
        event.context.attempt = Some(*attempt);
        Said::Event(Box::new(event))
    }
}

/// A line that is for the executor itself.
#[derive(Deserialize)]
#[serde(tag = "aiflow", rename_all = "snake_case", deny_unknown_fields)]
enum Word {
    Ready {},
    Checkpoint { value: Value },
    Acknowledge { signal: FiringId },
    Labels { labels: BTreeMap<String, Value> },
}

/// The labels that a line changes: texts, numbers and truth values; null takes a label away.
fn label_changes(labels: BTreeMap<String, Value>) -> std::result::Result<LabelChanges, String> {
    let text = |(name, value): (String, Value)| match value {
        Value::Null => Ok((name, None)),
        Value::String(text) => Ok((name, Some(text))),
        Value::Bool(_) | Value::Number(_) => Ok((name, Some(value.to_string()))),
        Value::Array(_) | Value::Object(_) => Err(format!("label {name:?} is neither a text nor a number")),
    };
    let changes = labels.into_iter().map(text).collect::<std::result::Result<LabelChanges, String>>()?;
    check_label_changes(&changes).map_err(|error| error.to_string())?;
    Ok(changes)
}

#[cfg(test)]
mod tests;
