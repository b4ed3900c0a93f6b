//! The schema: is this file ours, which version is it, and how does it become the current one?

use aiflow_core::{Error, ErrorKind, Result};
use sqlx::Row;

use crate::connect::Conn;
use crate::error::{Fault, Phase};
use crate::sql::Args;

/// "AIfl": marks a SQLite file as one of ours.
pub(crate) const APPLICATION_ID: i64 = 0x4149_666c;

/// The schema of this release: the number of migrations.
pub(crate) const VERSION: i64 = 4;

/// Each brings the schema from its index to the next version. Released ones are never edited.
const MIGRATIONS: [&str; 4] = [
    include_str!("migrations/0001_tables.sql"),
    include_str!("migrations/0002_views.sql"),
    include_str!("migrations/0003_values.sql"),
    include_str!("migrations/0004_more_views.sql"),
];
const _: () = assert!(MIGRATIONS.len() == 4 && VERSION == 4);

/// What the file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// No tables yet.
    Empty,
    /// Ours, at this version.
    Ours(i64),
}

/// Reads what the file says about itself, without writing.
///
/// # Errors
/// `Corrupt`: another application's file, or a newer schema.
pub(crate) async fn identify(conn: &mut Conn) -> Result<Identity> {
    const FACTS: &str = "SELECT (SELECT application_id FROM pragma_application_id()), \
        (SELECT user_version FROM pragma_user_version()), (SELECT count(*) FROM sqlite_schema)";
    let rows = conn.rows(FACTS, Args::default()).await.map_err(|fault| fault.into_error("open", Phase::Read))?;
    let fact = |index: usize| -> Result<i64> {
        rows.first()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "open", "no answer from SQLite"))?
            .try_get(index)
            .map_err(|error| Fault::from(error).into_error("open", Phase::Read))
    };
    judge(fact(0)?, fact(1)?, fact(2)?)
}

fn judge(application_id: i64, version: i64, tables: i64) -> Result<Identity> {
    match (application_id, version) {
        (APPLICATION_ID, 1..=VERSION) => Ok(Identity::Ours(version)),
        (APPLICATION_ID, _) => Err(Error::new(
            ErrorKind::Corrupt,
            "open",
            "the file was written by a newer release of this library; it was not changed",
        )
        .with("schema", version)
        .with("newest known", VERSION)),
        (0, 0) if tables == 0 => Ok(Identity::Empty),
        _ => Err(foreign().with("application_id", application_id)),
    }
}

/// The error for another application's file.
pub(crate) fn foreign() -> Error {
    Error::new(ErrorKind::Corrupt, "open", "the file belongs to another application; it was not changed")
}

/// Brings the file to the current schema in one transaction. Several processes may do so at once.
///
/// # Errors
/// As [`identify`]; `Unavailable` or `Full` if it cannot be written.
pub(crate) async fn migrate(conn: &mut Conn) -> Result<()> {
    if identify(conn).await? == Identity::Ours(VERSION) {
        return Ok(());
    }
    let write = |fault: Fault| fault.into_error("migrate", Phase::Write);
    conn.run("BEGIN IMMEDIATE", Args::default()).await.map_err(write)?;
    let done = apply(conn).await;
    match done {
        Ok(()) => conn
            .run("COMMIT", Args::default())
            .await
            .map(|_| ())
            .map_err(|fault| fault.into_error("migrate", Phase::Commit)),
        Err(error) => {
            // The connection is dropped by the caller, which rolls back as well; the first error is the one to report.
            let _ = conn.run("ROLLBACK", Args::default()).await;
            Err(error)
        }
    }
}

async fn apply(conn: &mut Conn) -> Result<()> {
    let from = match identify(conn).await? {
        Identity::Empty => 0,
        Identity::Ours(version) => version,
    };
    let from = usize::try_from(from).unwrap_or(0);
    let write = |fault: Fault| fault.into_error("migrate", Phase::Write);
    for migration in MIGRATIONS.iter().skip(from) {
        conn.script(migration).await.map_err(write)?;
    }
    if from == 0 {
        conn.run("INSERT INTO meta (one, store_id) VALUES (1, lower(hex(randomblob(16))))", Args::default())
            .await
            .map_err(write)?;
    }
    conn.script(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"))
        .await
        .map_err(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_files_and_ours_are_accepted() {
        assert_eq!(judge(0, 0, 0).unwrap(), Identity::Empty);
        assert_eq!(judge(APPLICATION_ID, 1, 9).unwrap(), Identity::Ours(1));
        for (application, version, tables) in
            [(0, 0, 1), (0, 3, 0), (7, 0, 0), (APPLICATION_ID, VERSION + 1, 9), (APPLICATION_ID, 0, 9)]
        {
            let error = judge(application, version, tables).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
    }
}
