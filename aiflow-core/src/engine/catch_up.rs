//! Rules that begin in the past: what is a new rule shown of it, and when does it see new events?
//!
//! While it catches up, a rule sees no event as it comes and waits for no moment. A [`CatchUp`](Control::CatchUp) event asks for a page of
//! the past; whoever runs the engine reads it and gives it along with that event. The rule is shown the page, and either has reached that
//! event, or asks for the next page. A page that cannot be applied is a dead letter, and the rule goes on without it. What it makes of the past is named after the `CatchUp` event, and happens now.

use std::sync::Arc;

use super::matching::Owner;
use super::rules::{CompiledRule, Target};
use super::state::{Draft, workflow_key};
use crate::control::Control;
use crate::event::{Event, EventFilter, Match};
use crate::execution::{CatchUp, RuleState, RuleStatus};
use crate::history::{Again, HISTORY_FILTERS_MAX, History, HistoryRead};
use crate::id::{Offset, ProjectName, RuleName, WorkflowExecutionId};
use crate::timer::Subject;
use crate::workflow::{ContextOf, StartPosition, WorkflowAction};

impl<'a> Draft<'a> {
    /// A new rule begins. What it has seen, if that is anything: it may wait at once, and may have to see the past first, or these events
    /// of an earlier run.
    pub(super) fn begin_rule(
        &mut self,
        of: &Subject,
        rule: &CompiledRule,
        project: &ProjectName,
        execution: Option<WorkflowExecutionId>,
        again: Option<&[Offset]>,
    ) -> Option<RuleState> {
        let state = rule.waits_at_once().then(|| rule.begin(self.event));
        let begun = self.event.offset;
        let again = again.map(|events| Again { events: events.to_vec(), then: begun });
        let (after, latest_through) = match (&again, rule.from) {
            // A rerun goes on from what its rules had seen, not from where they once began.
            (Some(again), _) if again.events.is_empty() => return state,
            (Some(_), _) => (Offset::START, None),
            (None, StartPosition::Now) => return state,
            (None, StartPosition::Offset(first)) => (Offset(first.0.saturating_sub(1)), None),
            (None, StartPosition::LatestPerKey) => (Offset::START, Some(begun)),
        };
        // It may also begin in the future.
        let catch_up = CatchUp { begun, covered: after, is_done: after >= begun, ..CatchUp::default() };
        if !catch_up.is_done {
            let read = HistoryRead {
                filters: filters(rule, project),
                after,
                again,
                latest_through,
                per: rule.key.clone().filter(|_| latest_through.is_some()),
                context: execution.and_then(|id| self.execution(id)?.context.clone()),
                contexts: self.contexts_of(of),
                others: execution.is_some()
                    && rule.operands.iter().any(|pattern| pattern.sees_other_executions(project.as_str())),
                execution,
            };
            self.ask_for_history(of, &rule.name, begun, read);
        }
        Some(RuleState { catch_up: Some(catch_up), ..state.unwrap_or_default() })
    }

    /// Where the events of the workflow of a rule name the contexts that they concern.
    fn contexts_of(&self, of: &Subject) -> ContextOf {
        let (key, version) = match of {
            Subject::Workflow { project, workflow } => {
                let key = workflow_key(project, workflow);
                let version = self.workflow(&key).map_or(0, |state| state.version);
                (key, version)
            }
            Subject::Job { execution, .. } => match self.execution(*execution) {
                Some(execution) => (workflow_key(&execution.project, &execution.workflow), execution.version),
                None => return ContextOf::Event,
            },
        };
        self.definition_named(&key, version).map(|workflow| workflow.contexts.clone()).unwrap_or_default()
    }

    fn ask_for_history(&mut self, of: &Subject, rule: &RuleName, begun: Offset, read: HistoryRead) {
        let control = Control::CatchUp { of: of.clone(), rule: rule.clone(), begun, read: Box::new(read) };
        self.emit(control.into_event(""), 0);
    }

    /// Shows a rule a page of the past. One that was asked for by a rule that is no more, or begins anew meanwhile, changes nothing.
    pub(super) fn catch_up(
        &mut self,
        of: &Subject,
        name: &RuleName,
        begun: Offset,
        read: HistoryRead,
        history: &'a History,
    ) {
        let Some((owner, rule)) = self.catching_up(of, name, begun, read.after) else { return };
        let is_at_work = self.rule_state(&owner, name).is_some_and(|state| state.status == RuleStatus::Active);
        let passed_over = !is_at_work || self.is_kept_from_events(&owner, &rule);
        if !passed_over {
            for event in &history.events {
                self.show(&owner, &rule, event);
            }
            self.seen = self.event;
        }
        let last = Offset(self.event.offset.0.saturating_sub(1));
        let is_done = passed_over || history.covered >= last;
        let covered = if is_done { last } else { history.covered };
        self.change_rule_state(&owner, name, |state| {
            let Some(catch_up) = &mut state.catch_up else { return };
            let n_shown = if passed_over { 0 } else { u64::try_from(history.events.len()).unwrap_or(u64::MAX) };
            (catch_up.covered, catch_up.is_done) = (covered, is_done);
            catch_up.n_events = catch_up.n_events.saturating_add(n_shown);
            catch_up.lost_through = catch_up.lost_through.max((history.after > read.after).then_some(history.after));
            catch_up.is_cut |= history.is_cut;
            catch_up.passed_over |= passed_over;
        });
        if !is_done {
            self.ask_for_history(of, name, begun, HistoryRead { after: covered, ..read });
        }
        self.end_what_waits_no_more();
    }

    /// A page of the past cannot be shown: the rule goes on with the events after this one.
    pub(super) fn give_up_past(&mut self, of: &Subject, name: &RuleName, begun: Offset, read: &HistoryRead) {
        let Some((owner, _)) = self.catching_up(of, name, begun, read.after) else { return };
        let now = self.event.offset;
        self.change_rule_state(&owner, name, |state| {
            let Some(catch_up) = &mut state.catch_up else { return };
            (catch_up.covered, catch_up.is_done, catch_up.given_up) = (now, true, Some(now));
        });
        self.end_what_waits_no_more();
    }

    /// The rule that asked for the page of the past after `after`, if it still waits for it.
    fn catching_up(
        &self,
        of: &Subject,
        name: &RuleName,
        begun: Offset,
        after: Offset,
    ) -> Option<(Owner, Arc<CompiledRule>)> {
        let (owner, rule) = self.rule_of(of, name)?;
        let catch_up = self.rule_state(&owner, name)?.catch_up.as_ref()?;
        let waits = !catch_up.is_done && catch_up.begun == begun && catch_up.covered == after;
        waits.then_some((owner, rule))
    }

    /// Shows a rule an event of the past.
    fn show(&mut self, owner: &Owner, rule: &CompiledRule, event: &'a Event) {
        self.seen = event;
        let operands: Vec<usize> = (0..rule.operands.len()).collect();
        match (owner, &rule.target) {
            (Owner::Workflow(key), Target::Workflow(action)) => {
                self.match_workflow_rule(key, rule, *action, &operands, false);
            }
            (Owner::Job(id, job), Target::Job(..)) => {
                self.see_for_job(*id, rule, job, &operands);
            }
            (Owner::Workflow(_), Target::Job(..)) | (Owner::Job(..), Target::Workflow(_)) => {}
        }
    }

    /// Whether its owner lets the events of a rule pass.
    fn is_kept_from_events(&self, owner: &Owner, rule: &CompiledRule) -> bool {
        match (owner, &rule.target) {
            (Owner::Workflow(key), Target::Workflow(action)) => {
                *action != WorkflowAction::Stop && self.workflow(key).is_some_and(|workflow| !workflow.enabled)
            }
            _ => self.is_owner_unscheduled(owner),
        }
    }

    /// Whether the event that is seen comes before a rule begins, or will be shown to it later.
    pub(super) fn is_too_early_for(&self, state: Option<&RuleState>) -> bool {
        let is_past = !std::ptr::eq(self.seen, self.event);
        state.and_then(|state| state.catch_up.as_ref()).is_some_and(|catch_up| {
            if is_past { self.seen.offset <= catch_up.covered } else { catch_up.hides(self.seen.offset) }
        })
    }
}

/// Filters for what the patterns of a rule may match.
fn filters(rule: &CompiledRule, project: &ProjectName) -> Vec<EventFilter> {
    let mut filters: Vec<EventFilter> = Vec::new();
    for pattern in &rule.operands {
        let filter = EventFilter {
            namespace: pattern.namespace.clone().unwrap_or_else(|| Match::exact(project.as_str())),
            key: pattern.key.clone(),
            event_type: pattern.event_type.clone(),
            sender: pattern.sender.clone(),
        };
        if !filters.contains(&filter) {
            filters.push(filter);
        }
    }
    if filters.len() <= HISTORY_FILTERS_MAX {
        return filters;
    }
    let all_in_project = filters.iter().all(|filter| filter.namespace == Match::exact(project.as_str()));
    let wide = EventFilter::all();
    vec![if all_in_project { wide.namespace(Match::exact(project.as_str())) } else { wide }]
}
