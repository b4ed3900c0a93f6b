//! Hosts: which processes run attempts, how many and of which kind, and where does an attempt run?
//!
//! A scheduler that is a [`Host`] offers executors to whoever leads. The leader places attempts on hosts; each host runs what was placed on it and
//! reports. A scheduler that is none keeps its executors for itself, and uses them while it leads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::execution::is_zero_i32;
use crate::executor::{Signal, StopMode};
use crate::id::{AttemptId, ExecutorName, HostLabel, HostName};
use crate::time::Timestamp;

/// Record kind of a host.
pub const KIND_HOST: &str = "host";
/// The most hosts at a time.
pub const HOSTS_MAX: usize = 1_000;
/// The most hosts that are remembered after they have gone; the longest gone are forgotten first.
pub const HOSTS_GONE_MAX: usize = 100;
/// The most hosts of one name at a time.
pub const HOST_PLACES_MAX: u32 = 64;
/// The most labels of a host, and of a job.
pub const HOST_LABELS_MAX: usize = 32;
/// The most attempts that an executor of a host takes at a time.
pub const HOST_CAPACITY_MAX: u32 = 1_000_000;

/// What a process offers: its name, executors with how many attempts each takes at a time, and labels.
///
/// ```
/// use aiflow_core::host::Host;
///
/// let host = Host::named("ada").executor("function", 8).executor("process", 2).label("gpu");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "pass it to SchedulerBuilder::host"]
pub struct Host {
    name: String,
    executors: Vec<(String, u32)>,
    labels: Vec<String>,
}

impl Host {
    /// A host that offers nothing yet. Its name is for people: several hosts may have the same.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), executors: Vec::new(), labels: Vec::new() }
    }

    /// Offers an executor of the scheduler for at most `capacity` attempts at a time.
    pub fn executor(mut self, name: impl Into<String>, capacity: u32) -> Self {
        self.executors.push((name.into(), capacity));
        self
    }

    /// Adds a label. Jobs that ask for labels run only on hosts that have all of them.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.labels.push(label.into());
        self
    }

    /// The offer, if it is well formed.
    pub(crate) fn offer(&self) -> Result<HostOffer> {
        let name = HostName::parse(&self.name)?;
        let labels: BTreeSet<HostLabel> = self.labels.iter().map(HostLabel::parse).collect::<Result<_>>()?;
        let mut executors = BTreeMap::new();
        for (executor, capacity) in &self.executors {
            let executor = ExecutorName::parse(executor)?;
            if !(1..=HOST_CAPACITY_MAX).contains(capacity) {
                let message = format!("an executor of a host takes 1 to {HOST_CAPACITY_MAX} attempts at a time");
                return Err(Error::invalid("offer host", message).with("executor", executor));
            }
            if executors.insert(executor.clone(), *capacity).is_some() {
                return Err(Error::invalid("offer host", "an executor is offered twice").with("executor", executor));
            }
        }
        if executors.is_empty() || labels.len() > HOST_LABELS_MAX {
            let message = format!("a host offers at least one executor, and has at most {HOST_LABELS_MAX} labels");
            return Err(Error::invalid("offer host", message).with("host", name));
        }
        Ok(HostOffer { name, labels, executors })
    }
}

/// What a host offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostOffer {
    /// Its name.
    pub name: HostName,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<HostLabel>,
    /// How many attempts each of its executors takes at a time.
    pub executors: BTreeMap<ExecutorName, u32>,
}

impl HostOffer {
    /// Whether it has this executor and all of these labels.
    #[must_use]
    pub fn fits(&self, executor: &ExecutorName, labels: &BTreeSet<HostLabel>) -> bool {
        self.executors.contains_key(executor) && labels.is_subset(&self.labels)
    }
}

/// One life of a host: from the moment it joined until it left, or was lost. Written `ada:1:7`.
///
/// Hosts of one name have different places, and a place that is taken again has a higher epoch: so no two lives share an id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct HostId {
    /// Its name.
    pub name: HostName,
    /// Its place among the hosts of this name, from 1.
    pub place: u32,
    /// Epoch of the lease that it holds.
    pub epoch: u64,
}

impl HostId {
    /// The lease that a host of this name at this place holds while it lives.
    pub(crate) fn lease_of(name: &HostName, place: u32) -> String {
        format!("host:{name}:{place}")
    }

    /// The lease that it holds while it lives.
    #[must_use]
    pub fn lease(&self) -> String {
        Self::lease_of(&self.name, self.place)
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}:{}", self.name, self.place, self.epoch))
    }
}

impl Serialize for HostId {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for HostId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.rsplitn(3, ':');
        let epoch = parts.next().and_then(|epoch| epoch.parse().ok());
        let place = parts.next().and_then(|place| place.parse().ok());
        let name = parts.next().map(HostName::parse).transpose()?;
        match (name, place, epoch) {
            (Some(name), Some(place), Some(epoch)) => Ok(Self { name, place, epoch }),
            _ => Err(Error::invalid("parse id", "host id must look like ada:1:7").with("id", text.escape_default())),
        }
    }
}

impl TryFrom<String> for HostId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// How a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HostStatus {
    /// Attempts are placed on it.
    Live,
    /// It finishes what it has, and nothing new is placed on it.
    Draining,
    /// It left by itself.
    Left,
    /// It fell silent: what it had was lost with it.
    Lost,
}

impl HostStatus {
    /// The status as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Draining => "draining",
            Self::Left => "left",
            Self::Lost => "lost",
        }
    }

    /// Whether it has left or was lost.
    #[must_use]
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Left | Self::Lost)
    }
}

impl fmt::Display for HostStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A host as the scheduler knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// Which life of which host.
    pub id: HostId,
    /// What it offers.
    #[serde(flatten)]
    pub offer: HostOffer,
    /// How it stands.
    pub status: HostStatus,
    /// When it joined.
    pub joined_at: Timestamp,
    /// When it left or was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<Timestamp>,
}

/// Where attempts of a job execution may run, and where the current one does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Labels that the host must have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub runs_on: BTreeSet<HostLabel>,
    /// The leader had no such executor: it is to run on a host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
    /// The host that the current attempt is placed on; `None`: in the process of the leader, or nowhere now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// The next attempt waits for a host that has room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// Of those that wait, a higher one goes first; among equals, the older one.
    #[serde(default, skip_serializing_if = "is_zero_i32")]
    pub priority: i32,
}

impl Placement {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a host is told to do with an attempt that is placed on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
#[non_exhaustive]
pub enum HostCommand {
    /// Start it.
    Launch,
    /// Hand a value to it.
    Signal {
        /// The value.
        signal: Signal,
    },
    /// Stop it.
    Stop {
        /// How.
        #[serde(default, skip_serializing_if = "StopMode::is_graceful")]
        mode: StopMode,
    },
}

/// The id of the event that says that something became of a host.
pub(crate) fn host_event_id(host: &HostId, what: &str) -> String {
    format!("host:{host}:{what}")
}

/// The id of the event that says that the leader cannot run an attempt.
pub(crate) fn unplaced_id(attempt: AttemptId) -> String {
    format!("unplaced:{attempt}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_id_reads_back_whatever_the_name() {
        for name in ["ada", "a.b-c_9", "1"] {
            let id = HostId { name: HostName::parse(name).unwrap(), place: 3, epoch: u64::MAX };
            assert_eq!(id.to_string().parse::<HostId>().unwrap(), id);
        }
        for bad in ["", "ada", "ada:1", "ada:x:1", ":1:1", "a/b:1:1"] {
            assert!(bad.parse::<HostId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_offer_that_cannot_be_meant_is_refused() {
        let ok = Host::named("ada").executor("function", 1);
        assert!(ok.offer().is_ok());
        assert!(Host::named("ada").offer().is_err());
        assert!(Host::named("a b").executor("function", 1).offer().is_err());
        assert!(Host::named("ada").executor("function", 0).offer().is_err());
        assert!(ok.clone().executor("function", 2).offer().is_err());
        assert!(ok.label("g p u").offer().is_err());
    }
}
