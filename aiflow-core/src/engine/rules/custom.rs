//! Custom conditions: code of the host application that decides about events.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::Value;

use crate::event::{Event, json_bytes};

/// The largest state of a custom condition, in bytes of JSON.
pub const CUSTOM_STATE_BYTES_MAX: usize = 64 * 1024;

/// A condition written in code.
///
/// # Guarantees
/// It is shown every event that matches its patterns, once, in the order of the log, with the state as the last call left it. State is stored
/// with the rule in the transaction that applies the event: it survives crashes and restarts, and is kept per rule, per workflow execution
/// and per key of `for_each`.
///
/// # What it must keep
/// It must be deterministic: what it says depends on its arguments alone, on no clock, randomness, I/O or hash order. Time is
/// [`Event::recorded`]. It must be quick: it runs within the scheduler's decision.
///
/// # Errors
/// An error or a panic makes a dead letter of the rule and the event: the state stays as it was, and other rules see the event.
///
/// ```
/// use aiflow_core::engine::{CustomCondition, Verdict};
/// use aiflow_core::event::Event;
/// use serde_json::Value;
///
/// #[derive(Debug)]
/// struct SumReaches(i64);
///
/// impl CustomCondition for SumReaches {
///     fn see(&self, _: &Value, state: &mut Value, event: &Event) -> Result<Verdict, String> {
///         let sum = state.as_i64().unwrap_or(0) + event.value.as_i64().ok_or("the value is no number")?;
///         if sum < self.0 {
///             *state = sum.into();
///             return Ok(Verdict::Counts);
///         }
///         *state = Value::Null;
///         Ok(Verdict::Met)
///     }
/// }
/// ```
pub trait CustomCondition: Send + Sync + fmt::Debug {
    /// Looks at an event. `params` stands in the rule; `state` is null at first, and at most [`CUSTOM_STATE_BYTES_MAX`] bytes of JSON after.
    ///
    /// # Errors
    /// Why it cannot say, for people.
    fn see(&self, params: &Value, state: &mut Value, event: &Event) -> Result<Verdict, String>;
}

/// What a custom condition says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The event does not count.
    Ignored,
    /// The event counts, and the condition is not met yet.
    Counts,
    /// The condition is met, through this event and those that counted since it was last met. A firing uses all of them up.
    Met,
}

/// Custom conditions by name.
#[derive(Debug, Clone, Default)]
pub struct CustomConditions(BTreeMap<String, Arc<dyn CustomCondition>>);

impl CustomConditions {
    /// Adds a condition; true if another one had the name.
    pub fn insert(&mut self, name: impl Into<String>, condition: impl CustomCondition + 'static) -> bool {
        self.0.insert(name.into(), Arc::new(condition)).is_some()
    }

    /// The verdict of the condition `name`, and its state after it.
    pub(super) fn see(
        &self,
        name: &str,
        params: &Value,
        mut state: Value,
        event: &Event,
    ) -> Result<(Verdict, Value), String> {
        let Some(condition) = self.0.get(name) else {
            return Err(format!("no custom condition {name:?} is registered with the scheduler"));
        };
        let verdict = catch_unwind(AssertUnwindSafe(|| condition.see(params, &mut state, event)))
            .unwrap_or_else(|panic| Err(format!("it panicked: {}", message(&*panic))))
            .map_err(|reason| format!("custom condition {name:?}: {reason}"))?;
        let bytes = json_bytes(&state);
        if bytes > CUSTOM_STATE_BYTES_MAX {
            return Err(format!(
                "custom condition {name:?}: its state has {bytes} bytes, at most {CUSTOM_STATE_BYTES_MAX} are allowed"
            ));
        }
        Ok((verdict, state))
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
