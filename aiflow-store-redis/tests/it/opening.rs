//! What is refused at opening, and is it left alone?

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus;
use aiflow_core::store::{Durability, MetaStore};
use aiflow_store_redis::{Persistence, RedisOptions, RedisStore};
use aiflow_testkit::redis_server::{ALWAYS, RedisServer};

use super::{event, ids, open, put};

async fn refusal(url: &str, options: RedisOptions) -> aiflow_core::Error {
    RedisStore::open(url, options).await.unwrap_err()
}

#[tokio::test]
async fn the_class_of_durability_is_what_the_server_does() {
    let everysec = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let cases: [(&[&str], Durability, Persistence); 3] = [
        (ALWAYS, Durability::PowerLoss, Persistence::Always),
        (&everysec, Durability::ProcessCrash, Persistence::Everysec),
        (&[], Durability::ClientCrash, Persistence::Memory),
    ];
    for (options, durability, persistence) in cases {
        let server = RedisServer::with(options);
        let store = open(&server).await;
        assert_eq!(MetaStore::capabilities(&store).durability, durability);
        for asked in [Persistence::Memory, Persistence::Everysec, Persistence::Always] {
            let options = RedisOptions { persistence: asked, ..RedisOptions::default() };
            let opened = RedisStore::open(&server.url(), options).await;
            match opened {
                Ok(_) => assert!(asked <= persistence),
                Err(error) => {
                    assert!(asked > persistence);
                    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                    assert!(error.to_string().contains("found="), "{error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_may_throw_keys_away_is_refused() {
    let server = RedisServer::with(&["--maxmemory-policy", "allkeys-lru"]);
    let error = refusal(&server.url(), RedisOptions::default()).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(server.command(&["DBSIZE"]), ":0");
}

#[tokio::test]
async fn keys_of_others_and_of_newer_releases_are_refused_and_left_alone() {
    let foreign: [&[&str]; 4] = [
        &["SET", "{aiflow}:data", "mine"],
        &["HSET", "{aiflow}:data", "colour", "red"],
        &["SADD", "{aiflow}:log", "mine"],
        &["HSET", "{aiflow}:data", "format", "3", "store", "x", "last", "0"],
    ];
    for command in foreign {
        let server = RedisServer::with(&["--enable-debug-command", "yes"]);
        assert!(!server.command(command).starts_with('-'));
        let before = server.command(&["DEBUG", "DIGEST"]);
        assert!(before.starts_with('+'), "{before}");
        let error = refusal(&server.url(), RedisOptions::default()).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(server.command(&["DEBUG", "DIGEST"]), before, "{command:?}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_unavailable_and_its_password_is_not_told() {
    let mut server = RedisServer::with(&[]);
    let url = server.url().replace("redis://", "redis://ann:secret@");
    server.kill();
    let error = refusal(&url, RedisOptions::default()).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, aiflow_core::Retry::Later));
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    let error = refusal("redis://ann:secret@", RedisOptions::default()).await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn applications_with_different_prefixes_never_meet() {
    let server = RedisServer::with(&[]);
    let with = |prefix: &str| {
        let options = RedisOptions { prefix: prefix.to_owned(), ..RedisOptions::default() };
        let url = server.url();
        async move { RedisStore::open(&url, options).await.unwrap() }
    };
    // Neither is a part of the other, also where the one's name begins with the other's.
    let (one, other) = (with("wine").await, with("wine2").await);
    assert_ne!(MetaStore::capabilities(&one).log, MetaStore::capabilities(&other).log);
    one.publish(vec![event("a")]).await.unwrap();
    one.commit(put("a")).await.unwrap();
    assert!(one.acquire("leader", "me", std::time::Duration::from_secs(9)).await.unwrap().is_some());
    assert!(ids(&other).await.is_empty());
    assert!(other.get(&[super::key("a")]).await.unwrap()[0].is_none());
    assert!(other.acquire("leader", "you", std::time::Duration::from_secs(9)).await.unwrap().is_some());
    let again = with("wine").await;
    assert_eq!(MetaStore::capabilities(&again).log, MetaStore::capabilities(&one).log);
    assert_eq!(ids(&again).await, ["a"]);
}

#[tokio::test]
async fn a_user_with_the_documented_rights_is_enough() {
    let server = RedisServer::with(ALWAYS);
    let rights = "on >secret ~{wine}:* +@hash +@sortedset +@stream +evalsha +script|load +time +exists +@connection";
    let words: Vec<&str> = ["ACL", "SETUSER", "ann"].into_iter().chain(rights.split(' ')).collect();
    assert_eq!(server.command(&words), "+OK");
    let url = server.url().replace("redis://", "redis://ann:secret@");
    let declared =
        RedisOptions { prefix: "wine".to_owned(), persistence: Persistence::Always, ..RedisOptions::default() };
    let store = RedisStore::open(&url, declared).await.unwrap();
    assert_eq!(MetaStore::capabilities(&store).durability, Durability::PowerLoss, "believed: the user may not ask");
    let offsets = store.publish(vec![event("a"), event("b")]).await.unwrap();
    store.commit(put("a")).await.unwrap();
    store.wait(offsets[0]).await.unwrap();
    store.trim(offsets[0]).await.unwrap();
    assert_eq!(store.query(&aiflow_core::store::Query::kind("thing")).await.unwrap().items.len(), 1);
    assert!(store.relations(&aiflow_core::store::RelationQuery::default()).await.unwrap().items.is_empty());

    let error = refusal(&url, RedisOptions { prefix: "other".to_owned(), ..RedisOptions::default() }).await;
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let error = refusal(&url.replace("secret", "wrong"), RedisOptions::default()).await;
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn a_server_is_reached_by_tls_and_only_if_its_authority_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let tls = ["--tls-port", &free, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &cert];
    let _server = RedisServer::with(&[&tls[..], &["--tls-auth-clients", "no"], ALWAYS].concat());

    let url = format!("rediss://localhost:{free}?persistence=always&tls_ca={cert}");
    let store = RedisStore::open_url(&url).await.unwrap();
    assert_eq!(store.publish(vec![event("a")]).await.unwrap()[0].0, 1);
    store.wait(aiflow_core::id::Offset(0)).await.unwrap();
    for unknown in [format!("rediss://localhost:{free}"), format!("redis://localhost:{free}")] {
        let error = refusal(&unknown, RedisOptions::default()).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    }
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(file("other.pem"), other.cert.pem()).unwrap();
    let wrong = RedisOptions { tls_ca: Some(file("other.pem").into()), ..RedisOptions::default() };
    let error = refusal(&format!("rediss://localhost:{free}"), wrong).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let nowhere = RedisOptions { tls_ca: Some(file("none.pem").into()), ..RedisOptions::default() };
    assert_eq!(refusal("rediss://localhost", nowhere).await.kind(), ErrorKind::Invalid);
}
