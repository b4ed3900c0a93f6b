//! A host at work: how does this process run what is placed on it?
//!
//! It takes a lease, joins, reads what it is told from the log, and runs it in its own executors; the reports are events as everywhere. It lives as
//! long as it can renew its lease. When it cannot, it kills what it runs before anybody else may hold the lease for lost, and joins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Parts;
use super::dispatch::{Dispatch, Dispatchers};
use super::driver::{LOOK_AGAIN, sleep_until};
use super::host_commands::{Told, read_told};
use super::hosts::say_left;
use super::report::publish_reports;
use super::session::{lost_lead, repeat};
use crate::bus::EVENTS_PAGE_MAX;
use crate::control::{Control, TELL_HOST};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::event::{EventFilter, SYSTEM_NAMESPACE};
use crate::executor::{
    Ending, Executor, ExecutorHost, OBSERVE_MAX, Observation, Report, ReportKind, Reporter, StopMode,
};
use crate::host::{HOST_PLACES_MAX, HostCommand, HostId, HostOffer, host_event_id};
use crate::id::{AttemptId, ExecutorName, Offset, random_id};
use crate::store::{Batch, Lease};

/// Lives as a host, one life after the other, until told to stop or something fails for good.
pub(super) async fn run(
    parts: &Parts,
    offer: &HostOffer,
    stop: &mut watch::Receiver<bool>,
    joined: &watch::Sender<Option<HostId>>,
) -> Result<()> {
    loop {
        let claimed = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            claimed = claim(parts, offer) => claimed,
        };
        let ended = match claimed {
            Ok((host, lease)) => live(Life { parts, offer, host, lease }, stop.clone(), joined).await,
            Err(error) => Err(error),
        };
        joined.send_replace(None);
        match ended {
            Ok(()) => return Ok(()),
            Err(error) if lost_lead(&error) => tracing::warn!(%error, "no longer a host; joining anew"),
            Err(error) => return Err(error),
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            () = tokio::time::sleep(parts.settings.standby_poll) => {}
        }
    }
}

/// Takes the first place that is free among the hosts of its name.
async fn claim(parts: &Parts, offer: &HostOffer) -> Result<(HostId, Lease)> {
    // A new one for each life: nobody takes it for the last one.
    let holder = random_id();
    loop {
        for place in 1..=HOST_PLACES_MAX {
            let name = HostId::lease_of(&offer.name, place);
            match parts.store.acquire(&name, &holder, parts.settings.lease_ttl).await {
                Ok(Some(lease)) => return Ok((HostId { name: offer.name.clone(), place, epoch: lease.epoch }, lease)),
                Ok(None) => {}
                Err(error) if error.retry() == Retry::Never => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "cannot ask for the lease of a host; trying again");
                    break;
                }
            }
        }
        tokio::time::sleep(parts.settings.standby_poll).await;
    }
}

struct Life<'a> {
    parts: &'a Parts,
    offer: &'a HostOffer,
    host: HostId,
    lease: Lease,
}

/// The attempts that were begun and whose end was not reported yet.
#[derive(Debug, Default)]
struct Begun(Mutex<BTreeMap<AttemptId, ExecutorName>>);

impl Begun {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptId, ExecutorName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, report: &Report) {
        if matches!(report.kind, ReportKind::Ended(_)) {
            self.lock().remove(&report.attempt);
        }
    }
}

/// One life. `Ok` when told to stop. Nothing that it began runs any more when it returns, as far as its executors can tell in time.
async fn live(life: Life<'_>, mut stop: watch::Receiver<bool>, joined: &watch::Sender<Option<HostId>>) -> Result<()> {
    let Life { parts, offer, host, lease } = &life;
    let (reporter, reports) = Reporter::channel(parts.settings.report_queue);
    let executors: BTreeMap<ExecutorName, Arc<dyn Executor>> =
        parts.executors.iter().filter(|(name, _)| offer.executors.contains_key(*name)).map(clone_pair).collect();
    for executor in executors.values() {
        let (store, bus, clock) = (Arc::clone(&parts.store), Arc::clone(&parts.bus), Arc::clone(&parts.clock));
        executor.attach(ExecutorHost { reporter: reporter.clone(), store, bus, clock, epoch: lease.epoch }).await?;
    }
    let begun = Arc::new(Begun::default());
    let (close, closing) = watch::channel(false);
    let (mut publishing, mut dispatching) = (JoinSet::new(), JoinSet::new());
    let seen = Arc::clone(&begun);
    let note = move |report: &Report| seen.note(report);
    publishing.spawn(publish_reports(Arc::clone(&parts.bus), reports, closing, parts.settings.clone(), note));
    let (to_settle, unsettled) = mpsc::channel(parts.settings.dispatch_queue.max(1));
    let (bus, clock, settings) = (&parts.bus, &parts.clock, &parts.settings);
    let dispatchers = Dispatchers::start(&mut dispatching, &executors, bus, &reporter, clock, settings, &to_settle);
    let serving = Serving { life: &life, executors: &executors, dispatchers, begun: &begun, reporter, unsettled };
    let outcome = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        error = keep_lease(parts, lease) => Err(error),
        error = serving.serve(joined) => Err(error),
    };
    // Nothing is begun any more, and what ends from now on ends because it is told to.
    dispatching.shutdown().await;
    close.send_replace(true);
    let published = async { while publishing.join_next().await.is_some() {} };
    if tokio::time::timeout(parts.settings.lease_ttl, published).await.is_err() {
        publishing.shutdown().await;
    }
    // It does not join anew before. The executors are shut down at the end of the process, which ends what is left.
    tokio::select! {
        biased;
        () = kill_all(parts, &executors, &begun) => {}
        () = async {
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep(parts.settings.lease_ttl).await;
        } => tracing::warn!(%host, "a host leaves before everything that ran on it has ended"),
    }
    if outcome.is_ok() {
        let backoff_max = parts.settings.backoff_max;
        let left = async {
            say_left(&*parts.store, &*parts.clock, None, host, false, backoff_max).await?;
            parts.store.release(lease).await
        };
        match tokio::time::timeout(parts.settings.lease_ttl, left).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, %host, "the leader will find out that the host has left"),
            Err(_) => tracing::debug!(%host, "the leader will find out that the host has left"),
        }
    }
    outcome
}

fn clone_pair(pair: (&ExecutorName, &Arc<dyn Executor>)) -> (ExecutorName, Arc<dyn Executor>) {
    (pair.0.clone(), Arc::clone(pair.1))
}

/// Renews the lease at a third of its life; returns when it is lost, or could not be renewed for so long that it may be.
async fn keep_lease(parts: &Parts, lease: &Lease) -> Error {
    let ttl = parts.settings.lease_ttl;
    let mut holds_until = Instant::now() + ttl;
    loop {
        tokio::time::sleep(ttl / 3).await;
        let asked = Instant::now();
        let answer = parts.store.acquire(&lease.name, &lease.holder, ttl);
        match tokio::time::timeout_at(holds_until, answer).await {
            Ok(Ok(Some(renewed))) if renewed.epoch == lease.epoch => holds_until = asked + ttl,
            Ok(Ok(_)) => return Error::new(ErrorKind::Fenced, "renew lease", "the host was taken for lost"),
            Ok(Err(error)) if error.retry() == Retry::Never => return error,
            Ok(Err(error)) => tracing::warn!(%error, "lease of the host not renewed; trying again"),
            Err(_) => {}
        }
        if Instant::now() >= holds_until {
            return Error::new(ErrorKind::Fenced, "renew lease", "the host could not renew its lease in time");
        }
    }
}

/// Kills what was begun, and waits until it has ended.
async fn kill_all(parts: &Parts, executors: &BTreeMap<ExecutorName, Arc<dyn Executor>>, begun: &Begun) {
    let begun = std::mem::take(&mut *begun.lock());
    let of = |name: &ExecutorName| -> Vec<AttemptId> {
        begun.iter().filter(|(_, executor)| *executor == name).map(|(attempt, _)| *attempt).collect()
    };
    for (name, executor) in executors {
        let mut attempts = of(name);
        for attempt in &attempts {
            if let Err(error) = repeat(parts, || executor.stop(*attempt, StopMode::Kill)).await {
                tracing::warn!(%error, %attempt, "an attempt of a host that is gone could not be stopped");
            }
        }
        while !attempts.is_empty() {
            let mut left = Vec::new();
            for some in attempts.chunks(OBSERVE_MAX) {
                match repeat(parts, || executor.observe(some)).await {
                    Ok(observed) => {
                        left.extend(some.iter().zip(observed).filter(|(_, o)| is_going_on(o)).map(|(a, _)| *a))
                    }
                    Err(error) => tracing::warn!(%error, executor = %name, "attempts cannot be looked up"),
                }
            }
            attempts = left;
            if !attempts.is_empty() {
                tokio::time::sleep(KILLED_POLL).await;
            }
        }
    }
}

/// How often it is looked whether what was killed has ended.
const KILLED_POLL: Duration = Duration::from_millis(20);

fn is_going_on(observed: &Observation) -> bool {
    matches!(observed, Observation::Queued | Observation::Running)
}

/// Does what the log says, while the lease holds.
struct Serving<'a> {
    life: &'a Life<'a>,
    executors: &'a BTreeMap<ExecutorName, Arc<dyn Executor>>,
    dispatchers: Dispatchers,
    begun: &'a Begun,
    reporter: Reporter,
    unsettled: mpsc::Receiver<AttemptId>,
}

impl Serving<'_> {
    async fn serve(mut self, joined: &watch::Sender<Option<HostId>>) -> Error {
        match self.join_and_serve(joined).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    async fn join_and_serve(&mut self, joined: &watch::Sender<Option<HostId>>) -> Result<std::convert::Infallible> {
        let Life { parts, host, .. } = self.life;
        let mut at = self.join().await?;
        tracing::info!(%host, "a host");
        joined.send_replace(Some(host.clone()));
        let told = EventFilter::all().namespace(SYSTEM_NAMESPACE).event_type(TELL_HOST).key(host.to_string());
        let mut unknown = BTreeSet::new();
        let mut look_again: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                woken = parts.bus.wait(at) => match woken {
                    Ok(()) => {}
                    Err(error) if error.retry() == Retry::Never => return Err(error),
                    Err(error) => {
                        tracing::warn!(%error, "waiting for events failed; trying again");
                        tokio::time::sleep(parts.settings.standby_poll).await;
                        continue;
                    }
                },
                Some(attempt) = self.unsettled.recv() => {
                    unknown.insert(attempt);
                    look_again.get_or_insert_with(|| Instant::now() + LOOK_AGAIN);
                    continue;
                }
                () = sleep_until(look_again) => {
                    self.look_again(&mut unknown).await?;
                    look_again = (!unknown.is_empty()).then(|| Instant::now() + LOOK_AGAIN);
                    continue;
                }
            }
            match parts.bus.read(at, &told, EVENTS_PAGE_MAX).await {
                Ok(page) => {
                    for told in read_told(parts, host, &page.events).await? {
                        self.carry_out(told).await;
                    }
                    at = page.covered;
                }
                Err(error) if error.retry() == Retry::Never => return Err(gap_ends_life(error)),
                Err(error) => {
                    tracing::warn!(%error, "read failed; trying again");
                    tokio::time::sleep(parts.settings.standby_poll).await;
                }
            }
        }
    }

    /// Says in the log, under its lease, that this host is there. What it is told stands behind that.
    async fn join(&self) -> Result<Offset> {
        let Life { parts, offer, host, lease } = self.life;
        let event = Control::HostJoined { host: host.clone(), offer: HostOffer::clone(offer) }
            .into_event(host_event_id(host, "joined"));
        let batch = Batch { fence: Some(lease.fence()), ..Batch::at(parts.clock.now()) }.event(event);
        let receipt = repeat(parts, || parts.store.commit(batch.clone())).await?;
        Ok(receipt.offsets.first().copied().unwrap_or_default())
    }

    async fn carry_out(&self, told: Told) {
        let Told { attempt, executor, command, launch } = told;
        let dispatch = match (command, launch) {
            (HostCommand::Launch, Some((launch, missing))) => {
                self.begun.lock().insert(attempt, executor.clone());
                Dispatch::Launch { launch, missing }
            }
            // It ended, or went elsewhere, before this host could begin.
            (HostCommand::Launch, None) => return,
            (HostCommand::Signal { signal }, _) => Dispatch::Signal { attempt, signal: Box::new(signal) },
            (HostCommand::Stop { mode }, _) => Dispatch::Stop { attempt, mode },
        };
        if !self.dispatchers.send(&executor, dispatch).await {
            // It was placed for an offer that this host never made.
            self.report(attempt, Ending::refused(format!("host {} has no executor {executor}", self.life.host))).await;
        }
    }

    /// Asks for attempts of which their platform could not say whether it had accepted them before they were to stop.
    async fn look_again(&self, unknown: &mut BTreeSet<AttemptId>) -> Result<()> {
        for attempt in std::mem::take(unknown) {
            let Some(executor) = self.begun.lock().get(&attempt).cloned() else { continue };
            let Some(executor) = self.executors.get(&executor) else { continue };
            let asked = [attempt];
            match repeat(self.life.parts, || executor.observe(&asked)).await?.as_slice() {
                [Observation::NotFound] => self.report(attempt, Ending::Stopped).await,
                [Observation::Ended(ending)] => self.report(attempt, ending.clone()).await,
                [Observation::Queued | Observation::Running] => {}
                _ => _ = unknown.insert(attempt),
            }
        }
        Ok(())
    }

    async fn report(&self, attempt: AttemptId, ending: Ending) {
        let report = Report { attempt, at: self.life.parts.clock.now(), kind: ReportKind::Ended(ending) };
        // Refused only when this life is over.
        let _ = self.reporter.report(report).await;
    }
}

/// A host that lagged so far behind that the log was trimmed below it does not know what it was told: it begins anew.
fn gap_ends_life(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::new(ErrorKind::Fenced, "read commands", "the log was trimmed below this host"),
        _ => error,
    }
}
