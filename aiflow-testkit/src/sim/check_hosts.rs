//! I33: a host never has more attempts than it takes, what it has fits it, and nobody waits for a host that has room.

use std::collections::{BTreeMap, BTreeSet};

use aiflow_core::engine::{Decision, HostKey};
use aiflow_core::execution::{JobExecution, JobStatus};
use aiflow_core::host::{HostId, HostState, HostStatus, KIND_HOST};
use aiflow_core::id::{ExecutorName, JobExecutionId};
use aiflow_core::records::body_of;

use super::check::{Checker, State};

/// What is placed where, as the decisions of a replay say.
#[derive(Debug, Default)]
pub(super) struct Placed {
    hosts: BTreeMap<HostKey, HostState>,
    on: BTreeMap<(HostId, ExecutorName), BTreeSet<JobExecutionId>>,
    of: BTreeMap<JobExecutionId, (HostId, ExecutorName)>,
}

impl Placed {
    /// Follows a decision. An error if it placed something where it may not run.
    pub(super) fn follow(&mut self, decision: &Decision) -> Result<(), String> {
        for (key, host) in &decision.hosts {
            match host {
                Some(host) => _ = self.hosts.insert(key.clone(), (**host).clone()),
                None => _ = self.hosts.remove(key),
            }
        }
        for job in decision.jobs.values() {
            if let Some(spot) = self.of.remove(&job.id) {
                self.on.entry(spot).or_default().remove(&job.id);
            }
            let Some(host) = job.placement.host.clone().filter(|_| !job.status.is_terminal()) else { continue };
            let spot = (host, job.executor.clone());
            self.on.entry(spot.clone()).or_default().insert(job.id);
            self.of.insert(job.id, spot);
        }
        for job in decision.jobs.values().filter(|job| self.of.contains_key(&job.id)) {
            let Some(spot) = self.of.get(&job.id) else { continue };
            let (host, executor) = spot;
            let state = self.hosts.get(&(host.name.clone(), host.place)).filter(|state| state.id == *host);
            let Some(state) = state.filter(|state| !state.status.is_gone()) else {
                return Err(format!("{} is placed on {host}, which is gone", job.id));
            };
            let n = self.on.get(spot).map_or(0, BTreeSet::len);
            let capacity = state.offer.executors.get(executor).map_or(0, |n| usize::try_from(*n).unwrap_or(0));
            if n > capacity || !state.offer.fits(executor, &job.placement.runs_on) {
                return Err(format!("{} is placed on {host}, which has {n} of {capacity}", job.id));
            }
        }
        Ok(())
    }
}

impl Checker<'_> {
    /// What waits for a host finds none with room, and only what is at an executor is placed.
    pub(super) fn hosts(&self, state: &State) {
        let hosts = state.records.values().filter(|record| record.key.kind == KIND_HOST);
        let hosts: Vec<HostState> = hosts.filter_map(|record| body_of(record).ok()).collect();
        let jobs = state.jobs();
        let n_on = |host: &HostState, executor: &ExecutorName| {
            let is_on = |job: &&JobExecution| {
                job.placement.host.as_ref() == Some(&host.id) && job.executor == *executor && !job.status.is_terminal()
            };
            jobs.iter().filter(is_on).count()
        };
        for job in &jobs {
            let is_waiting = matches!(job.status, JobStatus::Init | JobStatus::Retrying);
            if job.placement.host.is_some() && (is_waiting || job.status.is_terminal()) {
                self.violate("I33", format!("{} is {} and placed on a host", job.id, job.status));
            }
            if job.placement.waiting && !is_waiting {
                self.violate("I33", format!("{} is {} and waits for a host", job.id, job.status));
            }
            let has_room = |host: &&HostState| {
                let capacity = host.offer.executors.get(&job.executor).map_or(0, |n| usize::try_from(*n).unwrap_or(0));
                host.status == HostStatus::Live
                    && host.offer.fits(&job.executor, &job.placement.runs_on)
                    && n_on(host, &job.executor) < capacity
            };
            if job.placement.waiting
                && let Some(host) = hosts.iter().find(has_room)
            {
                self.violate("I33", format!("{} waits for a host, and {} has room", job.id, host.id));
            }
        }
        for host in &hosts {
            self.ledger.count(if host.status.is_gone() { "host that is gone" } else { "host" });
        }
    }
}
