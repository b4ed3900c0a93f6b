//! Whole definitions: graphs and workflows that use every setting.

use std::time::Duration;

use aiflow_core::execution::PoolUse;
use aiflow_core::executor::TimeLimit;
use aiflow_core::function::{NodeArguments, VersionRef};
use aiflow_core::graph::{AiGraph, AiNode, ControlEdge as GraphEdge, DataEdge, NodeKind, Trigger, function, operation};
use aiflow_core::id::{ExecutorName, HostLabel, JobName, PoolName, ProjectName, ScheduleName, WorkflowName};
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{
    Admission, BatchOf, Completion, Concurrency, ContextOf, ControlEdge, Deadline, DeadlineOf, Debounce, FailureTest,
    Hook, HookOn, Idempotency, Job, JobAction, Misfire, ModelStage, OverlapPolicy, Parameter, ParameterType, Rate,
    RestartPolicy, RestartWhen, RetryPolicy, Schedule, Times, Workflow,
};
use serde_json::{Value, json};

use super::Definitions;

impl Definitions {
    fn n(&mut self) -> u32 {
        self.pick(&[0, 1, 2, 10, u32::MAX])
    }

    fn keys(&mut self) -> Vec<String> {
        self.several(2, Self::text)
    }

    fn retry(&mut self) -> RetryPolicy {
        let mut retry = RetryPolicy::fixed(self.n(), self.duration());
        retry.factor = self.n();
        retry.backoff_max = self.duration();
        retry.jitter_percent = self.pick(&[0, 20, 255]);
        retry.retry_on = self.several(2, Self::failure);
        retry.no_retry_on = self.several(2, Self::failure);
        retry
    }

    fn failure(&mut self) -> FailureTest {
        match self.rng().below(5) {
            0 => FailureTest::exit_code(self.pick(&[1, 75, i32::MIN])),
            1 => FailureTest::ExitCode { from: -1, to: i32::MAX },
            2 => FailureTest::timed_out(),
            3 => FailureTest::exceeded(self.pick(&[TimeLimit::Queue, TimeLimit::Start, TimeLimit::Heartbeat])),
            _ => FailureTest::Kind(self.matcher()),
        }
    }

    fn restart(&mut self) -> RestartPolicy {
        RestartPolicy {
            when: self.pick(&[RestartWhen::Never, RestartWhen::OnFailure, RestartWhen::Always]),
            backoff: self.duration(),
            factor: self.n(),
            backoff_max: self.duration(),
            jitter_percent: self.pick(&[0, 7]),
            healthy_after: self.duration(),
            restarts_max: self.maybe(Self::n),
        }
    }

    fn schedule(&mut self) -> Schedule {
        let times = match self.rng().chance(50) {
            true => Times::Every { every: self.duration() },
            false => Times::Cron {
                cron: self.pick(&["0 2 * * *", "@daily", "*/5 * * * * *", ""]).to_owned(),
                time_zone: self.pick(&["UTC", "Europe/Berlin"]).to_owned(),
            },
        };
        let mut schedule = Schedule::new(times);
        if let Some(name) = self.maybe(Self::name) {
            schedule = schedule.named(ScheduleName::parse(name).expect("the names are well formed"));
        }
        let moments = [0, 1, 1_790_000_000_123, -1, i64::MAX, i64::MIN];
        schedule.start = self.maybe(|d| Timestamp::from_millis(d.pick(&moments)));
        schedule.end = self.maybe(|d| Timestamp::from_millis(d.pick(&moments)));
        schedule.jitter = self.maybe(Self::duration).unwrap_or_default();
        schedule.misfire = self.pick(&[Misfire::Once, Misfire::Skip, Misfire::All { max: 7 }]);
        schedule.misfire_grace = self.maybe(Self::duration).unwrap_or(Schedule::MISFIRE_GRACE);
        schedule.overlap = self.pick(&OverlapPolicy::ALL);
        schedule.action = self.pick(&[JobAction::Start, JobAction::Restart]);
        schedule.params = self.maybe(|d| d.object(1)).unwrap_or_default();
        schedule
    }

    fn rate(&mut self) -> Rate {
        Rate { starts: self.n(), per: self.duration(), key: self.keys() }
    }

    fn admission(&mut self) -> Admission {
        let mut admission = Admission::new();
        admission.idempotency = self.maybe(|d| Idempotency { key: d.keys(), window: d.duration() });
        admission.rate_limit = self.maybe(Self::rate);
        admission.debounce = self.maybe(|d| {
            let (quiet, longest) = (d.duration(), d.maybe(Self::duration));
            Debounce { quiet, longest, key: d.keys() }
        });
        admission.batch = self.maybe(|d| BatchOf { firings: d.n(), within: d.duration(), key: d.keys() });
        admission.throttle = self.maybe(Self::rate);
        admission.concurrency = self.maybe(|d| Concurrency { executions: d.n(), key: d.keys() });
        admission.overlap = self.maybe(|d| d.pick(&OverlapPolicy::ALL));
        admission.pool = self.maybe(|d| {
            let pool = PoolName::parse(d.name()).expect("the names are well formed");
            PoolUse { pool, weight: d.n() }
        });
        admission.priority = self.pick(&[0, 1, -1, i32::MIN]);
        admission
    }

    fn deadline(&mut self) -> Deadline {
        let of = self.pick(&[DeadlineOf::Job, DeadlineOf::WorkflowExecution]);
        Deadline { after: self.duration(), of }
    }

    fn hook(&mut self) -> Hook {
        let mut hook =
            Hook::new(self.pick(&[HookOn::Success, HookOn::Failure, HookOn::Stop, HookOn::End]), self.text());
        hook.event_type = self.maybe(Self::text).unwrap_or(hook.event_type);
        hook.value = self.json(2);
        hook.broadcast = self.rng().chance(30);
        hook
    }

    fn parameters(&mut self) -> Vec<Parameter> {
        let kinds = [
            ParameterType::String,
            ParameterType::Integer,
            ParameterType::Float,
            ParameterType::Boolean,
            ParameterType::Timestamp,
            ParameterType::Json,
        ];
        let mut parameters: Vec<Parameter> = self.several(3, |d| {
            let mut parameter = Parameter::new(d.text(), d.pick(&kinds));
            parameter.default = d.json(1);
            parameter.required = d.rng().chance(30);
            parameter.min = d.maybe(|d| d.pick(&[0.0, -1.5, 1e20]));
            parameter.max = d.maybe(|d| d.pick(&[0.5, 3.0]));
            parameter.one_of = d.several(2, |d| d.json(1));
            parameter
        });
        let mut names = std::collections::BTreeSet::new();
        parameters.retain(|parameter| names.insert(parameter.name.clone()));
        parameters
    }

    /// What a process runs, in terms of its executor.
    fn process(&mut self) -> Value {
        let mut spec = match self.rng().chance(50) {
            true => json!({ "shell": self.text() }),
            false => json!({ "argv": [self.text(), self.text()] }),
        };
        let members = spec.as_object_mut().expect("made above");
        for name in ["env", "secrets"] {
            if let Some(variables) = self.maybe(|d| d.several(2, |d| (d.name(), d.text()))) {
                let variables: serde_json::Map<String, Value> =
                    variables.into_iter().map(|(name, text)| (name, text.into())).collect();
                members.insert(name.to_owned(), variables.into());
            }
        }
        if let Some(cwd) = self.maybe(Self::text) {
            members.insert("cwd".to_owned(), cwd.into());
        }
        if self.rng().chance(20) {
            members.insert("limits".to_owned(), json!({ "memory_bytes": self.rng().next_u64(), "cpu_seconds": 3 }));
        }
        if self.rng().chance(5) {
            members.insert("more".to_owned(), self.json(1));
        }
        spec
    }

    fn version(&mut self) -> VersionRef {
        match self.rng().below(4) {
            0 => VersionRef::Number(self.n()),
            1 => VersionRef::Stage(ModelStage::parse(self.name()).expect("the names are well formed")),
            2 => VersionRef::Alias(self.text()),
            _ => VersionRef::Latest,
        }
    }

    fn arguments(&mut self) -> NodeArguments {
        NodeArguments {
            dataset: self.maybe(Self::text),
            model: self.maybe(Self::text),
            model_version: self.maybe(Self::version),
            base_model: self.maybe(Self::text),
            base_model_version: self.maybe(Self::version),
        }
    }

    fn node(&mut self) -> AiNode {
        let kinds = [
            NodeKind::UserDefined,
            NodeKind::Train,
            NodeKind::ReadDataset,
            NodeKind::PushModel,
            NodeKind::ExternalTrigger,
        ];
        let mut node = match self.rng().below(4) {
            0 => function(self.text()),
            1 => operation("process", self.process()),
            2 => operation(self.text(), self.json(2)),
            _ => operation(self.pick(&["process", "function"]), self.json(2)),
        };
        node.kind = self.pick(&kinds);
        node.arguments = self.maybe(Self::arguments).unwrap_or_default();
        node.params = self.json(2);
        node.parameters = self.parameters();
        node.outputs = self.pick(&[0, 1, 2]);
        node.job = self.maybe(Self::name);
        node.streaming = self.rng().chance(30);
        node.schedules = self.several(2, Self::schedule);
        node.admission = self.maybe(Self::admission);
        node.retry = self.maybe(Self::retry);
        node.runs_on = self.several(2, Self::name).into_iter().collect();
        let limit = |d: &mut Self| d.maybe(Self::duration);
        node.queue_timeout = limit(self);
        node.start_timeout = limit(self);
        node.timeout = limit(self);
        node.heartbeat_timeout = limit(self);
        node.stop_grace = limit(self);
        node.ack_within = limit(self);
        node.restart = self.maybe(Self::restart);
        node.deadline = self.maybe(Self::deadline);
        node.hooks = self.several(2, Self::hook);
        node
    }

    fn names(&mut self) -> Vec<String> {
        let mut names = self.several(4, Self::name);
        names.sort_unstable();
        names.dedup();
        names
    }

    fn completion(&mut self) -> Option<Completion> {
        self.pick(&[None, Some(Completion::Idle), Some(Completion::Standing)])
    }

    fn contexts(&mut self) -> ContextOf {
        match self.rng().below(4) {
            0 => ContextOf::All,
            1 => ContextOf::from(self.source().field),
            2 => ContextOf::from(self.source().field).or_all(),
            _ => ContextOf::Event,
        }
    }

    fn limit(&mut self) -> Option<Duration> {
        self.maybe(Self::duration)
    }

    /// A graph that uses every setting; its nodes have names of their own.
    pub fn graph(&mut self, project: &str, workflow: &str) -> AiGraph {
        let mut graph = AiGraph::new(project, workflow);
        for name in self.names() {
            let node = self.node();
            graph.node(name, node);
        }
        let ends: Vec<String> = graph.nodes.iter().map(|node| node.name.clone()).chain(["none".to_owned()]).collect();
        graph.data_edges = self.several(4, |d| DataEdge {
            from: if d.rng().chance(10) { d.text() } else { d.pick(&ends) },
            port: d.pick(&[0, 0, 1, 7]),
            to: d.pick(&ends),
            stored: d.rng().chance(20),
        });
        graph.control_edges = self.several(5, |d| GraphEdge {
            target: d.pick(&ends),
            when: match d.rng().chance(40) {
                true => Trigger::After(d.several(2, |d| d.pick(&ends))),
                false => Trigger::Rule(d.job_rule()),
            },
        });
        // Often as they stand when they are written beside the nodes.
        if self.rng().chance(60) {
            let at = |name: &String| ends.iter().position(|end| end == name);
            graph.data_edges.sort_by_key(|edge| at(&edge.to));
            graph.control_edges.sort_by_key(|edge| at(&edge.target));
        }
        graph.rules = self.several(2, Self::workflow_rule);
        graph.schedules = self.several(2, Self::schedule);
        graph.admission = self.maybe(Self::admission).unwrap_or_default();
        graph.params = self.json(2);
        graph.parameters = self.parameters();
        graph.deadline = self.limit();
        graph.hooks = self.several(2, Self::hook);
        graph.completion = self.completion();
        graph.contexts = self.contexts();
        graph
    }

    fn step(&mut self, name: &str) -> Job {
        let node = self.node();
        let spec = match self.rng().chance(30) {
            true => json!({ "nodes": [{ "name": name, "function": self.text() }] }),
            false => node.spec,
        };
        let executor = ExecutorName::parse(self.pick(&["function", "process", "flink"])).expect("well formed");
        let mut job = Job::new(JobName::parse(name).expect("the names are well formed"), executor, spec);
        job.params = node.params;
        job.parameters = node.parameters;
        job.schedules = node.schedules;
        job.streaming = node.streaming;
        let label = |label: &String| HostLabel::parse(label).expect("the names are well formed");
        job.runs_on = node.runs_on.iter().map(label).collect();
        job.retry = node.retry.unwrap_or_default();
        // A policy that never restarts has nothing else to say.
        job.restart = node.restart.filter(|restart| restart.when != RestartWhen::Never).unwrap_or_default();
        job.ack_within = node.ack_within.unwrap_or(Job::ACK_WITHIN);
        job.queue_timeout = node.queue_timeout;
        job.start_timeout = node.start_timeout;
        job.timeout = node.timeout;
        job.heartbeat_timeout = node.heartbeat_timeout;
        job.stop_grace = node.stop_grace.unwrap_or(Job::STOP_GRACE);
        job.deadline = node.deadline;
        job.hooks = node.hooks;
        job.admission = node.admission.unwrap_or_default();
        job
    }

    /// A workflow that uses every setting; its jobs have names of their own.
    ///
    /// # Panics
    /// If the names are not well formed.
    pub fn workflow(&mut self, project: &str, name: &str) -> Workflow {
        let (project, name) = (ProjectName::parse(project), WorkflowName::parse(name));
        let mut workflow = Workflow::new(project.expect("well formed"), name.expect("well formed"));
        workflow.jobs = self.names().iter().map(|name| self.step(name)).collect();
        let mut jobs: Vec<JobName> = workflow.jobs.iter().map(|job| job.name.clone()).collect();
        jobs.push(JobName::parse("none").expect("well formed"));
        workflow.control_edges = self.several(5, |d| ControlEdge { job: d.pick(&jobs), rule: d.job_rule() });
        if self.rng().chance(60) {
            workflow.control_edges.sort_by_key(|edge| jobs.iter().position(|job| *job == edge.job));
        }
        workflow.rules = self.several(2, Self::workflow_rule);
        workflow.schedules = self.several(2, Self::schedule);
        workflow.params = self.json(2);
        workflow.parameters = self.parameters();
        workflow.completion = self.completion();
        workflow.contexts = self.contexts();
        workflow.deadline = self.limit();
        workflow.hooks = self.several(2, Self::hook);
        workflow.admission = self.maybe(Self::admission).unwrap_or_default();
        workflow
    }
}
