//! A statement run, and its rows read. Nothing here knows what it asks for.

use application::ports::StoreError;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqliteExecutor};

use crate::SqliteStore;
use crate::error::failed;

pub type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// The first row, read; `None` where there is none.
pub async fn one<T>(
    executor: impl SqliteExecutor<'_>,
    query: Bound<'_>,
    read: fn(&SqliteRow) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let row = query.fetch_optional(executor).await.map_err(failed)?;
    row.as_ref().map(read).transpose()
}

/// All rows, read.
pub async fn all<T>(
    executor: impl SqliteExecutor<'_>,
    query: Bound<'_>,
    read: fn(&SqliteRow) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let rows = query.fetch_all(executor).await.map_err(failed)?;
    rows.iter().map(read).collect()
}

/// How many rows it changed, in a transaction of its own.
pub async fn run(store: &SqliteStore, query: Bound<'_>) -> Result<u64, StoreError> {
    let mut tx = store.write().await?;
    let done = query.execute(&mut *tx).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    Ok(done.rows_affected())
}
