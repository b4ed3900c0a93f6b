//! Does the store keep every promise of both ports?

use std::sync::Arc;
use std::time::Duration;

use aiflow_store_sqlite::{SqliteOptions, SqliteStore};
use aiflow_testkit::fault::{FaultPlan, FaultyFixture};
use aiflow_testkit::rng::test_seed;
use aiflow_testkit::{Backend, StoreFixture};
use async_trait::async_trait;
use tempfile::TempDir;

/// A file in a folder of its own.
struct File(TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn store(&self) -> Backend {
        let path = self.0.path().join("aiflow.db");
        let store = SqliteStore::open(path, SqliteOptions::default()).await;
        Backend::of(Arc::new(store.unwrap()))
    }
}

#[async_trait]
impl StoreFixture for File {
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
    use super::File;

    aiflow_testkit::meta_store_suite!(File::new());
}

mod meta {
    use super::File;

    aiflow_testkit::meta_suite!(File::new());
}

mod bus {
    use super::File;

    aiflow_testkit::event_bus_suite!(File::new());
}

/// Calls that are slow, fail, or do their work and lose the reply.
mod through_faults {
    use super::*;

    fn file() -> FaultyFixture<File> {
        let plan = FaultPlan::seeded(test_seed()).fail_before(20).reply_lost(20).delay(Duration::from_micros(100));
        FaultyFixture::new(File::new(), plan)
    }

    mod store {
        aiflow_testkit::meta_store_suite!(super::file());
    }

    mod bus {
        aiflow_testkit::event_bus_suite!(super::file());
    }
}
