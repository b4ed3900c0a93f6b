//! Connections: how is the file opened, and does SQLite really do what was asked?

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use aiflow_core::{Error, ErrorKind, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use crate::error::{Fault, Phase};
use crate::options::SqliteOptions;
use crate::schema;
use crate::sql::{Args, Bulk, Shapes, Trip};

/// The oldest SQLite that is safe: it repairs a race between checkpoints that could damage a file in WAL mode.
const SQLITE_VERSION_MIN: [u32; 3] = [3, 51, 3];
/// Prepared texts kept per connection; more than there are common shapes.
const STATEMENTS_CACHED: usize = 384;
/// Rows that the thread of a connection may be ahead of the reader.
const ROWS_BUFFERED: usize = 1_024;
/// Times a busy file is asked again while opening; each time SQLite itself waits up to the busy timeout.
const OPEN_TRIES: usize = 3;
/// Bytes to which the write-ahead log is cut back after it had to grow.
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;
/// Bytes of page cache of the write connection, in KiB.
const WRITER_CACHE_KIB: i64 = 16 * 1024;

/// One connection with its prepared statements.
pub(crate) struct Conn {
    sql: SqliteConnection,
    shapes: Shapes,
}

impl Conn {
    /// Runs a statement and drops its rows; returns the number of rows changed.
    pub(crate) async fn run(&mut self, sql: &'static str, args: Args) -> Result<u64, Fault> {
        let done = sqlx::query_with(sql, args.into_inner()).execute(&mut self.sql).await?;
        Ok(done.rows_affected())
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn rows(&mut self, sql: impl Into<Arc<str>>, args: Args) -> Result<Vec<SqliteRow>, Fault> {
        let query = sqlx::query_with(AssertSqlSafe(sql.into()), args.into_inner());
        Ok(query.fetch_all(&mut self.sql).await?)
    }

    /// Runs the statements of a trip in one round trip, and returns the number of rows changed; those after one that fails are not run.
    pub(crate) async fn trip(&mut self, trip: Trip) -> Result<u64, Fault> {
        let (sql, args) = self.shapes.trip(trip);
        let done = sqlx::query_with(AssertSqlSafe(sql), args.into_inner()).execute(&mut self.sql).await?;
        Ok(done.rows_affected())
    }

    /// Runs a query over `rows` rows.
    pub(crate) async fn bulk_rows(&mut self, bulk: Bulk, rows: usize, args: Args) -> Result<Vec<SqliteRow>, Fault> {
        let sql = self.shapes.get(bulk, rows);
        self.rows(sql, args).await
    }

    /// Runs statements without parameters, unprepared.
    pub(crate) async fn script(&mut self, sql: &str) -> Result<(), Fault> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.sql).await?;
        Ok(())
    }

    /// Closes the connection and waits for its thread.
    pub(crate) async fn close(self) -> Result<(), Fault> {
        Ok(self.sql.close().await?)
    }
}

/// Makes sure that there is a file that may be opened, without changing one that is not ours.
///
/// # Errors
/// `Invalid`: the path cannot hold a database, or may not be written. `Corrupt`: something else is there.
pub(crate) fn prepare_path(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|error| io_error("the folder cannot be made", parent, error))?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| io_error("the file cannot be opened for writing", path, error))?;
    check_header(file).map_err(|error| error.with("path", path.display()))
}

fn io_error(what: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy | io::ErrorKind::OutOfMemory => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    };
    Error::new(kind, "open", format!("{what}: {error}")).with("path", path.display()).caused_by(error)
}

/// Looks at the first bytes without SQLite, which might write to the file while opening it.
fn check_header(mut file: File) -> Result<()> {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let mut header = Vec::with_capacity(100);
    file.by_ref()
        .take(100)
        .read_to_end(&mut header)
        .map_err(|error| Error::new(ErrorKind::Unavailable, "open", "the file cannot be read").caused_by(error))?;
    if header.is_empty() {
        return Ok(());
    }
    if !header.starts_with(MAGIC) || header.len() < 100 {
        return Err(Error::new(ErrorKind::Corrupt, "open", "the file is not a SQLite database; it was not changed"));
    }
    let id = header
        .get(68..72)
        .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
        .map_or(0, |bytes| i64::from(i32::from_be_bytes(bytes)));
    // 0 is judged by SQLite: the file may be a new one of ours whose first pages are still in the write-ahead log.
    if id == 0 || id == schema::APPLICATION_ID { Ok(()) } else { Err(schema::foreign()) }
}

/// Opens only to look: no setting of this connection is written to the file.
pub(crate) async fn probe(path: &Path, options: &SqliteOptions) -> Result<Conn> {
    open(common(path, options).read_only(true)).await
}

/// Opens the one write connection.
pub(crate) async fn writer(path: &Path, options: &SqliteOptions) -> Result<Conn> {
    let mut connect = common(path, options)
        .pragma("journal_mode", "wal")
        .pragma("synchronous", options.synchronous.pragma().to_string())
        .pragma("wal_autocheckpoint", options.checkpoint_pages.to_string())
        .pragma("journal_size_limit", WAL_BYTES_KEPT.to_string())
        .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"));
    if let Some(pages) = options.pages_max() {
        // Not read back: a file that is larger already keeps its size as its limit.
        connect = connect.pragma("max_page_count", pages.to_string());
    }
    let mut conn = open(connect).await?;
    check_version(&mut conn).await?;
    let pages = i64::from(options.checkpoint_pages);
    verify(
        &mut conn,
        options,
        &[("synchronous", options.synchronous.pragma()), ("wal_autocheckpoint", pages), ("query_only", 0)],
    )
    .await?;
    Ok(conn)
}

/// Opens a connection that cannot write.
pub(crate) async fn reader(path: &Path, options: &SqliteOptions) -> Result<Conn> {
    let connect = common(path, options)
        .pragma("wal_autocheckpoint", "0")
        .pragma("query_only", "1")
        .row_buffer_size(ROWS_BUFFERED);
    let mut conn = open(connect).await?;
    verify(&mut conn, options, &[("wal_autocheckpoint", 0), ("query_only", 1)]).await?;
    Ok(conn)
}

fn common(path: &Path, options: &SqliteOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(options.busy_timeout)
        .foreign_keys(true)
        .pragma("trusted_schema", "0")
        .pragma("cell_size_check", "1")
        .pragma("mmap_size", "0")
        .statement_cache_capacity(STATEMENTS_CACHED)
        .thread_name(|id| format!("aiflow-sqlite-{id}"))
        .disable_statement_logging()
}

/// Switching to WAL does not wait for locks, so that several processes that create one file at once need more than one try.
async fn open(connect: SqliteConnectOptions) -> Result<Conn> {
    let mut tries = 1;
    loop {
        match connect.connect().await.map_err(Fault::from) {
            Ok(sql) => {
                return Ok(Conn { sql, shapes: Shapes::default() });
            }
            Err(fault) if fault.is_busy() && tries < OPEN_TRIES => {
                tries += 1;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            Err(fault) => return Err(fault.into_error("open", Phase::Read)),
        }
    }
}

async fn check_version(conn: &mut Conn) -> Result<()> {
    let text: String = scalar(conn, "SELECT sqlite_version()").await?;
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    let version: [u32; 3] = std::array::from_fn(|_| parts.next().unwrap_or(0));
    if version >= SQLITE_VERSION_MIN {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "open", "this SQLite can damage files in WAL mode; link 3.51.3 or newer")
        .with("version", text))
}

/// Reads every setting back: SQLite ignores a PRAGMA that it does not understand.
async fn verify(conn: &mut Conn, options: &SqliteOptions, more: &[(&'static str, i64)]) -> Result<()> {
    let mode: String = scalar(conn, "PRAGMA journal_mode").await?;
    if mode != "wal" {
        return Err(mismatch("journal_mode", "wal", &mode));
    }
    let busy = i64::try_from(options.busy_timeout.as_millis()).unwrap_or(i64::MAX);
    let always =
        [("foreign_keys", 1), ("busy_timeout", busy), ("trusted_schema", 0), ("cell_size_check", 1), ("mmap_size", 0)];
    for (name, expected) in always.iter().chain(more) {
        let found: i64 = scalar(conn, &format!("PRAGMA {name}")).await?;
        if found != *expected {
            return Err(mismatch(name, &expected.to_string(), &found.to_string()));
        }
    }
    Ok(())
}

fn mismatch(name: &str, expected: &str, found: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "open", "SQLite did not take a setting")
        .with("pragma", name)
        .with("expected", expected)
        .with("found", found)
}

async fn scalar<T>(conn: &mut Conn, sql: &str) -> Result<T>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    let found = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut conn.sql).await.and_then(|row| row.try_get_unchecked(0));
    found.map_err(|error| Fault::from(error).into_error("open", Phase::Read))
}
