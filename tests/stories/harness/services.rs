//! What a stand has for itself of the shared services: a database, a virtual host, a numbered Redis database. Made when
//! the stand starts and gone with it.

use std::fs::{File, TryLockError};
use std::time::Duration;

use application::testing::service_url;
use reqwest::Url;
use serde_json::json;
use tokio_postgres::NoTls;

use super::{Api, PATIENCE, eventually};

/// Redis has 16 databases unless configured otherwise; the first one is left to others.
const REDIS_DATABASES: std::ops::RangeInclusive<u32> = 1..=15;

pub struct Services {
    name: String,
    postgres: Url,
    rabbitmq: Url,
    /// Without it, stands share the virtual host: queues are named after tenants, which are theirs alone anyway.
    management: Option<Url>,
    redis: Url,
    /// Keeps the Redis database from other stands, those of other test processes included.
    _redis_claim: File,
}

impl Services {
    pub async fn create() -> Self {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let (number, claim) = claim_redis_database().await;
        let mut redis = given("REDIS_URL");
        redis.set_path(&format!("/{number}"));
        let services = Self {
            name: format!("story_{}", &unique[..12]),
            postgres: given("DATABASE_URL"),
            rabbitmq: given("AMQP_URL"),
            management: std::env::var_os("RABBITMQ_MANAGEMENT_URL").map(|url| {
                let url = url.to_string_lossy();
                Url::parse(&url).expect("RABBITMQ_MANAGEMENT_URL is a URL")
            }),
            redis,
            _redis_claim: claim,
        };
        services
            .on_postgres(&format!("CREATE DATABASE {} TEMPLATE template0", services.name))
            .await
            .expect("a database can be created");
        services.create_vhost().await;
        services.empty_redis().expect("Redis can be emptied");
        services
    }

    /// What the program is told.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        let mut postgres = self.postgres.clone();
        postgres.set_path(&format!("/{}", self.name));
        let mut rabbitmq = self.rabbitmq.clone();
        if self.management.is_some() {
            rabbitmq.set_path(&format!("/{}", self.name));
        }
        [
            ("DATABASE_URL", postgres.to_string()),
            ("AMQP_URL", rabbitmq.to_string()),
            ("REDIS_URL", self.redis.to_string()),
        ]
    }

    async fn on_postgres(&self, statement: &str) -> Result<(), tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(self.postgres.as_str(), NoTls).await?;
        let connection = tokio::spawn(connection);
        let done = client.batch_execute(statement).await;
        drop(client);
        let _ = connection.await;
        done
    }

    async fn create_vhost(&self) {
        let Some(management) = &self.management else {
            return;
        };
        let api = Api::new(management.as_str().trim_end_matches('/'), None);
        let vhost = format!("/api/vhosts/{}", self.name);
        let answer = api.send(api.request(reqwest::Method::PUT, &vhost).json(&json!({}))).await;
        assert!(answer.status < 300, "{}", answer.text());
        let permissions = format!("/api/permissions/{}/{}", self.name, self.rabbitmq.username());
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        let answer = api.send(api.request(reqwest::Method::PUT, &permissions).json(&all)).await;
        assert!(answer.status < 300, "{}", answer.text());
    }

    async fn delete_vhost(&self) {
        if let Some(management) = &self.management {
            let api = Api::new(management.as_str().trim_end_matches('/'), None);
            let vhost = format!("/api/vhosts/{}", self.name);
            api.send(api.request(reqwest::Method::DELETE, &vhost)).await;
        }
    }

    fn empty_redis(&self) -> redis::RedisResult<()> {
        let client = redis::Client::open(self.redis.as_str())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(10))?;
        redis::cmd("FLUSHDB").exec(&mut connection)
    }

    async fn remove(&self) {
        let drop_database = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        if let Err(error) = self.on_postgres(&drop_database).await {
            eprintln!("the database {} was left behind: {error}", self.name);
        }
        if let Err(error) = self.empty_redis() {
            eprintln!("Redis was not emptied: {error}");
        }
        self.delete_vhost().await;
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let remove = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(self.remove());
        };
        // A runtime cannot be entered on the thread of another one. What goes wrong here fails no story.
        std::thread::scope(|scope| {
            let _ = scope.spawn(remove).join();
        });
    }
}

fn given(variable: &str) -> Url {
    let url = service_url(variable).expect("services are wanted");
    Url::parse(&url).unwrap_or_else(|error| panic!("{variable} is no URL: {error}"))
}

/// The number of a Redis database that nobody else's stand has.
async fn claim_redis_database() -> (u32, File) {
    eventually("a free Redis database", PATIENCE * 10, async || {
        REDIS_DATABASES.into_iter().find_map(|number| {
            let path = std::env::temp_dir().join(format!("orchestrator-stories-redis-{number}.lock"));
            let file = File::options().create(true).append(true).open(path).expect("a lock file");
            match file.try_lock() {
                Ok(()) => Some((number, file)),
                Err(TryLockError::WouldBlock) => None,
                Err(TryLockError::Error(error)) => panic!("no locks in the temporary folder: {error}"),
            }
        })
    })
    .await
}
