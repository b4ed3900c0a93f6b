//! Lines: how does each thing look in an export, and is a line one?

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

use super::Transferred;
use crate::bus::Head;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::event::Event;
use crate::id::Offset;
use crate::store::{RECORD_BYTES_MAX, Record, Relation};
use crate::time::Timestamp;

/// Version of the format that this release writes, and the newest that it reads.
pub const EXPORT_VERSION: u32 = 1;
/// The longest line: a record with the largest body, and room for its columns.
pub const LINE_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;

/// What the format calls itself.
const FORMAT: &str = "aiflow-export";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    version: u32,
    /// Release of the library that wrote it, for people.
    pub(super) library: String,
    /// The log that was exported, for people.
    pub(super) log: String,
    /// When it was exported, by the clock of the exporter.
    pub(super) exported: Timestamp,
    /// The newest event ever appended.
    pub(super) head: Offset,
    /// Events up to here were trimmed, and are not in the export.
    pub(super) trimmed: Offset,
    /// The newest epoch of the scheduler's lease.
    pub(super) epoch: u64,
    /// The kinds of records that were looked for.
    pub(super) kinds: Vec<String>,
}

impl Header {
    pub(super) fn new(log: String, exported: Timestamp, ends: Head, epoch: u64, kinds: Vec<String>) -> Self {
        let (format, library) = (FORMAT.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let Head { last: head, trimmed } = ends;
        Self { format, version: EXPORT_VERSION, library, log, exported, head, trimmed, epoch, kinds }
    }
}

/// The last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) records: u64,
    pub(super) relations: u64,
    pub(super) events: u64,
}

impl From<Transferred> for End {
    fn from(done: Transferred) -> Self {
        Self { records: done.records, relations: done.relations, events: done.events }
    }
}

/// A line to write.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Written<'a> {
    Header(&'a Header),
    Record(&'a Record),
    Relation(&'a Relation),
    Event(&'a Event),
    End(End),
}

/// A line that was read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Header(Header),
    Record(Record),
    Relation(Relation),
    Event(Event),
    End(End),
}

impl Line {
    /// Its place among the lines, and what people call it.
    pub(super) fn place(&self) -> (u8, &'static str) {
        match self {
            Self::Header(_) => (0, "header"),
            Self::Record(_) => (1, "record"),
            Self::Relation(_) => (2, "relation"),
            Self::Event(_) => (3, "event"),
            Self::End(_) => (4, "end"),
        }
    }
}

/// Reads lines, one at a time, and knows at which one it is.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    /// Number of the line that was read last, from 1.
    pub(super) number: u64,
    /// Bytes of that line.
    pub(super) bytes: usize,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, number: 0, bytes: 0 }
    }

    /// The header.
    pub(super) async fn header(&mut self) -> Result<Header> {
        let text = self.text().await?.ok_or_else(|| self.wrong("the source is empty"))?;
        let head: Value = serde_json::from_slice(&text).map_err(|_| self.wrong("this is no export"))?;
        let head = &head["header"];
        if head["format"] != FORMAT {
            return Err(self.wrong("this is no export"));
        }
        match head["version"].as_u64() {
            Some(version) if version <= u64::from(EXPORT_VERSION) => {}
            version => {
                let version = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
                let newer = self.wrong("the export was written by a newer release of this library");
                return Err(newer.with("version", version).with("newest_known", EXPORT_VERSION));
            }
        }
        match self.parse(&text)? {
            Line::Header(header) => Ok(header),
            _ => Err(self.wrong("this is no header")),
        }
    }

    /// The next line; `None` at the end of the source.
    pub(super) async fn next(&mut self) -> Result<Option<Line>> {
        match self.text().await? {
            Some(text) => self.parse(&text).map(Some),
            None => Ok(None),
        }
    }

    fn parse(&self, text: &[u8]) -> Result<Line> {
        let read = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(text));
        read.map_err(|error| {
            let path = error.path().to_string();
            self.wrong("the line cannot be read").with("at", path).with("reason", error.into_inner())
        })
    }

    async fn text(&mut self) -> Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        self.number = self.number.saturating_add(1);
        loop {
            let number = self.number;
            let chunk = self.source.fill_buf().await.map_err(|error| {
                Error::new(ErrorKind::Unavailable, "import", "the source cannot be read")
                    .with("line", number)
                    .with_retry(Retry::Never)
                    .caused_by(error)
            })?;
            let (used, is_end) = match chunk.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at.saturating_add(1), true),
                None => (chunk.len(), chunk.is_empty()),
            };
            text.extend_from_slice(chunk.get(..used).unwrap_or_default());
            self.source.consume(used);
            if text.len() > LINE_BYTES_MAX {
                return Err(self.wrong(format!("the line is longer than {LINE_BYTES_MAX} bytes")));
            }
            if is_end {
                if text.is_empty() {
                    self.number = self.number.saturating_sub(1);
                    return Ok(None);
                }
                self.bytes = text.len();
                return Ok(Some(text));
            }
        }
    }

    /// The error that something is wrong with this line.
    pub(super) fn wrong(&self, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, "import", message).with("line", self.number)
    }
}
