//! Leases in memory: who may decide, under which epoch, until when?

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::store::{Fence, Lease};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Leases(BTreeMap<String, Held>);

/// The newest grant of a lease. Kept when it has run out or was released, so that epochs never repeat.
#[derive(Debug)]
struct Held {
    holder: String,
    epoch: u64,
    until: Timestamp,
    is_released: bool,
}

impl Leases {
    pub(super) fn acquire(&mut self, name: &str, holder: &str, ttl: Duration, now: Timestamp) -> Option<Lease> {
        let epoch = match self.0.get(name) {
            None => 1,
            Some(held) if held.holder == holder && !held.is_released => held.epoch,
            Some(held) if held.is_released || held.until <= now => held.epoch.saturating_add(1),
            Some(_) => return None,
        };
        let held = Held { holder: holder.to_owned(), epoch, until: now + ttl, is_released: false };
        self.0.insert(name.to_owned(), held);
        Some(Lease { name: name.to_owned(), holder: holder.to_owned(), epoch })
    }

    pub(super) fn release(&mut self, lease: &Lease) {
        if let Some(held) = self.0.get_mut(&lease.name)
            && held.epoch == lease.epoch
            && held.holder == lease.holder
        {
            held.is_released = true;
        }
    }

    /// Nobody else can have decided while the epoch stands, so a lease that ran out and was not taken still passes.
    pub(super) fn check(&self, fence: &Fence) -> Result<()> {
        let epoch = self.0.get(&fence.lease).map_or(0, |held| held.epoch);
        if epoch == fence.epoch {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Fenced, "commit", "somebody else leads by now")
            .with("lease", &fence.lease)
            .with("epoch", fence.epoch)
            .with("found", epoch))
    }
}
