//! What does a name in a graph mean: which node, which job?

use super::AiGraph;

#[expect(clippy::disallowed_types, reason = "names are looked up here, and never listed in the order of the map")]
type Map<K, V> = std::collections::HashMap<K, V>;

/// The nodes and the explicit jobs of a graph by their names. Of nodes with the same name, the first counts.
#[derive(Debug, Default)]
pub(crate) struct Names<'g> {
    nodes: Map<&'g str, usize>,
    jobs: Map<&'g str, usize>,
}

impl<'g> Names<'g> {
    pub(crate) fn of(graph: &'g AiGraph) -> Self {
        let mut names = Self { nodes: Map::with_capacity(graph.nodes.len()), jobs: Map::new() };
        for (at, node) in graph.nodes.iter().enumerate() {
            let is_first = *names.nodes.entry(&node.name).or_insert(at) == at;
            if let Some(job) = node.job.as_deref().filter(|_| is_first) {
                names.jobs.entry(job).or_insert(at);
            }
        }
        names
    }

    /// Position of the node of this name.
    pub(crate) fn node(&self, name: &str) -> Option<usize> {
        self.nodes.get(name).copied()
    }

    /// Position of the first node of the job of this name, if a node was put into it.
    pub(crate) fn job(&self, name: &str) -> Option<usize> {
        self.jobs.get(name).copied()
    }
}
