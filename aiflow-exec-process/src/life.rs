//! The life of one attempt, from its start or its finding to its ending.
//!
//! One task per attempt does two things side by side: it *guards* the process (waits for its end, stops it, times it out) and it
//! *listens* (publishes what the job says). When both are through, and all events are in the log, the ending is reported.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiflow_core::Result;
use aiflow_core::event::NewEvent;
use aiflow_core::executor::{Ending, Launch, ReportKind, StopMode, Submission};
use rustix::process::Signal;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::events::{Follower, Said, Until};
use crate::files;
use crate::launch::{Accepted, launch};
use crate::process::Group;
use crate::rundir::{Record, Standing, StopReason};
use crate::shared::{Attempt, Shared, Stage, blocking, blocking_io, lock};

/// Pause before files that could not be read are read again.
const REREAD_PAUSE: Duration = Duration::from_millis(500);

/// Pause between two looks for a claim; a shell needs about a millisecond to make it.
const CLAIM_PAUSE: Duration = Duration::from_millis(1);
const CLAIM_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often a wrapper is started whose claim another host bars in that moment.
const STARTS_MAX: u32 = 8;

/// Whether this executor started the attempt, or found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Started,
    Found,
}

/// What is left to be done when the process is gone.
struct Over {
    ending: Ending,
    has_unpublished_events: bool,
}

/// Forgets the attempt however its task ends.
struct Leave<'a>(&'a Shared, &'a Attempt);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

/// Submits an attempt, answers, and lives with it to its end.
pub(crate) async fn submit(
    shared: Arc<Shared>,
    attempt: Arc<Attempt>,
    launched: Launch,
    answer: oneshot::Sender<Result<Submission>>,
) {
    let leave = Leave(&shared, &attempt);
    let (record, group, submission) = match start(&shared, &attempt, launched).await {
        Ok(Accepted::Now(record, group, _)) => (record, Some(group), Submission::Submitted),
        Ok(Accepted::Before(record)) => (record, None, Submission::AlreadySubmitted),
        Err(error) => {
            drop(leave);
            let _ = answer.send(Err(error));
            return;
        }
    };
    let _ = attempt.epoch.set(record.epoch);
    attempt.stage.send_replace(Stage::Live);
    // Whoever asked may have stopped waiting.
    let _ = answer.send(Ok(submission));
    let origin = match submission {
        Submission::Submitted => Origin::Started,
        Submission::AlreadySubmitted => Origin::Found,
    };
    Life::new(&shared, &attempt, record).live(group, origin).await;
}

/// Starts the attempt, unless that was done before.
///
/// Another host that has just begun to look after the attempt may bar the claim before the wrapper of this one has made it. Who is right is
/// said by the epochs: this host is refused, or goes on with the next claim.
async fn start(shared: &Arc<Shared>, attempt: &Arc<Attempt>, launched: Launch) -> Result<Accepted> {
    let launched = Arc::new(launched);
    let mut starts = 0_u32;
    loop {
        let permit = shared.starts.acquire().await;
        let laid = files::lay(shared, &attempt.dir, &launched).await;
        let (task_shared, task_attempt, launched) = (Arc::clone(shared), Arc::clone(attempt), Arc::clone(&launched));
        let launch = move || {
            let (options, has_files) = (&task_shared.options, task_shared.files.is_some());
            launch(&task_attempt.dir, &launched, options, has_files, || task_shared.lifeline())
        };
        let accepted = match laid {
            Ok(()) => blocking("submit", launch).await,
            Err(error) => Err(error),
        };
        drop(permit);
        let (record, group, claim) = match accepted? {
            Accepted::Now(record, group, claim) => (record, group, claim),
            before @ Accepted::Before(_) => return Ok(before),
        };
        starts += 1;
        if claimed(attempt, &group, claim).await || starts == STARTS_MAX {
            return Ok(Accepted::Now(record, group, claim));
        }
        tracing::debug!(attempt = %attempt.id, "another host has barred the claim; trying again");
        group.gone().await;
        blocking("submit", move || {
            group.bury(&record.run_dir);
            Ok(())
        })
        .await?;
    }
}

/// Waits until the wrapper has claimed the attempt: from then on, every later host knows that it was accepted. `false` if it cannot any more.
async fn claimed(attempt: &Attempt, group: &Group, claim: u32) -> bool {
    let claiming = async {
        loop {
            if let Some(is_claimed) = attempt.dir.is_claimed(claim) {
                return is_claimed;
            }
            tokio::time::sleep(CLAIM_PAUSE).await;
        }
    };
    tokio::select! {
        is_claimed = claiming => is_claimed,
        // It died before: its ending says so, unless it was kept out.
        () = group.gone() => attempt.dir.is_claimed(claim).unwrap_or(true),
        // It is suspended, or the machine all but stands still.
        () = tokio::time::sleep(CLAIM_WAIT_MAX) => true,
    }
}

/// Lives with an attempt that was found, to its end.
pub(crate) async fn adopt(shared: Arc<Shared>, attempt: Arc<Attempt>, record: Record, group: Option<Group>) {
    let _leave = Leave(&shared, &attempt);
    Life::new(&shared, &attempt, record).live(group, Origin::Found).await;
}

struct Life {
    shared: Arc<Shared>,
    attempt: Arc<Attempt>,
    record: Record,
    /// Locked by one reader at a time, where it may block.
    follower: Arc<Mutex<Follower>>,
}

impl Life {
    fn new(shared: &Arc<Shared>, attempt: &Arc<Attempt>, record: Record) -> Self {
        let follower = Follower::new(attempt.dir.events(), record.identity.clone(), shared.options.events_bytes_max);
        Self {
            shared: Arc::clone(shared),
            attempt: Arc::clone(attempt),
            record,
            follower: Arc::new(Mutex::new(follower)),
        }
    }

    async fn live(&self, group: Option<Group>, origin: Origin) {
        let (gone, when_gone) = watch::channel(false);
        let guard = async {
            let over = self.guard(group, origin).await;
            gone.send_replace(true);
            over
        };
        let (over, ()) = tokio::join!(guard, self.listen(when_gone, origin));
        let Some(over) = over else { return };
        if over.has_unpublished_events && !self.publish_rest().await {
            return;
        }
        let Some(ending) = files::keep(&self.shared, &self.attempt.dir, &self.record, over.ending).await else {
            return;
        };
        self.attempt.stage.send_replace(Stage::Ended(ending.clone()));
        self.shared.report(self.attempt.id, ReportKind::Ended(ending)).await;
    }

    /// Sees the process to its end; `None` if the executor closes before.
    async fn guard(&self, mut group: Option<Group>, mut origin: Origin) -> Option<Over> {
        loop {
            if let Some(group) = &group {
                let resumed = origin == Origin::Found;
                tokio::select! {
                    () = self.guard_group(group, resumed) => {}
                    () = self.shared.closed() => return None,
                }
            }
            // From here on, a stop comes too late or has left its mark.
            let mut is_over = self.attempt.is_over.lock().await;
            match self.settle(group.take()).await {
                Ok((Standing::Running(found), _)) => {
                    group = Some(found);
                    origin = Origin::Found;
                }
                Ok((Standing::Ended(ending), has_unpublished_events)) => {
                    *is_over = true;
                    return Some(Over { ending, has_unpublished_events });
                }
                Ok((Standing::Absent, _)) => {
                    // It was accepted, and its ending is final: it must not begin anew.
                    self.mark(StopReason::NeverStarted).await;
                    *is_over = true;
                    return Some(Over { ending: StopReason::NeverStarted.ending(), has_unpublished_events: false });
                }
                Err(error) => {
                    tracing::warn!(attempt = %self.attempt.id, %error, "cannot read how the attempt ended; trying again");
                    drop(is_over);
                    tokio::select! {
                        () = tokio::time::sleep(REREAD_PAUSE) => {}
                        () = self.shared.closed() => return None,
                    }
                }
            }
        }
    }

    /// What the files say after the process is gone, and whether there are events to publish.
    async fn settle(&self, gone: Option<Group>) -> Result<(Standing, bool)> {
        let dir = self.attempt.dir.clone();
        let run_dir = self.record.run_dir.clone();
        let shared = Arc::clone(&self.shared);
        blocking_io("settle attempt", move || {
            if let Some(group) = gone {
                group.bury(&run_dir);
            }
            let standing = dir.settle()?;
            shared.bound_logs(&dir);
            Ok((standing, dir.has_unpublished_events()?))
        })
        .await
    }

    /// Waits for the end of the process; ends it when that is asked or due.
    async fn guard_group(&self, group: &Group, resumed: bool) {
        let now = Instant::now();
        let dir = &self.attempt.dir;
        let mut stops = self.attempt.stop.subscribe();
        let mut kill_at = None;
        let mut time_out_at = self.record.timeout.and_then(|timeout| {
            let spent = if resumed { dir.running_for() } else { None };
            now.checked_add(timeout.saturating_sub(spent.unwrap_or_default()))
        });
        if resumed && let Some(spent) = dir.stopping_for() {
            // The host that was to end it died: it may have died before the first signal.
            ask_to_end(group);
            kill_at = now.checked_add(self.record.stop_grace.saturating_sub(spent));
            time_out_at = None;
        }
        let after = |duration| Instant::now().checked_add(duration);
        let mut silence_ends_at = self.record.heartbeat_timeout.and_then(after);
        stops.mark_changed();
        let mut gone = pin!(group.gone());
        loop {
            tokio::select! {
                biased;
                () = &mut gone => return,
                Ok(()) = stops.changed() => {
                    let mode = *stops.borrow_and_update();
                    match mode {
                        Some(StopMode::Graceful) if kill_at.is_none() => {
                            ask_to_end(group);
                            kill_at = after(self.record.stop_grace);
                        }
                        Some(StopMode::Kill) => group.signal(Signal::KILL),
                        Some(StopMode::Graceful) | None => {}
                    }
                    if mode.is_some() {
                        time_out_at = None;
                    }
                }
                () = until(time_out_at) => {
                    time_out_at = None;
                    self.mark(StopReason::TimedOut).await;
                    ask_to_end(group);
                    kill_at = after(self.record.stop_grace);
                }
                () = until(silence_ends_at) => {
                    let left = self.silence_left().filter(|left| !left.is_zero());
                    silence_ends_at = left.and_then(after);
                    if left.is_none() {
                        self.mark(StopReason::Silent).await;
                        group.signal(Signal::KILL);
                    }
                }
                () = until(kill_at) => {
                    group.signal(Signal::KILL);
                    // Only a process stuck in the kernel is left now; it ends when it comes back.
                    gone.await;
                    return;
                }
            }
        }
    }

    async fn mark(&self, reason: StopReason) {
        let dir = self.attempt.dir.clone();
        let marked = blocking_io("end attempt", move || dir.mark_stop(reason)).await;
        if let Err(error) = marked {
            tracing::warn!(attempt = %self.attempt.id, ?reason, %error, "cannot record why the attempt is ended; ending it all the same");
        }
    }

    /// How long the attempt may still be silent; `None` if it need not give signs of life.
    fn silence_left(&self) -> Option<Duration> {
        let timeout = self.record.heartbeat_timeout?;
        let silent = self.attempt.dir.silent_for().unwrap_or_default();
        Some(timeout.saturating_sub(silent))
    }

    /// Publishes what the job says until it is gone; the rest is left for [`Life::publish_rest`].
    async fn listen(&self, mut when_gone: watch::Receiver<bool>, origin: Origin) {
        let _watch = self.shared.watch_events(&self.attempt);
        if origin == Origin::Started {
            let logs = Some(self.attempt.dir.location());
            self.shared.report(self.attempt.id, ReportKind::Started { logs }).await;
        }
        loop {
            tokio::select! {
                biased;
                // The sender lives as long as this future.
                _ = when_gone.wait_for(|gone| *gone) => return,
                () = self.attempt.said.notified() => {}
            }
            match self.publish_some(Until::LastNewline).await {
                Ok(Some(0)) => {}
                Ok(Some(_)) => self.attempt.said.notify_one(),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(attempt = %self.attempt.id, %error, "cannot read the event file");
                }
            }
        }
    }

    /// Publishes all that the job said; `false` if the executor closes before.
    async fn publish_rest(&self) -> bool {
        loop {
            let read = match self.publish_some(Until::EndOfFile).await {
                Ok(Some(0)) => {
                    let dir = self.attempt.dir.clone();
                    blocking_io("mark events", move || dir.mark_published()).await
                }
                Ok(Some(_)) => continue,
                Ok(None) => return false,
                Err(error) => Err(error),
            };
            let Err(error) = read else { return true };
            tracing::warn!(attempt = %self.attempt.id, %error, "cannot read the event file to its end; trying again");
            tokio::select! {
                () = tokio::time::sleep(REREAD_PAUSE) => {}
                () = self.shared.closed() => return false,
            }
        }
    }

    /// Publishes one batch and returns its size; `None` if the executor closes before.
    async fn publish_some(&self, until: Until) -> Result<Option<usize>> {
        let follower = Arc::clone(&self.follower);
        let said = blocking_io("read events", move || lock(&follower).read(until)).await?;
        let n_said = said.len();
        let mut events: Vec<NewEvent> = Vec::with_capacity(n_said);
        let mut checkpoint: Option<String> = None;
        let mut labels: Option<(String, BTreeSet<String>)> = None;
        for said in said {
            match said {
                Said::Event(event) => events.push(*event),
                // Of those read together the last one counts.
                Said::Checkpoint(event) => {
                    if let Some(last) = checkpoint.replace(event.id.clone()) {
                        events.retain(|event| event.id != last);
                    }
                    events.push(*event);
                }
                // Of those that change the same labels the last one counts: progress that is told again and again is one event.
                Said::Labels(event, names) => {
                    if let Some((last, _)) = labels.take_if(|(_, before)| before.is_subset(&names)) {
                        events.retain(|event| event.id != last);
                    }
                    labels = Some((event.id.clone(), names));
                    events.push(*event);
                }
                Said::Ready => {
                    // What was said before comes first.
                    if !self.publish(std::mem::take(&mut events)).await {
                        return Ok(None);
                    }
                    self.shared.report(self.attempt.id, ReportKind::Ready).await;
                }
            }
        }
        Ok(self.publish(events).await.then_some(n_said))
    }

    async fn publish(&self, events: Vec<NewEvent>) -> bool {
        events.is_empty() || self.shared.publish(self.attempt.id, events).await
    }
}

/// Asks a group to end. A stopped process would not hear it, so it is continued.
fn ask_to_end(group: &Group) {
    group.signal(Signal::TERM);
    group.signal(Signal::CONT);
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
