//! Reading looks into the product's store: what is still open, the stored instants of each job, and whether anything
//! was lost, failed or run twice. Never writes.

use std::path::Path;

use anyhow::Context as _;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

pub enum Store {
    Postgres(Client),
    Sqlite(SqlitePool),
}

/// The stored instants of a job, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub created: u64,
    pub started: Option<u64>,
    pub finished: Option<u64>,
    /// Of the first line of the log: when the handler itself was at work.
    pub spoke: Option<u64>,
}

/// How many of the jobs are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub jobs: u64,
    pub completed: u64,
    pub queued: u64,
    pub running: u64,
    /// Runs begun, all jobs together.
    pub attempts: u64,
}

/// Slots carry the counts, so that this costs the store next to nothing.
const OPEN: &str = "SELECT CAST(COALESCE(SUM(queued), 0) AS bigint), CAST(COALESCE(SUM(running), 0) AS bigint) \
     FROM tenant_slots";
const TALLY: &str = "SELECT COUNT(*), COUNT(*) FILTER (WHERE state = 'completed'), \
     COUNT(*) FILTER (WHERE state = 'queued'), COUNT(*) FILTER (WHERE state = 'running'), \
     (SELECT COUNT(*) FROM job_attempts) FROM jobs";
const TIMES: &str = "SELECT created_at, started_at, finished_at, \
     (SELECT at FROM job_logs l WHERE l.job_id = j.id AND l.attempt = 1 AND l.number = 1) \
     FROM jobs j WHERE tenant_id = $1 ORDER BY id";
/// Instants as numbers; the other store has them so.
const TIMES_POSTGRES: &str = "SELECT (extract(epoch FROM created_at) * 1000000)::bigint, \
     (extract(epoch FROM started_at) * 1000000)::bigint, (extract(epoch FROM finished_at) * 1000000)::bigint, \
     (SELECT (extract(epoch FROM at) * 1000000)::bigint FROM job_logs l \
      WHERE l.job_id = j.id AND l.attempt = 1 AND l.number = 1) \
     FROM jobs j WHERE tenant_id = $1 ORDER BY id";
const SPAN: &str = "SELECT MIN(started_at), MAX(finished_at) FROM jobs";
const SPAN_POSTGRES: &str = "SELECT (extract(epoch FROM MIN(started_at)) * 1000000)::bigint, \
     (extract(epoch FROM MAX(finished_at)) * 1000000)::bigint FROM jobs";

impl Store {
    pub async fn postgres(url: &str) -> anyhow::Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        Ok(Self::Postgres(client))
    }

    /// The file of a running `dev`: readers do not hold up its writer.
    pub fn sqlite(path: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .pragma("query_only", "on");
        let pool = SqlitePoolOptions::new().max_connections(1);
        Self::Sqlite(pool.connect_lazy_with(options))
    }

    /// Rows of numbers, some of which may be missing.
    async fn rows(
        &self,
        sql: &'static str,
        tenant: Option<Uuid>,
        columns: usize,
    ) -> anyhow::Result<Vec<Vec<Option<u64>>>> {
        let number = |value: Option<i64>| value.and_then(|it| u64::try_from(it).ok());
        match self {
            Self::Postgres(client) => {
                let rows = match &tenant {
                    Some(tenant) => client.query(sql, &[tenant]).await?,
                    None => client.query(sql, &[]).await?,
                };
                let read = |row: &tokio_postgres::Row| {
                    (0..columns)
                        .map(|column| Ok(number(row.try_get::<_, Option<i64>>(column)?)))
                        .collect::<Result<Vec<_>, tokio_postgres::Error>>()
                };
                Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
            }
            Self::Sqlite(pool) => {
                let mut query = sqlx::query(sql);
                if let Some(tenant) = tenant {
                    query = query.bind(tenant);
                }
                let rows = query.fetch_all(pool).await?;
                let read = |row: &sqlx::sqlite::SqliteRow| {
                    (0..columns)
                        .map(|column| Ok(number(row.try_get::<Option<i64>, _>(column)?)))
                        .collect::<Result<Vec<_>, sqlx::Error>>()
                };
                Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
            }
        }
    }

    async fn row(&self, sql: &'static str, columns: usize) -> anyhow::Result<Vec<Option<u64>>> {
        let rows = self.rows(sql, None, columns).await?;
        rows.into_iter().next().context("the store says nothing")
    }

    /// Waiting and running jobs of all tenants.
    pub async fn open(&self) -> anyhow::Result<(u64, u64)> {
        let row = self.row(OPEN, 2).await?;
        Ok((row[0].unwrap_or_default(), row[1].unwrap_or_default()))
    }

    pub async fn tally(&self) -> anyhow::Result<Tally> {
        let row = self.row(TALLY, 5).await?;
        let at = |column: usize| row[column].unwrap_or_default();
        Ok(Tally {
            jobs: at(0),
            completed: at(1),
            queued: at(2),
            running: at(3),
            attempts: at(4),
        })
    }

    /// The first claim and the last end of all jobs.
    pub async fn span(&self) -> anyhow::Result<(u64, u64)> {
        let sql = match self {
            Self::Postgres(_) => SPAN_POSTGRES,
            Self::Sqlite(_) => SPAN,
        };
        let row = self.row(sql, 2).await?;
        row[0].zip(row[1]).context("no job has ended")
    }

    /// Of one tenant's jobs, in the order of their creation.
    pub async fn times(&self, tenant: Uuid) -> anyhow::Result<Vec<Times>> {
        let sql = match self {
            Self::Postgres(_) => TIMES_POSTGRES,
            Self::Sqlite(_) => TIMES,
        };
        let rows = self.rows(sql, Some(tenant), 4).await?;
        Ok(rows
            .into_iter()
            .map(|row| Times {
                created: row[0].unwrap_or_default(),
                started: row[1],
                finished: row[2],
                spoke: row[3],
            })
            .collect())
    }

    pub async fn close(self) {
        if let Self::Sqlite(pool) = self {
            pool.close().await;
        }
    }
}

impl Tally {
    /// What is wrong when `accepted` jobs were accepted and all of them should have run to their end.
    pub fn faults(&self, accepted: u64) -> Vec<String> {
        let mut faults = self.faults_so_far(accepted);
        let open = self.queued + self.running;
        if open > 0 {
            faults.push(format!("{open} jobs have not ended"));
        }
        faults
    }

    /// What is wrong when jobs may still wait or run.
    pub fn faults_so_far(&self, accepted: u64) -> Vec<String> {
        let mut faults = Vec::new();
        if self.jobs != accepted {
            faults.push(format!(
                "{accepted} jobs were accepted and {} are stored",
                self.jobs
            ));
        }
        let failed = self
            .jobs
            .saturating_sub(self.completed + self.queued + self.running);
        if failed > 0 {
            faults.push(format!("{failed} jobs ended otherwise than completed"));
        }
        let begun = self.completed + self.running;
        if self.attempts > begun {
            faults.push(format!("{} runs too many", self.attempts - begun));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_failed_and_doubled_jobs_are_told() {
        let good = Tally {
            jobs: 10,
            completed: 10,
            attempts: 10,
            ..Tally::default()
        };
        assert!(good.faults(10).is_empty());
        assert!(good.faults(11)[0].contains("accepted"));
        let failed = Tally {
            completed: 9,
            ..good
        };
        assert!(failed.faults(10)[0].contains("1 jobs ended otherwise"));
        let doubled = Tally {
            attempts: 12,
            ..good
        };
        assert_eq!(doubled.faults(10), ["2 runs too many"]);
        let open = Tally {
            jobs: 10,
            completed: 4,
            queued: 5,
            running: 1,
            attempts: 5,
        };
        assert_eq!(open.faults(10), ["6 jobs have not ended"]);
        assert!(open.faults_so_far(10).is_empty());
    }
}
