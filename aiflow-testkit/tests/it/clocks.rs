//! Clocks: does time pass only when it is told to?

use std::time::Duration;

use aiflow_core::time::{Clock, Timestamp};
use aiflow_testkit::clock::{ManualClock, VirtualClock};

#[test]
fn a_manual_clock_moves_only_when_told_and_in_both_directions() {
    let clock = ManualClock::new(Timestamp::from_millis(100));
    assert_eq!(clock.now(), Timestamp::from_millis(100));
    clock.advance(Duration::from_secs(1));
    assert_eq!(clock.now(), Timestamp::from_millis(1_100));
    clock.set(Timestamp::from_millis(-7));
    assert_eq!(clock.now(), Timestamp::from_millis(-7));
}

#[tokio::test(start_paused = true)]
async fn a_virtual_clock_follows_the_paused_runtime() {
    let clock = VirtualClock::starting_at(Timestamp::from_millis(5));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(clock.now(), Timestamp::from_millis(3_600_005));
    tokio::time::advance(Duration::from_millis(20)).await;
    assert_eq!(clock.now(), Timestamp::from_millis(3_600_025));
}
