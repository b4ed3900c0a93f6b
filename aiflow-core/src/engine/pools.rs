//! Pools at work: which attempt may start now, and which waits for slots?
//!
//! Those that wait stand in one row for each pool. The first of the row goes as soon as it fits; nobody passes it, so a heavy job is not
//! starved by light ones. An attempt gives its slots back when it ends.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::state::Draft;
use crate::execution::{JobExecution, Pool, Slots};
use crate::id::{JobExecutionId, PoolName, ProjectName};

/// Which pool of which project.
pub type PoolKey = (ProjectName, PoolName);
/// A place in the row of a pool: the higher priority first, then the older execution.
type Place = (Reverse<i32>, JobExecutionId);

#[derive(Debug, Clone, Default)]
pub(super) struct Pools {
    known: BTreeMap<PoolKey, Arc<Pool>>,
    // Derived from the live job executions.
    used: BTreeMap<PoolKey, u64>,
    rows: BTreeMap<PoolKey, BTreeSet<Place>>,
}

/// Changes of a decision.
#[derive(Debug, Default)]
pub(super) struct PoolDraft {
    used: BTreeMap<PoolKey, u64>,
    joined: BTreeMap<PoolKey, BTreeSet<Place>>,
    left: BTreeMap<PoolKey, BTreeSet<Place>>,
}

fn slots_of(job: &JobExecution) -> Option<(PoolKey, &Slots, Place)> {
    let slots = job.slots.as_ref()?;
    Some(((job.project.clone(), slots.of.pool.clone()), slots, (Reverse(slots.priority), job.id)))
}

impl Pools {
    pub(super) fn known(&self) -> impl Iterator<Item = &Pool> {
        self.known.values().map(|pool| &**pool)
    }

    pub(super) fn set_pool(&mut self, key: PoolKey, pool: Option<Arc<Pool>>) {
        match pool {
            Some(pool) => self.known.insert(key, pool),
            None => self.known.remove(&key),
        };
    }

    /// Takes note of what a job execution holds and waits for.
    pub(super) fn set_job(&mut self, before: Option<&JobExecution>, now: &JobExecution) {
        if let Some((key, slots, place)) = before.and_then(slots_of) {
            if let Some(used) = self.used.get_mut(&key).filter(|_| slots.taken > 0) {
                *used = used.saturating_sub(slots.taken.into());
            }
            if let Some(row) = self.rows.get_mut(&key).filter(|_| slots.waiting) {
                row.remove(&place);
            }
        }
        if let Some((key, slots, place)) = slots_of(now) {
            if slots.taken > 0 {
                let used = self.used.entry(key.clone()).or_default();
                *used = used.saturating_add(slots.taken.into());
            }
            if slots.waiting {
                self.rows.entry(key).or_default().insert(place);
            }
        }
    }
}

impl Draft<'_> {
    /// How many slots there are; none if nobody has said.
    fn slots_in(&self, key: &PoolKey) -> u32 {
        let pool = match self.out.pools.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.state.pools.known.get(key),
        };
        pool.map_or(0, |pool| pool.slots)
    }

    fn slots_used(&self, key: &PoolKey) -> u64 {
        self.pools.used.get(key).or_else(|| self.state.pools.used.get(key)).copied().unwrap_or_default()
    }

    fn first_in_row(&self, key: &PoolKey) -> Option<JobExecutionId> {
        self.first_place(key).map(|(_, id)| id)
    }

    fn first_place(&self, key: &PoolKey) -> Option<Place> {
        let left = self.pools.left.get(key);
        let stayed = |place: &&Place| left.is_none_or(|left| !left.contains(place));
        let known = self.state.pools.rows.get(key).and_then(|row| row.iter().find(stayed));
        let joined = self.pools.joined.get(key).and_then(BTreeSet::first);
        known.into_iter().chain(joined).min().copied()
    }

    /// Lets a job execution take its slots. False if it has to wait for them.
    pub(super) fn take_slots(&mut self, id: JobExecutionId) -> bool {
        let Some((key, slots, place)) = self.job(id).and_then(slots_of) else { return true };
        if slots.taken > 0 {
            return true;
        }
        // It may stand before those that wait already.
        let is_first = self.first_place(&key).is_none_or(|first| place <= first);
        let fits = is_first && self.fit(&key, slots.of.weight).is_some();
        if fits {
            self.grant(id);
        } else {
            self.set_slots(id, 0, true);
        }
        fits
    }

    /// How many slots a job of this weight takes, if they are free.
    fn fit(&self, key: &PoolKey, weight: u32) -> Option<u32> {
        let slots = self.slots_in(key);
        let wanted = weight.min(slots);
        let is_free = self.slots_used(key).saturating_add(wanted.into()) <= slots.into();
        (slots > 0 && is_free).then_some(wanted)
    }

    fn grant(&mut self, id: JobExecutionId) {
        let Some((key, slots, _)) = self.job(id).and_then(slots_of) else { return };
        if let Some(taken) = self.fit(&key, slots.of.weight) {
            self.set_slots(id, taken, false);
        }
    }

    /// A job execution needs no slots now: others may have them.
    pub(super) fn free_slots(&mut self, id: JobExecutionId) {
        let Some((key, slots, _)) = self.job(id).and_then(slots_of) else { return };
        if slots.taken > 0 || slots.waiting {
            self.set_slots(id, 0, false);
            self.release_pool(&key);
        }
    }

    /// A job execution that was let go on cannot use its slots after all. Whoever let it go on looks at the next one.
    pub(super) fn give_back_slots(&mut self, id: JobExecutionId) {
        self.set_slots(id, 0, false);
    }

    /// Lets those that wait for slots go on, as long as the first of them fits.
    pub(super) fn release_pool(&mut self, key: &PoolKey) {
        while let Some(first) = self.first_in_row(key) {
            let Some(job) = self.job(first) else { return };
            let weight = job.slots.as_ref().map_or(1, |slots| slots.of.weight);
            if self.is_paused(job.workflow_execution) {
                // It comes back when its workflow execution is resumed.
                self.set_slots(first, 0, false);
            } else if self.fit(key, weight).is_some() {
                self.grant(first);
            } else {
                return;
            }
            self.launch(first);
        }
    }

    fn set_slots(&mut self, id: JobExecutionId, taken: u32, waiting: bool) {
        let Some((key, before, place)) = self.job(id).and_then(slots_of) else { return };
        let (had, waited) = (before.taken, before.waiting);
        let used = self.slots_used(&key).saturating_sub(had.into()).saturating_add(taken.into());
        if had != taken {
            self.pools.used.insert(key.clone(), used);
        }
        let is_known = self.state.pools.rows.get(&key).is_some_and(|row| row.contains(&place));
        match (waited, waiting) {
            (false, true) if is_known => _ = self.pools.left.entry(key).or_default().remove(&place),
            (false, true) => _ = self.pools.joined.entry(key).or_default().insert(place),
            (true, false) if is_known => _ = self.pools.left.entry(key).or_default().insert(place),
            (true, false) => _ = self.pools.joined.entry(key).or_default().remove(&place),
            (false, false) | (true, true) => {}
        }
        if let Some(slots) = self.job_mut(id).and_then(|job| job.slots.as_mut()) {
            (slots.taken, slots.waiting) = (taken, waiting);
        }
    }

    /// Says how many slots a pool has, or that there is no such pool any more.
    pub(super) fn set_pool(&mut self, key: PoolKey, slots: Option<u32>) {
        let (project, name) = key.clone();
        self.out.pools.insert(key.clone(), slots.map(|slots| Arc::new(Pool { project, name, slots })));
        self.release_pool(&key);
    }
}
