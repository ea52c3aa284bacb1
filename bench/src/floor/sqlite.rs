//! SQLite with a write-ahead log and synchronous FULL, as the embedded mode has it.

use std::path::Path;
use std::time::Instant;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{PAYLOAD_BYTES, TIME, rate};
use crate::outcome::Outcome;
use crate::progress::Progress;

const ROWS: u32 = 1_000;
const INSERT_MANY: &str = "INSERT INTO rows (payload) SELECT value FROM json_each(?)";

pub async fn measure(
    folder: &Path,
    outcome: &mut Outcome,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut connection = SqliteConnectOptions::new()
        .filename(folder.join("floor.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::raw_sql("CREATE TABLE rows (id integer PRIMARY KEY, payload text NOT NULL)")
        .execute(&mut connection)
        .await?;
    settings(&mut connection, outcome).await?;
    let payload = "x".repeat(PAYLOAD_BYTES);
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < TIME {
        let insert = sqlx::query("INSERT INTO rows (payload) VALUES (?)").bind(&payload);
        insert.execute(&mut connection).await?;
        count += 1;
    }
    outcome.figure("sqlite_commits_of_1_row_s", rate(count, began));
    progress.add(1);
    let rows: Vec<&str> = (0..ROWS).map(|_| payload.as_str()).collect();
    let rows = serde_json::to_string(&rows)?;
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < TIME {
        sqlx::query(INSERT_MANY)
            .bind(&rows)
            .execute(&mut connection)
            .await?;
        count += u64::from(ROWS);
    }
    outcome.figure("sqlite_rows_by_1000_s", rate(count, began));
    progress.add(1);
    connection.close().await?;
    Ok(())
}

async fn settings(connection: &mut SqliteConnection, outcome: &mut Outcome) -> anyhow::Result<()> {
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&mut *connection)
        .await?;
    outcome.figure(
        "sqlite_settings",
        format!("journal_mode={journal} synchronous={synchronous} (2 is FULL)"),
    );
    Ok(())
}
