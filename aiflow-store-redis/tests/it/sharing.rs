//! Several hosts and one server: what one writes wakes the others, and one leads.

use std::sync::Arc;
use std::time::Duration;

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus;
use aiflow_core::search::Search;
use aiflow_core::store::{Batch, MetaStore, RecordKey, RecordPut};
use aiflow_core::time::Timestamp;
use aiflow_testkit::redis_server::RedisServer;

use super::{event, ids, key, open, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_another_host_wakes_every_waiter_without_being_asked_for() {
    const ROUNDS: u64 = 50;
    let server = RedisServer::start();
    let (ours, theirs) = (open(&server).await, open(&server).await);
    let mut last = ours.publish(vec![event("first")]).await.unwrap()[0];
    let calls_before = calls(&server);
    for round in 0..ROUNDS {
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let ours = ours.clone();
                tokio::spawn(async move { ours.wait(last).await })
            })
            .collect();
        last = theirs.publish(vec![event(format!("{round}"))]).await.unwrap()[0];
        for waiter in waiters {
            waiter.await.unwrap().unwrap();
        }
    }
    // What the listener costs is bounded by what happens, not by time: a held read and a look at the end for each event, and the beginning.
    let cost = calls(&server) - calls_before;
    assert!(cost < ROUNDS * 20 + 60, "{cost} commands for {ROUNDS} events");
    assert_eq!(ids(&ours).await.len() as u64, ROUNDS + 1);
}

/// Commands that the server has carried out so far.
fn calls(server: &RedisServer) -> u64 {
    let script = "local n = redis.call('INFO', 'stats'):match('total_commands_processed:(%d+)') return tonumber(n)";
    server.command(&["EVAL", script, "0"]).trim_start_matches(':').parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_write_at_once_make_one_log() {
    const EACH: usize = 200;
    let server = RedisServer::start();
    let mut tasks = Vec::new();
    for name in ["a", "b", "c"] {
        let store = open(&server).await;
        tasks.push(tokio::spawn(async move {
            let mut offsets = Vec::new();
            for n in 0..EACH {
                offsets.extend(store.publish(vec![event(format!("{name}{n}"))]).await.unwrap());
            }
            assert!(offsets.is_sorted());
            offsets
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 3 * EACH);
    assert_eq!(ids(&open(&server).await).await.len(), 3 * EACH);
}

#[tokio::test]
async fn a_holder_that_stood_still_for_too_long_is_fenced() {
    let server = RedisServer::start();
    let (still, awake) = (open(&server).await, open(&server).await);
    let short = Duration::from_millis(50);
    let old = still.acquire("leader", "still", short).await.unwrap().unwrap();
    let new = loop {
        if let Some(lease) = awake.acquire("leader", "awake", Duration::from_secs(3_600)).await.unwrap() {
            break lease;
        }
        tokio::task::yield_now().await;
    };
    assert!(new.epoch > old.epoch);
    let mut late = put("late").event(event("late"));
    late.fence = Some(old.fence());
    assert_eq!(still.commit(late).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert!(still.get(&[key("late")]).await.unwrap()[0].is_none());
    assert!(ids(&still).await.is_empty());
    assert_eq!(still.acquire("leader", "still", short).await.unwrap(), None);
}

#[tokio::test]
async fn a_commit_is_one_command_whatever_it_holds() {
    let server = RedisServer::start();
    let store = Arc::new(open(&server).await);
    store.commit(put("warm")).await.unwrap();
    let before = scripts(&server);
    let mut batch = put("a");
    for n in 0..500 {
        let id = n.to_string();
        batch = batch
            .put(put(&id).puts.remove(0))
            .relate("r", key(&id), key("a"))
            .event(event(id.clone()))
            .expect(key(&id), None);
    }
    store.commit(batch).await.unwrap();
    assert_eq!(scripts(&server) - before, 1);
}

/// Scripts run so far by the name that the server keeps them under.
fn scripts(server: &RedisServer) -> u64 {
    let script = "local n = redis.call('INFO', 'commandstats'):match('cmdstat_evalsha:calls=(%d+)') return tonumber(n)";
    server.command(&["EVAL", script, "0"]).trim_start_matches(':').parse().unwrap()
}

#[tokio::test]
async fn a_search_by_what_lies_beside_records_asks_for_a_page_at_once() {
    const RECORDS: usize = 300;
    let server = RedisServer::start();
    let store = open(&server).await;
    let mut batch = Batch::at(Timestamp::EPOCH);
    for n in 0..RECORDS {
        let run = RecordPut::new(RecordKey::new("run", n.to_string()), serde_json::json!({}));
        let summary = RecordPut::new(RecordKey::new("metric_summary", format!("run:{n}/loss")), serde_json::json!({}));
        let step = RecordPut::new(RecordKey::new("step", n.to_string()), serde_json::json!({ "n": n }));
        batch = batch.put(run).put(RecordPut { number: Some(0.5 + n as f64), ..summary });
        batch = batch.put(RecordPut { parent: n.to_string(), ..step });
        batch = batch.relate("made", RecordKey::new("run", n.to_string()), RecordKey::new("step", "7"));
    }
    store.commit(batch).await.unwrap();
    for (text, found) in [
        ("metrics.loss < 10 order by metrics.loss desc", 10),
        ("has step (n >= 290)", 10),
        ("made step (n = 7)", RECORDS),
    ] {
        let mut search = Search::parse("run", text).unwrap_or_else(|error| panic!("{text}: {error}"));
        search.limit = 1_000;
        let before = requests(&server);
        assert_eq!(store.search(&search).await.unwrap().items.len(), found, "{text}");
        let cost = requests(&server) - before;
        assert!(cost < 30, "{text}: {cost} requests for {RECORDS} records");
    }
}

/// Requests that the server has read so far.
fn requests(server: &RedisServer) -> u64 {
    let script = "local n = redis.call('INFO', 'stats'):match('total_reads_processed:(%d+)') return tonumber(n)";
    server.command(&["EVAL", script, "0"]).trim_start_matches(':').parse().unwrap()
}
