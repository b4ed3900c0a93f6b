//! Names and identifiers: what is each thing called, and is the name well formed?
//!
//! Names are chosen by people and parsed at the edge; identifiers are minted by the log. Nothing else in the library takes a bare
//! string where one of these is meant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Error, Result};

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// # Shape
        /// 1 to [`NAME_BYTES_MAX`] bytes of `A-Z a-z 0-9 . _ -`, not starting with `.` or `-`. Such a name is safe as a file name.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Parses a name.
            ///
            /// # Errors
            /// `Invalid`, naming the first character that does not belong.
            pub fn parse(name: impl AsRef<str>) -> Result<Self> {
                check_name($what, name.as_ref()).map(|()| Self(name.as_ref().into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = Error;
            fn from_str(name: &str) -> Result<Self> {
                Self::parse(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(name: String) -> Result<Self> {
                Self::parse(name)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = Error;
            fn try_from(name: &str) -> Result<Self> {
                Self::parse(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                (*name.0).to_owned()
            }
        }
    };
}

name!(
    /// A project: the namespace of its workflows, metadata and events.
    ProjectName, "project name"
);
name!(
    /// A workflow, unique in its project.
    WorkflowName, "workflow name"
);
name!(
    /// A job, unique in its workflow.
    JobName, "job name"
);
name!(
    /// An AI node, unique in its graph.
    NodeName, "node name"
);
name!(
    /// A scheduling rule, unique among the rules of its job or workflow. The identity under which the rule's state is kept.
    RuleName, "rule name"
);
name!(
    /// A schedule, unique among the schedules of its job or workflow. The identity under which the schedule's state is kept.
    ScheduleName, "schedule name"
);
name!(
    /// An executor as registered with the scheduler: `function`, `process`, …
    ExecutorName, "executor name"
);
name!(
    /// A pool of slots that jobs share, unique in its project.
    PoolName, "pool name"
);
name!(
    /// A host, for people: several hosts may have the same name.
    HostName, "host name"
);
name!(
    /// A label of a host, which jobs may ask for: `gpu`, `eu`, …
    HostLabel, "host label"
);
name!(
    /// A dataset, model, metric or artifact, unique among those of its kind in the project.
    EntityName, "name"
);

impl ProjectName {
    /// Whether the name belongs to the library: a project's name is the namespace of its events, and the scheduler has one too.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.as_str().starts_with("aiflow.")
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "must not be empty".to_owned()
    } else if name.len() > NAME_BYTES_MAX {
        format!("is {} bytes long, at most {NAME_BYTES_MAX} are allowed", name.len())
    } else if name.starts_with(['.', '-']) {
        "must not start with '.' or '-'".to_owned()
    } else if let Some((at, bad)) =
        name.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
    {
        format!("has {bad:?} at byte {at}; allowed are A-Z a-z 0-9 . _ -")
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(40).flat_map(char::escape_default).collect();
    Err(Error::invalid("parse name", format!("{what} {problem}")).with("name", format!("\"{shown}\"")))
}

/// A position in the event log. The first event has offset 1; 0 stands for "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Ids are written all the time, and nearly always as they are.
fn padded(f: &mut fmt::Formatter<'_>, id: fmt::Arguments<'_>) -> fmt::Result {
    if f.width().is_none() && f.precision().is_none() { f.write_fmt(id) } else { f.pad(&id.to_string()) }
}

macro_rules! execution_id {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// Named after its cause: the offset of the event that made it, and its number among those the event made (from 0). So it needs
        /// no counter, is known before it exists, and the same log gives the same ids. Written `120.0`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type {
            /// Offset of the event that caused it.
            pub cause: Offset,
            /// Number among those that the event caused, from 0.
            pub number: u32,
        }

        impl $type {
            /// The `number`-th that the event at `cause` made.
            #[must_use]
            pub const fn new(cause: Offset, number: u32) -> Self {
                Self { cause, number }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                padded(f, format_args!("{}.{}", self.cause, self.number))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl FromStr for $type {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                let parsed = text.split_once('.').and_then(|(cause, number)| Some((cause.parse().ok()?, number.parse().ok()?)));
                match parsed {
                    Some((cause, number)) => Ok(Self::new(Offset(cause), number)),
                    None => Err(Error::invalid("parse id", concat!($what, " id must look like 120.0")).with("id", text.escape_default())),
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> Self {
                id.to_string()
            }
        }
    };
}

execution_id!(
    /// One execution of a workflow.
    WorkflowExecutionId, "workflow execution"
);
execution_id!(
    /// One execution of a job; its retries are attempts of the same execution.
    JobExecutionId, "job execution"
);

execution_id!(
    /// One firing that is recorded: it waits to be admitted, or what became of it is worth keeping.
    FiringId, "firing"
);

/// One attempt of a job execution: the identity under which executors start, observe and stop work. Written `120.0-1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct AttemptId {
    /// The job execution.
    pub job_execution: JobExecutionId,
    /// The attempt, from 1.
    pub attempt: u32,
}

impl AttemptId {
    /// Attempt number `attempt` of `job_execution`.
    #[must_use]
    pub const fn new(job_execution: JobExecutionId, attempt: u32) -> Self {
        Self { job_execution, attempt }
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        padded(f, format_args!("{}-{}", self.job_execution, self.attempt))
    }
}

impl Serialize for AttemptId {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for AttemptId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        text.split_once('-')
            .and_then(|(execution, attempt)| Some(Self::new(execution.parse().ok()?, attempt.parse().ok()?)))
            .ok_or_else(|| {
                Error::invalid("parse id", "attempt id must look like 120.0-1").with("id", text.escape_default())
            })
    }
}

impl TryFrom<String> for AttemptId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<AttemptId> for String {
    fn from(id: AttemptId) -> Self {
        id.to_string()
    }
}

/// A fresh random id, ordered by creation time, for things that the outside world creates: events, scheduler instances.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one source of random ids; the engine never calls it")]
pub fn random_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused_with_the_reason() {
        for bad in ["", ".", "..", "../x", "-rf", "a/b", "a b", "a\0b", "ä", "a\u{202e}b", "C:\\x", &"x".repeat(129)] {
            let error = JobName::parse(bad).expect_err(bad);
            assert_eq!(error.kind(), crate::ErrorKind::Invalid, "{bad:?}");
        }
        assert_eq!(
            JobName::parse("a/b").unwrap_err().to_string(),
            "parse name: invalid: job name has '/' at byte 1; allowed are A-Z a-z 0-9 . _ - (name=\"a/b\")"
        );
    }

    #[test]
    fn ids_read_back_as_written() {
        let id = AttemptId::new(JobExecutionId::new(Offset(120), 3), 2);
        assert_eq!(id.to_string(), "120.3-2");
        assert_eq!(id.to_string().parse::<AttemptId>().unwrap(), id);
        assert!("120-2".parse::<AttemptId>().is_err());
    }
}
