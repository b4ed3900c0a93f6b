//! Observing: does `observe` tell what is so?

use aiflow_core::ErrorKind;
use aiflow_core::executor::{OBSERVE_MAX, Observation, StopMode};

use super::fixture::{Behaviour, ExecutorFixture, Stage, attempt};

/// `NotFound` if the attempt was never accepted here: another attempt of the same job, too.
pub async fn an_attempt_never_submitted_is_not_found(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    assert_eq!(stage.observe(attempt(0, 1)).await, Observation::NotFound);
    let known = stage.submit(0, Behaviour::Succeed).await;
    stage.listener.ending(known).await;
    assert_eq!(stage.observe(attempt(0, 2)).await, Observation::NotFound);
    assert_eq!(stage.observe(attempt(1, 1)).await, Observation::NotFound);
    stage.shutdown().await;
}

/// `observe` answers from what is so now: never `NotFound` once accepted, `Running` while it runs, its ending after.
pub async fn observe_follows_an_attempt(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let attempt = stage.submit(0, Behaviour::RunUntilStopped).await;
    let first = stage.observe(attempt).await;
    assert!(matches!(first, Observation::Queued | Observation::Running), "{first:?}");
    stage.started(attempt).await;
    assert_eq!(stage.observe(attempt).await, Observation::Running);
    stage.stop(attempt, StopMode::Kill).await;
    let ending = stage.listener.ending(attempt).await;
    for _ in 0..3 {
        let seen = stage.observe(attempt).await;
        assert_eq!(seen, Observation::Ended(ending.clone()));
    }
    stage.shutdown().await;
}

/// Observations come in the order asked; at most `OBSERVE_MAX` are asked.
pub async fn observations_come_in_the_order_asked(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let ended = stage.submit(0, Behaviour::Succeed).await;
    let ending = stage.listener.ending(ended).await;
    let running = stage.run(1, Behaviour::RunUntilStopped).await;
    let unknown = attempt(2, 1);
    let asked = [unknown, running, ended, unknown, running];
    let expected = [
        Observation::NotFound,
        Observation::Running,
        Observation::Ended(ending),
        Observation::NotFound,
        Observation::Running,
    ];
    assert_eq!(stage.executor.observe(&asked).await.unwrap(), expected);
    assert!(stage.executor.observe(&[]).await.unwrap().is_empty());

    let mut many: Vec<_> = (10..).map(|n| attempt(n, 1)).take(OBSERVE_MAX).collect();
    let answers = stage.executor.observe(&many).await.unwrap();
    assert_eq!(answers, vec![Observation::NotFound; OBSERVE_MAX]);
    many.push(unknown);
    let error = stage.executor.observe(&many).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");

    stage.stop(running, StopMode::Kill).await;
    stage.listener.ending(running).await;
    stage.shutdown().await;
}
