//! PostgreSQL: commits of one row on some connections, and rows in batches on two.

use std::time::Instant;

use tokio_postgres::Client;

use super::{PAYLOAD_BYTES, TIME, rate};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::services::connect;

const COMMITTERS: usize = 8;
const BATCHERS: usize = 2;
const ROWS: usize = 1_000;
/// What makes a commit durable.
const SETTINGS: [&str; 4] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
];

pub async fn measure(url: &str, outcome: &mut Outcome, progress: &Progress) -> anyhow::Result<()> {
    let client = connect(url).await?;
    let mut shown = Vec::new();
    for setting in SETTINGS {
        let row = client
            .query_one("SELECT current_setting($1)", &[&setting])
            .await?;
        shown.push(format!("{setting}={}", row.get::<_, String>(0)));
    }
    outcome.figure("postgres_settings", shown.join(" "));
    let table = format!("bench_floor_{:012x}", fastrand::u64(..) >> 16);
    client
        .batch_execute(&format!(
            "CREATE TABLE {table} (id bigserial PRIMARY KEY, payload text NOT NULL)"
        ))
        .await?;
    let measured = both(url, &table, outcome, progress).await;
    client.batch_execute(&format!("DROP TABLE {table}")).await?;
    measured
}

async fn both(
    url: &str,
    table: &str,
    outcome: &mut Outcome,
    progress: &Progress,
) -> anyhow::Result<()> {
    let payload = "x".repeat(PAYLOAD_BYTES);
    let single = format!("INSERT INTO {table} (payload) VALUES ($1)");
    let commits = repeat(url, COMMITTERS, &single, async |client, statement| {
        client.execute(statement, &[&payload]).await
    });
    outcome.figure("postgres_commits_of_1_row_s", commits.await?);
    progress.add(1);
    let many = format!("INSERT INTO {table} (payload) SELECT unnest($1::text[])");
    let payloads = vec![payload.as_str(); ROWS];
    let rows = repeat(url, BATCHERS, &many, async |client, statement| {
        client.execute(statement, &[&payloads]).await
    });
    outcome.figure("postgres_rows_by_1000_s", rows.await?);
    progress.add(1);
    Ok(())
}

/// Rows a second by so many connections, each of which repeats the statement.
async fn repeat(
    url: &str,
    connections: usize,
    sql: &str,
    once: impl AsyncFn(&Client, &tokio_postgres::Statement) -> Result<u64, tokio_postgres::Error>,
) -> anyhow::Result<f64> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let client = connect(url).await?;
        let statement = client.prepare(sql).await?;
        clients.push((client, statement));
    }
    let began = Instant::now();
    let loops = clients.iter().map(async |(client, statement)| {
        let mut rows = 0;
        while began.elapsed() < TIME {
            rows += once(client, statement).await?;
        }
        Ok::<u64, tokio_postgres::Error>(rows)
    });
    let rows = futures::future::try_join_all(loops).await?;
    Ok(rate(rows.iter().sum(), began))
}
