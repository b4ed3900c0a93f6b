//! Endings: does each attempt end once, in the right way, and who is told?

use std::time::Duration;

use aiflow_core::event::EventFilter;
use aiflow_core::executor::{Ending, Observation, ReportKind, StopMode, TimeLimit};
use aiflow_core::id::Offset;
use aiflow_core::{ErrorKind, Retry};

use super::fixture::{Behaviour, ExecutorFixture, Listener, Stage, observed_ending};

/// A job that fails ends as failed, with the reason, and another attempt may help.
pub async fn a_failure_is_reported_with_its_reason(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let attempt = stage.submit(0, Behaviour::Fail).await;
    let ending = stage.listener.ending(attempt).await;
    match &ending {
        Ending::Failed { message, retryable: true, .. } => assert!(!message.is_empty()),
        other => panic!("{other:?}"),
    }
    assert_eq!(observed_ending(&*stage.executor, attempt).await, ending);
    stage.shutdown().await;
    assert_eq!(stage.listener.endings(attempt), [ending]);
}

/// An attempt that exceeds its wall-clock limit ends as timed out.
pub async fn an_attempt_that_exceeds_its_time_limit_times_out(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let mut launch = stage.launch(0, Behaviour::TimeOut);
    launch.timeout = Some(Duration::from_millis(100));
    launch.stop_grace = Duration::from_millis(100);
    let attempt = launch.attempt;
    stage.executor.submit(launch).await.unwrap();
    assert_eq!(stage.listener.ending(attempt).await, Ending::TimedOut { limit: TimeLimit::Run });
    stage.shutdown().await;
    assert_eq!(stage.listener.endings(attempt), [Ending::TimedOut { limit: TimeLimit::Run }]);
}

/// An attempt that must give signs of life and gives none ends as timed out. An executor that cannot hear any refuses the launch for good.
pub async fn an_attempt_that_gives_no_sign_of_life_times_out(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let mut launch = stage.launch(0, Behaviour::TimeOut);
    launch.heartbeat_timeout = Some(Duration::from_millis(200));
    launch.stop_grace = Duration::from_millis(100);
    let attempt = launch.attempt;
    let silent = Ending::TimedOut { limit: TimeLimit::Heartbeat };
    let submission = stage.executor.submit(launch).await;
    if let Err(error) = &submission {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Invalid, Retry::Never), "{error}");
        assert_eq!(stage.observe(attempt).await, Observation::NotFound);
    } else {
        assert_eq!(stage.listener.ending(attempt).await, silent);
    }
    stage.shutdown().await;
    let expected = if submission.is_ok() { vec![silent] } else { vec![] };
    assert_eq!(stage.listener.endings(attempt), expected);
}

/// Events that the attempt published are in the log before its ending is reported.
pub async fn events_are_in_the_log_before_the_ending(fixture: &dyn ExecutorFixture) {
    const EVENTS: u32 = 20;
    let stage = Stage::open(fixture).await;
    let behaviour = Behaviour::PublishEventsThenSucceed(EVENTS);
    let attempt = stage.submit(0, behaviour).await;
    let is_ended = |kind: &ReportKind| matches!(kind, ReportKind::Ended(_));
    let log_last =
        stage.listener.wait_for(attempt, |heard| is_ended(&heard.report.kind).then_some(heard.log_last)).await;
    let bus = &stage.listener.host.bus;
    let filter = EventFilter::all().key("case");
    let page = bus.read(Offset::START, &filter, 1000).await.unwrap();
    let events = page.events;
    let values: Vec<_> = events.iter().map(|event| event.value.as_u64()).collect();
    let expected: Vec<_> = (0..u64::from(EVENTS)).map(Some).collect();
    assert_eq!(values, expected);
    for event in &events {
        assert!(event.offset <= log_last, "published after the ending");
        assert_eq!(event.namespace, "wine");
        assert_eq!(event.context.attempt, Some(attempt));
        let execution = stage.launch(0, behaviour).workflow_execution;
        assert_eq!(event.context.workflow_execution, Some(execution));
    }
    stage.shutdown().await;
}

/// The ending goes to the reporter given to `attach` last.
pub async fn reports_go_to_the_host_attached_last(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let attempt = stage.run(0, Behaviour::RunUntilStopped).await;
    let second = Listener::attached_to(&*stage.executor).await;
    let later = stage.submit(1, Behaviour::Succeed).await;
    stage.stop(attempt, StopMode::Kill).await;
    assert_eq!(second.ending(attempt).await, Ending::Stopped);
    let ending = second.ending(later).await;
    assert!(matches!(ending, Ending::Succeeded { .. }), "{ending:?}");
    stage.shutdown().await;
    assert!(stage.listener.endings(attempt).is_empty());
    assert!(stage.listener.endings(later).is_empty());
}

/// An ending that could not be reported because the scheduler is gone is kept, and `observe` answers with it.
pub async fn an_ending_that_nobody_heard_is_kept(fixture: &dyn ExecutorFixture) {
    let executor = fixture.open().await;
    let gone = Listener::attached_to(&*executor).await;
    gone.leave().await;
    let attempt = super::fixture::attempt(0, 1);
    let spec = fixture.spec(Behaviour::Succeed);
    let launch = super::fixture::launch(attempt, spec);
    executor.submit(launch).await.unwrap();
    let ending = observed_ending(&*executor, attempt).await;
    assert!(matches!(ending, Ending::Succeeded { .. }), "{ending:?}");
    executor.shutdown().await.unwrap();
}
