//! The port for stored state: what must a backend keep, and how atomically?

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::event::NewEvent;
use crate::id::Offset;
use crate::json::Json;
use crate::search::{self, Search};
use crate::time::Timestamp;

/// The most rows a page may hold, and the most keys a `get` may name.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// The most parents that a query names, and the most ends that a query of relations does.
pub const QUERY_PARENTS_MAX: usize = 100;
/// The most puts, deletes, expectations, relations and events a batch may hold together.
pub const BATCH_ITEMS_MAX: usize = 100_000;
/// The largest record body, in bytes of JSON.
pub const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Keeps records and relations, appends events with them atomically, and says who leads.
///
/// # Parties
/// *Backends* implement these methods, all but one of them by themselves, and know nothing of scheduling or of models. *Core* builds everything else on them: the
/// typed metadata API, the scheduler's state, the conveniences. *Wrappers* (fault injection, metrics) are backends too and pass the same
/// conformance suite.
///
/// # Contract
/// 1. **Atomic.** A [`Batch`] takes effect wholly or not at all, also when the process dies in the middle.
/// 2. **Checked first.** If the fence or any expectation does not hold, nothing changes, and the error is `Fenced` or `Conflict`.
/// 3. **Durable.** When `commit` returns `Ok`, its effects have the durability that [`Capabilities::durability`] declares.
/// 4. **Visible.** A read that begins after `commit` returned sees its effects.
/// 5. **Isolated.** No read sees a part of a batch.
/// 6. **Revisions.** A record's revision is 1 when it is first put and rises by 1 with each put; a deleted record that is put again
///    starts at 1 again. The first put of a record takes revision and moments from its [stamp](RecordPut::stamp), if it has one, and counting goes on from
///    there.
/// 7. **Order.** A query returns records in the order in which they were first put, or the reverse; a put of an existing record keeps its
///    place. Pages are keyset pages: a record that exists throughout is returned exactly once, whatever else is written meanwhile.
/// 8. **Leases.** The epoch of a lease rises by at least 1 whenever the holder changes; two holders never share an epoch. A lease is granted
///    while nobody holds it, after it ran out, or to the holder itself (which keeps the epoch).
/// 9. **Cancel safety.** Dropping a future of this trait leaves the request either done or not done, never half; a dropped `commit` is
///    a commit with unknown outcome.
///
/// Cloning a handle (`Arc`) never copies data. Dropping the last handle releases resources without waiting; call
/// [`close`](MetaStore::close) to wait.
///
/// # Errors
/// `Unavailable` and `Full`: nothing was done, try later. `OutcomeUnknown`: read back. `Corrupt`: stop. `Closed`: the handle was closed.
#[async_trait]
pub trait MetaStore: Send + Sync + fmt::Debug {
    /// The records with these keys, in the order asked; `None` where there is none. At most [`PAGE_ROWS_MAX`] keys.
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>>;

    /// One page of the records that match `query`.
    async fn query(&self, query: &Query) -> Result<Page<Record>>;

    /// One page of the records that match `search`, in its order.
    ///
    /// A record that exists throughout with the same fields is returned exactly once over all pages. Backends without an index of their
    /// own leave this to [`search::scan`], which looks at every record of the kind and says what the answer is.
    async fn search(&self, search: &Search) -> Result<Page<Record>> {
        search::scan(self, search).await
    }

    /// One page of the relations that match `query`.
    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>>;

    /// Applies `batch` atomically and returns the offsets of its events, in their order.
    ///
    /// Events in a batch follow the rules of [`EventBus::publish`](crate::bus::EventBus::publish): an event id that is in the log already
    /// yields its first offset, and the same id with other content is `AlreadyExists`, in which case nothing changes.
    async fn commit(&self, batch: Batch) -> Result<Receipt>;

    /// Takes or renews the lease `name` for `holder`, for `ttl` from now by the store's clock. `None` while somebody else holds it.
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>>;

    /// Gives the lease up, if it is still this one; otherwise does nothing.
    async fn release(&self, lease: &Lease) -> Result<()>;

    /// What this store can do.
    fn capabilities(&self) -> Capabilities;

    /// Finishes what was accepted, then closes. Later calls return `Closed`.
    async fn close(&self) -> Result<()>;
}

/// What a store or bus can do and promises.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// What survives when an acknowledged write is followed by a crash.
    pub durability: Durability,
    /// The log to which this backend appends: a store and a bus with the same log id share one transaction.
    pub log: String,
    /// Whether other processes may open the same data at the same time.
    pub several_processes: bool,
}

impl Capabilities {
    /// Capabilities of a single-process backend that appends to `log`.
    #[must_use]
    pub fn new(durability: Durability, log: impl Into<String>) -> Self {
        Self { durability, log: log.into(), several_processes: false }
    }

    /// Declares that several processes may open the same data.
    #[must_use]
    pub fn several_processes(mut self) -> Self {
        self.several_processes = true;
        self
    }
}

/// What survives when an acknowledged write is followed by a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: the data lives in this process.
    Volatile,
    /// The crash of this process: the data lives in the memory of a server, and the crash of that may lose it.
    ClientCrash,
    /// The crash of the process; a power loss may lose the last moments.
    ProcessCrash,
    /// Power loss, if the disk honours flushes.
    PowerLoss,
}

/// Names a record: its kind and its id within the kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    /// Kind, for instance `model_version`.
    pub kind: String,
    /// Id, unique in the kind.
    pub id: String,
}

impl RecordKey {
    /// The record `id` of `kind`.
    #[must_use]
    pub fn new(kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

/// A stored record. The body is the truth; `project`, `parent`, `name`, `state` and `number` are copies by which records are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Kind and id.
    pub key: RecordKey,
    /// Project it belongs to, empty if none.
    pub project: String,
    /// Id of the record it is part of (the workflow execution of a job execution, the model of a version), empty if none.
    pub parent: String,
    /// Name for people.
    pub name: String,
    /// Life-cycle state (a status, a stage), empty if none.
    pub state: String,
    /// A number by which records of one kind and name are compared (the value of a metric), if it has one; finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<f64>,
    /// Everything, as a JSON object.
    pub body: Json,
    /// Number of puts, from 1.
    pub revision: u64,
    /// When it was first put, by the writer's clock.
    pub created: Timestamp,
    /// When it was last put, by the writer's clock.
    pub updated: Timestamp,
}

/// A record to write whole.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordPut {
    /// Kind and id.
    pub key: RecordKey,
    /// See [`Record::project`].
    pub project: String,
    /// See [`Record::parent`].
    pub parent: String,
    /// See [`Record::name`].
    pub name: String,
    /// See [`Record::state`].
    pub state: String,
    /// See [`Record::number`].
    pub number: Option<f64>,
    /// At most [`RECORD_BYTES_MAX`] bytes of JSON.
    pub body: Json,
    /// How it stood where it comes from, if it is a copy from another store. Nothing is taken from it if the record is here already.
    pub stamp: Option<RecordStamp>,
}

/// How a record stood in the store from which it is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordStamp {
    /// See [`Record::revision`].
    pub revision: u64,
    /// See [`Record::created`].
    pub created: Timestamp,
    /// See [`Record::updated`].
    pub updated: Timestamp,
}

impl RecordPut {
    /// A record without project, parent, name, state or number.
    #[must_use]
    pub fn new(key: RecordKey, body: impl Into<Json>) -> Self {
        let body = body.into();
        let (project, parent, name, state) = Default::default();
        Self { key, project, parent, name, state, number: None, body, stamp: None }
    }
}

/// A directed, typed edge between two records: lineage and membership. At most one of a `kind` between the same two records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Relation {
    /// For instance `produced`, `read`, `part_of`.
    pub kind: String,
    /// Where it starts.
    pub from: RecordKey,
    /// Where it ends.
    pub to: RecordKey,
}

/// Something that must hold for a batch to take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The record.
    pub key: RecordKey,
    /// Its revision; `None`: it does not exist.
    pub revision: Option<u64>,
}

/// The right to decide, as far as the caller knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Name of the lease.
    pub lease: String,
    /// The epoch under which the caller decided.
    pub epoch: u64,
}

/// Everything that must happen together.
///
/// # Shape
/// At most [`BATCH_ITEMS_MAX`] items. A key occurs at most once among puts and deletes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Time of the writer, kept as `created` and `updated` of the records.
    pub at: Timestamp,
    /// Takes effect only while this lease is at this epoch.
    pub fence: Option<Fence>,
    /// Takes effect only if all of these hold.
    pub expect: Vec<Expect>,
    /// Records to write.
    pub puts: Vec<RecordPut>,
    /// Records to remove; a missing one is fine.
    pub deletes: Vec<RecordKey>,
    /// Relations to add; an existing one is fine.
    pub relate: Vec<Relation>,
    /// Relations to remove; a missing one is fine.
    pub unrelate: Vec<Relation>,
    /// Events to append, in this order.
    pub events: Vec<NewEvent>,
    /// When each of the events was recorded where they come from, if they are copies from another log; empty otherwise, and then the moment is
    /// that of the commit. The time of a log never goes back: an earlier moment than that of the event before counts as that.
    pub recorded: Vec<Timestamp>,
}

impl Batch {
    /// An empty batch written at `at`.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self { at, ..Self::default() }
    }

    /// Adds an expectation: the record is at `revision`, or does not exist (`None`).
    #[must_use]
    pub fn expect(mut self, key: RecordKey, revision: Option<u64>) -> Self {
        self.expect.push(Expect { key, revision });
        self
    }

    /// Adds a record to write.
    #[must_use]
    pub fn put(mut self, put: RecordPut) -> Self {
        self.puts.push(put);
        self
    }

    /// Adds a record to remove.
    #[must_use]
    pub fn delete(mut self, key: RecordKey) -> Self {
        self.deletes.push(key);
        self
    }

    /// Adds a relation.
    #[must_use]
    pub fn relate(mut self, kind: impl Into<String>, from: RecordKey, to: RecordKey) -> Self {
        self.relate.push(Relation { kind: kind.into(), from, to });
        self
    }

    /// Adds an event.
    #[must_use]
    pub fn event(mut self, event: NewEvent) -> Self {
        self.events.push(event);
        self
    }

    /// Puts, deletes, expectations, relations and events together.
    #[must_use]
    pub fn n_items(&self) -> usize {
        let records = self.expect.len().saturating_add(self.puts.len()).saturating_add(self.deletes.len());
        let relations = self.relate.len().saturating_add(self.unrelate.len());
        records.saturating_add(relations).saturating_add(self.events.len())
    }

    /// Checks every bound, so that backends need not.
    ///
    /// # Errors
    /// `Invalid`, naming the bound or the key that occurs twice.
    pub fn check(&self) -> Result<()> {
        let items = self.n_items();
        if items > BATCH_ITEMS_MAX {
            return Err(Error::invalid(
                "commit",
                format!("batch has {items} items, at most {BATCH_ITEMS_MAX} are allowed"),
            ));
        }
        let mut seen = std::collections::BTreeSet::new();
        for key in self.puts.iter().map(|put| &put.key).chain(&self.deletes) {
            if key.kind.is_empty() || key.id.is_empty() {
                return Err(Error::invalid("commit", "a record needs a kind and an id").with("key", key));
            }
            if !seen.insert(key) {
                return Err(Error::invalid("commit", "record occurs twice in one batch").with("key", key));
            }
        }
        for put in &self.puts {
            if put.number.is_some_and(|number| !number.is_finite()) {
                return Err(Error::invalid("commit", "the number of a record must be finite").with("key", &put.key));
            }
            let body_bytes = put.body.as_str().len();
            if body_bytes > RECORD_BYTES_MAX {
                return Err(Error::invalid(
                    "commit",
                    format!("record body has {body_bytes} bytes, at most {RECORD_BYTES_MAX} are allowed"),
                )
                .with("key", &put.key));
            }
        }
        if !self.recorded.is_empty() && self.recorded.len() != self.events.len() {
            let message = format!("{} moments for {} events", self.recorded.len(), self.events.len());
            return Err(Error::invalid("commit", message));
        }
        if let Some(put) = self.puts.iter().find(|put| put.stamp.is_some_and(|stamp| stamp.revision == 0)) {
            return Err(Error::invalid("commit", "revisions begin with 1").with("key", &put.key));
        }
        self.events.iter().try_for_each(NewEvent::check)
    }
}

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Offsets of the batch's events, in their order.
    pub offsets: Vec<Offset>,
}

/// The right to decide, until it runs out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Name of the lease.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// Rises with each change of holder.
    pub epoch: u64,
}

impl Lease {
    /// The precondition that a commit under this lease carries.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence { lease: self.name.clone(), epoch: self.epoch }
    }
}

/// Which records to list. Fields that are `None` or empty do not restrict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Kind, required.
    pub kind: String,
    /// Project.
    pub project: Option<String>,
    /// Any of these parents, at most [`QUERY_PARENTS_MAX`]; all parents if empty.
    pub parents: Vec<String>,
    /// Name.
    pub name: Option<String>,
    /// Any of these states; all states if empty.
    pub states: Vec<String>,
    /// Newest first instead of oldest first.
    pub descending: bool,
    /// Where the previous page ended.
    pub after: Option<PageToken>,
    /// At most this many, and at most [`PAGE_ROWS_MAX`].
    pub limit: usize,
}

impl Query {
    /// All records of `kind`, oldest first.
    #[must_use]
    pub fn kind(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            project: None,
            parents: Vec::new(),
            name: None,
            states: Vec::new(),
            descending: false,
            after: None,
            limit: PAGE_ROWS_MAX,
        }
    }

    /// Restricts the project.
    #[must_use]
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Restricts the parent.
    #[must_use]
    pub fn parent(mut self, parent: impl Into<String>) -> Self {
        self.parents = vec![parent.into()];
        self
    }

    /// Restricts the parent to any of these. No parents are no restriction.
    #[must_use]
    pub fn parents<S: Into<String>>(mut self, parents: impl IntoIterator<Item = S>) -> Self {
        self.parents = parents.into_iter().map(Into::into).collect();
        self
    }

    /// Restricts the name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Restricts the state to any of these.
    #[must_use]
    pub fn states<S: Into<String>>(mut self, states: impl IntoIterator<Item = S>) -> Self {
        self.states = states.into_iter().map(Into::into).collect();
        self
    }

    /// Newest first.
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.descending = true;
        self
    }

    /// Continues after a page.
    #[must_use]
    pub fn after(mut self, token: Option<PageToken>) -> Self {
        self.after = token;
        self
    }

    /// At most `limit` records a page.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The page size in force.
    #[must_use]
    pub fn page_rows(&self) -> usize {
        self.limit.clamp(1, PAGE_ROWS_MAX)
    }
}

/// Which relations to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelationQuery {
    /// Kind of relation.
    pub kind: Option<String>,
    /// Those that start at any of these, at most [`QUERY_PARENTS_MAX`]; anywhere if empty.
    pub from: Vec<RecordKey>,
    /// Those that end at any of these, at most [`QUERY_PARENTS_MAX`]; anywhere if empty.
    pub to: Vec<RecordKey>,
    /// Where the previous page ended.
    pub after: Option<PageToken>,
    /// At most this many, and at most [`PAGE_ROWS_MAX`]; 0 means the maximum.
    pub limit: usize,
}

impl RelationQuery {
    /// The page size in force.
    #[must_use]
    pub fn page_rows(&self) -> usize {
        if self.limit == 0 { PAGE_ROWS_MAX } else { self.limit.min(PAGE_ROWS_MAX) }
    }
}

/// Where a page ended. Opaque outside the backend that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageToken(pub String);

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Pass it to get the next page; `None` when this was the last.
    pub next: Option<PageToken>,
}

/// Conveniences over every store; never implemented by a backend.
#[async_trait]
pub trait MetaStoreExt: MetaStore {
    /// The record with this key.
    ///
    /// # Errors
    /// Those of the store.
    async fn get_one(&self, key: &RecordKey) -> Result<Option<Record>> {
        Ok(self.get(std::slice::from_ref(key)).await?.pop().flatten())
    }

    /// All records that match, page after page.
    ///
    /// # Errors
    /// Those of the store. `Full` if there are more than `rows_max`.
    async fn query_all(&self, mut query: Query, rows_max: usize) -> Result<Vec<Record>> {
        let mut rows = Vec::new();
        loop {
            let page = self.query(&query).await?;
            rows.extend(page.items);
            if rows.len() > rows_max {
                return Err(Error::new(crate::ErrorKind::Full, "query", format!("more than {rows_max} records match"))
                    .with("kind", &query.kind));
            }
            match page.next {
                Some(token) => query.after = Some(token),
                None => return Ok(rows),
            }
        }
    }
}

impl<S: MetaStore + ?Sized> MetaStoreExt for S {}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: MetaStore + ?Sized> MetaStore for Arc<S> {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        (**self).get(keys).await
    }
    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        (**self).query(query).await
    }
    async fn search(&self, search: &Search) -> Result<Page<Record>> {
        (**self).search(search).await
    }
    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        (**self).relations(query).await
    }
    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        (**self).commit(batch).await
    }
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        (**self).acquire(name, holder, ttl).await
    }
    async fn release(&self, lease: &Lease) -> Result<()> {
        (**self).release(lease).await
    }
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
    async fn close(&self) -> Result<()> {
        (**self).close().await
    }
}
