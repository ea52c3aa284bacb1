//! Connections and what is set on them.

use std::path::Path;
use std::time::Duration;

use application::ports::StoreError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};

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
/// Rows that SQLite's thread may read before they are taken: those of a whole claim, so that the two threads need not wait
/// for each other every few rows.
const ROWS_AHEAD: usize = 1_000;
/// The write-ahead log is cut back to this after a checkpoint.
const LOG_BYTES: &str = "67108864";
/// Negative: in KiB. 16 MiB a connection.
const CACHE: &str = "-16384";

pub async fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    let options = options(path);
    let writer = pool(1)
        .min_connections(1)
        .before_acquire(|connection, _| Box::pin(is_clean(connection)))
        .connect_with(options.clone())
        .await
        .map_err(|error| at(path, failed(error)))?;
    let readers = pool(READERS).connect_lazy_with(options.pragma("query_only", "on"));
    Ok(SqliteStore { writer, readers })
}

/// When the disk fails, SQLite ends a transaction by itself and the client goes on counting it as open. Such a
/// connection would refuse every write from then on, so it is closed and another one opened.
async fn is_clean(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // A rollback that a dropped transaction left behind is done before this is answered.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// The error, with the file that it is about.
fn at(path: &Path, error: StoreError) -> StoreError {
    let path = path.display();
    match error {
        StoreError::Unavailable(why) => StoreError::Unavailable(format!(
            "{path}: {why} (its folder must exist and be writable)"
        )),
        StoreError::Full(why) => StoreError::Full(format!("{path}: {why}")),
        StoreError::Corrupt(why) => StoreError::Corrupt(format!("{path}: {why}")),
    }
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
        .row_buffer_size(ROWS_AHEAD)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use application::ports::{JobStore, Submission};
    use application::testing::store::World;
    use application::testing::{StoreUnderTest, make};

    use super::*;

    /// A file system of a few megabytes that fills up would need privileges; a file that may not grow is the same to
    /// SQLite.
    #[tokio::test]
    async fn a_full_disk_refuses_and_keeps_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = SqliteStore::open(&path).await.unwrap();
        store.migrate().await.unwrap();
        let bound = sqlx::query("PRAGMA max_page_count = 200").execute(&store.writer);
        bound.await.unwrap();
        let world = World::new(StoreUnderTest::new(Arc::new(store.clone())));
        let tenant = world.tenant("acme").await;
        let first = world.submitted(&tenant, make::new_session("first")).await;
        let mut taken = 1;
        let error = loop {
            let jobs = world.sessions(&tenant, 200);
            let tenant = tenant.id;
            let submission = vec![Submission { tenant, jobs }];
            match store.submit(submission, world.now()).await {
                Ok(_) => taken += 200,
                Err(error) => break error,
            }
            assert!(taken < 10_000, "the file may not grow that far");
        };
        assert!(matches!(error, StoreError::Full(_)), "{error:?}");
        assert_eq!(world.counts(first.queue()).await.1, taken);
        world.no_drift().await;
        let worker = world.worker().await;
        world.run(worker, &first).await;
    }

    #[tokio::test]
    async fn a_reader_of_the_store_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db"))
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let written = sqlx::query("DELETE FROM tenants").execute(&store.readers);
        let error = written.await.unwrap_err().to_string();
        assert!(error.contains("readonly"), "{error}");
    }
}
