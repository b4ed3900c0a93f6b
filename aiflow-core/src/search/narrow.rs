//! Searches of stores that list records by their columns: which list has all matches?

use super::{Field, Filter, Literal, Op, Search};
use crate::store::Query;

/// A query that lists all records that `search` matches, and as few others as what it says of project, parent, name and state allows.
///
/// Only what must hold of every match narrows it: texts that a column equals, alone or joined by `and`. The order is that of the search if it
/// goes by age.
#[must_use]
pub fn narrowed(search: &Search) -> Query {
    let mut query = Query::kind(search.kind.as_str());
    query.project.clone_from(&search.project);
    if let Some(filter) = &search.filter {
        narrow(&mut query, filter);
    }
    query.descending = by_age(search).unwrap_or(false);
    query
}

/// Whether a search is ordered by creation before all else, and if so, whether the newest comes first.
pub(super) fn by_age(search: &Search) -> Option<bool> {
    let first = search.order.first()?;
    (first.field == Field::Created).then_some(first.descending)
}

fn narrow(query: &mut Query, filter: &Filter) {
    match filter {
        Filter::All(all) => all.iter().for_each(|filter| narrow(query, filter)),
        Filter::Compare(field, Op::Eq, value) => restrict(query, field, std::slice::from_ref(value)),
        Filter::In(field, values, true) => restrict(query, field, values),
        _ => {}
    }
}

/// The first that is said of a column counts; the others are looked at.
fn restrict(query: &mut Query, field: &Field, values: &[Literal]) {
    let texts = values.iter().filter_map(|value| match value {
        Literal::Text(text) => Some(text.clone()),
        Literal::Bool(_) | Literal::Number(_) => None,
    });
    let texts: Vec<String> = texts.collect();
    let one_of = |column: &mut Vec<String>| {
        if column.is_empty() {
            column.clone_from(&texts);
        }
    };
    let only = |column: &mut Option<String>| {
        if let (None, [text]) = (&column, texts.as_slice()) {
            *column = Some(text.clone());
        }
    };
    match field {
        Field::Parent => one_of(&mut query.parents),
        Field::State => one_of(&mut query.states),
        Field::Name => only(&mut query.name),
        Field::Project => only(&mut query.project),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_hold_of_every_match_narrows_the_list() {
        let narrowed = |text: &str| super::narrowed(&Search::parse("job", text).unwrap());
        let all = Query::kind("job");
        assert_eq!(
            narrowed("name = 'a' and (state in ('X', 'Y') and parent = '1.0') and project = 'p' order by id"),
            all.clone().name("a").states(["X", "Y"]).parent("1.0").project("p")
        );
        assert_eq!(narrowed("name = 'a'"), all.clone().name("a").newest_first());
        assert_eq!(narrowed("name = 'a' order by created, id desc"), all.clone().name("a"));
        // Each of these may match what has another value, or says nothing that a list is of.
        for wide in [
            "name = 'a' or state = 'X'",
            "not name = 'a'",
            "name != 'a'",
            "name > 'a'",
            "name in ('a', 'b')",
            "id = 'a'",
            "name = 1",
            "state in (1)",
            "state not in ('X')",
            "name like 'a'",
        ] {
            assert_eq!(narrowed(&format!("{wide} order by id")), all, "{wide}");
        }
        assert_eq!(narrowed("name = 'a' and name = 'b' order by id"), all.clone().name("a"));
        let of_project = Search::parse("job", "project = 'q' order by id").unwrap().project("p");
        assert_eq!(super::narrowed(&of_project), all.project("p"));
    }
}
