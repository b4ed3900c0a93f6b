//! Store and event log of AIFlow on one Redis (7.0 or later), for several hosts.
//!
//! Most applications get it through the crate `aiflow`, its feature `redis`, and a URL such as `redis://user:password@host/0?prefix=wine`. One
//! type, [`RedisStore`], implements both ports, so that a commit of the scheduler and its events are one script on the server.
//!
//! What it promises follows from how the server keeps its data, which is asked at every connection ([`RedisStore::open`]): with `appendonly yes`
//! and `appendfsync always` an acknowledged write survives a power loss. Every call names the store that was opened and the newest offset that
//! this process knows, so that a server that was emptied, or has gone back to an older state, is a `Corrupt` error before anything is written or
//! read. Any number of hosts may use the same store; a reader is woken by every write, without asking again and again.
//!
//! In reading order: [`store`](RedisStore) answers the ports; `keys` is the layout and `scripts/` what happens on the server; `batch`, `row` and `pack`
//! are its language, `query` asks; `calls` makes one call and `answer` reads it, `link` connects, `server` says what the server promises; `listen` and `signal` wake
//! those who wait; `error` says what faults mean.

mod answer;
mod batch;
mod calls;
mod error;
mod keys;
mod link;
mod listen;
mod options;
mod pack;
mod query;
mod row;
mod search;
mod server;
mod signal;
mod store;

pub use options::{Persistence, RedisOptions, SCHEMES};
pub use store::RedisStore;
