//! What is said in the same words everywhere: events, outcomes, lists.

use std::fmt::Display;

use crate::event::{JOB_STATUS_CHANGED, NewEvent, UNDEFINED_EVENT_TYPE, WORKFLOW_STATUS_CHANGED};
use crate::execution::FiringOutcome;
use crate::id::Offset;
use crate::workflow::cut;

/// An event in a few words: `samples "ready"`, `MODEL_DEPLOYED wine {"version":1}`, `quality/train SUCCEEDED`.
pub(crate) fn event_words(event: &NewEvent) -> String {
    let is_status = event.event_type == JOB_STATUS_CHANGED || event.event_type == WORKFLOW_STATUS_CHANGED;
    let mut words = String::new();
    if event.event_type != UNDEFINED_EVENT_TYPE && !is_status {
        words.push_str(&event.event_type);
        words.push(' ');
    }
    words.push_str(&cut(&event.key));
    match &event.value {
        serde_json::Value::Null => {}
        serde_json::Value::String(text) if is_status => words = format!("{words} {text}"),
        value => words = format!("{words} {}", cut(value)),
    }
    words
}

/// `event 7`, `events 7 and 9`, `events 7, 9 and 5 more`.
pub(super) fn events(offsets: &[Offset], n_all: usize) -> String {
    let n_more = n_all.saturating_sub(offsets.len());
    let mut names: Vec<String> = offsets.iter().map(Offset::to_string).collect();
    if n_more > 0 {
        names.push(format!("{n_more} more"));
    }
    let plural = if names.len() == 1 { "event" } else { "events" };
    format!("{plural} {}", join(&names, "and"))
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn join<T: Display>(items: &[T], last: &str) -> String {
    let mut text = String::new();
    for (i, item) in items.iter().enumerate() {
        let before = match i {
            0 => String::new(),
            i if i.saturating_add(1) == items.len() => format!(" {last} "),
            _ => ", ".to_owned(),
        };
        text = format!("{text}{before}{item}");
    }
    text
}

/// What became of a firing, as the end of a sentence that begins with its events.
pub(super) fn outcome(outcome: FiringOutcome) -> &'static str {
    match outcome {
        FiringOutcome::Stopped => "made it stop what was live",
        FiringOutcome::HandedOver => "made it hand the value to the job",
        FiringOutcome::None => "made it fire, and its action is to do nothing",
        FiringOutcome::AlreadyLive => "made it fire in vain: the job was live already",
        FiringOutcome::NotLive => "made it fire in vain: nothing was live that could be stopped",
        FiringOutcome::Merged => "made it fire, merged into a start that waited already",
        FiringOutcome::Superseded => "made it fire in vain: an earlier rule acted on the same event",
        FiringOutcome::TooManyHops => "made it fire in vain: the chain of causes is longer than allowed",
        FiringOutcome::Disabled => "did not count: the workflow was disabled",
        FiringOutcome::Waiting => "made it fire, and the start waits to be admitted",
        FiringOutcome::Started => "made it fire and start",
        FiringOutcome::Duplicate => "made it fire in vain: the same idempotency key came before",
        FiringOutcome::RateLimited => "made it fire, and the rate limit dropped the start",
        FiringOutcome::Replaced => "made it fire, and a later firing took its place",
        FiringOutcome::Batched => "made it fire, joined with others into one start",
        FiringOutcome::Missed => "came too late: the misfire policy dropped the time",
        FiringOutcome::Overlapped => "made it fire, and the overlap policy dropped the start: others were live",
        FiringOutcome::QueueFull => "made it fire, and the start was dropped: too many waited already",
        FiringOutcome::Cancelled => "made it fire, and the start was cancelled while it waited",
        FiringOutcome::Refused => "made it fire, and the start was refused",
        FiringOutcome::EventReplaced => "gave way to a newer event",
        FiringOutcome::Expired => "expired: out of the window, or out of order for good",
        FiringOutcome::NoKey => "did not count: without the key that the rule correlates by",
        FiringOutcome::NoContext => "did not count: it does not say which executions it concerns",
        FiringOutcome::FieldMissing => "did not count: a field that the rule looks at is missing",
        FiringOutcome::RuleChanged => "went with the rule, which had been changed or removed",
        FiringOutcome::Cleared => "went when the rule was cleared by hand",
        FiringOutcome::Paused => "did not count: the rule was paused, or the scheduling of its job stopped",
    }
}
