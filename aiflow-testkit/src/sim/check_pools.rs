//! I25: a pool never gives out more slots than it has, and nobody waits for slots that are free.

use std::collections::BTreeMap;

use aiflow_core::engine::{Decision, PoolKey};
use aiflow_core::execution::{JobExecution, KIND_POOL, Pool};
use aiflow_core::id::JobExecutionId;
use aiflow_core::records::body_of;

use super::check::{Checker, State};

/// The slots that are out, as the decisions of a replay say.
#[derive(Debug, Default)]
pub(super) struct SlotsOut {
    pools: BTreeMap<PoolKey, u32>,
    taken: BTreeMap<JobExecutionId, (PoolKey, u32)>,
}

impl SlotsOut {
    /// Follows a decision. An error if it gave out slots that there are not.
    pub(super) fn follow(&mut self, decision: &Decision) -> Result<(), String> {
        for (key, pool) in &decision.pools {
            self.pools.insert(key.clone(), pool.as_ref().map_or(0, |pool| pool.slots));
        }
        let mut granted = Vec::new();
        for job in decision.jobs.values() {
            let before = self.taken.remove(&job.id).map_or(0, |(_, taken)| taken);
            if let Some(slots) = job.slots.as_ref().filter(|slots| slots.taken > 0) {
                let key = (job.project.clone(), slots.of.pool.clone());
                self.taken.insert(job.id, (key.clone(), slots.taken));
                if before == 0 {
                    granted.push(key);
                }
            }
        }
        for key in granted {
            let out: u32 = self.taken.values().filter(|(of, _)| *of == key).map(|(_, taken)| *taken).sum();
            let slots = self.pools.get(&key).copied().unwrap_or_default();
            if out > slots {
                return Err(format!("{out} of {slots} slots of {} are out", key.1));
            }
        }
        Ok(())
    }
}

impl Checker<'_> {
    /// The first of those that wait for slots has a reason to.
    pub(super) fn pools(&self, state: &State) {
        let pools = state.records.values().filter(|record| record.key.kind == KIND_POOL);
        let pools: BTreeMap<PoolKey, u32> = pools
            .filter_map(|record| body_of::<Pool>(record).ok())
            .map(|pool| ((pool.project, pool.name), pool.slots))
            .collect();
        let mut users: BTreeMap<PoolKey, Vec<JobExecution>> = BTreeMap::new();
        for job in state.jobs() {
            if let Some(slots) = &job.slots {
                users.entry((job.project.clone(), slots.of.pool.clone())).or_default().push(job);
            }
        }
        for (key, jobs) in users {
            let slots = pools.get(&key).copied().unwrap_or_default();
            let used: u32 = jobs.iter().filter_map(|job| job.slots.as_ref()).map(|slots| slots.taken).sum();
            let waiting =
                jobs.iter().filter_map(|job| Some((job.id, job.slots.as_ref().filter(|slots| slots.waiting)?)));
            let first = waiting.min_by_key(|(id, slots)| (std::cmp::Reverse(slots.priority), *id));
            if let Some((id, first)) = first
                && slots > 0
                && used + first.of.weight.min(slots) <= slots
            {
                self.violate("I25", format!("{id} waits for slots of {}, and {used} of {slots} are out", key.1));
            }
            for job in jobs.iter().filter(|job| job.status.is_terminal()) {
                if job.slots.as_ref().is_some_and(|slots| slots.taken > 0 || slots.waiting) {
                    self.violate("I25", format!("{} has ended and holds slots of {}", job.id, key.1));
                }
            }
        }
    }
}
