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
use crate::lease::Locks;
use crate::options::SqliteOptions;
use crate::plan::{Answer, LogEnds, Plan, Work};
use crate::row::EventRow;
use crate::signal::Signal;
use crate::sql::{Args, CHUNK_ROWS};

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

pub(crate) struct Writer {
    pub(crate) inbox: mpsc::Receiver<Message>,
    pub(crate) conn: Option<Conn>,
    /// The ends of the log after the last transaction; another process may have appended since.
    pub(crate) ends: Option<LogEnds>,
    pub(crate) path: PathBuf,
    pub(crate) options: SqliteOptions,
    pub(crate) locks: Locks,
    pub(crate) signal: Arc<Signal>,
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
            Ok(answers) => {
                reply_all(replies, answers);
                return;
            }
            // A request that SQLite cannot take must not take the others with it.
            Err(failed) if works.len() > 1 && failed.fault.blames_one(failed.phase) => None,
            Err(failed) => Some(failed),
        };
        for (work, reply) in works.iter().zip(replies) {
            let answer = match &apart {
                Some(failed) => Err(failed.error(work.operation())),
                None => match self.attempt(std::slice::from_ref(work)).await {
                    Ok(answers) => answers.into_iter().next().unwrap_or(Ok(Answer::Done)),
                    Err(failed) => Err(failed.error(work.operation())),
                },
            };
            let _ = reply.send(answer);
        }
    }

    /// Runs one transaction for the group. It is begun anew, with a look at the ids in the log, if an event turns out to be there.
    async fn attempt(&mut self, works: &[Work]) -> Result<Vec<Result<Answer>>, Failed> {
        if let Some(answers) = self.append_only(works).await? {
            return Ok(answers);
        }
        match self.transaction(works, false).await {
            Err(failed) if failed.phase == Phase::Write && failed.fault.is_constraint() => {
                self.transaction(works, true).await
            }
            done => done,
        }
    }

    /// The short way for the commonest group, some publishes: one statement in one round trip. `None` if it does not apply, because there
    /// are other requests, too many events, ids that are in the log already, or another process that has appended; nothing was done then.
    async fn append_only(&mut self, works: &[Work]) -> Result<Option<Vec<Result<Answer>>>, Failed> {
        let Some(events) = only_events(works) else {
            return Ok(None);
        };
        let (Some(ends), Some(mut conn)) = (self.ends, self.conn.take()) else {
            return Ok(None);
        };
        let recorded = SystemClock.now().as_millis().max(ends.recorded);
        let appended = match apply::append(&mut conn, &events, recorded, ends.last).await {
            Ok(appended) => appended,
            Err(fault) if fault.breaks_connection() => {
                return Err(Failed::new(fault, Phase::Commit));
            }
            // SQLite has undone the statement, so the long way may find out what is the matter.
            Err(_) => false,
        };
        self.conn = Some(conn);
        if !appended {
            return Ok(None);
        }
        let mut last = ends.last;
        let answers = works.iter().map(|work| {
            let offsets = work.events().iter().map(|_| {
                last = last.next();
                last
            });
            Ok(Answer::Offsets(offsets.collect::<Vec<Offset>>()))
        });
        let answers = answers.collect();
        self.ends = Some(LogEnds { last, recorded, ..ends });
        count(&self.counters.transactions, 1);
        self.signal.reached(last);
        Ok(Some(answers))
    }

    async fn transaction(&mut self, works: &[Work], look_up_ids: bool) -> Result<Vec<Result<Answer>>, Failed> {
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
                drop(conn);
                return done;
            }
        }
        self.conn = Some(conn);
        done
    }

    /// Begin, look, plan, write, commit.
    async fn steps(
        &mut self,
        conn: &mut Conn,
        works: &[Work],
        look_up_ids: bool,
    ) -> Result<Vec<Result<Answer>>, Failed> {
        let write = |fault| Failed::new(fault, Phase::Write);
        // Whatever happens, what is known of the log is known again only when this transaction stands.
        self.ends = None;
        let begun = self.begin(conn, works).await.map_err(write)?;
        let facts = apply::look(conn, works, begun, look_up_ids).await.map_err(write)?;
        let now = SystemClock.now();
        let mut plan = Plan::new(facts);
        let answers = works.iter().map(|work| plan.add(work, now, &mut self.locks)).collect();
        apply::write(conn, &plan, now).await.map_err(|(fault, phase)| Failed::new(fault, phase))?;
        self.ends = Some(plan.ends_after(now));
        count(&self.counters.transactions, 1);
        for name in &plan.freed {
            self.locks.free(name);
        }
        self.signal.reached(plan.last());
        Ok(answers)
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

/// The events of a group that holds nothing else and fits into one statement.
fn only_events(works: &[Work]) -> Option<Vec<&EventRow>> {
    let all_publish = works.iter().all(|work| matches!(work, Work::Publish(_)));
    let count: usize = works.iter().map(Work::items).sum();
    (all_publish && (1..=CHUNK_ROWS).contains(&count)).then(|| works.iter().flat_map(Work::events).collect())
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
