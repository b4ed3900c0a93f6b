//! Transactions: how is the file looked at before a plan, and how is the plan written?

use std::collections::{HashMap, HashSet};

use aiflow_core::id::Offset;
use aiflow_core::time::Timestamp;
use sqlx::Row;

use crate::connect::Conn;
use crate::error::Fault;
use crate::lease::LeaseRow;
use crate::plan::{Facts, Key, LogEnds, Plan, Put, RelationRow, StoredRecord, Work};
use crate::row::{EventRow, StoredEvent, signed, unsigned};
use crate::sql::{Args, Bulk, CHUNK_ROWS, EVENT_ARGS, shape};

/// Begins and looks at the log in one round trip.
const BEGIN: &str = "BEGIN IMMEDIATE; \
    SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name='event'),0), trimmed, \
    max(trimmed_recorded, coalesce((SELECT recorded FROM event ORDER BY offset DESC LIMIT 1),0)) FROM meta";

const GET_LEASE: &str = "SELECT holder,epoch,expires,locked FROM lease WHERE name=?1";

const PUT_LEASE: &str = "INSERT INTO lease(name,holder,epoch,expires,locked) VALUES(?1,?2,?3,?4,?5) \
    ON CONFLICT(name) DO UPDATE SET holder=?2,epoch=?3,expires=?4,locked=?5";

const TRIM_META: &str = "UPDATE meta SET trimmed=?1, trimmed_recorded=coalesce(\
    (SELECT recorded FROM event WHERE offset<=?1 ORDER BY offset DESC LIMIT 1),trimmed_recorded) WHERE trimmed<?1";

/// Begins a transaction that can write, and reads the ends of the log.
pub(crate) async fn begin(conn: &mut Conn) -> Result<LogEnds, Fault> {
    let rows = conn.rows(BEGIN, Args::default()).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(LogEnds {
        last: Offset(unsigned(row.try_get_unchecked(0)?)),
        trimmed: Offset(unsigned(row.try_get_unchecked(1)?)),
        recorded: row.try_get_unchecked(2)?,
    })
}

/// Reads everything that the requests depend on.
pub(crate) async fn look<'a>(
    conn: &mut Conn,
    works: &'a [Work],
    ends: LogEnds,
    look_up_ids: bool,
) -> Result<Facts<'a>, Fault> {
    let mut leases = HashMap::new();
    for name in works.iter().filter_map(Work::lease) {
        if !leases.contains_key(name)
            && let Some(row) = find_lease(conn, name).await?
        {
            leases.insert(name.to_owned(), row);
        }
    }
    Ok(Facts {
        ends,
        records: find_records(conn, works).await?,
        leases,
        events: if look_up_ids {
            Some(find_events(conn, works).await?)
        } else {
            None
        },
    })
}

/// Notes that the holder of a lease has no lock file any more.
pub(crate) async fn unlock(conn: &mut Conn, name: &str) -> Result<(), Fault> {
    let mut args = Args::default();
    args.str(name);
    conn.run("UPDATE lease SET locked=0 WHERE name=?1", args)
        .await
        .map(|_| ())
}

async fn find_lease(conn: &mut Conn, name: &str) -> Result<Option<LeaseRow>, Fault> {
    let mut args = Args::default();
    args.str(name);
    let rows = conn.rows(GET_LEASE, args).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some(LeaseRow {
        holder: row.try_get_unchecked(0)?,
        epoch: row.try_get_unchecked(1)?,
        expires: row.try_get_unchecked(2)?,
        locked: row.try_get_unchecked::<i64, _>(3)? != 0,
    }))
}

async fn find_records<'a>(
    conn: &mut Conn,
    works: &'a [Work],
) -> Result<HashMap<Key<'a>, StoredRecord>, Fault> {
    let mut seen = HashSet::new();
    let keys: Vec<Key<'a>> = works
        .iter()
        .flat_map(Work::keys)
        .filter(|key| seen.insert(*key))
        .collect();
    let mut found = HashMap::new();
    for chunk in keys.chunks(CHUNK_ROWS) {
        let mut args = Args::default();
        for (kind, id) in chunk {
            args.str(kind);
            args.str(id);
        }
        for row in conn.bulk_rows(Bulk::FindRecords, chunk.len(), args).await? {
            let number: i64 = row.try_get_unchecked(0)?;
            let stored = StoredRecord {
                seq: row.try_get_unchecked(1)?,
                revision: unsigned(row.try_get_unchecked(2)?),
                project: row.try_get_unchecked(3)?,
                parent: row.try_get_unchecked(4)?,
                name: row.try_get_unchecked(5)?,
            };
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            if let Some(key) = chunk.get(number) {
                found.insert(*key, stored);
            }
        }
    }
    Ok(found)
}

async fn find_events(
    conn: &mut Conn,
    works: &[Work],
) -> Result<HashMap<String, StoredEvent>, Fault> {
    let ids: Vec<_> = works
        .iter()
        .flat_map(Work::events)
        .map(|event| &event.id)
        .collect();
    let mut found = HashMap::new();
    for chunk in ids.chunks(CHUNK_ROWS) {
        let mut args = Args::default();
        for id in chunk {
            args.text(id);
        }
        for row in conn.bulk_rows(Bulk::FindEvents, chunk.len(), args).await? {
            let (id, stored) = StoredEvent::decode(&row)?;
            found.insert(id, stored);
        }
    }
    Ok(found)
}

/// Writes a plan into the open transaction.
pub(crate) async fn write(conn: &mut Conn, plan: &Plan<'_>, now: Timestamp) -> Result<(), Fault> {
    // Events first: they are the only statement that may be refused, and then nothing was done in vain.
    let recorded = now.as_millis().max(plan.ends().recorded);
    let mut first = signed(plan.first().0);
    for chunk in plan.events.chunks(CHUNK_ROWS) {
        let args = event_args(chunk, recorded, first);
        conn.bulk(Bulk::InsertEvents, chunk.len(), args).await?;
        first += i64::try_from(chunk.len()).unwrap_or(0);
    }
    write_records(conn, plan).await?;
    write_relations(conn, plan).await?;
    for (name, row) in &plan.leases {
        let mut args = Args::default();
        args.str(name);
        args.str(&row.holder);
        args.int(row.epoch);
        args.int(row.expires);
        args.int(i64::from(row.locked));
        conn.run(PUT_LEASE, args).await?;
    }
    if let Some(through) = plan.trim {
        for statement in [TRIM_META, "DELETE FROM event WHERE offset<=?1"] {
            let mut args = Args::default();
            args.int(signed(through.0));
            conn.run(statement, args).await?;
        }
    }
    Ok(())
}

fn event_args(chunk: &[&EventRow], recorded: i64, first: i64) -> Args {
    let mut args = Args::default();
    args.int(recorded);
    args.int(first);
    for event in chunk {
        args.text(&event.id);
        args.text(&event.namespace);
        args.text(&event.key);
        args.text(&event.event_type);
        args.text(&event.sender);
        args.optional_text(event.value.as_ref());
    }
    // Parameters that are not bound are NULL.
    if chunk.iter().any(|event| event.has_extra()) {
        let unused = (shape(chunk.len()) - chunk.len()) * EVENT_ARGS;
        (0..unused).for_each(|_| args.null());
        for event in chunk {
            args.optional_text(event.context.as_ref());
            args.optional_int(event.time);
            args.optional_int(event.cause);
            args.optional_int(event.hops);
        }
    }
    args
}

async fn write_records(conn: &mut Conn, plan: &Plan<'_>) -> Result<(), Fault> {
    let changes = plan.record_changes();
    for chunk in changes.deletes.chunks(CHUNK_ROWS) {
        let mut args = Args::default();
        chunk.iter().for_each(|seq| args.int(*seq));
        conn.bulk(Bulk::DeleteRecords, chunk.len(), args).await?;
    }
    for chunk in changes.updates.chunks(CHUNK_ROWS) {
        let mut args = Args::default();
        for (seq, put) in chunk {
            update_args(&mut args, *seq, put);
        }
        conn.bulk(Bulk::UpdateRecords, chunk.len(), args).await?;
    }
    for chunk in changes.moves.chunks(CHUNK_ROWS) {
        let mut args = Args::default();
        for (seq, put) in chunk {
            update_args(&mut args, *seq, put);
            args.text(&put.row.project);
            args.text(&put.row.parent);
            args.text(&put.row.name);
        }
        conn.bulk(Bulk::MoveRecords, chunk.len(), args).await?;
    }
    for chunk in changes.inserts.chunks(CHUNK_ROWS) {
        let mut args = Args::default();
        for put in chunk {
            args.text(&put.row.kind);
            args.text(&put.row.id);
            args.text(&put.row.project);
            args.text(&put.row.parent);
            args.text(&put.row.name);
            args.text(&put.row.state);
            args.int(signed(put.revision));
            args.int(put.created);
            args.int(put.updated);
            args.text(&put.row.body);
        }
        conn.bulk(Bulk::InsertRecords, chunk.len(), args).await?;
    }
    Ok(())
}

fn update_args(args: &mut Args, seq: i64, put: &Put<'_>) {
    args.int(seq);
    args.text(&put.row.state);
    args.int(signed(put.revision));
    args.int(put.updated);
    args.text(&put.row.body);
}

async fn write_relations(conn: &mut Conn, plan: &Plan<'_>) -> Result<(), Fault> {
    for (add, bulk) in [
        (true, Bulk::InsertRelations),
        (false, Bulk::DeleteRelations),
    ] {
        let chosen = plan.relations.iter().filter(|(_, adds)| **adds == add);
        let chosen: Vec<&RelationRow> = chosen.map(|(relation, _)| *relation).collect();
        for chunk in chosen.chunks(CHUNK_ROWS) {
            let mut args = Args::default();
            for column in chunk.iter().flat_map(|relation| relation.iter()) {
                args.text(column);
            }
            conn.bulk(bulk, chunk.len(), args).await?;
        }
    }
    Ok(())
}
