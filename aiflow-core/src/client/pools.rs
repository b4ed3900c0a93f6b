//! Pools: how many slots are there, who holds them, and who waits?

use super::AiFlow;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::execution::{JobExecution, JobStatus, KIND_JOB_EXECUTION, KIND_POOL, POOL_SLOTS_MAX, Pool};
use crate::id::{JobExecutionId, Offset, PoolName};
use crate::records::body_of;
use crate::store::{MetaStoreExt as _, Query};

/// The most pools of a project that are listed.
const POOLS_LISTED_MAX: usize = 10_000;
/// The most live job executions that are looked through for those that hold slots.
const LIVE_JOBS_MAX: usize = 1_000_000;

/// A pool, and who has to do with it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolInfo {
    /// The pool.
    pub pool: Pool,
    /// The job executions that hold slots, each with how many.
    pub holders: Vec<(JobExecutionId, u32)>,
    /// The job executions that wait for slots, first to go first.
    pub waiting: Vec<JobExecutionId>,
}

impl PoolInfo {
    /// The slots that are held. More than there are, for a while, after their number was lowered.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.holders.iter().map(|(_, taken)| u64::from(*taken)).sum()
    }
}

impl AiFlow {
    /// Says how many slots a pool of this project has, from now on. Attempts that hold slots keep them; with fewer slots than are held, none
    /// starts until enough have ended; with 0 none starts at all. Returns the offset of the request.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed or there are more than [`POOL_SLOTS_MAX`] slots; others are those of the log.
    pub async fn set_pool(&self, pool: impl AsRef<str>, slots: u32) -> Result<Offset> {
        if slots > POOL_SLOTS_MAX {
            return Err(Error::invalid("set pool", format!("a pool has at most {POOL_SLOTS_MAX} slots")));
        }
        self.change_pool(pool.as_ref(), Some(slots)).await
    }

    /// Removes a pool. Jobs that use it wait until there is one again. Returns the offset of the request.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the log.
    pub async fn remove_pool(&self, pool: impl AsRef<str>) -> Result<Offset> {
        self.change_pool(pool.as_ref(), None).await
    }

    async fn change_pool(&self, pool: &str, slots: Option<u32>) -> Result<Offset> {
        let (project, pool) = (self.project_name().clone(), PoolName::parse(pool)?);
        self.control(Control::SetPool { project, pool, slots }).await
    }

    /// The pools of this project, with who holds their slots and who waits, in the order in which they were first set.
    ///
    /// # Errors
    /// `Full` if there are more than 10,000 pools or 1,000,000 live job executions; others are those of the store.
    pub async fn pools(&self) -> Result<Vec<PoolInfo>> {
        let query = Query::kind(KIND_POOL).project(self.project_name().as_str());
        let pools = self.store().query_all(query, POOLS_LISTED_MAX).await?;
        let pools: Vec<Pool> = pools.iter().map(body_of).collect::<Result<_>>()?;
        if pools.is_empty() {
            return Ok(Vec::new());
        }
        let live = JobStatus::ALL.iter().filter(|status| !status.is_terminal()).map(|status| status.as_str());
        let query = Query::kind(KIND_JOB_EXECUTION).project(self.project_name().as_str()).states(live);
        let jobs = self.store().query_all(query, LIVE_JOBS_MAX).await?;
        let jobs: Vec<JobExecution> = jobs.iter().map(body_of).collect::<Result<_>>()?;
        Ok(pools.into_iter().map(|pool| info(pool, &jobs)).collect())
    }
}

fn info(pool: Pool, jobs: &[JobExecution]) -> PoolInfo {
    let of_pool = |job: &JobExecution| job.slots.clone().filter(|slots| slots.of.pool == pool.name);
    let users: Vec<_> = jobs.iter().filter_map(|job| Some((job.id, of_pool(job)?))).collect();
    let holders = users.iter().filter(|(_, slots)| slots.taken > 0).map(|(id, slots)| (*id, slots.taken)).collect();
    let mut waiting: Vec<_> = users.iter().filter(|(_, slots)| slots.waiting).collect();
    waiting.sort_by_key(|(id, slots)| (std::cmp::Reverse(slots.priority), *id));
    let waiting = waiting.into_iter().map(|(id, _)| *id).collect();
    PoolInfo { pool, holders, waiting }
}
