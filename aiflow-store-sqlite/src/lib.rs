//! Store and event log of AIFlow in one SQLite file.
//!
//! Most applications get it through the crate `aiflow` and a URL such as `sqlite://data/aiflow.db`. One type, [`SqliteStore`],
//! implements both ports, so that a commit of the scheduler and its events share one transaction.
//!
//! What it promises: with [`Synchronous::Full`], the default, an acknowledged write survives a power loss. Requests that wait at the same
//! time share a transaction and its flush. Several processes of one host may use the same file; a reader is woken at once by writes of
//! its own process, and within 20 ms by those of others. The file can be read with the `sqlite3` shell: the views `event_log`,
//! `workflow_execution`, `job_execution`, `model_version`, … show it in people's terms. Which event, data and code made a model version?
//!
//! ```sql
//! WITH RECURSIVE up(kind, id) AS (
//!     VALUES ('model_version', 'wine/classifier/1')
//!     UNION SELECT upstream_kind, upstream_id FROM up JOIN lineage ON downstream_kind = kind AND downstream_id = id)
//! SELECT * FROM up;
//! ```
//!
//! In reading order: [`store`](SqliteStore) answers the ports; `writer` groups, `plan` decides, `apply` writes; `reader` and `query` read;
//! `lease` says who leads; `connect` and `schema` open the file; `sql` and `row` are its language; `error` says what faults mean.

mod apply;
mod connect;
mod error;
#[cfg(test)]
mod explain;
mod known;
mod lease;
mod options;
mod plan;
mod query;
mod reader;
mod row;
mod schema;
mod search;
mod signal;
mod sql;
mod store;
mod tail;
mod writer;

pub use options::{SCHEMES, SqliteOptions, Synchronous};
pub use store::{SqliteStats, SqliteStore};
