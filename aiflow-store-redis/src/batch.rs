//! Batches: how is everything that must happen together handed to the server, ready to be written?

use std::collections::{BTreeSet, HashMap};

use aiflow_core::event::NewEvent;
use aiflow_core::store::{Batch, RecordPut};
use aiflow_core::time::Timestamp;
use aiflow_core::{Error, Result};

use crate::keys::{BLOCK, part};
use crate::pack::Pack;
use crate::row;

/// The most bytes of a packed batch: half of what the server takes as one argument.
const BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The most events in one entry of the log, and the bytes after which it takes no more: a reader takes an entry whole.
const ENTRY_EVENTS_MAX: usize = 64;
const ENTRY_BYTES: usize = 64 * 1024;
/// What the server knows of itself, before what a batch looks up.
const FACTS: [&str; 6] = ["store", "last", "recorded", "sequence", "newest", "lag"];

/// The arguments of `commit.lua` behind those that every script has: what the batch is, the values of its puts, which count from the place `guess`, and
/// the entries of the log.
///
/// # Errors
/// `Invalid`: too large, or a number is beyond what the server can count.
pub(crate) fn pack(batch: &Batch, guess: u64) -> Result<Vec<Vec<u8>>> {
    check_numbers(batch)?;
    let entries = entries(batch)?;
    let mut pack = Pack::default();
    pack.list(16);
    pack.int(batch.at.as_millis());
    match &batch.fence {
        Some(fence) => pack.text(&fence.epoch.to_string()),
        None => pack.no(),
    }
    pack.count(batch.events.len());
    pack.bool(batch.events.iter().map(|event| event.id.as_str()).collect::<BTreeSet<_>>().len() == batch.events.len());
    pack.texts(&names(batch));
    pack.list(batch.expect.len());
    for expect in &batch.expect {
        // No record is at revision 0, so that this expects something that never is.
        let revision = expect.revision.map_or(Some(0), |revision| (revision > 0).then_some(revision));
        pack.int(revision.and_then(|revision| i64::try_from(revision).ok()).unwrap_or(-1));
    }
    pack.count(batch.puts.len());
    pack.int(i64::try_from(guess).unwrap_or(i64::MAX));
    pack_runs(&mut pack, &batch.puts);
    if batch.puts.iter().any(|put| put.stamp.is_some()) {
        pack.list(batch.puts.len());
        batch.puts.iter().for_each(|put| pack.int(put.stamp.map_or(batch.at, |stamp| stamp.created).as_millis()));
    } else {
        pack.no();
    }
    // The first are added with the score that a sorted set wants before each entry.
    pack.list(batch.relate.len().saturating_mul(6));
    for entry in batch.relate.iter().flat_map(row::relation_entries) {
        pack.text("0");
        pack.text(&entry);
    }
    pack.list(batch.unrelate.len().saturating_mul(3));
    batch.unrelate.iter().flat_map(row::relation_entries).for_each(|entry| pack.text(&entry));
    pack.list(batch.events.len());
    for (n, event) in (1..).zip(&batch.events) {
        pack.short(&row::said(n, event));
    }
    pack.list(entries.len());
    entries.iter().for_each(|entry| pack.count(entry.count));
    if batch.recorded.is_empty() {
        pack.no();
    } else {
        pack.list(entries.len());
        entries.iter().for_each(|entry| pack.int(entry.moment.unwrap_or(batch.at).as_millis()));
    }
    let values = (guess..).zip(&batch.puts).map(|(place, put)| row::value(put, place, batch.at));
    let args: Vec<Vec<u8>> =
        std::iter::once(pack.into_bytes()).chain(values).chain(entries.into_iter().map(|entry| entry.lines)).collect();
    let bytes: usize = args.iter().map(Vec::len).sum();
    if bytes > BATCH_BYTES_MAX {
        let message = format!("the batch has {bytes} bytes, at most {BATCH_BYTES_MAX} are allowed");
        return Err(Error::invalid("commit", message));
    }
    Ok(args)
}

/// Everything that is looked up before anything is written.
fn names(batch: &Batch) -> Vec<String> {
    let facts = FACTS.iter().map(|fact| (*fact).to_owned());
    let lease = batch.fence.iter().map(|fence| format!("lease:{}", fence.lease));
    let puts = batch.puts.iter().map(|put| &put.key);
    let keys = batch.expect.iter().map(|expect| &expect.key).chain(puts).chain(&batch.deletes);
    let ids = batch.events.iter().map(|event| format!(":{}", event.id));
    facts.chain(lease).chain(keys.map(row::field)).chain(ids).collect()
}

/// Packs the lists that puts are in if they are new, and for each block of a list, those in it.
fn pack_runs(pack: &mut Pack, puts: &[RecordPut]) {
    let mut lists: HashMap<(&str, char, &str), usize> = HashMap::new();
    let mut named = Vec::new();
    let mut places: HashMap<(usize, usize), usize> = HashMap::new();
    let mut runs: Vec<(usize, usize, Pack)> = Vec::new();
    for (n, put) in puts.iter().enumerate() {
        let columns = [('p', &put.project), ('o', &put.parent), ('n', &put.name), ('s', &put.state)];
        let columns = columns.into_iter().map(|(letter, column)| (letter, column.as_str()));
        let piece = row::piece(n % BLOCK, &put.key.id);
        for (letter, column) in columns.filter(|(_, column)| !column.is_empty()).chain([('a', "")]) {
            let list = *lists.entry((&put.key.kind, letter, column)).or_insert_with(|| {
                let value = if column.is_empty() { String::new() } else { part(column) };
                named.push(format!("{}{letter}{value}", part(&put.key.kind)));
                named.len()
            });
            let run = *places.entry((list, n / BLOCK)).or_insert_with(|| {
                runs.push((list, n / BLOCK, Pack::default()));
                runs.len() - 1
            });
            if let Some((.., pieces)) = runs.get_mut(run) {
                pieces.raw(&piece);
            }
        }
    }
    pack.texts(&named);
    pack.list(runs.len().saturating_mul(3));
    for (list, block, pieces) in runs {
        pack.count(list);
        pack.count(block);
        pack.short(&pieces.into_bytes());
    }
}

/// An entry of the log: events that follow each other and were recorded together, as lines.
struct Entry {
    count: usize,
    moment: Option<Timestamp>,
    lines: Vec<u8>,
}

fn entries(batch: &Batch) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for (n, event) in batch.events.iter().enumerate() {
        let moment = batch.recorded.get(n).copied();
        let line = json(event)?;
        match entries.last_mut() {
            Some(entry)
                if entry.moment == moment
                    && entry.count < ENTRY_EVENTS_MAX
                    && entry.lines.len().saturating_add(line.len()) < ENTRY_BYTES =>
            {
                entry.count += 1;
                entry.lines.push(b'\n');
                entry.lines.extend_from_slice(&line);
            }
            _ => entries.push(Entry { count: 1, moment, lines: line }),
        }
    }
    Ok(entries)
}

fn json(event: &NewEvent) -> Result<Vec<u8>> {
    let wrong = |error| Error::invalid("publish", "the event cannot be written as JSON").caused_by(error);
    serde_json::to_vec(&row::Said::new(event)).map_err(wrong)
}

/// Scripts count exactly up to 53 bits: nothing beyond is taken, so that nothing is changed unseen.
fn check_numbers(batch: &Batch) -> Result<()> {
    const EXACT: u64 = 1 << 53;
    let stamps = || batch.puts.iter().filter_map(|put| put.stamp);
    let mut moments = stamps().flat_map(|stamp| [stamp.created, stamp.updated]).chain(batch.recorded.iter().copied());
    let is_exact = |moment: Timestamp| moment.as_millis().unsigned_abs() <= EXACT;
    if is_exact(batch.at) && moments.all(is_exact) && stamps().all(|stamp| stamp.revision <= EXACT) {
        return Ok(());
    }
    Err(Error::invalid("commit", "a moment or a revision is beyond what the server can count, 53 bits"))
}

#[cfg(test)]
mod tests {
    use aiflow_core::ErrorKind;
    use aiflow_core::store::{RecordKey, RecordStamp};

    use super::*;

    #[test]
    fn what_the_server_cannot_count_or_take_is_refused_before_it_is_sent() {
        let far = Timestamp::from_millis(i64::MIN);
        let stamped = |revision, created| {
            let put = RecordPut::new(RecordKey::new("a", "b"), serde_json::json!({}));
            let stamp = Some(RecordStamp { revision, created, updated: Timestamp::EPOCH });
            Batch::at(Timestamp::EPOCH).put(RecordPut { stamp, ..put })
        };
        assert!(pack(&stamped(1 << 53, Timestamp::from_millis(-5)), 0).is_ok());
        let body = serde_json::Value::from("x".repeat(4 * 1024 * 1024 - 2));
        let mut large = Batch::default();
        let put = RecordPut::new(RecordKey::new("a", "b"), body);
        large.puts = vec![put; 65];
        let copies = Batch { recorded: vec![far], events: vec![NewEvent::new("a", "b")], ..Batch::default() };
        for batch in [Batch::at(far), stamped(1, far), stamped(u64::MAX, Timestamp::EPOCH), copies, large] {
            assert_eq!(pack(&batch, 0).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn events_share_entries_of_the_log_that_stay_small_and_are_of_one_moment() {
        let counts = |batch: &Batch| entries(batch).unwrap().iter().map(|entry| entry.count).collect::<Vec<_>>();
        let events = |count: usize, bytes: usize| {
            let value = "v".repeat(bytes);
            (0..count).map(|_| NewEvent::new("wine", "samples").value(value.as_str())).collect::<Vec<_>>()
        };
        assert!(counts(&Batch::default()).is_empty());
        assert_eq!(counts(&Batch { events: events(130, 10), ..Batch::default() }), [64, 64, 2]);
        assert_eq!(counts(&Batch { events: events(5, 30_000), ..Batch::default() }), [2, 2, 1]);
        assert_eq!(counts(&Batch { events: events(2, 100_000), ..Batch::default() }), [1, 1]);
        let recorded = [1, 1, 2, 1].map(Timestamp::from_millis).to_vec();
        assert_eq!(counts(&Batch { events: events(4, 10), recorded, ..Batch::default() }), [2, 1, 1]);
    }
}
