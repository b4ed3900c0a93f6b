//! The store: how do the two ports meet the server?

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aiflow_core::bus::{EVENTS_PAGE_MAX, EventBus, EventPage, Head};
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::id::{Offset, random_id};
use aiflow_core::search::Search;
use aiflow_core::store::{
    Batch, Capabilities, Lease, MetaStore, PAGE_ROWS_MAX, Page, PageToken, Query, Receipt, Record, RecordKey, Relation,
    RelationQuery,
};
use aiflow_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use redis::Value;

use crate::answer::Answer;
use crate::batch;
use crate::calls::{Calls, Script, Scripts};
use crate::error::{Phase, convert, odd_answer};
use crate::keys::{FORMAT, Keys};
use crate::link::Address;
use crate::listen::Listener;
use crate::options::{RedisOptions, parse_url};
use crate::query::{self, RecordsQuestion, RelationsQuestion};
use crate::row;
use crate::signal::Signal;

/// Events that a read with a filter looks at, at least.
const SCAN_EVENTS: usize = 1_000;
/// Events for which a page has room from the beginning.
const PAGE_ROOM: usize = 1_024;
/// The longest name of a lease, and of its holder.
const LEASE_BYTES_MAX: usize = 256;
/// The longest life of a lease: what scripts can count.
const LEASE_MILLIS_MAX: u64 = 1 << 52;

/// Store and event log on one Redis.
///
/// Cloning is cheap and shares everything. Dropping the last clone closes the connections without waiting; [`close`](MetaStore::close) waits
/// for the calls under way. Any number of processes on any number of hosts may open the same store.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    address: Address,
    calls: Arc<Calls>,
    signal: Arc<Signal>,
    listener: Listener,
}

impl RedisStore {
    /// Opens the store at `url`, an address such as `redis://user:password@host:6379/0` without options, and founds it if there is none.
    ///
    /// The server is asked what it is, now and whenever a connection is made anew: its version, whether it may throw keys away, whether it is a
    /// primary, and how it keeps what it acknowledges. From the last follows the durability in [`capabilities`](MetaStore::capabilities), which
    /// falls if the server is found to do less later on, and still as much as the options ask. The
    /// user needs the keys `{prefix}:*`, the commands of hashes, sorted sets and streams, `EVALSHA`, `SCRIPT LOAD`, `TIME` and `EXISTS`;
    /// where `INFO` and `CONFIG GET` are not allowed to it, the options are believed.
    ///
    /// # Errors
    /// `Invalid`: the address or an option, or the server refuses the user. `Unavailable`: the server cannot be reached, or is a replica.
    /// `Unsupported`: it is too old, may throw keys away, or keeps data less well than the options ask. `Corrupt`: the keys are another
    /// application's, or of a newer release; nothing was changed.
    pub async fn open(url: &str, options: RedisOptions) -> Result<Self> {
        options.check()?;
        let address = Address::new(url, &options)?;
        let mut conn = address.connect().await?;
        let scripts = Scripts::load(&mut conn, "open").await?;
        let keys = Keys::new(&options.prefix);
        let mut cmd = scripts.call(Script::Open, &keys);
        let answer = cmd.arg(FORMAT).arg(random_id()).query_async::<Value>(&mut conn).await;
        let answer = answer.map_err(|fault| convert(fault, "open", Phase::Connect))?;
        let (store_id, last, next_place) = introduce(Answer::new(answer, "open")?)
            .map_err(|error| error.with("server", address.shown()).with("prefix", &options.prefix))?;
        Ok(Self(Arc::new(Inner {
            calls: Arc::new(Calls::new(&address, keys, store_id, scripts, (last, next_place))),
            signal: Arc::new(Signal::new(last)),
            listener: Listener::default(),
            address,
        })))
    }

    /// Opens by URL: `redis://user:password@host:6379/0?prefix=wine&persistence=always`, or `rediss://` with TLS.
    ///
    /// Options follow a question mark, by the names of the fields of [`RedisOptions`] in JSON.
    ///
    /// # Errors
    /// `Invalid` for a URL that is not understood; otherwise as [`open`](Self::open).
    pub async fn open_url(url: &str) -> Result<Self> {
        let (address, options) = parse_url(url)?;
        Self::open(address, options).await
    }

    /// Runs the script that changes records and appends events.
    async fn write(&self, operation: &'static str, phase: Phase, batch: &Batch) -> Result<Vec<Offset>> {
        let args = batch::pack(batch, self.0.calls.next_place())?;
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let (tag, mut answer) = self.0.calls.run(Script::Commit, operation, phase, &args).await?;
        match tag.as_str() {
            "OK" => {
                self.0.signal.reached(self.0.calls.seen());
                self.0.calls.reached_place(answer.number()?);
                offsets(answer, batch.events.len())
            }
            "FENCED" => {
                let (lease, epoch) = batch.fence.as_ref().map_or(("", 0), |fence| (&fence.lease, fence.epoch));
                Err(Error::new(ErrorKind::Fenced, operation, "somebody else leads by now")
                    .with("lease", lease)
                    .with("epoch", epoch)
                    .with("found", answer.number()?))
            }
            "CONFLICT" => {
                let expect = batch.expect.get(index(&mut answer)?).ok_or_else(|| odd_answer(operation))?;
                Err(row::conflict(&expect.key, expect.revision, answer.number()?))
            }
            "EXISTS" => {
                let event = batch.events.get(index(&mut answer)?).ok_or_else(|| odd_answer(operation))?;
                let message = "an event with this id and other content is in the log";
                Err(Error::new(ErrorKind::AlreadyExists, operation, message)
                    .with("id", event.id.escape_default())
                    .with("offset", answer.number()?))
            }
            _ => Err(odd_answer(operation)),
        }
    }

    pub(crate) fn calls(&self) -> &Calls {
        &self.0.calls
    }

    /// The first records behind a place, each with its own.
    pub(crate) async fn walk(
        &self,
        question: &RecordsQuestion<'_>,
        mut after: Option<String>,
        rows: usize,
    ) -> Result<Vec<(String, Record)>> {
        let mut found: Vec<(String, Record)> = Vec::new();
        loop {
            let args = question.pack(after.as_deref(), rows.saturating_sub(found.len()));
            let (_, mut answer) = self.0.calls.run(Script::Query, "query", Phase::Repeatable, &[&args]).await?;
            let position = answer.text()?;
            let mut answered = answer.list()?;
            while answered.len() > 0 {
                let place = answered.text()?;
                let field = answered.text()?;
                let stored = answered.bytes()?.ok_or_else(|| odd_answer("query"))?;
                found.push((place, row::record_of("query", &field, &stored)?));
            }
            if position.is_empty() || found.len() >= rows {
                return Ok(found);
            }
            // The script has looked at much and found little: others come first, then it goes on.
            after = Some(position);
        }
    }

    fn described(&self) -> Capabilities {
        let log = format!("redis:{}", self.0.calls.store_id());
        Capabilities::new(self.0.address.found().durability(), log).several_processes()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("server", &self.0.address)
            .field("persistence", &self.0.address.found())
            .finish_non_exhaustive()
    }
}

/// The id of the store, the end of its log, and the place of the next new record.
fn introduce(mut answer: Answer) -> Result<(String, Offset, u64)> {
    if answer.text()? != "OK" {
        let message = "the keys belong to another application; they were not changed";
        return Err(Error::new(ErrorKind::Corrupt, "open", message));
    }
    let format = answer.text()?;
    match format.parse::<u32>() {
        Ok(FORMAT) => Ok((answer.text()?, Offset(answer.number()?), answer.number()?)),
        Ok(newer) if newer > FORMAT => {
            let message = "the store was written by a newer release of this library; it was not changed";
            Err(Error::new(ErrorKind::Corrupt, "open", message).with("format", newer).with("newest known", FORMAT))
        }
        _ => {
            let message = "the keys belong to another application; they were not changed";
            Err(Error::new(ErrorKind::Corrupt, "open", message).with("format", format.escape_default()))
        }
    }
}

fn index(answer: &mut Answer) -> Result<usize> {
    Ok(usize::try_from(answer.number()?).unwrap_or(usize::MAX))
}

/// The offsets of the events of a batch: each, or the first of all in a row.
fn offsets(mut answer: Answer, count: usize) -> Result<Vec<Offset>> {
    let first = answer.number()?;
    if answer.len() == 0 {
        return Ok((first..).take(count).map(Offset).collect());
    }
    let mut each = answer.list()?;
    (0..each.len()).map(|_| each.number().map(Offset)).collect()
}

fn check_lease(name: &str, holder: &str) -> Result<()> {
    let is_fit = |text: &str| (1..=LEASE_BYTES_MAX).contains(&text.len());
    if is_fit(name) && is_fit(holder) {
        return Ok(());
    }
    let message = format!("a lease needs a name and a holder of 1 to {LEASE_BYTES_MAX} bytes");
    Err(Error::invalid("acquire", message).with("lease", name.escape_default()))
}

#[async_trait]
impl MetaStore for RedisStore {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        if keys.len() > PAGE_ROWS_MAX {
            return Err(Error::invalid("get", format!("at most {PAGE_ROWS_MAX} keys may be asked for")));
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let fields: Vec<String> = keys.iter().map(row::field).collect();
        let key = self.0.calls.keys().data();
        let seen = self.0.calls.read("get", |pipe| {
            pipe.cmd("HMGET").arg(key).arg(&fields);
        });
        let mut values = seen.await?.answers.list()?;
        let read = |key: &RecordKey| match values.bytes()? {
            Some(stored) => row::record("get", key.clone(), &stored).map(Some),
            None => Ok(None),
        };
        keys.iter().map(read).collect()
    }

    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        let question = RecordsQuestion::new(query)?;
        let after = query.after.as_ref().map(query::place_of).transpose()?.map(str::to_owned);
        let limit = query.page_rows();
        let mut found = self.walk(&question, after, limit + 1).await?;
        let is_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| is_more).map(|(place, _)| PageToken(place.clone()));
        Ok(Page { items: found.into_iter().map(|(_, record)| record).collect(), next })
    }

    async fn search(&self, search: &Search) -> Result<Page<Record>> {
        self.find(search).await
    }

    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        let question = RelationsQuestion::new(query)?;
        let mut after = query.after.as_ref().map(|token| question.entry_of(token)).transpose()?.map(str::to_owned);
        let limit = query.page_rows();
        let mut found: Vec<String> = Vec::new();
        while let Some(args) = question.pack(after.as_deref(), limit + 1 - found.len()) {
            let (_, mut answer) = self.0.calls.run(Script::Relations, "relations", Phase::Repeatable, &[&args]).await?;
            let position = answer.text()?;
            let mut entries = answer.list()?;
            for _ in 0..entries.len() {
                found.push(entries.text()?);
            }
            if position.is_empty() || found.len() > limit {
                break;
            }
            after = Some(position);
        }
        let is_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| is_more).map(|entry| PageToken(entry.clone()));
        Ok(Page { items: found.iter().map(|entry| row::relation(entry)).collect::<Result<_>>()?, next })
    }

    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        batch.check()?;
        let offsets = self.write("commit", Phase::Commit, &batch).await?;
        Ok(Receipt { offsets })
    }

    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        check_lease(name, holder)?;
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).min(LEASE_MILLIS_MAX).to_string();
        let args = ["acquire", name, holder, &millis].map(str::as_bytes);
        let (_, mut answer) = self.0.calls.run(Script::Lease, "acquire", Phase::Repeatable, &args).await?;
        let epoch = answer.number()?;
        Ok((epoch > 0).then(|| Lease { name: name.to_owned(), holder: holder.to_owned(), epoch }))
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let epoch = lease.epoch.to_string();
        let args = ["release", &lease.name, &lease.holder, &epoch].map(str::as_bytes);
        self.0.calls.run(Script::Lease, "release", Phase::Repeatable, &args).await.map(|_| ())
    }

    fn capabilities(&self) -> Capabilities {
        self.described()
    }

    async fn close(&self) -> Result<()> {
        self.0.calls.close().await?;
        self.0.listener.end();
        self.0.signal.close();
        Ok(())
    }
}

#[async_trait]
impl EventBus for RedisStore {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        if events.len() > EVENTS_PAGE_MAX {
            return Err(Error::invalid(
                "publish",
                format!("at most {EVENTS_PAGE_MAX} events may be published at once"),
            ));
        }
        if events.is_empty() {
            return Ok(Vec::new());
        }
        events.iter().try_for_each(NewEvent::check)?;
        let batch = Batch { events, ..Batch::default() };
        match self.write("publish", Phase::Commit, &batch).await {
            // Their ids make the repetition harmless, and its answer is the one that was lost.
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                self.write("publish", Phase::Commit, &batch).await.map_err(|again| match again.kind() {
                    ErrorKind::Unavailable | ErrorKind::Full => error,
                    _ => again,
                })
            }
            done => done,
        }
    }

    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        let max = max.clamp(1, EVENTS_PAGE_MAX);
        let room = if *filter == EventFilter::default() { max } else { max.max(SCAN_EVENTS) };
        let end = Offset(after.0.saturating_add(u64::try_from(room).unwrap_or(u64::MAX)));
        let log = self.0.calls.keys().log();
        let seen = self.0.calls.read("read", |pipe| {
            // Entries are named by their last event: those that end in the page, and the one that may begin in it.
            pipe.cmd("XRANGE").arg(log).arg(after.next().0).arg(end.0);
            pipe.cmd("XRANGE").arg(log).arg(end.next().0).arg("+").arg("COUNT").arg(1);
        });
        let mut seen = seen.await?;
        self.0.signal.reached(seen.last);
        if after < seen.trimmed {
            let message = "events after this offset were trimmed; read on from where the log begins";
            return Err(Error::not_found("read", message).with("after", after).with("trimmed", seen.trimmed));
        }
        let mut events = Vec::with_capacity(max.min(PAGE_ROOM));
        // Offsets have no gaps, and the end was looked at before the log was.
        let mut covered = seen.last.min(end).max(after);
        let parts = [seen.answers.list()?, seen.answers.list()?];
        'page: for mut some in parts {
            while some.len() > 0 {
                let entry = row::entry(some.list()?)?;
                for event in entry.events(after, end) {
                    let event = event?;
                    covered = covered.max(event.offset);
                    if filter.matches(&event) {
                        events.push(Arc::new(event));
                    }
                    if let (true, Some(last)) = (events.len() == max, events.last()) {
                        covered = last.offset;
                        break 'page;
                    }
                }
            }
        }
        Ok(EventPage { events, covered })
    }

    async fn head(&self) -> Result<Head> {
        let seen = self.0.calls.read("head", |_| {}).await?;
        self.0.signal.reached(seen.last);
        Ok(Head { last: seen.last, trimmed: seen.trimmed })
    }

    async fn wait(&self, after: Offset) -> Result<()> {
        if self.0.signal.last() <= after {
            self.0.listener.begin(&self.0.address, &self.0.calls, &self.0.signal);
        }
        self.0.signal.beyond(after).await
    }

    async fn trim(&self, through: Offset) -> Result<()> {
        let through = through.0.min(LEASE_MILLIS_MAX).to_string();
        loop {
            let args = [through.as_bytes()];
            let (_, mut answer) = self.0.calls.run(Script::Trim, "trim", Phase::Repeatable, &args).await?;
            if answer.number()? == 0 {
                return Ok(());
            }
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.described()
    }
}
