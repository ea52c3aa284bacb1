//! What an installation has for itself of the shared services: a database, and names in RabbitMQ and Redis. Made at the
//! start, removed at the end; nothing else on the servers is touched.

use anyhow::Context as _;
use futures::StreamExt as _;
use lapin::options::QueueDeleteOptions;
use lapin::{Connection, ConnectionProperties};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::proc;
use crate::usage::Watched;

const AMQP_PORT: u16 = 5672;
/// Queues deleted at once.
const DELETIONS: usize = 64;
/// Keys looked at in one step of a scan.
const SCAN_STEP: usize = 1_000;

/// Where the servers are.
#[derive(Debug, Clone)]
pub struct Urls {
    pub postgres: String,
    pub amqp: String,
    pub redis: String,
}

impl Urls {
    #[expect(
        clippy::disallowed_methods,
        reason = "the product reads its configuration by itself; this tells where its servers are"
    )]
    pub fn from_environment() -> anyhow::Result<Self> {
        let get = |name: &str| {
            std::env::var(name).with_context(|| {
                format!("{name} is not set: --backend services needs DATABASE_URL, AMQP_URL and REDIS_URL")
            })
        };
        Ok(Self {
            postgres: get("DATABASE_URL")?,
            amqp: get("AMQP_URL")?,
            redis: get("REDIS_URL")?,
        })
    }

    /// The servers' processes on this machine, for their CPU; those elsewhere are left out.
    pub async fn watched(&self) -> anyhow::Result<Vec<Watched>> {
        let mut watched = Vec::new();
        let client = connect(&self.postgres).await?;
        let backend: i32 = client
            .query_one("SELECT pg_backend_pid()", &[])
            .await?
            .get(0);
        let postmaster = u32::try_from(backend).ok().and_then(proc::stat);
        watched.extend(postmaster.map(|stat| ("postgresql", stat.parent)));
        let port = port_of(&self.amqp).unwrap_or(AMQP_PORT);
        watched.extend(proc::listener(port).map(|pid| ("rabbitmq", pid)));
        let redis = port_of(&self.redis).and_then(proc::listener);
        watched.extend(redis.map(|pid| ("redis", pid)));
        let named = |(name, pid): (&str, u32)| Watched {
            name: name.to_owned(),
            pid,
        };
        Ok(watched.into_iter().map(named).collect())
    }
}

/// The port of a URL of the form `scheme://user:password@host:port/path`.
fn port_of(url: &str) -> Option<u16> {
    let (_, rest) = url.split_once("://")?;
    let place = rest.split(['/', '?']).next()?;
    let host = place.rsplit('@').next()?;
    host.rsplit_once(':')?.1.parse().ok()
}

/// The same server, another database.
fn with_database(url: &str, database: &str) -> Option<String> {
    let start = url.find("://")? + 3;
    let path = url[start..].find('/').map_or(url.len(), |at| start + at);
    let query = url.find('?').map_or("", |at| &url[at..]);
    Some(format!("{}/{database}{query}", &url[..path]))
}

pub async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .context("PostgreSQL at DATABASE_URL cannot be reached")?;
    tokio::spawn(connection);
    Ok(client)
}

pub struct Services {
    urls: Urls,
    name: String,
}

impl Services {
    pub async fn create() -> anyhow::Result<Self> {
        let urls = Urls::from_environment()?;
        let name = format!("bench_{:012x}", fastrand::u64(..) >> 16);
        let client = connect(&urls.postgres).await?;
        client
            .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0"))
            .await
            .context("a database cannot be created")?;
        Ok(Self { urls, name })
    }

    pub fn database_url(&self) -> anyhow::Result<String> {
        with_database(&self.urls.postgres, &self.name).context("DATABASE_URL is no URL")
    }

    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// What the program is told.
    pub fn variables(&self) -> anyhow::Result<[(&'static str, String); 4]> {
        Ok([
            ("DATABASE_URL", self.database_url()?),
            ("AMQP_URL", self.urls.amqp.clone()),
            ("REDIS_URL", self.urls.redis.clone()),
            ("ORCHESTRATOR_NAMESPACE", self.name.clone()),
        ])
    }

    /// Removes all of it; the processes have ended before.
    pub async fn remove(&self) -> anyhow::Result<()> {
        let queues = self.delete_queues().await;
        let keys = self.delete_keys().await;
        let client = connect(&self.urls.postgres).await?;
        let drop_database = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        client.batch_execute(&drop_database).await?;
        queues.context("queues in RabbitMQ were left behind")?;
        keys.context("keys in Redis were left behind")
    }

    /// The queues have the names that the product gives them: one a tenant and kind, and a marker.
    async fn delete_queues(&self) -> anyhow::Result<()> {
        let client = connect(&self.database_url()?).await?;
        let slots = client
            .query("SELECT kind, tenant_id FROM tenant_slots", &[])
            .await?;
        let mut names: Vec<String> = slots
            .iter()
            .map(|row| (row.get::<_, String>(0), row.get::<_, Uuid>(1)))
            .map(|(kind, tenant)| format!("{}.{kind}.{tenant}", self.name))
            .collect();
        names.push(format!("{}.marker", self.name));
        let connection =
            Connection::connect(&self.urls.amqp, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let deleted = futures::stream::iter(names).map(|name| {
            let channel = channel.clone();
            async move {
                let options = QueueDeleteOptions::default();
                channel.queue_delete(name.as_str().into(), options).await
            }
        });
        let mut deleted = deleted.buffer_unordered(DELETIONS);
        while let Some(answer) = deleted.next().await {
            answer?;
        }
        connection.close(200, "done".into()).await?;
        Ok(())
    }

    async fn delete_keys(&self) -> anyhow::Result<()> {
        let client = redis::Client::open(self.urls.redis.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let pattern = format!("{{{}}}*", self.name);
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(SCAN_STEP);
            let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut connection).await?;
            if !keys.is_empty() {
                let mut delete = redis::cmd("DEL");
                delete.arg(keys).exec_async(&mut connection).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(port_of("amqp://u:p@127.0.0.1:28884/%2f"), Some(28884));
        assert_eq!(port_of("redis://127.0.0.1:1/0?x=y"), Some(1));
        assert_eq!(port_of("amqp://localhost"), None);
        let with = |url: &str| with_database(url, "b").unwrap();
        assert_eq!(with("postgres://u:p@h:5/a"), "postgres://u:p@h:5/b");
        assert_eq!(with("postgres://h"), "postgres://h/b");
        assert_eq!(with("postgres://h/a?sslmode=x"), "postgres://h/b?sslmode=x");
    }
}
