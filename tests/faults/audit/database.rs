//! A connection to a story's database, straight to the server.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::Url;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, NoTls};

use super::report::What;
use super::rules::Rule;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Violations of one rule that are told in full; of the rest only the number.
const TOLD: usize = 5;

const PREPARE: &str = "
    CREATE TEMP TABLE acknowledged (id uuid, expected text, marks boolean);
    CREATE TEMP TABLE marks (line integer, job uuid, attempt integer, what text, at timestamptz)";

pub struct Database {
    pub client: Client,
    connection: JoinHandle<()>,
}

impl Drop for Database {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Database {
    /// A new one on the server; returns where it is.
    pub async fn create(server: &Url, name: &str) -> Url {
        let database = Self::open(server).await;
        let create = format!("CREATE DATABASE {name} TEMPLATE template0");
        database.run(&create).await;
        let mut url = server.clone();
        url.set_path(&format!("/{name}"));
        url
    }

    pub async fn remove(server: &Url, name: &str) {
        let database = Self::open(server).await;
        let remove = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        database.run(&remove).await;
    }

    pub async fn open(url: &Url) -> Self {
        let opened = Self::try_open(url).await;
        opened.unwrap_or_else(|error| panic!("the database cannot be opened: {error:?}"))
    }

    pub async fn try_open(url: &Url) -> Result<Self, Error> {
        let mut config: tokio_postgres::Config = url.as_str().parse()?;
        config.connect_timeout(CONNECT_WITHIN);
        let (client, connection) = config.connect(NoTls).await?;
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { client, connection })
    }

    pub async fn run(&self, sql: &str) {
        let done = self.client.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    }

    pub async fn number(&self, sql: &str) -> i64 {
        let row = self.client.query_one(sql, &[]).await;
        let row = row.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
        row.get(0)
    }

    pub async fn ended(&self) -> i64 {
        self.number("SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL")
            .await
    }

    /// Of every tenant, as the broker's names of them end.
    pub async fn queues(&self) -> Vec<String> {
        let names = "SELECT kind || '.' || tenant_id FROM tenant_slots ORDER BY 1";
        let rows = self.client.query(names, &[]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{error:?}: {names}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Nothing waits or runs, nothing is counted as if it did, and no more workers are registered than there are.
    pub async fn is_quiet(&self, workers: usize) -> bool {
        let busy = self
            .number(
                "SELECT (SELECT count(*) FROM jobs WHERE finished_at IS NULL)
                    + (SELECT count(*) FROM tenant_slots WHERE running + queued + due + pending + published > 0)",
            )
            .await;
        let registered = self.number("SELECT count(*) FROM workers").await;
        busy == 0 && registered == i64::try_from(workers).expect("a few workers")
    }

    /// What breaks a rule, in words; jobs with their events and attempts.
    pub async fn broken(&self, rule: &Rule) -> Result<Vec<String>, Error> {
        let rows = self.client.query(rule.broken_by, &[]).await?;
        let mut broken = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let (who, how): (String, String) = (row.get(0), row.get(1));
            let mut what = format!("{}: {who}: {how}", rule.name);
            if index < TOLD && rule.of_jobs {
                what.push_str(&self.history(&who).await?);
            }
            broken.push(what);
        }
        Ok(broken)
    }

    async fn history(&self, job: &str) -> Result<String, Error> {
        let mut told = String::new();
        for (title, sql) in [
            (
                "job",
                "SELECT to_jsonb(j) - 'spec' - 'metadata' - 'tags' FROM jobs j WHERE id = $1::text::uuid",
            ),
            (
                "event",
                "SELECT to_jsonb(e) - 'job_id' - 'tenant_id' FROM job_events e WHERE job_id = $1::text::uuid ORDER BY seq",
            ),
            (
                "attempt",
                "SELECT to_jsonb(a) - 'job_id' - 'tenant_id' FROM job_attempts a WHERE job_id = $1::text::uuid ORDER BY number",
            ),
        ] {
            for row in self.client.query(sql, &[&job]).await? {
                let document: serde_json::Value = row.get(0);
                let _ = write!(told, "\n      {title} {document}");
            }
        }
        Ok(told)
    }

    /// Makes what the store cannot know known to the rules, in tables of this connection.
    pub async fn tell(&self, what: &What<'_>) {
        self.run(PREPARE).await;
        let jobs = what.acknowledged;
        let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
        let ends: Vec<&str> = jobs.iter().map(|job| job.work.end()).collect();
        let marked: Vec<bool> = jobs.iter().map(|job| job.work.marks()).collect();
        let insert = "INSERT INTO acknowledged
            SELECT a.id::uuid, a.expected, a.marks FROM unnest($1::text[], $2::text[], $3::bool[]) AS a (id, expected, marks)";
        let told = self.client.execute(insert, &[&ids, &ends, &marked]).await;
        told.expect("the acknowledgements are told");
        let marks = what.marks;
        let ids: Vec<&str> = marks.iter().map(|mark| mark.job.as_str()).collect();
        let attempts: Vec<i32> = marks.iter().map(|mark| mark.attempt).collect();
        let names: Vec<&str> = marks.iter().map(|mark| mark.what.as_str()).collect();
        let times: Vec<i64> = marks.iter().map(|mark| mark.at).collect();
        let insert = "INSERT INTO marks
            SELECT m.line, m.job::uuid, m.attempt, m.what, to_timestamp(m.at / 1000.0)
            FROM unnest($1::text[], $2::int4[], $3::text[], $4::int8[])
                WITH ORDINALITY AS m (job, attempt, what, at, line)";
        let told = self
            .client
            .execute(insert, &[&ids, &attempts, &names, &times])
            .await;
        told.expect("the marks are told");
    }
}
