//! Services mode: PostgreSQL, RabbitMQ and Redis, shared by any number of processes.

use std::sync::Arc;
use std::time::Duration;

use adapter_artifacts::FolderBlobs;
use adapter_embedded::SystemIds;
use adapter_postgres::{PostgresClock, PostgresStore};
use adapter_rabbitmq::{RabbitConfig, RabbitQueue};
use adapter_redis::{Redis, RedisConfig};
use anyhow::Context as _;
use application::ports::{JobQueue as _, Ports, ReadySet as _, StoreError, TenantStore as _};
use tokio::task::JoinHandle;

use super::data_dir::DataDir;
use crate::config::{Secret, Settings};
use crate::exit::UsageError;

/// Clocks of good machines drift apart by less than a millisecond in this time.
const CLOCK_REFRESH: Duration = Duration::from_secs(10);

pub struct Services {
    pub ports: Ports,
    clock_keeper: JoinHandle<()>,
}

impl Services {
    /// Ends with an error when the store cannot be used. A broker or Redis that is away is told and waited for: the
    /// engine goes on without them, slower.
    pub async fn connect(settings: &Settings, role: &str) -> anyhow::Result<Self> {
        let urls = Urls::of(settings)?;
        let store = connect_as(urls.database, &format!("orchestrator {role}")).await?;
        check_schema(&store).await?;
        let clock = Arc::new(PostgresClock::start(&store).await?);
        let queue = open_queue(urls.amqp, settings)?;
        let redis = Arc::new(open_redis(urls.redis, settings)?);
        let (broker, coordination) = tokio::join!(queue.check(), redis.check());
        if let Err(error) = broker {
            tracing::warn!(%error, url = %urls.amqp.shown(), "going on without the broker until it answers");
        }
        if let Err(error) = coordination {
            tracing::warn!(%error, url = %urls.redis.shown(), "going on without Redis until it answers");
        }
        if settings.artifacts_dir.is_none() {
            // They go into the data folder, which is made for this user alone.
            DataDir::open(&settings.data_dir)?;
        }
        let store = Arc::new(store);
        let ports = Ports {
            jobs: store.clone(),
            engine: store.clone(),
            tenants: store.clone(),
            agents: store.clone(),
            agent_tasks: store.clone(),
            schedules: store.clone(),
            keys: store.clone(),
            replays: store,
            queue: Arc::new(queue),
            ready: redis.clone(),
            locks: redis.clone(),
            bus: redis,
            blobs: Arc::new(FolderBlobs::open(&settings.artifacts_dir())?),
            clock: clock.clone(),
            ids: Arc::new(SystemIds::default()),
        };
        Ok(Self {
            ports,
            clock_keeper: tokio::spawn(keep(clock)),
        })
    }

    pub fn close(self) {
        self.clock_keeper.abort();
    }
}

/// Where the services are. All three are needed.
struct Urls<'a> {
    database: &'a Secret,
    amqp: &'a Secret,
    redis: &'a Secret,
}

impl<'a> Urls<'a> {
    fn of(settings: &'a Settings) -> Result<Self, UsageError> {
        let (database, amqp, redis) = (
            &settings.database_url,
            &settings.amqp_url,
            &settings.redis_url,
        );
        if let (Some(database), Some(amqp), Some(redis)) = (database, amqp, redis) {
            return Ok(Self {
                database,
                amqp,
                redis,
            });
        }
        let missing: Vec<&str> = [
            ("DATABASE_URL (PostgreSQL)", database),
            ("AMQP_URL (RabbitMQ)", amqp),
            ("REDIS_URL (Redis)", redis),
        ]
        .into_iter()
        .filter_map(|(name, url)| url.is_none().then_some(name))
        .collect();
        Err(UsageError(format!(
            "not set: {}. In a checkout: scripts/services up && eval \"$(scripts/services env)\", or see docker-compose.yml. Without any services: orchestrator dev",
            missing.join(", ")
        )))
    }
}

pub async fn connect(url: &Secret) -> anyhow::Result<PostgresStore> {
    connect_as(url, "orchestrator").await
}

async fn connect_as(url: &Secret, name: &str) -> anyhow::Result<PostgresStore> {
    let store = PostgresStore::connect(&database_settings(url, name)).await;
    store.with_context(|| format!("PostgreSQL at {} cannot be used", url.shown()))
}

fn database_settings(url: &Secret, name: &str) -> adapter_postgres::Settings {
    adapter_postgres::Settings {
        application_name: name.to_owned(),
        ..adapter_postgres::Settings::new(url.reveal())
    }
}

pub async fn migrate(url: &Secret) -> anyhow::Result<()> {
    adapter_postgres::migrate(&database_settings(url, "orchestrator migrate"))
        .await
        .with_context(|| format!("PostgreSQL at {} could not be migrated", url.shown()))
}

/// Fails, with what to do, when the tables are not there.
pub async fn check_schema(store: &PostgresStore) -> anyhow::Result<()> {
    match store.tenants(None, 1).await {
        Ok(_) => Ok(()),
        Err(error @ StoreError::Corrupt(_)) => Err(error)
            .context("the database has no tables of this version; run `orchestrator migrate`"),
        Err(error) => Err(error.into()),
    }
}

pub fn open_queue(url: &Secret, settings: &Settings) -> anyhow::Result<RabbitQueue> {
    let config = RabbitConfig {
        url: url.reveal().to_owned(),
        prefix: settings.namespace.clone(),
        quorum: settings.quorum_queues,
        persistent: RabbitConfig::PERSISTENT,
        idle_queue_expires: RabbitConfig::IDLE_QUEUE_EXPIRES,
        visit_held_max: RabbitConfig::VISIT_HELD_MAX,
    };
    Ok(RabbitQueue::open(&config)?)
}

pub fn open_redis(url: &Secret, settings: &Settings) -> anyhow::Result<Redis> {
    let config = RedisConfig {
        url: url.reveal().to_owned(),
        prefix: settings.namespace.clone(),
    };
    Ok(Redis::open(&config)?)
}

/// Keeps the clock at the server's time. After an error the last measurement stands.
async fn keep(clock: Arc<PostgresClock>) {
    loop {
        tokio::time::sleep(CLOCK_REFRESH).await;
        if let Err(error) = clock.refresh().await {
            tracing::warn!(%error, "the server's clock was not read; going on by the last reading");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_where_to_get_it() {
        let settings = Settings {
            redis_url: Some(Secret::new("redis://x")),
            ..Settings::default()
        };
        let text = Urls::of(&settings).err().unwrap().to_string();
        assert!(
            text.contains("DATABASE_URL") && text.contains("AMQP_URL"),
            "{text}"
        );
        assert!(!text.contains("REDIS_URL"), "{text}");
        assert!(text.contains("scripts/services"), "{text}");
    }
}
