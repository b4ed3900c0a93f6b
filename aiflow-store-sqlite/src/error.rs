//! Errors: what does a fault of SQLite mean to the caller?

use std::sync::Arc;

use aiflow_core::{Error, ErrorKind};

/// A fault as SQLite and its driver report it. Converted to the public [`Error`] where its phase is known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// The connection had to be opened again, and that failed.
    #[error(transparent)]
    Opening(Error),
}

/// When the fault happened. It decides whether anything may have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing was being written.
    Read,
    /// Inside a transaction that was not committed.
    Write,
    /// While committing.
    Commit,
}

// Primary result codes, https://sqlite.org/rescode.html
const PERM: i32 = 3;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NOMEM: i32 = 7;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const PROTOCOL: i32 = 15;
const TOOBIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const AUTH: i32 = 23;
const NOTADB: i32 = 26;
/// Extended code of a fault in stored data, reported as an I/O error.
const IOERR_CORRUPTFS: i32 = IOERR | (33 << 8);

impl Fault {
    /// The extended result code, if SQLite answered at all.
    fn code(&self) -> Option<i32> {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => error.code()?.parse().ok(),
            Self::Sql(_) | Self::Opening(_) => None,
        }
    }

    fn primary(&self) -> Option<i32> {
        self.code().map(|code| code & 0xff)
    }

    /// Another connection held the lock for too long.
    pub(crate) fn is_busy(&self) -> bool {
        self.primary() == Some(BUSY)
    }

    /// A row broke a constraint: an event id was in the log already.
    pub(crate) fn is_constraint(&self) -> bool {
        self.primary() == Some(CONSTRAINT)
    }

    /// The connection should be replaced: its thread died, or the file under it misbehaved.
    pub(crate) fn breaks_connection(&self) -> bool {
        matches!(self.primary(), None | Some(IOERR | CORRUPT | NOTADB | NOMEM))
    }

    /// One request of a group may be to blame, so that the others may succeed without it.
    pub(crate) fn blames_one(&self, phase: Phase) -> bool {
        match self.primary() {
            Some(FULL) => true,
            Some(BUSY | LOCKED | PROTOCOL | IOERR | CORRUPT | NOTADB | CANTOPEN | READONLY) => false,
            Some(_) => phase == Phase::Write,
            None => false,
        }
    }

    /// The public error for a fault in `phase` of `operation`.
    pub(crate) fn into_error(self, operation: &'static str, phase: Phase) -> Error {
        Self::shared_error(&Arc::new(self), operation, phase)
    }

    /// As [`Fault::into_error`], for a fault that concerns several callers.
    pub(crate) fn shared_error(fault: &Arc<Self>, operation: &'static str, phase: Phase) -> Error {
        let (kind, message) = match &**fault {
            Self::Opening(error) => (error.kind(), "the file cannot be opened again"),
            Self::Sql(_) => meaning(fault.code(), phase),
        };
        Error::new(kind, operation, message).caused_by(Arc::clone(fault))
    }
}

/// The one table of meanings. `None`: the driver's thread ended, or it could not decode.
fn meaning(code: Option<i32>, phase: Phase) -> (ErrorKind, &'static str) {
    let Some(code) = code else {
        return match phase {
            Phase::Commit => (ErrorKind::OutcomeUnknown, "the connection ended while committing"),
            Phase::Read | Phase::Write => (ErrorKind::Unavailable, "the connection ended"),
        };
    };
    if code == IOERR_CORRUPTFS {
        return (ErrorKind::Corrupt, "the file system reports damage");
    }
    match code & 0xff {
        BUSY | LOCKED | PROTOCOL => (ErrorKind::Unavailable, "another connection holds the file for too long"),
        FULL => (ErrorKind::Full, "the disk or the database is full"),
        CORRUPT | NOTADB => (ErrorKind::Corrupt, "the file is damaged or not a database"),
        // The commit record may have reached the disk although the flush failed: a crash now could bring it back.
        IOERR if phase == Phase::Commit => (ErrorKind::OutcomeUnknown, "an I/O error interrupted the commit"),
        IOERR => (ErrorKind::Unavailable, "an I/O error"),
        CANTOPEN => (ErrorKind::Unavailable, "the file cannot be opened"),
        PERM | READONLY | AUTH => (ErrorKind::Unavailable, "the file cannot be written"),
        NOMEM => (ErrorKind::Unavailable, "out of memory"),
        TOOBIG => (ErrorKind::Invalid, "a text is too large for SQLite"),
        _ => (ErrorKind::Internal, "SQLite refused a statement"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_meaning_in_each_phase() {
        let cases = [
            (FULL, Phase::Write, ErrorKind::Full),
            (FULL, Phase::Commit, ErrorKind::Full),
            (BUSY, Phase::Write, ErrorKind::Unavailable),
            (BUSY | (2 << 8), Phase::Commit, ErrorKind::Unavailable),
            (IOERR, Phase::Read, ErrorKind::Unavailable),
            (IOERR | (4 << 8), Phase::Write, ErrorKind::Unavailable),
            (IOERR | (4 << 8), Phase::Commit, ErrorKind::OutcomeUnknown),
            (IOERR_CORRUPTFS, Phase::Read, ErrorKind::Corrupt),
            (CORRUPT, Phase::Commit, ErrorKind::Corrupt),
            (NOTADB, Phase::Read, ErrorKind::Corrupt),
            (CANTOPEN, Phase::Read, ErrorKind::Unavailable),
            (TOOBIG, Phase::Write, ErrorKind::Invalid),
            (CONSTRAINT | (8 << 8), Phase::Write, ErrorKind::Internal),
        ];
        for (code, phase, kind) in cases {
            assert_eq!(meaning(Some(code), phase).0, kind, "{code} {phase:?}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_only_a_commit_unknown() {
        assert_eq!(meaning(None, Phase::Commit).0, ErrorKind::OutcomeUnknown);
        assert_eq!(meaning(None, Phase::Write).0, ErrorKind::Unavailable);
    }

    #[test]
    fn the_cause_is_kept() {
        let error = Fault::Sql(sqlx::Error::WorkerCrashed).into_error("publish", Phase::Write);
        assert!(std::error::Error::source(&error).is_some());
    }
}
