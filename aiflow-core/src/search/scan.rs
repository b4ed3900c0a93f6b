//! Searches without an index: every record of the kind is looked at. What other stores answer is measured by this.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;

use super::evaluate::{Looked, Sorted, holds, is_like, sortable};
use super::narrow::by_age;
use super::{Field, Filter, KIND_ANNOTATION, KIND_METRIC_SUMMARY, Near, Op, Search};
use crate::error::{Error, Result};
use crate::store::{MetaStore, Page, PageToken, Query, Record, RecordKey, RelationQuery};
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
        for record in page.items {
            let looked = Looked::new(record);
            let is_match = match &search.filter {
                Some(filter) => matches(store, &looked, filter).await?,
                None => true,
            };
            if !is_match {
                continue;
            }
            let place = place(store, &looked, search).await?;
            if after.as_ref().is_none_or(|after| place.compare(after, search).is_gt()) {
                found.push((place, looked.record));
            }
        }
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

async fn place<S: MetaStore + ?Sized>(store: &S, looked: &Looked, search: &Search) -> Result<Sorted> {
    let mut keys = Vec::with_capacity(search.order.len());
    for key in &search.order {
        keys.push(value(store, looked, &key.field).await?.and_then(sortable));
    }
    Ok(Sorted { keys, created: looked.record.created.as_millis(), id: looked.record.key.id.clone() })
}

async fn value<S: MetaStore + ?Sized>(store: &S, looked: &Looked, field: &Field) -> Result<Option<Value>> {
    let own = &looked.record.key;
    let beside = match field {
        Field::Metric(name) => RecordKey::new(KIND_METRIC_SUMMARY, format!("{own}/{name}")),
        _ if field.may_be_annotated(&own.kind) => RecordKey::new(KIND_ANNOTATION, own.to_string()),
        _ => return Ok(looked.own(field)),
    };
    if let Some(value) = looked.own(field) {
        return Ok(Some(value));
    }
    let found = store.get(std::slice::from_ref(&beside)).await?.into_iter().flatten().next();
    Ok(match field {
        Field::Metric(_) => found.and_then(|summary| summary.number).map(Value::from),
        _ => found.and_then(|annotation| Looked::new(annotation).own(field)),
    })
}

/// Whether a record is as a filter says.
pub(crate) async fn is_match<S: MetaStore + ?Sized>(store: &S, record: &Record, filter: &Filter) -> Result<bool> {
    matches(store, &Looked::new(record.clone()), filter).await
}

/// Recursive, so boxed.
fn matches<'a, S: MetaStore + ?Sized>(
    store: &'a S,
    looked: &'a Looked,
    filter: &'a Filter,
) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + 'a>> {
    Box::pin(async move {
        match filter {
            Filter::All(all) => {
                for filter in all {
                    if !matches(store, looked, filter).await? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Any(any) => {
                for filter in any {
                    if matches(store, looked, filter).await? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Filter::Not(filter) => Ok(!matches(store, looked, filter).await?),
            Filter::Compare(field, op, with) => Ok(holds(value(store, looked, field).await?.as_ref(), *op, with)),
            Filter::In(field, values, is_in) => {
                let value = value(store, looked, field).await?;
                let is_comparable = |op| values.iter().any(|with| holds(value.as_ref(), op, with));
                let is_any = is_comparable(Op::Eq);
                Ok(if *is_in { is_any } else { !is_any && (is_comparable(Op::Ne)) })
            }
            Filter::Like(field, pattern, is_like_it) => {
                let value = value(store, looked, field).await?;
                let text = value.as_ref().and_then(Value::as_str);
                Ok(text.is_some_and(|text| is_like(text, pattern) == *is_like_it))
            }
            Filter::Exists(field) => Ok(value(store, looked, field).await?.is_some()),
            Filter::Near(near, kind, filter) => is_near(store, looked, near, kind, filter.as_deref()).await,
        }
    })
}

async fn is_near<S: MetaStore + ?Sized>(
    store: &S,
    looked: &Looked,
    near: &Near,
    kind: &str,
    filter: Option<&Filter>,
) -> Result<bool> {
    let own = &looked.record.key;
    match near {
        Near::Child => {
            let mut query = Query::kind(kind).parent(own.id.as_str());
            loop {
                let page = store.query(&query).await?;
                if any_matches(store, page.items, filter).await? {
                    return Ok(true);
                }
                match page.next {
                    Some(token) => query.after = Some(token),
                    None => return Ok(false),
                }
            }
        }
        Near::Parent => {
            let parent = RecordKey::new(kind, looked.record.parent.as_str());
            if parent.id.is_empty() {
                return Ok(false);
            }
            let found = store.get(std::slice::from_ref(&parent)).await?;
            any_matches(store, found.into_iter().flatten().collect(), filter).await
        }
        Near::To(relation) | Near::From(relation) => {
            let leads_away = matches!(near, Near::To(_));
            let mut query = RelationQuery { kind: Some(relation.clone()), ..RelationQuery::default() };
            *(if leads_away { &mut query.from } else { &mut query.to }) = vec![own.clone()];
            loop {
                let page = store.relations(&query).await?;
                let ends = page.items.into_iter().map(|found| if leads_away { found.to } else { found.from });
                let ends: Vec<RecordKey> = ends.filter(|end| end.kind == kind).collect();
                let records = store.get(&ends).await?.into_iter().flatten().collect();
                if any_matches(store, records, filter).await? {
                    return Ok(true);
                }
                match page.next {
                    Some(token) => query.after = Some(token),
                    None => return Ok(false),
                }
            }
        }
    }
}

async fn any_matches<S: MetaStore + ?Sized>(store: &S, records: Vec<Record>, filter: Option<&Filter>) -> Result<bool> {
    let Some(filter) = filter else { return Ok(!records.is_empty()) };
    for record in records {
        if matches(store, &Looked::new(record), filter).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
