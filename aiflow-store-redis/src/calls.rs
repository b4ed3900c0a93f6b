//! Calls: how is the server asked, and how does a call notice that the server is not the one that was opened?
//!
//! Every call carries the id of the store and the newest offset that this process knows of. A server that holds another store, or a log that
//! ends before that offset, does nothing and says so.

use std::sync::atomic::{AtomicU64, Ordering};

use aiflow_core::id::Offset;
use aiflow_core::{Error, ErrorKind, Result};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::answer::Answer;
use crate::error::{Phase, breaks_connection, convert, has_lost_scripts, odd_answer};
use crate::keys::Keys;
use crate::link::{Address, Link};
use crate::signal;

/// Calls under way at the same time; others wait for a place.
const CALLS_MAX: u32 = 1_024;
/// How often one call gives the server the scripts that it has lost.
const LOADS_MAX: u32 = 3;

/// What runs on the server, each in one step that nobody sees a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    Open,
    Commit,
    Lease,
    Trim,
    Query,
    Relations,
}

macro_rules! script {
    ($first:literal, $($file:literal),+) => {
        concat!($first, "\n", include_str!("scripts/shared.lua"), $("\n", include_str!($file)),+)
    };
}

impl Script {
    const ALL: [Self; 6] = [Self::Open, Self::Commit, Self::Lease, Self::Trim, Self::Query, Self::Relations];

    /// The first line makes the server refuse a writing script before it begins, if it could not be carried out to its end.
    fn source(self) -> &'static str {
        match self {
            Self::Open => script!("#!lua", "scripts/open.lua"),
            Self::Commit => script!("#!lua", "scripts/commit.lua"),
            Self::Lease => script!("#!lua", "scripts/head.lua", "scripts/lease.lua"),
            Self::Trim => script!("#!lua", "scripts/head.lua", "scripts/trim.lua"),
            Self::Query => script!("#!lua flags=no-writes", "scripts/head.lua", "scripts/query.lua"),
            Self::Relations => script!("#!lua flags=no-writes", "scripts/head.lua", "scripts/relations.lua"),
        }
    }
}

/// The names under which the server keeps the scripts.
#[derive(Debug, Clone)]
pub(crate) struct Scripts([String; Script::ALL.len()]);

impl Scripts {
    /// Gives the server every script.
    ///
    /// # Errors
    /// Those of the server.
    pub(crate) async fn load(conn: &mut MultiplexedConnection, operation: &'static str) -> Result<Self> {
        let mut pipe = redis::pipe();
        for script in Script::ALL {
            pipe.cmd("SCRIPT").arg("LOAD").arg(script.source());
        }
        let loaded = pipe.query_async::<Vec<String>>(conn).await;
        let names = loaded.map_err(|fault| convert(fault, operation, Phase::Connect))?;
        names.try_into().map(Self).map_err(|_| odd_answer(operation))
    }

    pub(crate) fn call(&self, script: Script, keys: &Keys) -> Cmd {
        let Self([open, commit, lease, trim, query, relations]) = self;
        let name = match script {
            Script::Open => open,
            Script::Commit => commit,
            Script::Lease => lease,
            Script::Trim => trim,
            Script::Query => query,
            Script::Relations => relations,
        };
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(name).arg(keys.all().len()).arg(keys.all());
        cmd
    }
}

/// The server as one store sees it.
#[derive(Debug)]
pub(crate) struct Calls {
    keys: Keys,
    store_id: String,
    scripts: Scripts,
    /// Large writes hold up neither reads nor the renewal of a lease.
    writes: Link,
    reads: Link,
    leases: Link,
    /// The newest offset known.
    seen: AtomicU64,
    /// The place of the next new record, as far as this process knows.
    next_place: AtomicU64,
    gate: Semaphore,
}

impl Calls {
    pub(crate) fn new(address: &Address, keys: Keys, store_id: String, scripts: Scripts, known: (Offset, u64)) -> Self {
        let (last, next_place) = known;
        let link = || Link::new(address.clone());
        Self {
            keys,
            store_id,
            scripts,
            writes: link(),
            reads: link(),
            leases: link(),
            seen: AtomicU64::new(last.0),
            next_place: AtomicU64::new(next_place),
            gate: Semaphore::new(CALLS_MAX as usize),
        }
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(crate) fn store_id(&self) -> &str {
        &self.store_id
    }

    /// The newest offset known.
    pub(crate) fn seen(&self) -> Offset {
        Offset(self.seen.load(Ordering::Acquire))
    }

    /// The place of the next new record, unless other processes have put some since this one was told.
    pub(crate) fn next_place(&self) -> u64 {
        self.next_place.load(Ordering::Acquire)
    }

    /// The server has said what the place of the next new record is.
    pub(crate) fn reached_place(&self, next: u64) {
        self.next_place.fetch_max(next, Ordering::AcqRel);
    }

    /// Waits for the calls under way; later ones fail as closed.
    ///
    /// # Errors
    /// `Closed`: it was closed before.
    pub(crate) async fn close(&self) -> Result<()> {
        let _all = self.gate.acquire_many(CALLS_MAX).await.map_err(|_| signal::closed("close"))?;
        self.gate.close();
        Ok(())
    }

    async fn enter(&self, operation: &'static str) -> Result<SemaphorePermit<'_>> {
        self.gate.acquire().await.map_err(|_| signal::closed(operation))
    }

    /// Runs a script; what it says behind `OK` and the end of the log, or another tag and what is behind that.
    pub(crate) async fn run(
        &self,
        script: Script,
        operation: &'static str,
        phase: Phase,
        args: &[&[u8]],
    ) -> Result<(String, Answer)> {
        let _place = self.enter(operation).await?;
        let seen = self.seen();
        let mut cmd = self.scripts.call(script, &self.keys);
        cmd.arg(&self.store_id).arg(seen.0).arg(args);
        let link = match script {
            Script::Lease => &self.leases,
            Script::Query | Script::Relations => &self.reads,
            Script::Open | Script::Commit | Script::Trim => &self.writes,
        };
        // What may be repeated is, once: a connection that broke while nobody used it shows at the next call.
        let mut may_repeat = phase == Phase::Repeatable;
        let mut loads = 0;
        loop {
            let mut loan = link.borrow(operation).await?;
            match cmd.query_async::<Value>(&mut loan.conn).await {
                Ok(value) => return self.open(Answer::new(value, operation)?, operation, seen),
                Err(fault) if has_lost_scripts(&fault) && loads < LOADS_MAX => {
                    loads += 1;
                    if let Err(error) = Scripts::load(&mut loan.conn, operation).await {
                        link.replace(&loan).await;
                        return Err(error);
                    }
                }
                Err(fault) => {
                    self.settle(link, &loan, &fault).await;
                    if !(may_repeat && is_lost(&fault)) {
                        return Err(convert(fault, operation, phase));
                    }
                    may_repeat = false;
                }
            }
        }
    }

    async fn settle(&self, link: &Link, loan: &crate::link::Loan, fault: &RedisError) {
        if breaks_connection(fault) {
            tracing::debug!(%fault, "the connection is replaced");
            link.replace(loan).await;
        }
    }

    /// Runs plain commands that only read, together, and says how the log stands: at least up to `last` before them, and trimmed at most up to
    /// `trimmed` after them. Not in a transaction, which a server without memory refuses.
    pub(crate) async fn read(&self, operation: &'static str, add: impl FnOnce(&mut Pipeline)) -> Result<Seen> {
        let _place = self.enter(operation).await?;
        let seen = self.seen();
        let mut pipe = redis::pipe();
        // Each error comes as the answer to its command, with its code.
        pipe.ignore_errors();
        let look = |pipe: &mut Pipeline| {
            pipe.cmd("HMGET").arg(self.keys.data()).arg("store").arg("last").arg("trimmed");
        };
        look(&mut pipe);
        add(&mut pipe);
        if pipe.len() > 1 {
            look(&mut pipe);
        }
        let mut may_repeat = true;
        loop {
            let mut loan = self.reads.borrow(operation).await?;
            let answers = pipe.query_async::<Vec<Value>>(&mut loan.conn).await;
            match answers.and_then(|answers| answers.into_iter().map(Value::extract_error).collect()) {
                Ok(answers) => return self.looked(answers, seen, operation),
                Err(fault) => {
                    self.settle(&self.reads, &loan, &fault).await;
                    if !(may_repeat && is_lost(&fault)) {
                        return Err(convert(fault, operation, Phase::Repeatable));
                    }
                    may_repeat = false;
                }
            }
        }
    }

    fn looked(&self, answers: Vec<Value>, seen: Offset, operation: &'static str) -> Result<Seen> {
        let mut answers = answers.into_iter();
        let meta = |value: Option<Value>| {
            let mut meta = Answer::new(value.unwrap_or_default(), operation)?;
            if meta.bytes()?.as_deref() != Some(self.store_id.as_bytes()) {
                return Err(self.gone(operation));
            }
            Ok((Offset(meta.number()?), Offset(meta.number()?)))
        };
        let (last, mut trimmed) = meta(answers.next())?;
        if answers.len() > 0 {
            (_, trimmed) = meta(answers.next_back())?;
        }
        self.note(last, seen, operation)?;
        let answers = Answer::new(Value::Array(answers.collect()), operation)?;
        Ok(Seen { answers, last, trimmed })
    }

    fn open(&self, mut answer: Answer, operation: &'static str, seen: Offset) -> Result<(String, Answer)> {
        let tag = answer.text()?;
        match tag.as_str() {
            "OK" => self.note(Offset(answer.number()?), seen, operation)?,
            "GONE" => return Err(self.gone(operation)),
            "BACK" => return Err(gone_back(operation, seen, Offset(answer.number()?))),
            _ => {}
        }
        Ok((tag, answer))
    }

    /// The log reaches up to `last`, although it was known to reach up to `seen` before the server was asked.
    fn note(&self, last: Offset, seen: Offset, operation: &'static str) -> Result<()> {
        if last < seen {
            return Err(gone_back(operation, seen, last));
        }
        self.seen.fetch_max(last.0, Ordering::AcqRel);
        Ok(())
    }

    fn gone(&self, operation: &'static str) -> Error {
        let message = "the server was emptied, or another store was put in the place of the one that was opened";
        Error::new(ErrorKind::Corrupt, operation, message).with("store", &self.store_id)
    }
}

/// The answer to plain commands, and how the log stood.
pub(crate) struct Seen {
    pub(crate) answers: Answer,
    pub(crate) last: Offset,
    pub(crate) trimmed: Offset,
}

fn gone_back(operation: &'static str, known: Offset, found: Offset) -> Error {
    let message = "the server has gone back to an older state: events that it acknowledged are lost. Open the store again to go on from there, \
        and publish again what is missing";
    Error::new(ErrorKind::Corrupt, operation, message).with("known", known).with("found", found)
}

/// Whether the connection broke, so that a new one may do. A server that does not answer in time is not asked again.
fn is_lost(fault: &RedisError) -> bool {
    fault.is_connection_dropped() && !fault.is_timeout()
}
