//! Every trap of the original's rules that this engine covers, and what is right instead.

use expect_test::expect;

use super::text::check;

#[test]
fn a_job_without_start_rule_starts_with_its_execution() {
    check(
        "
        features: function
        train: START when status(features SUCCEEDED)
        ",
        "start | features started | features ok | train started | train ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              features#1 QUEUED by start [2]
              launch features#1-1
            4 features started
              features#1 RUNNING
            6 features ok
              features#1 SUCCEEDED
            7 features#1 SUCCEEDED
              train#1 QUEUED by train.1 [7]
              launch train#1-1
            8 train started
              train#1 RUNNING
            10 train ok
              train#1 SUCCEEDED
            11 train#1 SUCCEEDED
              wf#1 SUCCEEDED: features SUCCEEDED, train SUCCEEDED
        "#]],
    );
}
