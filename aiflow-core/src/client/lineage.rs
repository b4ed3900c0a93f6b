//! Lineage: what led to something, and what came of it? A walk over relations, step by step, each step in few reads.

use std::collections::{BTreeMap, BTreeSet};

use super::AiFlow;
use crate::error::{Error, Result};
use crate::event::{Event, UNDEFINED_EVENT_TYPE};
use crate::execution::{JobExecution, KIND_JOB_EXECUTION, KIND_WORKFLOW_EXECUTION, WorkflowExecution};
use crate::id::Offset;
use crate::lineage::{
    DERIVED_FROM, Direction, KIND_EVENT, LINEAGE_NODES_MAX, Lineage, LineageNode, LineageQuery, PART_OF, PUBLISHED_BY,
    RERUN_OF, RUNS, TRIGGERED_BY, VERSION_OF, event_key, flows_forward, is_lineage,
};
use crate::meta::{KIND_DATASET, KIND_DATASET_VERSION, KIND_MODEL, KIND_MODEL_VERSION, PRODUCED};
use crate::records::{body_of, job_execution_key, workflow_execution_key, workflow_version_key};
use crate::search;
use crate::store::{Batch, PAGE_ROWS_MAX, QUERY_PARENTS_MAX, Record, RecordKey, Relation, RelationQuery};
use crate::time::Timestamp;

/// What the walk knows of something.
enum Found {
    Record(Box<Record>),
    Event(std::sync::Arc<Event>),
    Gone,
}

impl AiFlow {
    /// A part of the lineage: what led to something, or what came of it, also while jobs still run.
    ///
    /// "Which event, data and code made this model?":
    /// ```no_run
    /// # use aiflow_core::{client::AiFlow, lineage::LineageQuery};
    /// # async fn example(aiflow: &AiFlow) -> aiflow_core::Result<()> {
    /// let version = aiflow.models().version("wine", 3).await?.expect("it is registered");
    /// let lineage = aiflow.lineage(&LineageQuery::upstream(version.key.clone())).await?;
    /// let events = lineage.of_kind("event");
    /// let data = lineage.of_kind("dataset_version");
    /// let code = lineage.of_kind("workflow_version");
    /// println!("{}", lineage.to_mermaid());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `NotFound`: none of the roots is there. Others are those of the store and the log.
    pub async fn lineage(&self, query: &LineageQuery) -> Result<Lineage> {
        let mut walk =
            Walk { flow: self, query, told: Lineage::default(), places: BTreeMap::new(), edges: BTreeSet::new() };
        walk.told.complete = true;
        let mut roots = query.roots.clone();
        roots.sort_unstable();
        roots.dedup();
        let mut frontier = walk.take_in(roots, 0).await?;
        if !walk.told.nodes.is_empty() && walk.told.nodes.iter().all(|root| !root.is_known) {
            let root = query.roots.first().map(ToString::to_string).unwrap_or_default();
            return Err(Error::not_found("lineage", "there is nothing with this key").with("key", root));
        }
        for hops in 1..=query.hops {
            let next = walk.step(&frontier).await?;
            if next.is_empty() {
                break;
            }
            frontier = walk.take_in(next, hops).await?;
        }
        Ok(walk.finish())
    }

    /// Notes that something was made from something else. Both must be there; noting it again is fine.
    ///
    /// # Errors
    /// `NotFound`: one of them is not there. Others are those of the store.
    pub async fn derived(&self, made: &RecordKey, from: &RecordKey) -> Result<()> {
        let keys = [made.clone(), from.clone()];
        let mut batch = Batch::at(self.clock().now()).relate(DERIVED_FROM, made.clone(), from.clone());
        for (key, found) in keys.iter().zip(self.store().get(&keys).await?) {
            let Some(record) = found else {
                return Err(Error::not_found("derive", "there is nothing with this key").with("key", key));
            };
            if made != from {
                batch = batch.expect(key.clone(), Some(record.revision));
            }
        }
        self.store().commit(batch).await.map(|_| ())
    }
}

struct Walk<'a> {
    flow: &'a AiFlow,
    query: &'a LineageQuery,
    told: Lineage,
    places: BTreeMap<RecordKey, usize>,
    edges: BTreeSet<Relation>,
}

impl Walk<'_> {
    /// Adds what is new to the answer as far as there is room, and returns what to go on from.
    async fn take_in(&mut self, keys: Vec<RecordKey>, hops: u32) -> Result<Vec<(RecordKey, Found)>> {
        let room = self.query.nodes.clamp(1, LINEAGE_NODES_MAX).saturating_sub(self.told.nodes.len());
        let (taken, rest) = keys.split_at(room.min(keys.len()));
        self.told.complete &= rest.is_empty();
        self.told.rest.extend(rest.iter().cloned());
        let mut frontier = Vec::with_capacity(taken.len());
        for (key, found) in self.look_up(taken).await? {
            let (name, state, created) = match &found {
                Found::Record(record) => (record.name.clone(), record.state.clone(), record.created),
                Found::Event(event) => (about(event), String::new(), event.recorded),
                Found::Gone => (String::new(), String::new(), Timestamp::EPOCH),
            };
            if self.query.as_of.is_some_and(|moment| created > moment) {
                continue;
            }
            let is_known = !matches!(found, Found::Gone);
            self.places.insert(key.clone(), self.told.nodes.len());
            self.told.nodes.push(LineageNode { key: key.clone(), name, state, created, hops, is_known });
            if !self.is_stop(&key, &found).await? {
                frontier.push((key, found));
            }
        }
        Ok(frontier)
    }

    async fn look_up(&self, keys: &[RecordKey]) -> Result<Vec<(RecordKey, Found)>> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(PAGE_ROWS_MAX) {
            let records = self.flow.store().get(keys).await?;
            for (key, record) in keys.iter().zip(records) {
                let what = match (record, key.kind == KIND_EVENT, key.id.parse::<u64>()) {
                    (Some(record), ..) => Found::Record(Box::new(record)),
                    (None, true, Ok(offset)) => {
                        self.flow.event_at(Offset(offset)).await?.map_or(Found::Gone, Found::Event)
                    }
                    _ => Found::Gone,
                };
                found.push((key.clone(), what));
            }
        }
        Ok(found)
    }

    async fn is_stop(&self, key: &RecordKey, found: &Found) -> Result<bool> {
        for (_, filter) in self.query.stop_at.iter().filter(|(kind, _)| *kind == key.kind) {
            let is_meant = match (filter, found) {
                (None, _) => true,
                (Some(filter), Found::Record(record)) => search::is_match(&**self.flow.store(), record, filter).await?,
                (Some(_), _) => false,
            };
            if is_meant {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What lies one step beyond the frontier and is not in the answer yet.
    async fn step(&mut self, frontier: &[(RecordKey, Found)]) -> Result<Vec<RecordKey>> {
        let mut next = BTreeSet::new();
        for chunk in frontier.chunks(QUERY_PARENTS_MAX) {
            let keys: Vec<RecordKey> = chunk.iter().map(|(key, _)| key.clone()).collect();
            let produced = Some(PRODUCED.to_owned());
            let (forward, backward) = match self.query.direction {
                // Upstream is where a relation ends, unless the data flow along it.
                Direction::Upstream => (None, produced),
                Direction::Downstream => (produced, None),
            };
            let from = RelationQuery { kind: forward, from: keys.clone(), ..RelationQuery::default() };
            let to = RelationQuery { kind: backward, to: keys, ..RelationQuery::default() };
            for query in [from, to] {
                self.follow(query, &mut next).await?;
            }
        }
        if self.query.direction == Direction::Upstream {
            for (key, found) in frontier {
                for edge in implied(key, found)? {
                    self.take_edge(edge, true, &mut next);
                }
            }
        }
        Ok(next.into_iter().collect())
    }

    async fn follow(&mut self, mut query: RelationQuery, next: &mut BTreeSet<RecordKey>) -> Result<()> {
        let leads_away = !query.from.is_empty();
        loop {
            let page = self.flow.store().relations(&query).await?;
            for edge in page.items {
                // Upstream of its start lies the end of a relation, and the other way round where the data flow along it.
                let is_upstream = leads_away != flows_forward(&edge.kind);
                if is_lineage(&edge.kind) && is_upstream == (self.query.direction == Direction::Upstream) {
                    self.take_edge(edge, leads_away, next);
                }
            }
            match page.next {
                Some(token) => query.after = Some(token),
                None => return Ok(()),
            }
        }
    }

    fn take_edge(&mut self, edge: Relation, leads_away: bool, next: &mut BTreeSet<RecordKey>) {
        if !self.query.relations.is_empty() && !self.query.relations.contains(&edge.kind) {
            return;
        }
        let far = if leads_away { &edge.to } else { &edge.from };
        if !self.places.contains_key(far) {
            next.insert(far.clone());
        }
        self.edges.insert(edge);
    }

    fn finish(mut self) -> Lineage {
        let is_there = |key: &RecordKey| self.places.contains_key(key);
        self.told.edges =
            std::mem::take(&mut self.edges).into_iter().filter(|e| is_there(&e.from) && is_there(&e.to)).collect();
        self.told
    }
}

/// What an event is about, without its value.
fn about(event: &Event) -> String {
    match event.event_type.as_str() {
        UNDEFINED_EVENT_TYPE => event.key.clone(),
        event_type => format!("{event_type} {}", event.key),
    }
}

/// The edges that follow from a record or an event itself.
fn implied(key: &RecordKey, found: &Found) -> Result<Vec<Relation>> {
    let edge = |kind: &str, to: RecordKey| vec![Relation { kind: kind.to_owned(), from: key.clone(), to }];
    Ok(match found {
        Found::Event(event) => event.context.attempt.map_or_else(Vec::new, |attempt| {
            Vec::from_iter([Relation {
                kind: PUBLISHED_BY.to_owned(),
                from: event_key(event.offset),
                to: job_execution_key(attempt.job_execution),
            }])
        }),
        Found::Record(record) if record.parent.is_empty() => Vec::new(),
        Found::Record(record) => match key.kind.as_str() {
            // An execution names every event that fired it, also those that there was no room to write relations of.
            KIND_JOB_EXECUTION => {
                let JobExecution { workflow_execution, cause, .. } = body_of(record)?;
                // What starts together with its workflow execution is part of that.
                let is_fired = cause.rule.is_some() || cause.schedule.is_some();
                let mut edges = edge(PART_OF, workflow_execution_key(workflow_execution));
                edges
                    .extend(cause.events.iter().filter(|_| is_fired).flat_map(|by| edge(TRIGGERED_BY, event_key(*by))));
                edges
            }
            KIND_WORKFLOW_EXECUTION => {
                let WorkflowExecution { project, workflow, version, cause, rerun_of, .. } = body_of(record)?;
                let mut edges = edge(RUNS, workflow_version_key(&project, &workflow, version));
                edges.extend(cause.events.iter().flat_map(|by| edge(TRIGGERED_BY, event_key(*by))));
                edges.extend(rerun_of.into_iter().flat_map(|first| edge(RERUN_OF, workflow_execution_key(first))));
                edges
            }
            KIND_MODEL_VERSION => edge(VERSION_OF, RecordKey::new(KIND_MODEL, record.parent.as_str())),
            KIND_DATASET_VERSION => edge(VERSION_OF, RecordKey::new(KIND_DATASET, record.parent.as_str())),
            _ => Vec::new(),
        },
        Found::Gone => Vec::new(),
    })
}
