//! A statement that is a transaction by itself. One that is part of a transaction is run where that transaction is.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::PostgresStore;
use crate::error::Failure;

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The row, read; `None` where there is none. More than one is an error.
pub(crate) async fn one<T>(
    store: &PostgresStore,
    sql: &str,
    params: Params<'_>,
    read: fn(&Row) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    let client = store.client().await?;
    let statement = client.prepare_cached(sql).await?;
    let row = client.query_opt(&statement, params).await?;
    row.as_ref().map(read).transpose()
}

/// All rows, read.
pub(crate) async fn all<T>(
    store: &PostgresStore,
    sql: &str,
    params: Params<'_>,
    read: fn(&Row) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let client = store.client().await?;
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, params).await?;
    rows.iter().map(read).collect()
}

/// How many rows it changed.
pub(crate) async fn run(
    store: &PostgresStore,
    sql: &str,
    params: Params<'_>,
) -> Result<u64, Failure> {
    let client = store.client().await?;
    let statement = client.prepare_cached(sql).await?;
    Ok(client.execute(&statement, params).await?)
}
