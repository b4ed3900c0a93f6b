//! Admission: when may a start that a rule, a schedule or a person asked for really take place?
//!
//! Admission comes after the firing and never loses it: a firing ends in an execution, or in a record that says why not. A start passes
//! the stages in the order of the fields of [`Admission`]; each one decides per *key*, the values of some parameters of the start.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Diagnostic;
use super::{OverlapPolicy, millis, millis_option};
use crate::execution::{POOL_SLOTS_MAX, PoolUse};
use crate::id::PoolName;

/// The most starts that a rate counts.
pub const RATE_STARTS_MAX: u32 = 1_000;
/// The most firings that are joined into one start.
pub const BATCH_FIRINGS_MAX: u32 = 1_000;
/// The name that stands for the named context of a workflow execution among the parameters that form a key: `per(["@context"])`.
pub const CONTEXT_KEY: &str = "@context";
/// The most firings that wait at one stage under one key. What comes on top is dropped, and recorded.
pub const WAITING_PER_KEY_MAX: usize = 10_000;
/// The most parameters that form a key.
const KEY_PARAMS_MAX: usize = 8;

/// How starts of a workflow or a job are admitted. Without any stage, each start takes place at once.
///
/// On a workflow it concerns every start: by rules, by schedules, by hand. On a job it concerns what its rules and schedules fire; a start
/// with the workflow execution and one by hand take place at once.
///
/// ```
/// # use std::time::Duration;
/// use aiflow_core::workflow::{Admission, Rate};
///
/// // At most ten starts an hour for each model; a burst of new data starts one training; four at a time.
/// let admission = Admission::new()
///     .rate_limit(Rate::of(10, Duration::from_secs(3600)).per(["model"]))
///     .debounce(Duration::from_secs(30), Some(Duration::from_secs(300)))
///     .concurrency(4);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    /// Drops a start whose key was seen before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// Drops starts that come too often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<Rate>,
    /// Waits for quiet, and starts once for the last firing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debounce: Option<Debounce>,
    /// Joins several firings into one start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchOf>,
    /// Queues starts that come too often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Rate>,
    /// At most so many executions at once. Workflows only: a workflow execution has one live execution of a job at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// What becomes of a start that meets as many live executions as `concurrency` allows (one, if it is not set). Without it, starts of a
    /// workflow wait if `concurrency` is set. Of a job: what becomes of a START that finds the job live in its workflow execution; without
    /// it, the START does nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<OverlapPolicy>,
    /// The slots that an attempt takes. Jobs only. It concerns every attempt, whatever started the job: while there are not enough slots, the
    /// job execution waits as `INIT` (or `RETRYING`), and gives its slots back between attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolUse>,
    /// Of those that wait, a higher one goes first; those of the same priority go in the order of their firings.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// Drops a start if another one with the same key was admitted within `window`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    /// The parameters that form the key; must not be empty.
    pub key: Vec<String>,
    /// How long a key is remembered, in milliseconds.
    #[serde(with = "millis", rename = "window_ms")]
    pub window: Duration,
}

/// At most `starts` in any stretch of time of length `per`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many; 1 to [`RATE_STARTS_MAX`].
    pub starts: u32,
    /// In which time, in milliseconds. The stretch is open at its beginning: a start exactly so long ago does not count.
    #[serde(with = "millis", rename = "per_ms")]
    pub per: Duration,
    /// The parameters that form the key; all starts together if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
}

/// Waits until no firing came for `quiet`, and starts for the last one; those before it are recorded as replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debounce {
    /// How long no firing must have come, in milliseconds.
    #[serde(with = "millis", rename = "quiet_ms")]
    pub quiet: Duration,
    /// The longest wait since the first firing, in milliseconds; without it, a steady stream of firings never starts anything.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "longest_ms")]
    pub longest: Option<Duration>,
    /// The parameters that form the key; all firings together if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
}

/// Joins firings into one start, which is caused by the events of all of them and carries the parameters of the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchOf {
    /// A batch is complete with so many firings; 1 to [`BATCH_FIRINGS_MAX`].
    pub firings: u32,
    /// An incomplete batch starts so long after its first firing, in milliseconds.
    #[serde(with = "millis", rename = "within_ms")]
    pub within: Duration,
    /// The parameters that form the key; all firings together if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
}

/// At most so many executions at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// How many; at least 1.
    pub executions: u32,
    /// The parameters that form the key; all executions together if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
}

impl Rate {
    /// At most `starts` in any stretch of time of length `per`.
    #[must_use]
    pub fn of(starts: u32, per: Duration) -> Self {
        Self { starts, per, key: Vec::new() }
    }

    /// Counts separately for each combination of values of these parameters.
    #[must_use]
    pub fn per<P: Into<String>>(mut self, params: impl IntoIterator<Item = P>) -> Self {
        self.key = params.into_iter().map(Into::into).collect();
        self
    }
}

impl Admission {
    /// Everything is admitted at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it has no stage at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Drops a start if one with the same values of these parameters was admitted within `window`.
    #[must_use]
    pub fn once_per<P: Into<String>>(mut self, params: impl IntoIterator<Item = P>, window: Duration) -> Self {
        self.idempotency = Some(Idempotency { key: params.into_iter().map(Into::into).collect(), window });
        self
    }

    /// Drops starts beyond this rate.
    #[must_use]
    pub fn rate_limit(mut self, rate: Rate) -> Self {
        self.rate_limit = Some(rate);
        self
    }

    /// Waits until no firing came for `quiet`, at most `longest` since the first, and starts for the last one.
    #[must_use]
    pub fn debounce(mut self, quiet: Duration, longest: Option<Duration>) -> Self {
        let key = self.debounce.map(|debounce| debounce.key).unwrap_or_default();
        self.debounce = Some(Debounce { quiet, longest, key });
        self
    }

    /// Joins `firings` firings, or as many as come `within` a time, into one start.
    #[must_use]
    pub fn batch(mut self, firings: u32, within: Duration) -> Self {
        let key = self.batch.map(|batch| batch.key).unwrap_or_default();
        self.batch = Some(BatchOf { firings, within, key });
        self
    }

    /// Queues starts beyond this rate.
    #[must_use]
    pub fn throttle(mut self, rate: Rate) -> Self {
        self.throttle = Some(rate);
        self
    }

    /// Lets at most `executions` be live at once.
    #[must_use]
    pub fn concurrency(mut self, executions: u32) -> Self {
        let key = self.concurrency.map(|concurrency| concurrency.key).unwrap_or_default();
        self.concurrency = Some(Concurrency { executions, key });
        self
    }

    /// Says what becomes of a start that meets as many live executions as are allowed.
    #[must_use]
    pub fn overlap(mut self, policy: OverlapPolicy) -> Self {
        self.overlap = Some(policy);
        self
    }

    /// Lets each attempt of the job take `weight` slots of a [`Pool`](crate::execution::Pool).
    #[must_use]
    pub fn pool(mut self, pool: PoolName, weight: u32) -> Self {
        self.pool = Some(PoolUse { pool, weight });
        self
    }

    /// Of those that wait, a higher one goes first.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Lets the stages that were set so far (but not the idempotency key) decide separately for each combination of values of these
    /// parameters.
    #[must_use]
    pub fn per<P: Into<String>>(mut self, params: impl IntoIterator<Item = P>) -> Self {
        let params: Vec<String> = params.into_iter().map(Into::into).collect();
        let keys = [
            self.rate_limit.as_mut().map(|rate| &mut rate.key),
            self.debounce.as_mut().map(|debounce| &mut debounce.key),
            self.batch.as_mut().map(|batch| &mut batch.key),
            self.throttle.as_mut().map(|rate| &mut rate.key),
            self.concurrency.as_mut().map(|concurrency| &mut concurrency.key),
        ];
        for key in keys.into_iter().flatten() {
            key.clone_from(&params);
        }
        self
    }

    /// Whether it has a stage that may hold or drop a firing of a job.
    pub(crate) fn holds_firings(&self) -> bool {
        self.idempotency.is_some()
            || self.rate_limit.is_some()
            || self.debounce.is_some()
            || self.batch.is_some()
            || self.throttle.is_some()
            || self.overlap.is_some()
    }

    /// The limit of executions at once, if there is one: as set, or one if only an overlap policy is.
    pub(crate) fn executions_max(&self) -> Option<u32> {
        match (&self.concurrency, self.overlap) {
            (Some(concurrency), _) => Some(concurrency.executions),
            (None, Some(policy)) if policy != OverlapPolicy::AllowAll => Some(1),
            (None, _) => None,
        }
    }

    /// What is wrong with it.
    pub(super) fn check(&self, path: &str, is_job: bool, found: &mut Vec<Diagnostic>) {
        let mut say = |message: String| found.push(Diagnostic::new(format!("{path}, admission"), message));
        if let Some(Idempotency { key, window }) = &self.idempotency {
            if key.is_empty() {
                say("the idempotency key needs at least one parameter".to_owned());
            }
            if window.is_zero() {
                say("the window of the idempotency key must be at least 1 ms".to_owned());
            }
        }
        for (name, rate) in [("rate_limit", &self.rate_limit), ("throttle", &self.throttle)] {
            let Some(rate) = rate else { continue };
            if !(1..=RATE_STARTS_MAX).contains(&rate.starts) {
                say(format!("{name} counts {} starts; 1 to {RATE_STARTS_MAX} are allowed", rate.starts));
            }
            if rate.per.is_zero() {
                say(format!("{name} must span at least 1 ms"));
            }
        }
        if let Some(Debounce { quiet, longest, .. }) = &self.debounce
            && (quiet.is_zero() || longest.is_some_and(|longest| longest < *quiet))
        {
            say("debounce must wait at least 1 ms, and its longest wait must not be shorter than that".to_owned());
        }
        if let Some(BatchOf { firings, within, .. }) = &self.batch
            && (!(1..=BATCH_FIRINGS_MAX).contains(firings) || within.is_zero())
        {
            say(format!("a batch holds 1 to {BATCH_FIRINGS_MAX} firings and waits at least 1 ms"));
        }
        if self.concurrency.as_ref().is_some_and(|concurrency| concurrency.executions == 0) {
            say("a concurrency of 0 would never start anything; disable the workflow instead".to_owned());
        }
        if self.pool.as_ref().is_some_and(|pool| !(1..=POOL_SLOTS_MAX).contains(&pool.weight)) {
            say(format!("a job takes 1 to {POOL_SLOTS_MAX} slots of a pool"));
        }
        if self.keys().any(|key| key.len() > KEY_PARAMS_MAX) {
            say(format!("a key has at most {KEY_PARAMS_MAX} parameters"));
        }
        self.check_place(is_job, &mut say);
    }

    fn check_place(&self, is_job: bool, say: &mut impl FnMut(String)) {
        if is_job && self.concurrency.is_some() {
            say("concurrency is for workflows: a job has one live execution at a time; use overlap".to_owned());
        }
        if !is_job && self.pool.is_some() {
            say("slots of a pool are taken by jobs, not by workflows".to_owned());
        }
        if self.overlap == Some(OverlapPolicy::AllowAll) && self.concurrency.is_some() {
            say("overlap allow_all and a concurrency limit contradict one another".to_owned());
        }
    }

    fn keys(&self) -> impl Iterator<Item = &Vec<String>> {
        [
            self.idempotency.as_ref().map(|idempotency| &idempotency.key),
            self.rate_limit.as_ref().map(|rate| &rate.key),
            self.debounce.as_ref().map(|debounce| &debounce.key),
            self.batch.as_ref().map(|batch| &batch.key),
            self.throttle.as_ref().map(|rate| &rate.key),
            self.concurrency.as_ref().map(|concurrency| &concurrency.key),
        ]
        .into_iter()
        .flatten()
    }
}
