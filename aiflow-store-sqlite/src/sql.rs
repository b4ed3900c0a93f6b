//! Statements over many rows: which text runs a batch in one go?
//!
//! The driver costs tens of microseconds per statement, so a batch is one multi-row statement. Its number of rows is rounded up to a
//! power of two and the rest stays NULL, which the statement ignores: few shapes, so that all of them stay prepared.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::Arguments as _;
use sqlx::sqlite::SqliteArguments;

/// The most rows of one statement of the writer.
pub(crate) const CHUNK_ROWS: usize = 256;

/// Statements that take a list of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bulk {
    /// ?1 recorded, ?2 first offset; rows of id, namespace, key, type, sender, value; then rows of context, time, cause, hops.
    InsertEvents,
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
/// Columns of a record, in the order in which [`crate::row`] reads them.
pub(crate) const RECORD_COLUMNS: &str =
    "r.seq,r.kind,r.id,r.project,r.parent,r.name,r.state,r.revision,r.created,r.updated,r.body";

/// The number of rows in the statement that carries `rows` rows.
pub(crate) fn shape(rows: usize) -> usize {
    rows.next_power_of_two()
}

/// The text for exactly `rows` rows.
pub(crate) fn text(bulk: Bulk, rows: usize) -> String {
    match bulk {
        Bulk::InsertEvents => format!(
            "INSERT INTO event({EVENT_COLUMNS}) SELECT ?2+column11,?1,column1,column2,column3,column4,column5,column6,\
             column7,column8,column9,column10 FROM ({}) WHERE column1 IS NOT NULL",
            event_values(rows)
        ),
        Bulk::FindEvents => format!(
            "SELECT id,offset,namespace,key,event_type,sender,value FROM event WHERE id IN ({})",
            values(rows, 1)
        ),
        Bulk::GetRecords => format!(
            "SELECT {RECORD_COLUMNS},v.column3 FROM ({}) v CROSS JOIN record r WHERE r.kind=v.column1 AND r.id=v.column2",
            numbered_values(rows, 2)
        ),
        Bulk::FindRecords => format!(
            "SELECT v.column3,r.seq,r.revision,r.project,r.parent,r.name FROM ({}) v CROSS JOIN record r \
             WHERE r.kind=v.column1 AND r.id=v.column2",
            numbered_values(rows, 2)
        ),
        Bulk::InsertRecords => format!(
            "INSERT INTO record(kind,id,project,parent,name,state,revision,created,updated,body) \
             SELECT * FROM ({}) WHERE column1 IS NOT NULL",
            values(rows, 10)
        ),
        Bulk::UpdateRecords => format!(
            "UPDATE record SET state=v.column2,revision=v.column3,updated=v.column4,body=v.column5 \
             FROM ({}) v WHERE record.seq=v.column1",
            values(rows, 5)
        ),
        Bulk::MoveRecords => format!(
            "UPDATE record SET state=v.column2,revision=v.column3,updated=v.column4,body=v.column5,project=v.column6,\
             parent=v.column7,name=v.column8 FROM ({}) v WHERE record.seq=v.column1",
            values(rows, 8)
        ),
        Bulk::DeleteRecords => format!("DELETE FROM record WHERE seq IN ({})", values(rows, 1)),
        Bulk::InsertRelations => format!(
            "INSERT INTO relation(kind,from_kind,from_id,to_kind,to_id) SELECT * FROM ({}) WHERE column1 IS NOT NULL \
             ON CONFLICT DO NOTHING",
            values(rows, 5)
        ),
        Bulk::DeleteRelations => format!(
            "DELETE FROM relation WHERE (kind,from_kind,from_id,to_kind,to_id) IN ({})",
            values(rows, 5)
        ),
    }
}

fn list(rows: usize, mut row: impl FnMut(&mut String, usize)) -> String {
    let mut text = String::from("VALUES");
    for index in 0..rows {
        text.push_str(if index == 0 { "(" } else { ",(" });
        row(&mut text, index);
        text.push(')');
    }
    text
}

fn parameters(text: &mut String, first: usize, count: usize) {
    for number in first..first + count {
        // Writing into a `String` cannot fail.
        let _ = write!(text, "{}?{number}", if number == first { "" } else { "," });
    }
}

fn values(rows: usize, columns: usize) -> String {
    list(rows, |text, index| {
        parameters(text, 1 + index * columns, columns);
    })
}

/// With the number of the row as last column, so that an answer names the question.
fn numbered_values(rows: usize, columns: usize) -> String {
    list(rows, |text, index| {
        parameters(text, 1 + index * columns, columns);
        let _ = write!(text, ",{index}");
    })
}

/// The rarely used columns come last: where no event has them, they are not bound at all.
fn event_values(rows: usize) -> String {
    list(rows, |text, index| {
        parameters(text, 3 + index * EVENT_ARGS, EVENT_ARGS);
        text.push(',');
        parameters(
            text,
            3 + rows * EVENT_ARGS + index * EVENT_EXTRA_ARGS,
            EVENT_EXTRA_ARGS,
        );
        let _ = write!(text, ",{index}");
    })
}

/// Parameters that every event has.
pub(crate) const EVENT_ARGS: usize = 6;
/// Parameters that few events have.
const EVENT_EXTRA_ARGS: usize = 4;

/// The texts in use, so that each is built once per connection.
#[derive(Debug, Default)]
pub(crate) struct Shapes(HashMap<(Bulk, usize), Arc<str>>);

impl Shapes {
    /// The text that carries `rows` rows.
    pub(crate) fn get(&mut self, bulk: Bulk, rows: usize) -> Arc<str> {
        let rows = shape(rows);
        let text = self.0.entry((bulk, rows));
        Arc::clone(text.or_insert_with(|| text_of(bulk, rows)))
    }
}

fn text_of(bulk: Bulk, rows: usize) -> Arc<str> {
    text(bulk, rows).into()
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
    fn rare_columns_of_events_are_numbered_last() {
        assert_eq!(
            event_values(2),
            "VALUES(?3,?4,?5,?6,?7,?8,?15,?16,?17,?18,0),(?9,?10,?11,?12,?13,?14,?19,?20,?21,?22,1)"
        );
    }
}
