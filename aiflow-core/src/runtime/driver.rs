//! The loop of a leader: read a batch of events, decide, adopt, commit once, dispatch.
//!
//! While a decision is being committed the next one is made on top of it. Commands wait for the commit; if it fails for good, the engine is
//! restored from the store, and what rested on it is decided anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Parts;
use super::commit::{Commit, Cursor};
use super::dispatch::{Dispatch, Dispatchers};
use super::hosts::commit_until_done;
use super::input::input;
use super::launch::launch_of;
use super::lineage::Publishers;
use super::recover::{Reconciliation, load, reconcile};
use super::report::publish;
use super::settings::Backoff;
use super::volatile::Volatile;
use crate::control::Control;
use crate::engine::{Command, Decision, Engine, Input, LaunchPlan};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::event::{Event, EventFilter, NewEvent};
use crate::executor::{Ending, Report, ReportKind, StopMode};
use crate::host::{HostId, unplaced_id};
use crate::id::{AttemptId, ExecutorName, Offset};
use crate::store::{Batch, Lease};
use crate::timer::Timer;
use crate::workflow::{Job, JobAction, Workflow};

/// How often the wall clock is looked at again while a timer waits: it may be set forward.
const CLOCK_CHECK: Duration = Duration::from_secs(60);
/// How often a platform that could not say how an attempt stands is asked again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Timers published at once.
const TIMERS_MAX: usize = 1_000;
/// From how many events on the next decision is made while the last one is being committed. Fewer are left to gather: a transaction each
/// would cost more than it gains.
const READ_AHEAD_MIN: usize = 64;

pub(super) struct Driver<'a> {
    pub(super) parts: &'a Parts,
    pub(super) lease: Lease,
    pub(super) engine: Engine,
    /// How far the log is applied: decided and committed.
    pub(super) cursor: Cursor,
    /// How far it is decided.
    pub(super) decided: Offset,
    /// What was read beyond that.
    pub(super) ahead: Vec<Arc<Event>>,
    /// From which jobs the events come.
    pub(super) publishers: Publishers,
    /// The decision that is being committed.
    pub(super) in_flight: Option<InFlight>,
    pub(super) dispatchers: Dispatchers,
    pub(super) applied: &'a watch::Sender<Offset>,
    pub(super) volatile: &'a Volatile,
    /// Attempts of which their platform could not say how they stand: left behind by the last leader, or to stop before they were accepted.
    pub(super) unknown: BTreeSet<AttemptId>,
    /// More of them.
    pub(super) unsettled: mpsc::Receiver<AttemptId>,
    /// The hosts that have not gone.
    pub(super) hosts: watch::Sender<BTreeSet<HostId>>,
    /// When the platforms are asked for them again.
    pub(super) look_again: Option<Instant>,
}

/// A decision that the engine has adopted and that is being committed.
pub(super) struct InFlight {
    decision: Arc<Decision>,
    /// The events that it is about.
    inputs: Vec<Input>,
    /// How far the log is applied once it stands.
    next: Cursor,
    /// The one task that commits it, and ends with this.
    task: JoinSet<Result<Cursor>>,
}

impl InFlight {
    async fn landed(&mut self) -> Result<Cursor> {
        match self.task.join_next().await {
            Some(Ok(landed)) => landed,
            Some(Err(error)) => Err(Error::new(ErrorKind::Internal, "commit", error.to_string())),
            None => Err(Error::new(ErrorKind::Internal, "commit", "its task has ended before")),
        }
    }
}

impl Driver<'_> {
    /// Leads until something fails for good. Cancel safe between and within steps: what was decided is either committed or not.
    pub(super) async fn run(mut self) -> Error {
        loop {
            if let Err(error) = self.turn().await {
                return error;
            }
        }
    }

    /// Decides what is in the log; publishes the timers that are due; or waits for either, or for the decision that is being committed.
    async fn turn(&mut self) -> Result<()> {
        while let Ok(attempt) = self.unsettled.try_recv() {
            self.ask_again(attempt);
        }
        if self.look_again.is_some_and(|when| when <= Instant::now()) {
            self.look_again().await?;
        }
        if let Some(in_flight) = self.in_flight.take() {
            return self.beside_the_commit(in_flight).await;
        }
        let is_more = tokio::select! {
            biased;
            woken = self.parts.bus.wait(self.read_to()) => self.woken(woken).await?,
            () = std::future::ready(()) => false,
        };
        if is_more {
            self.read_on().await?;
        }
        if !self.ahead.is_empty() {
            let events = std::mem::take(&mut self.ahead);
            return self.apply_events(events).await;
        }
        let now = self.parts.clock.now();
        let due = self.engine.due_timers(now, TIMERS_MAX);
        if !due.is_empty() {
            return self.publish_timers(due).await;
        }
        let pause = self.engine.next_timer().map_or(CLOCK_CHECK, |next| next.since(now).min(CLOCK_CHECK));
        let (bus, read_to) = (&self.parts.bus, self.read_to());
        tokio::select! {
            biased;
            woken = bus.wait(read_to) => self.woken(woken).await.map(|_| ()),
            Some(attempt) = self.unsettled.recv() => {
                self.ask_again(attempt);
                Ok(())
            }
            () = sleep_until(self.look_again) => Ok(()),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// While a decision is being committed: if there is much to decide, it is decided meanwhile, as if the commit had succeeded.
    async fn beside_the_commit(&mut self, mut in_flight: InFlight) -> Result<()> {
        let may_read = self.ahead.is_empty();
        let read_to = self.read_to();
        let woken = tokio::select! {
            biased;
            landed = in_flight.landed() => return self.finish(in_flight, landed).await,
            woken = self.parts.bus.wait(read_to), if may_read => self.woken(woken).await?,
        };
        if woken {
            self.read_on().await?;
        }
        if woken && self.ahead.len() < READ_AHEAD_MIN {
            // Little is better decided together with what comes until then.
            let landed = in_flight.landed().await;
            return self.finish(in_flight, landed).await;
        }
        self.in_flight = Some(in_flight);
        let events = std::mem::take(&mut self.ahead);
        self.apply_events(events).await
    }

    /// Whether the log may have grown. A log that cannot say so is given time.
    async fn woken(&self, woken: Result<()>) -> Result<bool> {
        match woken {
            Ok(()) => Ok(true),
            Err(error) if error.retry() == Retry::Never => Err(error),
            Err(error) => {
                tracing::warn!(%error, "waiting for events failed; trying again");
                tokio::time::sleep(self.parts.settings.standby_poll).await;
                Ok(false)
            }
        }
    }

    /// Everything up to here was read.
    fn read_to(&self) -> Offset {
        self.ahead.last().map_or(self.decided, |event| event.offset)
    }

    /// Reads what is there, up to a full batch.
    async fn read_on(&mut self) -> Result<()> {
        let room = self.parts.settings.batch_events_max.max(1).saturating_sub(self.ahead.len());
        if room == 0 {
            return Ok(());
        }
        match self.parts.bus.read(self.read_to(), &EventFilter::all(), room).await {
            Ok(page) => {
                self.ahead.extend(page.events);
                Ok(())
            }
            Err(error) if error.retry() == Retry::Later => {
                tracing::warn!(%error, "read failed; trying again");
                tokio::time::sleep(self.parts.settings.standby_poll).await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn ask_again(&mut self, attempt: AttemptId) {
        self.unknown.insert(attempt);
        self.look_again.get_or_insert_with(|| Instant::now() + LOOK_AGAIN);
    }

    /// Asks the platforms for the attempts of which they could not say how they stand, unless their end was reported meanwhile.
    async fn look_again(&mut self) -> Result<()> {
        let unknown = std::mem::take(&mut self.unknown);
        let attempts = self.engine.live_attempts().filter(|job| unknown.contains(&job.attempt_id()));
        let now = self.parts.clock.now();
        let found = reconcile(attempts, &self.parts.executors, now).await?;
        self.settle(found).await
    }

    /// Does what follows from how the executors say the attempts of the last leader stand.
    pub(super) async fn settle(&mut self, found: Reconciliation) -> Result<()> {
        self.publish_reports(found.reports).await?;
        for id in found.submit {
            if let Some(plan) = self.engine.launch_plan(id) {
                self.launch(plan.execution.attempt_id(), &[]).await;
            }
        }
        for id in found.stop {
            if let Some(LaunchPlan { execution, .. }) = self.engine.launch_plan(id) {
                let mode = if execution.killed { StopMode::Kill } else { StopMode::Graceful };
                let stop = Dispatch::Stop { attempt: execution.attempt_id(), mode };
                self.dispatchers.send(&execution.executor, stop).await;
            }
        }
        for id in found.signal {
            let Some(LaunchPlan { execution, .. }) = self.engine.launch_plan(id) else { continue };
            for pending in execution.signals.iter().filter(|pending| pending.due.is_some()) {
                let signal = Box::new(pending.signal.clone());
                let dispatch = Dispatch::Signal { attempt: execution.attempt_id(), signal };
                self.dispatchers.send(&execution.executor, dispatch).await;
            }
        }
        self.unknown = found.unknown;
        self.look_again = (!self.unknown.is_empty()).then(|| Instant::now() + LOOK_AGAIN);
        Ok(())
    }

    async fn publish_timers(&self, due: Vec<Timer>) -> Result<()> {
        let events = due.into_iter().map(Timer::into_event);
        publish(&*self.parts.bus, events.collect(), &self.parts.settings)
            .await
            .map_err(|kind| Error::new(kind, "publish timers", "the log refused a timer"))
    }

    /// Publishes what this leader found out about attempts, under its fence: one that only believes to lead would take the attempts that
    /// live in the process of the true leader for lost.
    pub(super) async fn publish_reports(&self, reports: Vec<Report>) -> Result<()> {
        for reports in reports.chunks(TIMERS_MAX) {
            let events = |reports: &[Report]| reports.iter().cloned().map(Report::into_event).collect();
            match self.append(events(reports)).await {
                // The ending of an attempt was reported before, in other words: the first one stands.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    for report in reports {
                        match self.append(events(std::slice::from_ref(report))).await {
                            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                                return Err(error);
                            }
                            Ok(()) | Err(_) => {}
                        }
                    }
                }
                appended => appended?,
            }
        }
        Ok(())
    }

    async fn append(&self, events: Vec<NewEvent>) -> Result<()> {
        let batch = Batch { fence: Some(self.lease.fence()), events, ..Batch::at(self.parts.clock.now()) };
        commit_until_done(&*self.parts.store, &batch, self.parts.settings.backoff_max).await
    }

    async fn apply_events(&mut self, events: Vec<Arc<Event>>) -> Result<()> {
        let mut rest = Vec::with_capacity(events.len());
        for event in events {
            self.publishers.note(&event);
            rest.push(input(&*self.parts.store, &*self.parts.bus, event).await?);
        }
        while !rest.is_empty() {
            let decision = self.engine.decide(&rest);
            let consumed = decision.consumed.clamp(1, rest.len());
            let after = rest.split_off(consumed);
            if !self.begin_commit(decision, rest).await? {
                return Ok(());
            }
            rest = after;
        }
        Ok(())
    }

    /// Adopts a decision and begins to commit it. Its transaction is built while the one before it is being committed, and sent once that
    /// stands, before the commands of that one are carried out. False if that one was refused, so that this one rests on nothing: what it was
    /// about is read again.
    async fn begin_commit(&mut self, decision: Decision, inputs: Vec<Input>) -> Result<bool> {
        let mut before = self.in_flight.take();
        let cursor = before.as_ref().map_or(self.cursor, |before| before.next);
        let commit = self.commit_of(decision, cursor).await?;
        let (next, decision) = (commit.next(), Arc::clone(&commit.decision));
        let (turn, its_turn) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(commit.in_turn(its_turn));
        if let Some(before) = &mut before {
            let landed = before.landed().await;
            if !self.stands(before, landed).await? {
                return Ok(false);
            }
        }
        // Its task waits for nothing else.
        let _ = turn.send(());
        if let Some(before) = &before {
            self.carry_out(&before.decision, &before.inputs).await;
        }
        self.engine.apply(&decision);
        self.decided = decision.cursor;
        self.in_flight = Some(InFlight { decision, inputs, next, task });
        Ok(true)
    }

    /// What writes a decision that was made where the log is applied up to `cursor`.
    async fn commit_of(&self, decision: Decision, cursor: Cursor) -> Result<Commit> {
        Ok(Commit {
            store: Arc::clone(&self.parts.store),
            lineage: self.publishers.lineage(&*self.parts.bus, &decision, cursor.offset).await?,
            decision: Arc::new(decision),
            cursor,
            lease: self.lease.clone(),
            at: self.parts.clock.now(),
            backoff: Backoff::new(self.parts.settings.backoff_max),
        })
    }

    /// Does what follows from the end of a commit on which nothing rests yet.
    async fn finish(&mut self, in_flight: InFlight, landed: Result<Cursor>) -> Result<()> {
        if self.stands(&in_flight, landed).await? {
            self.carry_out(&in_flight.decision, &in_flight.inputs).await;
        }
        Ok(())
    }

    /// Whether a decision was committed. If it was refused, what rested on it is forgotten, and its events are applied one by one.
    async fn stands(&mut self, in_flight: &InFlight, landed: Result<Cursor>) -> Result<bool> {
        match landed {
            Ok(cursor) => {
                self.cursor = cursor;
                Ok(true)
            }
            Err(error) if is_refused(&error) => {
                // The engine has adopted what was refused.
                (self.engine, self.cursor) = load(self.parts).await?;
                self.decided = self.cursor.offset;
                self.ahead.clear();
                self.apply_one_by_one(&in_flight.inputs).await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The store refuses the joint decision for good: find the event that is to blame and set it aside, so that the others take effect.
    async fn apply_one_by_one(&mut self, inputs: &[Input]) -> Result<()> {
        for input in inputs {
            let one = std::slice::from_ref(input);
            match self.apply_alone(self.engine.decide(one), one).await {
                Err(error) if is_refused(&error) => {
                    let offset = input.event.offset;
                    tracing::error!(%offset, %error, "an event could not be applied and is a dead letter now");
                    let decision = self.engine.set_aside(input, error.to_string());
                    self.apply_alone(decision, one).await?;
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// Commits a decision, then adopts it and carries it out.
    async fn apply_alone(&mut self, decision: Decision, inputs: &[Input]) -> Result<()> {
        let commit = self.commit_of(decision, self.cursor).await?;
        let decision = Arc::clone(&commit.decision);
        self.cursor = commit.run().await?;
        self.decided = self.cursor.offset;
        self.engine.apply(&decision);
        self.carry_out(&decision, inputs).await;
        Ok(())
    }

    /// Hands the commands of a committed decision to the executors.
    async fn carry_out(&mut self, decision: &Decision, inputs: &[Input]) {
        self.volatile.note(&self.parts.executors, decision.jobs.values().map(|job| &**job));
        for definition in decision.definitions.values() {
            self.warn_of_restarts(definition);
        }
        for command in &decision.commands {
            match command {
                Command::Launch { attempt } => self.launch(*attempt, inputs).await,
                Command::Signal { attempt, executor, signal } => {
                    let dispatch = Dispatch::Signal { attempt: *attempt, signal: Box::new(signal.clone()) };
                    self.dispatchers.send(executor, dispatch).await;
                }
                Command::Stop { attempt, executor, mode } => {
                    self.dispatchers.send(executor, Dispatch::Stop { attempt: *attempt, mode: *mode }).await;
                }
            }
        }
        if !decision.hosts.is_empty() {
            self.show_hosts();
        }
        self.applied.send_replace(self.cursor.offset);
    }

    /// Shows which hosts there are to whom it watches them.
    pub(super) fn show_hosts(&self) {
        self.hosts.send_replace(self.engine.live_hosts().cloned().collect());
    }

    /// A workflow has come into use: says which of its jobs will be restarted for each value, because their executor cannot hand it over.
    fn warn_of_restarts(&self, workflow: &Workflow) {
        let signalled = |job: &Job| workflow.rules_of(&job.name).any(|rule| rule.action == JobAction::Signal);
        for job in workflow.jobs.iter().filter(|job| signalled(job)) {
            let executor = self.parts.executors.get(&job.executor);
            if executor.is_some_and(|executor| !executor.capabilities().signals) {
                let (workflow, executor) = (&workflow.name, &job.executor);
                tracing::warn!(%workflow, job = %job.name, %executor, "each value of a SIGNAL rule restarts this job: its executor cannot hand values to what runs");
            }
        }
    }

    /// Hands an attempt to its executor. One that a later event of the same batch has ended already is not started.
    pub(super) async fn launch(&self, attempt: AttemptId, inputs: &[Input]) {
        let Some(plan) =
            self.engine.launch_plan(attempt.job_execution).filter(|plan| plan.execution.attempt == attempt.attempt)
        else {
            return;
        };
        let execution = plan.execution;
        let (mut events, mut missing) = (Vec::new(), Vec::new());
        for offset in &execution.cause.events {
            // The inputs are in the order of the log.
            match inputs.binary_search_by_key(offset, |input| input.event.offset) {
                Ok(at) => events.extend(inputs.get(at).map(|input| Arc::clone(&input.event))),
                Err(_) => missing.push(*offset),
            }
        }
        let executor = execution.executor.clone();
        if self.parts.offers(&executor) {
            // It was decided before this host had joined. As a host, it takes no more than it offers.
            return self.say_unplaced(attempt).await;
        }
        let launch = Box::new(launch_of(plan, self.lease.epoch, events));
        if !self.dispatchers.send(&executor, Dispatch::Launch { launch, missing }).await {
            match self.engine.knows_hosts() || self.parts.only_leads() {
                true => self.say_unplaced(attempt).await,
                false => self.report_no_executor(attempt, &executor).await,
            }
        }
    }

    async fn say_unplaced(&self, attempt: AttemptId) {
        let event = Control::Unplaced { attempt }.into_event(unplaced_id(attempt));
        if let Err(error) = self.append(vec![event]).await {
            tracing::error!(%error, %attempt, "could not say that an attempt is to run on a host");
        }
    }

    async fn report_no_executor(&self, attempt: AttemptId, executor: &ExecutorName) {
        let registered: Vec<&str> = self.parts.executors.keys().map(ExecutorName::as_str).collect();
        let message = format!("no executor {executor} is registered here; registered are: {}", registered.join(", "));
        let ending = Ending::refused(message);
        let report = Report { attempt, at: self.parts.clock.now(), kind: ReportKind::Ended(ending) };
        if let Err(error) = self.publish_reports(vec![report]).await {
            tracing::error!(%error, %attempt, "could not report that the executor is missing");
        }
    }
}

pub(super) async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Whether the store will never take this decision, for reasons that lie in the decision.
fn is_refused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::AlreadyExists)
}
