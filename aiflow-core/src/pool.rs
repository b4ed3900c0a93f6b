//! Pools: how many slots does a named resource have, and what does an execution of a job hold of it?

use serde::{Deserialize, Serialize};

use crate::execution::is_zero;
use crate::id::{PoolName, ProjectName};

/// Record kind of a pool.
pub const KIND_POOL: &str = "pool";
/// The most slots of a pool.
pub const POOL_SLOTS_MAX: u32 = 1_000_000;

/// A named number of slots that the jobs of a project share, whatever workflow they belong to: GPUs, licences, connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Project.
    pub project: ProjectName,
    /// Name.
    pub name: PoolName,
    /// How many there are. With 0, nothing new starts.
    pub slots: u32,
}

/// How many slots of which pool an attempt of a job takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolUse {
    /// The pool.
    pub pool: PoolName,
    /// How many slots; 1 to [`POOL_SLOTS_MAX`]. A job that wants more than there are takes all of them.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// What an execution of a job has to do with its pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// What it asks for.
    #[serde(flatten)]
    pub of: PoolUse,
    /// Of those that wait, a higher one goes first; among equals, the older one.
    #[serde(default)]
    pub priority: i32,
    /// The slots that its current attempt holds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub taken: u32,
    /// Its next attempt waits for slots.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
}
