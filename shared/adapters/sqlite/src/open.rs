//! Connections and what is set on them.

use std::path::Path;
use std::time::Duration;

use application::ports::StoreError;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::SqliteStore;
use crate::error::failed;

/// Enough for pages and event streams beside the engine; each is a thread.
const READERS: u32 = 4;
/// Another process (a command line on the same file) may hold the lock for this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Those who wait longer for a connection are told that the store is too slow.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// Statements kept prepared on a connection; more than there are.
const STATEMENTS: usize = 200;
/// The write-ahead log is cut back to this after a checkpoint.
const LOG_BYTES: &str = "67108864";
/// Negative: in KiB. 16 MiB a connection.
const CACHE: &str = "-16384";

pub async fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    let options = options(path);
    let writer = pool(1)
        .min_connections(1)
        .connect_with(options.clone())
        .await
        .map_err(failed)?;
    let readers = pool(READERS).connect_lazy_with(options.pragma("query_only", "on"));
    Ok(SqliteStore { writer, readers })
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // What was accepted survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .pragma("cache_size", CACHE)
        .pragma("journal_size_limit", LOG_BYTES)
        .pragma("temp_store", "memory")
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // There is no network between us and the file that could have broken.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}
