//! Statements over many rows: which text runs a batch in one go?
//!
//! The driver costs tens of microseconds per round trip, so a batch is one multi-row statement, and small batches share a [`Trip`]. The
//! number of rows is rounded up to a power of two and the rest is NULL, which the statement ignores: few shapes, so that all of them stay
//! prepared.
//!
//! What changes rows says `OR ROLLBACK`. The statements of the writer stand in a transaction that is undone as a whole if one of them fails; otherwise
//! SQLite would keep a copy of every page that a statement changes, to undo that one alone, and beyond sixteen pages in a file.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::Arguments as _;
use sqlx::sqlite::SqliteArguments;

/// The most rows of one statement of the writer.
pub(crate) const CHUNK_ROWS: usize = 256;
/// The most rows of a statement that shares its round trip with other statements over rows: more rows make more shapes of trips than can
/// stay prepared, and a round trip less is little beside them.
const SHARED_ROWS: usize = 8;

/// Texts kept; more than are in use at a time.
const SHAPES_MAX: usize = 1_024;

/// Statements that take a list of rows, and the two that stand around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bulk {
    /// Begins a transaction that can write, and fails unless `data_version` is the given one.
    Begin,
    /// Commits.
    Commit,
    /// Rows of the first eight of [`EVENT_COLUMNS`]: nearly all events need no more.
    InsertPlainEvents,
    /// Rows of all [`EVENT_COLUMNS`].
    InsertEvents,
    /// As [`Bulk::InsertPlainEvents`], then the offset at which the log must still end for anything to be inserted.
    AppendPlainEvents,
    /// As [`Bulk::InsertEvents`], then the offset at which the log must still end for anything to be inserted.
    AppendEvents,
    /// Rows of id.
    FindEvents,
    /// Rows of kind, id: everything about each.
    GetRecords,
    /// Rows of kind, id: what a put must know.
    FindRecords,
    /// Rows of seq, kind, id, project, parent, name, state, revision, created, updated, body, number.
    InsertRecords,
    /// Rows of seq, state, revision, updated, body, number.
    UpdateRecords,
    /// Rows of seq, state, revision, updated, body, number, project, parent, name.
    MoveRecords,
    /// Rows of seq.
    DeleteRecords,
    /// Rows of kind, `from_kind`, `from_id`, `to_kind`, `to_id`.
    InsertRelations,
    /// As [`Bulk::InsertRelations`].
    DeleteRelations,
}

/// Columns of an event, as it is written.
const EVENT_COLUMNS: &str = "offset,recorded,id,namespace,key,event_type,sender,value,context,time,cause,hops";
/// An event as it is read, for [`crate::row`]: the ends of the log, which only the header of a page has; all that is short, in one text,
/// because the driver copies each value of each row by itself; value; context.
pub(crate) const LOG_COLUMNS: &str =
    "NULL,json_array(offset,recorded,id,namespace,key,event_type,sender,time,cause,hops),value,context";
/// The columns that every event needs: the first of [`EVENT_COLUMNS`].
const PLAIN_EVENT_COLUMNS: &str = "offset,recorded,id,namespace,key,event_type,sender,value";
/// Holds while no other process has appended since the offsets were chosen.
const UNLESS_OTHERS_APPENDED: &str = " AND coalesce((SELECT seq FROM sqlite_sequence WHERE name='event'),0)=?";
/// The text in the error of a [`Bulk::Begin`] whose `data_version` is not the current one is "malformed JSON". It is built from a column,
/// because SQLite computes constants before it looks at any row.
const BEGIN: &str =
    "BEGIN IMMEDIATE; SELECT json('stale '||data_version) FROM pragma_data_version WHERE data_version<>?";
/// Columns of a record, in the order in which [`crate::row`] reads them.
pub(crate) const RECORD_COLUMNS: &str =
    "r.seq,r.kind,r.id,r.project,r.parent,r.name,r.state,r.revision,r.created,r.updated,r.body,r.number";

/// The number of rows in the statement that carries `rows` rows.
pub(crate) fn shape(rows: usize) -> usize {
    rows.next_power_of_two()
}

/// The text for exactly `rows` rows.
pub(crate) fn text(bulk: Bulk, rows: usize) -> String {
    let width = columns(bulk);
    let list = values(rows, width);
    match bulk {
        Bulk::Begin => BEGIN.to_owned(),
        Bulk::Commit => "COMMIT".to_owned(),
        Bulk::InsertPlainEvents => insert_events(PLAIN_EVENT_COLUMNS, &list),
        Bulk::InsertEvents => insert_events(EVENT_COLUMNS, &list),
        Bulk::AppendPlainEvents => insert_events(PLAIN_EVENT_COLUMNS, &list) + UNLESS_OTHERS_APPENDED,
        Bulk::AppendEvents => insert_events(EVENT_COLUMNS, &list) + UNLESS_OTHERS_APPENDED,
        Bulk::FindEvents => {
            format!("SELECT id,offset,namespace,key,event_type,sender,value FROM event WHERE id IN ({})", list)
        }
        Bulk::GetRecords => format!(
            "SELECT {RECORD_COLUMNS},v.column3 FROM ({}) v CROSS JOIN record r WHERE r.kind=v.column1 AND r.id=v.column2",
            numbered_values(rows, width)
        ),
        Bulk::FindRecords => format!(
            "SELECT v.column3,r.seq,r.revision,r.project,r.parent,r.name FROM ({}) v CROSS JOIN record r \
             WHERE r.kind=v.column1 AND r.id=v.column2",
            numbered_values(rows, width)
        ),
        Bulk::InsertRecords => format!(
            "INSERT OR ROLLBACK INTO record(seq,kind,id,project,parent,name,state,revision,created,updated,body,number) \
             SELECT * FROM ({}) WHERE column1 IS NOT NULL",
            list
        ),
        Bulk::UpdateRecords => format!(
            "UPDATE OR ROLLBACK record SET state=v.column2,revision=v.column3,updated=v.column4,body=v.column5,number=v.column6 \
             FROM ({}) v WHERE record.seq=v.column1",
            list
        ),
        Bulk::MoveRecords => format!(
            "UPDATE OR ROLLBACK record SET state=v.column2,revision=v.column3,updated=v.column4,body=v.column5,number=v.column6,\
             project=v.column7,parent=v.column8,name=v.column9 FROM ({}) v WHERE record.seq=v.column1",
            list
        ),
        Bulk::DeleteRecords => format!("DELETE FROM record WHERE seq IN ({list})"),
        Bulk::InsertRelations => format!(
            "INSERT OR ROLLBACK INTO relation(kind,from_kind,from_id,to_kind,to_id) SELECT * FROM ({}) WHERE column1 IS NOT NULL \
             ON CONFLICT DO NOTHING",
            list
        ),
        Bulk::DeleteRelations => {
            format!("DELETE FROM relation WHERE (kind,from_kind,from_id,to_kind,to_id) IN ({})", list)
        }
    }
}

/// Parameters of one row.
pub(crate) fn columns(bulk: Bulk) -> usize {
    match bulk {
        Bulk::Commit => 0,
        Bulk::Begin | Bulk::FindEvents | Bulk::DeleteRecords => 1,
        Bulk::GetRecords | Bulk::FindRecords => 2,
        Bulk::InsertRelations | Bulk::DeleteRelations => 5,
        Bulk::UpdateRecords => 6,
        Bulk::InsertPlainEvents | Bulk::AppendPlainEvents => 8,
        Bulk::MoveRecords => 9,
        Bulk::InsertRecords | Bulk::InsertEvents | Bulk::AppendEvents => 12,
    }
}

fn insert_events(columns: &str, values: &str) -> String {
    format!("INSERT OR ROLLBACK INTO event({columns}) SELECT * FROM ({values}) WHERE column1 IS NOT NULL")
}

/// Parameters have no numbers: SQLite searches numbered ones one by one, so that binding a batch would take quadratic time.
fn list(rows: usize, row: impl Fn(usize) -> String) -> String {
    let rows: Vec<String> = (0..rows).map(|index| format!("({})", row(index))).collect();
    format!("VALUES{}", rows.join(","))
}

fn values(rows: usize, columns: usize) -> String {
    let row = vec!["?"; columns].join(",");
    list(rows, |_| row.clone())
}

/// With the number of the row as last column, so that an answer names the question.
fn numbered_values(rows: usize, columns: usize) -> String {
    let row = vec!["?"; columns].join(",");
    list(rows, |index| format!("{row},{index}"))
}

/// Statements that make one round trip, with their values.
#[derive(Debug, Default)]
pub(crate) struct Trip {
    statements: Vec<(Bulk, usize)>,
    args: Args,
    /// Holds a statement of more than [`SHARED_ROWS`] rows.
    is_large: bool,
}

impl Trip {
    /// Adds `bulk` over `rows`, whose columns `bind` adds.
    pub(crate) fn add<T>(&mut self, bulk: Bulk, rows: &[T], mut bind: impl FnMut(&mut Args, &T)) {
        let shape = shape(rows.len());
        rows.iter().for_each(|row| bind(&mut self.args, row));
        (0..(shape - rows.len()) * columns(bulk)).for_each(|_| self.args.null());
        self.statements.push((bulk, shape));
        self.is_large |= shape > SHARED_ROWS;
    }

    /// Adds the statement that begins, if the file is still as it was at this `data_version`.
    pub(crate) fn begin(&mut self, version: i64) {
        self.add(Bulk::Begin, &[version], |args, version| args.int(*version));
    }

    /// Adds a value after the rows of a [`Bulk::AppendEvents`].
    pub(crate) fn log_ends_at(&mut self, last: i64) {
        self.args.int(last);
    }

    /// Whether it holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Adds the statement that commits.
    pub(crate) fn commit(&mut self) {
        self.statements.push((Bulk::Commit, 1));
    }
}

/// Round trips, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Trips {
    pub(crate) earlier: Vec<Trip>,
    pub(crate) last: Trip,
}

impl Trips {
    /// Adds `bulk` over `rows`, in chunks of [`CHUNK_ROWS`]: to the last trip if both are small.
    pub(crate) fn add<T>(&mut self, bulk: Bulk, rows: &[T], mut bind: impl FnMut(&mut Args, &T)) {
        for chunk in rows.chunks(CHUNK_ROWS) {
            let is_small = !self.last.is_large && chunk.len() <= SHARED_ROWS;
            if !is_small && self.last.statements.iter().any(|(bulk, _)| *bulk != Bulk::Begin) {
                self.earlier.push(std::mem::take(&mut self.last));
            }
            self.last.add(bulk, chunk, &mut bind);
        }
    }
}

/// The texts in use, so that each is built once per connection.
#[derive(Debug, Default)]
pub(crate) struct Shapes(HashMap<Box<[(Bulk, usize)]>, Arc<str>>);

impl Shapes {
    /// The text that carries `rows` rows.
    pub(crate) fn get(&mut self, bulk: Bulk, rows: usize) -> Arc<str> {
        self.join(&[(bulk, shape(rows))])
    }

    /// The text of a trip, and its values.
    pub(crate) fn trip(&mut self, trip: Trip) -> (Arc<str>, Args) {
        (self.join(&trip.statements), trip.args)
    }

    fn join(&mut self, statements: &[(Bulk, usize)]) -> Arc<str> {
        if let Some(known) = self.0.get(statements) {
            return Arc::clone(known);
        }
        if self.0.len() >= SHAPES_MAX {
            self.0.clear();
        }
        let texts: Vec<String> = statements.iter().map(|(bulk, rows)| text(*bulk, *rows)).collect();
        let joined: Arc<str> = texts.join("; ").into();
        self.0.insert(statements.into(), Arc::clone(&joined));
        joined
    }
}

/// Values for the parameters of a statement, in order.
#[derive(Debug, Default)]
pub(crate) struct Args(SqliteArguments);

impl Args {
    pub(crate) fn text(&mut self, text: &Arc<str>) {
        // Encoding text, integers and NULL cannot fail.
        let _ = self.0.add(Arc::clone(text));
    }

    pub(crate) fn str(&mut self, text: &str) {
        let _ = self.0.add(text);
    }

    pub(crate) fn optional_text(&mut self, text: Option<&Arc<str>>) {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    pub(crate) fn int(&mut self, value: i64) {
        let _ = self.0.add(value);
    }

    pub(crate) fn optional_int(&mut self, value: Option<i64>) {
        match value {
            Some(value) => self.int(value),
            None => self.null(),
        }
    }

    pub(crate) fn optional_real(&mut self, value: Option<f64>) {
        let _ = self.0.add(value);
    }

    pub(crate) fn null(&mut self) {
        let _ = self.0.add(None::<i64>);
    }

    pub(crate) fn blob(&mut self, bytes: &[u8]) {
        let _ = self.0.add(bytes);
    }

    pub(crate) fn into_inner(self) -> SqliteArguments {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_rounded_up_to_few_shapes() {
        let shapes: std::collections::BTreeSet<usize> = (1..=CHUNK_ROWS).map(shape).collect();
        assert_eq!(shapes.len(), 9);
        assert!((1..=CHUNK_ROWS).all(|rows| shape(rows) >= rows && shape(rows) <= CHUNK_ROWS));
    }

    #[test]
    fn rows_have_parameters_without_numbers() {
        assert_eq!(values(2, 3), "VALUES(?,?,?),(?,?,?)");
        assert_eq!(numbered_values(2, 2), "VALUES(?,?,0),(?,?,1)");
    }
}
