//! Lineage: what led to something, and what came of it? A walk over relations, step by step, each step in few reads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{AiFlow, implied};
use crate::error::{Error, Result};
use crate::event::{Event, UNDEFINED_EVENT_TYPE};
use crate::id::Offset;
use crate::lineage::{
    DERIVED_FROM, Direction, KIND_EVENT, LINEAGE_NODES_MAX, LINEAGE_WALK_MAX, Lineage, LineageNode, LineageQuery,
    LineageToken, flows_forward, is_lineage,
};
use crate::meta::PRODUCED;
use crate::search;
use crate::store::{Batch, PAGE_ROWS_MAX, QUERY_PARENTS_MAX, Query, Record, RecordKey, Relation, RelationQuery};
use crate::time::Timestamp;

/// What the walk knows of something.
enum Found {
    Record(Box<Record>),
    Event(std::sync::Arc<Event>),
    Gone,
}

impl Found {
    fn created(&self) -> Timestamp {
        match self {
            Self::Record(record) => record.created,
            Self::Event(event) => event.recorded,
            Self::Gone => Timestamp::EPOCH,
        }
    }
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
        let mut walk = Walk::begin(self, query).await?;
        while let Some((hops, keys)) = walk.next_batch() {
            let frontier = walk.take_in(keys, hops).await?;
            if walk.is_all_unknown() {
                let root = query.roots.first().map(ToString::to_string).unwrap_or_default();
                return Err(Error::not_found("lineage", "there is nothing with this key").with("key", root));
            }
            if hops < query.hops {
                walk.step(&frontier, hops + 1).await?;
            }
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
    nodes: Vec<LineageNode>,
    edges: Vec<Relation>,
    /// What is in this answer, in those before it, or waits.
    met: BTreeSet<RecordKey>,
    /// What was met and is in no answer yet, with its steps from the nearest root. The nearest come first.
    waiting: VecDeque<(u32, RecordKey)>,
    is_cut: bool,
}

impl<'a> Walk<'a> {
    async fn begin(flow: &'a AiFlow, query: &'a LineageQuery) -> Result<Self> {
        let LineageToken { told, waiting, is_cut } = query.after.clone().unwrap_or_default();
        let mut met = told;
        met.extend(waiting.iter().map(|(_, key)| key.clone()));
        let mut walk = Self { flow, query, nodes: Vec::new(), edges: Vec::new(), met, waiting, is_cut };
        if query.after.is_none() {
            let absent = match query.as_of {
                Some(moment) => walk.created_after(moment, query.roots.clone()).await?,
                None => BTreeSet::new(),
            };
            for root in query.roots.iter().filter(|root| !absent.contains(*root)) {
                walk.meet(root, 0);
            }
        }
        Ok(walk)
    }

    /// The next things that are equally far away, as many as there is room for.
    fn next_batch(&mut self) -> Option<(u32, Vec<RecordKey>)> {
        let room = self.query.nodes.clamp(1, LINEAGE_NODES_MAX).saturating_sub(self.nodes.len());
        let (hops, _) = *self.waiting.front().filter(|_| room > 0)?;
        let near = self.waiting.iter().take(room).take_while(|(steps, _)| *steps == hops).count();
        let mut keys: Vec<RecordKey> = self.waiting.drain(..near).map(|(_, key)| key).collect();
        keys.sort_unstable();
        Some((hops, keys))
    }

    /// Whether all that was asked for was looked up, and nothing of it is there.
    fn is_all_unknown(&self) -> bool {
        let is_begin = self.query.after.is_none() && self.waiting.is_empty();
        is_begin && self.nodes.iter().all(|node| node.hops == 0 && !node.is_known)
    }

    /// Adds these to the answer, and returns what to go on from.
    async fn take_in(&mut self, keys: Vec<RecordKey>, hops: u32) -> Result<Vec<(RecordKey, Found)>> {
        let mut frontier = Vec::with_capacity(keys.len());
        for (key, found) in self.look_up(&keys).await? {
            let (name, state) = match &found {
                Found::Record(record) => (record.name.clone(), record.state.clone()),
                Found::Event(event) => (about(event), String::new()),
                Found::Gone => Default::default(),
            };
            let is_known = !matches!(found, Found::Gone);
            let created = found.created();
            self.nodes.push(LineageNode { key: key.clone(), name, state, created, hops, is_known });
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

    /// Meets what lies one step beyond the frontier.
    async fn step(&mut self, frontier: &[(RecordKey, Found)], hops: u32) -> Result<()> {
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
                self.follow_relations(query, hops).await?;
            }
            match self.query.direction {
                Direction::Upstream => self.follow_records(chunk, hops).await?,
                Direction::Downstream => self.find_records(chunk, hops).await?,
            }
        }
        Ok(())
    }

    async fn follow_relations(&mut self, mut query: RelationQuery, hops: u32) -> Result<()> {
        let leads_away = !query.from.is_empty();
        while !self.is_cut {
            let mut page = self.flow.store().relations(&query).await?;
            page.items.retain(|edge| {
                // Upstream of its start lies the end of a relation, and the other way round where the data flow along it.
                let is_upstream = leads_away != flows_forward(&edge.kind);
                is_lineage(&edge.kind) && is_upstream == (self.query.direction == Direction::Upstream)
            });
            self.take_edges(page.items, leads_away, hops).await?;
            let Some(token) = page.next else { break };
            query.after = Some(token);
        }
        Ok(())
    }

    /// Follows what the records and events of the frontier say themselves.
    async fn follow_records(&mut self, frontier: &[(RecordKey, Found)], hops: u32) -> Result<()> {
        let mut edges = Vec::new();
        for (_, found) in frontier {
            match found {
                Found::Record(record) => edges.extend(implied::by_record(record)?),
                Found::Event(event) => edges.extend(implied::by_event(event)),
                Found::Gone => {}
            }
        }
        self.take_edges(edges, true, hops).await
    }

    /// Finds the records that say themselves that they come of something in the frontier.
    async fn find_records(&mut self, frontier: &[(RecordKey, Found)], hops: u32) -> Result<()> {
        let near: BTreeSet<&RecordKey> = frontier.iter().map(|(key, _)| key).collect();
        let mut asked: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        for (relation, kind, parent) in near.iter().filter_map(|key| implied::sayers(key)) {
            if self.is_along(relation) {
                asked.entry((relation, kind)).or_default().insert(parent);
            }
        }
        for ((relation, kind), parents) in asked {
            let mut query = Query::kind(kind).parents(parents);
            while !self.is_cut {
                let page = self.flow.store().query(&query).await?;
                let mut edges = Vec::new();
                for record in &page.items {
                    let said = implied::by_record(record)?.into_iter();
                    edges.extend(said.filter(|edge| edge.kind == relation && near.contains(&edge.to)));
                }
                self.take_edges(edges, false, hops).await?;
                let Some(token) = page.next else { break };
                query.after = Some(token);
            }
        }
        Ok(())
    }

    /// Adds edges to the answer, and meets the ends to which they lead.
    async fn take_edges(&mut self, mut edges: Vec<Relation>, leads_away: bool, hops: u32) -> Result<()> {
        edges.retain(|edge| self.is_along(&edge.kind));
        let far = |edge: &Relation| if leads_away { edge.to.clone() } else { edge.from.clone() };
        let absent = match self.query.as_of {
            Some(moment) => self.created_after(moment, edges.iter().map(far).collect()).await?,
            None => BTreeSet::new(),
        };
        for edge in edges {
            let far = if leads_away { &edge.to } else { &edge.from };
            if !absent.contains(far) && self.meet(far, hops) {
                self.edges.push(edge);
            }
        }
        Ok(())
    }

    fn is_along(&self, relation: &str) -> bool {
        self.query.relations.is_empty() || self.query.relations.contains(relation)
    }

    /// Which of these were not there yet. What was met was there.
    async fn created_after(&self, moment: Timestamp, mut keys: Vec<RecordKey>) -> Result<BTreeSet<RecordKey>> {
        keys.retain(|key| !self.met.contains(key));
        keys.sort_unstable();
        keys.dedup();
        let found = self.look_up(&keys).await?;
        Ok(found.into_iter().filter(|(_, found)| found.created() > moment).map(|(key, _)| key).collect())
    }

    /// Lets it wait if it is new; false if the walk has no room for it.
    fn meet(&mut self, key: &RecordKey, hops: u32) -> bool {
        if self.met.contains(key) {
            return true;
        }
        if self.met.len() >= LINEAGE_WALK_MAX {
            self.is_cut = true;
            return false;
        }
        self.met.insert(key.clone());
        self.waiting.push_back((hops, key.clone()));
        true
    }

    fn finish(self) -> Lineage {
        let Self { query, nodes, mut edges, waiting, is_cut, .. } = self;
        // What an execution says of itself may be a relation as well.
        edges.sort_unstable();
        edges.dedup();
        let complete = waiting.is_empty() && !is_cut;
        let next = (!waiting.is_empty()).then(|| {
            let mut told = query.after.as_ref().map_or_else(BTreeSet::new, |token| token.told.clone());
            told.extend(nodes.iter().map(|node| node.key.clone()));
            LineageToken { told, waiting, is_cut }
        });
        Lineage { nodes, edges, complete, next }
    }
}

/// What an event is about, without its value.
fn about(event: &Event) -> String {
    match event.event_type.as_str() {
        UNDEFINED_EVENT_TYPE => event.key.clone(),
        event_type => format!("{event_type} {}", event.key),
    }
}
