//! Executors of a world: which attempts run, how do they end, and what does the scheduler hear of it?
//!
//! A [`Platform`] runs attempts in virtual time. A durable one belongs to the world and survives every process; a volatile one belongs to a
//! process and dies with it. A [`SimExecutor`] is how one process reaches a platform.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aiflow_core::bus::EventBus;
use aiflow_core::executor::{
    Ending, Executor, ExecutorCapabilities, ExecutorHost, JobEventLine, Launch, LogChunk, LogStream, Observation,
    Report, ReportKind, Signal, StopMode, Submission, TimeLimit,
};
use aiflow_core::id::AttemptId;
use aiflow_core::time::Clock as _;
use aiflow_core::{Error, ErrorKind, Result, Retry};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::faults::Mutation;
use super::process::{Process, Shared};

/// Name of the executor whose attempts survive their scheduler.
pub(super) const DURABLE: &str = "durable";
/// Name of the executor whose attempts die with their scheduler.
pub(super) const VOLATILE: &str = "volatile";

/// What a job does, as its `spec` says.
#[derive(Debug, Clone, Default)]
pub(super) struct Behaviour {
    /// How long it works.
    pub(super) millis: u64,
    /// So many attempts fail first.
    pub(super) fails_first: u32,
    /// It fails for good in the end.
    pub(super) fails: bool,
    /// So many events it publishes.
    pub(super) events: u32,
    /// Key of these events.
    pub(super) key: String,
    /// It goes on when it is asked to stop, until it is killed.
    pub(super) ignores_stop: bool,
    /// It says that it is ready and never ends by itself.
    pub(super) streams: bool,
    /// It cannot be run at all.
    pub(super) is_invalid: bool,
    /// Its n-th attempt says where to go on so many times, and expects what the last one said.
    pub(super) checkpoints: u32,
    /// What it makes of a value that is handed to it: `take`, `drop`, or nothing is handed over at all.
    pub(super) signals: String,
}

impl Behaviour {
    pub(super) fn to_spec(&self) -> Value {
        json!({
            "millis": self.millis, "fails_first": self.fails_first, "fails": self.fails, "events": self.events, "key": self.key,
            "ignores_stop": self.ignores_stop, "streams": self.streams, "is_invalid": self.is_invalid,
            "checkpoints": self.checkpoints, "signals": self.signals,
        })
    }

    pub(super) fn of_spec(spec: &Value) -> Self {
        let number = |name: &str| spec.get(name).and_then(Value::as_u64).unwrap_or_default();
        let is = |name: &str| spec.get(name).and_then(Value::as_bool).unwrap_or_default();
        let text = |name: &str| spec.get(name).and_then(Value::as_str).unwrap_or_default();
        Self {
            millis: number("millis"),
            fails_first: u32::try_from(number("fails_first")).unwrap_or(u32::MAX),
            fails: is("fails"),
            events: u32::try_from(number("events")).unwrap_or(u32::MAX),
            key: text("key").to_owned(),
            ignores_stop: is("ignores_stop"),
            streams: is("streams"),
            is_invalid: is("is_invalid"),
            checkpoints: u32::try_from(number("checkpoints")).unwrap_or(u32::MAX),
            signals: text("signals").to_owned(),
        }
    }
}

/// What the outside world saw of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) attempt: AttemptId,
    pub(super) is_durable: bool,
    pub(super) started_at: Duration,
    pub(super) ended_at: Option<Duration>,
}

/// Every start and end of user code, whoever caused it.
#[derive(Debug, Default)]
pub(super) struct Effects(Mutex<Vec<Effect>>);

impl Effects {
    fn lock(&self) -> MutexGuard<'_, Vec<Effect>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, attempt: AttemptId, is_durable: bool, at: Duration) -> usize {
        let mut effects = self.lock();
        effects.push(Effect { attempt, is_durable, started_at: at, ended_at: None });
        effects.len() - 1
    }

    fn end(&self, number: usize, at: Duration) {
        if let Some(effect) = self.lock().get_mut(number) {
            effect.ended_at.get_or_insert(at);
        }
    }

    pub(super) fn all(&self) -> Vec<Effect> {
        self.lock().clone()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Queued,
    Running { is_ready: bool },
    Ended(Ending),
}

#[derive(Debug)]
struct Attempt {
    launch: Launch,
    phase: Phase,
    effect: Option<usize>,
    stop: Option<StopMode>,
    /// Attempt and number of the checkpoint that it said last.
    said: Option<(u64, u64)>,
    stop_asked: Arc<Notify>,
}

/// Runs attempts.
pub(super) struct Platform {
    shared: Arc<Shared>,
    effects: Arc<Effects>,
    is_durable: bool,
    name: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    attempts: BTreeMap<AttemptId, Attempt>,
    /// Attempts that were told to stop before they came: they are not started any more.
    unwanted: BTreeSet<AttemptId>,
    /// Who hears reports, oldest first.
    hosts: Vec<(Arc<Process>, ExecutorHost)>,
    tasks: JoinSet<()>,
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Platform {
    pub(super) fn new(shared: Arc<Shared>, effects: Arc<Effects>, name: String, is_durable: bool) -> Self {
        Self { shared, effects, is_durable, name, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.shared.ledger.elapsed()
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.shared.plan.mutation == Some(mutation)
    }

    fn trace(&self, what: impl fmt::Display) {
        self.shared.ledger.trace(&self.name, what);
    }

    /// Everything on it dies at once.
    pub(super) fn die(&self) {
        let mut inner = self.lock();
        inner.tasks.abort_all();
        for attempt in inner.attempts.values_mut() {
            if let Some(effect) = attempt.effect {
                self.effects.end(effect, self.now());
            }
            attempt.phase = Phase::Ended(Ending::Stopped);
        }
    }

    /// The mutation of a platform that only claims to survive.
    pub(super) fn forget(&self) {
        if self.is(Mutation::ExecutorForgets) {
            self.lock().attempts.clear();
        }
    }

    /// Attempts that are accepted and have not ended.
    pub(super) fn live(&self) -> Vec<AttemptId> {
        let inner = self.lock();
        let live = inner.attempts.iter().filter(|(_, attempt)| !matches!(attempt.phase, Phase::Ended(_)));
        live.map(|(id, _)| *id).collect()
    }

    pub(super) fn is_ready(&self, id: AttemptId) -> bool {
        let inner = self.lock();
        inner.attempts.get(&id).is_some_and(|attempt| attempt.phase == Phase::Running { is_ready: true })
    }

    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut inner = self.lock();
        while inner.tasks.try_join_next().is_some() {}
        inner.tasks.spawn(task);
    }

    fn accept(self: &Arc<Self>, launch: Launch) -> Submission {
        let id = launch.attempt;
        let stop_asked = Arc::new(Notify::new());
        {
            let mut inner = self.lock();
            if inner.attempts.contains_key(&id) && !self.is(Mutation::ExecutorStartsTwice) {
                return Submission::AlreadySubmitted;
            }
            let stop = inner.unwanted.contains(&id).then_some(StopMode::Kill);
            self.check_checkpoint(&launch, &inner);
            let attempt = Attempt { said: None, launch, phase: Phase::Queued, effect: None, stop, stop_asked };
            inner.attempts.insert(id, attempt);
        }
        self.trace(format_args!("accepts {id}"));
        let platform = Arc::clone(self);
        self.spawn(async move { platform.run(id).await });
        Submission::Submitted
    }

    fn request_stop(&self, id: AttemptId, mode: StopMode) {
        let mut inner = self.lock();
        match inner.attempts.get_mut(&id) {
            Some(attempt) => {
                if attempt.stop != Some(StopMode::Kill) {
                    attempt.stop = Some(mode);
                }
                attempt.stop_asked.notify_one();
            }
            None => {
                inner.unwanted.insert(id);
            }
        }
    }

    /// Hands a value to a running attempt, which takes it a moment later, or never.
    fn hand_over(self: &Arc<Self>, id: AttemptId, signal: Signal) -> Result<()> {
        let running = self.read(id, |attempt| match attempt.phase {
            Phase::Running { .. } => Some(Behaviour::of_spec(&attempt.launch.spec).signals),
            Phase::Queued | Phase::Ended(_) => None,
        });
        match running.flatten().as_deref() {
            Some("take") => {
                let (platform, delay) = (Arc::clone(self), self.shared.ledger.time_below(Duration::from_millis(800)));
                self.spawn(async move {
                    tokio::time::sleep(delay).await;
                    let kind = ReportKind::Acknowledged { signal: signal.id };
                    platform.publish(Report { attempt: id, at: platform.shared.clock.now(), kind }.into_event()).await;
                });
            }
            Some("drop") | None => {}
            Some(_) => return Err(Error::new(ErrorKind::Unsupported, "signal", "this job takes no values")),
        }
        Ok(())
    }

    /// P8: an attempt begins where the one before it said.
    fn check_checkpoint(&self, launch: &Launch, inner: &Inner) {
        let id = launch.attempt;
        let before = inner.attempts.range(AttemptId::new(id.job_execution, 0)..id);
        let Some(said) = before.filter_map(|(_, attempt)| attempt.said).max().filter(|_| self.is_durable) else {
            return;
        };
        let number = |name: &str| launch.checkpoint.as_ref()?.get(name)?.as_u64();
        let given = number("attempt").zip(number("number"));
        if given.is_none_or(|given| given < said) {
            self.shared.ledger.violate("P8", format!("attempt {id} is to go on at {given:?}, and {said:?} was said"));
        }
    }

    fn observe(&self, id: AttemptId) -> Observation {
        match self.lock().attempts.get(&id).map(|attempt| &attempt.phase) {
            None => Observation::NotFound,
            Some(Phase::Queued) => Observation::Queued,
            Some(Phase::Running { .. }) => Observation::Running,
            Some(Phase::Ended(ending)) => Observation::Ended(ending.clone()),
        }
    }

    /// From the queue to the end.
    async fn run(self: Arc<Self>, id: AttemptId) {
        let queued = self.shared.ledger.time_below(self.shared.plan.executor.delay_max);
        self.unless_stopped(id, tokio::time::sleep(queued)).await;
        let Some((launch, stop)) = self.read(id, |attempt| (attempt.launch.clone(), attempt.stop)) else {
            return;
        };
        if stop.is_some() {
            return self.end(id, Ending::Stopped).await;
        }
        let behaviour = Behaviour::of_spec(&launch.spec);
        let effect = self.effects.start(id, self.is_durable, self.now());
        self.trace(format_args!("starts {id}"));
        self.change(id, |attempt| {
            attempt.effect = Some(effect);
            attempt.phase = Phase::Running { is_ready: false };
        });
        self.report(id, ReportKind::started()).await;
        let limit = match launch.timeout {
            Some(timeout) if self.shared.plan.executor.enforces_timeout => timeout,
            _ => Duration::MAX,
        };
        let work = self.work(id, &launch, &behaviour);
        let ending = match tokio::time::timeout(limit, self.unless_stopped(id, work)).await {
            Err(_) => Ending::TimedOut { limit: TimeLimit::Run },
            Ok(Some(ending)) => ending,
            Ok(None) => self.wind_up(id, &launch, &behaviour).await,
        };
        if self.is(Mutation::ExecutorKeepsSilent) && self.shared.ledger.strikes("mutation", 20) {
            pending::<()>().await;
        }
        self.end(id, ending).await;
    }

    /// The answer of `work`, or `None` as soon as the attempt is told to stop.
    async fn unless_stopped<T>(&self, id: AttemptId, work: impl Future<Output = T>) -> Option<T> {
        let asked = self.read(id, |attempt| (Arc::clone(&attempt.stop_asked), attempt.stop.is_some()))?;
        if asked.1 {
            return None;
        }
        tokio::select! {
            biased;
            () = asked.0.notified() => None,
            answer = work => Some(answer),
        }
    }

    async fn work(&self, id: AttemptId, launch: &Launch, behaviour: &Behaviour) -> Ending {
        for number in 1..=u64::from(behaviour.checkpoints) {
            let labels = BTreeMap::from([("at".to_owned(), Some(format!("{}.{number}", id.attempt)))]);
            let kind = ReportKind::Labels { number, labels };
            self.publish(Report { attempt: id, at: self.shared.clock.now(), kind }.into_event()).await;
            let value = json!({ "attempt": id.attempt, "number": number });
            let kind = ReportKind::Checkpoint { number, value };
            self.publish(Report { attempt: id, at: self.shared.clock.now(), kind }.into_event()).await;
            self.change(id, |attempt| attempt.said = Some((id.attempt.into(), number)));
        }
        let pieces = behaviour.events + 1;
        for line in 1..=behaviour.events {
            tokio::time::sleep(Duration::from_millis(behaviour.millis / u64::from(pieces))).await;
            let event = JobEventLine {
                key: behaviour.key.clone(),
                value: json!(line),
                event_type: None,
                namespace: None,
                broadcast: line.is_multiple_of(2),
                contexts: BTreeSet::new(),
            };
            self.publish(event.into_event(&launch.identity(), u64::from(line))).await;
        }
        tokio::time::sleep(Duration::from_millis(behaviour.millis / u64::from(pieces))).await;
        if behaviour.streams && id.attempt <= behaviour.fails_first {
            return Ending::failed("the stream broke");
        }
        if behaviour.streams {
            self.change(id, |attempt| attempt.phase = Phase::Running { is_ready: true });
            self.report(id, ReportKind::Ready).await;
            pending::<()>().await;
        }
        if self.shared.strikes("attempt lost", self.shared.plan.executor.lost_percent) {
            let message = "its machine died".to_owned();
            Ending::Lost { message }
        } else if behaviour.fails || id.attempt <= behaviour.fails_first {
            // Exit codes from 70 on, the others kinds of errors.
            let (exit_code, kind) = match id.attempt % 2 {
                0 => (None, Some(format!("io.{}", id.attempt))),
                _ => (Some(70), None),
            };
            Ending::Failed { message: "as it was told".to_owned(), exit_code, kind, retryable: true }
        } else {
            let output = json!(id.to_string());
            Ending::Succeeded { output }
        }
    }

    /// How an attempt ends that was told to stop.
    async fn wind_up(&self, id: AttemptId, launch: &Launch, behaviour: &Behaviour) -> Ending {
        let is_graceful = self.read(id, |attempt| attempt.stop == Some(StopMode::Graceful)).unwrap_or_default();
        if is_graceful {
            let grace = if behaviour.ignores_stop {
                launch.stop_grace
            } else {
                self.shared.ledger.time_below(launch.stop_grace)
            };
            let asked = self.read(id, |attempt| Arc::clone(&attempt.stop_asked));
            tokio::select! {
                biased;
                () = async { match asked { Some(asked) => asked.notified().await, None => pending().await } } => {}
                () = tokio::time::sleep(grace) => {}
            }
        }
        // The end came by itself at the same moment, now and then.
        match self.shared.ledger.draw(|rng| rng.below(6)) {
            0 if !behaviour.streams => Ending::Succeeded { output: Value::Null },
            1 => Ending::failed("interrupted"),
            _ => Ending::Stopped,
        }
    }

    async fn end(self: &Arc<Self>, id: AttemptId, ending: Ending) {
        self.trace(format_args!("ends {id}: {}", name_of(&ending)));
        self.change(id, |attempt| {
            if let Some(effect) = attempt.effect {
                self.effects.end(effect, self.now());
            }
            attempt.phase = Phase::Ended(ending.clone());
        });
        self.report(id, ReportKind::Ended(ending)).await;
    }

    fn read<T>(&self, id: AttemptId, read: impl FnOnce(&Attempt) -> T) -> Option<T> {
        self.lock().attempts.get(&id).map(read)
    }

    fn change(&self, id: AttemptId, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.lock().attempts.get_mut(&id) {
            change(attempt);
        }
    }

    /// Reports to whoever attached; late, twice and out of order where the plan says so.
    async fn report(&self, id: AttemptId, kind: ReportKind) {
        let faults = &self.shared.plan.executor;
        let times = if self.shared.strikes("report twice", faults.report_twice_percent) { 2 } else { 1 };
        for _ in 0..times {
            let hosts = self.listeners();
            let report = Report { attempt: id, at: self.shared.clock.now(), kind: kind.clone() };
            if self.shared.strikes("report late", faults.report_late_percent) {
                let delay = self.shared.ledger.time_below(Duration::from_secs(3));
                self.shared.spawn(async move {
                    tokio::time::sleep(delay).await;
                    deliver(hosts, report).await;
                });
                // Who attaches meanwhile observes what this report says.
                continue;
            }
            deliver(hosts, report).await;
        }
    }

    fn listeners(&self) -> Vec<ExecutorHost> {
        let inner = self.lock();
        let alive = inner.hosts.iter().filter(|(process, _)| !process.is_dead());
        let mut hosts: Vec<ExecutorHost> = alive.map(|(_, host)| host.clone()).collect();
        if !self.shared.plan.executor.reports_to_all {
            hosts.drain(..hosts.len().saturating_sub(1));
        }
        hosts
    }

    /// Publishes an event of a job: on its own connection if it survives processes, else on that of its process.
    async fn publish(&self, event: aiflow_core::event::NewEvent) {
        loop {
            let bus: Arc<dyn EventBus> = if self.is_durable {
                Arc::<super::recorder::Recorder>::clone(&self.shared.recorder)
            } else {
                match self.lock().hosts.last() {
                    Some((_, host)) => Arc::clone(&host.bus),
                    None => return,
                }
            };
            match bus.publish(vec![event.clone()]).await {
                Ok(_) => return,
                Err(error) if error.retry() == Retry::Never => {
                    return self.shared.ledger.violate("I6", format!("the event of a job was refused: {error}"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

async fn deliver(hosts: Vec<ExecutorHost>, report: Report) {
    for host in hosts {
        // A scheduler that is gone asks when it comes back.
        let _ = host.reporter.report(report.clone()).await;
    }
}

fn name_of(ending: &Ending) -> &'static str {
    match ending {
        Ending::Succeeded { .. } => "succeeded",
        Ending::Failed { .. } => "failed",
        Ending::Stopped => "stopped",
        Ending::TimedOut { .. } => "timed out",
        Ending::Lost { .. } => "lost",
    }
}

/// A platform as one process reaches it.
#[derive(Debug)]
pub(super) struct SimExecutor {
    pub(super) process: Arc<Process>,
    pub(super) platform: Arc<Platform>,
}

impl SimExecutor {
    fn fault(&self, call: &'static str) -> Result<()> {
        let shared = &self.process.shared;
        if shared.strikes("executor unavailable", shared.plan.executor.unavailable_percent) {
            return Err(Error::new(ErrorKind::Unavailable, call, "a fault on purpose"));
        }
        Ok(())
    }

    fn reply<T>(&self, call: &'static str, answer: T) -> Result<T> {
        let shared = &self.process.shared;
        if shared.strikes("executor reply lost", shared.plan.executor.reply_lost_percent) {
            return Err(Error::new(ErrorKind::OutcomeUnknown, call, "a fault on purpose"));
        }
        Ok(answer)
    }
}

#[async_trait]
impl Executor for SimExecutor {
    async fn attach(&self, host: ExecutorHost) -> Result<()> {
        self.process.pass("attach").await;
        self.fault("attach")?;
        let ready: Vec<AttemptId> = {
            let mut inner = self.platform.lock();
            inner.hosts.retain(|(process, _)| !process.is_dead() && !Arc::ptr_eq(process, &self.process));
            inner.hosts.push((Arc::clone(&self.process), host));
            // Stable: of one epoch, which only a test of defects lets two hosts have, the last one counts.
            inner.hosts.sort_by_key(|(_, host)| host.epoch);
            let ready = |attempt: &&Attempt| attempt.phase == Phase::Running { is_ready: true };
            inner.attempts.values().filter(ready).map(|attempt| attempt.launch.attempt).collect()
        };
        // That a job is ready cannot be observed, so it is said again.
        let platform = Arc::clone(&self.platform);
        self.platform.spawn(async move {
            for id in ready {
                platform.report(id, ReportKind::Ready).await;
            }
        });
        Ok(())
    }

    async fn submit(&self, launch: Launch) -> Result<Submission> {
        self.process.pass("submit").await;
        self.fault("submit")?;
        let shared = &self.process.shared;
        if Behaviour::of_spec(&launch.spec).is_invalid {
            return Err(Error::invalid("submit", "the job cannot be run"));
        }
        if self.platform.is_durable && shared.strikes("submission under way", shared.plan.executor.late_percent) {
            let delay = shared.ledger.time_below(Duration::from_secs(2));
            let platform = Arc::clone(&self.platform);
            shared.spawn(async move {
                tokio::time::sleep(delay).await;
                platform.accept(launch);
            });
            return Err(Error::new(ErrorKind::OutcomeUnknown, "submit", "the request is still under way"));
        }
        let answer = self.platform.accept(launch);
        self.process.pass("submit done").await;
        self.reply("submit", answer)
    }

    async fn observe(&self, attempts: &[AttemptId]) -> Result<Vec<Observation>> {
        self.process.pass("observe").await;
        self.fault("observe")?;
        let shared = &self.process.shared;
        let observe = |id: &AttemptId| {
            if self.platform.is_durable
                && shared.strikes("platform cannot say", shared.plan.executor.cannot_say_percent)
            {
                Observation::Unknown
            } else {
                self.platform.observe(*id)
            }
        };
        Ok(attempts.iter().map(observe).collect())
    }

    async fn stop(&self, attempt: AttemptId, mode: StopMode) -> Result<()> {
        self.process.pass("stop").await;
        self.fault("stop")?;
        self.platform.request_stop(attempt, mode);
        self.reply("stop", ())
    }

    async fn signal(&self, attempt: AttemptId, signal: Signal) -> Result<()> {
        self.process.pass("signal").await;
        self.fault("signal")?;
        self.platform.hand_over(attempt, signal)?;
        self.reply("signal", ())
    }

    async fn logs(&self, _attempt: AttemptId, _stream: LogStream, _from: u64, _bytes_max: usize) -> Result<LogChunk> {
        Err(Error::new(ErrorKind::Unsupported, "logs", "jobs of a simulated world write nothing"))
    }

    fn capabilities(&self) -> ExecutorCapabilities {
        let capabilities = ExecutorCapabilities::default().graceful_stop().signals();
        if self.platform.is_durable { capabilities.survives_host() } else { capabilities }
    }

    async fn shutdown(&self) -> Result<()> {
        self.process.pass("shutdown").await;
        if !self.platform.is_durable {
            self.platform.die();
        }
        Ok(())
    }
}
