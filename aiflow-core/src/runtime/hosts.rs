//! The leader's eye on the hosts: which of them has fallen silent?
//!
//! A host holds a lease as long as it lives. Whoever leads asks for the leases of all hosts that are known, again and again: it gets that of a host
//! which is gone, and thereby fences it.

use std::collections::BTreeSet;

use tokio::sync::watch;

use super::Parts;
use super::settings::Backoff;
use crate::control::Control;
use crate::error::{ErrorKind, Result, Retry};
use crate::host::{HostId, host_event_id};
use crate::store::{Batch, Fence, MetaStore};
use crate::time::Clock;

/// Says in the log which hosts are gone, until `closing` or another leads.
pub(super) async fn watch_hosts(
    parts: Parts,
    fence: Fence,
    mut hosts: watch::Receiver<BTreeSet<HostId>>,
    mut closing: watch::Receiver<bool>,
) {
    let look = async {
        loop {
            let live = hosts.borrow_and_update().clone();
            for host in &live {
                match look_after(&parts, &fence, host).await {
                    Ok(()) => {}
                    Err(error) if error.retry() == Retry::Never => {
                        return tracing::debug!(%error, %host, "the hosts are watched no more");
                    }
                    Err(error) => tracing::warn!(%error, %host, "cannot ask for the lease of a host; trying again"),
                }
            }
            if live.is_empty() {
                if hosts.changed().await.is_err() {
                    return;
                }
            } else {
                tokio::time::sleep(parts.settings.lease_ttl / 3).await;
            }
        }
    };
    tokio::select! {
        biased;
        _ = closing.wait_for(|closing| *closing) => {}
        () = look => {}
    }
}

async fn look_after(parts: &Parts, fence: &Fence, host: &HostId) -> Result<()> {
    let Some(lease) = parts.store.acquire(&host.lease(), &parts.holder, parts.settings.lease_ttl).await? else {
        return Ok(());
    };
    tracing::warn!(%host, "a host is gone");
    say_left(&*parts.store, &*parts.clock, Some(fence.clone()), host, true, parts.settings.backoff_max).await?;
    // Another host may have its place. If this fails, it runs out by itself.
    parts.store.release(&lease).await
}

/// Says in the log that a host is gone, as long as the fence holds. Whoever says so first is believed.
pub(super) async fn say_left(
    store: &dyn MetaStore,
    clock: &dyn Clock,
    fence: Option<Fence>,
    host: &HostId,
    lost: bool,
    backoff_max: std::time::Duration,
) -> Result<()> {
    let event = Control::HostLeft { host: host.clone(), lost }.into_event(host_event_id(host, "left"));
    let batch = Batch { fence, events: vec![event], ..Batch::at(clock.now()) };
    match commit_until_done(store, &batch, backoff_max).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        said => said,
    }
}

/// Commits events until it is done or refused for good. Their ids make the repetition harmless.
pub(super) async fn commit_until_done(
    store: &dyn MetaStore,
    batch: &Batch,
    backoff_max: std::time::Duration,
) -> Result<()> {
    let mut backoff = Backoff::new(backoff_max);
    loop {
        match store.commit(batch.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.retry() == Retry::Never => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "events not published; trying again");
                backoff.pause().await;
            }
        }
    }
}
