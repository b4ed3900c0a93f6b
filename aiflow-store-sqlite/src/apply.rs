//! Transactions: how is the file looked at before a plan, and how is the plan written?

use std::collections::{HashMap, HashSet};

use aiflow_core::id::Offset;
use aiflow_core::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::connect::Conn;
use crate::error::{Fault, Phase};
use crate::lease::LeaseRow;
use crate::plan::{Facts, Key, LogEnds, Plan, Put, RecordChanges, RelationRow, StoredRecord, Work};
use crate::row::{StoredEvent, signed, unsigned};
use crate::sql::{Args, Bulk, CHUNK_ROWS, Trips};

/// Begins, looks at the log and at one lease, in one round trip.
const BEGIN: &str = "BEGIN IMMEDIATE; \
    SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name='event'),0), trimmed, \
    max(trimmed_recorded, coalesce((SELECT recorded FROM event ORDER BY offset DESC LIMIT 1),0)), \
    coalesce((SELECT seq FROM sqlite_sequence WHERE name='record'),0), \
    (SELECT data_version FROM pragma_data_version) FROM meta; \
    SELECT holder,epoch,expires,locked FROM lease WHERE name=?1";

const GET_LEASE: &str = "SELECT holder,epoch,expires,locked FROM lease WHERE name=?1";

const PUT_LEASE: &str = "INSERT INTO lease(name,holder,epoch,expires,locked) VALUES(?1,?2,?3,?4,?5) \
    ON CONFLICT(name) DO UPDATE SET holder=?2,epoch=?3,expires=?4,locked=?5";

const TRIM_META: &str = "UPDATE meta SET trimmed=?1, trimmed_recorded=coalesce(\
    (SELECT recorded FROM event WHERE offset<=?1 ORDER BY offset DESC LIMIT 1),trimmed_recorded) WHERE trimmed<?1";

/// What every transaction begins with.
pub(crate) struct Begun {
    pub(crate) ends: LogEnds,
    /// Changes when another connection changes the file.
    pub(crate) version: i64,
    /// The first lease that the group is about, if it was ever taken.
    lease: Option<LeaseRow>,
}

/// Begins a transaction that can write, and reads the ends of the log and the first lease.
pub(crate) async fn begin(conn: &mut Conn, works: &[Work]) -> Result<Begun, Fault> {
    let mut args = Args::default();
    match works.iter().find_map(Work::lease) {
        Some(name) => args.str(name),
        None => args.null(),
    }
    let rows = conn.rows(BEGIN, args).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(Begun {
        ends: LogEnds {
            last: Offset(unsigned(row.try_get_unchecked(0)?)),
            trimmed: Offset(unsigned(row.try_get_unchecked(1)?)),
            recorded: row.try_get_unchecked(2)?,
            records: row.try_get_unchecked(3)?,
        },
        version: row.try_get_unchecked(4)?,
        lease: rows.get(1).map(lease_row).transpose()?,
    })
}

/// Reads everything else that the requests depend on.
pub(crate) async fn look<'a>(
    conn: &mut Conn,
    works: &'a [Work],
    begun: Begun,
    look_up_ids: bool,
) -> Result<Facts<'a>, Fault> {
    let mut names = works.iter().filter_map(Work::lease);
    let mut leases = HashMap::new();
    if let (Some(name), Some(row)) = (names.next(), begun.lease) {
        leases.insert(name.to_owned(), row);
    }
    let first = works.iter().find_map(Work::lease);
    for name in names.filter(|name| Some(*name) != first) {
        if !leases.contains_key(name)
            && let Some(row) = find_lease(conn, name).await?
        {
            leases.insert(name.to_owned(), row);
        }
    }
    Ok(Facts {
        ends: begun.ends,
        records: find_records(conn, works).await?,
        leases,
        events: if look_up_ids { Some(find_events(conn, works).await?) } else { None },
    })
}

/// Notes that the holder of a lease has no lock file any more.
pub(crate) async fn unlock(conn: &mut Conn, name: &str) -> Result<(), Fault> {
    let mut args = Args::default();
    args.str(name);
    conn.run("UPDATE lease SET locked=0 WHERE name=?1", args).await.map(|_| ())
}

async fn find_lease(conn: &mut Conn, name: &str) -> Result<Option<LeaseRow>, Fault> {
    let mut args = Args::default();
    args.str(name);
    let rows = conn.rows(GET_LEASE, args).await?;
    rows.first().map(lease_row).transpose()
}

fn lease_row(row: &SqliteRow) -> Result<LeaseRow, Fault> {
    Ok(LeaseRow {
        holder: row.try_get_unchecked(0)?,
        epoch: row.try_get_unchecked(1)?,
        expires: row.try_get_unchecked(2)?,
        locked: row.try_get_unchecked::<i64, _>(3)? != 0,
    })
}

async fn find_records<'a>(conn: &mut Conn, works: &'a [Work]) -> Result<HashMap<Key<'a>, StoredRecord>, Fault> {
    let mut seen = HashSet::new();
    let keys: Vec<Key<'a>> = works.iter().flat_map(Work::keys).filter(|key| seen.insert(*key)).collect();
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
                project: row.try_get_unchecked::<&str, _>(3)?.into(),
                parent: row.try_get_unchecked::<&str, _>(4)?.into(),
                name: row.try_get_unchecked::<&str, _>(5)?.into(),
            };
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            if let Some(key) = chunk.get(number) {
                found.insert(*key, stored);
            }
        }
    }
    Ok(found)
}

async fn find_events(conn: &mut Conn, works: &[Work]) -> Result<HashMap<String, StoredEvent>, Fault> {
    let ids: Vec<_> = works.iter().flat_map(Work::events).map(|event| &event.id).collect();
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

/// Writes a plan into the open transaction and commits it.
///
/// # Errors
/// With the phase in which the fault happened.
pub(crate) async fn write(
    conn: &mut Conn,
    plan: &Plan<'_>,
    changes: &RecordChanges<'_>,
    now: Timestamp,
) -> Result<(), (Fault, Phase)> {
    let written = |fault| (fault, Phase::Write);
    let Trips { earlier, mut last } = trips(plan, changes, now, Trips::default());
    for trip in earlier {
        conn.trip(trip).await.map_err(written)?;
    }
    if !plan.leases.is_empty() || plan.trim.is_some() {
        if !last.is_empty() {
            conn.trip(std::mem::take(&mut last)).await.map_err(written)?;
        }
        write_leases(conn, plan).await.map_err(written)?;
        trim(conn, plan).await.map_err(written)?;
    }
    last.commit();
    conn.trip(last).await.map(|_| ()).map_err(|fault| {
        // In this round trip only the statements before the last can break a constraint.
        let phase = if fault.is_constraint() { Phase::Write } else { Phase::Commit };
        (fault, phase)
    })
}

/// Writes a plan that changes no lease and trims nothing in a transaction of its own, if the file is as the plan takes it to be. False if it
/// is not, and nothing was done; that may also show as a fault, in the open transaction.
pub(crate) async fn write_at(
    conn: &mut Conn,
    plan: &Plan<'_>,
    changes: &RecordChanges<'_>,
    now: Timestamp,
    version: i64,
) -> Result<bool, Fault> {
    if plan.only_publishes && (1..=CHUNK_ROWS).contains(&plan.events.len()) {
        return append(conn, plan, now).await;
    }
    let mut begun = Trips::default();
    begun.last.begin(version);
    let Trips { earlier, mut last } = trips(plan, changes, now, begun);
    for trip in earlier {
        conn.trip(trip).await?;
    }
    last.commit();
    conn.trip(last).await.map(|_| true)
}

/// Appends events alone, the commonest of all requests, in one statement that is a transaction of its own.
async fn append(conn: &mut Conn, plan: &Plan<'_>, now: Timestamp) -> Result<bool, Fault> {
    let mut trips = Trips::default();
    event_trips(plan, now, &mut trips, [Bulk::AppendPlainEvents, Bulk::AppendEvents]);
    trips.last.log_ends_at(signed(plan.ends().last.0));
    conn.trip(trips.last).await.map(|changed| changed > 0)
}

/// The round trips that write events, records and relations. Events come first: they alone are likely to be refused, and then nothing was
/// done in vain.
fn trips(plan: &Plan<'_>, changes: &RecordChanges<'_>, now: Timestamp, begun: Trips) -> Trips {
    let mut trips = begun;
    event_trips(plan, now, &mut trips, [Bulk::InsertPlainEvents, Bulk::InsertEvents]);
    trips.add(Bulk::DeleteRecords, &changes.deletes, |args, seq| args.int(*seq));
    trips.add(Bulk::UpdateRecords, &changes.updates, |args, (seq, put)| update_args(args, *seq, put));
    trips.add(Bulk::MoveRecords, &changes.moves, |args, (seq, put)| {
        update_args(args, *seq, put);
        args.text(&put.row.project);
        args.text(&put.row.parent);
        args.text(&put.row.name);
    });
    trips.add(Bulk::InsertRecords, &changes.inserts, |args, (seq, put)| insert_args(args, *seq, put));
    for (add, bulk) in [(true, Bulk::InsertRelations), (false, Bulk::DeleteRelations)] {
        let chosen = plan.relations.iter().filter(|(_, adds)| **adds == add);
        let chosen: Vec<&RelationRow> = chosen.map(|(relation, _)| *relation).collect();
        trips.add(bulk, &chosen, |args, relation| relation.iter().for_each(|column| args.text(column)));
    }
    trips
}

fn event_trips(plan: &Plan<'_>, now: Timestamp, trips: &mut Trips, [plain, full]: [Bulk; 2]) {
    let mut moments = plan.moments(now);
    let mut recorded = plan.ends().recorded;
    let whole = plan.events.iter().any(|event| event.has_extra());
    let mut next = plan.first();
    trips.add(if whole { full } else { plain }, &plan.events, |args, event| {
        recorded = moments.next().unwrap_or(recorded);
        args.int(signed(next.0));
        args.int(recorded);
        args.text(&event.id);
        args.text(&event.namespace);
        args.text(&event.key);
        args.text(&event.event_type);
        args.text(&event.sender);
        args.optional_text(event.value.as_ref());
        if whole {
            args.optional_text(event.context.as_ref());
            args.optional_int(event.time());
            args.optional_int(event.cause());
            args.optional_int(event.hops());
        }
        next = next.next();
    });
}

fn insert_args(args: &mut Args, seq: i64, put: &Put<'_>) {
    args.int(seq);
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
    args.optional_real(put.row.number);
}

fn update_args(args: &mut Args, seq: i64, put: &Put<'_>) {
    args.int(seq);
    args.text(&put.row.state);
    args.int(signed(put.revision));
    args.int(put.updated);
    args.text(&put.row.body);
    args.optional_real(put.row.number);
}

async fn write_leases(conn: &mut Conn, plan: &Plan<'_>) -> Result<(), Fault> {
    for (name, row) in &plan.leases {
        let mut args = Args::default();
        args.str(name);
        args.str(&row.holder);
        args.int(row.epoch);
        args.int(row.expires);
        args.int(i64::from(row.locked));
        conn.run(PUT_LEASE, args).await?;
    }
    Ok(())
}

async fn trim(conn: &mut Conn, plan: &Plan<'_>) -> Result<(), Fault> {
    let Some(through) = plan.trim else {
        return Ok(());
    };
    for statement in [TRIM_META, "DELETE FROM event WHERE offset<=?1"] {
        let mut args = Args::default();
        args.int(signed(through.0));
        conn.run(statement, args).await?;
    }
    Ok(())
}
