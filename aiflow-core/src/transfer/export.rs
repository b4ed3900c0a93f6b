//! Exporting: what is written, and of which moment is it?

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::line::{Header, LINE_BYTES_MAX, Written};
use super::{Held, KINDS, Transferred, refuse_part};
use crate::bus::{EVENTS_PAGE_MAX, EventBus, Head};
use crate::client::{AiFlow, check_user_event};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::event::{Event, EventFilter};
use crate::id::{Offset, random_id};
use crate::store::{PAGE_ROWS_MAX, Page, Query, RelationQuery};

/// The most records of a page. Each may be large.
const RECORDS_PAGE: usize = 100;
/// The most events of a page.
const EVENTS_PAGE: usize = 1_000;
const _: () = assert!(EVENTS_PAGE <= EVENTS_PAGE_MAX && RECORDS_PAGE <= PAGE_ROWS_MAX);
/// Bytes that are gathered before they are handed to the sink.
const SINK_BYTES: usize = 64 * 1024;

const OPERATION: &str = "export";

/// An export in the making; see [`AiFlow::export`].
#[derive(Debug, Clone)]
#[must_use = "nothing is exported before `to` is called and awaited"]
pub struct Export {
    flow: AiFlow,
    kinds: Vec<String>,
}

impl AiFlow {
    /// Writes everything that the store and the log hold, of all projects, as JSON lines: see [`transfer`](crate::transfer).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use aiflow_core::{client::AiFlow, memory::MemoryStore, time::SystemClock};
    /// # fn open() -> aiflow_core::Result<AiFlow> {
    /// #     let memory = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    /// #     AiFlow::new(memory.clone(), memory)
    /// # }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> aiflow_core::Result<()> {
    /// let aiflow = open()?;
    /// aiflow.publish(aiflow.event("samples").value("batch-7")).await?;
    /// let mut file = Vec::new(); // tokio::fs::File::create("aiflow.jsonl").await?
    /// aiflow.export().to(&mut file).await?;
    ///
    /// let copy = open()?;
    /// let done = copy.import(file.as_slice()).await?; // tokio::io::BufReader::new(file)
    /// assert_eq!((done.events, done.head), (1, aiflow.head().await?));
    /// # Ok(()) }
    /// ```
    pub fn export(&self) -> Export {
        let kinds = KINDS.iter().map(|kind| (*kind).to_owned()).collect();
        Export { flow: self.clone(), kinds }
    }
}

impl Export {
    /// Also exports records of this kind, which an application wrote through the [store](crate::store::MetaStore) itself. A store does not list
    /// its kinds.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        let kind = kind.into();
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
        self
    }

    /// Writes the export into `sink`, page by page, and flushes it.
    ///
    /// # Guarantees
    /// What is written is the store as it was at one event of its log, the [head](Transferred::head). No scheduler decides meanwhile: the call holds the lease of
    /// the scheduler, for at most a minute after it was broken off. Events of users may be published; they are not in the export. If anything else was
    /// written, the call fails, and what was written so far has no last line and cannot be imported. Removals by hand
    /// ([`delete_execution`](AiFlow::delete_execution), [`apply_retention`](AiFlow::apply_retention)) are not in the log and must wait.
    ///
    /// # Errors
    /// `Unavailable`: a scheduler leads, or the sink failed. `Conflict`: records were changed, or events trimmed, meanwhile; export again. `Corrupt`: the store holds a part of an
    /// import, or a record that is no JSON. `Fenced`: the lease was lost. Others are those of the store and the log.
    pub async fn to<W: AsyncWrite + Unpin + Send>(self, sink: W) -> Result<Transferred> {
        let store = &**self.flow.store();
        refuse_part(store, OPERATION).await?;
        let held = Held::take(store, &random_id(), OPERATION).await?;
        let mut writing = Writing { export: &self, held, sink, waiting: Vec::new(), done: Transferred::default() };
        let written = writing.everything().await;
        writing.held.release().await;
        written
    }
}

struct Writing<'a, W> {
    export: &'a Export,
    held: Held<'a>,
    sink: W,
    /// Lines that were not handed to the sink yet.
    waiting: Vec<u8>,
    done: Transferred,
}

impl<W: AsyncWrite + Unpin + Send> Writing<'_, W> {
    async fn everything(&mut self) -> Result<Transferred> {
        let flow = &self.export.flow;
        let head = flow.bus().head().await?;
        self.done.head = head.last;
        let log = flow.bus().capabilities().log;
        let kinds = self.export.kinds.clone();
        let header = Header::new(log, flow.clock().now(), head, self.held.lease.epoch, kinds);
        self.line(&Written::Header(&header)).await?;
        for kind in &self.export.kinds {
            self.records(kind).await?;
        }
        self.relations().await?;
        self.events(head).await?;
        self.check(head).await?;
        self.line(&Written::End(self.done.into())).await?;
        self.hand_over().await?;
        self.sink.flush().await.map_err(sink_failed)?;
        Ok(self.done)
    }

    async fn records(&mut self, kind: &str) -> Result<()> {
        let mut query = Query::kind(kind).limit(RECORDS_PAGE);
        loop {
            let Page { items, next } = self.held.store.query(&query).await?;
            for record in &items {
                if record.body.parse::<serde::de::IgnoredAny>().is_err() {
                    let message = "the body of a record is no JSON";
                    return Err(Error::new(ErrorKind::Corrupt, OPERATION, message).with("key", &record.key));
                }
                self.line(&Written::Record(record)).await?;
                self.done.records = self.done.records.saturating_add(1);
            }
            self.held.keep().await?;
            match next {
                Some(token) => query.after = Some(token),
                None => return Ok(()),
            }
        }
    }

    async fn relations(&mut self) -> Result<()> {
        let mut query = RelationQuery::default();
        loop {
            let Page { items, next } = self.held.store.relations(&query).await?;
            for relation in &items {
                self.line(&Written::Relation(relation)).await?;
                self.done.relations = self.done.relations.saturating_add(1);
            }
            self.held.keep().await?;
            match next {
                Some(token) => query.after = Some(token),
                None => return Ok(()),
            }
        }
    }

    async fn events(&mut self, head: Head) -> Result<()> {
        let mut after = head.trimmed;
        while after < head.last {
            let page = self.read(after).await?;
            let wanted = page.iter().take_while(|event| event.offset <= head.last);
            for event in wanted {
                self.line(&Written::Event(event)).await?;
                self.done.events = self.done.events.saturating_add(1);
            }
            self.held.keep().await?;
            match page.last() {
                Some(event) => after = event.offset,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    async fn read(&self, after: Offset) -> Result<Vec<std::sync::Arc<Event>>> {
        let bus: &dyn EventBus = &**self.export.flow.bus();
        match bus.read(after, &EventFilter::all(), EVENTS_PAGE).await {
            Ok(page) => Ok(page.events),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(changed("events were trimmed")),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing of what was written can have changed since `head`: whatever changes records is told of by an event in the same
    /// transaction.
    async fn check(&mut self, head: Head) -> Result<()> {
        self.held.renew().await?;
        let now = self.export.flow.bus().head().await?;
        if now.trimmed != head.trimmed {
            return Err(changed("events were trimmed"));
        }
        let mut after = head.last;
        while after < now.last {
            let page = self.read(after).await?;
            if let Some(event) = page.iter().find(|event| changes_records(event)) {
                return Err(changed("records were changed").with("event", event.offset));
            }
            let Some(last) = page.last() else { break };
            after = last.offset;
        }
        Ok(())
    }

    async fn line(&mut self, line: &Written<'_>) -> Result<()> {
        let begin = self.waiting.len();
        serde_json::to_writer(&mut self.waiting, line)
            .map_err(|error| Error::new(ErrorKind::Internal, OPERATION, error.to_string()))?;
        self.waiting.push(b'\n');
        let bytes = self.waiting.len().saturating_sub(begin);
        if bytes > LINE_BYTES_MAX {
            let message = format!("a line would have {bytes} bytes, at most {LINE_BYTES_MAX} can be read again");
            return Err(Error::new(ErrorKind::Unsupported, OPERATION, message));
        }
        if self.waiting.len() < SINK_BYTES { Ok(()) } else { self.hand_over().await }
    }

    async fn hand_over(&mut self) -> Result<()> {
        self.sink.write_all(&self.waiting).await.map_err(sink_failed)?;
        self.waiting.clear();
        Ok(())
    }
}

/// Whether an event may have come in one transaction with records. Events of users do not, apart from the replay of a dead letter.
fn changes_records(event: &Event) -> bool {
    check_user_event(event).is_err() || event.context.replay_of.is_some()
}

fn changed(what: &str) -> Error {
    Error::new(ErrorKind::Conflict, OPERATION, format!("{what} while they were exported: export again"))
}

fn sink_failed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, OPERATION, "the sink failed").with_retry(Retry::Never).caused_by(error)
}
