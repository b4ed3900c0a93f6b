//! Stopping: is a stop a request that always leads to the end, and never to a second one?

use std::time::Duration;

use aiflow_core::executor::{Ending, Observation, StopMode};

use super::fixture::{Behaviour, ExecutorFixture, Stage, attempt};

async fn stop_ends_it(fixture: &dyn ExecutorFixture, behaviour: Behaviour, mode: StopMode) {
    let stage = Stage::open(fixture).await;
    let mut launch = stage.launch(0, behaviour);
    if behaviour == Behaviour::IgnoreGracefulStop {
        launch.stop_grace = Duration::from_millis(50);
    }
    let attempt = launch.attempt;
    stage.executor.submit(launch).await.unwrap();
    stage.started(attempt).await;
    stage.stop(attempt, mode).await;
    assert_eq!(stage.listener.ending(attempt).await, Ending::Stopped);
    let seen = stage.observe(attempt).await;
    assert_eq!(seen, Observation::Ended(Ending::Stopped));
    stage.shutdown().await;
    assert_eq!(stage.listener.endings(attempt), [Ending::Stopped]);
    assert_eq!(fixture.starts(attempt), 1);
}

/// A graceful stop asks the attempt to end, which ends as stopped. Where nothing can be asked gracefully, it is a kill.
pub async fn a_graceful_stop_ends_the_attempt(fixture: &dyn ExecutorFixture) {
    stop_ends_it(fixture, Behaviour::RunUntilStopped, StopMode::Graceful).await;
}

/// A kill ends the attempt, whatever it does.
pub async fn a_kill_ends_the_attempt(fixture: &dyn ExecutorFixture) {
    stop_ends_it(fixture, Behaviour::IgnoreGracefulStop, StopMode::Kill).await;
}

/// Graceful stop becomes a kill after the grace time.
pub async fn a_graceful_stop_that_is_ignored_becomes_a_kill(fixture: &dyn ExecutorFixture) {
    stop_ends_it(fixture, Behaviour::IgnoreGracefulStop, StopMode::Graceful).await;
}

/// `stop` returns when the request is recorded, not when the attempt has ended; a kill overtakes the grace time.
pub async fn stop_does_not_wait_for_the_end(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    // The grace time is longer than the case: a stop that waited for the end would not return.
    let attempt = stage.run(0, Behaviour::IgnoreGracefulStop).await;
    stage.stop(attempt, StopMode::Graceful).await;
    if stage.executor.capabilities().graceful_stop {
        assert_eq!(stage.observe(attempt).await, Observation::Running);
    }
    stage.stop(attempt, StopMode::Kill).await;
    assert_eq!(stage.listener.ending(attempt).await, Ending::Stopped);
    stage.shutdown().await;
}

/// Stopping what has ended or is not known is fine, and changes nothing.
pub async fn stopping_what_ended_or_is_unknown_is_fine(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let ended = stage.submit(0, Behaviour::Succeed).await;
    let ending = stage.listener.ending(ended).await;
    let unknown = attempt(1, 1);
    for mode in [StopMode::Graceful, StopMode::Kill] {
        stage.stop(ended, mode).await;
        let seen = stage.observe(ended).await;
        assert_eq!(seen, Observation::Ended(ending.clone()));
        stage.stop(unknown, mode).await;
        assert_eq!(stage.observe(unknown).await, Observation::NotFound);
    }
    // A stop of what was not known does not stop what comes later.
    stage.submit(1, Behaviour::Succeed).await;
    let later = stage.listener.ending(unknown).await;
    assert!(matches!(later, Ending::Succeeded { .. }), "{later:?}");
    stage.shutdown().await;
    assert_eq!(stage.listener.endings(ended), [ending]);
}

/// A repeated stop is harmless: there is one ending.
pub async fn a_repeated_stop_is_harmless(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let attempt = stage.run(0, Behaviour::RunUntilStopped).await;
    for mode in [StopMode::Graceful, StopMode::Graceful, StopMode::Kill, StopMode::Kill] {
        stage.stop(attempt, mode).await;
    }
    assert_eq!(stage.listener.ending(attempt).await, Ending::Stopped);
    stage.stop(attempt, StopMode::Kill).await;
    stage.shutdown().await;
    assert_eq!(stage.listener.endings(attempt), [Ending::Stopped]);
    assert_eq!(fixture.starts(attempt), 1);
}

/// An attempt that was accepted but not yet started ends without starting; whether it had started or not, it ends once.
pub async fn an_attempt_stopped_at_once_ends_once(fixture: &dyn ExecutorFixture) {
    const ATTEMPTS: u32 = 8;
    let stage = Stage::open(fixture).await;
    for n in 0..ATTEMPTS {
        let attempt = stage.submit(n, Behaviour::RunUntilStopped).await;
        stage.stop(attempt, StopMode::Kill).await;
    }
    for n in 0..ATTEMPTS {
        assert_eq!(stage.listener.ending(attempt(n, 1)).await, Ending::Stopped);
    }
    let starts: Vec<_> = (0..ATTEMPTS).map(|n| fixture.starts(attempt(n, 1))).collect();
    assert!(starts.iter().all(|starts| *starts <= 1), "{starts:?}");
    stage.shutdown().await;
    for (n, starts) in (0..).zip(starts) {
        assert_eq!(stage.listener.endings(attempt(n, 1)), [Ending::Stopped]);
        assert_eq!(fixture.starts(attempt(n, 1)), starts, "started after its ending");
    }
}
