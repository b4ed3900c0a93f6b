//! Queries: which statement answers a question, by which index, and where does the next page begin?

use std::sync::Arc;

use aiflow_core::event::{EventFilter, Match};
use aiflow_core::id::Offset;
use aiflow_core::store::{PageToken, QUERY_PARENTS_MAX, Query, RecordKey, Relation, RelationQuery};
use aiflow_core::{Error, Result};

use crate::row::signed;
use crate::sql::{Args, LOG_COLUMNS, RECORD_COLUMNS};

/// Offsets that a read with a filter looks at, so that a rare match in a long log does not make a long read.
pub(crate) const WINDOW: u64 = 100_000;
/// The most pairs of a parent and a state that a query may name.
const PAGES_MAX: usize = 400;

/// A statement and its arguments.
pub(crate) struct Statement {
    pub(crate) sql: Arc<str>,
    pub(crate) args: Args,
}

/// The ends of the log in the shape of [`LOG_COLUMNS`], so that a page and its header come from one moment.
const HEADER: &str = "SELECT json_array(trimmed,coalesce((SELECT seq FROM sqlite_sequence WHERE name='event'),0)),\
    NULL,NULL,NULL FROM meta";

/// The ends of the log.
pub(crate) fn head() -> Statement {
    Statement { sql: HEADER.into(), args: Args::default() }
}

/// One page of the log behind its header.
pub(crate) fn events(after: Offset, filter: &EventFilter, max: usize) -> Statement {
    let mut args = Args::default();
    args.int(signed(after.0));
    args.int(i64::try_from(max).unwrap_or(i64::MAX));
    let mut sql = format!("{HEADER} UNION ALL SELECT * FROM (SELECT {LOG_COLUMNS} FROM event WHERE offset>?1");
    if *filter != EventFilter::default() {
        args.int(signed(after.0.saturating_add(WINDOW)));
        sql.push_str(
            " AND offset<=?3 AND key>=?4 AND key<?5 AND namespace>=?6 AND namespace<?7 \
             AND event_type>=?8 AND event_type<?9 AND sender>=?10 AND sender<?11",
        );
        for field in [&filter.key, &filter.namespace, &filter.event_type, &filter.sender] {
            range_args(&mut args, field);
        }
    }
    sql.push_str(" ORDER BY offset LIMIT ?2)");
    Statement { sql: sql.into(), args }
}

/// Every match is a range of texts, so that all filters share one statement. SQLite orders texts by bytes, and any BLOB after them.
fn range_args(args: &mut Args, field: &Match) {
    match field {
        Match::Any => {
            args.str("");
            args.blob(&[]);
        }
        Match::Exact(text) => {
            args.str(text);
            args.str(&format!("{text}\0"));
        }
        Match::Prefix(prefix) => {
            args.str(prefix);
            match after_prefix(prefix) {
                Some(end) => args.str(&end),
                None => args.blob(&[]),
            }
        }
    }
}

/// The smallest text behind all that begin with `prefix`.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // The successor of a character, which steps over the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// One page of records. `limit` rows and one more, which tells whether there is another page.
///
/// # Errors
/// `Invalid`: too many states, or a token that is not ours.
pub(crate) fn records(query: &Query) -> Result<Statement> {
    let mut args = Args::default();
    args.str(&query.kind);
    let limit = query.page_rows() + 1;
    args.int(i64::try_from(limit).unwrap_or(i64::MAX));
    args.int(match &query.after {
        Some(token) => parse_seq(token)?,
        None if query.descending => i64::MAX,
        None => 0,
    });
    let mut conditions = String::from("kind=?1");
    conditions.push_str(if query.descending { " AND seq<?3" } else { " AND seq>?3" });
    let mut next = 4;
    let columns = [("project", &query.project), ("name", &query.name)];
    for (column, value) in columns {
        if let Some(value) = value {
            conditions.push_str(&format!(" AND {column}=?{next}"));
            args.str(value);
            next += 1;
        }
    }
    let (mut parents, mut states) = (query.parents.clone(), query.states.clone());
    for values in [&mut parents, &mut states] {
        values.sort_unstable();
        values.dedup();
    }
    if parents.len() > QUERY_PARENTS_MAX {
        return Err(Error::invalid("query", format!("at most {QUERY_PARENTS_MAX} parents may be named")));
    }
    if parents.len().max(1).saturating_mul(states.len()) > PAGES_MAX {
        return Err(Error::invalid("query", format!("at most {PAGES_MAX} pairs of parent and state may be named")));
    }
    let order = if query.descending { "DESC" } else { "ASC" };
    let index = index_for(query);
    let select = |condition: &str| {
        format!("SELECT seq FROM record INDEXED BY {index} WHERE {conditions}{condition} ORDER BY seq {order} LIMIT ?2")
    };
    // Each parent and state is read in order by itself, and the pages are merged: the cost is that of the page, not of all that match.
    let mut one_of = |column: &str, values: &[String]| -> Vec<String> {
        let first = next;
        next += values.len();
        values.iter().for_each(|value| args.str(value));
        if values.is_empty() {
            return vec![String::new()];
        }
        (first..next).map(|number| format!(" AND {column}=?{number}")).collect()
    };
    let (of_parents, of_states) = (one_of("parent", &parents), one_of("state", &states));
    let pages: Vec<String> = of_parents
        .iter()
        .flat_map(|parent| of_states.iter().map(move |state| format!("{parent}{state}")))
        .map(|condition| format!("SELECT seq FROM ({})", select(&condition)))
        .collect();
    let pages = pages.join(" UNION ALL ");
    let sql = format!(
        "SELECT {RECORD_COLUMNS} FROM (SELECT seq FROM ({pages}) ORDER BY seq {order} LIMIT ?2) p \
         CROSS JOIN record r ON r.seq=p.seq ORDER BY p.seq {order}"
    );
    Ok(Statement { sql: sql.into(), args })
}

/// The most telling index. All end with `seq`, so that no page is sorted.
fn index_for(query: &Query) -> &'static str {
    if query.name.is_some() {
        "record_name"
    } else if !query.parents.is_empty() {
        "record_parent"
    } else if !query.states.is_empty() {
        "record_state"
    } else if query.project.is_some() {
        "record_project"
    } else {
        "record_kind"
    }
}

/// The token of the page that ends with `seq`.
pub(crate) fn seq_token(seq: i64) -> PageToken {
    PageToken(seq.to_string())
}

fn parse_seq(token: &PageToken) -> Result<i64> {
    token.0.parse().map_err(|_| wrong_token("query"))
}

fn wrong_token(operation: &'static str) -> Error {
    Error::invalid(operation, "the page token was not made by this store")
}

/// One page of relations. The rows are ordered by the index that finds them, and the token is the whole row.
///
/// # Errors
/// `Invalid`: a token that is not ours.
pub(crate) fn relations(query: &RelationQuery) -> Result<Statement> {
    const FROM: [&str; 5] = ["from_kind", "from_id", "kind", "to_kind", "to_id"];
    const TO: [&str; 5] = ["to_kind", "to_id", "kind", "from_kind", "from_id"];
    const KIND: [&str; 5] = ["kind", "from_kind", "from_id", "to_kind", "to_id"];
    if query.from.len().max(query.to.len()) > QUERY_PARENTS_MAX {
        return Err(Error::invalid("relations", format!("at most {QUERY_PARENTS_MAX} ends may be named")));
    }
    let order = if !query.from.is_empty() {
        FROM
    } else if !query.to.is_empty() {
        TO
    } else if query.kind.is_some() {
        KIND
    } else {
        FROM
    };
    let mut args = Args::default();
    args.int(i64::try_from(query.page_rows() + 1).unwrap_or(i64::MAX));
    let mut conditions = Vec::new();
    let mut next = 2;
    let mut bind = |args: &mut Args, text: &str| {
        args.str(text);
        next += 1;
        format!("?{}", next - 1)
    };
    let only = |keys: &'_ [RecordKey]| <&[RecordKey; 1]>::try_from(keys).ok().map(|[key]| key.clone());
    let (from, to) = (only(&query.from), only(&query.to));
    let equal = |column: &str| -> Option<&str> {
        match column {
            "kind" => query.kind.as_deref(),
            "from_kind" => from.as_ref().map(|key| key.kind.as_str()),
            "from_id" => from.as_ref().map(|key| key.id.as_str()),
            "to_kind" => to.as_ref().map(|key| key.kind.as_str()),
            _ => to.as_ref().map(|key| key.id.as_str()),
        }
    };
    for column in order {
        if let Some(value) = equal(column) {
            conditions.push(format!("{column}={}", bind(&mut args, value)));
        }
    }
    for (end, keys) in [("from", &query.from), ("to", &query.to)] {
        if keys.len() > 1 {
            let mut rows = Vec::with_capacity(keys.len());
            for key in keys {
                let (kind, id) = (bind(&mut args, &key.kind), bind(&mut args, &key.id));
                rows.push(format!("({kind},{id})"));
            }
            conditions.push(format!("({end}_kind,{end}_id) IN (VALUES{})", rows.join(",")));
        }
    }
    // The columns that are not given vary within the pages. If all are given there is one row, and nothing behind it.
    let mut varying: Vec<&str> = order.into_iter().filter(|column| equal(column).is_none()).collect();
    if varying.is_empty() {
        varying = order.to_vec();
    }
    if let Some(token) = &query.after {
        let last: [String; 5] = serde_json::from_str(&token.0).map_err(|_| wrong_token("relations"))?;
        let value = |column: &&str| {
            KIND.iter()
                .position(|name| name == column)
                .and_then(|position| last.get(position))
                .map_or("", String::as_str)
        };
        let places: Vec<String> = varying.iter().map(|column| bind(&mut args, value(column))).collect();
        conditions.push(format!("({})>({})", varying.join(","), places.join(",")));
    }
    let condition = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
    let sql = format!(
        "SELECT kind,from_kind,from_id,to_kind,to_id FROM relation WHERE {condition} ORDER BY {} LIMIT ?1",
        order.join(",")
    );
    Ok(Statement { sql: sql.into(), args })
}

/// The token of the page that ends with `relation`.
pub(crate) fn relation_token(relation: &Relation) -> PageToken {
    let Relation { kind, from, to } = relation;
    PageToken(serde_json::json!([kind, from.kind, from.id, to.kind, to.id]).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        assert_eq!(after_prefix("model.").as_deref(), Some("model/"));
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }

    #[test]
    fn a_token_of_somebody_else_is_refused() {
        let query = Query::kind("job").after(Some(PageToken("x".to_owned())));
        assert!(records(&query).is_err());
        let query = RelationQuery { after: Some(PageToken("7".to_owned())), ..RelationQuery::default() };
        assert!(relations(&query).is_err());
    }
}
