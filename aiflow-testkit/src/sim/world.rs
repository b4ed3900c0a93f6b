//! A world: hosts that run schedulers, users and operators, first in chaos, then in calm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aiflow_core::execution::{AdmissionStage, JobState, JobStatus, KIND_FIRING, WorkflowState};
use aiflow_core::host::Host;
use aiflow_core::id::Offset;
use aiflow_core::records::firing_of;
use aiflow_core::relay::RelayedStore;
use aiflow_core::runtime::{KIND_CURSOR, Scheduler, SchedulerBuilder, SchedulerStatus};
use aiflow_core::store::{Record, RecordKey};
use aiflow_core::time::Clock as _;
use aiflow_core::timer::TimerKey;
use aiflow_core::{Error, ErrorKind, Result, Retry};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::check::{Checker, State};
use super::clients::{self, Acknowledged};
use super::executor::{DURABLE, Effects, Platform, SimExecutor, VOLATILE};
use super::faults::{Mutation, Plan};
use super::ledger::Ledger;
use super::process::{Connection, Process, ProcessClock, Shared, SimClock};
use super::recorder::Recorder;
use super::workload;
use crate::Backend;

/// How long a world may take to come to rest when the faults have stopped.
const CALM_MAX: Duration = Duration::from_secs(1_800);
/// No world lives longer.
const WORLD_MAX: Duration = Duration::from_secs(10_000);
/// How often it is looked whether a world has come to rest.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A world that was quiet for so long is at rest: its longest job takes two seconds, and a late report three.
const QUIET: Duration = Duration::from_secs(6);
/// Executions may start others when they are stopped; so often everything is stopped.
const STOP_ROUNDS_MAX: u32 = 8;

struct World {
    shared: Arc<Shared>,
    effects: Arc<Effects>,
    durable: Arc<Platform>,
    /// Platforms of processes that are alive.
    volatile: Mutex<Vec<(Arc<Process>, Arc<Platform>)>>,
    phase: Mutex<Phase>,
    turned: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Chaos,
    Calm,
    Over,
}

/// How a process ends.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Lives,
    KilledAfter(Duration),
    ShutDownAfter(Duration),
}

impl World {
    fn new(shared: Arc<Shared>) -> Self {
        let effects = Arc::new(Effects::default());
        let durable = Platform::new(Arc::clone(&shared), Arc::clone(&effects), "platform".to_owned(), true);
        Self {
            shared,
            effects,
            durable: Arc::new(durable),
            volatile: Mutex::default(),
            phase: Mutex::new(Phase::Chaos),
            turned: Notify::new(),
        }
    }

    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn_to(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.turned.notify_waiters();
    }

    async fn reached(&self, phase: Phase) {
        loop {
            let mut turned = std::pin::pin!(self.turned.notified());
            turned.as_mut().enable();
            if self.phase() >= phase {
                return;
            }
            turned.await;
        }
    }

    fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    fn platforms(&self) -> Vec<Arc<Platform>> {
        let volatile = self.volatile.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = volatile.iter().map(|(_, platform)| Arc::clone(platform));
        std::iter::once(Arc::clone(&self.durable)).chain(alive).collect()
    }

    /// A host runs one process after the other until the world is over.
    async fn host(self: Arc<Self>, number: usize) {
        let mut life = 0_u32;
        while self.phase() < Phase::Over {
            life += 1;
            let process = self.boot(format!("host{number}.{life}"));
            let volatile = self.volatile_platform(&process);
            // It may die before it has opened its store.
            let opened = tokio::select! {
                biased;
                () = process.death() => None,
                opened = self.connect(&process) => Some(opened),
            };
            match opened.map(|opened| self.start(&process, &volatile, number, opened?)) {
                None => self.ledger().trace(&process.name, "is killed"),
                Some(Ok(scheduler)) => {
                    self.volatile
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((Arc::clone(&process), Arc::clone(&volatile)));
                    self.live(&process, scheduler).await;
                }
                Some(Err(error)) => {
                    return self.ledger().violate("I8", format!("a scheduler did not start: {error}"));
                }
            }
            process.kill();
            volatile.die();
            self.durable.forget();
            self.volatile
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|(other, _)| !Arc::ptr_eq(other, &process));
            let downtime = self.ledger().time_below(self.shared.plan.process.downtime_max);
            tokio::select! {
                biased;
                () = self.reached(Phase::Calm) => {}
                () = tokio::time::sleep(downtime) => {}
            }
        }
    }

    fn boot(&self, name: String) -> Arc<Process> {
        let percent = self.shared.plan.process.kill_at_call_percent;
        let at_call = self.ledger().draw(|rng| if rng.chance(percent) { 1 + rng.below(40) } else { 0 });
        self.ledger().trace(&name, "boots");
        self.ledger().count("boot");
        Arc::new(Process::new(Arc::clone(&self.shared), name, at_call))
    }

    fn volatile_platform(&self, process: &Process) -> Arc<Platform> {
        let name = format!("{}.jobs", process.name);
        Arc::new(Platform::new(Arc::clone(&self.shared), Arc::clone(&self.effects), name, false))
    }

    fn scheduler(&self, process: &Arc<Process>, volatile: &Arc<Platform>, opened: Backend) -> SchedulerBuilder {
        let is_early = self.shared.plan.mutation == Some(Mutation::TimersFireEarly);
        let clock = ProcessClock {
            clock: Arc::clone(&self.shared.clock),
            ahead: if is_early { Duration::from_millis(200) } else { Duration::ZERO },
        };
        let executor =
            |platform: &Arc<Platform>| SimExecutor { process: Arc::clone(process), platform: Arc::clone(platform) };
        Scheduler::builder(opened.store, opened.bus)
            .executor(DURABLE, executor(&self.durable))
            .executor(VOLATILE, executor(volatile))
            .condition(workload::CUSTOM, workload::EverySoMany)
            .settings(self.shared.plan.settings.clone())
            .clock(Arc::new(clock))
    }

    /// A scheduler on the host of this number.
    fn start(
        &self,
        process: &Arc<Process>,
        volatile: &Arc<Platform>,
        number: usize,
        opened: Backend,
    ) -> Result<Scheduler> {
        let scheduler = self.scheduler(process, volatile, opened);
        let Some(capacity) = self.shared.plan.host_capacity else { return scheduler.start() };
        // All of them have the same name.
        let host = Host::named("host").executor(VOLATILE, capacity);
        scheduler.host(if number == 0 { host.label(workload::LABEL) } else { host }).start()
    }

    fn fate(&self) -> Fate {
        let faults = &self.shared.plan.process;
        if self.phase() > Phase::Chaos {
            return Fate::Lives;
        }
        let after = self.ledger().time_below(faults.lifetime_max);
        if self.ledger().strikes("kill", faults.kill_percent) {
            Fate::KilledAfter(after)
        } else if self.ledger().strikes("shutdown", faults.shutdown_percent) {
            Fate::ShutDownAfter(after)
        } else {
            Fate::Lives
        }
    }

    /// The life of one process. What it leaves behind is dead when this returns.
    async fn live(&self, process: &Process, scheduler: Scheduler) {
        let fate = self.fate();
        let fulfilled = async {
            match fate {
                Fate::Lives => self.reached(Phase::Over).await,
                Fate::KilledAfter(after) | Fate::ShutDownAfter(after) => {
                    tokio::select! {
                        biased;
                        () = self.reached(Phase::Calm) => self.reached(Phase::Over).await,
                        () = tokio::time::sleep(after) => {}
                    }
                }
            }
        };
        let has_led = AtomicBool::new(false);
        let leads = async {
            has_led.store(scheduler.wait_leading().await.is_ok(), Ordering::SeqCst);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = process.death() => {
                self.ledger().trace(&process.name, "is killed");
                let is_leading = matches!(scheduler.status(), SchedulerStatus::Leading { .. });
                if process.has_taken_over() && !is_leading && !has_led.load(Ordering::SeqCst) {
                    self.ledger().count("kill inside recovery");
                }
                return scheduler.abort();
            }
            // A scheduler never ends by itself in a world whose faults pass.
            _ = scheduler.wait_applied(Offset(u64::MAX)) => {
                let reason = match scheduler.status() {
                    SchedulerStatus::Ended { error } => error.unwrap_or_default(),
                    _ => "it panicked".to_owned(),
                };
                return self.ledger().violate("I8", format!("{} ended by itself: {reason}", process.name));
            }
            () = leads => {}
            () = fulfilled => {}
        }
        if matches!(fate, Fate::KilledAfter(_)) && self.phase() == Phase::Chaos {
            self.ledger().trace(&process.name, "is killed");
            process.kill();
            return scheduler.abort();
        }
        self.ledger().trace(&process.name, "shuts down");
        let shutdown = async {
            tokio::select! {
                biased;
                () = process.death() => Ok(()),
                ended = scheduler.shutdown() => ended,
            }
        };
        match tokio::time::timeout(CALM_MAX, shutdown).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.ledger().violate("I8", format!("{} did not shut down: {error}", process.name)),
            Err(_) => self.ledger().violate("I22", format!("{} does not come to its end", process.name)),
        }
    }

    /// Sets the wall clock to and fro.
    async fn set_clocks(self: Arc<Self>) {
        let max = i64::try_from(self.shared.plan.clock_jump_max.as_millis()).unwrap_or(0);
        while max > 0 && self.phase() == Phase::Chaos {
            tokio::time::sleep(self.ledger().time_below(self.shared.plan.chaos / 3) + LOOK_EVERY).await;
            let offset = self.ledger().draw(|rng| i64::try_from(rng.below(2 * max.unsigned_abs())).unwrap_or(0)) - max;
            self.ledger().count("clock jump");
            self.ledger().trace("clock", format_args!("is {offset} ms off"));
            self.shared.clock.jump_to(offset);
        }
        self.shared.clock.jump_to(0);
    }

    async fn client(&self, name: &str) -> Result<Backend> {
        self.connect(&Arc::new(Process::new(Arc::clone(&self.shared), name.to_owned(), 0))).await
    }

    /// The store and the log as a process reaches them.
    async fn connect(&self, process: &Arc<Process>) -> Result<Backend> {
        let connection = Arc::new(Connection::new(Arc::clone(process)));
        if !self.shared.plan.is_relayed {
            return Ok(Backend::of(connection));
        }
        self.ledger().count("joined store and log");
        loop {
            match RelayedStore::open(Arc::<Connection>::clone(&connection), Arc::<Connection>::clone(&connection)).await
            {
                Ok(joined) => return Ok(Backend::of(Arc::new(joined))),
                Err(error) if error.retry() == Retry::Never => return Err(error),
                Err(_) => tokio::time::sleep(clients::RETRY_PAUSE).await,
            }
        }
    }

    /// Whether nothing will happen any more unless somebody asks for it.
    fn is_at_rest(state: &State) -> bool {
        let rests = |job: &aiflow_core::execution::JobExecution| match job.status {
            _ if job.placement.waiting => true,
            _ if job.held || job.slots.as_ref().is_some_and(|slots| slots.waiting) => true,
            // Streams go on until they are stopped.
            JobStatus::Running | JobStatus::Ready => job.due.is_empty() && job.exceeded.is_none(),
            status => status.is_terminal(),
        };
        let waits = |timer: aiflow_core::timer::Timer| {
            matches!(timer.key, TimerKey::Schedule { .. } | TimerKey::Rule { .. } | TimerKey::Deadline { .. })
        };
        let records = state.records.values().filter(|record| record.key.kind == KIND_FIRING);
        let mut held = records.filter_map(|record| firing_of(record).ok());
        state.cursor == state.head()
            && state.jobs().iter().all(rests)
            && !state.workflows().iter().flat_map(WorkflowState::timers).any(waits)
            && !state.job_states().iter().flat_map(JobState::timers).any(waits)
            // A clock that was set forward lets a timer be late by the time after which it is looked at again.
            && !held.any(|firing| {
                let is_throttled = firing.record.waits.as_ref().is_some_and(|waits| waits.stage == AdmissionStage::Throttle);
                is_throttled || firing.record.timer(firing.id).is_some()
            })
    }

    /// Waits until the world is at rest and has been for a while: jobs that run and are no streams will report.
    async fn come_to_rest(&self, checker: &Checker<'_>) -> Result<State> {
        let started = self.ledger().elapsed();
        let mut progress = self.shared.recorder.progress().await?;
        let mut state = checker.state().await?;
        let mut quiet_since = started;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.ledger().elapsed();
            let latest = self.shared.recorder.progress().await?;
            if latest != progress {
                progress = latest;
                state = checker.state().await?;
                quiet_since = now;
            } else if !Self::is_at_rest(&state) {
                quiet_since = now;
            }
            if now - quiet_since > QUIET || self.ledger().is_broken() {
                return Ok(state);
            }
            if now - started > CALM_MAX {
                let open = state.jobs().into_iter().filter(|job| !job.status.is_terminal());
                let open: Vec<String> = open.map(|job| format!("{} {}", job.attempt_id(), job.status)).collect();
                let message = format!(
                    "after {CALM_MAX:?} of calm the cursor is at {} of {} and these go on: {open:?}",
                    state.cursor,
                    state.head()
                );
                self.ledger().violate("I22", message);
                return Ok(state);
            }
        }
    }

    async fn live_and_check(self: &Arc<Self>, users: Vec<(u32, u32)>, workflows: u32, orders: u32) -> Result<()> {
        let checker = Checker { ledger: self.ledger(), recorder: &self.shared.recorder };
        let mut hosts = JoinSet::new();
        for number in 0..self.shared.plan.hosts {
            hosts.spawn(Arc::clone(self).host(number));
        }
        let clocks = tokio::spawn(Arc::clone(self).set_clocks());
        let mut publishing: JoinSet<Result<Acknowledged>> = JoinSet::new();
        for (number, calls) in users {
            let world = Arc::clone(self);
            publishing.spawn(async move {
                let client = world.client(&format!("user{number}")).await?;
                Ok(clients::user(&client, &world.shared, number, calls).await)
            });
        }
        let world = Arc::clone(self);
        let operating = tokio::spawn(async move {
            let client = world.client("operator").await?;
            for index in 0..workflows {
                let definition = world.ledger().draw(|rng| workload::workflow(rng, index));
                if !workload::is_valid(&definition) {
                    world
                        .ledger()
                        .violate("I8", format!("the workload drew an invalid workflow: {:?}", definition.check()));
                }
                clients::submit(&client, &world.shared, definition, 1).await;
            }
            clients::operator(&client, &world.shared, workflows, orders).await;
            Ok::<(), Error>(())
        });
        tokio::time::sleep(self.shared.plan.chaos).await;
        self.shared.calm_down();
        self.turn_to(Phase::Calm);
        self.ledger().trace("world", "is calm");
        let mut acknowledged = Vec::new();
        while let Some(user) = publishing.join_next().await {
            acknowledged.push(user.map_err(broken)??);
        }
        operating.await.map_err(broken)??;
        clocks.await.map_err(broken)?;
        checker.replay(&checker.state().await?).await?;
        let mut state = self.come_to_rest(&checker).await?;
        if !self.ledger().is_broken() {
            checker.reasons(&state, &self.platforms(), self.shared.clock.now());
            checker.firings(&state, self.shared.clock.now());
        }
        let client = self.client("operator").await?;
        if self.ledger().draw(|rng| rng.chance(30)) && !self.ledger().is_broken() {
            clients::tidy_up(&client, &self.shared).await;
            state = self.come_to_rest(&checker).await?;
        }
        for round in 0..STOP_ROUNDS_MAX {
            if self.ledger().is_broken() || clients::stop_all(&client, &self.shared, round).await == 0 {
                break;
            }
            state = self.come_to_rest(&checker).await?;
        }
        self.check_end(&checker, &state, &acknowledged).await?;
        self.turn_to(Phase::Over);
        while hosts.join_next().await.is_some() {}
        if self.ledger().is_broken() { Ok(()) } else { self.recover_twice(&checker).await }
    }

    /// I14: who takes over what a leader has just taken over, with nothing new in the log, changes nothing.
    async fn recover_twice(&self, checker: &Checker<'_>) -> Result<()> {
        let mut first = None;
        for number in 1..=2 {
            let process = self.boot(format!("successor{number}"));
            let volatile = self.volatile_platform(&process);
            let opened = self.connect(&process).await?;
            let bus = Arc::clone(&opened.bus);
            let scheduler = self.scheduler(&process, &volatile, opened).start()?;
            scheduler.wait_leading().await?;
            scheduler.wait_applied(bus.head().await?.last).await?;
            scheduler.shutdown().await?;
            process.kill();
            volatile.die();
            self.durable.forget();
            let mut state = checker.state().await?;
            // The cursor also says under which epoch it was written; its offset is compared.
            state.records.retain(|key, _| key.kind != KIND_CURSOR);
            let found = (state.cursor, state.head(), state.records);
            if first.as_ref().is_some_and(|first| *first != found) {
                let difference = difference(first.as_ref(), &found);
                self.ledger()
                    .violate("I14", format!("a second recovery changed what the first one left: {difference}"));
            }
            first = Some(found);
        }
        Ok(())
    }

    async fn check_end(&self, checker: &Checker<'_>, state: &State, acknowledged: &[Acknowledged]) -> Result<()> {
        if !self.ledger().is_broken() {
            for execution in state.executions().iter().filter(|execution| !execution.status.is_terminal()) {
                self.ledger().violate(
                    "I22",
                    format!("workflow execution {} was stopped and is {}", execution.id, execution.status),
                );
            }
            checker.reasons(state, &self.platforms(), self.shared.clock.now());
            checker.firings(state, self.shared.clock.now());
        }
        checker.replay(state).await?;
        checker.catch_ups(state);
        checker.scopes(state);
        checker.labels(state);
        checker.acknowledged(state, acknowledged);
        checker.timers(state);
        checker.schedules(state);
        checker.pools(state);
        checker.hosts(state);
        checker.reruns(state);
        checker.effects(&self.effects.all());
        checker.relayed(state);
        checker.why(state, &self.shared.recorder).await?;
        for _ in 0..state.log.len() {
            self.ledger().count("event");
        }
        for _ in state.jobs() {
            self.ledger().count("job execution");
        }
        checker.stale_commits().await
    }
}

/// Position of the leader, end of the log, and records, as a recovery leaves them.
type Recovered = (Offset, Offset, BTreeMap<RecordKey, Record>);

fn difference(before: Option<&Recovered>, after: &Recovered) -> String {
    let Some(before) = before else { return String::new() };
    let keys = before.2.keys().chain(after.2.keys());
    let changed = keys.filter(|key| before.2.get(key) != after.2.get(key)).map(ToString::to_string);
    let changed: BTreeSet<String> = changed.collect();
    format!("cursor {} to {}, head {} to {}, records {changed:?}", before.0, after.0, before.1, after.1)
}

fn broken(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, "simulate", error.to_string())
}

/// Lives through the world of `seed`.
pub(super) async fn live(ledger: Arc<Ledger>, mutation: Option<Mutation>) {
    let plan = ledger.draw(|rng| Plan::draw(rng, mutation));
    let clock = Arc::new(SimClock::new());
    let recorder = Recorder::new(Arc::clone(&ledger), Arc::<SimClock>::clone(&clock), mutation, plan.is_relayed);
    let recorder = Arc::new(recorder);
    let (workflows, orders) = ledger.draw(|rng| (1 + rng.below(3), 2 + rng.below(10)));
    let users = ledger.draw(|rng| 1 + rng.below(3));
    let users = (1..=users).map(|number| (number, ledger.draw(|rng| 1 + rng.below(13))));
    let narrow = |n: u64| u32::try_from(n).unwrap_or(1);
    let users = users.map(|(number, calls)| (narrow(number), narrow(calls))).collect();
    ledger.trace("plan", format_args!("{plan:?}"));
    let shared = Arc::new(Shared::new(Arc::clone(&ledger), plan, recorder, clock));
    let world = Arc::new(World::new(shared));
    let life = world.live_and_check(users, narrow(workflows), narrow(orders));
    tokio::select! {
        biased;
        () = ledger.exhaustion() => ledger.violate("I22", "the world runs in circles"),
        life = tokio::time::timeout(WORLD_MAX, life) => match life {
            Ok(Ok(())) => {}
            Ok(Err(error)) => ledger.violate("I8", format!("the world fell apart: {error}")),
            Err(_) => ledger.violate("I22", format!("the world has not ended after {WORLD_MAX:?}")),
        },
    }
}
