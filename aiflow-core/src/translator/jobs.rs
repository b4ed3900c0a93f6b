//! From a cluster of nodes to a job: do its nodes agree, and in which order do they run?

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use serde_json::Value;

use super::draft::{Cluster, Draft, Link};
use super::{JobNode, SplitTranslator};
use crate::function::DataInput;
use crate::graph::{AiNode, shown};
use crate::id::{ExecutorName, HostLabel, JobName, NAME_BYTES_MAX, NodeName};
use crate::workflow::{Diagnostic, Job};

/// A well-formed name that people recognise a malformed one by.
pub(super) fn like(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let tail = name.chars().map(|c| if allowed(c) { c } else { '_' });
    std::iter::once('_').chain(tail).take(NAME_BYTES_MAX).collect()
}

/// The values that flow between jobs: what each node reads from others, and which of its ports others read.
#[derive(Debug, Default)]
pub(super) struct Stored {
    read: BTreeMap<usize, Vec<Link>>,
    kept: BTreeMap<usize, BTreeSet<u32>>,
}

impl Stored {
    pub(super) fn of(draft: &Draft<'_>) -> Self {
        let mut stored = Self::default();
        for link in &draft.stored {
            stored.read.entry(link.to).or_default().push(*link);
            stored.kept.entry(link.from).or_default().insert(link.port);
        }
        stored
    }
}

impl Draft<'_> {
    /// The name of a cluster's job: as the user said, otherwise that of its first node.
    pub(super) fn job_name(&self, cluster: &Cluster) -> &str {
        let first = cluster.nodes.first().map_or(0, |node| *node);
        self.job(first).unwrap_or(&self.nodes[first].name)
    }

    /// The job of a cluster, whose data edges are `links`. Where something is wrong, which is then among `found` or was reported by the
    /// graph's check, it is only good for checking what refers to it; `None` if it has not even a name like the one it should have.
    pub(super) fn build(
        &self,
        translator: &SplitTranslator,
        cluster: &Cluster,
        links: &[Link],
        stored: &Stored,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Job> {
        let name = self.job_name(cluster);
        let path = format!("job {}", shown(name));
        self.check_executors(translator, cluster, &path, found);
        let first = self.nodes[*cluster.nodes.first()?].node;
        let executor = &first.executor;
        let mut job = Job::new(
            JobName::parse(name).or_else(|_| JobName::parse(like(name))).ok()?,
            ExecutorName::parse(executor).or_else(|_| ExecutorName::parse(like(executor))).ok()?,
            Value::Null,
        );
        job.streaming = self.members(cluster).any(|(_, node)| node.streaming);
        // A copy of a node does not double what the original does at its times.
        let originals = cluster
            .nodes
            .iter()
            .map(|node| &self.nodes[*node])
            .filter(|node| self.nodes[node.origin].name == node.name);
        for node in originals {
            job.schedules.extend(node.node.schedules.iter().cloned());
            job.hooks.extend(node.node.hooks.iter().cloned());
            job.parameters.extend(node.node.parameters.iter().cloned());
        }
        if let Some(retry) = self.agreed(cluster, &path, "retry", |node| node.retry.as_ref(), found) {
            job.retry = retry.clone();
        }
        if let Some(admission) = self.agreed(cluster, &path, "admission", |node| node.admission.as_ref(), found) {
            job.admission = admission.clone();
        }
        job.queue_timeout = self.agreed(cluster, &path, "queue_timeout", |node| node.queue_timeout, found);
        job.start_timeout = self.agreed(cluster, &path, "start_timeout", |node| node.start_timeout, found);
        job.timeout = self.agreed(cluster, &path, "timeout", |node| node.timeout, found);
        job.heartbeat_timeout = self.agreed(cluster, &path, "heartbeat_timeout", |node| node.heartbeat_timeout, found);
        if let Some(restart) = self.agreed(cluster, &path, "restart", |node| node.restart.as_ref(), found) {
            job.restart = restart.clone();
        }
        if let Some(within) = self.agreed(cluster, &path, "ack_within", |node| node.ack_within, found) {
            job.ack_within = within;
        }
        for (node, label) in self.members(cluster).flat_map(|(name, node)| node.runs_on.iter().map(move |l| (name, l)))
        {
            match HostLabel::parse(label) {
                Ok(label) => _ = job.runs_on.insert(label),
                Err(error) => found.push(Diagnostic::new(format!("node {}, runs_on", shown(node)), error.message())),
            }
        }
        job.deadline = self.agreed(cluster, &path, "deadline", |node| node.deadline, found);
        if let Some(grace) = self.agreed(cluster, &path, "stop_grace", |node| node.stop_grace, found) {
            job.stop_grace = grace;
        }
        // Nodes of different executors were reported, and are no job of any generator.
        let is_one = self.members(cluster).all(|(_, node)| node.executor == *executor);
        if let Some(nodes) = self.job_nodes(cluster, links, stored, found).filter(|_| is_one) {
            match translator.generator_of(executor).generate(nodes) {
                Ok(generated) => {
                    job.spec = generated.spec;
                    // Other params than an object were reported.
                    job.params = Some(generated.params).filter(Value::is_object).unwrap_or_default();
                }
                Err(wrong) if wrong.is_empty() => {
                    found.push(Diagnostic::new(path, "was refused by its generator without a reason"));
                }
                Err(wrong) => found.extend(wrong),
            }
        }
        Some(job)
    }

    fn members<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = (&'a str, &'a AiNode)> {
        cluster.nodes.iter().map(|node| {
            let node = &self.nodes[*node];
            (node.name.as_str(), node.node)
        })
    }

    fn check_executors(
        &self,
        translator: &SplitTranslator,
        cluster: &Cluster,
        path: &str,
        found: &mut Vec<Diagnostic>,
    ) {
        let mut members = self.members(cluster);
        let Some((first, node)) = members.next() else {
            return;
        };
        if let Some((name, other)) = members.find(|(_, other)| other.executor != node.executor) {
            found.push(Diagnostic::new(
                path,
                format!(
                    "node {} runs on executor {} and node {} on {}; the nodes of one job share its executor",
                    shown(first),
                    shown(&node.executor),
                    shown(name),
                    shown(&other.executor)
                ),
            ));
        } else if cluster.nodes.len() > 1 && !translator.takes_several(&node.executor) {
            let names: Vec<String> = self.members(cluster).map(|(name, _)| shown(name)).collect();
            found.push(Diagnostic::new(
                path,
                format!(
                    "has the nodes {}, but a job of executor {} has one node; only function jobs and those of a job generator have several",
                    names.join(", "),
                    shown(&node.executor)
                ),
            ));
        }
    }

    /// What the nodes that have this setting agree on.
    fn agreed<'a, T: PartialEq>(
        &'a self,
        cluster: &'a Cluster,
        path: &str,
        what: &str,
        setting: impl Fn(&'a AiNode) -> Option<T>,
        found: &mut Vec<Diagnostic>,
    ) -> Option<T> {
        let mut set = self.members(cluster).filter_map(|(name, node)| Some((name, setting(node)?)));
        let (first, value) = set.next()?;
        if let Some((name, _)) = set.find(|(_, other)| *other != value) {
            found.push(Diagnostic::new(
                path,
                format!(
                    "nodes {} and {} set different values of {what}; set it on one of them",
                    shown(first),
                    shown(name)
                ),
            ));
        }
        Some(value)
    }

    /// The nodes of a job in the order in which they run; `None` if one has no name, or waits for itself, which was reported.
    fn job_nodes(
        &self,
        cluster: &Cluster,
        links: &[Link],
        stored: &Stored,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Vec<JobNode<'_>>> {
        let mut inputs: BTreeMap<usize, Vec<(usize, DataInput)>> = BTreeMap::new();
        let read = cluster.nodes.iter().filter_map(|node| stored.read.get(node)).flatten();
        for (link, kept) in links.iter().map(|link| (link, false)).chain(read.map(|link| (link, true))) {
            let input = DataInput { node: self.node_name(link.from, found)?, port: link.port, kept };
            inputs.entry(link.to).or_default().push((link.edge, input));
        }
        inputs.values_mut().for_each(|inputs| inputs.sort_by_key(|(edge, _)| *edge));
        let mut nodes = Vec::with_capacity(cluster.nodes.len());
        for node in self.topological(cluster, links) {
            nodes.push(JobNode {
                name: self.node_name(node, found)?,
                node: self.nodes[node].node,
                inputs: inputs.remove(&node).into_iter().flatten().map(|(_, input)| input).collect(),
                kept: stored.kept.get(&node).into_iter().flatten().copied().collect(),
            });
        }
        // A node on a data cycle never gets its turn; the cycle itself is reported elsewhere.
        (nodes.len() == cluster.nodes.len()).then_some(nodes)
    }

    fn node_name(&self, node: usize, found: &mut Vec<Diagnostic>) -> Option<NodeName> {
        let name = &self.nodes[node].name;
        match NodeName::parse(name) {
            Ok(name) => Some(name),
            Err(error) => {
                let is_copy = self.nodes[node].origin != node;
                if is_copy {
                    found.push(Diagnostic::new(
                        self.nodes[node].node.path(),
                        format!("has to be copied, and the copy cannot be named: {error}"),
                    ));
                }
                None
            }
        }
    }

    /// The nodes so that each comes after those it reads from; of those that could be next, the one that was defined first.
    fn topological(&self, cluster: &Cluster, links: &[Link]) -> Vec<usize> {
        let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut n_missing: BTreeMap<usize, usize> = cluster.nodes.iter().map(|node| (*node, 0)).collect();
        for link in links {
            if n_missing.contains_key(&link.from)
                && let Some(n) = n_missing.get_mut(&link.to)
            {
                *n = n.saturating_add(1);
                readers.entry(link.from).or_default().push(link.to);
            }
        }
        // A copy stands where its original stood.
        let rank = |node: usize| Reverse((self.nodes[node].origin, node));
        let mut ready: BinaryHeap<_> =
            n_missing.iter().filter(|(_, n)| **n == 0).map(|(node, _)| rank(*node)).collect();
        let mut order = Vec::with_capacity(cluster.nodes.len());
        while let Some(Reverse((_, node))) = ready.pop() {
            order.push(node);
            for reader in readers.remove(&node).unwrap_or_default() {
                if let Some(n) = n_missing.get_mut(&reader) {
                    *n = n.saturating_sub(1);
                    if *n == 0 {
                        ready.push(rank(reader));
                    }
                }
            }
        }
        order
    }
}
