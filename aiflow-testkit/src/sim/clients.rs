//! The clients of a world: what do users publish, and what do operators ask for?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aiflow_core::client::AiFlow;
use aiflow_core::control::Control;
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::execution::{
    KIND_FIRING, KIND_WORKFLOW_EXECUTION, ScheduleAction, WorkflowExecution, WorkflowState, WorkflowStatus,
};
use aiflow_core::executor::StopMode;
use aiflow_core::id::{Offset, WorkflowExecutionId, WorkflowName};
use aiflow_core::records::{FIRING_WAITING, WorkflowVersion, body_of, firing_of, workflow_key, workflow_version_put};
use aiflow_core::store::{Batch, MetaStoreExt as _, Query};
use aiflow_core::time::{Clock as _, Timestamp};
use aiflow_core::timer::Subject;
use aiflow_core::workflow::{JobAction, OverlapPolicy, Workflow};
use aiflow_core::{ErrorKind, Result, Retry};
use serde_json::json;

use super::process::{Shared, SimClock, WORLD_BEGINS};
use super::recorder::SEQUENCE_LABEL;
use super::workload::{
    KEYS, PROJECT, TENANT_LABEL, VALUES, job_name, millis, number, one_of, pool, project, workflow_name,
};
use crate::Backend;
use crate::rng::Rng;

/// Named contexts of executions and of events.
const CONTEXTS: [&str; 2] = ["red", "blue"];
/// How often a client tries what may fail.
const TRIES_MAX: u32 = 5;
/// Waits between tries of a client.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Events of one user that the log acknowledged, in order.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    pub(super) user: String,
    pub(super) events: Vec<(String, Offset)>,
}

/// Publishes events of its own, one call after the other, each until it is acknowledged; some calls are repeated.
pub(super) async fn user(connection: &Backend, shared: &Shared, number: u32, calls: u32) -> Acknowledged {
    let mut done = Acknowledged { user: format!("user{number}"), events: Vec::new() };
    let pause = shared.plan.chaos / (calls + 1) * 2;
    let mut sequence = 0_u32;
    for call in 0..calls {
        tokio::time::sleep(shared.ledger.time_below(pause)).await;
        let n_events = shared.ledger.draw(|rng| if rng.chance(20) { 2 + rng.below(2) } else { 1 });
        let mut events = Vec::new();
        for _ in 0..n_events {
            sequence += 1;
            let (key, value) = shared.ledger.draw(|rng| (one_of(rng, &KEYS), one_of(rng, &VALUES)));
            let mut event = NewEvent::identified(format!("{}-{sequence}", done.user), PROJECT, key.unwrap_or("go"))
                .value(value.unwrap_or("ready"))
                .sender(&done.user)
                .label(SEQUENCE_LABEL, format!("{}-{sequence}", done.user));
            event.context.contexts.extend(shared.ledger.draw(|rng| a_context(rng, 15)));
            event.context.contexts.extend(shared.ledger.draw(|rng| a_context(rng, 8)));
            let tenant = shared.ledger.draw(|rng| a_context(rng, 60));
            event.context.labels.extend(tenant.map(|tenant| (TENANT_LABEL.to_owned(), tenant)));
            events.push(event);
        }
        let offsets = publish(connection, shared, events.clone()).await;
        if shared.ledger.draw(|rng| rng.chance(20)) {
            let again = publish(connection, shared, events.clone()).await;
            if again != offsets {
                shared
                    .ledger
                    .violate("I1", format!("call {call} of {} moved from {offsets:?} to {again:?}", done.user));
            }
        }
        let acknowledged = events.into_iter().zip(offsets);
        done.events.extend(acknowledged.map(|(event, offset)| (event.id, offset)));
    }
    done
}

fn a_context(rng: &mut Rng, percent: u8) -> Option<String> {
    if rng.chance(percent) { one_of(rng, &CONTEXTS).map(str::to_owned) } else { None }
}

/// Publishes until it is acknowledged.
pub(super) async fn publish(connection: &Backend, shared: &Shared, events: Vec<NewEvent>) -> Vec<Offset> {
    loop {
        match connection.bus.publish(events.clone()).await {
            Ok(offsets) => return offsets,
            Err(error) if error.retry() == Retry::Never => {
                shared.ledger.violate("I1", format!("the log refused an event: {error}"));
                return Vec::new();
            }
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// Stores a version and announces it, in one commit.
pub(super) async fn submit(connection: &Backend, shared: &Shared, workflow: Workflow, version: u32) {
    let submitted =
        Control::WorkflowSubmitted { project: workflow.project.clone(), workflow: workflow.name.clone(), version };
    let now = shared.clock.now();
    let id = format!("submit:{}:{version}", workflow.name);
    let hash = workflow.content_hash();
    let put = workflow_version_put(&WorkflowVersion { version, workflow, hash, submitted_at: now });
    let batch = Batch::at(now).expect(put.key.clone(), None).put(put.clone()).event(submitted.into_event(id));
    loop {
        match connection.store.commit(batch.clone()).await {
            Ok(_) => return,
            // The answer to an earlier try was lost, or it is under way still.
            Err(error) if error.kind() == ErrorKind::Conflict => return,
            Err(error) if error.retry() == Retry::Never => {
                return shared.ledger.violate("I1", format!("the store refused a workflow: {error}"));
            }
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

async fn live_executions(connection: &Backend) -> Result<Vec<WorkflowExecution>> {
    let live = WorkflowStatus::ALL.iter().filter(|status| !status.is_terminal()).map(|status| status.as_str());
    let rows = connection.store.query_all(Query::kind(KIND_WORKFLOW_EXECUTION).states(live), 100_000).await?;
    rows.iter().map(body_of).collect()
}

/// A client's handle.
fn handle(connection: &Backend, shared: &Shared) -> Option<AiFlow> {
    let flow = AiFlow::new(Arc::clone(&connection.store), Arc::clone(&connection.bus));
    if let Err(error) = &flow {
        shared.ledger.violate("I8", format!("a handle could not be made: {error}"));
    }
    Some(flow.ok()?.with_clock(Arc::<SimClock>::clone(&shared.clock)))
}

/// Tries what could not be applied again, and removes this and that.
pub(super) async fn tidy_up(connection: &Backend, shared: &Shared) {
    let Some(flow) = handle(connection, shared) else { return };
    for what in [40, 40, 37] {
        clear_up(&flow, shared, what).await;
    }
}

/// Asks for this and that while the world is in chaos.
pub(super) async fn operator(connection: &Backend, shared: &Arc<Shared>, workflows: u32, orders: u32) {
    let Some(flow) = handle(connection, shared) else { return };
    let slots = |shared: &Shared| Some(shared.ledger.draw(|rng| number(rng, 0, 4)));
    let first = Control::SetPool { project: project(), pool: pool(), slots: slots(shared) };
    publish(connection, shared, vec![first.into_event("pool")]).await;
    let mut versions = vec![1_u32; usize::try_from(workflows).unwrap_or(0)];
    let pause = shared.plan.chaos / (orders + 1) * 2;
    for order in 0..orders {
        tokio::time::sleep(shared.ledger.time_below(pause)).await;
        let (index, what) = shared.ledger.draw(|rng| (number(rng, 0, workflows - 1), rng.below(45)));
        let (project, workflow) = (project(), workflow_name(index));
        let control = match what {
            0..9 => Control::StartWorkflow {
                project,
                workflow,
                params: json!({ "order": order }),
                context: shared.ledger.draw(|rng| a_context(rng, 30)),
                labels: BTreeMap::from([("order".to_owned(), order.to_string())]),
            },
            9..11 => Control::EnableWorkflow { project, workflow, enabled: shared.ledger.draw(|rng| rng.chance(60)) },
            29 => Control::DeleteWorkflow { project, workflow, deleted: shared.ledger.draw(|rng| rng.chance(60)) },
            11..14 => {
                let Some(version) = usize::try_from(index).ok().and_then(|index| versions.get_mut(index)) else {
                    continue;
                };
                *version += 1;
                let definition = shared.ledger.draw(|rng| super::workload::workflow(rng, index));
                submit(connection, shared, definition, *version).await;
                continue;
            }
            33..37 => {
                super::rerun::run_again(connection, shared, order).await;
                continue;
            }
            43.. => {
                trim(connection, &flow, shared).await;
                continue;
            }
            37.. => {
                clear_up(&flow, shared, what).await;
                continue;
            }
            30..33 => Control::SetPool { project, pool: pool(), slots: slots(shared).filter(|slots| *slots != 4) },
            20..24 => match on_a_schedule(connection, shared, &workflow).await {
                Some(control) => control,
                None => continue,
            },
            _ => {
                let Ok(live) = live_executions(connection).await else {
                    continue;
                };
                let ids: Vec<_> = live.iter().map(|execution| execution.id).collect();
                let Some(execution) = shared.ledger.draw(|rng| one_of(rng, &ids)) else {
                    continue;
                };
                if what < 16 {
                    stop(execution, shared.ledger.draw(|rng| rng.chance(30)))
                } else if what >= 24 {
                    shared.ledger.draw(|rng| pause_or_resume(rng, execution))
                } else {
                    let (job, action) = shared.ledger.draw(|rng| {
                        let action =
                            one_of(rng, &[JobAction::Start, JobAction::Stop, JobAction::Restart, JobAction::Restart]);
                        (job_name(number(rng, 0, 4)), action.unwrap_or(JobAction::Start))
                    });
                    let mode = if what == 19 { StopMode::Kill } else { StopMode::Graceful };
                    Control::ActOnJob { execution, job, action, mode, reason: String::new() }
                }
            }
        };
        shared.ledger.count("order");
        publish(connection, shared, vec![control.into_event(format!("order-{order}"))]).await;
    }
}

/// Trims the log up to some event that was applied. Whoever reads from before it is told.
async fn trim(connection: &Backend, flow: &AiFlow, shared: &Shared) {
    let Ok(head) = connection.bus.head().await else { return };
    let through = shared.ledger.draw(|rng| Offset(rng.below(head.last.0 + 1)));
    for _ in 0..TRIES_MAX {
        match flow.trim(through).await {
            Err(error) if error.retry() != Retry::Never => tokio::time::sleep(RETRY_PAUSE).await,
            Ok(Offset::START) | Err(_) => return,
            Ok(through) => {
                let read = connection.bus.read(Offset::START, &EventFilter::all(), 1).await;
                if !read.is_err_and(|error| error.kind() == ErrorKind::NotFound || error.retry() != Retry::Never) {
                    shared.ledger.violate("I32", format!("a reader is not told that events up to {through} are gone"));
                }
                return;
            }
        }
    }
}

/// Removes an execution that has ended, or tries a dead letter again or sets it aside. What fails for long is left.
async fn clear_up(flow: &AiFlow, shared: &Shared, what: u64) {
    let letters = flow.dead_letters(20).await.unwrap_or_default();
    let letters: Vec<&str> = letters.iter().map(|letter| letter.id.as_str()).collect();
    let letter = shared.ledger.draw(|rng| one_of(rng, &letters));
    let ended = WorkflowStatus::ALL.iter().filter(|status| status.is_terminal()).map(|status| status.as_str());
    let ended = flow.store().query_all(Query::kind(KIND_WORKFLOW_EXECUTION).states(ended), 100_000).await;
    let ended: Vec<WorkflowExecution> = ended.iter().flatten().filter_map(|record| body_of(record).ok()).collect();
    let ended: Vec<WorkflowExecutionId> = ended.iter().map(|execution| execution.id).collect();
    let execution = shared.ledger.draw(|rng| one_of(rng, &ended));
    for _ in 0..TRIES_MAX {
        let done = match (what, letter, execution) {
            (37..40, _, Some(execution)) => flow.delete_execution(execution).await,
            (42.., Some(letter), _) => flow.discard_dead_letter(letter).await,
            (_, Some(letter), _) => flow.replay_dead_letter(letter).await.map(|_| ()),
            (_, None, Some(execution)) => flow.delete_execution(execution).await,
            (_, None, None) => return,
        };
        match done {
            Err(error) if error.retry() != Retry::Never => tokio::time::sleep(RETRY_PAUSE).await,
            Ok(()) | Err(_) => return,
        }
    }
}

fn stop(execution: WorkflowExecutionId, kills: bool) -> Control {
    let mode = if kills { StopMode::Kill } else { StopMode::Graceful };
    Control::StopExecution { execution, mode, reason: "enough".to_owned() }
}

/// Pauses, resumes or upgrades an execution, or stops or resumes the scheduling of one of its jobs.
fn pause_or_resume(rng: &mut Rng, execution: WorkflowExecutionId) -> Control {
    match rng.below(8) {
        6.. => Control::UpgradeExecution { execution },
        0..2 => Control::PauseExecution { execution, reason: "to look around".to_owned() },
        2..4 => Control::ResumeExecution { execution },
        n => Control::ScheduleJob { execution, job: job_name(number(rng, 0, 4)), scheduled: n == 5 },
    }
}

/// Something to ask of a schedule of a workflow, if it has one.
async fn on_a_schedule(connection: &Backend, shared: &Shared, workflow: &WorkflowName) -> Option<Control> {
    let record = connection.store.get_one(&workflow_key(&project(), workflow)).await.ok()??;
    let state: WorkflowState = body_of(&record).ok()?;
    let names: Vec<_> = state.schedules.into_keys().collect();
    let name = names.first()?.clone();
    shared.ledger.draw(|rng| {
        let action = one_of(
            rng,
            &[ScheduleAction::Pause, ScheduleAction::Resume, ScheduleAction::Resume, ScheduleAction::Delete],
        );
        if rng.chance(60) {
            let of = Subject::Workflow { project: project(), workflow: workflow.clone() };
            return Some(Control::ActOnSchedule { of, schedule: name, action: action? });
        }
        let from = Timestamp::from_millis(WORLD_BEGINS) + millis(rng, 5_000);
        let to = from + millis(rng, 3_000);
        let (quiet, overlap) = (rng.chance(50), one_of(rng, &OverlapPolicy::ALL)?);
        let (project, workflow) = (project(), workflow.clone());
        Some(Control::Backfill { project, workflow, schedule: name, from, to, quiet, overlap })
    })
}

/// Stops everything that still runs.
pub(super) async fn stop_all(connection: &Backend, shared: &Shared, round: u32) -> usize {
    let live = match live_executions(connection).await {
        Ok(live) => live,
        Err(error) => {
            shared.ledger.violate("I22", format!("the store fails in calm: {error}"));
            return 0;
        }
    };
    let orders = live.iter().map(|execution| {
        let id = format!("end-{round}-{}", execution.id);
        stop(execution.id, false).into_event(id)
    });
    let orders: Vec<NewEvent> = orders.collect();
    let mut orders = orders;
    let waiting = Query::kind(KIND_FIRING).states([FIRING_WAITING]);
    match connection.store.query_all(waiting, 100_000).await {
        Ok(rows) => {
            let starts = rows.iter().filter_map(|row| firing_of(row).ok()?.record.request.execution);
            orders
                .extend(starts.map(|execution| stop(execution, false).into_event(format!("end-{round}-{execution}"))));
        }
        Err(error) => shared.ledger.violate("I22", format!("the store fails in calm: {error}")),
    }
    let n_orders = orders.len();
    if !orders.is_empty() {
        publish(connection, shared, orders).await;
    }
    n_orders
}
