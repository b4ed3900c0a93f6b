//! Statements over many rows: which text runs a batch in one go?
//!
//! The driver costs tens of microseconds per statement, so a batch is one multi-row statement. Its number of rows is rounded up to a
//! power of two and the rest stays NULL, which the statement ignores: few shapes, so that all of them stay prepared.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::Arguments as _;
use sqlx::sqlite::SqliteArguments;

/// The most rows of one statement of the writer.
pub(crate) const CHUNK_ROWS: usize = 256;

/// Statements that take a list of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bulk {
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
    /// Rows of kind, id, project, parent, name, state, revision, created, updated, body.
    InsertRecords,
    /// Rows of seq, state, revision, updated, body.
    UpdateRecords,
    /// Rows of seq, state, revision, updated, body, project, parent, name.
    MoveRecords,
    /// Rows of seq.
    DeleteRecords,
    /// Rows of kind, `from_kind`, `from_id`, `to_kind`, `to_id`.
    InsertRelations,
    /// As [`Bulk::InsertRelations`].
    DeleteRelations,
}

/// Columns of an event, in the order in which [`crate::row`] reads them.
pub(crate) const EVENT_COLUMNS: &str =
    "offset,recorded,id,namespace,key,event_type,sender,value,context,time,cause,hops";
/// The columns that every event needs: the first of [`EVENT_COLUMNS`].
const PLAIN_EVENT_COLUMNS: &str = "offset,recorded,id,namespace,key,event_type,sender,value";
/// Holds while no other process has appended since the offsets were chosen.
const UNLESS_OTHERS_APPENDED: &str = " AND coalesce((SELECT seq FROM sqlite_sequence WHERE name='event'),0)=?";
/// Columns of a record, in the order in which [`crate::row`] reads them.
pub(crate) const RECORD_COLUMNS: &str =
    "r.seq,r.kind,r.id,r.project,r.parent,r.name,r.state,r.revision,r.created,r.updated,r.body";

/// The number of rows in the statement that carries `rows` rows.
pub(crate) fn shape(rows: usize) -> usize {
    rows.next_power_of_two()
}

/// The text for exactly `rows` rows.
pub(crate) fn text(bulk: Bulk, rows: usize) -> String {
    let width = columns(bulk);
    let list = values(rows, width);
    match bulk {
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
            "INSERT INTO record(kind,id,project,parent,name,state,revision,created,updated,body) \
             SELECT * FROM ({}) WHERE column1 IS NOT NULL",
            list
        ),
        Bulk::UpdateRecords => format!(
            "UPDATE record SET state=v.column2,revision=v.column3,updated=v.column4,body=v.column5 \
             FROM ({}) v WHERE record.seq=v.column1",
            list
        ),
        Bulk::MoveRecords => format!(
            "UPDATE record SET state=v.column2,revision=v.column3,updated=v.column4,body=v.column5,project=v.column6,\
             parent=v.column7,name=v.column8 FROM ({}) v WHERE record.seq=v.column1",
            list
        ),
        Bulk::DeleteRecords => format!("DELETE FROM record WHERE seq IN ({list})"),
        Bulk::InsertRelations => format!(
            "INSERT INTO relation(kind,from_kind,from_id,to_kind,to_id) SELECT * FROM ({}) WHERE column1 IS NOT NULL \
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
        Bulk::FindEvents | Bulk::DeleteRecords => 1,
        Bulk::GetRecords | Bulk::FindRecords => 2,
        Bulk::UpdateRecords | Bulk::InsertRelations | Bulk::DeleteRelations => 5,
        Bulk::MoveRecords | Bulk::InsertPlainEvents | Bulk::AppendPlainEvents => 8,
        Bulk::InsertRecords => 10,
        Bulk::InsertEvents | Bulk::AppendEvents => 12,
    }
}

fn insert_events(columns: &str, values: &str) -> String {
    format!("INSERT INTO event({columns}) SELECT * FROM ({values}) WHERE column1 IS NOT NULL")
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

/// The texts in use, so that each is built once per connection.
#[derive(Debug, Default)]
pub(crate) struct Shapes(HashMap<(Bulk, usize, End), Arc<str>>);

/// What follows a statement in the same round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Nothing,
    Commit,
}

impl Shapes {
    /// The text that carries `rows` rows.
    pub(crate) fn get(&mut self, bulk: Bulk, rows: usize, end: End) -> Arc<str> {
        let rows = shape(rows);
        let text = self.0.entry((bulk, rows, end)).or_insert_with(|| {
            let text = text(bulk, rows);
            match end {
                End::Nothing => text.into(),
                End::Commit => (text + "; COMMIT").into(),
            }
        });
        Arc::clone(text)
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
