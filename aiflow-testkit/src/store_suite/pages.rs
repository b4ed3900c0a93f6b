//! Queries: are the right records found, in their order, each once?

use std::sync::Arc;

use aiflow_core::store::{Batch, MetaStore, MetaStoreExt, PAGE_ROWS_MAX, Query, RecordKey, RecordPut};
use serde_json::json;

use super::{AT, commit, key, put};
use crate::StoreFixture;

/// More records than any case of this file writes.
const ROWS_MAX: usize = 10_000;

async fn ids(store: &dyn MetaStore, query: Query) -> Vec<String> {
    let records = store.query_all(query, ROWS_MAX).await.unwrap();
    records.into_iter().map(|record| record.key.id).collect()
}

/// A query returns records in the order in which they were first put, or the reverse.
pub async fn records_come_in_the_order_of_their_first_put(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let batch = Batch::at(AT).put(put("z", 1)).put(put("a", 1));
    commit(&backend.store, batch.put(put("m", 1))).await;
    commit(&backend.store, Batch::at(AT).put(put("b", 1))).await;
    let found = ids(&backend.store, Query::kind("thing")).await;
    assert_eq!(found, ["z", "a", "m", "b"]);
    let found = ids(&backend.store, Query::kind("thing").newest_first()).await;
    assert_eq!(found, ["b", "m", "a", "z"]);
}

/// A put of an existing record keeps its place; one that was deleted gets a new place.
pub async fn a_record_put_again_keeps_its_place(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let batch = Batch::at(AT).put(put("a", 1)).put(put("b", 1));
    commit(&backend.store, batch.put(put("c", 1))).await;
    let mut moved = put("a", 2);
    moved.state = "DONE".to_owned();
    commit(&backend.store, Batch::at(AT).put(moved)).await;
    let found = ids(&backend.store, Query::kind("thing")).await;
    assert_eq!(found, ["a", "b", "c"]);

    commit(&backend.store, Batch::at(AT).delete(key("a"))).await;
    commit(&backend.store, Batch::at(AT).put(put("a", 3))).await;
    let found = ids(&backend.store, Query::kind("thing")).await;
    assert_eq!(found, ["b", "c", "a"]);
}

/// Every field of a query restricts, alone and together; fields that are not set do not restrict.
pub async fn every_filter_restricts(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let mut batch = Batch::at(AT);
    for project in ["p1", "p2"] {
        for parent in ["", "x"] {
            for name in ["n1", "n2"] {
                for state in ["S1", "S2", "S3"] {
                    let id = format!("{project}-{parent}-{name}-{state}");
                    let mut put = put(&id, 1);
                    put.project = project.to_owned();
                    put.parent = parent.to_owned();
                    put.name = name.to_owned();
                    put.state = state.to_owned();
                    batch = batch.put(put);
                }
            }
        }
    }
    let all: Vec<RecordPut> = batch.puts.clone();
    commit(&backend.store, batch).await;

    let thing = || Query::kind("thing");
    let queries = [
        (thing(), 24),
        (thing().project("p1"), 12),
        (thing().project("p3"), 0),
        (thing().parent(""), 12),
        (thing().parents(["x", "", "x"]), 24),
        (thing().parents(["x", "y"]).states(["S1", "S2"]).project("p1"), 4),
        (thing().name("n2"), 12),
        (thing().states(["S1"]), 8),
        (thing().states(["S3", "S1", "S3"]), 16),
        (thing().states(["S4"]), 0),
        (thing().project("p1").parent("x"), 6),
        (thing().name("n1").states(["S2", "S3"]), 8),
        (thing().project("p2").parent("x").name("n1").states(["S2"]), 1),
    ];
    for (query, count) in queries {
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|w| w == value);
        let expected: Vec<_> = all
            .iter()
            .filter(|put| {
                is(&query.project, &put.project)
                    && (query.parents.is_empty() || query.parents.contains(&put.parent))
                    && is(&query.name, &put.name)
                    && (query.states.is_empty() || query.states.contains(&put.state))
            })
            .map(|put| put.key.id.clone())
            .collect();
        assert_eq!(expected.len(), count, "{query:?}");
        for limit in [3, PAGE_ROWS_MAX] {
            let found = ids(&backend.store, query.clone().limit(limit)).await;
            assert_eq!(found, expected, "{query:?}");
            let mut backwards = expected.clone();
            backwards.reverse();
            let found = ids(&backend.store, query.clone().limit(limit).newest_first()).await;
            assert_eq!(found, backwards, "{query:?}");
        }
    }
}

/// A query finds records of its kind only; the same id may name records of several kinds.
pub async fn kinds_are_apart(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let of = |kind: &str| RecordPut::new(RecordKey::new(kind, "1"), json!(kind));
    commit(&backend.store, Batch::at(AT).put(of("a")).put(of("ab"))).await;
    for kind in ["a", "ab"] {
        let page = backend.store.query(&Query::kind(kind)).await.unwrap();
        assert_eq!(page.items.len(), 1);
        assert_eq!(page.items[0].body, json!(kind));
    }
    let none = backend.store.query(&Query::kind("b")).await.unwrap();
    assert!(none.items.is_empty() && none.next.is_none());
}

/// Page after page, each record is returned exactly once; the last page has no next one.
pub async fn pages_hold_every_record_once(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let mut batch = Batch::at(AT);
    for n in 0..30 {
        batch = batch.put(put(&n.to_string(), n));
    }
    commit(&backend.store, batch).await;
    for (limit, pages) in [(1, 30), (7, 5), (10, 3), (15, 2), (30, 1), (31, 1)] {
        for is_descending in [false, true] {
            let mut query = Query::kind("thing").limit(limit);
            query.descending = is_descending;
            let mut found = Vec::new();
            let mut n_pages = 0;
            loop {
                let page = backend.store.query(&query).await.unwrap();
                assert!(!page.items.is_empty() && page.items.len() <= limit);
                found.extend(page.items.into_iter().map(|record| record.key.id));
                n_pages += 1;
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            if is_descending {
                found.reverse();
            }
            let expected: Vec<_> = (0..30).map(|n| n.to_string()).collect();
            assert_eq!((found, n_pages), (expected, pages), "limit {limit}");
        }
    }
}

/// A record that exists throughout is returned exactly once, whatever else is written meanwhile.
pub async fn pages_are_stable_while_others_write(fixture: &dyn StoreFixture) {
    pages_survive_writers(fixture, false).await;
}

/// A record that exists throughout is returned exactly once, newest first as well.
pub async fn pages_backwards_are_stable_while_others_write(fixture: &dyn StoreFixture) {
    pages_survive_writers(fixture, true).await;
}

/// Between any two pages: one record is deleted, one is put again, one is new. Another task writes all the time.
async fn pages_survive_writers(fixture: &dyn StoreFixture, is_descending: bool) {
    const STABLE: u64 = 60;
    let backend = fixture.open().await;
    let mut batch = Batch::at(AT);
    for n in 0..STABLE {
        batch = batch.put(put(&format!("stays{n}"), n)).put(put(&format!("goes{n}"), n));
    }
    commit(&backend.store, batch).await;
    let store = Arc::clone(&backend.store);
    let writer = tokio::spawn(async move {
        for n in 0..STABLE {
            let batch = Batch::at(AT).put(put(&format!("other{n}"), n));
            commit(&store, batch.put(put(&format!("stays{n}"), n))).await;
        }
    });

    let mut query = Query::kind("thing").limit(7);
    query.descending = is_descending;
    let mut found = Vec::new();
    for round in 0.. {
        let page = backend.store.query(&query).await.unwrap();
        // What was just seen is the worst place for a delete: it is where the next page begins.
        let edge = page.items.iter().rev().map(|record| &record.key);
        let edge = edge.filter(|key| key.id.starts_with("goes")).take(2);
        let batch = Batch::at(AT).put(put(&format!("new{round}"), 1)).put(put(&format!("stays{}", round % STABLE), 2));
        let batch = edge.fold(batch, |batch, key| batch.delete(key.clone()));
        commit(&backend.store, batch).await;
        found.extend(page.items.into_iter().map(|record| record.key.id));
        query.after = page.next;
        // Oldest first, this loop itself feeds the end of the list; past the stable records it has seen enough.
        if query.after.is_none() || round > STABLE {
            break;
        }
    }
    writer.await.unwrap();
    let stays: Vec<_> = found.iter().filter(|id| id.starts_with("stays")).collect();
    let mut expected: Vec<_> = (0..STABLE).map(|n| format!("stays{n}")).collect();
    if is_descending {
        expected.reverse();
    }
    assert_eq!(stays, expected.iter().collect::<Vec<_>>());
    let mut once = found.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), found.len(), "a record was returned twice");
}

/// A page holds at most `PAGE_ROWS_MAX` records, whatever is asked.
pub async fn a_page_never_exceeds_the_bound(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let mut batch = Batch::at(AT);
    for n in 0..=PAGE_ROWS_MAX as u64 {
        batch = batch.put(put(&n.to_string(), n)).relate("next", key(&n.to_string()), key("end"));
    }
    commit(&backend.store, batch).await;
    let query = Query::kind("thing").limit(usize::MAX);
    let page = backend.store.query(&query).await.unwrap();
    assert_eq!(page.items.len(), PAGE_ROWS_MAX);
    let rest = backend.store.query(&query.after(page.next)).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
    for limit in [0, usize::MAX] {
        let mut query = aiflow_core::store::RelationQuery { limit, ..Default::default() };
        let page = backend.store.relations(&query).await.unwrap();
        assert_eq!(page.items.len(), PAGE_ROWS_MAX);
        query.after = page.next;
        let rest = backend.store.relations(&query).await.unwrap();
        assert_eq!((rest.items.len(), rest.next), (1, None));
    }
}
