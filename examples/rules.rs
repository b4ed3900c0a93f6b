//! A table of rules: what people wish for, how it is said, which events come, and what runs because of which of them.
//!
//! `cargo run --example rules`. Two more wishes have examples of their own: "when any source is new and none is at work" in `status_rules`, a
//! new model for a running job in `online_learning`. What takes minutes or hours in earnest takes a moment here.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use aiflow::prelude::*;
use aiflow::workflow::{Admission, field};
use serde_json::json;

#[path = "rules/row.rs"]
mod row;

use row::{Row, ago, at, event};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Instead of the minutes and hours of a real rule.
const A_WHILE: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    row::run_all(vec![
        // RESTART of a workflow has no key: it would take the place of the trainings of all models. START with an admission for each model
        // does not. Whatever tells of a model names it in the same place of its value, where `for_each` looks for it.
        Row::new(
            "train a model anew when it drifts or has new data; one training of a model at a time, and the newest counts",
            start_workflow(
                any([on("data"), on("drift").at("/by", ValueTest::Compare(Comparison::Greater, json!(0.2)))])
                    .for_each(KeyOf::value("/model")),
            )
            .param("model", field("/model")),
        )
        .admission(Admission::new().concurrency(1).per(["model"]).overlap(OverlapPolicy::CancelOther))
        .runs_long()
        .when([
            event("data", json!({ "model": "wine" })),
            event("data", json!({ "model": "tea" })),
            event("drift", json!({ "model": "tea", "by": 0.1 })),
            event("drift", json!({ "model": "wine", "by": 0.3 })),
        ])
        .then(["for tea, event 2: RUNNING", "for wine, event 1: STOPPED", "for wine, event 4: RUNNING"]),
        Row::new(
            "both a and b within 6 hours, and no c in the last 10 minutes, of the same customer",
            start_workflow(
                all([on("a"), on("b")])
                    .within(6 * HOUR)
                    .and(not_within(on("c"), 10 * MINUTE))
                    .for_each(KeyOf::value("")),
            ),
        )
        .when([
            ago(5 * HOUR, event("a", "ada")),
            ago(HOUR, event("b", "ada")),
            ago(8 * HOUR, event("a", "ben")),
            ago(HOUR, event("b", "ben")),
            ago(5 * MINUTE, event("c", "eve")),
            ago(HOUR, event("a", "eve")),
            event("b", "eve"),
        ])
        .then(["for ada, events 1 and 2: SUCCEEDED"]),
        // The wait for c is counted from b, and is as long each day. It cannot be said to end at six o'clock.
        Row::new(
            "after b, and after c if that comes on the same day",
            start_workflow(on("b").and(optional(on("c"), A_WHILE)).within(Window::daily("Europe/Berlin"))),
        )
        .when([
            at("2024-03-01T10:00:00Z", event("c", "")),
            at("2024-03-01T11:00:00Z", event("b", "")),
            at("2024-03-02T11:00:00Z", event("b", "")),
        ])
        .then(["event 3: SUCCEEDED", "events 1 and 2: SUCCEEDED"]),
        Row::new(
            "one run for three updates of an asset, or for as many as come within a while",
            start_workflow(on("updated")).param("asset", field("")),
        )
        .admission(Admission::new().batch(3, A_WHILE).per(["asset"]))
        .when(["x", "y", "x", "x", "x"].map(|asset| event("updated", asset)))
        .then(["event 2: SUCCEEDED", "event 5: SUCCEEDED", "events 1, 3 and 4: SUCCEEDED"]),
        Row::new("exactly one run for each update, one after the other", start_workflow(on("updated")))
            .admission(Admission::new().concurrency(1).overlap(OverlapPolicy::BufferAll))
            .when([1, 2, 3].map(|n| event("updated", n)))
            .then(["event 1: SUCCEEDED", "event 2: SUCCEEDED", "event 3: SUCCEEDED"]),
        // How late a file may be is said by the span from the first one to the last one, not by the end of the day.
        Row::new(
            "one run a day, when the files of all its hours are there, the last of them at most three hours late",
            start_workflow(
                all((0..24).map(|hour| on("file").at("/hour", ValueTest::Equals(json!(hour)))))
                    .within(27 * HOUR)
                    .for_each(KeyOf::value("/day")),
            ),
        )
        .when((1..48).rev().map(|n| event("file", json!({ "day": format!("March {}", 2 - n / 24), "hour": n % 24 }))))
        .then(["for March 1, 24 events: SUCCEEDED"]),
        // STOP of a workflow has no key either. The execution carries the context of the event that started it; of the events in contexts,
        // only those in the same one concern its job.
        Row::new("remind of an order, unless it is paid", start_workflow(on("created")))
            .runs_long()
            .stops(stop(on("paid")))
            .when([
                event("created", 71).in_context("order 71"),
                event("created", 72).in_context("order 72"),
                event("paid", 71).in_context("order 71"),
            ])
            .then(["event 1: STOPPED", "event 2: RUNNING"]),
        // There is no action "notify": a job notifies, and says so for the next rule.
        Row::new(
            "tell when a region has no new features for a while after its import",
            start_workflow(absent_after(on("imported"), on("features"), A_WHILE).for_each(KeyOf::label("region"))),
        )
        .when([
            event("imported", "").label("region", "eu"),
            event("imported", "").label("region", "us"),
            event("features", "").label("region", "us"),
        ])
        .then(["for eu, event 1 and the clock: SUCCEEDED"]),
        Row::new(
            "and tell when they are there again",
            start_workflow(sequence([on("told"), on("features")]).for_each(KeyOf::label("region"))),
        )
        .when([
            event("features", "").label("region", "eu"),
            event("told", "").label("region", "eu"),
            event("features", "").label("region", "us"),
            event("features", "").label("region", "eu"),
        ])
        .then(["for eu, events 2 and 4: SUCCEEDED"]),
    ])
    .await
}
