//! Searches: is each read or refused, and is what it finds in pages what it finds at once?
//!
//! What is found becomes a test of `aiflow-core/src/search`.
#![no_main]

use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use aiflow_core::memory::MemoryStore;
use aiflow_core::search::{KIND_METRIC_SUMMARY, Search, narrowed};
use aiflow_core::store::{Batch, MetaStore as _, Record, RecordKey, RecordPut};
use aiflow_core::time::{SystemClock, Timestamp};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static STORE: LazyLock<MemoryStore> = LazyLock::new(|| {
    let store = MemoryStore::new(Arc::new(SystemClock));
    let put = |kind: &str, id: &str, body: Value| RecordPut {
        name: id.to_owned(),
        ..RecordPut::new(RecordKey::new(kind, id), body)
    };
    let version = |id: &str, state: &str| RecordPut {
        parent: "a".to_owned(),
        state: state.to_owned(),
        ..put("model_version", id, json!({ "params": { "rate": 0.5 } }))
    };
    let metric = RecordPut {
        parent: "model:a".to_owned(),
        number: Some(0.9),
        ..put(KIND_METRIC_SUMMARY, "model:a/auc", json!({}))
    };
    let batch = Batch::at(Timestamp::from_millis(1_772_323_200_000))
        .put(put("model", "a", json!({ "tags": { "team": "ads" }, "params": { "rate": 0.5 } })))
        .put(put("model", "b", json!({ "tags": { "team": "core" }, "params": { "rate": 2 }, "uri": "s3://b" })))
        .put(put("model", "c", json!({ "uri": null, "created_at": 1_772_323_200_000_u64, "done": true })))
        .put(put("model", "d", json!({ "tags": { "team": 7 }, "params": { "rate": "0.5" } })))
        .put(version("a/1", "DEPLOYED"))
        .put(version("a/2", "GENERATED"))
        .put(metric)
        .relate("read", RecordKey::new("model", "b"), RecordKey::new("model_version", "a/1"));
    now(store.commit(batch)).expect("a few records fit in");
    store
});

/// The store in memory never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the store in memory waits"),
    }
}

fn pages(mut search: Search) -> Vec<Record> {
    let mut found = Vec::new();
    loop {
        let page = now(STORE.search(&search)).expect("what was read can be searched");
        found.extend(page.items);
        match page.next {
            Some(next) => search = search.after(Some(next)),
            None => return found,
        }
    }
}

fuzz_target!(|text: &str| {
    match Search::parse("model", text) {
        Ok(search) => {
            drop(narrowed(&search));
            assert_eq!(pages(search.clone().limit(1)), pages(search.limit(100)));
        }
        Err(error) => assert!(error.to_string().len() < 1_000, "{error}"),
    }
});
