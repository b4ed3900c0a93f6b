#![doc = include_str!("../README.md")]
//!
//! # Where things are
//!
//! | module | what for |
//! |---|---|
//! | [`graph`], [`translator`] | draw an AI graph and turn it into a workflow |
//! | [`workflow`] | jobs, control edges, conditions and scheduling rules |
//! | [`client`] | [`AiFlow`]: publish and listen, submit, start and stop, look things up |
//! | [`meta`] | datasets, models and versions, metrics, artifacts |
//! | [`why`] | why something ran, what a rule or job waits for, what other rules would have done |
//! | [`search`], [`lineage`] | the language of searches; what led to something, and what came of it |
//! | [`rerun`] | run an ended execution again, from what failed or from any job |
//! | [`open_lineage`] | run events for tools that collect lineage |
//! | [`transfer`] | export and import everything |
//! | [`runtime`], [`host`] | [`Scheduler`]: runs inside your process; several processes that run jobs |
//! | [`function`], [`process`] | jobs as async functions and as local processes |
//! | [`artifact_files`] | artifacts with their bytes |
//! | [`store`], [`bus`], [`executor`], [`artifact_store`] | the ports: write your own backend |
//! | [`relay`] | a store and a log of different backends |
//!
//! # Features
//!
//! Features only add; none changes what another call does.
//!
//! | feature | adds |
//! |---|---|
//! | `sqlite` (default) | [`sqlite`]: store and event log in one SQLite file |
//! | `process` (default) | [`process`]: jobs as local processes that survive their scheduler |
//! | `project` | [`project`]: workflows in YAML and JSON files, snapshots of their code, secrets by reference |
//! | `redis` | [`redis`]: store and event log on one Redis, for several hosts |
//! | `cel` | predicates of rules written in CEL |
//! | `svg` | pictures of graphs, workflows and executions as SVG |
//! | `artifacts` | [`artifacts`]: files of jobs in a folder or an object store |
//! | `s3`, `gcs`, `azure` | the object stores of clouds, for files of jobs and snapshots |
//! | `full` | all of these |

mod open;
pub mod prelude;

#[cfg(feature = "artifacts")]
pub use aiflow_artifacts as artifacts;
pub use aiflow_core::client::AiFlow;
pub use aiflow_core::runtime::Scheduler;
pub use aiflow_core::{
    Error, ErrorKind, Result, Retry, artifact_files, artifact_store, bus, client, control, engine, event, execution,
    executor, function, graph, history, host, id, job_labels, lineage, memory, meta, open_lineage, records, relay,
    rerun, runtime, search, store, time, timer, transfer, translator, why, workflow,
};
#[cfg(feature = "process")]
pub use aiflow_exec_process as process;
#[cfg(feature = "project")]
pub use aiflow_project as project;
#[cfg(feature = "redis")]
pub use aiflow_store_redis as redis;
#[cfg(feature = "sqlite")]
pub use aiflow_store_sqlite as sqlite;
pub use open::{open, open_with_log};
