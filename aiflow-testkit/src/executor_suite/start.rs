//! Starting: is an attempt started at most once, however often it is submitted?

use std::sync::Arc;

use aiflow_core::executor::{Ending, Observation, StopMode, Submission};
use aiflow_core::{ErrorKind, Retry};

use super::fixture::{Behaviour, ExecutorFixture, Stage, attempt, launch};

/// A submitted attempt starts, once, and leads to its ending.
pub async fn a_submitted_attempt_starts_once(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let attempt = stage.submit(0, Behaviour::Succeed).await;
    let ending = stage.listener.ending(attempt).await;
    assert!(matches!(ending, Ending::Succeeded { .. }), "{ending:?}");
    assert_eq!(fixture.starts(attempt), 1);
    stage.shutdown().await;
    assert_eq!(fixture.starts(attempt), 1);
}

/// A repeated `submit` answers `AlreadySubmitted` and starts nothing, while the attempt runs and after it ended.
pub async fn a_repeated_submit_starts_nothing(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let behaviour = Behaviour::RunUntilStopped;
    let attempt = stage.run(0, behaviour).await;
    let again = || stage.executor.submit(stage.launch(0, behaviour));
    assert_eq!(again().await.unwrap(), Submission::AlreadySubmitted);
    stage.stop(attempt, StopMode::Kill).await;
    stage.listener.ending(attempt).await;
    assert_eq!(again().await.unwrap(), Submission::AlreadySubmitted);
    stage.shutdown().await;
    assert_eq!(fixture.starts(attempt), 1);
}

/// However often an attempt is submitted at the same time, one submission is the first.
pub async fn concurrent_submits_of_one_attempt_start_it_once(fixture: &dyn ExecutorFixture) {
    const SUBMITTERS: usize = 8;
    let stage = Stage::open(fixture).await;
    for n in 0..4 {
        let submitters: Vec<_> = (0..SUBMITTERS)
            .map(|_| {
                let executor = Arc::clone(&stage.executor);
                let launch = stage.launch(n, Behaviour::Succeed);
                tokio::spawn(async move { executor.submit(launch).await.unwrap() })
            })
            .collect();
        let mut n_first = 0;
        for submitter in submitters {
            n_first += u32::from(submitter.await.unwrap() == Submission::Submitted);
        }
        assert_eq!(n_first, 1);
        stage.listener.ending(attempt(n, 1)).await;
    }
    stage.shutdown().await;
    for n in 0..4 {
        assert_eq!(fixture.starts(attempt(n, 1)), 1);
    }
}

/// The attempt is the identity: each attempt of a job execution is started.
pub async fn every_attempt_of_a_job_starts(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    for number in 1..=3 {
        let launch = launch(attempt(0, number), fixture.spec(Behaviour::Fail));
        let submission = stage.executor.submit(launch).await.unwrap();
        assert_eq!(submission, Submission::Submitted);
        stage.listener.ending(attempt(0, number)).await;
        assert_eq!(fixture.starts(attempt(0, number)), 1);
    }
    stage.shutdown().await;
}

/// A `submit` that fails with `Retry::Never` has not started anything and never will. Where the platform finds out later, the attempt
/// fails and says that another one will not help.
pub async fn what_cannot_be_run_never_starts(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let launch = stage.launch(0, Behaviour::Unknown);
    let attempt = launch.attempt;
    match stage.executor.submit(launch).await {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert_eq!(error.retry(), Retry::Never, "{error}");
            assert_eq!(stage.observe(attempt).await, Observation::NotFound);
        }
        Ok(_) => {
            let ending = stage.listener.ending(attempt).await;
            let is_final = matches!(ending, Ending::Failed { retryable: false, .. });
            assert!(is_final, "{ending:?}");
        }
    }
    stage.shutdown().await;
    assert_eq!(fixture.starts(attempt), 0);
}

/// An executor that knows a higher epoch for an attempt refuses a lower one, and the attempt runs on.
pub async fn an_old_leader_is_refused(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let mut launch = stage.launch(0, Behaviour::RunUntilStopped);
    let attempt = launch.attempt;
    launch.epoch = 5;
    stage.executor.submit(launch.clone()).await.unwrap();
    stage.started(attempt).await;
    launch.epoch = 4;
    let error = stage.executor.submit(launch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(stage.observe(attempt).await, Observation::Running);
    stage.stop(attempt, StopMode::Kill).await;
    stage.listener.ending(attempt).await;
    stage.shutdown().await;
    assert_eq!(fixture.starts(attempt), 1);
}

/// Every started attempt leads to exactly one ending, also when many run at once and the reports queue is short.
pub async fn many_attempts_each_end_once(fixture: &dyn ExecutorFixture) {
    const ATTEMPTS: u32 = 30;
    let stage = Stage::open(fixture).await;
    for n in 0..ATTEMPTS {
        let behaviour = match n % 3 {
            0 => Behaviour::Fail,
            _ => Behaviour::Succeed,
        };
        stage.submit(n, behaviour).await;
    }
    for n in 0..ATTEMPTS {
        let ending = stage.listener.ending(attempt(n, 1)).await;
        let is_failed = matches!(ending, Ending::Failed { .. });
        assert_eq!(is_failed, n % 3 == 0, "{ending:?}");
    }
    stage.shutdown().await;
    for n in 0..ATTEMPTS {
        assert_eq!(stage.listener.endings(attempt(n, 1)).len(), 1);
        assert_eq!(fixture.starts(attempt(n, 1)), 1);
    }
}
