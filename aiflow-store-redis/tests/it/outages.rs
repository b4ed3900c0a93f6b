//! What becomes of calls while the server dies, refuses, forgets, or cannot be reached?

use std::time::Duration;

use aiflow_core::bus::EventBus;
use aiflow_core::event::EventFilter;
use aiflow_core::id::Offset;
use aiflow_core::store::{Batch, Durability, MetaStore, Query};
use aiflow_core::time::Timestamp;
use aiflow_core::{Error, ErrorKind, Retry};
use aiflow_store_redis::{Persistence, RedisOptions, RedisStore};
use aiflow_testkit::redis_server::{ALWAYS, RedisServer};

use super::proxy::{Proxy, Way};
use super::{event, ids, key, open, put};

const LONG: Duration = Duration::from_secs(3_600);

pub(crate) fn assert_is(error: &Error, kind: ErrorKind, retry: Retry) {
    assert_eq!((error.kind(), error.retry()), (kind, retry), "{error:?}");
}

/// Publishers, a committer and a listener go on while the server is killed again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_again_and_again_loses_and_doubles_nothing() {
    const KILLS: usize = 8;
    const PUBLISHERS: usize = 4;
    let mut server = RedisServer::start();
    let store = open(&server).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut publishers = Vec::new();
    for name in 0..PUBLISHERS {
        let (store, stopped) = (store.clone(), stopped.clone());
        publishers.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0.. {
                if *stopped.borrow() {
                    break;
                }
                let (id, record) = (format!("{name}-{n}"), format!("r{name}-{n}"));
                let batch = put(&record).expect(key(&record), None).event(event(&id));
                acknowledged.push((id, commit_whatever_it_takes(&store, batch, &record).await));
            }
            acknowledged
        }));
    }
    let listener = {
        let store = store.clone();
        tokio::spawn(async move {
            let (mut after, mut heard) = (Offset::START, Vec::new());
            loop {
                store.wait(after).await.unwrap();
                let Ok(page) = store.read(after, &EventFilter::all(), 100).await else { continue };
                after = page.covered;
                heard.extend(page.events);
                if heard.last().is_some_and(|event| event.id == "end") {
                    return heard;
                }
            }
        })
    };
    for kill in 1..=KILLS {
        // Killed at ever other moments of the traffic.
        let so_far = store_last(&store).await;
        while store_last(&store).await.0 < so_far.0 + 30 * kill as u64 {
            tokio::task::yield_now().await;
        }
        server.kill();
        server.restart();
    }
    stop.send_replace(true);
    let mut acknowledged = Vec::new();
    for publisher in publishers {
        acknowledged.extend(publisher.await.unwrap());
    }
    publish_whatever_it_takes(&store, "end").await;
    let heard = listener.await.unwrap();
    let log = ids(&store).await;
    assert!(heard.iter().map(|event| &event.id).eq(&log), "the listener heard the log, once and in order");
    assert_eq!(log.len(), acknowledged.len() + 1, "nothing lost, nothing doubled");
    for (id, offset) in acknowledged {
        assert_eq!(log[usize::try_from(offset.0).unwrap() - 1], id, "where it was acknowledged");
    }
    let records = store.query(&Query::kind("thing").limit(1)).await.unwrap();
    assert_eq!(records.items[0].revision, 1);
}

async fn store_last(store: &RedisStore) -> Offset {
    loop {
        if let Ok(head) = store.head().await {
            return head.last;
        }
    }
}

/// Repeats a commit as its errors advise, and returns the offset of its event.
async fn commit_whatever_it_takes(store: &RedisStore, batch: Batch, record: &str) -> Offset {
    loop {
        let error = match store.commit(batch.clone()).await {
            Ok(receipt) => return receipt.offsets[0],
            Err(error) => error,
        };
        if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::OutcomeUnknown | ErrorKind::Conflict) {
            panic!("{error:?}");
        }
        let found = loop {
            if let Ok(found) = store.get(&[key(record)]).await {
                break found;
            }
        };
        // It took effect although its answer was lost: the event is there, and tells where.
        if found[0].is_some() {
            let Ok(offsets) = store.publish(batch.events.clone()).await else { continue };
            return offsets[0];
        }
        assert_ne!(error.kind(), ErrorKind::Conflict, "nobody else puts {record}");
    }
}

async fn publish_whatever_it_takes(store: &RedisStore, id: &str) -> Offset {
    loop {
        match store.publish(vec![event(id)]).await {
            Ok(offsets) => return offsets[0],
            Err(error) => assert_ne!(error.retry(), Retry::Never, "{error:?}"),
        }
    }
}

#[tokio::test]
async fn an_emptied_server_is_noticed_before_anything_is_read_or_written() {
    let server = RedisServer::start();
    let store = open(&server).await;
    store.publish(vec![event("a")]).await.unwrap();
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.wait(Offset(1)).await })
    };
    assert_eq!(server.command(&["FLUSHALL"]), "+OK");
    let errors = [
        store.publish(vec![event("b")]).await.unwrap_err(),
        store.commit(put("a")).await.unwrap_err(),
        store.read(Offset(1), &EventFilter::all(), 9).await.unwrap_err(),
        store.head().await.unwrap_err(),
        store.get(&[key("a")]).await.unwrap_err(),
        store.query(&Query::kind("thing")).await.unwrap_err(),
        store.relations(&aiflow_core::store::RelationQuery::default()).await.unwrap_err(),
        store.acquire("leader", "me", LONG).await.unwrap_err(),
        store.trim(Offset(1)).await.unwrap_err(),
        waiting.await.unwrap().unwrap_err(),
    ];
    for error in errors {
        assert_is(&error, ErrorKind::Corrupt, Retry::Never);
        assert!(error.message().contains("emptied"), "{error}");
    }
    assert_eq!(server.command(&["DBSIZE"]), ":0");

    // Opened anew it is a new store; and a third one in its place is not taken for it.
    let new = open(&server).await;
    assert_eq!(new.publish(vec![event("a")]).await.unwrap(), [Offset(1)]);
    assert!(store.head().await.unwrap_err().message().contains("emptied"));
}

/// A server without a file comes back with what its last snapshot held, as a replica that lagged does when it takes over.
#[tokio::test]
async fn a_server_that_has_gone_back_is_noticed_and_what_is_missing_can_be_published_again() {
    let mut server = RedisServer::with(&[]);
    let store = open(&server).await;
    store.publish(vec![event("a"), event("b")]).await.unwrap();
    assert_eq!(server.command(&["SAVE"]), "+OK");
    store.publish(vec![event("c")]).await.unwrap();
    store.commit(put("late")).await.unwrap();
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.wait(Offset(3)).await })
    };
    server.kill();
    server.restart();
    // The first call may find the connection lost; the answer of the server is final.
    let _ = store.commit(put("b")).await;
    let errors = [
        store.publish(vec![event("d")]).await.unwrap_err(),
        store.commit(put("b")).await.unwrap_err(),
        store.read(Offset(2), &EventFilter::all(), 9).await.unwrap_err(),
        store.get(&[key("late")]).await.unwrap_err(),
        store.acquire("leader", "me", LONG).await.unwrap_err(),
        waiting.await.unwrap().unwrap_err(),
    ];
    for error in errors {
        assert_is(&error, ErrorKind::Corrupt, Retry::Never);
        assert!(error.message().contains("gone back"), "{error}");
    }
    // Whoever opens it again goes on from there; what producers still have is published again without doubles.
    let again = open(&server).await;
    assert_eq!(ids(&again).await, ["a", "b"]);
    let offsets = again.publish(vec![event("b"), event("c"), event("d")]).await.unwrap();
    assert_eq!(offsets, [Offset(2), Offset(3), Offset(4)]);
}

#[tokio::test]
async fn a_replica_that_takes_over_with_a_gap_is_noticed_and_one_without_is_not() {
    for gap in [false, true] {
        let mut primary = RedisServer::start();
        let port = primary.port().to_string();
        let replica = RedisServer::with(&[ALWAYS, &["--replicaof", "127.0.0.1", &port]].concat());
        let proxy = Proxy::before(primary.port()).await;
        let store = RedisStore::open(&proxy.url, RedisOptions::default()).await.unwrap();
        store.publish(vec![event("a")]).await.unwrap();
        let waiting = {
            let store = store.clone();
            tokio::spawn(async move { store.wait(Offset(3)).await })
        };
        // It has what it had when it was told; what the primary acknowledges later, it lacks.
        store.publish(vec![event("b")]).await.unwrap();
        assert_eq!(primary.command(&["WAIT", "1", "20000"]), ":1");
        if !gap {
            store.publish(vec![event("c")]).await.unwrap();
            assert_eq!(primary.command(&["WAIT", "1", "20000"]), ":1");
        }
        assert_eq!(replica.command(&["REPLICAOF", "NO", "ONE"]), "+OK");
        if gap {
            store.publish(vec![event("c")]).await.unwrap();
        }
        primary.kill();
        proxy.lead_to(replica.port());
        // The first calls find their connections gone.
        let answer = loop {
            match store.publish(vec![event("d")]).await {
                Err(error) if error.retry() != Retry::Never => {}
                answer => break answer,
            }
        };
        if gap {
            assert_is(&answer.unwrap_err(), ErrorKind::Corrupt, Retry::Never);
            let error = waiting.await.unwrap().unwrap_err();
            assert_is(&error, ErrorKind::Corrupt, Retry::Never);
            assert!(error.message().contains("gone back"), "{error}");
        } else {
            assert_eq!(answer.unwrap(), [Offset(4)]);
            waiting.await.unwrap().unwrap();
            assert_eq!(ids(&store).await, ["a", "b", "c", "d"]);
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_a_commit_unknown_and_a_publish_known() {
    let server = RedisServer::start();
    let proxy = Proxy::before(server.port()).await;
    let store = RedisStore::open(&proxy.url, RedisOptions::default()).await.unwrap();
    store.commit(put("first")).await.unwrap();
    proxy.set(Way::LosesAnswers);
    let error = store.commit(put("second").event(event("a"))).await.unwrap_err();
    assert_is(&error, ErrorKind::OutcomeUnknown, Retry::AfterReadBack);
    let error = store.get(&[key("second")]).await.unwrap_err();
    assert_is(&error, ErrorKind::Unavailable, Retry::Later);
    proxy.set(Way::Open);
    assert!(store.get(&[key("second")]).await.unwrap()[0].is_some(), "it took effect");
    assert_eq!(ids(&store).await, ["a"]);
    // The repetition of a publish happens by itself, and a cut way is waited for by whoever listens.
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.wait(Offset(1)).await })
    };
    proxy.set(Way::Cut);
    let error = store.commit(put("third")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::OutcomeUnknown), "{error:?}");
    assert_is(&store.head().await.unwrap_err(), ErrorKind::Unavailable, Retry::Later);
    proxy.set(Way::Open);
    assert_eq!(store.publish(vec![event("b")]).await.unwrap(), [Offset(2)]);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn many_who_wait_for_a_connection_fail_together() {
    const CALLERS: u32 = 40;
    let server = RedisServer::start();
    let connect_timeout = Duration::from_millis(250);
    let options = RedisOptions { connect_timeout, response_timeout: connect_timeout, ..RedisOptions::default() };
    let store = RedisStore::open(&server.url(), options).await.unwrap();
    server.signal("STOP");
    let started = std::time::Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.head().await.unwrap_err() })
        })
        .collect();
    for caller in callers {
        assert_is(&caller.await.unwrap(), ErrorKind::Unavailable, Retry::Later);
    }
    assert!(started.elapsed() < connect_timeout * (CALLERS / 4), "one after the other: {:?}", started.elapsed());
    server.signal("CONT");
    store.head().await.unwrap();
}

#[tokio::test]
async fn scripts_that_the_server_lost_are_given_to_it_again() {
    let server = RedisServer::start();
    let store = open(&server).await;
    store.publish(vec![event("a")]).await.unwrap();
    assert_eq!(server.command(&["SCRIPT", "FLUSH"]), "+OK");
    assert_eq!(store.publish(vec![event("b")]).await.unwrap(), [Offset(2)]);
    assert_eq!(server.command(&["SCRIPT", "FLUSH"]), "+OK");
    assert!(store.query(&Query::kind("thing")).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_server_without_memory_refuses_whole_and_recovers() {
    let server = RedisServer::start();
    let store = open(&server).await;
    store.publish(vec![event("a")]).await.unwrap();
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "1"]), "+OK");
    let error = store.commit(put("x").event(event("b"))).await.unwrap_err();
    assert_is(&error, ErrorKind::Full, Retry::Later);
    assert_is(&store.publish(vec![event("b")]).await.unwrap_err(), ErrorKind::Full, Retry::Later);
    assert_eq!(ids(&store).await, ["a"], "reading goes on, and nothing of it was done");
    assert!(store.get(&[key("x")]).await.unwrap()[0].is_none());
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "0"]), "+OK");
    assert_eq!(store.publish(vec![event("b")]).await.unwrap(), [Offset(2)]);
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_unavailable_until_it_is_a_primary_again() {
    let (other, server) = (RedisServer::with(&[]), RedisServer::start());
    let store = open(&server).await;
    store.publish(vec![event("a")]).await.unwrap();
    // A port on which nobody answers, so that the data stays.
    let nowhere = {
        let mut gone = other;
        let port = gone.port().to_string();
        gone.kill();
        port
    };
    assert_eq!(server.command(&["REPLICAOF", "127.0.0.1", &nowhere]), "+OK");
    for _ in 0..2 {
        assert_is(&store.publish(vec![event("b")]).await.unwrap_err(), ErrorKind::Unavailable, Retry::Later);
    }
    assert_eq!(server.command(&["REPLICAOF", "NO", "ONE"]), "+OK");
    assert_eq!(store.publish(vec![event("b")]).await.unwrap(), [Offset(2)]);
}

#[tokio::test]
async fn a_server_that_comes_back_weaker_is_refused_or_its_class_falls_as_was_asked() {
    let server = RedisServer::with(ALWAYS);
    let asked = RedisOptions { persistence: Persistence::Always, ..RedisOptions::default() };
    let store = RedisStore::open(&server.url(), asked).await.unwrap();
    let easy = open(&server).await;
    assert_eq!(MetaStore::capabilities(&easy).durability, Durability::PowerLoss);
    store.publish(vec![event("a")]).await.unwrap();
    assert_eq!(server.command(&["CONFIG", "SET", "appendfsync", "no"]), "+OK");
    assert!(server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).starts_with(':'));
    let error = loop {
        // The first call finds that its connection was closed.
        match store.publish(vec![event("b")]).await {
            Err(error) if error.retry() == Retry::Never => break error,
            Err(_) => {}
            Ok(_) => panic!("published with less durability than was declared"),
        }
    };
    assert_is(&error, ErrorKind::Unsupported, Retry::Never);
    publish_whatever_it_takes(&easy, "c").await;
    assert_eq!(MetaStore::capabilities(&easy).durability, Durability::ProcessCrash);
}

#[tokio::test]
async fn a_server_that_stands_still_leaves_a_commit_unknown_and_it_takes_effect_once() {
    let server = RedisServer::start();
    let options = RedisOptions { response_timeout: Duration::from_millis(300), ..RedisOptions::default() };
    let store = RedisStore::open(&server.url(), options).await.unwrap();
    store.commit(put("warm")).await.unwrap();
    server.signal("STOP");
    let batch = Batch::at(Timestamp::EPOCH).expect(key("x"), None).event(event("a"));
    let mut batch = batch;
    batch.puts = put("x").puts;
    let error = store.commit(batch.clone()).await.unwrap_err();
    assert_is(&error, ErrorKind::OutcomeUnknown, Retry::AfterReadBack);
    server.signal("CONT");
    let again = store.commit(batch).await;
    // Either the first try was carried out late, or the second one was; never both.
    if let Err(error) = again {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    }
    assert_eq!(store.get(&[key("x")]).await.unwrap()[0].as_ref().unwrap().revision, 1);
    assert_eq!(ids(&store).await, ["a"]);
}
