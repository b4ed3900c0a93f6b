//! From a URL to a backend.

use std::sync::Arc;

use aiflow_core::client::AiFlow;
use aiflow_core::memory::MemoryStore;
use aiflow_core::time::SystemClock;
use aiflow_core::{Error, ErrorKind, Result};

/// Schemes of backends that exist, and the feature that compiles each in.
const KNOWN: &[(&str, &str)] = &[("memory", ""), ("sqlite", "sqlite"), ("redis", "redis"), ("rediss", "redis")];

/// Opens the store and the event log at `url`.
///
/// | URL | backend |
/// |---|---|
/// | `sqlite://data/app.db` | SQLite file, relative to the working directory; created if missing, with its folder |
/// | `sqlite:///var/lib/app.db` | the same, absolute |
/// | `redis://host:6379/0?prefix=app&persistence=always` | Redis 7.0 or later, for several hosts: its address, user, password and database, and the options of `RedisOptions`; `rediss://` with TLS |
/// | `memory://` | this process's memory: for tests, nothing survives |
///
/// # Errors
/// `Unsupported`: no such backend, or its feature is not enabled. Otherwise those of the backend.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let aiflow = aiflow::open("memory://").await?.project("wine")?;
/// let offset = aiflow.publish(aiflow.event("samples").value("batch-1")).await?;
/// assert_eq!(offset.0, 1);
/// # Ok::<(), aiflow::Error>(()) }).unwrap();
/// ```
pub async fn open(url: &str) -> Result<AiFlow> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    match scheme {
        "memory" => {
            let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
            AiFlow::new(Arc::<MemoryStore>::clone(&store), store)
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            let store = Arc::new(aiflow_store_sqlite::SqliteStore::open_url(url).await?);
            AiFlow::new(Arc::<aiflow_store_sqlite::SqliteStore>::clone(&store), store)
        }
        #[cfg(feature = "redis")]
        "redis" | "rediss" => {
            let store = Arc::new(aiflow_store_redis::RedisStore::open_url(url).await?);
            AiFlow::new(Arc::<aiflow_store_redis::RedisStore>::clone(&store), store)
        }
        _ => Err(unsupported(scheme)),
    }
}

fn unsupported(scheme: &str) -> Error {
    let message = match KNOWN.iter().find(|(known, _)| *known == scheme) {
        Some((_, feature)) => {
            format!("the backend for {scheme}: is not compiled in; enable feature `{feature}` of aiflow")
        }
        None => {
            let known: Vec<&str> = KNOWN.iter().map(|(known, _)| *known).collect();
            format!("no backend for this scheme; known are: {}", known.join(", "))
        }
    };
    Error::new(ErrorKind::Unsupported, "open", message).with("scheme", scheme.escape_default())
}
