//! Hosts at work: where does an attempt run, and what becomes of it when its host is gone?
//!
//! An attempt is placed on a host when a host offers its executor, or did once, or when its job asks for labels. Among the hosts that fit and have
//! room, it goes to the one with the smallest part of its capacity in use. What finds no room waits in one row for each combination of executor
//! and labels; of those that a host with new room fits, the first one goes. All other attempts run in the process of the leader.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decision::Command;
use super::state::Draft;
use crate::control::Control;
use crate::execution::{JobExecution, JobStatus};
use crate::executor::Ending;
use crate::host::{HOSTS_GONE_MAX, HOSTS_MAX, HostCommand, HostId, HostOffer, HostState, HostStatus};
use crate::id::{AttemptId, ExecutorName, HostLabel, HostName, JobExecutionId};

/// Name and place of a host: where its newest life is kept.
pub type HostKey = (HostName, u32);
/// What those who wait in one row ask for.
type Demand = (ExecutorName, BTreeSet<HostLabel>);
/// A place in a row: the higher priority first, then the older execution.
type Place = (Reverse<i32>, JobExecutionId);
/// An executor of a host.
type Spot = (HostId, ExecutorName);

pub(super) fn host_key(id: &HostId) -> HostKey {
    (id.name.clone(), id.place)
}

#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    known: BTreeMap<HostKey, Arc<HostState>>,
    // Derived from the live job executions.
    on: BTreeMap<Spot, BTreeSet<JobExecutionId>>,
    rows: BTreeMap<Demand, BTreeSet<Place>>,
}

/// Changes of a decision.
#[derive(Debug, Default)]
pub(super) struct HostDraft {
    used: BTreeMap<Spot, usize>,
    joined: BTreeMap<Demand, BTreeSet<Place>>,
    left: BTreeMap<Demand, BTreeSet<Place>>,
}

fn spot_of(job: &JobExecution) -> Option<Spot> {
    Some((job.placement.host.clone()?, job.executor.clone()))
}

fn row_of(job: &JobExecution) -> (Demand, Place) {
    let demand = (job.executor.clone(), job.placement.runs_on.clone());
    (demand, (Reverse(job.placement.priority), job.id))
}

impl Hosts {
    pub(super) fn known(&self) -> impl Iterator<Item = &HostState> {
        self.known.values().map(|host| &**host)
    }

    pub(super) fn set_host(&mut self, key: HostKey, host: Option<Arc<HostState>>) {
        match host {
            Some(host) => self.known.insert(key, host),
            None => self.known.remove(&key),
        };
    }

    /// Takes note of where a job execution is placed, and what it waits for.
    pub(super) fn set_job(&mut self, before: Option<&JobExecution>, now: &JobExecution) {
        let is_placed = |job: &JobExecution| job.placement.host.is_some() || job.placement.waiting;
        if let Some(before) = before.filter(|before| is_placed(before)) {
            if let Some(spot) = spot_of(before)
                && let Some(on) = self.on.get_mut(&spot)
            {
                on.remove(&before.id);
                if on.is_empty() {
                    self.on.remove(&spot);
                }
            }
            let (demand, place) = row_of(before);
            if let Some(row) = self.rows.get_mut(&demand) {
                row.remove(&place);
                if row.is_empty() {
                    self.rows.remove(&demand);
                }
            }
        }
        if let Some(spot) = spot_of(now) {
            self.on.entry(spot).or_default().insert(now.id);
        }
        if now.placement.waiting {
            let (demand, place) = row_of(now);
            self.rows.entry(demand).or_default().insert(place);
        }
    }
}

impl Draft<'_> {
    fn host_at(&self, key: &HostKey) -> Option<&HostState> {
        match self.out.hosts.get(key) {
            Some(changed) => changed.as_deref(),
            None => self.state.hosts.known.get(key).map(|host| &**host),
        }
    }

    fn known_hosts(&self) -> impl Iterator<Item = &HostState> {
        let changed = self.out.hosts.values().filter_map(|host| host.as_deref());
        let unchanged = self.state.hosts.known.iter().filter(|(key, _)| !self.out.hosts.contains_key(*key));
        unchanged.map(|(_, host)| &**host).chain(changed)
    }

    /// How many attempts an executor of a host has.
    fn n_on(&self, spot: &Spot) -> usize {
        let before = || self.state.hosts.on.get(spot).map_or(0, BTreeSet::len);
        self.hosts.used.get(spot).copied().unwrap_or_else(before)
    }

    fn has_room(&self, host: &HostState, executor: &ExecutorName) -> bool {
        let capacity = host.offer.executors.get(executor).copied().unwrap_or_default();
        let spot = (host.id.clone(), executor.clone());
        host.status == HostStatus::Live && self.n_on(&spot) < super::admission::as_count(capacity)
    }

    /// Where the next attempt of a job execution may go now: to a host, or (`Some(None)`) to the leader. `None`: nowhere.
    pub(super) fn find_spot(&self, id: JobExecutionId) -> Option<Option<HostId>> {
        let Some(job) = self.job(id) else { return Some(None) };
        let placement = &job.placement;
        let asks = placement.elsewhere || !placement.runs_on.is_empty();
        if !asks && !self.known_hosts().any(|host| host.offer.executors.contains_key(&job.executor)) {
            return Some(None);
        }
        let fits = |host: &&HostState| {
            host.offer.fits(&job.executor, &placement.runs_on) && self.has_room(host, &job.executor)
        };
        // The part in use, in millionths; then the host with the fewest labels, which others may need.
        let rank = |host: &HostState| {
            let capacity = host.offer.executors.get(&job.executor).copied().unwrap_or(1).max(1);
            let used = u64::try_from(self.n_on(&(host.id.clone(), job.executor.clone()))).unwrap_or(u64::MAX);
            let part = used.saturating_mul(1_000_000).checked_div(capacity.into()).unwrap_or(u64::MAX);
            (part, host.offer.labels.len(), host.id.clone())
        };
        self.known_hosts().filter(fits).map(rank).min().map(|(.., host)| Some(host))
    }

    /// Places the next attempt.
    pub(super) fn place(&mut self, id: JobExecutionId, host: Option<HostId>) {
        if host.is_some() {
            self.set_placement(id, host, false);
        } else if self.job(id).is_some_and(|job| job.placement.waiting) {
            self.set_placement(id, None, false);
        }
    }

    /// The next attempt waits for a host. Meanwhile others may have its slots.
    pub(super) fn wait_for_host(&mut self, id: JobExecutionId) {
        self.give_back_slots(id);
        self.set_placement(id, None, true);
    }

    fn set_placement(&mut self, id: JobExecutionId, host: Option<HostId>, waiting: bool) {
        let Some(job) = self.job(id) else { return };
        let (was_on, waited) = (spot_of(job), job.placement.waiting);
        let now_on = host.clone().map(|host| (host, job.executor.clone()));
        if was_on != now_on {
            if let Some(spot) = was_on {
                let n = self.n_on(&spot).saturating_sub(1);
                self.hosts.used.insert(spot, n);
            }
            if let Some(spot) = now_on {
                let n = self.n_on(&spot).saturating_add(1);
                self.hosts.used.insert(spot, n);
            }
        }
        if waited != waiting {
            self.change_row(id, waiting);
        }
        if let Some(job) = self.job_mut(id) {
            (job.placement.host, job.placement.waiting) = (host, waiting);
        }
    }

    fn change_row(&mut self, id: JobExecutionId, waiting: bool) {
        let Some((demand, place)) = self.job(id).map(row_of) else { return };
        let is_known = self.state.hosts.rows.get(&demand).is_some_and(|row| row.contains(&place));
        match (waiting, is_known) {
            (true, true) => _ = self.hosts.left.entry(demand).or_default().remove(&place),
            (true, false) => _ = self.hosts.joined.entry(demand).or_default().insert(place),
            (false, true) => _ = self.hosts.left.entry(demand).or_default().insert(place),
            (false, false) => _ = self.hosts.joined.entry(demand).or_default().remove(&place),
        }
    }

    /// A job execution needs no host now: others may have its place.
    pub(super) fn free_host(&mut self, id: JobExecutionId) {
        let Some(placement) = self.job(id).map(|job| &job.placement) else { return };
        let host = placement.host.clone();
        if host.is_some() || placement.waiting {
            self.set_placement(id, None, false);
        }
        if let Some(host) = host
            && let Some(executor) = self.job(id).map(|job| job.executor.clone())
        {
            self.fill_host(&host, &executor);
        }
    }

    /// Lets those that wait go to a host, as long as it has room.
    fn fill_host(&mut self, host: &HostId, executor: &ExecutorName) {
        loop {
            let state = self.host_at(&host_key(host)).filter(|state| state.id == *host);
            let Some(state) = state.filter(|state| self.has_room(state, executor)) else { return };
            let Some(first) = self.first_that_fits(&state.offer, executor) else { return };
            self.set_placement(first, None, false);
            self.launch(first);
        }
    }

    fn first_that_fits(&self, offer: &HostOffer, executor: &ExecutorName) -> Option<JobExecutionId> {
        let from = (executor.clone(), BTreeSet::new());
        let fits = |demand: &Demand| offer.fits(&demand.0, &demand.1);
        let known = self.state.hosts.rows.range(&from..).take_while(|(demand, _)| demand.0 == *executor);
        let known = known.filter(|(demand, _)| fits(demand)).filter_map(|(demand, row)| {
            let left = self.hosts.left.get(demand);
            row.iter().find(|place| left.is_none_or(|left| !left.contains(place)))
        });
        let joined = self.hosts.joined.range(&from..).take_while(|(demand, _)| demand.0 == *executor);
        let joined = joined.filter(|(demand, _)| fits(demand)).filter_map(|(_, row)| row.first());
        known.chain(joined).min().map(|(_, id)| *id)
    }

    /// A host offers executors: what waits for them goes there. A host that lived at its place before is gone.
    pub(super) fn on_host_joined(&mut self, id: HostId, offer: HostOffer) {
        let key = host_key(&id);
        let before = self.host_at(&key).cloned();
        if before.as_ref().is_some_and(|before| before.id.epoch >= id.epoch) {
            return self.refuse(format!("host {id} is older than the one that is known"));
        }
        let n_live = self.known_hosts().filter(|host| !host.status.is_gone()).count();
        if n_live >= HOSTS_MAX && before.as_ref().is_none_or(|before| before.status.is_gone()) {
            return self.refuse(format!("there are {n_live} hosts already"));
        }
        let joined_at = self.now();
        let state = HostState { id: id.clone(), offer, status: HostStatus::Live, joined_at, gone_at: None };
        let executors: Vec<ExecutorName> = state.offer.executors.keys().cloned().collect();
        self.out.hosts.insert(key, Some(Arc::new(state)));
        if let Some(before) = before.filter(|before| !before.status.is_gone()) {
            self.lose_attempts_on(&before.id);
        }
        for executor in executors {
            self.fill_host(&id, &executor);
        }
    }

    /// Nothing new is placed on a host from now on.
    pub(super) fn on_host_drains(&mut self, id: &HostId) {
        let key = host_key(id);
        let state = self.host_at(&key).filter(|state| state.id == *id && state.status == HostStatus::Live);
        let Some(state) = state else { return };
        let state = HostState { status: HostStatus::Draining, ..state.clone() };
        self.out.hosts.insert(key, Some(Arc::new(state)));
    }

    /// A host is gone. What was placed on it is lost, and repeated elsewhere as its policy says.
    pub(super) fn on_host_left(&mut self, id: &HostId, lost: bool) {
        let key = host_key(id);
        let Some(state) = self.host_at(&key).filter(|state| state.id == *id && !state.status.is_gone()) else { return };
        let status = if lost { HostStatus::Lost } else { HostStatus::Left };
        let state = HostState { status, gone_at: Some(self.now()), ..state.clone() };
        self.out.hosts.insert(key, Some(Arc::new(state)));
        self.forget_gone_hosts();
        self.lose_attempts_on(id);
    }

    fn forget_gone_hosts(&mut self) {
        let gone = self.known_hosts().filter_map(|host| Some((host.gone_at?, host_key(&host.id))));
        let mut gone: Vec<_> = gone.collect();
        gone.sort_unstable();
        let n_too_many = gone.len().saturating_sub(HOSTS_GONE_MAX);
        for (_, key) in gone.into_iter().take(n_too_many) {
            self.out.hosts.insert(key, None);
        }
    }

    fn lose_attempts_on(&mut self, host: &HostId) {
        let from = (host.clone(), None::<ExecutorName>);
        let known = self.state.hosts.on.iter().skip_while(|((on, _), _)| *on < from.0);
        let known = known.take_while(|((on, _), _)| on == host).flat_map(|(_, jobs)| jobs.iter().copied());
        let changed = self.out.jobs.keys().copied();
        let candidates: BTreeSet<JobExecutionId> = known.chain(changed).collect();
        let is_on = |id: &JobExecutionId| self.job(*id).is_some_and(|job| job.placement.host.as_ref() == Some(host));
        let lost: Vec<JobExecutionId> = candidates.into_iter().filter(is_on).collect();
        for id in lost {
            // The end of one may have ended others.
            if self.job(id).is_some_and(|job| job.placement.host.as_ref() == Some(host)) {
                self.on_ended(id, Ending::Lost { message: format!("host {host} is gone") });
            }
        }
    }

    /// The leader cannot run an attempt: it has not begun, and is to run on a host.
    pub(super) fn on_unplaced(&mut self, attempt: AttemptId) {
        let is_meant = |job: &&JobExecution| job.attempt == attempt.attempt && job.placement.host.is_none();
        let Some(job) = self.job(attempt.job_execution).filter(is_meant) else { return };
        let (id, status, exceeded) = (job.id, job.status, job.exceeded);
        match status {
            JobStatus::Queued if exceeded.is_none() => {
                if let Some(job) = self.job_mut(id) {
                    job.placement.elsewhere = true;
                    job.forget_attempt_timers();
                }
                self.set_status(id, JobStatus::Retrying);
                self.launch(id);
            }
            JobStatus::Queued | JobStatus::Stopping => self.on_ended(id, Ending::Stopped),
            _ => {}
        }
    }

    /// Tells a host what to do with an attempt.
    pub(super) fn tell_host(&mut self, host: HostId, command: Command) {
        let attempt = command.attempt();
        let Some(execution) = self.job(attempt.job_execution).map(|job| job.workflow_execution) else { return };
        let command = match command {
            Command::Launch { .. } => HostCommand::Launch,
            Command::Signal { signal, .. } => HostCommand::Signal { signal },
            Command::Stop { mode, .. } => HostCommand::Stop { mode },
        };
        let event = Control::TellHost { host, attempt, command }.into_event("").for_execution(execution);
        self.emit(event, 0);
    }
}
