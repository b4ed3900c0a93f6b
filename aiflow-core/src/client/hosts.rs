//! Hosts: which are there, what runs on them, and why does an attempt find no room?

use std::collections::BTreeMap;
use std::time::Duration;

use super::AiFlow;
use crate::control::Control;
use crate::error::Result;
use crate::execution::{JobExecution, JobStatus, KIND_JOB_EXECUTION};
use crate::host::{HOSTS_GONE_MAX, HOSTS_MAX, HostId, HostState, HostStatus, KIND_HOST, host_event_id};
use crate::id::{AttemptId, ExecutorName, Offset};
use crate::records::body_of;
use crate::runtime::scheduler_cursor;
use crate::store::{MetaStoreExt as _, Query};

/// The most hosts that are listed.
const HOSTS_LISTED_MAX: usize = HOSTS_MAX + HOSTS_GONE_MAX;
/// The most live job executions that are looked through for those that are placed on hosts.
const LIVE_JOBS_MAX: usize = 1_000_000;
/// The most hosts that a reason names.
const HOSTS_NAMED_MAX: usize = 5;
/// How often it is looked whether a host has ended what it has.
const DRAIN_LOOK: Duration = Duration::from_millis(100);

/// A host, and what is placed on it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// The host.
    pub host: HostState,
    /// The attempts that are placed on it, each with its executor.
    pub attempts: BTreeMap<AttemptId, ExecutorName>,
}

impl HostInfo {
    /// How many attempts one of its executors has.
    #[must_use]
    pub fn used(&self, executor: &ExecutorName) -> usize {
        self.attempts.values().filter(|of| *of == executor).count()
    }
}

impl AiFlow {
    /// The hosts that have joined, with what is placed on each; of those that have gone, the last [`HOSTS_GONE_MAX`]. Attempts that run in the
    /// process of the leader are on none.
    ///
    /// # Errors
    /// `Full` if there are more than 1,000,000 live job executions; others are those of the store.
    pub async fn hosts(&self) -> Result<Vec<HostInfo>> {
        let hosts = self.store().query_all(Query::kind(KIND_HOST), HOSTS_LISTED_MAX).await?;
        let hosts: Vec<HostState> = hosts.iter().map(body_of).collect::<Result<_>>()?;
        if hosts.is_empty() {
            return Ok(Vec::new());
        }
        let live = JobStatus::ALL.iter().filter(|status| !status.is_terminal()).map(|status| status.as_str());
        let jobs = self.store().query_all(Query::kind(KIND_JOB_EXECUTION).states(live), LIVE_JOBS_MAX).await?;
        let mut on: BTreeMap<HostId, BTreeMap<AttemptId, ExecutorName>> = BTreeMap::new();
        for job in &jobs {
            let job: JobExecution = body_of(job)?;
            let attempt = job.attempt_id();
            if let Some(host) = job.placement.host {
                on.entry(host).or_default().insert(attempt, job.executor);
            }
        }
        Ok(hosts.into_iter().map(|host| HostInfo { attempts: on.remove(&host.id).unwrap_or_default(), host }).collect())
    }

    /// Lets nothing new be placed on a host, and waits until what it has has ended, or it has gone. When its scheduler is shut down then, nothing
    /// is lost or done again. Dropping the future does not take the request back.
    ///
    /// # Errors
    /// Those of the store and the log.
    pub async fn drain_host(&self, host: &HostId) -> Result<()> {
        let drains = Control::HostDrains { host: host.clone() };
        let asked: Offset = self.request(drains.into_event(host_event_id(host, "drains"))).await?;
        loop {
            let head = self.bus().head().await?.last;
            if scheduler_cursor(&**self.store()).await? >= asked {
                let hosts = self.hosts().await?;
                let mine = hosts.iter().find(|info| info.host.id == *host && !info.host.status.is_gone());
                if mine.is_none_or(|info| info.attempts.is_empty()) {
                    return Ok(());
                }
            }
            // Not everything that is decided is followed by an event.
            if let Ok(woken) = tokio::time::timeout(DRAIN_LOOK, self.bus().wait(head)).await {
                woken?;
            }
        }
    }

    /// Why the next attempt of a job execution finds no host.
    pub(super) async fn waits_for_host(&self, live: &JobExecution) -> Result<Option<String>> {
        if !live.placement.waiting {
            return Ok(None);
        }
        let labels: Vec<&str> = live.placement.runs_on.iter().map(AsRef::as_ref).collect();
        let with = if labels.is_empty() { String::new() } else { format!(" with {}", labels.join(", ")) };
        let wanted = format!("its next attempt waits for a host that offers {}{with}", live.executor);
        let hosts = self.hosts().await?;
        let fits = |info: &&HostInfo| info.host.offer.fits(&live.executor, &live.placement.runs_on);
        let here = hosts.iter().filter(fits).filter(|info| !info.host.status.is_gone());
        let mut named: Vec<String> = here.map(|info| of_host(info, &live.executor)).collect();
        let n_more = named.len().saturating_sub(HOSTS_NAMED_MAX);
        named.truncate(HOSTS_NAMED_MAX);
        let and_more = if n_more > 0 { format!(" and {n_more} more") } else { String::new() };
        Ok(Some(match named.is_empty() {
            true => format!("{wanted}: there is none"),
            false => format!("{wanted} and has room: {}{and_more}", named.join(", ")),
        }))
    }
}

fn of_host(info: &HostInfo, executor: &ExecutorName) -> String {
    let capacity = info.host.offer.executors.get(executor).copied().unwrap_or_default();
    match info.host.status {
        HostStatus::Draining => format!("{} drains", info.host.id),
        _ => format!("{} has {} of {capacity}", info.host.id, info.used(executor)),
    }
}
