//! What does the server refuse for a while, and is it said with the right advice? Each refusal is made by a real server.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};

use aiflow_core::bus::EventBus;
use aiflow_core::id::Offset;
use aiflow_core::store::MetaStore;
use aiflow_core::{ErrorKind, Retry};
use aiflow_testkit::redis_server::{ALWAYS, RedisServer};

use super::outages::assert_is;
use super::{event, ids, key, open, put};

/// Publishes until the server refuses; again is harmless.
async fn refusal(store: &aiflow_store_redis::RedisStore) -> aiflow_core::Error {
    loop {
        match store.publish(vec![event("b")]).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => return error,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_reads_its_data_is_unavailable_until_it_has_read_it() {
    // It rests after each key, and answers after each thousand bytes.
    let slow = ["--key-load-delay", "200000", "--loading-process-events-interval-bytes", "1024"];
    let mut server = RedisServer::with(&[&slow[..], &["--rdbcompression", "no"]].concat());
    let store = open(&server).await;
    store.publish(vec![event("a")]).await.unwrap();
    for n in 0..10 {
        assert_eq!(server.command(&["SET", &format!("of others {n}"), &"x".repeat(4_096)]), "+OK");
    }
    assert_eq!(server.command(&["SAVE"]), "+OK");
    server.kill();
    let restart = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let mut is_said = false;
    while !restart.is_finished() {
        if let Err(error) = store.head().await {
            assert_is(&error, ErrorKind::Unavailable, Retry::Later);
            is_said |= error.message().contains("reading its data");
        }
        tokio::task::yield_now().await;
    }
    assert!(is_said, "the server had read its data before anybody asked");
    let _server = restart.await.unwrap();
    assert_eq!(store.publish(vec![event("b")]).await.unwrap(), [Offset(2)]);
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script_is_unavailable_until_the_script_is_ended() {
    let server = RedisServer::start();
    let store = open(&server).await;
    store.publish(vec![event("a")]).await.unwrap();
    assert_eq!(server.command(&["CONFIG", "SET", "busy-reply-threshold", "20"]), "+OK");
    let mut other = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    other.write_all(b"*3\r\n$4\r\nEVAL\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n").unwrap();
    let error = refusal(&store).await;
    assert_is(&error, ErrorKind::Unavailable, Retry::Later);
    assert!(error.message().contains("busy with a script"), "{error:?}");
    assert_is(&store.commit(put("x")).await.unwrap_err(), ErrorKind::Unavailable, Retry::Later);
    assert_is(&store.head().await.unwrap_err(), ErrorKind::Unavailable, Retry::Later);
    assert_eq!(server.command(&["SCRIPT", "KILL"]), "+OK");
    // The script ends a moment after the answer.
    while let Err(error) = store.publish(vec![event("b")]).await {
        assert_is(&error, ErrorKind::Unavailable, Retry::Later);
        tokio::task::yield_now().await;
    }
    assert_eq!(ids(&store).await, ["a", "b"]);
    assert!(store.get(&[key("x")]).await.unwrap()[0].is_none(), "what was refused was not done");
}

#[tokio::test]
async fn a_server_that_cannot_write_its_disk_refuses_whole_and_recovers() {
    let server = RedisServer::with(&[ALWAYS, &["--enable-protected-configs", "yes"]].concat());
    let store = open(&server).await;
    store.publish(vec![event("a")]).await.unwrap();
    let (gone, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(server.command(&["CONFIG", "SET", "dir", gone.path().to_str().unwrap()]), "+OK");
    assert_eq!(server.command(&["CONFIG", "SET", "save", "3600 1"]), "+OK");
    gone.close().unwrap();
    assert!(server.command(&["BGSAVE"]).starts_with('+'));
    let error = refusal(&store).await;
    assert_is(&error, ErrorKind::Full, Retry::Later);
    assert!(error.message().contains("cannot write to its disk"), "{error:?}");
    assert_is(&store.commit(put("x").event(event("c"))).await.unwrap_err(), ErrorKind::Full, Retry::Later);
    assert!(!ids(&store).await.contains(&"c".to_owned()), "reading goes on, and nothing of it was done");
    assert!(store.get(&[key("x")]).await.unwrap()[0].is_none());
    assert_eq!(server.command(&["CONFIG", "SET", "dir", there.path().to_str().unwrap()]), "+OK");
    assert!(server.command(&["BGSAVE"]).starts_with('+'));
    while store.publish(vec![event("c")]).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ids(&store).await.last().map(String::as_str), Some("c"));
}
