//! Lineage: what was made from what, by which job, because of which event?
//!
//! The edges are relations of the store: jobs write `read` and `produced` through their context, the scheduler writes `triggered_by` from an
//! execution to the events that fired it and `published_by` from such an event to the job execution that it comes from, users write
//! `derived_from`. Three more follow from the records themselves and are found on the way, in either direction: `part_of` from a job execution to
//! its workflow execution, `runs` from that to the version of the workflow (the code), `version_of` from a version to what it is one of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::search::Filter;
use crate::store::{RecordKey, Relation};
use crate::time::Timestamp;
use crate::workflow::{Arrow, Drawing, End, Shape};

/// Relation from an execution to an event that fired it.
pub const TRIGGERED_BY: &str = "triggered_by";
/// Relation from an event to the job execution that published it.
pub const PUBLISHED_BY: &str = "published_by";
/// Relation from something to what it was made from, as a user says.
pub const DERIVED_FROM: &str = "derived_from";
/// Relation from an execution to the one that it runs again.
pub const RERUN_OF: &str = "rerun_of";
/// Edge from a job execution to its workflow execution.
pub const PART_OF: &str = "part_of";
/// Edge from a workflow execution to the version of the workflow that it has.
pub const RUNS: &str = "runs";
/// Edge from a version to what it is a version of.
pub const VERSION_OF: &str = "version_of";

/// Kind under which an event stands in lineage; the id is its offset.
pub const KIND_EVENT: &str = "event";
/// Of the events that fired an execution, relations to so many of the newest are written, as far as there is room in the transaction that
/// begins it. Upstream the lineage has all of them, because the execution names them; downstream, from an event on, those that are written.
pub const TRIGGERS_MAX: usize = 100;
/// The most things that one answer holds.
pub const LINEAGE_NODES_MAX: usize = 10_000;
/// The most things that all the answers to one question hold, because each remembers those before it.
pub const LINEAGE_WALK_MAX: usize = 100_000;
/// The most steps from the roots.
pub const LINEAGE_HOPS_MAX: u32 = 100;

/// The key of an event in lineage.
#[must_use]
pub fn event_key(offset: crate::id::Offset) -> RecordKey {
    RecordKey::new(KIND_EVENT, offset.to_string())
}

/// In which direction to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// What led to it.
    #[default]
    Upstream,
    /// What came of it.
    Downstream,
}

/// Which part of the lineage to look at.
///
/// ```
/// use aiflow_core::lineage::LineageQuery;
/// use aiflow_core::store::RecordKey;
///
/// let query = LineageQuery::downstream(RecordKey::new("dataset", "wine/samples")).hops(3);
/// ```
///
/// In parts, where there may be much:
/// ```no_run
/// # use aiflow_core::{client::AiFlow, lineage::LineageQuery, store::RecordKey};
/// # async fn example(aiflow: &AiFlow, version: RecordKey) -> aiflow_core::Result<()> {
/// let mut query = LineageQuery::downstream(version).nodes(100);
/// loop {
///     let part = aiflow.lineage(&query).await?;
///     println!("{} more", part.nodes.len());
///     if part.next.is_none() {
///         break;
///     }
///     query = query.after(part.next);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "pass it to AiFlow::lineage"]
pub struct LineageQuery {
    pub(crate) roots: Vec<RecordKey>,
    pub(crate) direction: Direction,
    pub(crate) hops: u32,
    pub(crate) nodes: usize,
    pub(crate) relations: BTreeSet<String>,
    pub(crate) stop_at: Vec<(String, Option<Filter>)>,
    pub(crate) as_of: Option<Timestamp>,
    pub(crate) after: Option<LineageToken>,
}

/// Where an answer ended: what was told so far, and what waits to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageToken {
    pub(crate) told: BTreeSet<RecordKey>,
    /// With the steps from the nearest root, in the order in which it was met.
    pub(crate) waiting: VecDeque<(u32, RecordKey)>,
    /// Whether something was met for which there was no room in the whole walk.
    pub(crate) is_cut: bool,
}

impl LineageQuery {
    fn new(root: RecordKey, direction: Direction) -> Self {
        let (relations, stop_at) = (BTreeSet::new(), Vec::new());
        let (roots, hops, nodes) = (vec![root], LINEAGE_HOPS_MAX, 1_000);
        Self { roots, direction, hops, nodes, relations, stop_at, as_of: None, after: None }
    }

    /// What led to this.
    pub fn upstream(root: RecordKey) -> Self {
        Self::new(root, Direction::Upstream)
    }

    /// What came of this.
    pub fn downstream(root: RecordKey) -> Self {
        Self::new(root, Direction::Downstream)
    }

    /// Also from these on.
    pub fn and_from(mut self, roots: impl IntoIterator<Item = RecordKey>) -> Self {
        self.roots.extend(roots);
        self
    }

    /// At most so many steps from the roots, and at most [`LINEAGE_HOPS_MAX`].
    pub fn hops(mut self, hops: u32) -> Self {
        self.hops = hops.min(LINEAGE_HOPS_MAX);
        self
    }

    /// At most so many things in the answer, and at most [`LINEAGE_NODES_MAX`]; 1,000 if not said.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes.min(LINEAGE_NODES_MAX);
        self
    }

    /// Only along relations of these kinds.
    pub fn along<S: Into<String>>(mut self, relations: impl IntoIterator<Item = S>) -> Self {
        self.relations.extend(relations.into_iter().map(Into::into));
        self
    }

    /// Not beyond things of this kind, which are still part of the answer.
    pub fn stop_at(mut self, kind: impl Into<String>) -> Self {
        self.stop_at.push((kind.into(), None));
        self
    }

    /// Not beyond things of this kind that `text` describes; see [the language](crate::search).
    ///
    /// # Errors
    /// `Invalid`, with the column where the text is wrong.
    pub fn stop_where(mut self, kind: impl Into<String>, text: &str) -> crate::Result<Self> {
        let kind = kind.into();
        let filter = crate::search::Search::parse(kind.clone(), text)?.filter;
        self.stop_at.push((kind, filter));
        Ok(self)
    }

    /// Only things that were first put, or recorded, at this moment or before.
    ///
    /// Relations carry no time: an edge is told if both of its ends were there, also if it came later. A job that began last week and read a
    /// dataset yesterday is told to have read it as of last week, if there was the dataset. Names and states are those of today, and what
    /// was removed since is told as [gone](LineageNode::is_known), whenever it came.
    pub fn as_of(mut self, moment: Timestamp) -> Self {
        self.as_of = Some(moment);
        self
    }

    /// Goes on where an answer to the same question ended, at [`Lineage::next`]; `None` begins.
    ///
    /// Over all answers each thing and each edge is told once, and they end; what is written meanwhile is told if the walk comes by it later.
    pub fn after(mut self, token: Option<LineageToken>) -> Self {
        self.after = token;
        self
    }
}

/// A part of the lineage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// What was found, the roots first, then step by step.
    pub nodes: Vec<LineageNode>,
    /// How it hangs together: what leads on from these nodes. If this is one of several answers, the other end may be in an earlier or a later one.
    pub edges: Vec<Relation>,
    /// Whether this, with the answers before it, is everything that was asked for.
    pub complete: bool,
    /// Where to [go on](LineageQuery::after), if there is more. `None` in an answer that is not complete: there were more than
    /// [`LINEAGE_WALK_MAX`] things; ask for fewer hops or kinds, or from nearer on.
    pub next: Option<LineageToken>,
}

/// Something in the lineage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageNode {
    /// The record, or the event.
    pub key: RecordKey,
    /// Name for people: that of the record, or type and key of the event. Empty if it is gone.
    pub name: String,
    /// Its life-cycle state, empty if none.
    pub state: String,
    /// When it was first put, or recorded.
    pub created: Timestamp,
    /// Steps from the nearest root.
    pub hops: u32,
    /// Whether it is still there: records are removed by retention, events are trimmed.
    pub is_known: bool,
}

impl Lineage {
    /// What there is of a kind: the datasets that a model was made from, the events that led to it.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a LineageNode> {
        self.nodes.iter().filter(move |node| node.key.kind == kind)
    }

    /// The lineage as a Mermaid flow chart: jobs are boxes, data are rounded, events are dashed.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        self.drawing().to_mermaid()
    }

    /// The lineage as Graphviz DOT.
    #[must_use]
    pub fn to_dot(&self) -> String {
        self.drawing().to_dot()
    }

    fn drawing(&self) -> Drawing {
        let mut drawing = Drawing { title: "lineage".to_owned(), ..Drawing::default() };
        let mut places = BTreeMap::new();
        for (place, node) in self.nodes.iter().enumerate() {
            drawing.block(node.to_string(), shape(&node.key.kind));
            places.insert(&node.key, place);
        }
        let place = |key: &RecordKey| places.get(key).copied().map(End::Block);
        for edge in &self.edges {
            if let (Some(from), Some(to)) = (place(&edge.from), place(&edge.to)) {
                // Arrows go the way of the data.
                let (from, to) = if flows_forward(&edge.kind) { (from, to) } else { (to, from) };
                let control = matches!(edge.kind.as_str(), TRIGGERED_BY | PUBLISHED_BY);
                drawing.arrows.push(Arrow { from, to, label: edge.kind.clone(), control });
            }
        }
        drawing
    }
}

impl fmt::Display for LineageNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, name, state, .. } = self;
        write!(f, "{} {name}\n{}", key.kind.replace('_', " "), key.id)?;
        if state.is_empty() { Ok(()) } else { write!(f, ", {state}") }
    }
}

fn shape(kind: &str) -> Shape {
    match kind {
        KIND_EVENT => Shape::Event,
        "job_execution" => Shape::Step,
        "workflow_execution" | "workflow_version" | "workflow" => Shape::Workflow,
        _ => Shape::Data,
    }
}

/// Whether what a relation of this kind starts at is upstream of what it ends at.
pub(crate) fn flows_forward(relation: &str) -> bool {
    relation == crate::meta::PRODUCED
}

/// Kinds of relations that say nothing of how something was made.
pub(crate) fn is_lineage(relation: &str) -> bool {
    !matches!(relation, crate::records::LABELLED | crate::meta::STORED_AT)
}
