//! The floor of durable writes: prepared statements of SQLite itself, same file layout, same settings, nothing around it.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use aiflow::event::NewEvent;
use aiflow::sqlite::{SqliteOptions, SqliteStore};
use aiflow::store::MetaStore as _;
use rusqlite::{Connection, params};

const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";
const INSERT_EVENT: &str = "INSERT INTO event(recorded,id,namespace,key,event_type,sender,value) VALUES(?,?,?,?,?,?,?)";
const INSERT_RECORD: &str = "INSERT INTO record(kind,id,project,parent,name,state,revision,created,updated,body) \
    VALUES(?,?,'bench','4711.0','a',?,1,?,?,?)";
const INSERT_RELATION: &str = "INSERT INTO relation(kind,from_kind,from_id,to_kind,to_id) VALUES(?,?,?,?,?)";
const UPDATE_RECORD: &str = "UPDATE record SET state=?,revision=revision+1,updated=?,body=? WHERE seq=?";
/// A moment like any other.
const NOW: i64 = 1_790_000_000_000;
/// The most waiting events that the group-committing thread takes into one transaction.
const GROUP_MAX: usize = 1_024;

pub(crate) struct Raw(Connection);

/// The columns of an event, as they are stored.
pub(crate) type Row = [String; 6];

pub(crate) fn row(event: &NewEvent) -> Row {
    let NewEvent { id, namespace, key, event_type, sender, value, .. } = event.clone();
    [id, namespace, key, event_type, sender, value.to_string()]
}

/// What transactions are to write: how many of each, and how large.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Volume {
    pub(crate) transactions: usize,
    pub(crate) events: usize,
    pub(crate) event_bytes: usize,
    pub(crate) inserts: usize,
    pub(crate) updates: usize,
    pub(crate) body_bytes: usize,
}

impl Raw {
    /// A new file with the tables and indexes of the store, and its settings.
    pub(crate) async fn create(path: &Path) -> Self {
        let store = SqliteStore::open(path, SqliteOptions::default()).await.unwrap();
        store.close().await.unwrap();
        Self::open(path)
    }

    pub(crate) fn open(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        let pages = SqliteOptions::default().checkpoint_pages;
        let settings = format!(
            "PRAGMA journal_mode=wal; PRAGMA synchronous=full; PRAGMA wal_autocheckpoint={pages}; PRAGMA cache_size=-16384; \
             PRAGMA foreign_keys=1; PRAGMA trusted_schema=0; PRAGMA cell_size_check=1; PRAGMA mmap_size=0"
        );
        connection.execute_batch(&settings).unwrap();
        connection.set_prepared_statement_cache_capacity(16);
        Self(connection)
    }

    /// Appends events in one transaction.
    pub(crate) fn append(&self, rows: &[Row]) {
        self.run(BEGIN);
        let mut insert = self.0.prepare_cached(INSERT_EVENT).unwrap();
        for [id, namespace, key, event_type, sender, value] in rows {
            let done = insert.execute(params![NOW, id, namespace, key, event_type, sender, value]);
            done.unwrap();
        }
        self.run(COMMIT);
    }

    /// The two records that each decision changes.
    pub(crate) fn begin_decisions(&self) {
        for kind in ["cursor", "workflow"] {
            let mut insert = self.0.prepare_cached(INSERT_RECORD).unwrap();
            insert.execute(params![kind, "bench", "ENABLED", NOW, NOW, "\"\""]).unwrap();
        }
    }

    /// Writes what a decision writes that starts an execution of one job: an event, three records, a relation, and changes of two records.
    /// `id` is the id of the event that leads to it.
    pub(crate) fn decide(&self, id: &str) {
        let body = format!("\"{}\"", "v".repeat(200));
        self.run(BEGIN);
        let event =
            params![NOW, format!("aiflow:{id}"), "bench", "noop", "WORKFLOW_STATUS_CHANGED", "noop", "\"RUNNING\""];
        self.0.prepare_cached(INSERT_EVENT).unwrap().execute(event).unwrap();
        for seq in [1, 2] {
            self.0.prepare_cached(UPDATE_RECORD).unwrap().execute(params!["ENABLED", NOW, body, seq]).unwrap();
        }
        for (kind, state) in [("workflow_execution", "RUNNING"), ("job_state", "LIVE"), ("job_execution", "QUEUED")] {
            let mut insert = self.0.prepare_cached(INSERT_RECORD).unwrap();
            insert.execute(params![kind, id, state, NOW, NOW, body]).unwrap();
        }
        let relation = params!["triggered_by", "workflow_execution", id, "event", id];
        self.0.prepare_cached(INSERT_RELATION).unwrap().execute(relation).unwrap();
        self.run(COMMIT);
    }

    /// Writes as many rows of the same mean size in as many transactions, and returns how long it took.
    pub(crate) fn replay(&self, volume: Volume) -> Duration {
        let text = |bytes: usize| format!("\"{}\"", "v".repeat(bytes.saturating_sub(2)));
        let (value, body) = (text(volume.event_bytes), text(volume.body_bytes));
        let begun = Instant::now();
        let (mut n_events, mut n_inserts, mut n_updates) = (0, 0, 0);
        for n in 1..=volume.transactions {
            let share = |all: usize| all * n / volume.transactions;
            self.run(BEGIN);
            let mut event = self.0.prepare_cached(INSERT_EVENT).unwrap();
            for id in n_events..share(volume.events) {
                let id = format!("aiflow:event-{id}");
                event.execute(params![NOW, id, "bench", "noop/a", "JOB_STATUS_CHANGED", "a", value]).unwrap();
            }
            let mut insert = self.0.prepare_cached(INSERT_RECORD).unwrap();
            for id in n_inserts..share(volume.inserts) {
                insert.execute(params!["job_execution", format!("{id}.0"), "QUEUED", NOW, NOW, body]).unwrap();
            }
            (n_events, n_inserts) = (share(volume.events), share(volume.inserts));
            let mut update = self.0.prepare_cached(UPDATE_RECORD).unwrap();
            for turn in n_updates..share(volume.updates) {
                let seq = i64::try_from(turn % n_inserts.max(1) + 1).unwrap();
                update.execute(params!["SUCCEEDED", NOW, body, seq]).unwrap();
            }
            n_updates = share(volume.updates);
            self.run(COMMIT);
        }
        begun.elapsed()
    }

    /// What `transactions` have written into this file: rows, changes of rows, and their mean sizes.
    pub(crate) fn volume(&self, transactions: usize) -> Volume {
        let ask = |sql: &str| -> [usize; 3] {
            let read = |row: &rusqlite::Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?]);
            let counts: [i64; 3] = self.0.query_row(sql, [], read).unwrap();
            counts.map(|count| usize::try_from(count).unwrap())
        };
        let [events, event_bytes, _] = ask("SELECT count(*),CAST(avg(length(value)) AS INTEGER),0 FROM event");
        let [inserts, puts, body_bytes] =
            ask("SELECT count(*),sum(revision),CAST(avg(length(body)) AS INTEGER) FROM record");
        Volume { transactions, events, event_bytes, inserts, updates: puts - inserts, body_bytes }
    }

    /// Reads the bodies of all records of a kind.
    pub(crate) fn bodies(&self, kind: &str) -> Vec<String> {
        let mut select = self.0.prepare("SELECT body FROM record WHERE kind=? ORDER BY seq").unwrap();
        let rows = select.query_map([kind], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn run(&self, sql: &str) {
        self.0.prepare_cached(sql).unwrap().execute([]).unwrap();
    }
}

/// Group commit by one thread: each of `publishers` threads appends one of its rows, waits until it is durable, and goes on.
pub(crate) fn group_commit(raw: Raw, rows: Vec<Vec<Row>>) -> (Raw, Duration) {
    let (sender, receiver) = mpsc::channel::<(Row, mpsc::Sender<()>)>();
    let writer = std::thread::spawn(move || {
        while let Ok(first) = receiver.recv() {
            let group = std::iter::once(first).chain(receiver.try_iter().take(GROUP_MAX - 1));
            let (rows, replies): (Vec<Row>, Vec<mpsc::Sender<()>>) = group.unzip();
            raw.append(&rows);
            replies.iter().for_each(|reply| reply.send(()).unwrap());
        }
        raw
    });
    let begun = Instant::now();
    let publishers: Vec<_> = rows
        .into_iter()
        .map(|rows| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let (reply, answer) = mpsc::channel();
                for row in rows {
                    sender.send((row, reply.clone())).unwrap();
                    answer.recv().unwrap();
                }
            })
        })
        .collect();
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    let elapsed = begun.elapsed();
    drop(sender);
    (writer.join().unwrap(), elapsed)
}
