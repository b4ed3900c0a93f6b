//! Conformance of executors: does an [`Executor`](aiflow_core::executor::Executor) keep every sentence of its contract?
//!
//! Run all cases with [`executor_suite!`](crate::executor_suite!).

mod ending;
mod fixture;
mod life;
mod logs;
mod observe;
mod signal;
mod start;
mod stop;

pub use ending::*;
pub use fixture::*;
pub use life::*;
pub use logs::*;
pub use observe::*;
pub use signal::*;
pub use start::*;
pub use stop::*;

/// One test per promise of [`Executor`](aiflow_core::executor::Executor): name a fixture, and do it in a module of its own.
#[macro_export]
macro_rules! executor_suite {
    ($fixture:expr) => {
        $crate::conformance_tests!($fixture, executor_suite:
            a_submitted_attempt_starts_once,
            a_repeated_submit_starts_nothing,
            concurrent_submits_of_one_attempt_start_it_once,
            every_attempt_of_a_job_starts,
            what_cannot_be_run_never_starts,
            an_old_leader_is_refused,
            many_attempts_each_end_once,
            a_failure_is_reported_with_its_reason,
            an_attempt_that_exceeds_its_time_limit_times_out,
            an_attempt_that_gives_no_sign_of_life_times_out,
            events_are_in_the_log_before_the_ending,
            reports_go_to_the_host_attached_last,
            an_ending_that_nobody_heard_is_kept,
            an_attempt_never_submitted_is_not_found,
            observe_follows_an_attempt,
            observations_come_in_the_order_asked,
            a_graceful_stop_ends_the_attempt,
            a_kill_ends_the_attempt,
            a_graceful_stop_that_is_ignored_becomes_a_kill,
            stop_does_not_wait_for_the_end,
            stopping_what_ended_or_is_unknown_is_fine,
            a_repeated_stop_is_harmless,
            an_attempt_stopped_at_once_ends_once,
            values_are_taken_by_those_that_say_so,
            logs_read_on_without_loss_or_repetition,
            logs_are_told_apart_by_stream,
            shutdown_stops_what_cannot_survive,
            what_ran_before_a_restart_is_found_again,
            what_ended_before_a_restart_is_not_started_again,
        );
    };
}
