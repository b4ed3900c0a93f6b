//! The working copy of a graph while it is split: which nodes belong together, and which must be copied?

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::Direction::{self, Incoming, Outgoing};
use petgraph::algo::kosaraju_scc;
use petgraph::graphmap::DiGraphMap;
use petgraph::unionfind::UnionFind;

use crate::graph::{AiGraph, AiNode};

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
    by_name: BTreeMap<&'g str, usize>,
    /// The first node of every explicit job.
    by_job: BTreeMap<&'g str, usize>,
}

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
    pub(super) fn new(graph: &'g AiGraph) -> Self {
        let mut draft = Self {
            nodes: Vec::new(),
            links: Vec::new(),
            stored: Vec::new(),
            controls: Vec::new(),
            by_name: BTreeMap::new(),
            by_job: BTreeMap::new(),
        };
        for node in &graph.nodes {
            let at = draft.nodes.len();
            if draft.by_name.contains_key(node.name.as_str()) {
                continue;
            }
            draft.by_name.insert(&node.name, at);
            if let Some(job) = &node.job {
                draft.by_job.entry(job).or_insert(at);
            }
            draft.nodes.push(DraftNode { name: node.name.clone(), node, origin: at });
        }
        for (i, edge) in graph.data_edges.iter().enumerate() {
            let ends = draft.by_name.get(edge.from.as_str()).zip(draft.by_name.get(edge.to.as_str()));
            let Some((&from, &to)) = ends else { continue };
            let link = Link { from, port: edge.port, to, edge: i };
            if draft.is_function(from) && draft.is_function(to) {
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

    fn is_function(&self, node: usize) -> bool {
        self.nodes[node].node.is_function()
    }

    /// The job of a node, if the user named it.
    pub(super) fn job(&self, node: usize) -> Option<&'g str> {
        self.nodes[node].node.job.as_deref()
    }

    /// The node of this name, or one of the job of this name.
    pub(super) fn resolve(&self, name: &str) -> Option<usize> {
        self.by_job.get(name).or_else(|| self.by_name.get(name)).copied()
    }

    /// Explicit jobs by name; of the other nodes, those that data edges connect.
    pub(super) fn clusters(&self) -> Clusters {
        let mut sets = UnionFind::new(self.nodes.len());
        for node in 0..self.nodes.len() {
            if let Some(first) = self.job(node).and_then(|job| self.by_job.get(job)) {
                sets.union(*first, node);
            }
        }
        for link in &self.links {
            if self.job(link.from).is_none() && self.job(link.to).is_none() {
                sets.union(link.from, link.to);
            }
        }
        let mut clusters = Clusters { all: Vec::new(), of: Vec::with_capacity(self.nodes.len()) };
        let mut by_set = BTreeMap::new();
        for node in 0..self.nodes.len() {
            let at = *by_set.entry(sets.find(node)).or_insert_with(|| {
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
        let mut flow = self.flow();
        for link in &self.stored {
            flow.add_edge(link.from, link.to, ());
        }
        let mut cycles: Vec<Vec<usize>> =
            kosaraju_scc(&flow).iter().filter_map(|part| shortest_cycle(&flow, part)).collect();
        cycles.sort();
        cycles
    }

    /// The data edges as a graph.
    pub(super) fn flow(&self) -> DiGraphMap<usize, ()> {
        let mut flow = DiGraphMap::new();
        for node in 0..self.nodes.len() {
            flow.add_node(node);
        }
        for link in &self.links {
            flow.add_edge(link.from, link.to, ());
        }
        flow
    }

    /// What control edges lead from cluster to cluster.
    pub(super) fn routes(&self, clusters: &Clusters) -> Routes {
        let mut targets: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut graph: DiGraphMap<usize, ()> = DiGraphMap::new();
        for cluster in 0..clusters.all.len() {
            graph.add_node(cluster);
        }
        for control in &self.controls {
            for source in &control.sources {
                let from = clusters.of[*source];
                targets.entry(from).or_default().insert(control.target);
                graph.add_edge(from, clusters.of[control.target], ());
            }
        }
        let mut round = vec![0; clusters.all.len()];
        for (i, part) in kosaraju_scc(&graph).iter().enumerate() {
            for cluster in part {
                round[*cluster] = i;
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
        (self.by_name.len()..self.nodes.len()).filter(move |copy| self.nodes[*copy].origin == origin)
    }

    /// How many copies were made of all nodes.
    pub(super) fn n_copies(&self) -> usize {
        self.nodes.len().saturating_sub(self.by_name.len())
    }

    /// How the cluster of `source` and `target` can be divided so that `target` is in the one half and `source` in the other.
    ///
    /// The half of `target` is everything that `target` feeds, and everything that those nodes read from. What the other half reads from
    /// as well is shared. Neither half reads from the other afterwards.
    pub(super) fn divide(flow: &DiGraphMap<usize, ()>, source: usize, target: usize, cluster: &Cluster) -> Division {
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
        let mut taken: BTreeSet<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        let mut copies = BTreeMap::new();
        for &node in shared {
            let origin = self.nodes[node].origin;
            let original = &self.nodes[origin];
            let name = (1..=self.nodes.len().saturating_add(1))
                .map(|n| format!("{}.copy{n}", original.name))
                .find(|name| !taken.contains(name))
                .unwrap_or_default();
            taken.insert(name.clone());
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

/// `start` and everything that can be reached from it.
fn closure(
    flow: &DiGraphMap<usize, ()>,
    start: impl IntoIterator<Item = usize>,
    direction: Direction,
) -> BTreeSet<usize> {
    let mut reached: BTreeSet<usize> = start.into_iter().collect();
    let mut queue: Vec<usize> = reached.iter().copied().collect();
    while let Some(node) = queue.pop() {
        for next in flow.neighbors_directed(node, direction) {
            if reached.insert(next) {
                queue.push(next);
            }
        }
    }
    reached
}

/// A shortest cycle through the first node of a strongly connected part; `None` if the part is a single node without an edge to itself.
fn shortest_cycle(flow: &DiGraphMap<usize, ()>, part: &[usize]) -> Option<Vec<usize>> {
    let part: BTreeSet<usize> = part.iter().copied().collect();
    let first = *part.first()?;
    let mut came_from = BTreeMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(node) = queue.pop_front() {
        for next in flow.neighbors(node).filter(|next| part.contains(next)) {
            if next == first {
                let mut cycle = vec![node];
                while let Some(before) = came_from.get(cycle.last()?) {
                    cycle.push(*before);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if next != first && !came_from.contains_key(&next) {
                came_from.insert(next, node);
                queue.push_back(next);
            }
        }
    }
    None
}
