//! The writer: one task that owns the one write connection, and lets waiting requests share a transaction.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use aiflow_core::id::Offset;
use aiflow_core::time::{Clock, SystemClock};
use aiflow_core::{Error, Result};
use tokio::sync::{mpsc, oneshot};

use crate::apply::{self, Begun};
use crate::connect::{self, Conn};
use crate::error::{Fault, Phase};
use crate::known::Known;
use crate::lease::Locks;
use crate::options::SqliteOptions;
use crate::plan::{Answer, Facts, LogEnds, Plan, Work};
use crate::signal::Signal;
use crate::sql::Args;
use crate::tail::Tail;

/// The most requests that share a transaction.
const GROUP_REQUESTS_MAX: usize = 1_024;
/// The most items that share a transaction, unless one request alone has more.
const GROUP_ITEMS_MAX: usize = 20_000;
/// Times a transaction is begun again when SQLite gave up before the busy timeout.
const BEGIN_TRIES: usize = 5;

/// What the writer is sent.
pub(crate) enum Message {
    Request(Request),
    /// Finish what was accepted, then end.
    Close(oneshot::Sender<Result<()>>),
}

/// Something to write, and who waits for it.
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Result<Answer>>,
}

/// Counts of what the writer did.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) looks: AtomicU64,
}

/// Why a transaction failed. It concerns every request of the group.
struct Failed {
    fault: Arc<Fault>,
    phase: Phase,
}

impl Failed {
    fn new(fault: Fault, phase: Phase) -> Self {
        Self { fault: Arc::new(fault), phase }
    }

    fn error(&self, operation: &'static str) -> Error {
        Fault::shared_error(&self.fault, operation, self.phase)
    }
}

/// What a transaction did.
struct Done {
    answers: Vec<Result<Answer>>,
    /// Where the first event that it appended stands, if it appended any.
    first: Offset,
    /// When each event that it appended is recorded.
    moments: Vec<i64>,
}

/// What became of a transaction that rested on what was known.
enum Tried {
    Done(Done),
    /// Nothing was done: the file has changed, or a row was there already (`is_constraint`), or SQLite refused.
    Undone {
        is_constraint: bool,
    },
}

pub(crate) struct Writer {
    pub(crate) inbox: mpsc::Receiver<Message>,
    pub(crate) conn: Option<Conn>,
    /// What was true after the last transaction; another process may have written since.
    pub(crate) known: Option<Known>,
    pub(crate) path: PathBuf,
    pub(crate) options: SqliteOptions,
    pub(crate) locks: Locks,
    pub(crate) signal: Arc<Signal>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) counters: Arc<Counters>,
}

impl Writer {
    /// Serves requests until the last handle is dropped or one of them closes.
    pub(crate) async fn run(mut self) {
        let mut arrived = Vec::new();
        let mut waiting = VecDeque::new();
        let mut closing = None;
        loop {
            if waiting.is_empty() {
                if self.inbox.recv_many(&mut arrived, GROUP_REQUESTS_MAX).await == 0 {
                    break;
                }
            } else {
                while waiting.len() + arrived.len() < GROUP_REQUESTS_MAX
                    && let Ok(message) = self.inbox.try_recv()
                {
                    arrived.push(message);
                }
            }
            for message in arrived.drain(..) {
                match message {
                    Message::Request(request) => waiting.push_back(request),
                    Message::Close(reply) => {
                        self.inbox.close();
                        closing.get_or_insert(reply);
                    }
                }
            }
            let group = take_group(&mut waiting);
            self.serve(group).await;
            // What failed has left nothing to show.
            self.tail.set_behind(false);
            // Those who were answered may have more to write: let them join the next group, rather than find it gone.
            tokio::task::yield_now().await;
        }
        let ended = self.finish().await;
        if let Some(reply) = closing {
            // Nobody waits for the reply if the caller of `close` was dropped.
            let _ = reply.send(ended);
        }
    }

    /// Writes the log back into the file and closes it.
    async fn finish(&mut self) -> Result<()> {
        self.signal.close();
        let Some(mut conn) = self.conn.take() else {
            return Ok(());
        };
        for name in self.locks.names() {
            // The holder leaves in order and did not release: the lease stands until it runs out, although its lock file is free.
            if let Err(fault) = apply::unlock(&mut conn, &name).await {
                tracing::debug!(%fault, lease = name, "leaving a lease");
            }
            self.locks.free(&name);
        }
        let checkpoint = conn.rows("PRAGMA wal_checkpoint(TRUNCATE)", Args::default()).await;
        if let Err(fault) = checkpoint {
            // The next opening does it.
            tracing::debug!(%fault, "checkpoint at close");
        }
        conn.close().await.map_err(|fault| fault.into_error("close", Phase::Read))
    }

    async fn serve(&mut self, group: Vec<Request>) {
        if group.is_empty() {
            return;
        }
        let (works, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|request| (request.work, request.reply)).unzip();
        count(&self.counters.requests, works.len());
        let apart = match self.attempt(&works).await {
            Ok(done) => {
                self.announce(works, &done);
                reply_all(replies, done.answers);
                return;
            }
            // A request that SQLite cannot take must not take the others with it.
            Err(failed) if works.len() > 1 && failed.fault.blames_one(failed.phase) => None,
            Err(failed) => Some(failed),
        };
        for (work, reply) in works.into_iter().zip(replies) {
            let answer = match &apart {
                Some(failed) => Err(failed.error(work.operation())),
                None => self.serve_alone(work).await,
            };
            let _ = reply.send(answer);
        }
    }

    async fn serve_alone(&mut self, work: Work) -> Result<Answer> {
        match self.attempt(std::slice::from_ref(&work)).await {
            Ok(done) => {
                self.announce(vec![work], &done);
                done.answers.into_iter().next().unwrap_or(Ok(Answer::Done))
            }
            Err(failed) => Err(failed.error(work.operation())),
        }
    }

    /// Shows what was appended to the readers of this process, before anybody is told that it is there.
    fn announce(&self, works: Vec<Work>, done: &Done) {
        let Some(LogEnds { last, trimmed, .. }) = self.known.as_ref().map(|known| known.ends) else {
            return;
        };
        let mut next = done.first;
        let offsets = done.answers.iter().map(|answer| match answer {
            Ok(Answer::Offsets(offsets)) => offsets.as_slice(),
            _ => &[],
        });
        let appended = works.into_iter().zip(offsets).flat_map(|(work, offsets)| {
            // What was refused has no offsets, and what was in the log already has an earlier one.
            work.into_events().into_iter().zip(offsets)
        });
        let mut moments = done.moments.iter();
        let fresh = appended.filter_map(|(row, offset)| {
            if *offset != next {
                return None;
            }
            next = next.next();
            Some(row.into_event(*offset, *moments.next()?))
        });
        self.tail.push(fresh);
        self.tail.trim(trimmed);
        self.tail.set_behind(false);
        self.signal.reached(last);
    }

    /// Runs one transaction for the group: at once if what it depends on is known, otherwise after a look at the file.
    async fn attempt(&mut self, works: &[Work]) -> Result<Done, Failed> {
        self.tail.set_behind(works.iter().any(|work| !work.events().is_empty()));
        let known = self.known.as_mut().and_then(|known| Some((known.facts(works)?, known.version)));
        let look_up_ids = match known {
            Some((facts, version)) => match self.at_once(works, facts, version).await? {
                Tried::Done(done) => return Ok(done),
                Tried::Undone { is_constraint } => is_constraint,
            },
            None => false,
        };
        match self.transaction(works, look_up_ids).await {
            // An event of the group turned out to be in the log already.
            Err(failed) if !look_up_ids && failed.phase == Phase::Write && failed.fault.is_constraint() => {
                self.transaction(works, true).await
            }
            done => done,
        }
    }

    /// The short way: begin, check that the file is as it is known, write and commit, mostly in one round trip.
    async fn at_once(&mut self, works: &[Work], facts: Facts<'_>, version: i64) -> Result<Tried, Failed> {
        let Some(mut conn) = self.conn.take() else {
            return Ok(Tried::Undone { is_constraint: false });
        };
        let now = SystemClock.now();
        let mut plan = Plan::new(facts);
        let answers = works.iter().map(|work| plan.add(work, now, &mut self.locks)).collect();
        let changes = plan.record_changes();
        let written = apply::write_at(&mut conn, &plan, &changes, now, version).await;
        if let Err(fault) = written {
            let is_constraint = fault.is_constraint();
            let undone = conn.run("ROLLBACK", Args::default()).await;
            if fault.breaks_connection() || undone.is_err_and(|fault| fault.breaks_connection()) {
                tracing::warn!(%fault, "the write connection is replaced");
                self.known = None;
                return Err(Failed::new(fault, Phase::Commit));
            }
            // SQLite has undone it, so the long way may find out what is the matter.
            self.conn = Some(conn);
            return Ok(Tried::Undone { is_constraint });
        }
        self.conn = Some(conn);
        if let Ok(false) = written {
            return Ok(Tried::Undone { is_constraint: false });
        }
        if let Some(known) = &mut self.known {
            known.learn(plan.ends_after(now, &changes), &plan.leases, &changes);
        }
        count(&self.counters.transactions, 1);
        Ok(Tried::Done(Done { answers, first: plan.first(), moments: plan.moments(now).collect() }))
    }

    async fn transaction(&mut self, works: &[Work], look_up_ids: bool) -> Result<Done, Failed> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.reconnect().await?,
        };
        let held = self.locks.names();
        let mut done = self.steps(&mut conn, works, look_up_ids).await;
        if let Err(failed) = &mut done {
            for name in self.locks.names() {
                if !held.contains(&name) {
                    self.locks.free(&name);
                }
            }
            // SQLite has rolled back by itself after some faults; then this one reports that there is no transaction.
            let rolled_back = conn.run("ROLLBACK", Args::default()).await;
            let broken = failed.fault.breaks_connection() || rolled_back.is_err_and(|fault| fault.breaks_connection());
            if broken {
                tracing::warn!(fault = %failed.fault, "the write connection is replaced");
                self.known = None;
                drop(conn);
                return done;
            }
        }
        self.conn = Some(conn);
        done
    }

    /// The long way: begin, look, plan, write, commit.
    async fn steps(&mut self, conn: &mut Conn, works: &[Work], look_up_ids: bool) -> Result<Done, Failed> {
        let write = |fault| Failed::new(fault, Phase::Write);
        count(&self.counters.looks, 1);
        let begun = self.begin(conn, works).await.map_err(write)?;
        // What was known stays true if nobody else has written since; it is true again only when this transaction stands.
        let known = self.known.take().filter(|known| known.version == begun.version);
        let mut known = known.unwrap_or_else(|| Known::new(begun.version, begun.ends));
        let facts = apply::look(conn, works, begun, look_up_ids).await.map_err(write)?;
        known.remember(&facts, works);
        let now = SystemClock.now();
        let mut plan = Plan::new(facts);
        let answers = works.iter().map(|work| plan.add(work, now, &mut self.locks)).collect();
        let changes = plan.record_changes();
        apply::write(conn, &plan, &changes, now).await.map_err(|(fault, phase)| Failed::new(fault, phase))?;
        known.learn(plan.ends_after(now, &changes), &plan.leases, &changes);
        self.known = Some(known);
        count(&self.counters.transactions, 1);
        for name in &plan.freed {
            self.locks.free(name);
        }
        Ok(Done { answers, first: plan.first(), moments: plan.moments(now).collect() })
    }

    async fn begin(&self, conn: &mut Conn, works: &[Work]) -> Result<Begun, Fault> {
        let started = Instant::now();
        let mut tries = 1;
        loop {
            match apply::begin(conn, works).await {
                // Some locks, such as that of a recovery, are not waited for by SQLite itself.
                Err(fault)
                    if fault.is_busy() && tries < BEGIN_TRIES && started.elapsed() < self.options.busy_timeout =>
                {
                    tries += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                done => return done,
            }
        }
    }

    async fn reconnect(&self) -> Result<Conn, Failed> {
        let opened = connect::writer(&self.path, &self.options).await;
        opened.map_err(|error| Failed::new(Fault::Opening(error), Phase::Read))
    }
}

/// Takes what fits into one transaction from the front of the queue.
fn take_group(waiting: &mut VecDeque<Request>) -> Vec<Request> {
    let mut items = 0;
    let fitting = waiting.iter().take_while(|request| {
        items += request.work.items();
        items <= GROUP_ITEMS_MAX
    });
    let count = fitting.count().max(1).min(waiting.len());
    waiting.drain(..count).collect()
}

fn reply_all(replies: Vec<oneshot::Sender<Result<Answer>>>, answers: Vec<Result<Answer>>) {
    for (reply, answer) in replies.into_iter().zip(answers) {
        // A caller that went away does not undo what it asked for.
        let _ = reply.send(answer);
    }
}

fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(u64::try_from(by).unwrap_or(0), Ordering::Relaxed);
}
