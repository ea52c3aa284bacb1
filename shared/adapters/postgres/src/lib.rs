//! The store in PostgreSQL: every transaction of the ports, one file each.
//!
//! READ COMMITTED throughout. Locks are always taken in the same order, so that no two transactions wait for each
//! other: the worker's row, `tenant_slots` by key, jobs by id. Nothing here waits without a bound: for a connection,
//! for a lock, or for a statement.

mod agent_tasks;
mod agents;
mod budgets;
mod checkpoints;
mod claim;
mod clock;
mod dead_letters;
mod dependents;
mod end;
mod engine;
mod error;
mod events;
mod expire;
mod fences;
mod finish;
mod fire;
mod history;
mod jobs;
mod json;
mod keys;
mod labelled;
mod lease;
mod list;
mod migrate;
mod months;
mod open;
mod pipeline;
mod prerequisites;
mod promote;
mod queue_steering;
mod read;
mod reap;
mod reconcile;
mod relay;
mod release;
mod replay_step;
mod replays;
mod report;
mod routed;
mod rows;
mod schedules;
mod slots;
mod statement;
mod steer;
mod submit;
mod tenants;
mod waiting;
mod workers;

use application::ports::StoreError;
use deadpool_postgres::{Client, Pool, PoolError};

use crate::error::During;

pub use clock::PostgresClock;
pub use migrate::migrate;
pub use open::Settings;

/// One pool of connections; cheap to clone.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
}

impl PostgresStore {
    /// Fails when the server cannot be reached, so that a process with a wrong URL ends at its start.
    ///
    /// Connections are not encrypted: `sslmode=disable` and `prefer` work, `require` is refused. Use it on a trusted
    /// network or through a tunnel.
    pub async fn connect(settings: &Settings) -> Result<Self, StoreError> {
        let store = Self {
            pool: open::pool(settings)?,
        };
        store.client().await.during("connecting").map(drop)?;
        Ok(store)
    }

    pub(crate) async fn client(&self) -> Result<Client, PoolError> {
        self.pool.get().await
    }
}
