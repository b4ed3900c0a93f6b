//! Metadata: what can be done with each kind, what is told of it, and what is refused.

mod aliases;
mod annotations;
mod batches;
mod entities;
mod faults;
mod hostile;
mod metrics;
mod payloads;
mod rules;
mod search;
mod stages;
mod versions;

use std::sync::Arc;

use aiflow_core::bus::EventBus;
use aiflow_core::client::AiFlow;
use aiflow_core::event::{Event, EventFilter};
use aiflow_core::id::Offset;
use aiflow_core::memory::MemoryStore;
use aiflow_core::meta::{Model, NewModelVersion};
use aiflow_core::time::Timestamp;
use aiflow_testkit::clock::ManualClock;

pub(crate) use super::client::aiflow;

async fn with_model(flow: &AiFlow) {
    flow.models().register(Model::new("wine").unwrap()).await.unwrap();
}

/// Registers the next version of the model and returns its number.
async fn register(flow: &AiFlow) -> u32 {
    let models = flow.models();
    let version = models.register_version("wine", NewModelVersion::new("file:///m"));
    version.await.unwrap().version
}

async fn log_of(flow: &AiFlow) -> Vec<Arc<Event>> {
    let filter = EventFilter::all().namespace(flow.project_name().as_str());
    let page = flow.bus().read(Offset::START, &filter, 10_000);
    page.await.unwrap().events
}

/// The types of the events in the log, and what they say was done.
async fn told(flow: &AiFlow) -> Vec<String> {
    let change = |event: &Event| event.value.get("change").and_then(|change| change.as_str().map(str::to_owned));
    let events = log_of(flow).await;
    events.iter().map(|event| format!("{} {}", event.event_type, change(event).unwrap_or_default())).collect()
}

/// The stage events in the log: type and version.
async fn stages(flow: &AiFlow) -> Vec<(String, u64)> {
    let events = log_of(flow).await;
    let staged = events.iter().filter_map(|event| {
        let version = event.value.get("version")?.as_u64()?;
        Some((event.event_type.clone(), version))
    });
    staged.collect()
}

const START: i64 = 1_700_000_000_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// A handle in project `wine` and the clock of its store.
fn timed() -> (AiFlow, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(at(0)));
    let memory = Arc::new(MemoryStore::new(Arc::<ManualClock>::clone(&clock)));
    let flow = super::client::handle_of(&memory).with_clock(Arc::<ManualClock>::clone(&clock));
    (flow, clock)
}
