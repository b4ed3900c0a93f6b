//! Why did this run? Walks from an execution back to the events, rules and executions that led to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::AiFlow;
use crate::control::Control;
use crate::engine::OWN_EVENT_ID;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventFilter, JOB_STATUS_CHANGED, SYSTEM_NAMESPACE, WORKFLOW_STATUS_CHANGED};
use crate::execution::{AdmissionStep, Firing, FiringRecord, JobExecution, KIND_FIRING, WorkflowExecution};
use crate::id::{FiringId, JobExecutionId, JobName, Offset, ProjectName, WorkflowExecutionId, WorkflowName};
use crate::records::{WorkflowVersion, body_of, workflow_version_key};
use crate::store::{MetaStoreExt as _, RecordKey};
use crate::timer::{Timer, TimerKey};
use crate::why::{
    Because, EXPLAIN_EVENTS_MAX, EXPLAIN_STEPS_MAX, EventCame, ExecutionExplanation, JobRan, Source, Step, WorkflowRan,
    event_words,
};
use crate::workflow::Workflow;

/// So many records of firings of one event are looked through for the one that went through admission.
const FIRINGS_LOOKED_AT_MAX: u32 = 64;

impl AiFlow {
    /// Why a job ran: the chain of events, rules and firings behind the job execution, back to the first causes from outside.
    ///
    /// It is bounded by [`EXPLAIN_STEPS_MAX`], and says so where it is cut. An event that was trimmed from the log ends the chain there; that
    /// is a step like others. Displayed, it is a sentence a line:
    ///
    /// ```text
    /// job inference ran (execution 41.0, READY) because its rule "RESTART when model(wine) DEPLOYED" fired on event 40
    /// event 40, MODEL_DEPLOYED wine {"version":1}, was published by evaluation (execution 31.0, attempt 1)
    /// job evaluation ran (execution 31.0, SUCCEEDED) because its rule "START when model(wine) GENERATED" fired on event 30
    /// …
    /// event 9, raw_batch 1, came from outside
    /// ```
    ///
    /// # Errors
    /// `NotFound`: there is no such job execution. Others are those of the store and the log.
    pub async fn explain_execution(&self, execution: JobExecutionId) -> Result<ExecutionExplanation> {
        let explanation = Chain::new(self, Todo::Job(execution)).walk().await?;
        found(explanation, &execution.to_string())
    }

    /// Why a workflow ran: as [`explain_execution`](Self::explain_execution), for a workflow execution.
    ///
    /// # Errors
    /// As [`explain_execution`](Self::explain_execution).
    pub async fn explain_workflow_execution(&self, execution: WorkflowExecutionId) -> Result<ExecutionExplanation> {
        let explanation = Chain::new(self, Todo::Workflow(execution)).walk().await?;
        found(explanation, &execution.to_string())
    }

    /// The event at `offset`; `None` if it is not in the log, or not any more.
    pub(super) async fn event_at(&self, offset: Offset) -> Result<Option<Arc<Event>>> {
        let before = Offset(offset.0.saturating_sub(1));
        match self.bus().read(before, &EventFilter::all(), 1).await {
            Ok(page) => Ok(page.events.into_iter().find(|event| event.offset == offset)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What was asked about must be there.
fn found(explanation: ExecutionExplanation, id: &str) -> Result<ExecutionExplanation> {
    match explanation.steps.first() {
        Some(Step::Gone { .. }) | None => {
            Err(Error::not_found("explain", "there is no such execution").with("execution", id))
        }
        Some(_) => Ok(explanation),
    }
}

/// What is still to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Todo {
    Job(JobExecutionId),
    Workflow(WorkflowExecutionId),
    Event(Offset),
}

struct Chain<'a> {
    flow: &'a AiFlow,
    todo: VecDeque<Todo>,
    seen: BTreeSet<Todo>,
    definitions: BTreeMap<(ProjectName, WorkflowName, u32), Option<Arc<Workflow>>>,
    told: ExecutionExplanation,
}

impl<'a> Chain<'a> {
    fn new(flow: &'a AiFlow, first: Todo) -> Self {
        Self {
            flow,
            todo: VecDeque::from([first]),
            seen: BTreeSet::from([first]),
            definitions: BTreeMap::new(),
            told: ExecutionExplanation::default(),
        }
    }

    async fn walk(mut self) -> Result<ExecutionExplanation> {
        while let Some(todo) = self.todo.pop_front() {
            if self.told.steps.len() >= EXPLAIN_STEPS_MAX {
                self.told.is_cut = true;
                break;
            }
            let step = match todo {
                Todo::Job(id) => self.job(id).await?,
                Todo::Workflow(id) => self.workflow(id).await?,
                Todo::Event(offset) => self.event(offset).await?,
            };
            self.told.steps.push(step);
        }
        Ok(self.told)
    }

    fn follow(&mut self, next: Todo) {
        if self.seen.insert(next) {
            self.todo.push_back(next);
        }
    }

    async fn job(&mut self, id: JobExecutionId) -> Result<Step> {
        let Some(ran) = self.flow.job_execution(id).await? else {
            return Ok(Step::Gone { execution: id.to_string() });
        };
        let parent = self.flow.execution(ran.workflow_execution).await?;
        let because = match ran.repeats {
            Some(execution) => {
                self.follow(Todo::Workflow(ran.workflow_execution));
                self.follow(Todo::Job(execution));
                Because::Repeats { execution }
            }
            None => match self.because(&ran.cause) {
                Some(because) => because,
                None => self.without_rule(&ran, parent.as_ref()).await?,
            },
        };
        let because = match (because, &parent) {
            (Because::Rule { rule, key, events, n_events, .. }, Some(parent)) => {
                let definition = self.definition(parent).await?;
                let named = |rules: &Workflow| {
                    rules.rules_of(&ran.job).find(|found| found.name == rule).map(|rule| format!("{rule:#}"))
                };
                Because::Rule { text: definition.and_then(|rules| named(&rules)), rule, key, events, n_events }
            }
            (because, _) => because,
        };
        let admission = self.admission(ran.cause.events.last().copied(), |record| {
            record.workflow_execution == Some(ran.workflow_execution)
                && record.job.as_ref() == Some(&ran.job)
                && record.firing.is_same(&ran.cause)
        });
        Ok(Step::Job(Box::new(JobRan {
            execution: id,
            admission: admission.await?,
            job: ran.job,
            workflow: ran.workflow,
            workflow_execution: ran.workflow_execution,
            status: ran.status,
            because,
        })))
    }

    async fn workflow(&mut self, id: WorkflowExecutionId) -> Result<Step> {
        let Some(ran) = self.flow.execution(id).await? else {
            return Ok(Step::Gone { execution: id.to_string() });
        };
        let because = match self.because(&ran.cause) {
            Some(Because::Rule { rule, key, events, n_events, .. }) => {
                let definition = self.definition(&ran).await?;
                let named = |workflow: &Workflow| {
                    workflow.rules.iter().find(|found| found.name == rule).map(|rule| format!("{rule:#}"))
                };
                Because::Rule { text: definition.and_then(|workflow| named(&workflow)), rule, key, events, n_events }
            }
            Some(because) => because,
            None => self.by_hand(&ran.cause),
        };
        let admission = self.admission(Some(id.cause), |record| record.request.execution == Some(id)).await?;
        let WorkflowExecution { workflow, version, status, .. } = ran;
        Ok(Step::Workflow(Box::new(WorkflowRan { execution: id, workflow, version, status, because, admission })))
    }

    /// The rule or schedule that is why, and follows its events.
    fn because(&mut self, cause: &Firing) -> Option<Because> {
        if let Some(time) = &cause.schedule {
            cause.events.iter().for_each(|offset| self.follow(Todo::Event(*offset)));
            return Some(Because::Schedule(time.clone()));
        }
        let rule = cause.rule.clone()?;
        let n_events = cause.events.len();
        let left_out = n_events.saturating_sub(EXPLAIN_EVENTS_MAX);
        self.told.is_cut |= left_out > 0;
        let events = cause.events.get(left_out..).unwrap_or_default().to_vec();
        for offset in &events {
            self.follow(Todo::Event(*offset));
        }
        Some(Because::Rule { rule, text: None, key: cause.key.clone(), events, n_events })
    }

    fn by_hand(&mut self, cause: &Firing) -> Because {
        let request = cause.events.first().copied().unwrap_or_default();
        self.follow(Todo::Event(request));
        Because::ByHand { request }
    }

    /// Neither rule nor schedule: it was asked for, or it started with its workflow execution.
    async fn without_rule(&mut self, ran: &JobExecution, parent: Option<&WorkflowExecution>) -> Result<Because> {
        let began_together = parent.is_some_and(|parent| parent.created_at == ran.created_at);
        let asked = match ran.cause.events.first() {
            Some(offset) if began_together => self
                .flow
                .event_at(*offset)
                .await?
                .is_some_and(|event| matches!(Control::from_event(&event), Ok(Some(Control::ActOnJob { .. })))),
            _ => !began_together,
        };
        if asked {
            return Ok(self.by_hand(&ran.cause));
        }
        self.follow(Todo::Workflow(ran.workflow_execution));
        Ok(Because::WithExecution)
    }

    /// The definition that an execution is pinned to.
    async fn definition(&mut self, execution: &WorkflowExecution) -> Result<Option<Arc<Workflow>>> {
        let WorkflowExecution { project, workflow, version, .. } = execution;
        let place = (project.clone(), workflow.clone(), *version);
        if let Some(known) = self.definitions.get(&place) {
            return Ok(known.clone());
        }
        let record = self.flow.store().get_one(&workflow_version_key(project, workflow, *version)).await?;
        let stored: Option<WorkflowVersion> = record.as_ref().map(body_of).transpose()?;
        let definition = stored.map(|stored| Arc::new(stored.workflow));
        self.definitions.insert(place, definition.clone());
        Ok(definition)
    }

    /// What admission decided about the firing that the event at `offset` led to.
    async fn admission(
        &self,
        offset: Option<Offset>,
        is_meant: impl Fn(&FiringRecord) -> bool,
    ) -> Result<Vec<AdmissionStep>> {
        let Some(offset) = offset else { return Ok(Vec::new()) };
        let keys =
            (0..FIRINGS_LOOKED_AT_MAX).map(|n| RecordKey::new(KIND_FIRING, FiringId::new(offset, n).to_string()));
        let records = self.flow.store().get(&keys.collect::<Vec<RecordKey>>()).await?;
        for record in records.iter().flatten() {
            let firing: FiringRecord = body_of(record)?;
            if is_meant(&firing) {
                return Ok(firing.steps);
            }
        }
        Ok(Vec::new())
    }

    async fn event(&mut self, offset: Offset) -> Result<Step> {
        let Some(event) = self.flow.event_at(offset).await? else {
            return Ok(Step::Trimmed { offset });
        };
        let source = source_of(&event);
        match &source {
            Source::Job { attempt, .. } | Source::Report(attempt) => self.follow(Todo::Job(attempt.job_execution)),
            Source::StatusOfJob(job) => self.follow(Todo::Job(*job)),
            Source::StatusOfWorkflow(execution) => self.follow(Todo::Workflow(*execution)),
            Source::Moment { set_by: Some(cause), .. } | Source::Event(cause) => self.follow(Todo::Event(*cause)),
            Source::Moment { set_by: None, .. } | Source::Outside { .. } | Source::Request => {}
        }
        Ok(Step::Event(EventCame { offset, recorded: event.recorded, text: words_of(&event), source }))
    }
}

/// A control event in a few words: its value is for machines.
fn words_of(event: &Event) -> String {
    match Control::from_event(event) {
        // What it is the moment of is said as its source.
        Ok(Some(Control::TimerFired(_))) => event.event_type.clone(),
        _ if event.namespace == SYSTEM_NAMESPACE => format!("{} {}", event.event_type, event.key),
        _ => event_words(event),
    }
}

fn source_of(event: &Event) -> Source {
    let by_job = event.context.attempt.map(|attempt| Source::Job { attempt, sender: event.sender.clone() });
    if event.namespace == SYSTEM_NAMESPACE {
        return match (Control::from_event(event), by_job, event.cause) {
            (Ok(Some(Control::TimerFired(timer))), ..) => moment(timer),
            (Ok(Some(Control::Reported { attempt, .. })), ..) => Source::Report(attempt),
            (_, Some(by_job), _) => by_job,
            (_, None, Some(cause)) => Source::Event(cause.offset),
            (_, None, None) => Source::Request,
        };
    }
    let is_own = event.id.starts_with(OWN_EVENT_ID);
    match (event.event_type.as_str(), event.context.attempt, event.context.workflow_execution, event.cause) {
        (JOB_STATUS_CHANGED, Some(attempt), ..) if is_own => Source::StatusOfJob(attempt.job_execution),
        (WORKFLOW_STATUS_CHANGED, _, Some(execution), _) if is_own => Source::StatusOfWorkflow(execution),
        (_, _, _, Some(cause)) if is_own => Source::Event(cause.offset),
        (_, Some(attempt), ..) => Source::Job { attempt, sender: event.sender.clone() },
        (_, None, _, Some(cause)) => Source::Event(cause.offset),
        (_, None, _, None) => Source::Outside { sender: event.sender.clone() },
    }
}

fn moment(timer: Timer) -> Source {
    let (what, set_by) = match timer.key {
        TimerKey::Rule { of, rule, set_by } => (format!("rule {rule} of {of}"), Some(set_by)),
        // What set the time of a schedule is the time before it, which says nothing.
        TimerKey::Schedule { of, schedule, .. } => (format!("schedule {schedule} of {of}"), None),
        TimerKey::Deadline { execution, job: None } => {
            (format!("the deadline of workflow execution {execution}"), Some(execution.cause))
        }
        TimerKey::Deadline { execution, job: Some(job) } => {
            (format!("the deadline of job {job} in execution {execution}"), Some(execution.cause))
        }
        TimerKey::Firing { firing, stage } => (format!("a start at {stage}"), Some(firing.cause)),
        TimerKey::Meter { meter, set_by } => (format!("a stage of admission ({meter})"), Some(set_by)),
        TimerKey::Signal { attempt, signal } => (
            format!(
                "the acknowledgement of a value by attempt {} of job execution {}",
                attempt.attempt, attempt.job_execution
            ),
            Some(signal.cause),
        ),
        TimerKey::Job { attempt, .. } => {
            (format!("attempt {} of job execution {}", attempt.attempt, attempt.job_execution), None)
        }
    };
    Source::Moment { what, set_by }
}

/// The job of this name must be known to `definition`.
pub(super) fn known_job(definition: &Workflow, job: &JobName) -> Result<()> {
    definition.job(job).map(|_| ()).ok_or_else(|| {
        Error::not_found("explain", "the workflow has no such job in this version")
            .with("workflow", &definition.name)
            .with("job", job)
    })
}
