//! Does the store keep every promise of both ports?

use std::sync::Arc;
use std::time::Duration;

use aiflow_store_redis::{RedisOptions, RedisStore};
use aiflow_testkit::redis_server::RedisServer;
use aiflow_testkit::{Backend, StoreFixture};
use async_trait::async_trait;

/// A server of its own.
struct Server(RedisServer);

impl Server {
    fn new() -> Self {
        Self(RedisServer::start())
    }

    async fn store(&self) -> Backend {
        Backend::of(Arc::new(RedisStore::open(&self.0.url(), RedisOptions::default()).await.unwrap()))
    }
}

#[async_trait]
impl StoreFixture for Server {
    async fn open(&self) -> Backend {
        self.store().await
    }

    async fn reopen(&self) -> Option<Backend> {
        Some(self.store().await)
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

mod store {
    use super::Server;

    aiflow_testkit::meta_store_suite!(Server::new());
}

mod meta {
    use super::Server;

    aiflow_testkit::meta_suite!(Server::new());
}

mod bus {
    use super::Server;

    aiflow_testkit::event_bus_suite!(Server::new());
}
