//! Tests of the Redis backend against real servers, which each test starts by itself.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod conformance;
mod differential;
mod opening;
mod outages;
mod proxy;
mod refusals;
mod scheduling;
mod sharing;

use aiflow_core::bus::EventBus;
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::store::{Batch, RecordKey, RecordPut};
use aiflow_core::time::Timestamp;
use aiflow_store_redis::{RedisOptions, RedisStore};
use aiflow_testkit::redis_server::RedisServer;

async fn open(server: &RedisServer) -> RedisStore {
    RedisStore::open(&server.url(), RedisOptions::default()).await.unwrap()
}

fn event(id: impl Into<String>) -> NewEvent {
    NewEvent::identified(id, "wine", "samples")
}

fn key(id: &str) -> RecordKey {
    RecordKey::new("thing", id)
}

/// A batch that puts a record of this name.
fn put(id: &str) -> Batch {
    Batch::at(Timestamp::EPOCH).put(RecordPut::new(key(id), serde_json::json!({})))
}

/// The ids of all events, in their order.
async fn ids(store: &RedisStore) -> Vec<String> {
    let page = store.read(Offset::START, &EventFilter::all(), 10_000).await.unwrap();
    page.events.iter().map(|event| event.id.clone()).collect()
}
