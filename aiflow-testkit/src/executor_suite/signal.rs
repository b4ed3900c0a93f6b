//! Values for running attempts: does an executor take them exactly if it says so?

use aiflow_core::ErrorKind;
use aiflow_core::executor::Signal;
use aiflow_core::id::{FiringId, Offset};
use serde_json::Value;

use super::fixture::{Behaviour, ExecutorFixture, Stage};

/// A value for a running attempt is taken, also when it comes again, and one for an attempt that has ended is dropped; an executor that does not
/// declare it refuses for good, so that the job is restarted.
pub async fn values_are_taken_by_those_that_say_so(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    let signals = stage.executor.capabilities().signals;
    let (running, ended) = (stage.run(0, Behaviour::RunUntilStopped).await, stage.submit(1, Behaviour::Succeed).await);
    stage.listener.ending(ended).await;
    let signal =
        Signal { id: FiringId::new(Offset(7), 0), key: "model".to_owned(), value: "v2".into(), params: Value::Null };
    for attempt in [running, running, ended] {
        match stage.executor.signal(attempt, signal.clone()).await {
            Ok(()) => assert!(signals, "a value was taken, and the capabilities say that none is"),
            Err(error) => {
                assert!(!signals, "{error}");
                assert_eq!(error.kind(), ErrorKind::Unsupported);
            }
        }
    }
    stage.stop(running, aiflow_core::executor::StopMode::Kill).await;
    stage.listener.ending(running).await;
    stage.shutdown().await;
}
