//! The same random calls on memory, SQLite and Redis: is every answer the same?
//!
//! Not compared is what a backend is free in: moments, epochs, page tokens, the order of relations.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;
use std::time::Duration;

use aiflow_core::Result;
use aiflow_core::event::{EventFilter, Match, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::memory::MemoryStore;
use aiflow_core::search::Search;
use aiflow_core::store::{
    Batch, Fence, Lease, MetaStore as _, Query, RecordKey, RecordPut, RecordStamp, Relation, RelationQuery,
};
use aiflow_core::time::{SystemClock, Timestamp};
use aiflow_store_redis::{RedisOptions, RedisStore};
use aiflow_store_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use aiflow_testkit::Backend;
use aiflow_testkit::redis_server::RedisServer;
use aiflow_testkit::rng::{Rng, SEED_VARIABLE, test_seed};
use serde_json::{Value, json};

const SEQUENCES: u64 = 25;
const CALLS: usize = 120;

#[derive(Debug, Clone)]
enum Call {
    Commit(Batch, Option<Held>),
    Publish(Vec<NewEvent>),
    Trim(u64),
    Acquire(&'static str),
    Release(&'static str),
    Get(Vec<RecordKey>),
    Query(Query),
    Search(Search),
    Relations(RelationQuery),
    Read { after: u64, filter: EventFilter, max: usize },
    Head,
}

/// The fence of a batch: that of the newest lease, of the one before it, or of one that was never granted.
#[derive(Debug, Clone, Copy)]
enum Held {
    Newest,
    Before,
    Never,
}

/// A backend and the leases that it granted, newest last.
struct Side {
    name: &'static str,
    backend: Backend,
    granted: Vec<Lease>,
}

impl Side {
    async fn answer(&mut self, call: &Call) -> String {
        let (store, bus) = (&self.backend.store, &self.backend.bus);
        match call.clone() {
            Call::Commit(mut batch, held) => {
                batch.fence = held.map(|held| self.fence(held));
                told(store.commit(batch).await.map(|receipt| receipt.offsets))
            }
            Call::Publish(events) => told(bus.publish(events).await),
            Call::Trim(through) => told(bus.trim(Offset(through)).await),
            Call::Acquire(holder) => {
                let lease = store.acquire("leader", holder, Duration::from_secs(3_600)).await;
                if let Ok(Some(lease)) = &lease
                    && self.granted.last() != Some(lease)
                {
                    self.granted.push(lease.clone());
                }
                told(lease.map(|lease| lease.is_some()))
            }
            Call::Release(holder) => match self.granted.iter().rfind(|lease| lease.holder == holder) {
                Some(lease) => told(store.release(lease).await),
                None => String::new(),
            },
            Call::Get(keys) => told(store.get(&keys).await),
            Call::Query(mut query) => {
                let mut text = String::new();
                loop {
                    let page = store.query(&query).await;
                    query.after = page.as_ref().ok().and_then(|page| page.next.clone());
                    writeln!(text, "{}", told(page.map(|page| page.items))).unwrap();
                    if query.after.is_none() {
                        return text;
                    }
                }
            }
            Call::Search(mut search) => {
                let mut text = String::new();
                loop {
                    let page = store.search(&search).await;
                    search.after = page.as_ref().ok().and_then(|page| page.next.clone());
                    writeln!(text, "{}", told(page.map(|page| page.items))).unwrap();
                    if search.after.is_none() {
                        return text;
                    }
                }
            }
            Call::Relations(mut query) => {
                let mut found: Vec<Relation> = Vec::new();
                loop {
                    let page = store.relations(&query).await.unwrap();
                    assert!(page.items.len() <= query.limit, "{}", self.name);
                    found.extend(page.items);
                    query.after = page.next;
                    if query.after.is_none() {
                        found.sort();
                        return format!("{found:?}");
                    }
                }
            }
            Call::Read { after, filter, max } => {
                let (mut after, mut found) = (Offset(after), Vec::new());
                let last = bus.head().await.unwrap().last;
                loop {
                    let page = match bus.read(after, &filter, max).await {
                        Ok(page) => page,
                        Err(error) => return format!("{:?}", error.kind()),
                    };
                    assert!(page.events.len() <= max && page.covered >= after, "{}", self.name);
                    after = page.covered;
                    found.extend(page.events.into_iter().map(|event| (event.offset, event.body.clone())));
                    if after >= last {
                        return format!("{found:?}");
                    }
                }
            }
            Call::Head => told(bus.head().await),
        }
    }

    fn fence(&self, held: Held) -> Fence {
        let back = |n: usize| self.granted.iter().rev().nth(n).map(Lease::fence);
        let fence = match held {
            Held::Newest => back(0),
            Held::Before => back(1),
            Held::Never => None,
        };
        fence.unwrap_or(Fence { lease: "leader".to_owned(), epoch: u64::from(u32::MAX) })
    }
}

fn told<T: Debug>(answer: Result<T>) -> String {
    match answer {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// What calls are made of: few names, so that they meet.
struct Draw {
    rng: Rng,
    /// The clock of the writers, if they have one, of which they are a little apart.
    clock: Option<i64>,
}

impl Draw {
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.rng.below(choices.len() as u64)).unwrap()]
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.rng.below(one_in) == 0
    }

    fn some<T>(&mut self, max: u64, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.rng.below(max + 1)).map(|_| make(self)).collect()
    }

    fn key(&mut self) -> RecordKey {
        RecordKey::new(self.of(&["a", "ab", "ä:"]), self.of(&["1", "2", "3", "b1", "ü", "%"]))
    }

    fn value(&mut self) -> Value {
        self.of(&["null", "1", "1.0", "\"1\"", "{\"b\":[1,-0.0],\"a\":{}}", "{\"a\":{},\"b\":[1,0.0]}", "[]", "1e-310"])
            .parse()
            .unwrap()
    }

    fn text(&mut self) -> String {
        self.of(&["", "x", "xy", "x*", "ß", "0000000000000001"]).to_owned()
    }

    fn event(&mut self) -> NewEvent {
        let id = format!("e{}", self.rng.below(40));
        let mut event = NewEvent::identified(id, self.of(&["wine", "w"]), self.of(&["k", "kk"]));
        if self.is(4) {
            event.value = self.value();
        }
        if self.is(6) {
            event = event.sender(self.of(&["s", "t"])).label("l", "1").time(Timestamp::from_millis(-5));
        }
        if self.is(60) {
            event.key.clear();
        }
        event
    }

    fn put(&mut self) -> RecordPut {
        let mut put = RecordPut::new(self.key(), json!({ "n": self.rng.below(9), "v": self.value() }));
        put.project = self.text();
        put.parent = self.text();
        put.name = self.text();
        put.state = self.text();
        put.number = self.of(&[None, None, Some(0.1 + 0.2), Some(-7.0), Some(f64::MAX), Some(f64::INFINITY)]);
        if put.number == Some(f64::INFINITY) && !self.is(10) {
            put.number = None;
        }
        if self.is(8) {
            let (created, updated) = (Timestamp::from_millis(-3), Timestamp::from_millis(1 << 41));
            put.stamp = Some(RecordStamp { revision: self.rng.below(20), created, updated });
        }
        put
    }

    fn relation(&mut self) -> Relation {
        Relation { kind: self.of(&["read", "r"]).to_owned(), from: self.key(), to: self.key() }
    }

    fn batch(&mut self) -> Batch {
        let random = i64::try_from(self.rng.below(1 << 42)).unwrap();
        let at = self.clock.as_mut().map_or(random, |clock| {
            *clock += 10;
            *clock - random % 15
        });
        let mut batch = Batch::at(Timestamp::from_millis(at));
        batch.puts = self.some(4, Self::put);
        batch.deletes = self.some(2, Self::key);
        batch.relate = self.some(4, Self::relation);
        batch.unrelate = self.some(2, Self::relation);
        batch.unrelate.retain(|relation| !batch.relate.contains(relation));
        batch.events = self.some(3, Self::event);
        if self.is(2) {
            let revision = self.of(&[None, Some(1), Some(2), Some(3), Some(0)]);
            batch = batch.expect(self.key(), revision);
        }
        batch
    }

    fn query(&mut self) -> Query {
        let mut query = Query::kind(self.of(&["a", "ab", "ä:", "none"]));
        query.project = self.is(4).then(|| self.text());
        query.name = self.is(4).then(|| self.text());
        query.parents = if self.is(3) { self.some(3, Self::text) } else { Vec::new() };
        query.states = if self.is(3) { self.some(3, Self::text) } else { Vec::new() };
        query.descending = self.is(2);
        query.limit = self.of(&[1, 2, 3, 100]);
        query
    }

    fn filter(&mut self) -> EventFilter {
        let mut filter = EventFilter::all();
        if self.is(2) {
            filter = filter.key(self.of(&["k", "kk", "k*", "none"]));
        }
        if self.is(3) {
            filter.namespace = Match::Prefix("w".to_owned());
        }
        filter
    }

    fn search(&mut self) -> Search {
        let text = self.of(&[
            "state = 'x'",
            "name != '' order by created desc",
            "project in ('x', 'ß')",
            "number > -8 order by name",
        ]);
        let mut search = Search::parse(self.of(&["a", "ab"]), text).unwrap_or_else(|error| panic!("{text}: {error}"));
        search.limit = self.of(&[1, 2, 50]);
        search
    }

    fn call(&mut self) -> Call {
        match self.rng.below(15) {
            0..=4 => {
                let held = self.of(&[None, None, Some(Held::Newest), Some(Held::Before), Some(Held::Never)]);
                Call::Commit(self.batch(), held)
            }
            5..=6 => Call::Publish(self.some(6, Self::event)),
            7 if self.is(4) => Call::Trim(self.rng.below(30)),
            8 if self.is(2) => Call::Acquire(self.of(&["me", "you"])),
            8 => Call::Release(self.of(&["me", "you"])),
            9 => Call::Get(self.some(6, Self::key)),
            10 | 11 => Call::Query(self.query()),
            12 => {
                let kind = self.is(3).then(|| "read".to_owned());
                let (from, to) = (self.some(2, Self::key), self.some(2, Self::key));
                Call::Relations(RelationQuery { kind, from, to, after: None, limit: self.of(&[1, 2, 100]) })
            }
            13 => Call::Read { after: self.rng.below(20), filter: self.filter(), max: self.of(&[1, 3, 100]) },
            14 if self.is(2) => Call::Search(self.search()),
            _ => Call::Head,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_sqlite_and_redis_give_the_same_answers() {
    let server = RedisServer::with(&[]);
    let folder = tempfile::tempdir().unwrap();
    let seed = test_seed();
    let mut committed = 0;
    for sequence in 0..SEQUENCES {
        let prefix = format!("s{sequence}");
        let fast = SqliteOptions { synchronous: Synchronous::Normal, ..SqliteOptions::default() };
        let sqlite = SqliteStore::open(folder.path().join(&prefix), fast).await.unwrap();
        let options = RedisOptions { prefix, ..RedisOptions::default() };
        let redis = RedisStore::open(&server.url(), options).await.unwrap();
        let memory = MemoryStore::new(Arc::new(SystemClock));
        let side = |name, backend| Side { name, backend, granted: Vec::new() };
        let mut sides = [
            side("memory", Backend::of(Arc::new(memory))),
            side("SQLite", Backend::of(Arc::new(sqlite))),
            side("Redis", Backend::of(Arc::new(redis))),
        ];
        let clock = sequence.is_multiple_of(2).then_some(1_000);
        let mut draw = Draw { rng: Rng::new(seed.wrapping_add(sequence)), clock };
        for n in 0..CALLS {
            let call = draw.call();
            let [first, others @ ..] = &mut sides;
            let expected = first.answer(&call).await;
            committed += u64::from(matches!(call, Call::Commit(..)) && expected.starts_with('['));
            for other in others {
                let found = other.answer(&call).await;
                assert_eq!(
                    found, expected,
                    "{SEED_VARIABLE}={seed}, sequence {sequence}, call {n} on {}: {call:#?}",
                    other.name
                );
            }
        }
    }
    assert!(committed > 4 * SEQUENCES, "{committed} commits took effect");
}
