//! Options: where is the file, and how much is promised and spent?

use std::path::PathBuf;
use std::time::Duration;

use aiflow_core::store::Durability;
use aiflow_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// URL schemes that open this backend.
pub const SCHEMES: &[&str] = &["sqlite"];

/// The most readers, and the longest write queue, that can be asked for.
const READERS_MAX: usize = 64;
const QUEUE_MAX: usize = 65_536;
/// The smallest limit of the file: the tables and some room.
const FILE_BYTES_MIN: u64 = 1024 * 1024;
/// Bytes of a page, the default of SQLite.
const PAGE_BYTES: u64 = 4_096;
/// SQLite counts the timeout in an `int` of milliseconds.
const BUSY_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// When a commit is flushed to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    /// Before it is acknowledged: it survives a power loss.
    #[default]
    Full,
    /// Later: it survives the crash of the process, but a power loss may take the last moments back.
    Normal,
}

impl Synchronous {
    pub(crate) fn durability(self) -> Durability {
        match self {
            Self::Full => Durability::PowerLoss,
            Self::Normal => Durability::ProcessCrash,
        }
    }

    /// The value of `PRAGMA synchronous`.
    pub(crate) fn pragma(self) -> i64 {
        match self {
            Self::Full => 2,
            Self::Normal => 1,
        }
    }
}

/// How a SQLite file is used. The defaults suit an embedded scheduler.
///
/// ```
/// use aiflow_store_sqlite::{SqliteOptions, Synchronous};
/// let options = SqliteOptions { synchronous: Synchronous::Normal, ..SqliteOptions::default() };
/// assert_eq!(options.readers, 4);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqliteOptions {
    /// When a commit is flushed.
    pub synchronous: Synchronous,
    /// How long to wait for a lock that another process holds; at most one hour.
    #[serde(rename = "busy_timeout_ms", with = "millis")]
    pub busy_timeout: Duration,
    /// Read connections, 1 to 64, opened as needed.
    pub readers: usize,
    /// Write requests that may wait, 1 to 65,536; callers beyond that wait for a place.
    pub write_queue: usize,
    /// Pages of 4 KiB in the write-ahead log after which it is copied into the file, at least 100.
    pub checkpoint_pages: u32,
    /// The most bytes of the file, at least 1 MiB; writes beyond it are refused as `Full`. The disk is the limit if `None`.
    pub file_bytes_max: Option<u64>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            busy_timeout: Duration::from_secs(5),
            readers: 4,
            write_queue: 1_024,
            checkpoint_pages: 4_000,
            file_bytes_max: None,
        }
    }
}

impl SqliteOptions {
    /// Checks every bound.
    ///
    /// # Errors
    /// `Invalid`, naming the option.
    pub fn check(&self) -> Result<()> {
        let problem = if self.busy_timeout > BUSY_TIMEOUT_MAX {
            "busy_timeout is longer than an hour".to_owned()
        } else if !(1..=READERS_MAX).contains(&self.readers) {
            format!("readers must be 1 to {READERS_MAX}")
        } else if !(1..=QUEUE_MAX).contains(&self.write_queue) {
            format!("write_queue must be 1 to {QUEUE_MAX}")
        } else if self.checkpoint_pages < 100 {
            "checkpoint_pages must be at least 100".to_owned()
        } else if self.file_bytes_max.is_some_and(|bytes| bytes < FILE_BYTES_MIN) {
            format!("file_bytes_max must be at least {FILE_BYTES_MIN}")
        } else {
            return Ok(());
        };
        Err(Error::invalid("open", problem))
    }

    /// The value of `PRAGMA max_page_count`.
    pub(crate) fn pages_max(&self) -> Option<u64> {
        self.file_bytes_max.map(|bytes| bytes / PAGE_BYTES)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = || {
            Error::invalid("open", "the option has a value that it cannot take")
                .with("option", name)
                .with("value", format!("{value:?}"))
        };
        match name {
            "synchronous" => {
                self.synchronous = match value {
                    "full" => Synchronous::Full,
                    "normal" => Synchronous::Normal,
                    _ => return Err(wrong()),
                }
            }
            "busy_timeout_ms" => {
                self.busy_timeout = Duration::from_millis(value.parse().map_err(|_| wrong())?);
            }
            "readers" => self.readers = value.parse().map_err(|_| wrong())?,
            "write_queue" => self.write_queue = value.parse().map_err(|_| wrong())?,
            "checkpoint_pages" => self.checkpoint_pages = value.parse().map_err(|_| wrong())?,
            _ => {
                return Err(Error::invalid("open", "unknown option in the URL").with("option", name));
            }
        }
        Ok(())
    }
}

/// Splits `sqlite://path?option=value&…` into the path and the options.
///
/// # Errors
/// `Invalid`: another scheme, no path, an unknown option or a value out of bounds.
pub(crate) fn parse_url(url: &str) -> Result<(PathBuf, SqliteOptions)> {
    let rest = url
        .split_once("://")
        .filter(|(scheme, _)| SCHEMES.contains(scheme))
        .map(|(_, rest)| rest)
        .ok_or_else(|| Error::invalid("open", "the URL must begin with sqlite://"))?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = decode(path)?;
    if path.is_empty() || path.starts_with(':') {
        return Err(Error::invalid("open", "the URL must name a file, as in sqlite://data/aiflow.db")
            .with("path", format!("{path:?}")));
    }
    let mut options = SqliteOptions::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        options.set(name, &decode(value)?)?;
    }
    options.check()?;
    Ok((PathBuf::from(path), options))
}

/// Resolves `%41` and the like.
fn decode(text: &str) -> Result<String> {
    let wrong = || Error::invalid("open", "a % in the URL must be followed by two hex digits");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            rest.next()
                .and_then(|digit| char::from(digit).to_digit(16))
                .and_then(|digit| u8::try_from(digit).ok())
                .ok_or_else(wrong)
        };
        let (high, low) = (digit()?, digit()?);
        bytes.push(high * 16 + low);
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid("open", "the URL is not UTF-8"))
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_path_and_options() {
        let (path, options) = parse_url("sqlite://data/my%20flow.db?synchronous=normal&readers=2").unwrap();
        assert_eq!(path, PathBuf::from("data/my flow.db"));
        assert_eq!(options.synchronous, Synchronous::Normal);
        assert_eq!(options.readers, 2);
        let (path, _) = parse_url("sqlite:///var/lib/aiflow.db").unwrap();
        assert_eq!(path, PathBuf::from("/var/lib/aiflow.db"));
    }

    #[test]
    fn a_wrong_url_is_refused() {
        for url in [
            "redis://x",
            "sqlite:x",
            "sqlite://",
            "sqlite://:memory:",
            "sqlite://a?synchronous=off",
            "sqlite://a?sync=full",
            "sqlite://a?readers=0",
            "sqlite://a?file_bytes_max=4096",
            "sqlite://a?busy_timeout_ms=99999999",
            "sqlite://a%2",
            "sqlite://a%zz",
        ] {
            let error = parse_url(url).expect_err(url);
            assert_eq!(error.kind(), aiflow_core::ErrorKind::Invalid, "{url}");
        }
    }

    #[test]
    fn options_read_back_as_written() {
        let options = SqliteOptions { busy_timeout: Duration::from_millis(1_250), ..SqliteOptions::default() };
        let text = serde_json::to_string(&options).unwrap();
        assert!(text.contains("\"busy_timeout_ms\":1250"), "{text}");
        assert_eq!(serde_json::from_str::<SqliteOptions>(&text).unwrap(), options);
    }
}
