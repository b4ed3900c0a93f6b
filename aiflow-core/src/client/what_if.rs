//! What if? Reads history page by page and shows it to engines with other definitions.

use std::collections::VecDeque;
use std::sync::Arc;

use super::AiFlow;
use crate::engine::CustomConditions;
use crate::error::Result;
use crate::event::{Event, EventFilter};
use crate::history::read_history;
use crate::id::{Offset, ProjectName, WorkflowName};
use crate::records::{WorkflowVersion, body_of, workflow_version_key};
use crate::runtime::input;
use crate::store::MetaStoreExt as _;
use crate::time::Timestamp;
use crate::why::{Difference, Replay, ReplayPage, Side};
use crate::workflow::{Diagnostic, Workflow};

/// The most events that a page of a replay goes through.
pub const REPLAY_EVENTS_MAX: usize = 1_000;
/// A page of a replay ends with the event that brings it to so many firings.
pub const REPLAY_FIRINGS_PAGE: usize = 1_000;
/// The most firings that each list of a difference holds.
pub const DIFFERENCE_FIRINGS_MAX: usize = 10_000;

/// What is asked of history: which part of it, and with which definitions.
///
/// ```
/// # use std::sync::Arc;
/// # use aiflow_core::{client::{AiFlow, WhatIf}, id::*, memory::MemoryStore, time::SystemClock, workflow::*};
/// # use serde_json::Value;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aiflow_core::Result<()> {
/// # let memory = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
/// # let aiflow = AiFlow::new(memory.clone(), memory)?.project("wine")?;
/// # let mut workflow = Workflow::new(ProjectName::parse("wine")?, WorkflowName::parse("quality")?);
/// # workflow.jobs.push(Job::new(JobName::parse("train")?, ExecutorName::parse("function")?, Value::Null));
/// for n in [3, 7, 12] {
///     aiflow.publish(aiflow.event("drift").value(n)).await?;
/// }
/// // How often would a workflow have started, had it been there?
/// workflow.rules.push(start_workflow(on("drift").compares(Comparison::Greater, 5)));
/// let mut replay = aiflow.what_if(WhatIf::over_all().with(workflow)).await?;
/// let difference = replay.difference().await?;
/// assert_eq!(difference.only_second.len(), 2);
/// assert!(difference.to_string().contains("+ at event 2: START workflow quality by rule start-"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct WhatIf {
    after: Option<Offset>,
    through: Option<Offset>,
    first: Vec<Workflow>,
    second: Vec<Workflow>,
    customs: CustomConditions,
}

impl WhatIf {
    /// All of history, from the oldest event that is in the log to the newest.
    #[must_use]
    pub fn over_all() -> Self {
        Self::default()
    }

    /// The events after `after`, up to and including `through`.
    ///
    /// What was before is not known to the replay: it begins with the workflows of the question, as they were in force then, but without
    /// executions, without other workflows (until they are submitted), and with rules that have seen nothing.
    #[must_use]
    pub fn over(after: Offset, through: Offset) -> Self {
        Self { after: Some(after), through: Some(through), ..Self::default() }
    }

    /// With this definition in place of every version of its workflow; of one that was never submitted, from the beginning of the range. May
    /// be called for several workflows.
    #[must_use]
    pub fn with(mut self, workflow: Workflow) -> Self {
        self.second.push(workflow);
        self
    }

    /// Compares with this definition instead of with what was recorded. May be called for several workflows.
    #[must_use]
    pub fn instead_of(mut self, workflow: Workflow) -> Self {
        self.first.push(workflow);
        self
    }

    /// The code of custom conditions, as it was registered with the scheduler.
    #[must_use]
    pub fn conditions(mut self, customs: CustomConditions) -> Self {
        self.customs = customs;
        self
    }
}

/// History, being replayed. Holds two or three engines and at most a page of events; nothing is written anywhere.
#[derive(Debug)]
pub struct WhatIfReplay {
    flow: AiFlow,
    replay: Replay,
    ahead: VecDeque<Arc<Event>>,
    read_to: Offset,
    through: Offset,
    /// What the engines are to know before the first event; empty once they do.
    beginning: Vec<Workflow>,
    begins_late: bool,
}

impl AiFlow {
    /// What would other rules have done? Replays a range of the log through the pure engine, without side effects, beside what was recorded.
    ///
    /// [`next_page`](WhatIfReplay::next_page) gives the firings, [`difference`](WhatIfReplay::difference) what the two sides do not have in
    /// common. With unchanged definitions the firings are exactly those recorded. See [`why`](crate::why) on what a replay cannot know.
    ///
    /// # Errors
    /// `Invalid`: a definition has problems, all of which are named. `NotFound` from the replay: the range begins with events that were
    /// trimmed. Others are those of the log.
    pub async fn what_if(&self, question: WhatIf) -> Result<WhatIfReplay> {
        let WhatIf { after, through, first, second, customs } = question;
        for workflow in first.iter().chain(&second) {
            Diagnostic::into_result(&workflow.check(), "what if")?;
        }
        let head = self.bus().head().await?;
        let (after, through) = (after.unwrap_or(head.trimmed), through.unwrap_or(head.last));
        let beginning = first.iter().chain(&second).cloned().collect();
        let replay = Replay::new(first, second, &customs);
        let (flow, begins_late) = (self.clone(), after > Offset::START);
        Ok(WhatIfReplay { flow, replay, ahead: VecDeque::new(), read_to: after, through, beginning, begins_late })
    }

    async fn version_of(
        &self,
        project: &ProjectName,
        workflow: &WorkflowName,
        version: u32,
    ) -> Result<Option<WorkflowVersion>> {
        let record = self.store().get_one(&workflow_version_key(project, workflow, version)).await?;
        record.as_ref().map(body_of).transpose()
    }

    /// The version of a workflow that was the latest at a moment.
    async fn version_at(&self, workflow: &Workflow, moment: Timestamp) -> Result<Option<(u32, Arc<Workflow>)>> {
        let (mut found, mut version) = (None, 1);
        while let Some(stored) = self.version_of(&workflow.project, &workflow.name, version).await? {
            if stored.submitted_at > moment {
                break;
            }
            found = Some((stored.version, Arc::new(stored.workflow)));
            version = version.saturating_add(1);
        }
        Ok(found)
    }
}

impl WhatIfReplay {
    /// The next page of firings; `None` when the range is over. A page may be empty.
    ///
    /// Not cancel safe: a page whose future is dropped is lost.
    ///
    /// # Errors
    /// `NotFound`: events of the range were trimmed. Others are those of the log and the store.
    pub async fn next_page(&mut self) -> Result<Option<ReplayPage>> {
        let mut page = ReplayPage::default();
        for _ in 0..REPLAY_EVENTS_MAX {
            let Some(event) = self.next_event().await? else { break };
            if !self.beginning.is_empty() {
                self.begin(&event).await?;
            }
            let input = input(&**self.flow.store(), &**self.flow.bus(), event).await?;
            self.replay.see(&input, &mut page);
            while let Some(wanted) = self.replay.wanted(&input.event, &mut page) {
                let (read, before) = wanted.read();
                let history = read_history(&**self.flow.bus(), read, before).await?;
                self.replay.give(wanted, history);
            }
            self.replay.tell(&mut page);
            if page.firings.len() >= REPLAY_FIRINGS_PAGE {
                break;
            }
        }
        Ok((page.covered > Offset::START).then_some(page))
    }

    /// Replays the rest and says what the sides have in common and what not, each list up to [`DIFFERENCE_FIRINGS_MAX`].
    ///
    /// # Errors
    /// As [`next_page`](Self::next_page).
    pub async fn difference(&mut self) -> Result<Difference> {
        let mut difference = Difference::default();
        while let Some(page) = self.next_page().await? {
            difference.is_cut |= page.is_cut;
            for found in page.firings {
                let list = match found.side {
                    Side::Both => {
                        difference.n_both = difference.n_both.saturating_add(1);
                        continue;
                    }
                    Side::OnlyFirst => &mut difference.only_first,
                    Side::OnlySecond => &mut difference.only_second,
                };
                if list.len() < DIFFERENCE_FIRINGS_MAX {
                    list.push(found.firing);
                } else {
                    difference.is_cut = true;
                }
            }
        }
        Ok(difference)
    }

    async fn next_event(&mut self) -> Result<Option<Arc<Event>>> {
        if self.ahead.is_empty() && self.read_to < self.through {
            let page = self.flow.bus().read(self.read_to, &EventFilter::all(), REPLAY_EVENTS_MAX).await?;
            // The end of the log may lie before the end of the range.
            self.read_to = if page.events.is_empty() { self.through } else { page.covered };
            self.ahead.extend(page.events.into_iter().filter(|event| event.offset <= self.through));
        }
        Ok(self.ahead.pop_front())
    }

    /// Lets the engines know what is not submitted in the range.
    async fn begin(&mut self, first: &Event) -> Result<()> {
        let mut known: Vec<(ProjectName, WorkflowName)> = Vec::new();
        for workflow in std::mem::take(&mut self.beginning) {
            let in_force = match self.begins_late {
                true => self.flow.version_at(&workflow, first.recorded).await?,
                false => None,
            };
            let was_submitted = self.flow.version_of(&workflow.project, &workflow.name, 1).await?.is_some();
            let place = (workflow.project.clone(), workflow.name.clone());
            if (self.begins_late || !was_submitted) && !known.contains(&place) {
                self.replay.begin_with(in_force, &workflow, first);
            }
            known.push(place);
        }
        Ok(())
    }
}
