//! The stores' ports over SQLite: one file, no server. The PostgreSQL adapter mirrors these files.
//!
//! What writes goes through one connection, in the order of arrival, in `BEGIN IMMEDIATE` transactions: that is the
//! lock that the contracts ask for. What reads uses connections that cannot write. A transaction that handles many
//! rows hands them to SQLite as one JSON text a statement. Limits are written `LIMIT +?`: a bare parameter there makes
//! SQLite prepare the statement again at each execution.
//!
//! Nothing here decides what becomes of a job: that is the domain's.

mod agent_tasks;
mod agents;
mod batch;
mod budgets;
mod checkpoints;
mod claim;
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
mod keys;
mod labelled;
mod lease;
mod list;
mod migrate;
mod months;
mod moves;
mod open;
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

use std::path::Path;

use application::ports::StoreError;
use sqlx::{Sqlite, SqlitePool, Transaction};

use error::failed;

/// A transaction that holds the one write lock.
type Write = Transaction<'static, Sqlite>;

#[derive(Debug, Clone)]
pub struct SqliteStore {
    /// One connection: those who write wait for each other here, first come first served.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, or makes it; the folder must exist. Its tables come by [`SqliteStore::migrate`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        open::open(path).await
    }

    /// Brings the tables to this version's form; safe to call at every start.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        migrate::migrate(&self.writer).await
    }

    /// For who knows that no worker of this store lives: the next REAP takes back all that they held.
    pub async fn end_leases(&self) -> Result<(), StoreError> {
        lease::end_all(self).await
    }

    /// Waits for running transactions and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn write(&self) -> Result<Write, StoreError> {
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)
    }
}
