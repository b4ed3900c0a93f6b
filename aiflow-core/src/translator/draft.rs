//! The working copy of a graph while it is split: which nodes belong together, and which must be copied?

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::Direction::{self, Incoming, Outgoing};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::unionfind::UnionFind;

use crate::graph::{AiGraph, AiNode, Names};

/// Nodes and the resolved edges between them, by position. Positions never leave a translation.
///
/// The nodes of the graph come first, in definition order; copies follow.
#[derive(Debug)]
pub(super) struct Draft<'g> {
    pub(super) nodes: Vec<DraftNode<'g>>,
    /// Data edges that can be kept in a job, in definition order.
    pub(super) links: Vec<Link>,
    /// Data edges whose values are kept, between jobs.
    pub(super) stored: Vec<Link>,
    /// Control edges: what each acts on and what it waits for, in definition order.
    pub(super) controls: Vec<Control>,
    names: &'g Names<'g>,
    /// For each node of the graph, its position here: of nodes with the same name, that of the first.
    pub(super) at: Vec<usize>,
    /// So many nodes are no copies.
    n_originals: usize,
}

/// Nodes and the edges between them, each node under its position.
pub(super) type Flow = DiGraph<(), ()>;

#[derive(Debug)]
pub(super) struct DraftNode<'g> {
    pub(super) name: String,
    pub(super) node: &'g AiNode,
    /// Position of the node it is a copy of; its own if it is none.
    pub(super) origin: usize,
}

/// A data edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) port: u32,
    pub(super) to: usize,
    /// Position among the data edges of the graph: the inputs of a node are in this order.
    pub(super) edge: usize,
}

/// A control edge. A job is represented by any of its nodes.
#[derive(Debug)]
pub(super) struct Control {
    /// Position among the control edges of the graph.
    pub(super) edge: usize,
    pub(super) target: usize,
    pub(super) sources: Vec<usize>,
}

/// The nodes that form one job.
#[derive(Debug)]
pub(super) struct Cluster {
    /// In definition order, copies last; the first is never a copy.
    pub(super) nodes: Vec<usize>,
    /// Whether the user named it; then it is never split.
    pub(super) is_explicit: bool,
}

/// All clusters, in the order of their first nodes, and for each node its cluster.
#[derive(Debug)]
pub(super) struct Clusters {
    pub(super) all: Vec<Cluster>,
    pub(super) of: Vec<usize>,
}

/// The control edges between clusters.
#[derive(Debug)]
pub(super) struct Routes {
    /// For each cluster, the nodes that control edges from it act on.
    targets: BTreeMap<usize, BTreeSet<usize>>,
    /// For each cluster, the set of clusters from which control comes back to it, by number: a walk that leaves it need not be followed.
    round: Vec<usize>,
}

impl<'g> Draft<'g> {
    /// Takes over what is well formed; of nodes with the same name, the first.
    pub(super) fn new(graph: &'g AiGraph, names: &'g Names<'g>, takes_several: &dyn Fn(&str) -> bool) -> Self {
        let mut draft = Self {
            nodes: Vec::with_capacity(graph.nodes.len()),
            links: Vec::with_capacity(graph.data_edges.len()),
            stored: Vec::new(),
            controls: Vec::with_capacity(graph.control_edges.len()),
            names,
            at: Vec::with_capacity(graph.nodes.len()),
            n_originals: 0,
        };
        for (i, node) in graph.nodes.iter().enumerate() {
            let first = names.node(&node.name).unwrap_or(i);
            let at = if first < i { draft.at[first] } else { draft.nodes.len() };
            draft.at.push(at);
            if at == draft.nodes.len() {
                draft.nodes.push(DraftNode { name: node.name.clone(), node, origin: at });
            }
        }
        draft.n_originals = draft.nodes.len();
        for (i, edge) in graph.data_edges.iter().enumerate() {
            let Some((from, to)) = draft.node(&edge.from).zip(draft.node(&edge.to)) else { continue };
            let link = Link { from, port: edge.port, to, edge: i };
            let [giver, taker] = [from, to].map(|node| draft.nodes[node].node);
            if giver.executor == taker.executor && giver.hands_on(edge.stored, takes_several) {
                if edge.stored { &mut draft.stored } else { &mut draft.links }.push(link);
            }
        }
        for (i, edge) in graph.control_edges.iter().enumerate() {
            let sources: Option<Vec<usize>> = edge.sources().iter().map(|name| draft.resolve(name)).collect();
            if let (Some(target), Some(sources)) = (draft.resolve(&edge.target), sources) {
                draft.controls.push(Control { edge: i, target, sources });
            }
        }
        draft
    }

    /// The job of a node, if the user named it.
    pub(super) fn job(&self, node: usize) -> Option<&'g str> {
        self.nodes[node].node.job.as_deref()
    }

    fn node(&self, name: &str) -> Option<usize> {
        self.names.node(name).map(|node| self.at[node])
    }

    /// The first node of the job of this name, if a node was put into it.
    fn first_of(&self, job: &str) -> Option<usize> {
        self.names.job(job).map(|node| self.at[node])
    }

    /// The node of this name, or one of the job of this name.
    pub(super) fn resolve(&self, name: &str) -> Option<usize> {
        self.first_of(name).or_else(|| self.node(name))
    }

    /// Explicit jobs by name; of the other nodes, those that data edges connect.
    pub(super) fn clusters(&self) -> Clusters {
        let mut sets = UnionFind::new(self.nodes.len());
        for node in 0..self.nodes.len() {
            if let Some(first) = self.job(node).and_then(|job| self.first_of(job)) {
                sets.union(first, node);
            }
        }
        for link in &self.links {
            if self.job(link.from).is_none() && self.job(link.to).is_none() {
                sets.union(link.from, link.to);
            }
        }
        let mut clusters = Clusters { all: Vec::new(), of: Vec::with_capacity(self.nodes.len()) };
        let mut by_set = vec![None; self.nodes.len()];
        for node in 0..self.nodes.len() {
            let at = *by_set[sets.find(node)].get_or_insert_with(|| {
                clusters.all.push(Cluster { nodes: Vec::new(), is_explicit: self.job(node).is_some() });
                clusters.all.len().saturating_sub(1)
            });
            clusters.all[at].nodes.push(node);
            clusters.of.push(at);
        }
        clusters
    }

    /// One shortest cycle of data edges in every strongly connected part that has one, each as node positions.
    pub(super) fn data_cycles(&self) -> Vec<Vec<usize>> {
        let flow = flow(self.nodes.len(), self.links.iter().chain(&self.stored).map(|link| (link.from, link.to)));
        let mut cycles: Vec<Vec<usize>> =
            kosaraju_scc(&flow).iter().filter_map(|part| shortest_cycle(&flow, part)).collect();
        cycles.sort();
        cycles
    }

    /// The data edges as a graph.
    pub(super) fn flow(&self) -> Flow {
        flow(self.nodes.len(), self.links.iter().map(|link| (link.from, link.to)))
    }

    /// What control edges lead from cluster to cluster.
    pub(super) fn routes(&self, clusters: &Clusters) -> Routes {
        let mut targets: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut edges = Vec::with_capacity(self.controls.len());
        for control in &self.controls {
            for source in &control.sources {
                let from = clusters.of[*source];
                targets.entry(from).or_default().insert(control.target);
                edges.push((from, clusters.of[control.target]));
            }
        }
        let mut round = vec![0; clusters.all.len()];
        for (i, part) in kosaraju_scc(&flow(clusters.all.len(), edges.into_iter())).iter().enumerate() {
            for cluster in part {
                round[cluster.index()] = i;
            }
        }
        Routes { targets, round }
    }

    /// Where control that starts at `first` comes back into cluster `home`, walking control edges through other clusters.
    pub(super) fn arrivals(home: usize, first: usize, clusters: &Clusters, routes: &Routes) -> BTreeSet<usize> {
        let mut arrived = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([first]);
        while let Some(node) = queue.pop_front() {
            let cluster = clusters.of[node];
            if cluster == home {
                arrived.insert(node);
            } else if routes.round[cluster] == routes.round[home] && seen.insert(cluster) {
                queue.extend(routes.targets.get(&cluster).into_iter().flatten());
            }
        }
        arrived
    }

    /// The copies made of a node.
    pub(super) fn copies_of(&self, origin: usize) -> impl Iterator<Item = usize> {
        (self.n_originals..self.nodes.len()).filter(move |copy| self.nodes[*copy].origin == origin)
    }

    /// How many copies were made of all nodes.
    pub(super) fn n_copies(&self) -> usize {
        self.nodes.len().saturating_sub(self.n_originals)
    }

    /// How the cluster of `source` and `target` can be divided so that `target` is in the one half and `source` in the other.
    ///
    /// The half of `target` is everything that `target` feeds, and everything that those nodes read from. What the other half reads from
    /// as well is shared. Neither half reads from the other afterwards.
    pub(super) fn divide(flow: &Flow, source: usize, target: usize, cluster: &Cluster) -> Division {
        let after = closure(flow, [target], Outgoing);
        if after.contains(&source) {
            return Division::Loop;
        }
        let half = closure(flow, after, Incoming);
        if half.contains(&source) {
            return Division::Impossible;
        }
        let rest = cluster.nodes.iter().copied().filter(|node| !half.contains(node));
        let rest = closure(flow, rest, Incoming);
        Division::Possible { shared: half.intersection(&rest).copied().collect(), half }
    }

    /// Gives `half` its own copies of the nodes of `shared`, which must be closed under "reads from".
    pub(super) fn copy(&mut self, half: &BTreeSet<usize>, shared: &BTreeSet<usize>) {
        let mut copies = BTreeMap::new();
        for &node in shared {
            let origin = self.nodes[node].origin;
            let original = &self.nodes[origin];
            let is_taken = |name: &str| {
                self.node(name).is_some() || self.nodes[self.n_originals..].iter().any(|copy| copy.name == name)
            };
            let name = (1..=self.nodes.len().saturating_add(1))
                .map(|n| format!("{}.copy{n}", original.name))
                .find(|name| !is_taken(name))
                .unwrap_or_default();
            copies.insert(node, self.nodes.len());
            let node = original.node;
            self.nodes.push(DraftNode { name, node, origin });
        }
        let mut copied = Vec::new();
        for link in &mut self.links {
            let Some(&from) = copies.get(&link.from) else {
                continue;
            };
            match copies.get(&link.to) {
                Some(&to) => copied.push(Link { from, to, ..*link }),
                None if half.contains(&link.to) => link.from = from,
                None => {}
            }
        }
        self.links.extend(copied);
        // What a copy reads from another job is what the original reads.
        let stored = self.stored.iter().filter_map(|link| Some(Link { to: *copies.get(&link.to)?, ..*link }));
        self.stored.extend(stored.collect::<Vec<Link>>());
    }
}

/// How a cluster can be divided between two of its nodes, the second of which waits for the first.
#[derive(Debug)]
pub(super) enum Division {
    /// The first reads from the second: the whole job goes round a loop of control edges, which is legal.
    Loop,
    /// The second reads from the first, or something reads from both.
    Impossible,
    /// These nodes go with the second; `shared` is the part of them that the first half needs as well.
    Possible { half: BTreeSet<usize>, shared: BTreeSet<usize> },
}

/// A graph of so many nodes and these edges.
fn flow(nodes: usize, edges: impl Iterator<Item = (usize, usize)>) -> Flow {
    let mut flow = Flow::with_capacity(nodes, edges.size_hint().0);
    for _ in 0..nodes {
        flow.add_node(());
    }
    for (from, to) in edges {
        flow.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
    }
    flow
}

/// `start` and everything that can be reached from it.
fn closure(flow: &Flow, start: impl IntoIterator<Item = usize>, direction: Direction) -> BTreeSet<usize> {
    let mut reached: BTreeSet<usize> = start.into_iter().collect();
    let mut queue: Vec<usize> = reached.iter().copied().collect();
    while let Some(node) = queue.pop() {
        for next in flow.neighbors_directed(NodeIndex::new(node), direction) {
            if reached.insert(next.index()) {
                queue.push(next.index());
            }
        }
    }
    reached
}

/// A shortest cycle through the first node of a strongly connected part; `None` if the part is a single node without an edge to itself.
fn shortest_cycle(flow: &Flow, part: &[NodeIndex]) -> Option<Vec<usize>> {
    if let [single] = part
        && !flow.contains_edge(*single, *single)
    {
        return None;
    }
    let part: BTreeSet<usize> = part.iter().map(|node| node.index()).collect();
    let first = *part.first()?;
    let mut came_from = BTreeMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(node) = queue.pop_front() {
        // As they were defined: the last comes first.
        let mut readers: Vec<usize> = flow.neighbors(NodeIndex::new(node)).map(NodeIndex::index).collect();
        readers.reverse();
        for next in readers.into_iter().filter(|next| part.contains(next)) {
            if next == first {
                let mut cycle = vec![node];
                while let Some(before) = came_from.get(cycle.last()?) {
                    cycle.push(*before);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if let Entry::Vacant(new) = came_from.entry(next) {
                new.insert(node);
                queue.push_back(next);
            }
        }
    }
    None
}
