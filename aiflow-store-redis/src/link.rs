//! Links: how does a call come by a connection, and what happens when it breaks?
//!
//! A link is one connection that many calls share and that is made anew when it broke. A new one is used only once the server at its other
//! end has said what it is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use aiflow_core::{Error, ErrorKind, Result, Retry};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, TlsCertificates};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::{Phase, convert};
use crate::options::{Persistence, RedisOptions};
use crate::server;

/// Where and how to connect.
#[derive(Clone)]
pub(crate) struct Address {
    client: Client,
    config: AsyncConnectionConfig,
    connect_timeout: Duration,
    response_timeout: Duration,
    /// What the server must do at least.
    asked: Persistence,
    /// The least that it was found to do so far.
    found: Arc<AtomicU8>,
}

impl fmt::Debug for Address {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Address {
    /// # Errors
    /// `Invalid`: the address is none, or the file of the authority cannot be read.
    pub(crate) fn new(url: &str, options: &RedisOptions) -> Result<Self> {
        // The driver repeats the address in its errors, so they are not passed on: it may hold a password.
        let wrong =
            |_| Error::invalid("open", "the URL does not name a server, as in redis://user:password@host:6379/0");
        let info = url.into_connection_info().map_err(wrong)?;
        let settings = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_tcp_settings(settings);
        let client = match &options.tls_ca {
            Some(path) => {
                let root_cert = std::fs::read(path).map_err(|error| {
                    Error::invalid("open", "the file of tls_ca cannot be read")
                        .with("path", path.display())
                        .caused_by(error)
                })?;
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
            }
            None => Client::open(info),
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout));
        let client = client.map_err(|fault| convert(fault, "open", Phase::Connect))?;
        Ok(Self {
            client,
            config,
            connect_timeout: options.connect_timeout,
            response_timeout: options.response_timeout,
            asked: options.persistence,
            found: Arc::new(AtomicU8::new(u8::MAX)),
        })
    }

    /// How the server keeps what it acknowledges: the least that any connection found.
    pub(crate) fn found(&self) -> Persistence {
        let found = self.found.load(Ordering::Acquire);
        [Persistence::Memory, Persistence::Everysec]
            .into_iter()
            .find(|one| *one as u8 == found)
            .unwrap_or(Persistence::Always)
    }

    /// For a connection on which the server may hold its answer back.
    pub(crate) fn patient(mut self, hold: Duration) -> Self {
        self.config = self.config.set_response_timeout(Some(self.response_timeout.saturating_add(hold)));
        self
    }

    /// Host and port.
    pub(crate) fn shown(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Connects, and asks the server how it keeps what it acknowledges.
    ///
    /// # Errors
    /// `Unavailable`: it cannot be reached now. `Unsupported`, `Invalid`: see [`server::Facts::judge`] and [`convert`].
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection> {
        let connecting = self.client.get_multiplexed_async_connection_with_config(&self.config);
        let mut conn =
            connecting.await.map_err(|fault| convert(fault, "open", Phase::Connect).with("server", self.shown()))?;
        let asking = tokio::time::timeout(self.connect_timeout, server::ask(&mut conn));
        let facts = asking.await.unwrap_or_else(|_| {
            let message = "the server does not say in time what it is";
            Err(Error::new(ErrorKind::Unavailable, "open", message).with("server", self.shown()))
        })?;
        let found = facts.judge(self.asked).map_err(|error| error.with("server", self.shown()))?;
        let before = self.found.fetch_min(found as u8, Ordering::AcqRel);
        if before != u8::MAX && (found as u8) < before {
            tracing::warn!(server = %self.shown(), ?found, "the server keeps what it acknowledges less well than before");
        }
        Ok(conn)
    }
}

/// One connection, shared, and made when it is needed.
#[derive(Debug)]
pub(crate) struct Link {
    address: Address,
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    /// How many were made.
    count: u64,
    conn: Option<MultiplexedConnection>,
    /// The last try that failed: those who waited for it do not try one after the other.
    failed: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    at: Instant,
    kind: ErrorKind,
    retry: Retry,
    message: String,
}

/// A connection on loan, and which one it is.
pub(crate) struct Loan {
    pub(crate) conn: MultiplexedConnection,
    count: u64,
}

impl Link {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, made: Mutex::default() }
    }

    /// The connection; one caller makes it, and the others wait for it.
    pub(crate) async fn borrow(&self, operation: &'static str) -> Result<Loan> {
        let asked = Instant::now();
        let mut made = self.made.lock().await;
        if let Some(conn) = &made.conn {
            return Ok(Loan { conn: conn.clone(), count: made.count });
        }
        if let Some(Failure { kind, retry, message, .. }) = made.failed.as_ref().filter(|failed| failed.at > asked) {
            return Err(Error::new(*kind, operation, message.clone()).with_retry(*retry));
        }
        match self.address.connect().await {
            Ok(conn) => {
                made.count = made.count.wrapping_add(1);
                made.conn = Some(conn.clone());
                made.failed = None;
                Ok(Loan { conn, count: made.count })
            }
            Err(error) => {
                let (kind, retry, message) = (error.kind(), error.retry(), error.message().to_owned());
                made.failed = Some(Failure { at: Instant::now(), kind, retry, message: message.clone() });
                // A connection that fails on behalf of a call fails as that call.
                Err(Error::new(kind, operation, message).with_retry(retry).caused_by(error))
            }
        }
    }

    /// The next call makes a new connection, unless somebody has made one already.
    pub(crate) async fn replace(&self, loan: &Loan) {
        let mut made = self.made.lock().await;
        if made.count == loan.count {
            made.conn = None;
        }
    }
}
