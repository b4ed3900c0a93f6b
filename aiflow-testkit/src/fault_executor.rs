//! Faults of executors: what if a platform is slow, cannot be reached, or does what it is told and the reply is lost?
//!
//! [`FaultyExecutor`] is an executor around an executor. Behind [`RetryingExecutor`], which calls as the scheduler does, it passes the suite
//! of the executor it wraps.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aiflow_core::executor::{
    Executor, ExecutorCapabilities, ExecutorHost, Launch, LogChunk, LogStream, Observation, Signal, StopMode,
    Submission,
};
use aiflow_core::id::AttemptId;
use aiflow_core::{Result, Retry};
use async_trait::async_trait;
use serde_json::Value;

use crate::fault::{FaultPlan, Faults};
use crate::retrying::{TRIES_MAX, is_passing, repeat};
use crate::{Behaviour, ExecutorFixture};

/// An executor with faults in every call that a scheduler makes about attempts.
#[derive(Debug)]
pub struct FaultyExecutor {
    inner: Arc<dyn Executor>,
    faults: Faults,
}

impl FaultyExecutor {
    /// Wraps `inner`; everything that succeeds is its work.
    #[must_use]
    pub fn new(inner: Arc<dyn Executor>, plan: FaultPlan) -> Self {
        let faults = Faults::new(plan);
        Self { inner, faults }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Executor for FaultyExecutor {
    async fn attach(&self, host: ExecutorHost) -> Result<()> {
        self.inner.attach(host).await
    }
    async fn submit(&self, launch: Launch) -> Result<Submission> {
        self.faults.write("submit", self.inner.submit(launch)).await
    }
    async fn observe(&self, attempts: &[AttemptId]) -> Result<Vec<Observation>> {
        self.faults.read("observe", self.inner.observe(attempts)).await
    }
    async fn stop(&self, attempt: AttemptId, mode: StopMode) -> Result<()> {
        self.faults.write("stop", self.inner.stop(attempt, mode)).await
    }
    async fn signal(&self, attempt: AttemptId, signal: Signal) -> Result<()> {
        let call = self.inner.signal(attempt, signal);
        self.faults.write("signal", call).await
    }
    async fn logs(&self, attempt: AttemptId, stream: LogStream, from: u64, bytes_max: usize) -> Result<LogChunk> {
        let call = self.inner.logs(attempt, stream, from, bytes_max);
        self.faults.read("logs", call).await
    }
    fn log_location(&self, attempt: AttemptId) -> Option<String> {
        self.inner.log_location(attempt)
    }
    fn capabilities(&self) -> ExecutorCapabilities {
        self.inner.capabilities()
    }
    async fn shutdown(&self) -> Result<()> {
        self.inner.shutdown().await
    }
}

/// The attempts of which a caller was told that its call submitted them.
type Told = Arc<Mutex<BTreeSet<AttemptId>>>;

/// A caller that makes each call again until it is answered, as the scheduler does.
///
/// Of the callers whose first reply may have been lost, the first that hears of it is told that it submitted the attempt: one is, and no other.
#[derive(Debug)]
pub struct RetryingExecutor {
    inner: Arc<dyn Executor>,
    told: Told,
}

impl RetryingExecutor {
    /// Stands before `inner`, which knows no attempt yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Executor>) -> Self {
        Self { inner, told: Told::default() }
    }

    fn answer(&self, attempt: AttemptId, submission: Submission, is_in_doubt: bool) -> Submission {
        let may_be_mine = submission == Submission::Submitted || is_in_doubt;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if may_be_mine && told.insert(attempt) { Submission::Submitted } else { Submission::AlreadySubmitted }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Executor for RetryingExecutor {
    async fn attach(&self, host: ExecutorHost) -> Result<()> {
        self.inner.attach(host).await
    }

    async fn submit(&self, launch: Launch) -> Result<Submission> {
        let attempt = launch.attempt;
        let mut is_in_doubt = false;
        let mut tries = 1;
        loop {
            match self.inner.submit(launch.clone()).await {
                Ok(submission) => return Ok(self.answer(attempt, submission, is_in_doubt)),
                Err(error) if is_passing(&error) && tries < TRIES_MAX => {
                    is_in_doubt |= error.retry() == Retry::AfterReadBack;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
            tokio::task::yield_now().await;
        }
    }

    async fn observe(&self, attempts: &[AttemptId]) -> Result<Vec<Observation>> {
        repeat(|| self.inner.observe(attempts)).await
    }

    async fn stop(&self, attempt: AttemptId, mode: StopMode) -> Result<()> {
        repeat(|| self.inner.stop(attempt, mode)).await
    }

    async fn signal(&self, attempt: AttemptId, signal: Signal) -> Result<()> {
        repeat(|| self.inner.signal(attempt, signal.clone())).await
    }

    async fn logs(&self, attempt: AttemptId, stream: LogStream, from: u64, bytes_max: usize) -> Result<LogChunk> {
        repeat(|| self.inner.logs(attempt, stream, from, bytes_max)).await
    }

    fn log_location(&self, attempt: AttemptId) -> Option<String> {
        self.inner.log_location(attempt)
    }

    fn capabilities(&self) -> ExecutorCapabilities {
        self.inner.capabilities()
    }

    async fn shutdown(&self) -> Result<()> {
        self.inner.shutdown().await
    }
}

/// Runs the suite of an executor through faults; says the seed when a case fails.
///
/// Where the plan has errors, a [`RetryingExecutor`] stands before them.
pub struct FaultyExecutorFixture<F> {
    inner: F,
    plan: FaultPlan,
    told: Told,
}

impl<F: ExecutorFixture> FaultyExecutorFixture<F> {
    /// Wraps the executors of `inner`.
    #[must_use]
    pub fn new(inner: F, plan: FaultPlan) -> Self {
        Self { inner, plan, told: Told::default() }
    }

    fn wrap(&self, executor: Arc<dyn Executor>) -> Arc<dyn Executor> {
        let faulty = Arc::new(FaultyExecutor::new(executor, self.plan));
        if self.plan.can_fail() {
            // What was told before a restart stays told.
            Arc::new(RetryingExecutor { inner: faulty, told: Arc::clone(&self.told) })
        } else {
            faulty
        }
    }
}

impl<F> fmt::Debug for FaultyExecutorFixture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyExecutorFixture").field("plan", &self.plan).finish_non_exhaustive()
    }
}

#[async_trait]
impl<F: ExecutorFixture> ExecutorFixture for FaultyExecutorFixture<F> {
    async fn open(&self) -> Arc<dyn Executor> {
        self.wrap(self.inner.open().await)
    }
    async fn restart(&self) -> Option<Arc<dyn Executor>> {
        self.inner.restart().await.map(|executor| self.wrap(executor))
    }
    fn spec(&self, behaviour: Behaviour) -> Value {
        self.inner.spec(behaviour)
    }
    fn starts(&self, attempt: AttemptId) -> u32 {
        self.inner.starts(attempt)
    }
}

impl<F> Drop for FaultyExecutorFixture<F> {
    fn drop(&mut self) {
        self.plan.tell_seed_of_a_failure();
    }
}
