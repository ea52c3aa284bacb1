//! The inbound side of the queue: a worker claims jobs under its lease, runs them, and keeps the engine going.
//!
//! Reads like the way of a job: `pick`, `visit`, `claim`, `run`, `write`, `finish`; beside them `relay`, `promote`,
//! `release`, `expire`, `month`, `probe`, `schedule`, `lease`, `reap`, `reconcile` and `drain`. Everything reacts to
//! the state of the store: a message, a signal or a hint only says that looking again is worth it. Knows ports only, never an
//! adapter.

mod claim;
mod claim_loop;
mod config;
mod context;
mod drain;
mod expire;
mod fail_over;
mod finish;
mod handlers;
mod labelled;
mod lease;
mod life;
mod locks;
mod month;
mod patient;
mod pick;
mod probe;
mod promote;
mod reap;
mod reconcile;
mod relay;
mod release;
mod replay;
mod routed;
mod run;
mod running;
mod schedule;
mod singleton;
mod stranded;
mod verdict;
mod visit;
mod write;

pub use config::{Tools, WorkerConfig};
pub use life::{WorkerError, run};
