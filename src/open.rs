//! From a URL to a backend.

use std::sync::Arc;

use aiflow_core::bus::EventBus;
use aiflow_core::client::AiFlow;
use aiflow_core::memory::MemoryStore;
use aiflow_core::relay::RelayedStore;
use aiflow_core::store::MetaStore;
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
    let (store, log) = backend(url).await?;
    AiFlow::new(store, log)
}

/// Opens the store at one URL and the event log at another: metadata and state in the first, events in the second, for instance SQLite and Redis.
/// What that means for the promises stands at [`RelayedStore`].
///
/// # Errors
/// As of [`open`] for both, and those of [`RelayedStore::open`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let aiflow = aiflow::open_with_log("memory://", "memory://").await?.project("wine")?;
/// aiflow.publish(aiflow.event("samples").value("batch-1")).await?;
/// # Ok::<(), aiflow::Error>(()) }).unwrap();
/// ```
pub async fn open_with_log(store_url: &str, log_url: &str) -> Result<AiFlow> {
    let ((store, _), (_, log)) = (backend(store_url).await?, backend(log_url).await?);
    let both = Arc::new(RelayedStore::open(store, log).await?);
    AiFlow::new(Arc::<RelayedStore>::clone(&both), both)
}

/// A store, and the log to which it appends.
type Backend = (Arc<dyn MetaStore>, Arc<dyn EventBus>);

fn both<B: MetaStore + EventBus + 'static>(store: B) -> Backend {
    let store = Arc::new(store);
    (Arc::<B>::clone(&store), store)
}

async fn backend(url: &str) -> Result<Backend> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    match scheme {
        "memory" => Ok(both(MemoryStore::new(Arc::new(SystemClock)))),
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(both(aiflow_store_sqlite::SqliteStore::open_url(url).await?)),
        #[cfg(feature = "redis")]
        "redis" | "rediss" => Ok(both(aiflow_store_redis::RedisStore::open_url(url).await?)),
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
