//! Matches without an index: which of many records are as a filter says?
//!
//! A filter is asked of all records at once, so that what lies beside them (metrics, annotations, neighbours) is read many together.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

use super::evaluate::{Looked, holds, is_like};
use super::{Field, Filter, KIND_ANNOTATION, KIND_METRIC_SUMMARY, Near, Op};
use crate::error::Result;
use crate::store::{MetaStore, PAGE_ROWS_MAX, PageToken, QUERY_PARENTS_MAX, Query, Record, RecordKey, RelationQuery};

/// Whether a record is as a filter says.
pub(crate) async fn is_match<S: MetaStore + ?Sized>(store: &S, record: &Record, filter: &Filter) -> Result<bool> {
    let looked = Looked::new(record.clone());
    Ok(which(store, vec![&looked], filter).await? == [true])
}

/// For each record, whether it is as a filter says. Recursive, so boxed.
pub(super) fn which<'a, S: MetaStore + ?Sized>(
    store: &'a S,
    looked: Vec<&'a Looked>,
    filter: &'a Filter,
) -> Pin<Box<dyn Future<Output = Result<Vec<bool>>> + Send + 'a>> {
    Box::pin(async move {
        match filter {
            Filter::All(all) => gather(store, &looked, all, true).await,
            Filter::Any(any) => gather(store, &looked, any, false).await,
            Filter::Not(filter) => Ok(which(store, looked, filter).await?.into_iter().map(|is| !is).collect()),
            Filter::Compare(field, op, with) => {
                each(store, &looked, field, |value| holds(value.as_ref(), *op, with)).await
            }
            Filter::In(field, values, is_in) => {
                each(store, &looked, field, |value| {
                    let is_comparable = |op| values.iter().any(|with| holds(value.as_ref(), op, with));
                    let is_any = is_comparable(Op::Eq);
                    if *is_in { is_any } else { !is_any && is_comparable(Op::Ne) }
                })
                .await
            }
            Filter::Like(field, pattern, is_like_it) => {
                each(store, &looked, field, |value| {
                    let text = value.as_ref().and_then(Value::as_str);
                    text.is_some_and(|text| is_like(text, pattern) == *is_like_it)
                })
                .await
            }
            Filter::Exists(field) => each(store, &looked, field, |value| value.is_some()).await,
            Filter::Near(near, kind, filter) => {
                Neighbours { store, near, kind, filter: filter.as_deref() }.of(&looked).await
            }
        }
    })
}

/// All or any of some filters; a record for which it is settled is not looked at further.
async fn gather<S: MetaStore + ?Sized>(
    store: &S,
    looked: &[&Looked],
    filters: &[Filter],
    all: bool,
) -> Result<Vec<bool>> {
    let mut holds = vec![all; looked.len()];
    for filter in filters {
        let open: Vec<usize> = (0..looked.len()).filter(|n| holds.get(*n) == Some(&all)).collect();
        let some = open.iter().filter_map(|n| looked.get(*n).copied()).collect();
        for (n, is) in open.iter().zip(which(store, some, filter).await?) {
            if let Some(holds) = holds.get_mut(*n) {
                *holds = is;
            }
        }
    }
    Ok(holds)
}

async fn each<S: MetaStore + ?Sized>(
    store: &S,
    looked: &[&Looked],
    field: &Field,
    is: impl Fn(Option<Value>) -> bool,
) -> Result<Vec<bool>> {
    Ok(values(store, looked, field).await?.into_iter().map(is).collect())
}

/// What each record says in a field, or what lies beside it says there: its metric, or its annotation.
pub(super) async fn values<S: MetaStore + ?Sized>(
    store: &S,
    looked: &[&Looked],
    field: &Field,
) -> Result<Vec<Option<Value>>> {
    let mut values: Vec<Option<Value>> = looked.iter().map(|looked| looked.own(field)).collect();
    let open = values.iter().zip(looked).enumerate().filter(|(_, (value, _))| value.is_none());
    let beside = open.filter_map(|(n, (_, looked))| Some((n, beside(&looked.record.key, field)?)));
    let (places, keys): (Vec<usize>, Vec<RecordKey>) = beside.unzip();
    for (n, found) in places.into_iter().zip(get(store, &keys).await?) {
        if let (Some(found), Some(value)) = (found, values.get_mut(n)) {
            *value = match field {
                Field::Metric(_) => found.number.map(Value::from),
                _ => Looked::new(found).own(field),
            };
        }
    }
    Ok(values)
}

fn beside(key: &RecordKey, field: &Field) -> Option<RecordKey> {
    match field {
        Field::Metric(name) => Some(RecordKey::new(KIND_METRIC_SUMMARY, format!("{key}/{name}"))),
        _ => field.may_be_annotated(&key.kind).then(|| RecordKey::new(KIND_ANNOTATION, key.to_string())),
    }
}

/// As many records as are asked for, however many.
async fn get<S: MetaStore + ?Sized>(store: &S, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(PAGE_ROWS_MAX) {
        found.extend(store.get(keys).await?);
    }
    Ok(found)
}

/// Whether records have a neighbour of a kind that is as a filter says.
struct Neighbours<'a, S: ?Sized> {
    store: &'a S,
    near: &'a Near,
    kind: &'a str,
    filter: Option<&'a Filter>,
}

impl<S: MetaStore + ?Sized> Neighbours<'_, S> {
    async fn of(&self, looked: &[&Looked]) -> Result<Vec<bool>> {
        let owner = |looked: &&Looked| match self.near {
            Near::Parent => RecordKey::new(self.kind, looked.record.parent.as_str()),
            _ => looked.record.key.clone(),
        };
        let owners: Vec<RecordKey> = looked.iter().map(owner).collect();
        let open: BTreeSet<&RecordKey> = owners.iter().filter(|owner| !owner.id.is_empty()).collect();
        let open: Vec<RecordKey> = open.into_iter().cloned().collect();
        let mut have = BTreeSet::new();
        if let Near::Parent = self.near {
            let found = get(self.store, &open).await?.into_iter().flatten().collect();
            have = self.fitting(found).await?;
        } else {
            for some in open.chunks(QUERY_PARENTS_MAX) {
                self.walk(some.to_vec(), &mut have).await?;
            }
        }
        Ok(owners.iter().map(|owner| have.contains(owner)).collect())
    }

    /// Walks the neighbours of some records together. Those that have one that fits are left out from then on.
    async fn walk(&self, mut open: Vec<RecordKey>, have: &mut BTreeSet<RecordKey>) -> Result<()> {
        let mut after = None;
        while !open.is_empty() {
            let (links, next) = self.links(&open, after.take()).await?;
            let neighbours: BTreeMap<&RecordKey, &Record> =
                links.iter().map(|(_, found)| (&found.key, found)).collect();
            let fitting = self.fitting(neighbours.into_values().cloned().collect()).await?;
            let owners = links.into_iter().filter(|(_, found)| fitting.contains(&found.key)).map(|(owner, _)| owner);
            have.extend(owners);
            let before = open.len();
            open.retain(|owner| !have.contains(owner));
            match next {
                // A token is one of its own question: for fewer records, it is asked from the beginning.
                Some(next) => after = (open.len() == before).then_some(next),
                None => break,
            }
        }
        Ok(())
    }

    /// One page of neighbours, each with the record that it is one of.
    async fn links(
        &self,
        open: &[RecordKey],
        after: Option<PageToken>,
    ) -> Result<(Vec<(RecordKey, Record)>, Option<PageToken>)> {
        let (relation, leads_away) = match self.near {
            Near::To(relation) => (relation, true),
            Near::From(relation) => (relation, false),
            Near::Child | Near::Parent => {
                let query = Query::kind(self.kind).parents(open.iter().map(|owner| owner.id.as_str())).after(after);
                let page = self.store.query(&query).await?;
                let by_id: BTreeMap<&str, &RecordKey> = open.iter().map(|owner| (owner.id.as_str(), owner)).collect();
                let of = |child: Record| by_id.get(child.parent.as_str()).map(|owner| ((*owner).clone(), child));
                return Ok((page.items.into_iter().filter_map(of).collect(), page.next));
            }
        };
        let mut query = RelationQuery { kind: Some(relation.clone()), after, ..RelationQuery::default() };
        *(if leads_away { &mut query.from } else { &mut query.to }) = open.to_vec();
        let page = self.store.relations(&query).await?;
        let ends = page
            .items
            .into_iter()
            .map(|found| if leads_away { (found.from, found.to) } else { (found.to, found.from) });
        let ends: Vec<(RecordKey, RecordKey)> = ends.filter(|(_, end)| end.kind == self.kind).collect();
        let mut keys: Vec<RecordKey> = ends.iter().map(|(_, end)| end.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        let found = get(self.store, &keys).await?.into_iter().flatten();
        let records: BTreeMap<RecordKey, Record> = found.map(|record| (record.key.clone(), record)).collect();
        let link = |(owner, end)| records.get(&end).map(|record| (owner, record.clone()));
        Ok((ends.into_iter().filter_map(link).collect(), page.next))
    }

    /// The keys of those that are as the filter says.
    async fn fitting(&self, records: Vec<Record>) -> Result<BTreeSet<RecordKey>> {
        let Some(filter) = self.filter else { return Ok(records.into_iter().map(|record| record.key).collect()) };
        let looked: Vec<Looked> = records.into_iter().map(Looked::new).collect();
        let fits = which(self.store, looked.iter().collect(), filter).await?;
        let fitting = looked.into_iter().zip(fits).filter(|(_, fits)| *fits);
        Ok(fitting.map(|(looked, _)| looked.record.key).collect())
    }
}
