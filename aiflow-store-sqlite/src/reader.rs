//! Readers: a few connections that cannot write, each used for one short statement at a time.
//!
//! A read is one statement and so sees one moment of the file. Dropping a read's future is harmless: the statement ends by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use aiflow_core::Result;
use sqlx::sqlite::SqliteRow;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::connect::{self, Conn};
use crate::error::{Fault, Phase};
use crate::options::SqliteOptions;
use crate::signal;
use crate::sql::{Args, Bulk};

/// The bounded pool.
pub(crate) struct Readers {
    path: PathBuf,
    options: SqliteOptions,
    permits: Semaphore,
    idle: Mutex<Vec<Conn>>,
}

/// A connection on loan; it goes back when dropped, unless it broke.
struct Loan<'p> {
    conn: Option<Conn>,
    pool: &'p Readers,
    _permit: SemaphorePermit<'p>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.pool.idle().push(conn);
        }
    }
}

impl Readers {
    pub(crate) fn new(path: PathBuf, options: SqliteOptions) -> Self {
        Self { path, permits: Semaphore::new(options.readers), options, idle: Mutex::new(Vec::new()) }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Conn>> {
        // A list of connections is whole at every moment, also when a thread died holding it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn borrow(&self, operation: &'static str) -> Result<Loan<'_>> {
        let permit = self.permits.acquire().await;
        let permit = permit.map_err(|_| signal::closed(operation))?;
        let idle = self.idle().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => connect::reader(&self.path, &self.options).await?,
        };
        Ok(Loan { conn: Some(conn), pool: self, _permit: permit })
    }

    /// Runs a query.
    pub(crate) async fn rows(
        &self,
        operation: &'static str,
        sql: impl Into<Arc<str>>,
        args: Args,
    ) -> Result<Vec<SqliteRow>> {
        let mut loan = self.borrow(operation).await?;
        match &mut loan.conn {
            Some(conn) => {
                let done = conn.rows(sql, args).await;
                loan.settle(operation, done)
            }
            None => Ok(Vec::new()),
        }
    }

    /// Runs a query over a list of rows.
    pub(crate) async fn bulk_rows(
        &self,
        operation: &'static str,
        bulk: Bulk,
        rows: usize,
        args: Args,
    ) -> Result<Vec<SqliteRow>> {
        let mut loan = self.borrow(operation).await?;
        match &mut loan.conn {
            Some(conn) => {
                let done = conn.bulk_rows(bulk, rows, args).await;
                loan.settle(operation, done)
            }
            None => Ok(Vec::new()),
        }
    }

    /// Waits for the reads under way, then closes all connections.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(self.options.readers).unwrap_or(u32::MAX);
        // An error says that the pool was closed before.
        let _all = self.permits.acquire_many(all).await;
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        for conn in idle {
            if let Err(fault) = conn.close().await {
                tracing::debug!(%fault, "closing a read connection");
            }
        }
    }
}

impl Loan<'_> {
    fn settle(&mut self, operation: &'static str, done: Result<Vec<SqliteRow>, Fault>) -> Result<Vec<SqliteRow>> {
        done.map_err(|fault| {
            if fault.breaks_connection() {
                self.conn = None;
            }
            fault.into_error(operation, Phase::Read)
        })
    }
}
