//! Importing: is each line of an export right, and does it stand in the new store as it stood in the old one?

use std::collections::BTreeSet;

use tokio::io::AsyncBufRead;

use super::line::{End, Header, Line, Lines};
use super::{Held, KINDS, Transferred, mark_key, refuse_part};
use crate::client::AiFlow;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, NewEvent, SYSTEM_NAMESPACE};
use crate::id::{Offset, random_id};
use crate::json::Json;
use crate::runtime::SCHEDULER_LEASE;
use crate::store::{Batch, MetaStore, Query, Record, RecordKey, RecordPut, RecordStamp, Relation, RelationQuery};
use crate::time::Timestamp;

/// The most lines that one transaction writes.
const LINES_MAX: usize = 1_000;
/// Bytes of lines after which a transaction is written.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most trimmed events in whose place others are appended and trimmed, so that the rest keep their offsets.
pub(super) const TRIMMED_MAX: u64 = 50_000_000;
/// How many of them at once.
const TRIMMED_STEP: u64 = 10_000;
/// The most changes of the leader that are repeated, so that epochs go on rising.
const EPOCHS_MAX: u64 = 100_000;

const OPERATION: &str = "import";

impl AiFlow {
    /// Reads an [export](Self::export) into this store, which must be empty.
    ///
    /// # Guarantees
    /// Records keep id, revision, times and order within their kind; events keep offset, id and the moment at which they were recorded; the log begins where that of the source did. So
    /// a scheduler goes on where the last one stopped, an execution in its midst included. Process jobs that ran go on too if they are
    /// given the same run directory. Do not let a scheduler of the source go on as well: both would start the same jobs.
    ///
    /// Not one transaction: until the last line was read and agreed, the store is marked as unfinished, and schedulers, exports and
    /// imports refuse it. An import that failed is not gone on with: throw the store away. Nobody else may write into the store meanwhile.
    ///
    /// # Errors
    /// `Corrupt`: a line is wrong, which names its number; the source was cut, is no export, or was written by a newer release; or the store
    /// holds a part of an import. `AlreadyExists`: the store is not empty. `Unsupported`: more than 50,000,000 events were trimmed, or the leader changed more than
    /// 100,000 times. `Unavailable`: a scheduler leads, or the source failed. `Fenced`: the lease was lost. Others are those of the store and the log.
    pub async fn import<R: AsyncBufRead + Unpin + Send>(&self, source: R) -> Result<Transferred> {
        let store = &**self.store();
        let mut lines = Lines::new(source);
        let header = lines.header().await?;
        refuse_part(store, OPERATION).await?;
        let mut held = Held::take(store, &random_id(), OPERATION).await?;
        let read = match self.check_empty(&header).await {
            Ok(()) => match raise(&mut held, header.epoch).await {
                Ok(()) => self.read_into(&mut held, &header, &mut lines).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        held.release().await;
        read
    }

    async fn check_empty(&self, header: &Header) -> Result<()> {
        let not_empty = |what: &str| {
            let message = "the store is not empty: import into a new one";
            Err(Error::new(ErrorKind::AlreadyExists, OPERATION, message).with("holds", what))
        };
        if self.bus().head().await?.last > Offset::START {
            return not_empty("events");
        }
        for kind in KINDS.iter().copied().chain(header.kinds.iter().map(String::as_str)) {
            if !self.store().query(&Query::kind(kind).limit(1)).await?.items.is_empty() {
                return not_empty(kind);
            }
        }
        let relations = RelationQuery { limit: 1, ..RelationQuery::default() };
        if !self.store().relations(&relations).await?.items.is_empty() {
            return not_empty("relations");
        }
        Ok(())
    }

    async fn read_into<R: AsyncBufRead + Unpin + Send>(
        &self,
        held: &mut Held<'_>,
        header: &Header,
        lines: &mut Lines<R>,
    ) -> Result<Transferred> {
        let now = self.clock().now();
        let mark = empty(now, held).expect(mark_key(), None).put(RecordPut::new(mark_key(), Json::of(header)));
        held.store.commit(mark).await?;
        self.skip_trimmed(held, header, lines).await?;
        let mut reading = Reading {
            batch: empty(now, held),
            held,
            keys: BTreeSet::new(),
            bytes: 0,
            first: 0,
            last: header.trimmed,
            done: Transferred { head: header.head, ..Transferred::default() },
        };
        let end = reading.until_end(lines, header).await?;
        let done = reading.done;
        if End::from(done) != end || reading.last != header.head {
            let message = "the numbers of the last line are not those of the lines before it: some are missing";
            return Err(lines.wrong(message));
        }
        if self.bus().head().await?.last != header.head {
            return Err(disturbed());
        }
        held.store.commit(empty(now, held).delete(mark_key())).await?;
        Ok(done)
    }

    /// Appends an event for each that was trimmed in the source, and trims them.
    async fn skip_trimmed<R: AsyncBufRead + Unpin>(
        &self,
        held: &mut Held<'_>,
        header: &Header,
        lines: &Lines<R>,
    ) -> Result<()> {
        if header.trimmed > header.head {
            return Err(lines.wrong("more events are said to be trimmed than there were"));
        }
        if header.trimmed.0 > TRIMMED_MAX {
            let message = format!("more than {TRIMMED_MAX} events were trimmed");
            return Err(Error::new(ErrorKind::Unsupported, OPERATION, message).with("trimmed", header.trimmed));
        }
        let mut last = 0;
        while last < header.trimmed.0 {
            let until = header.trimmed.0.min(last.saturating_add(TRIMMED_STEP));
            let mut batch = empty(Timestamp::EPOCH, held);
            let trimmed = |n: u64| NewEvent::identified(format!("aiflow:trimmed:{n}"), SYSTEM_NAMESPACE, "trimmed");
            batch.events = (last.saturating_add(1)..=until).map(trimmed).collect();
            batch.recorded = vec![Timestamp::EPOCH; batch.events.len()];
            let receipt = held.store.commit(batch).await?;
            if receipt.offsets.last() != Some(&Offset(until)) {
                return Err(disturbed());
            }
            self.bus().trim(Offset(until)).await?;
            held.keep().await?;
            last = until;
        }
        Ok(())
    }
}

/// Lets the epoch of the lease rise above that of the source: executors take no commands of an earlier one.
async fn raise(held: &mut Held<'_>, epoch: u64) -> Result<()> {
    if epoch.saturating_sub(held.lease.epoch) > EPOCHS_MAX {
        let message = format!("the leader of the source changed more than {EPOCHS_MAX} times");
        return Err(Error::new(ErrorKind::Unsupported, OPERATION, message).with("epoch", epoch));
    }
    while held.lease.epoch <= epoch {
        held.store.release(&held.lease).await?;
        let lease = held.store.acquire(SCHEDULER_LEASE, &random_id(), super::LEASE_TTL).await?;
        held.lease = lease.ok_or_else(|| Error::new(ErrorKind::Fenced, OPERATION, "a scheduler has taken over"))?;
    }
    Ok(())
}

fn empty(at: Timestamp, held: &Held<'_>) -> Batch {
    Batch { fence: Some(held.lease.fence()), ..Batch::at(at) }
}

fn disturbed() -> Error {
    Error::new(ErrorKind::Conflict, OPERATION, "somebody else has published meanwhile: events have lost their offsets")
        .with_retry(crate::error::Retry::Never)
}

/// The transaction in the making.
struct Reading<'a, 'b> {
    held: &'a mut Held<'b>,
    batch: Batch,
    keys: BTreeSet<RecordKey>,
    bytes: usize,
    /// Number of the first line in the batch.
    first: u64,
    /// Offset of the newest event that was read.
    last: Offset,
    done: Transferred,
}

impl Reading<'_, '_> {
    /// Reads and writes everything up to the last line, and returns that.
    async fn until_end<R: AsyncBufRead + Unpin + Send>(
        &mut self,
        lines: &mut Lines<R>,
        header: &Header,
    ) -> Result<End> {
        let mut before = (1, "record");
        loop {
            let line =
                lines.next().await?.ok_or_else(|| lines.wrong("the source was cut: its last line is missing"))?;
            let place = line.place();
            if place < before {
                return Err(lines.wrong(format!("a line of sort {} comes after one of sort {}", place.1, before.1)));
            }
            if place > before {
                self.write(lines.number.saturating_sub(1)).await?;
                before = place;
            }
            match line {
                Line::Header(_) => return Err(lines.wrong("a second header")),
                Line::Record(record) => self.record(record, header).map_err(|error| at(lines, &error))?,
                Line::Relation(relation) => self.relation(relation),
                Line::Event(event) => self.event(event, header).map_err(|error| at(lines, &error))?,
                Line::End(end) => {
                    return match lines.next().await {
                        Ok(None) => Ok(end),
                        _ => Err(lines.wrong("there is more after the last line")),
                    };
                }
            }
            if self.first == 0 {
                self.first = lines.number;
            }
            self.bytes = self.bytes.saturating_add(lines.bytes);
            let n = self.batch.puts.len().max(self.batch.relate.len()).max(self.batch.events.len());
            if n >= LINES_MAX || self.bytes >= BYTES_MAX {
                self.write(lines.number).await?;
            }
        }
    }

    fn record(&mut self, record: Record, header: &Header) -> Result<()> {
        if !header.kinds.contains(&record.key.kind) {
            return Err(Error::invalid(OPERATION, "the header does not name this kind").with("key", &record.key));
        }
        if !self.keys.insert(record.key.clone()) {
            return Err(Error::invalid(OPERATION, "the record is there twice").with("key", &record.key));
        }
        let Record { key, project, parent, name, state, number, body, revision, created, updated } = record;
        let stamp = Some(RecordStamp { revision, created, updated });
        let put = RecordPut { key: key.clone(), project, parent, name, state, number, body, stamp };
        let mut one = Batch::default().expect(key, None).put(put);
        one.check()?;
        self.batch.expect.append(&mut one.expect);
        self.batch.puts.append(&mut one.puts);
        self.done.records = self.done.records.saturating_add(1);
        Ok(())
    }

    fn relation(&mut self, relation: Relation) {
        self.batch.relate.push(relation);
        self.done.relations = self.done.relations.saturating_add(1);
    }

    fn event(&mut self, event: Event, header: &Header) -> Result<()> {
        if event.offset != self.last.next() || event.offset > header.head {
            let message = format!("an event at offset {}, where {} was expected", event.offset, self.last.next());
            return Err(Error::invalid(OPERATION, message).with("head", header.head));
        }
        event.check()?;
        self.last = event.offset;
        self.batch.recorded.push(event.recorded);
        self.batch.events.push(event.body);
        self.done.events = self.done.events.saturating_add(1);
        Ok(())
    }

    /// Writes what was gathered, up to line `number`.
    async fn write(&mut self, number: u64) -> Result<()> {
        if self.first == 0 {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, empty(Timestamp::EPOCH, self.held));
        let n_events = batch.events.len();
        let lines = format!("{}..={number}", self.first);
        self.keys.clear();
        (self.bytes, self.first) = (0, 0);
        let receipt = match self.held.store.commit(batch).await {
            Ok(receipt) => receipt,
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) => {
                let message = "a record or an id of an event is there twice";
                return Err(Error::new(ErrorKind::Corrupt, OPERATION, message).with("lines", lines).caused_by(error));
            }
            Err(error) => return Err(error),
        };
        let first = self.last.0.saturating_sub(n_events as u64).saturating_add(1);
        if n_events > 0 && !receipt.offsets.iter().map(|offset| offset.0).eq(first..=self.last.0) {
            let message = "an id of an event is there twice, or somebody else has published meanwhile";
            return Err(Error::new(ErrorKind::Corrupt, OPERATION, message).with("lines", lines));
        }
        self.held.keep().await
    }
}

/// The error of a line that reads well and is wrong.
fn at<R: AsyncBufRead + Unpin>(lines: &Lines<R>, error: &Error) -> Error {
    error.context().fold(lines.wrong(error.message()), |all, (name, value)| all.with(name, value))
}
