//! Shutdown and restart: what goes on, what is stopped, and what is found again?

use aiflow_core::executor::{Ending, Observation, StopMode, Submission};

use super::fixture::{Behaviour, ExecutorFixture, Listener, Stage, launch, observe, observed_ending};

/// Shutdown joins every task of the executor: attempts of an executor that survives its host go on, all others are stopped.
pub async fn shutdown_stops_what_cannot_survive(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let is_surviving = stage.executor.capabilities().survives_host;
    let attempt = stage.run(0, Behaviour::RunUntilStopped).await;
    stage.shutdown().await;
    let Stage { executor, listener, .. } = stage;
    drop(executor);
    if is_surviving {
        assert!(listener.endings(attempt).is_empty());
        let again = fixture.restart().await.expect("it survives its host");
        let listener = Listener::attached_to(&*again).await;
        assert_eq!(observe(&*again, attempt).await.unwrap(), Observation::Running);
        again.stop(attempt, StopMode::Kill).await.unwrap();
        assert_eq!(listener.ending(attempt).await, Ending::Stopped);
        again.shutdown().await.unwrap();
    } else {
        assert_eq!(listener.ending(attempt).await, Ending::Stopped);
    }
    assert_eq!(fixture.starts(attempt), 1);
}

/// With `survives_host`, an attempt that ran when the host died is found running, is not started again, and its ending is reported.
pub async fn what_ran_before_a_restart_is_found_again(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let is_surviving = stage.executor.capabilities().survives_host;
    let attempt = stage.run(0, Behaviour::RunUntilStopped).await;
    let spec = fixture.spec(Behaviour::RunUntilStopped);
    if !is_surviving {
        assert!(fixture.restart().await.is_none());
        stage.stop(attempt, StopMode::Kill).await;
        stage.listener.ending(attempt).await;
        return stage.shutdown().await;
    }
    let Stage { executor, listener, .. } = stage;
    listener.leave().await;
    drop(executor);
    let again = fixture.restart().await.expect("it survives its host");
    let listener = Listener::attached_to(&*again).await;
    assert_eq!(observe(&*again, attempt).await.unwrap(), Observation::Running);
    let submission = again.submit(launch(attempt, spec)).await.unwrap();
    assert_eq!(submission, Submission::AlreadySubmitted);
    again.stop(attempt, StopMode::Graceful).await.unwrap();
    assert_eq!(listener.ending(attempt).await, Ending::Stopped);
    again.shutdown().await.unwrap();
    assert_eq!(fixture.starts(attempt), 1);
}

/// With `survives_host`, an attempt that ended before or while no host was there is not started again, and its ending is known.
pub async fn what_ended_before_a_restart_is_not_started_again(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let is_surviving = stage.executor.capabilities().survives_host;
    let early = stage.submit(0, Behaviour::Fail).await;
    let ending = stage.listener.ending(early).await;
    let late = stage.submit(1, Behaviour::Succeed).await;
    if !is_surviving {
        assert!(fixture.restart().await.is_none());
        stage.listener.ending(late).await;
        return stage.shutdown().await;
    }
    let Stage { executor, listener, .. } = stage;
    listener.leave().await;
    drop(executor);
    let again = fixture.restart().await.expect("it survives its host");
    let listener = Listener::attached_to(&*again).await;
    assert_eq!(observed_ending(&*again, early).await, ending);
    let late_ending = observed_ending(&*again, late).await;
    assert!(matches!(late_ending, Ending::Succeeded { .. }), "{late_ending:?}");
    for (attempt, behaviour) in [(early, Behaviour::Fail), (late, Behaviour::Succeed)] {
        let launch = launch(attempt, fixture.spec(behaviour));
        let submission = again.submit(launch).await.unwrap();
        assert_eq!(submission, Submission::AlreadySubmitted);
    }
    again.shutdown().await.unwrap();
    for (attempt, ending) in [(early, ending), (late, late_ending)] {
        let repeated = listener.endings(attempt);
        assert!(repeated.iter().all(|one| *one == ending), "{repeated:?}");
        assert_eq!(fixture.starts(attempt), 1);
    }
}
