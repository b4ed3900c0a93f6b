//! Leading and standing by: who decides, from when to when?

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::dispatch::Dispatchers;
use super::driver::Driver;
use super::hosts::watch_hosts;
use super::lineage::Publishers;
use super::recover::{load, lost_with_host, reconcile};
use super::report::{publish_alone, publish_reports};
use super::settings::Backoff;
use super::volatile::Volatile;
use super::{Parts, SCHEDULER_LEASE, SchedulerStatus, host};
use crate::client::{Retention, retire};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::executor::{Ending, ExecutorHost, OBSERVE_MAX, Observation, Report, ReportKind, Reporter, StopMode};
use crate::host::{HostId, HostOffer};
use crate::id::{AttemptId, Offset};
use crate::store::{Fence, Lease};
use crate::time::Timestamp;

/// Between two passes of retention while there is more to remove: commits of decisions go between.
const RETENTION_PAUSE: Duration = Duration::from_millis(50);

/// Stands by and leads, in turn, until told to stop or something fails for good.
pub(super) async fn run(
    parts: Parts,
    mut stop: watch::Receiver<bool>,
    status: watch::Sender<SchedulerStatus>,
    applied: watch::Sender<Offset>,
    joined: watch::Sender<Option<HostId>>,
) -> Result<()> {
    let result = match parts.offer.clone() {
        None => stand_by_and_lead(&parts, &mut stop, &status, &applied).await,
        Some(offer) => host_and_lead(&parts, &offer, stop, &status, &applied, &joined).await,
    };
    for (name, executor) in &parts.executors {
        if let Err(error) = executor.shutdown().await {
            tracing::warn!(%error, executor = %name, "executor did not shut down cleanly");
        }
    }
    if let Err(error) = &result {
        tracing::error!(%error, "scheduler has ended");
    }
    status.send_replace(SchedulerStatus::Ended { error: result.as_ref().err().map(Error::to_string) });
    result
}

/// As [`stand_by_and_lead`], once it has joined as a host, and beside that. When one ends, the other is told to.
async fn host_and_lead(
    parts: &Parts,
    offer: &HostOffer,
    mut stop: watch::Receiver<bool>,
    status: &watch::Sender<SchedulerStatus>,
    applied: &watch::Sender<Offset>,
    joined: &watch::Sender<Option<HostId>>,
) -> Result<()> {
    let (halt, halted) = watch::channel(false);
    let mut has_joined = joined.subscribe();
    let (mut stop_leading, mut stop_hosting) = (halted.clone(), halted);
    let leading = async {
        let mut stop_waiting = stop_leading.clone();
        // What it decides as the leader finds the host in the log.
        tokio::select! {
            biased;
            _ = stop_waiting.wait_for(|stop| *stop) => {}
            _ = has_joined.wait_for(Option::is_some) => {}
        }
        let ended = stand_by_and_lead(parts, &mut stop_leading, status, applied).await;
        halt.send_replace(true);
        ended
    };
    let hosting = async {
        let ended = host::run(parts, offer, &mut stop_hosting, joined).await;
        halt.send_replace(true);
        ended
    };
    let passing_on = async {
        let _ = stop.wait_for(|stop| *stop).await;
        halt.send_replace(true);
    };
    let ((), led, hosted) = tokio::join!(
        async {
            let mut over = halt.subscribe();
            tokio::select! {
                biased;
                () = passing_on => {}
                _ = over.wait_for(|over| *over) => {}
            }
        },
        leading,
        hosting
    );
    led.and(hosted)
}

async fn stand_by_and_lead(
    parts: &Parts,
    stop: &mut watch::Receiver<bool>,
    status: &watch::Sender<SchedulerStatus>,
    applied: &watch::Sender<Offset>,
) -> Result<()> {
    loop {
        let acquired = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            acquired = parts.store.acquire(SCHEDULER_LEASE, &parts.holder, parts.settings.lease_ttl) => acquired,
        };
        match acquired {
            Ok(Some(lease)) => {
                let epoch = lease.epoch;
                tracing::info!(epoch, "leading");
                let outcome = lead(parts, lease, stop, status, applied).await;
                status.send_replace(SchedulerStatus::Standby);
                match outcome {
                    Ok(()) => return Ok(()),
                    Err(error) if lost_lead(&error) => {
                        tracing::warn!(epoch, %error, "no longer leading")
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(None) => {}
            Err(error) if error.retry() == Retry::Never => return Err(error),
            Err(error) => tracing::warn!(%error, "cannot ask for the lease; trying again"),
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            () = tokio::time::sleep(parts.settings.standby_poll) => {}
        }
    }
}

pub(super) fn lost_lead(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Conflict) || error.retry() != Retry::Never
}

/// Leads until told to stop (`Ok`) or the lead is lost. Every task it started has ended when it returns.
async fn lead(
    parts: &Parts,
    lease: Lease,
    stop: &mut watch::Receiver<bool>,
    status: &watch::Sender<SchedulerStatus>,
    applied: &watch::Sender<Offset>,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    let (close, closing) = watch::channel(false);
    let volatile = Volatile::default();
    let outcome = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        error = keep_lease(parts, &lease) => Err(error),
        error = decide(parts, &lease, &volatile, &mut tasks, closing, status, applied) => Err(error),
    };
    // The driver is gone: nothing new is decided under this epoch. What was decided and reported is still handed on.
    close.send_replace(true);
    let handed_on = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(parts.settings.lease_ttl, handed_on).await.is_err() {
        tasks.shutdown().await;
    }
    if outcome.is_err() {
        tokio::select! {
            biased;
            // Shutting down stops them too.
            _ = stop.wait_for(|stop| *stop) => {}
            () = stop_volatile(parts, volatile) => {}
        }
    }
    if let Err(error) = parts.store.release(&lease).await {
        tracing::debug!(%error, "lease not released; it runs out by itself");
    }
    outcome
}

/// Renews the lease at a third of its life; returns when it is lost. Runs beside the driver, so that a slow commit does not starve it.
async fn keep_lease(parts: &Parts, lease: &Lease) -> Error {
    let every = parts.settings.lease_ttl / 3;
    loop {
        tokio::time::sleep(every).await;
        match parts.store.acquire(SCHEDULER_LEASE, &parts.holder, parts.settings.lease_ttl).await {
            Ok(Some(renewed)) if renewed.epoch == lease.epoch => {}
            Ok(_) => return Error::new(ErrorKind::Fenced, "renew lease", "somebody else leads"),
            // The store is unreachable: nothing can be committed either, and the fence guards what others decide meanwhile.
            Err(error) if error.retry() == Retry::Never => return error,
            Err(error) => tracing::warn!(%error, "lease not renewed; trying again"),
        }
    }
}

/// Removes what the settings no longer keep, a bounded number of records at a time, as long as this leads.
async fn keep_retention(parts: Parts, fence: Fence, mut closing: watch::Receiver<bool>) {
    loop {
        let pass = retire(&*parts.store, &parts.settings.retention, parts.clock.now(), Some(fence.clone()));
        let pause = match pass.await {
            Ok(retired) if retired.is_more => RETENTION_PAUSE,
            Ok(_) => parts.settings.retention_every,
            Err(error) if error.kind() == ErrorKind::Fenced => return,
            Err(error) => {
                tracing::warn!(%error, "retention failed; trying again");
                parts.settings.retention_every
            }
        };
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn decide(
    parts: &Parts,
    lease: &Lease,
    volatile: &Volatile,
    tasks: &mut JoinSet<()>,
    closing: watch::Receiver<bool>,
    status: &watch::Sender<SchedulerStatus>,
    applied: &watch::Sender<Offset>,
) -> Error {
    match start(parts, lease, volatile, tasks, closing, applied).await {
        Ok(driver) => {
            status.send_replace(SchedulerStatus::Leading { epoch: lease.epoch });
            driver.run().await
        }
        Err(error) => error,
    }
}

/// Takes over from the last leader: state, executors, attempts.
async fn start<'a>(
    parts: &'a Parts,
    lease: &Lease,
    volatile: &'a Volatile,
    tasks: &mut JoinSet<()>,
    closing: watch::Receiver<bool>,
    applied: &'a watch::Sender<Offset>,
) -> Result<Driver<'a>> {
    let (engine, cursor) = load(parts).await?;
    volatile.note(&parts.executors, engine.live_attempts());
    let (reporter, reports) = Reporter::channel(parts.settings.report_queue);
    // Those that this process offers as a host report to that.
    for (_, executor) in parts.executors.iter().filter(|(name, _)| !parts.offers(name)) {
        let host = ExecutorHost {
            reporter: reporter.clone(),
            store: Arc::clone(&parts.store),
            bus: Arc::clone(&parts.bus),
            clock: Arc::clone(&parts.clock),
            epoch: lease.epoch,
        };
        executor.attach(host).await?;
    }
    let found = reconcile(engine.live_attempts(), &parts.executors, parts.clock.now()).await?;
    let retention_closing = closing.clone();
    let (hosts, hosts_seen) = watch::channel(engine.live_hosts().cloned().collect());
    tasks.spawn(watch_hosts(parts.clone(), lease.fence(), hosts_seen, closing.clone()));
    tasks.spawn(publish_reports(Arc::clone(&parts.bus), reports, closing, parts.settings.clone(), |_| {}));
    let (to_settle, unsettled) = mpsc::channel(parts.settings.dispatch_queue.max(1));
    let (executors, bus, clock) = (&parts.executors, &parts.bus, &parts.clock);
    let dispatchers = Dispatchers::start(tasks, executors, bus, &reporter, clock, &parts.settings, &to_settle);
    if parts.settings.retention != Retention::default() {
        tasks.spawn(keep_retention(parts.clone(), lease.fence(), retention_closing));
    }
    applied.send_replace(cursor.offset);
    let mut driver = Driver {
        parts,
        lease: lease.clone(),
        engine,
        cursor,
        decided: cursor.offset,
        ahead: Vec::new(),
        in_flight: None,
        dispatchers,
        applied,
        volatile,
        publishers: Publishers::default(),
        unknown: BTreeSet::new(),
        unsettled,
        hosts,
        look_again: None,
    };
    driver.settle(found).await?;
    Ok(driver)
}

/// Ends the attempts that live in this process and says that they are lost: the next leader repeats them, even if it is this process again.
async fn stop_volatile(parts: &Parts, volatile: Volatile) {
    for (name, attempts) in volatile.into_attempts() {
        let Some(executor) = parts.executors.get(&name) else {
            continue;
        };
        for attempt in &attempts {
            let stopped = repeat(parts, || executor.stop(*attempt, StopMode::Kill)).await;
            if let Err(error) = stopped {
                tracing::warn!(%error, %attempt, "an attempt of a lost lead could not be stopped");
            }
        }
        let mut reports = Vec::new();
        for attempts in attempts.chunks(OBSERVE_MAX) {
            match repeat(parts, || executor.observe(attempts)).await {
                Ok(observed) => {
                    let observed = attempts.iter().zip(observed);
                    reports.extend(
                        observed.filter_map(|(attempt, observed)| last_report(*attempt, observed, parts.clock.now())),
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, executor = %name, "attempts of a lost lead could not be looked up")
                }
            }
        }
        for report in reports {
            publish_alone(&*parts.bus, report, &parts.settings).await;
        }
    }
}

/// Makes a call that is harmless when repeated until it is answered or refused for good.
pub(super) async fn repeat<T, C>(parts: &Parts, mut call: impl FnMut() -> C) -> Result<T>
where
    C: Future<Output = Result<T>>,
{
    let mut backoff = Backoff::new(parts.settings.backoff_max);
    loop {
        match call().await {
            Err(error) if error.retry() != Retry::Never => backoff.pause().await,
            answer => return answer,
        }
    }
}

/// What is said of an attempt that was told to end only because its scheduler no longer leads: it is lost, unless it has ended otherwise.
fn last_report(attempt: AttemptId, observed: Observation, at: Timestamp) -> Option<Report> {
    let ending = match observed {
        Observation::NotFound | Observation::Unknown => return None,
        Observation::Queued | Observation::Running | Observation::Ended(Ending::Stopped) => lost_with_host(),
        Observation::Ended(ending) => ending,
    };
    Some(Report { attempt, at, kind: ReportKind::Ended(ending) })
}
