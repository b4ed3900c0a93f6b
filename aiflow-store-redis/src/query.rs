//! Queries: which lists of the index hold the answers, and where does the next page begin?

use aiflow_core::store::{PageToken, QUERY_PARENTS_MAX, Query, RelationQuery};
use aiflow_core::{Error, Result};

use crate::keys::part;
use crate::pack::Pack;
use crate::row::end;

/// The most states that a query may name.
const QUERY_STATES_MAX: usize = 400;

/// A question for the script `query`.
#[derive(Debug)]
pub(crate) struct RecordsQuestion<'q> {
    /// The kind as it stands before an id.
    pub(crate) kind: String,
    lists: Vec<String>,
    /// Columns of a record, counted from 1, and the values that each may have.
    wanted: Vec<(i64, Vec<&'q str>)>,
    descending: bool,
}

impl<'q> RecordsQuestion<'q> {
    /// # Errors
    /// `Invalid`: too many parents or states.
    pub(crate) fn new(query: &'q Query) -> Result<Self> {
        if query.parents.len() > QUERY_PARENTS_MAX {
            return Err(Error::invalid("query", format!("at most {QUERY_PARENTS_MAX} parents may be named")));
        }
        if query.states.len() > QUERY_STATES_MAX {
            return Err(Error::invalid("query", format!("at most {QUERY_STATES_MAX} states may be named")));
        }
        let kind = part(&query.kind);
        // From the most telling to the least.
        let columns = [
            (3, 'n', query.name.iter().map(String::as_str).collect::<Vec<_>>()),
            (2, 'o', query.parents.iter().map(String::as_str).collect()),
            (4, 's', query.states.iter().map(String::as_str).collect()),
            (1, 'p', query.project.iter().map(String::as_str).collect()),
        ];
        let mut lists = Vec::new();
        let mut wanted = Vec::new();
        for (column, letter, mut values) in columns {
            values.sort_unstable();
            values.dedup();
            if values.is_empty() {
                continue;
            }
            // Records without a value are in no list of it.
            if lists.is_empty() && !values.contains(&"") {
                lists.extend(values.iter().map(|value| format!("{kind}{letter}{}", part(value))));
            } else {
                wanted.push((column, values));
            }
        }
        if lists.is_empty() {
            lists.push(format!("{kind}a"));
        }
        Ok(Self { kind, lists, wanted, descending: query.descending })
    }

    /// For at most `rows` records behind a place.
    pub(crate) fn pack(&self, after: Option<&str>, rows: usize) -> Vec<u8> {
        let mut pack = Pack::default();
        pack.list(6);
        pack.text(&self.kind);
        pack.texts(&self.lists);
        match after {
            Some(place) => pack.text(place),
            None => pack.no(),
        }
        pack.bool(self.descending);
        pack.int(i64::try_from(rows).unwrap_or(i64::MAX));
        pack.list(self.wanted.len());
        for (column, values) in &self.wanted {
            pack.list(2);
            pack.int(*column);
            pack.texts(values);
        }
        pack.into_bytes()
    }
}

/// The place that a token of `query` names: sixteen hexadecimal digits.
///
/// # Errors
/// `Invalid`: it is not one of this store.
pub(crate) fn place_of(token: &PageToken) -> Result<&str> {
    let is_place = token.0.len() == 16 && token.0.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_place { Ok(&token.0) } else { Err(wrong_token("query")) }
}

fn wrong_token(operation: &'static str) -> Error {
    Error::invalid(operation, "the page token was not made by this store")
}

/// A question for the script `relations`.
#[derive(Debug)]
pub(crate) struct RelationsQuestion {
    lists: Vec<String>,
    /// The other ends that are wanted, if not all are, and whether the kind stands before them.
    ends: Option<(bool, Vec<String>)>,
}

impl RelationsQuestion {
    /// # Errors
    /// `Invalid`: too many ends.
    pub(crate) fn new(query: &RelationQuery) -> Result<Self> {
        if query.from.len().max(query.to.len()) > QUERY_PARENTS_MAX {
            return Err(Error::invalid("relations", format!("at most {QUERY_PARENTS_MAX} ends may be named")));
        }
        let kind = query.kind.as_deref().map(part);
        let ends_of = |keys: &[_]| keys.iter().map(end).collect::<Vec<String>>();
        let (letter, near, far) = if !query.from.is_empty() {
            ('f', ends_of(&query.from), ends_of(&query.to))
        } else if !query.to.is_empty() {
            ('t', ends_of(&query.to), Vec::new())
        } else {
            let list = kind.map_or_else(|| "f".to_owned(), |kind| format!("k{kind}"));
            return Ok(Self { lists: vec![list], ends: None });
        };
        let mut lists: Vec<String> =
            near.iter().map(|end| format!("{letter}{end}{}", kind.as_deref().unwrap_or_default())).collect();
        // No list is the beginning of another, so that the entries of sorted lists are sorted.
        lists.sort_unstable();
        lists.dedup();
        let ends = (!far.is_empty()).then_some((kind.is_none(), far));
        Ok(Self { lists, ends })
    }

    /// For at most `rows` entries behind one; `None` if there is nothing behind it.
    pub(crate) fn pack(&self, after: Option<&str>, rows: usize) -> Option<Vec<u8>> {
        let left: Vec<&String> = match after {
            Some(after) => self.lists.iter().filter(|list| list.as_str() > after || after.starts_with(*list)).collect(),
            None => self.lists.iter().collect(),
        };
        let first = left.first()?;
        let mut pack = Pack::default();
        pack.list(5);
        pack.texts(&left);
        match after.filter(|after| after.starts_with(*first)) {
            Some(after) => pack.text(after),
            None => pack.no(),
        }
        pack.int(i64::try_from(rows).unwrap_or(i64::MAX));
        match &self.ends {
            Some((skip_kind, ends)) => {
                pack.bool(*skip_kind);
                pack.texts(ends);
            }
            None => {
                pack.no();
                pack.no();
            }
        }
        Some(pack.into_bytes())
    }

    /// The entry that a token names.
    ///
    /// # Errors
    /// `Invalid`: it is not one of a question of this shape.
    pub(crate) fn entry_of<'t>(&self, token: &'t PageToken) -> Result<&'t str> {
        let letter = self.lists.first().and_then(|list| list.get(..1)).unwrap_or_default();
        let is_entry = token.0.starts_with(letter) && crate::row::relation(&token.0).is_ok();
        if is_entry { Ok(&token.0) } else { Err(wrong_token("relations")) }
    }
}

#[cfg(test)]
mod tests {
    use aiflow_core::store::RecordKey;

    use super::*;

    #[test]
    fn the_most_telling_list_is_walked_and_the_rest_is_looked_at() {
        let query = Query::kind("job").project("wine").parents(["b", "a", "b"]).states(["RUNNING"]);
        let question = RecordsQuestion::new(&query).unwrap();
        assert_eq!(question.lists, ["00000003jobo00000001a", "00000003jobo00000001b"]);
        assert_eq!(question.wanted, [(4, vec!["RUNNING"]), (1, vec!["wine"])]);
        let query = Query::kind("job").parents(["", "a"]);
        let question = RecordsQuestion::new(&query).unwrap();
        assert_eq!(question.lists, ["00000003joba"]);
        assert_eq!(question.wanted, [(2, vec!["", "a"])]);
    }

    #[test]
    fn a_token_of_somebody_else_is_refused() {
        for token in ["", "7", "00000000000000zz", "00000000000000000", "000000000000000A"] {
            assert!(place_of(&PageToken(token.to_owned())).is_err(), "{token}");
        }
        let from = RelationQuery { from: vec![RecordKey::new("a", "b")], ..RelationQuery::default() };
        let question = RelationsQuestion::new(&from).unwrap();
        for token in ["", "f", "t00000000", "k"] {
            assert!(question.entry_of(&PageToken(token.to_owned())).is_err(), "{token}");
        }
    }
}
