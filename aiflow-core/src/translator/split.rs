//! The default translator: which nodes become which job?
//!
//! 1. Nodes with the same job name form that job. Of the other nodes, those that data edges connect form one.
//! 2. Where control edges lead from a derived job back into it, to a node that does not feed the source, the job is divided: the target
//!    runs with what it feeds and what those need; a node that both halves need is copied (`read` → `read.copy1`). Repeated until no job
//!    has to be divided.
//! 3. Each group becomes a job, named by the user or after its first node, with its nodes in topological order.
//! 4. Control edges act on jobs; where one names a node, it means the node's job.
//!
//! A loop of control edges back to a node that feeds the source is legal: the whole job goes round it. So is a job that controls itself
//! because the user named it.
//!
//! Source: AIFlow before 0.1, `base_translator.py` (derived jobs), and 0.3, `translator.py` (explicit jobs). Other than there: a data
//! edge across jobs is refused, not dropped; names do not depend on a counter of the process. There, the rules of one job had to hold
//! together and were copied along with a node; here they are alternatives, so a copied START would start the copy's job too early: only
//! STOP is copied. A rule that waits for a copied node waits for the original alone, so that it fires once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::draft::{Clusters, Division, Draft, Link};
use super::generate::{FunctionGenerator, JobGenerator, OneNode};
use super::jobs::{Stored, like};
use super::{SharedNodes, TranslateOptions, Translator};
use crate::function::FUNCTION_EXECUTOR;
use crate::graph::{AiGraph, DATA_EDGES_MAX, DataEdge, NODES_MAX, Names, Trigger, all_done, shown};
use crate::id::{JobName, ProjectName, RuleName, WorkflowName};
use crate::status::JobStatus;
use crate::workflow::{
    Condition, ControlEdge, Diagnostic, JobAction, RULES_MAX, SchedulingRule, Workflow, WorkflowRule, all, job_status,
    start,
};

/// The most copies of nodes that one translation makes.
pub const COPIES_MAX: usize = 1_000;

/// The default translator: explicit jobs by name, other jobs by data edges, divided where a job would have to wait for itself.
#[derive(Debug, Clone, Default)]
pub struct SplitTranslator {
    generators: BTreeMap<String, Arc<dyn JobGenerator>>,
}

impl SplitTranslator {
    /// A translator that knows function jobs, and of other executors jobs of one node.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `generator` make the jobs of an executor from their nodes, of which each may have several then. Not asked for function jobs.
    #[must_use]
    pub fn generator(mut self, executor: impl Into<String>, generator: impl JobGenerator + 'static) -> Self {
        self.generators.insert(executor.into(), Arc::new(generator));
        self
    }

    /// Who makes the jobs of an executor.
    pub(super) fn generator_of(&self, executor: &str) -> &dyn JobGenerator {
        match self.generators.get(executor) {
            _ if executor == FUNCTION_EXECUTOR => &FunctionGenerator,
            Some(generator) => &**generator,
            None => &OneNode,
        }
    }

    /// Whether a job of an executor may have several nodes.
    pub(super) fn takes_several(&self, executor: &str) -> bool {
        executor == FUNCTION_EXECUTOR || self.generators.contains_key(executor)
    }
}

impl Translator for SplitTranslator {
    fn translate(&self, graph: &AiGraph, options: &TranslateOptions) -> Result<Workflow, Vec<Diagnostic>> {
        let names = Names::of(graph);
        let takes_several = |executor: &str| self.takes_several(executor);
        let mut found = graph.check_with(&names, &takes_several);
        if graph.nodes.len() > NODES_MAX
            || graph.data_edges.len() > DATA_EDGES_MAX
            || graph.control_edges.len() > RULES_MAX
        {
            return Err(found);
        }
        let mut draft = Draft::new(graph, &names, &takes_several);
        report_cycles(&draft, &mut found);
        refuse_crossing(&mut draft, &mut found);
        let clusters = split(&mut draft, graph, options, &mut found);
        let workflow = assemble(self, &draft, graph, &clusters, &mut found);
        // What may not be meant is said at submit.
        found.extend(workflow.check_form().into_iter().filter(Diagnostic::is_error));
        if found.is_empty() { Ok(workflow) } else { Err(found) }
    }
}

/// A job that nodes of a graph form.
#[cfg(feature = "svg")]
pub(crate) struct JobNodes {
    pub(crate) name: String,
    /// Whether the user named it.
    pub(crate) is_explicit: bool,
    /// Positions in the graph; without copies.
    pub(crate) nodes: Vec<usize>,
}

/// The jobs that the nodes of a graph form, in the order of their first nodes, whatever else is wrong with it.
#[cfg(feature = "svg")]
pub(crate) fn jobs_of(graph: &AiGraph) -> Vec<JobNodes> {
    let names = Names::of(graph);
    // Whichever executors take several nodes: those between which edges are drawn.
    let mut draft = Draft::new(graph, &names, &|_| true);
    let mut ignored = Vec::new();
    refuse_crossing(&mut draft, &mut ignored);
    let clusters = split(&mut draft, graph, &TranslateOptions::default(), &mut ignored);
    let jobs = clusters.all.iter().map(|cluster| JobNodes {
        name: draft.job_name(cluster).to_owned(),
        is_explicit: cluster.is_explicit,
        nodes: Vec::new(),
    });
    let mut jobs: Vec<JobNodes> = jobs.collect();
    for node in 0..graph.nodes.len() {
        jobs[clusters.of[draft.at[node]]].nodes.push(node);
    }
    jobs
}

fn report_cycles(draft: &Draft<'_>, found: &mut Vec<Diagnostic>) {
    for cycle in draft.data_cycles() {
        let names: Vec<String> =
            cycle.iter().chain(cycle.first()).map(|node| shown(&draft.nodes[*node].name)).collect();
        found.push(Diagnostic::new(
            "data edges",
            format!("form a cycle: {}; only control edges may", names.join(" -> ")),
        ));
    }
}

/// Reports data edges across jobs and takes them out.
fn refuse_crossing(draft: &mut Draft<'_>, found: &mut Vec<Diagnostic>) {
    let clusters = draft.clusters();
    let crosses = |link: &Link| clusters.of[link.from] != clusters.of[link.to];
    for link in draft.links.iter().filter(|link| crosses(link)) {
        let edge = DataEdge {
            from: draft.nodes[link.from].name.clone(),
            port: link.port,
            to: draft.nodes[link.to].name.clone(),
            stored: false,
        };
        let [from, to] = [link.from, link.to].map(|node| shown(draft.job_name(&clusters.all[clusters.of[node]])));
        found.push(Diagnostic::new(
            edge.path(),
            format!(
                "leads from job {from} to job {to}, but values flow inside a job only; put both nodes into one job, or have the value \
                 stored on its way (`stored_data`)"
            ),
        ));
    }
    draft.links.retain(|link| !crosses(link));
    // Within a job nothing has to be kept.
    let (between, within): (Vec<Link>, Vec<Link>) = draft.stored.iter().partition(|link| crosses(link));
    draft.stored = between;
    draft.links.extend(within);
    draft.links.sort_by_key(|link| link.edge);
}

/// Divides derived jobs that would have to wait for themselves, until there is none.
fn split(draft: &mut Draft<'_>, graph: &AiGraph, options: &TranslateOptions, found: &mut Vec<Diagnostic>) -> Clusters {
    let mut settled = BTreeSet::new();
    loop {
        let clusters = draft.clusters();
        let next = next_divisions(draft, graph, options, &clusters, &mut settled, found);
        let Some((half, shared)) = next else {
            return clusters;
        };
        draft.copy(&half, &shared);
    }
}

/// The next jobs to divide, as the halves that go and the shared parts of them. Reports what should be divided and cannot be.
///
/// Jobs that would wait for themselves through no other are divided together, for none of them has to do with the others.
fn next_divisions(
    draft: &Draft<'_>,
    graph: &AiGraph,
    options: &TranslateOptions,
    clusters: &Clusters,
    settled: &mut BTreeSet<(usize, usize)>,
    found: &mut Vec<Diagnostic>,
) -> Option<(BTreeSet<usize>, BTreeSet<usize>)> {
    let flow = draft.flow();
    let routes = draft.routes(clusters);
    let (mut halves, mut shared_parts, mut divided) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for control in &draft.controls {
        for &source in &control.sources {
            let home = clusters.of[source];
            let cluster = &clusters.all[home];
            let is_direct = clusters.of[control.target] == home;
            let comes_later = divided.contains(&home) || !(is_direct || divided.is_empty());
            if cluster.is_explicit || cluster.nodes.len() == 1 || comes_later {
                continue;
            }
            for target in Draft::arrivals(home, control.target, clusters, &routes) {
                if !settled.insert((source, target)) {
                    continue;
                }
                let problem = match Draft::divide(&flow, source, target, cluster) {
                    Division::Loop => continue,
                    Division::Impossible => TIED.to_owned(),
                    Division::Possible { half, shared } => {
                        let n_copies = draft.n_copies().saturating_add(shared_parts.len());
                        match refusal(draft, options, &shared, n_copies) {
                            None if !is_direct => return Some((half, shared)),
                            None => {
                                divided.insert(home);
                                halves.extend(half);
                                shared_parts.extend(shared);
                                continue;
                            }
                            Some(problem) => problem,
                        }
                    }
                };
                let [source, target] = [source, target].map(|node| shown(&draft.nodes[node].name));
                found.push(Diagnostic::new(
                    graph.control_edges[control.edge].path(),
                    format!("makes node {target} wait for node {source}, but {problem}"),
                ));
            }
        }
    }
    (!divided.is_empty()).then_some((halves, shared_parts))
}

/// Why two nodes cannot be divided.
const TIED: &str = "data flows from the one to the other, or from both into a third, so they run in one job; remove the control edge, or \
                    hand the value over in a dataset or a file";

/// Why nodes must not be copied, if so, where so many are copies already.
fn refusal(draft: &Draft<'_>, options: &TranslateOptions, shared: &BTreeSet<usize>, n_copies: usize) -> Option<String> {
    let names: Vec<String> = shared.iter().map(|node| shown(&draft.nodes[*node].name)).collect();
    if options.shared == SharedNodes::Refuse {
        return Some(format!(
            "both need {}, which may not be copied; put what is shared into a job of its own, and hand its values over in a dataset or a file",
            names.join(", ")
        ));
    }
    (n_copies.saturating_add(shared.len()) > COPIES_MAX)
        .then(|| format!("more than {COPIES_MAX} nodes would have to be copied; name the jobs of these nodes"))
}

/// Jobs and control edges from what was split.
fn assemble(
    translator: &SplitTranslator,
    draft: &Draft<'_>,
    graph: &AiGraph,
    clusters: &Clusters,
    found: &mut Vec<Diagnostic>,
) -> Workflow {
    // A malformed name was reported; the rest is checked all the same, under a name like it.
    let project = ProjectName::parse(&graph.project).or_else(|_| ProjectName::parse(like(&graph.project)));
    let name = WorkflowName::parse(&graph.workflow).or_else(|_| WorkflowName::parse(like(&graph.workflow)));
    let mut workflow = Workflow::new(
        project.expect("made of characters that a name may have"),
        name.expect("made of characters that a name may have"),
    );
    workflow.params = graph.params.clone();
    workflow.schedules = graph.schedules.clone();
    workflow.deadline = graph.deadline;
    workflow.hooks = graph.hooks.clone();
    workflow.parameters = graph.parameters.clone();
    workflow.admission = graph.admission.clone();
    workflow.completion = graph.completion;
    workflow.contexts = graph.contexts.clone();
    let names = build_jobs(translator, draft, clusters, &mut workflow, found);
    let job = |node: usize| names[clusters.of[node]].as_ref();
    let streaming: BTreeSet<&JobName> = workflow.jobs.iter().filter(|job| job.streaming).map(|job| &job.name).collect();
    let streams = |name: &str| draft.resolve(name).and_then(job).is_some_and(|name| streaming.contains(name));
    workflow.control_edges = control_edges(draft, graph, &job, &streams);
    let waits = waits_for_values(draft, &workflow, &job, &streaming, found);
    workflow.control_edges.extend(waits);
    for rule in &graph.rules {
        if let Some(condition) = renamed(draft, rule.condition.clone(), &job) {
            let is_derived = *rule == WorkflowRule::new(rule.condition.clone(), rule.action);
            let mut rule = rule.clone();
            rule.condition = condition;
            if is_derived {
                rule = WorkflowRule::new(rule.condition, rule.action);
            }
            workflow.rules.push(rule);
        }
    }
    workflow
}

/// The control edges that start jobs when the values are there that they read from other jobs.
fn waits_for_values<'a>(
    draft: &Draft<'_>,
    workflow: &Workflow,
    job: &impl Fn(usize) -> Option<&'a JobName>,
    streaming: &BTreeSet<&JobName>,
    found: &mut Vec<Diagnostic>,
) -> Vec<ControlEdge> {
    let mut sources: BTreeMap<&JobName, BTreeSet<&JobName>> = BTreeMap::new();
    for link in &draft.stored {
        let Some((from, to)) = job(link.from).zip(job(link.to)) else { continue };
        if streaming.contains(from) {
            let path =
                format!("data edge {} -> {}", shown(&draft.nodes[link.from].name), shown(&draft.nodes[link.to].name));
            found.push(Diagnostic::new(path, format!("job {from} streams: it never ends, and gives no value")));
        }
        sources.entry(to).or_default().insert(from);
    }
    let in_order = workflow.jobs_that_start().filter_map(|job| Some((&job.name, sources.get(&job.name)?)));
    let edges = in_order.map(|(job, sources)| {
        let done: Vec<Condition> = sources.iter().map(|source| job_status(source, JobStatus::Succeeded)).collect();
        let condition = if done.len() == 1 { done.into_iter().next() } else { Some(all(done)) };
        condition.map(|condition| ControlEdge { job: job.clone(), rule: start(condition) })
    });
    edges.flatten().collect()
}

/// Builds the job of each cluster; gives their names.
fn build_jobs(
    translator: &SplitTranslator,
    draft: &Draft<'_>,
    clusters: &Clusters,
    workflow: &mut Workflow,
    found: &mut Vec<Diagnostic>,
) -> Vec<Option<JobName>> {
    let mut links: Vec<Vec<Link>> = vec![Vec::new(); clusters.all.len()];
    for link in &draft.links {
        links[clusters.of[link.to]].push(*link);
    }
    let stored = Stored::of(draft);
    let mut seen = BTreeSet::new();
    let mut names = Vec::with_capacity(clusters.all.len());
    for (cluster, links) in clusters.all.iter().zip(&links) {
        let job = draft.build(translator, cluster, links, &stored, found);
        names.push(job.as_ref().map(|job| job.name.clone()));
        if seen.insert(draft.job_name(cluster)) {
            workflow.jobs.extend(job);
        } else {
            let name = shown(draft.job_name(cluster));
            found.push(Diagnostic::new(
                format!("job {name}"),
                format!("has nodes that were put into it, and node {name}, which was put into no job, would form a job of the same name; put node {name} into a job"),
            ));
        }
    }
    names
}

/// The control edges between jobs; stopping a node stops the jobs of its copies too.
fn control_edges<'a>(
    draft: &Draft<'_>,
    graph: &AiGraph,
    job: &impl Fn(usize) -> Option<&'a JobName>,
    streams: &impl Fn(&str) -> bool,
) -> Vec<ControlEdge> {
    let edges: Vec<(usize, ControlEdge)> = draft
        .controls
        .iter()
        .filter_map(|control| {
            let rule = match &graph.control_edges[control.edge].when {
                Trigger::After(sources) => start(renamed(draft, all_done(sources, streams)?, job)?),
                Trigger::Rule(rule) => renamed_rule(draft, rule, job)?,
            };
            Some((control.target, ControlEdge { job: job(control.target)?.clone(), rule }))
        })
        .collect();
    // A job that is told the same already is not told twice.
    let mut told: BTreeSet<(JobName, RuleName)> =
        edges.iter().map(|(_, edge)| (edge.job.clone(), edge.rule.name.clone())).collect();
    let mut all = Vec::with_capacity(edges.len());
    for (target, edge) in edges {
        let copies = match edge.rule.action {
            JobAction::Stop => draft.copies_of(target).filter_map(job).collect(),
            JobAction::Start | JobAction::Restart | JobAction::Signal | JobAction::None => Vec::new(),
        };
        let rule = edge.rule.clone();
        all.push(edge);
        for job in copies {
            if told.insert((job.clone(), rule.name.clone())) {
                all.push(ControlEdge { job: job.clone(), rule: rule.clone() });
            }
        }
    }
    all
}

/// The rule with jobs in place of nodes; a name that was derived from its content is derived anew.
fn renamed_rule<'a>(
    draft: &Draft<'_>,
    rule: &SchedulingRule,
    job: &impl Fn(usize) -> Option<&'a JobName>,
) -> Option<SchedulingRule> {
    let condition = renamed(draft, rule.condition.clone(), job)?;
    let mut renamed = rule.clone();
    // Deriving a name takes longer than everything else here.
    if condition != rule.condition {
        let is_derived = rule.name == SchedulingRule::new(rule.condition.clone(), rule.action).name;
        if is_derived {
            renamed.name = SchedulingRule::new(condition.clone(), rule.action).name;
        }
        renamed.condition = condition;
    }
    Some(renamed)
}

/// The condition with jobs in place of nodes; `None` if one of them does not exist or could not be built, which was reported.
fn renamed<'a>(
    draft: &Draft<'_>,
    mut condition: Condition,
    job: &impl Fn(usize) -> Option<&'a JobName>,
) -> Option<Condition> {
    let job_of = |name: &JobName| draft.resolve(name.as_str()).and_then(job);
    if condition.jobs().into_iter().any(|name| job_of(name).is_none()) {
        return None;
    }
    condition.rename_jobs(&|name| job_of(name).unwrap_or(name).clone());
    Some(condition)
}
