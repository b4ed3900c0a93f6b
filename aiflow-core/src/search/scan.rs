//! Searches without an index: every record of the kind is looked at. What other stores answer is measured by this.

use std::time::Duration;

use super::Search;
use super::evaluate::{Looked, Sorted, sortable};
use super::matching::{values, which};
use super::narrow::by_age;
use crate::error::{Error, Result};
use crate::store::{MetaStore, Page, PageToken, Query, Record};
use crate::time::Timestamp;

/// How many records are looked at between two cuts of what was found to the size of a page.
const CUT_AFTER: usize = 4_096;
/// How many records are looked at together, at least, where a look may end before the last.
const AGED_ROWS_MIN: usize = 100;

/// Answers a search by looking at every record of the kind. It costs as much as there are records, on every page.
///
/// # Errors
/// `Invalid`: the token was made by another search. Others are those of the store.
pub async fn scan<S: MetaStore + ?Sized>(store: &S, search: &Search) -> Result<Page<Record>> {
    let mut query = Query::kind(search.kind.as_str());
    query.project.clone_from(&search.project);
    scan_in(store, search, query, None).await
}

/// As [`scan`], among the records that `query` lists, which must have all matches that come after the token; see
/// [`narrowed`](super::narrowed).
///
/// Where `query` goes by age in the direction of the search, and a store knows that no record that was first put later was created more than
/// `lag` before one that was put earlier, the look ends as soon as nothing that follows can come onto the page.
///
/// # Errors
/// As [`scan`].
pub async fn scan_in<S: MetaStore + ?Sized>(
    store: &S,
    search: &Search,
    mut query: Query,
    lag: Option<Duration>,
) -> Result<Page<Record>> {
    let after: Option<Sorted> = search.after.as_ref().map(|token| place_of(token, search)).transpose()?;
    let newest_first = by_age(search).filter(|descending| *descending == query.descending);
    let lag = lag.zip(newest_first);
    if lag.is_some() {
        query.limit = search.page_rows().saturating_add(1).max(AGED_ROWS_MIN);
    }
    let limit = search.page_rows();
    let mut found: Vec<(Sorted, Record)> = Vec::new();
    let sort = |found: &mut Vec<(Sorted, Record)>| {
        found.sort_by(|(a, _), (b, _)| a.compare(b, search));
        found.truncate(limit.saturating_add(1));
    };
    loop {
        let page = store.query(&query).await?;
        let edge = page.items.last().map(|record| record.created);
        let mut looked: Vec<Looked> = page.items.into_iter().map(Looked::new).collect();
        if let Some(filter) = &search.filter {
            let mut matches = which(store, looked.iter().collect(), filter).await?.into_iter();
            looked.retain(|_| matches.next() == Some(true));
        }
        let places = places(store, &looked.iter().collect::<Vec<_>>(), search).await?;
        let is_behind = |place: &Sorted| after.as_ref().is_none_or(|after| place.compare(after, search).is_gt());
        let behind = places.into_iter().zip(looked).filter(|(place, _)| is_behind(place));
        found.extend(behind.map(|(place, looked)| (place, looked.record)));
        if found.len() > CUT_AFTER || (lag.is_some() && found.len() > limit) {
            sort(&mut found);
        }
        // One more than the page has, which tells whether there is another.
        if let (Some((lag, newest_first)), Some(edge), Some((last, _))) = (lag, edge, found.get(limit)) {
            let last = Timestamp::from_millis(last.created);
            let is_full = if newest_first { last > edge + lag } else { last + lag < edge };
            if is_full {
                break;
            }
        }
        match page.next {
            Some(token) => query.after = Some(token),
            None => break,
        }
    }
    sort(&mut found);
    let is_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| is_more).map(|(place, _)| token_of(place));
    Ok(Page { items: found.into_iter().map(|(_, record)| record).collect(), next })
}

/// The token of the page that ends at `place`.
pub fn token_of(place: &Sorted) -> PageToken {
    // Plain data, which always serialises.
    PageToken(serde_json::to_string(place).unwrap_or_default())
}

/// Where the page ended that this token is of.
///
/// # Errors
/// `Invalid`: it was made by something else.
pub fn place_of(token: &PageToken, search: &Search) -> Result<Sorted> {
    let place: Option<Sorted> = serde_json::from_str(&token.0).ok();
    place
        .filter(|place| place.keys.len() == search.order.len())
        .ok_or_else(|| Error::invalid("search", "the page token was not made by this search"))
}

/// Where each record stands in the order of a search.
async fn places<S: MetaStore + ?Sized>(store: &S, looked: &[&Looked], search: &Search) -> Result<Vec<Sorted>> {
    let sorted = |looked: &&Looked| Sorted {
        keys: Vec::with_capacity(search.order.len()),
        created: looked.record.created.as_millis(),
        id: looked.record.key.id.clone(),
    };
    let mut places: Vec<Sorted> = looked.iter().map(sorted).collect();
    for key in &search.order {
        for (place, value) in places.iter_mut().zip(values(store, looked, &key.field).await?) {
            place.keys.push(value.and_then(sortable));
        }
    }
    Ok(places)
}
