//! Relations: is each edge there once, and found from both ends?

use std::sync::Arc;

use aiflow_core::store::{Batch, MetaStore, RecordKey, Relation, RelationQuery};

use super::{AT, commit, key};
use crate::StoreFixture;

fn relation(kind: &str, from: &str, to: &str) -> Relation {
    Relation { kind: kind.to_owned(), from: key(from), to: key(to) }
}

async fn relate(store: &dyn MetaStore, relations: impl IntoIterator<Item = Relation>) {
    let mut batch = Batch::at(AT);
    batch.relate.extend(relations);
    commit(store, batch).await;
}

async fn unrelate(store: &dyn MetaStore, relations: impl IntoIterator<Item = Relation>) {
    let mut batch = Batch::at(AT);
    batch.unrelate.extend(relations);
    commit(store, batch).await;
}

/// Every relation that matches, by pages of `limit`, in the order found.
async fn all(store: &dyn MetaStore, mut query: RelationQuery, limit: usize) -> Vec<Relation> {
    query.limit = limit;
    let mut found = Vec::new();
    loop {
        let page = store.relations(&query).await.unwrap();
        assert!(page.items.len() <= limit);
        found.extend(page.items);
        query.after = page.next;
        if query.after.is_none() {
            return found;
        }
    }
}

/// At most one of a kind between the same two records; adding an existing one is fine.
pub async fn a_relation_exists_at_most_once(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let one = relation("read", "a", "b");
    relate(&backend.store, [one.clone(), one.clone()]).await;
    relate(&backend.store, [one.clone()]).await;
    let found = all(&backend.store, RelationQuery::default(), 10).await;
    assert_eq!(found, std::slice::from_ref(&one));

    // Direction and kind are part of what it is.
    let others = [relation("read", "b", "a"), relation("wrote", "a", "b")];
    relate(&backend.store, others.clone()).await;
    let mut found = all(&backend.store, RelationQuery::default(), 10).await;
    found.sort();
    let mut expected = Vec::from(others);
    expected.push(one);
    expected.sort();
    assert_eq!(found, expected);
}

/// A removed relation is gone; removing a missing one is fine, and it can be added again.
pub async fn a_removed_relation_is_gone(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let (one, other) = (relation("read", "a", "b"), relation("read", "a", "c"));
    relate(&backend.store, [one.clone(), other.clone()]).await;
    unrelate(&backend.store, [one.clone(), relation("read", "x", "y")]).await;
    let found = all(&backend.store, RelationQuery::default(), 10).await;
    assert_eq!(found, [other]);
    let from = RelationQuery { to: vec![key("b")], ..RelationQuery::default() };
    assert!(all(&backend.store, from.clone(), 10).await.is_empty());
    relate(&backend.store, [one.clone()]).await;
    assert_eq!(all(&backend.store, from, 10).await, [one]);
}

/// A query restricts kind, start and end, alone and together.
pub async fn relations_are_found_by_kind_and_ends(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let names = ["a", "b", "c"];
    let mut relations = Vec::new();
    for kind in ["read", "wrote"] {
        for from in names {
            for to in names {
                relations.push(relation(kind, from, to));
            }
        }
    }
    // The same id in another kind of record is another end.
    relations.push(Relation { kind: "read".to_owned(), from: RecordKey::new("other", "a"), to: key("b") });
    relate(&backend.store, relations.clone()).await;

    let options = |some: &[&str]| -> Vec<Option<String>> {
        let some = some.iter().map(|name| Some((*name).to_owned()));
        some.chain([None]).collect()
    };
    let ends = |some: &[&[&str]]| -> Vec<Vec<RecordKey>> {
        some.iter().map(|names| names.iter().map(|name| key(name)).collect()).collect()
    };
    for kind in options(&["read", "wrote", "none"]) {
        for from in ends(&[&[], &["a"], &["x"], &["a", "b", "x"]]) {
            for to in ends(&[&[], &["b"], &["x"], &["c", "b"]]) {
                let query = RelationQuery { kind: kind.clone(), from: from.clone(), to, ..RelationQuery::default() };
                let mut expected: Vec<_> = relations
                    .iter()
                    .filter(|relation| {
                        query.kind.as_ref().is_none_or(|kind| *kind == relation.kind)
                            && (query.from.is_empty() || query.from.contains(&relation.from))
                            && (query.to.is_empty() || query.to.contains(&relation.to))
                    })
                    .cloned()
                    .collect();
                expected.sort();
                for limit in [1, 4, 100] {
                    let mut found = all(&backend.store, query.clone(), limit).await;
                    found.sort();
                    assert_eq!(found, expected, "{query:?} by {limit}");
                }
            }
        }
    }
}

/// A relation that exists throughout is returned exactly once, whatever else is written meanwhile.
pub async fn relation_pages_are_stable_while_others_write(fixture: &dyn StoreFixture) {
    const STABLE: usize = 60;
    let backend = fixture.open().await;
    let stays: Vec<_> = (0..STABLE).map(|n| relation("stays", "hub", &n.to_string())).collect();
    let goes: Vec<_> = (0..STABLE).map(|n| relation("goes", "hub", &n.to_string())).collect();
    let mixed = stays.iter().zip(&goes);
    relate(&backend.store, mixed.flat_map(|(a, b)| [a.clone(), b.clone()])).await;
    let store = Arc::clone(&backend.store);
    let writer = tokio::spawn(async move {
        for n in 0..STABLE {
            relate(&store, [relation("new", "hub", &n.to_string())]).await;
        }
    });
    let mut query = RelationQuery { from: vec![key("hub")], limit: 7, ..RelationQuery::default() };
    let mut found = Vec::new();
    loop {
        let page = backend.store.relations(&query).await.unwrap();
        let edge = page.items.iter().rev();
        let edge = edge.filter(|relation| relation.kind == "goes").take(2);
        unrelate(&backend.store, edge.cloned()).await;
        found.extend(page.items);
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    writer.await.unwrap();
    let mut kept: Vec<_> = found.iter().filter(|one| one.kind == "stays").collect();
    kept.sort();
    let mut expected: Vec<_> = stays.iter().collect();
    expected.sort();
    assert_eq!(kept, expected);
}
