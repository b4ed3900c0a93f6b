//! The store: how do the two ports meet the writer and the readers?

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aiflow_core::bus::{EVENTS_PAGE_MAX, EventBus, EventPage, Head};
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::search::Search;
use aiflow_core::store::{
    Batch, Capabilities, Lease, MetaStore, PAGE_ROWS_MAX, Page, Query, Receipt, Record, RecordKey, Relation,
    RelationQuery,
};
use aiflow_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use sqlx::Row;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use crate::connect::{self, Conn};
use crate::error::{Fault, Phase};
use crate::lease::{self, Locks};
use crate::options::{SqliteOptions, parse_url};
use crate::plan::{Answer, CommitWork, RelationRow, Work};
use crate::query::{self, WINDOW};
use crate::reader::Readers;
use crate::row::{self, EventRow, LogPage, RecordRow};
use crate::schema;
use crate::search;
use crate::signal::{self, Signal};
use crate::sql::{Args, Bulk};
use crate::tail::Tail;
use crate::writer::{Counters, Message, Request, Writer};

/// How often the file is looked at for events of other processes, while somebody waits.
const FOREIGN_POLL: Duration = Duration::from_millis(20);

/// Store and event log in one SQLite file.
///
/// Cloning is cheap and shares everything. Dropping the last clone ends the writer without waiting; [`close`](MetaStore::close) waits and
/// writes the log back into the file. Several processes of one host may open the same file; it must not lie on a network file system.
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    path: PathBuf,
    options: SqliteOptions,
    store_id: String,
    requests: mpsc::Sender<Message>,
    readers: Readers,
    signal: Arc<Signal>,
    tail: Arc<Tail>,
    counters: Arc<Counters>,
    /// Held by the one waiter that looks for events of other processes on behalf of all: when somebody last looked.
    lookout: Mutex<Option<Instant>>,
}

/// What a store did since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteStats {
    /// Requests that were served: publishes, commits, trims, leases.
    pub requests: u64,
    /// Transactions that they took; requests that wait at the same time share one.
    pub transactions: u64,
    /// Transactions that had to look at the file first, because what they depend on was not known or another process had written.
    pub looks: u64,
}

impl SqliteStore {
    /// Opens the file at `path`, and makes it and its folder if they are missing.
    ///
    /// # Errors
    /// `Invalid`: an option is out of bounds, or the path cannot hold a file that is written. `Corrupt`: the file is not a database, is
    /// another application's, or was written by a newer release; nothing was changed. `Unavailable`: the file is busy.
    /// `Unsupported`: SQLite is too old.
    pub async fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self> {
        let path = path.as_ref();
        options.check()?;
        connect::prepare_path(path)?;
        Self::start(path, options).await.map_err(|error| error.with("path", path.display()))
    }

    /// Opens by URL: `sqlite://relative/path.db`, `sqlite:///absolute/path.db`.
    ///
    /// Options follow a question mark, by the names of the fields of [`SqliteOptions`] in JSON:
    /// `sqlite://aiflow.db?synchronous=normal&busy_timeout_ms=2000`. A `?` or `%` in the path is written `%3F`, `%25`.
    ///
    /// # Errors
    /// `Invalid` for a URL that is not understood; otherwise as [`open`](Self::open).
    pub async fn open_url(url: &str) -> Result<Self> {
        let (path, options) = parse_url(url)?;
        Self::open(path, options).await
    }

    async fn start(path: &Path, options: SqliteOptions) -> Result<Self> {
        let mut probe = connect::probe(path, &options).await?;
        schema::identify(&mut probe).await?;
        drop(probe);
        let mut conn = connect::writer(path, &options).await?;
        schema::migrate(&mut conn).await?;
        let (store_id, last) = introduce(&mut conn).await?;
        let (requests, inbox) = mpsc::channel(options.write_queue);
        let signal = Arc::new(Signal::new(last));
        let tail = Arc::new(Tail::default());
        let counters = Arc::new(Counters::default());
        let writer = Writer {
            inbox,
            conn: Some(conn),
            known: None,
            path: path.to_owned(),
            options: options.clone(),
            locks: Locks::new(path),
            signal: Arc::clone(&signal),
            tail: Arc::clone(&tail),
            counters: Arc::clone(&counters),
        };
        tokio::spawn(writer.run());
        Ok(Self(Arc::new(Inner {
            readers: Readers::new(path.to_owned(), options.clone()),
            path: path.to_owned(),
            options,
            store_id,
            requests,
            signal,
            tail,
            counters,
            lookout: Mutex::new(None),
        })))
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> SqliteStats {
        SqliteStats {
            requests: self.0.counters.requests.load(Ordering::Relaxed),
            transactions: self.0.counters.transactions.load(Ordering::Relaxed),
            looks: self.0.counters.looks.load(Ordering::Relaxed),
        }
    }

    /// Hands work to the writer and waits for the answer. Once handed over, it is done whether somebody waits or not.
    async fn request(&self, work: Work) -> Result<Answer> {
        let operation = work.operation();
        let (reply, answer) = oneshot::channel();
        self.0.requests.send(Message::Request(Request { work, reply })).await.map_err(|_| signal::closed(operation))?;
        answer.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::OutcomeUnknown, operation, "the runtime that the store was opened in ended"))
        })
    }

    async fn log_ends(&self, operation: &'static str) -> Result<Head> {
        let statement = query::head();
        let rows = self.0.readers.rows(operation, statement.sql, statement.args).await?;
        let page = row::log_page(operation, &rows)?;
        page.map(|page| page.head).ok_or_else(|| no_header(operation))
    }

    /// Looks at the file every now and then until it holds an event beyond `after`, and tells the others.
    async fn look_out(&self, after: Offset) -> Result<()> {
        let mut looked = self.0.lookout.lock().await;
        loop {
            if let Some(looked) = *looked {
                tokio::time::sleep_until(looked + FOREIGN_POLL).await;
            }
            let head = self.log_ends("wait").await?;
            *looked = Some(Instant::now());
            self.0.signal.reached(head.last);
            if head.last > after {
                return Ok(());
            }
        }
    }

    fn described(&self) -> Capabilities {
        let log = format!("sqlite:{}", self.0.store_id);
        Capabilities::new(self.0.options.synchronous.durability(), log).several_processes()
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.0.path)
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

async fn introduce(conn: &mut Conn) -> Result<(String, Offset)> {
    const FACTS: &str = "SELECT store_id,coalesce((SELECT seq FROM sqlite_sequence WHERE name='event'),0) FROM meta";
    let read = |fault: Fault| fault.into_error("open", Phase::Read);
    let rows = conn.rows(FACTS, Args::default()).await.map_err(read)?;
    let Some(row) = rows.first() else {
        return Err(Error::new(ErrorKind::Corrupt, "open", "the file has lost its id"));
    };
    let id = row.try_get_unchecked(0).map_err(|error| read(error.into()))?;
    let last = row.try_get_unchecked(1).map_err(|error| read(error.into()))?;
    Ok((id, Offset(row::unsigned(last))))
}

fn no_header(operation: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, operation, "the file has lost its id row")
}

fn unexpected(operation: &'static str) -> Error {
    Error::new(ErrorKind::Internal, operation, "the writer gave an answer of another kind")
}

fn relation_row(relation: Relation) -> RelationRow {
    let Relation { kind, from, to } = relation;
    [kind, from.kind, from.id, to.kind, to.id].map(Into::into)
}

#[async_trait]
impl MetaStore for SqliteStore {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        self.0.signal.check("get")?;
        if keys.len() > PAGE_ROWS_MAX {
            return Err(Error::invalid("get", format!("at most {PAGE_ROWS_MAX} keys may be asked for")));
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut args = Args::default();
        for key in keys {
            args.str(&key.kind);
            args.str(&key.id);
        }
        let rows = self.0.readers.bulk_rows("get", Bulk::GetRecords, keys.len(), args).await?;
        let mut records = vec![None; keys.len()];
        for row in rows {
            if let Some(place) = records.get_mut(row::question(&row)?) {
                *place = Some(row::record("get", &row)?.1);
            }
        }
        Ok(records)
    }

    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        self.0.signal.check("query")?;
        let statement = query::records(query)?;
        let rows = self.0.readers.rows("query", statement.sql, statement.args).await?;
        let limit = query.page_rows();
        let mut items = Vec::with_capacity(rows.len().min(limit));
        let mut last = None;
        for row in rows.iter().take(limit) {
            let (seq, record) = row::record("query", row)?;
            last = Some(seq);
            items.push(record);
        }
        let next = last.filter(|_| rows.len() > limit).map(query::seq_token);
        Ok(Page { items, next })
    }

    async fn search(&self, search: &Search) -> Result<Page<Record>> {
        self.0.signal.check("search")?;
        let statement = search::page(search)?;
        let rows = self.0.readers.rows("search", statement.sql, statement.args).await?;
        let limit = search.page_rows();
        let mut items = Vec::with_capacity(rows.len().min(limit));
        for row in rows.iter().take(limit) {
            items.push(row::record("search", row)?.1);
        }
        let last = rows.get(limit.saturating_sub(1)).zip(items.last()).filter(|_| rows.len() > limit);
        let next = last.map(|(row, record)| search::token(search, row, record)).transpose()?;
        Ok(Page { items, next })
    }

    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        self.0.signal.check("relations")?;
        let statement = query::relations(query)?;
        let rows = self.0.readers.rows("relations", statement.sql, statement.args).await?;
        let limit = query.page_rows();
        let items: Vec<Relation> = rows.iter().take(limit).map(row::relation).collect::<Result<_>>()?;
        let next = items.last().filter(|_| rows.len() > limit).map(query::relation_token);
        Ok(Page { items, next })
    }

    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        self.0.signal.check("commit")?;
        batch.check()?;
        let work = CommitWork {
            at: batch.at.as_millis(),
            fence: batch.fence,
            expect: batch.expect,
            puts: RecordRow::encode_all(batch.puts),
            deletes: batch.deletes,
            relate: batch.relate.into_iter().map(relation_row).collect(),
            unrelate: batch.unrelate.into_iter().map(relation_row).collect(),
            events: EventRow::encode_batch(batch.events, &batch.recorded)?,
        };
        match self.request(Work::Commit(Box::new(work))).await? {
            Answer::Offsets(offsets) => Ok(Receipt { offsets }),
            _ => Err(unexpected("commit")),
        }
    }

    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        self.0.signal.check("acquire")?;
        lease::check(name, holder)?;
        let work = Work::Acquire { name: name.to_owned(), holder: holder.to_owned(), ttl };
        match self.request(work).await? {
            Answer::Lease(lease) => Ok(lease),
            _ => Err(unexpected("acquire")),
        }
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.0.signal.check("release")?;
        self.request(Work::Release(lease.clone())).await.map(|_| ())
    }

    fn capabilities(&self) -> Capabilities {
        self.described()
    }

    async fn close(&self) -> Result<()> {
        let (reply, ended) = oneshot::channel();
        self.0.requests.send(Message::Close(reply)).await.map_err(|_| signal::closed("close"))?;
        self.0.readers.close().await;
        ended.await.unwrap_or_else(|_| Err(signal::closed("close")))
    }
}

#[async_trait]
impl EventBus for SqliteStore {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        self.0.signal.check("publish")?;
        if events.len() > EVENTS_PAGE_MAX {
            return Err(Error::invalid(
                "publish",
                format!("at most {EVENTS_PAGE_MAX} events may be published at once"),
            ));
        }
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let work = Work::Publish(EventRow::encode_all(events)?);
        match self.request(work).await? {
            Answer::Offsets(offsets) => Ok(offsets),
            _ => Err(unexpected("publish")),
        }
    }

    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        self.0.signal.check("read")?;
        let max = max.min(EVENTS_PAGE_MAX);
        // What was told must be there: the file may already hold more than lies in memory.
        let known = self.0.signal.known();
        if let Some(page) = self.0.tail.read(after, filter, max)
            && (page.events.len() == max || page.covered >= known)
        {
            return Ok(page);
        }
        let statement = query::events(after, filter, max);
        let rows = self.0.readers.rows("read", statement.sql, statement.args).await?;
        let LogPage { head, events } = row::log_page("read", &rows)?.ok_or_else(|| no_header("read"))?;
        if after < head.trimmed {
            return Err(Error::not_found(
                "read",
                "events after this offset were trimmed; read on from where the log begins",
            )
            .with("after", after)
            .with("trimmed", head.trimmed));
        }
        let covered = if events.len() == max {
            events.last().map_or(after, |event| event.offset)
        } else if *filter == EventFilter::default() {
            head.last.max(after)
        } else {
            let looked_at = Offset(after.0.saturating_add(WINDOW));
            head.last.min(looked_at).max(after)
        };
        Ok(EventPage { events, covered })
    }

    async fn head(&self) -> Result<Head> {
        self.0.signal.check("head")?;
        let head = self.log_ends("head").await?;
        self.0.signal.reached(head.last);
        Ok(head)
    }

    async fn wait(&self, after: Offset) -> Result<()> {
        tokio::select! {
            biased;
            seen = self.0.signal.beyond(after) => seen,
            seen = self.look_out(after) => seen,
        }
    }

    async fn trim(&self, through: Offset) -> Result<()> {
        self.0.signal.check("trim")?;
        loop {
            match self.request(Work::Trim(through)).await? {
                Answer::Trimmed { more: true } => {}
                Answer::Trimmed { more: false } => return Ok(()),
                _ => return Err(unexpected("trim")),
            }
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.described()
    }
}
