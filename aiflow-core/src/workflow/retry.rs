//! Retries: which failures are worth another attempt, how many, and after which pause?

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Diagnostic, Job, hash_of, millis};
use crate::event::Match;
use crate::executor::{Ending, TimeLimit};
use crate::id::AttemptId;

/// The most tests of one list of a retry policy.
pub const FAILURE_TESTS_MAX: usize = 64;

/// What to do when an attempt fails: which failures are tried again, how often, and after which pause.
///
/// The pause before retry `n` (from 1) is `backoff * factor^(n-1)`, at most `backoff_max`, and shortened by up to `jitter_percent` of itself
/// so that what failed together does not come back together. How much is drawn from the id of the attempt: the same log gives the same
/// pause. An attempt that is *lost* (its host died) is repeated at once and does not count; one that exceeds a time limit has failed.
///
/// ```
/// # use std::time::Duration;
/// use aiflow_core::workflow::{FailureTest, RetryPolicy};
/// let retry = RetryPolicy::exponential(5, Duration::from_secs(1))
///     .backoff_max(Duration::from_secs(60))
///     .jitter(20)
///     .retry_on([FailureTest::exit_code(75), FailureTest::kind("io*"), FailureTest::timed_out()]);
/// assert_eq!(retry.pause(3), Duration::from_secs(4));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Retries after the first attempt.
    pub retries_max: u32,
    /// Pause before the first retry, in milliseconds.
    #[serde(with = "millis", rename = "backoff_ms")]
    pub backoff: Duration,
    /// By how much the pause grows with each retry; 1 keeps it fixed.
    #[serde(default = "one")]
    pub factor: u32,
    /// The longest pause, in milliseconds.
    #[serde(default = "backoff_max", with = "millis", rename = "backoff_ms_max")]
    pub backoff_max: Duration,
    /// By how much a pause is shortened at most, in percent of itself.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jitter_percent: u8,
    /// Only these failures are tried again; every failure that another attempt may mend, if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry_on: Vec<FailureTest>,
    /// These failures are not tried again, whatever `retry_on` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_retry_on: Vec<FailureTest>,
}

/// A sort of failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureTest {
    /// The exit code of a process lies between these, both included. That of one killed by signal `n` is `128 + n`.
    ExitCode {
        /// The lowest.
        from: i32,
        /// The highest.
        to: i32,
    },
    /// What sort of error it was, in the words of the job.
    Kind(Match),
    /// It exceeded a time limit.
    TimedOut {
        /// Which; any if `None`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<TimeLimit>,
    },
}

impl FailureTest {
    /// A process ended with this exit code.
    #[must_use]
    pub const fn exit_code(code: i32) -> Self {
        Self::ExitCode { from: code, to: code }
    }

    /// A process ended with one of these exit codes.
    #[must_use]
    pub fn exit_codes(codes: RangeInclusive<i32>) -> Self {
        Self::ExitCode { from: *codes.start(), to: *codes.end() }
    }

    /// The error is of this kind; a star at the end stands for any rest. Functions say the kind with
    /// [`JobError::of_kind`](crate::function::JobError::of_kind).
    #[must_use]
    pub fn kind(kind: impl Into<Match>) -> Self {
        Self::Kind(kind.into())
    }

    /// The attempt exceeded some time limit.
    #[must_use]
    pub const fn timed_out() -> Self {
        Self::TimedOut { limit: None }
    }

    /// The attempt exceeded this time limit.
    #[must_use]
    pub const fn exceeded(limit: TimeLimit) -> Self {
        Self::TimedOut { limit: Some(limit) }
    }

    fn matches(&self, ending: &Ending) -> bool {
        match (self, ending) {
            (Self::ExitCode { from, to }, Ending::Failed { exit_code: Some(code), .. }) => (from..=to).contains(&code),
            (Self::Kind(wanted), Ending::Failed { kind: Some(kind), .. }) => wanted.matches(kind),
            (Self::TimedOut { limit: wanted }, Ending::TimedOut { limit }) => {
                wanted.is_none_or(|wanted| wanted == *limit)
            }
            _ => false,
        }
    }
}

impl RetryPolicy {
    /// No retries.
    #[must_use]
    pub const fn never() -> Self {
        Self {
            retries_max: 0,
            backoff: Duration::ZERO,
            factor: 1,
            backoff_max: Duration::from_secs(300),
            jitter_percent: 0,
            retry_on: Vec::new(),
            no_retry_on: Vec::new(),
        }
    }

    /// Up to `retries_max` retries with the same pause.
    #[must_use]
    pub fn fixed(retries_max: u32, backoff: Duration) -> Self {
        Self { retries_max, backoff, backoff_max: backoff, ..Self::never() }
    }

    /// Up to `retries_max` retries with a pause that doubles, at most five minutes.
    #[must_use]
    pub fn exponential(retries_max: u32, backoff: Duration) -> Self {
        Self { retries_max, backoff, factor: 2, ..Self::never() }
    }

    /// Sets the longest pause.
    #[must_use]
    pub fn backoff_max(mut self, backoff_max: Duration) -> Self {
        self.backoff_max = backoff_max;
        self
    }

    /// Shortens each pause by up to so many percent of itself, at most 100.
    #[must_use]
    pub fn jitter(mut self, percent: u8) -> Self {
        self.jitter_percent = percent;
        self
    }

    /// Tries only these failures again.
    #[must_use]
    pub fn retry_on(mut self, tests: impl IntoIterator<Item = FailureTest>) -> Self {
        self.retry_on.extend(tests);
        self
    }

    /// Does not try these failures again.
    #[must_use]
    pub fn no_retry_on(mut self, tests: impl IntoIterator<Item = FailureTest>) -> Self {
        self.no_retry_on.extend(tests);
        self
    }

    /// The pause before retry `retry` (from 1), before jitter.
    #[must_use]
    pub fn pause(&self, retry: u32) -> Duration {
        back_off(self.backoff, self.factor, self.backoff_max, retry)
    }

    /// The pause before retry `retry` (from 1), after the attempt that failed.
    pub(crate) fn pause_after(&self, retry: u32, failed: AttemptId) -> Duration {
        shortened(self.pause(retry), self.jitter_percent, failed)
    }

    /// Whether an attempt that ended so is to be tried again, as far as the sort of its failure goes.
    pub(crate) fn mends(&self, ending: &Ending) -> bool {
        let hopeless = matches!(ending, Ending::Failed { retryable: false, .. });
        let any = |tests: &[FailureTest]| tests.iter().any(|test| test.matches(ending));
        !hopeless && !any(&self.no_retry_on) && (self.retry_on.is_empty() || any(&self.retry_on))
    }

    pub(super) fn is_never(&self) -> bool {
        *self == Self::never()
    }

    pub(super) fn check(&self, path: &str, found: &mut Vec<Diagnostic>) {
        if self.jitter_percent > 100 {
            found.push(Diagnostic::new(path, "jitter_percent of retry must be at most 100"));
        }
        for (name, tests) in [("retry_on", &self.retry_on), ("no_retry_on", &self.no_retry_on)] {
            if tests.len() > FAILURE_TESTS_MAX {
                let n = tests.len();
                found.push(Diagnostic::new(
                    path,
                    format!("{name} has {n} tests, at most {FAILURE_TESTS_MAX} are allowed"),
                ));
            }
            for test in tests {
                if let FailureTest::ExitCode { from, to } = test
                    && (from > to || (*from..=*to) == (0..=0))
                {
                    found
                        .push(Diagnostic::new(path, format!("{name} names no exit code of a failure: {from} to {to}")));
                }
            }
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::never()
    }
}

impl Job {
    pub(super) fn check_limits(&self, path: &str, found: &mut Vec<Diagnostic>) {
        let limits = [
            ("queue_timeout_ms", self.queue_timeout),
            ("start_timeout_ms", self.start_timeout),
            ("timeout_ms", self.timeout),
            ("heartbeat_timeout_ms", self.heartbeat_timeout),
        ];
        for (name, limit) in limits {
            if limit.is_some_and(|limit| limit.as_millis() == 0) {
                found.push(Diagnostic::new(path, format!("{name} must be at least 1")));
            }
        }
        if self.start_timeout.is_some() && !self.streaming {
            found.push(Diagnostic::new(
                path,
                "start_timeout_ms limits the time until a streaming job is ready, and this is none; queue_timeout_ms limits the wait before it runs",
            ));
        }
    }
}

/// `backoff * factor^(n-1)`, at most `max`.
pub(super) fn back_off(backoff: Duration, factor: u32, max: Duration, n: u32) -> Duration {
    let factor = factor.max(1).saturating_pow(n.saturating_sub(1));
    backoff.saturating_mul(factor).min(max)
}

/// A pause shortened by up to `percent` of itself, by an amount that follows from the id of the attempt.
pub(super) fn shortened(pause: Duration, percent: u8, attempt: AttemptId) -> Duration {
    const STEPS: u32 = 1_000;
    if percent == 0 {
        return pause;
    }
    let hash = hash_of(&attempt.to_string());
    let drawn = hash.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default() % (STEPS + 1);
    let most = pause.saturating_mul(u32::from(percent.min(100))) / 100;
    // Whole milliseconds, as everything stored.
    let less = u64::try_from((most / STEPS).saturating_mul(drawn).as_millis()).unwrap_or(u64::MAX);
    pause.saturating_sub(Duration::from_millis(less))
}

fn one() -> u32 {
    1
}

fn backoff_max() -> Duration {
    RetryPolicy::never().backoff_max
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &u8) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{JobExecutionId, Offset};

    #[test]
    fn back_off_doubles_up_to_its_bound() {
        let retry = RetryPolicy::exponential(9, Duration::from_secs(1)).backoff_max(Duration::from_secs(5));
        let pauses: Vec<u64> = (1..=5).map(|n| retry.pause(n).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        assert_eq!(retry.pause(u32::MAX), Duration::from_secs(5));
    }

    #[test]
    fn jitter_shortens_within_its_bound_the_same_each_time_and_not_all_alike() {
        let retry = RetryPolicy::fixed(9, Duration::from_secs(10)).jitter(20);
        let attempt = |n| AttemptId::new(JobExecutionId::new(Offset(n), 0), 1);
        let pauses: Vec<Duration> = (1..200).map(|n| retry.pause_after(1, attempt(n))).collect();
        assert!(pauses.iter().all(|pause| (8_000..=10_000).contains(&pause.as_millis())), "{pauses:?}");
        assert_eq!(pauses, (1..200).map(|n| retry.pause_after(1, attempt(n))).collect::<Vec<_>>());
        let (min, max) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(min.as_millis() < 8_200 && max.as_millis() > 9_800, "{min:?} {max:?}");
    }

    #[test]
    fn a_policy_tells_failures_apart() {
        let failed = |code, kind: Option<&str>, retryable| Ending::Failed {
            message: String::new(),
            exit_code: code,
            kind: kind.map(str::to_owned),
            retryable,
        };
        let late = |limit| Ending::TimedOut { limit };
        let base = RetryPolicy::fixed(1, Duration::ZERO);
        let only = base.clone().retry_on([
            FailureTest::exit_codes(64..=75),
            FailureTest::kind("io*"),
            FailureTest::exceeded(TimeLimit::Queue),
        ]);
        let not =
            base.clone().no_retry_on([FailureTest::exit_code(2), FailureTest::kind("io"), FailureTest::timed_out()]);
        let both = only.clone().no_retry_on([FailureTest::exit_code(70)]);
        //                               base  only   not    both
        for (ending, expected) in [
            (failed(None, None, true), [true, false, true, false]),
            (failed(None, None, false), [false; 4]),
            (failed(Some(2), None, true), [true, false, false, false]),
            (failed(Some(64), None, true), [true; 4]),
            (failed(Some(70), None, true), [true, true, true, false]),
            (failed(Some(75), None, false), [false; 4]),
            (failed(Some(76), None, true), [true, false, true, false]),
            (failed(None, Some("io"), true), [true, true, false, true]),
            (failed(None, Some("io.timeout"), true), [true; 4]),
            (late(TimeLimit::Queue), [true, true, false, true]),
            (late(TimeLimit::Run), [true, false, false, false]),
            (late(TimeLimit::Heartbeat), [true, false, false, false]),
        ] {
            let told = [&base, &only, &not, &both].map(|policy| policy.mends(&ending));
            assert_eq!(told, expected, "{ending:?}");
        }
    }

    #[test]
    fn a_policy_of_before_reads_as_it_was_meant() {
        let read: RetryPolicy = serde_json::from_str(r#"{"retries_max": 2, "backoff_ms": 1000}"#).unwrap();
        assert_eq!(
            read,
            RetryPolicy { backoff_max: Duration::from_secs(300), ..RetryPolicy::fixed(2, Duration::from_secs(1)) }
        );
        let full = RetryPolicy::fixed(1, Duration::ZERO)
            .jitter(5)
            .retry_on([FailureTest::kind("a"), FailureTest::timed_out()]);
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<RetryPolicy>(&text).unwrap(), full);
    }
}
