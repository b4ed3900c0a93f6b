//! Inputs: what does the engine need to know beside an event?

use std::sync::Arc;

use crate::bus::EventBus;
use crate::control::Control;
use crate::engine::Input;
use crate::error::Result;
use crate::event::{Event, SYSTEM_NAMESPACE};
use crate::history::read_history;
use crate::records::{WorkflowVersion, body_of, rerun_key, workflow_version_key};
use crate::store::{MetaStore, MetaStoreExt as _, RecordKey};

/// The event with what it speaks of. What is read does not change, so the same event makes the same input whenever it is asked for.
pub(crate) async fn input(store: &dyn MetaStore, bus: &dyn EventBus, event: Arc<Event>) -> Result<Input> {
    let mut input = Input::from(event);
    if input.event.namespace != SYSTEM_NAMESPACE {
        return Ok(input);
    }
    match Control::from_event(&input.event) {
        Ok(Some(Control::WorkflowSubmitted { project, workflow, version })) => {
            let stored: Option<WorkflowVersion> =
                read(store, workflow_version_key(&project, &workflow, version)).await?;
            input.workflow = stored.map(|stored| Arc::new(stored.workflow));
        }
        Ok(Some(Control::RerunExecution { plan, .. })) => {
            input.rerun = read(store, rerun_key(&plan)).await?.map(Arc::new);
        }
        Ok(Some(Control::CatchUp { read, .. })) => {
            input.history = Some(read_history(bus, &read, input.event.offset).await?);
        }
        _ => {}
    }
    Ok(input)
}

async fn read<T: serde::de::DeserializeOwned>(store: &dyn MetaStore, key: RecordKey) -> Result<Option<T>> {
    store.get_one(&key).await?.as_ref().map(body_of).transpose()
}
