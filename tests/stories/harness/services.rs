//! What a stand has for itself of the shared services: a database, a virtual host, and a name that its keys in Redis
//! begin with. Made when the stand starts and gone with it.

use std::time::Duration;

use application::testing::service_url;
use reqwest::Url;
use serde_json::json;
use tokio_postgres::NoTls;

use super::Api;

const REDIS_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Services {
    name: String,
    postgres: Url,
    rabbitmq: Url,
    /// Without it, stands share the virtual host, where their queues are told apart by the stand's name, and stay.
    management: Option<Url>,
    redis: Url,
}

impl Services {
    pub async fn create() -> Self {
        let unique = format!("{:012x}", fastrand::u64(..) >> 16);
        let services = Self {
            name: format!("story_{unique}"),
            postgres: given("DATABASE_URL"),
            rabbitmq: given("AMQP_URL"),
            management: std::env::var_os("RABBITMQ_MANAGEMENT_URL").map(|url| {
                let url = url.to_string_lossy();
                Url::parse(&url).expect("RABBITMQ_MANAGEMENT_URL is a URL")
            }),
            redis: given("REDIS_URL"),
        };
        services
            .on_postgres(&format!(
                "CREATE DATABASE {} TEMPLATE template0",
                services.name
            ))
            .await
            .expect("a database can be created");
        services.create_vhost().await;
        services
    }

    /// What the program is told.
    pub fn variables(&self) -> [(&'static str, String); 4] {
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
            ("ORCHESTRATOR_NAMESPACE", self.name.clone()),
        ]
    }

    pub fn passwords(&self) -> Vec<String> {
        let urls = [&self.postgres, &self.rabbitmq, &self.redis];
        let passwords = urls.iter().filter_map(|url| url.password());
        passwords.map(str::to_owned).collect()
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
        let answer = api
            .send(api.request(reqwest::Method::PUT, &vhost).json(&json!({})))
            .await;
        assert!(answer.status < 300, "{}", answer.text());
        let permissions = format!(
            "/api/permissions/{}/{}",
            self.name,
            self.rabbitmq.username()
        );
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        let answer = api
            .send(api.request(reqwest::Method::PUT, &permissions).json(&all))
            .await;
        assert!(answer.status < 300, "{}", answer.text());
    }

    async fn delete_vhost(&self) {
        if let Some(management) = &self.management {
            let api = Api::new(management.as_str().trim_end_matches('/'), None);
            let vhost = format!("/api/vhosts/{}", self.name);
            api.send(api.request(reqwest::Method::DELETE, &vhost)).await;
        }
    }

    /// Removes what begins with the stand's name.
    fn clean_redis(&self) -> redis::RedisResult<()> {
        let client = redis::Client::open(self.redis.as_str())?;
        let mut connection = client.get_connection_with_timeout(REDIS_TIMEOUT)?;
        // Keys may begin with a brace, which marks what a cluster keeps together.
        let pattern = format!("*{}*", self.name);
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg(pattern).query(&mut connection)?;
        if keys.is_empty() {
            return Ok(());
        }
        redis::cmd("DEL").arg(keys).exec(&mut connection)
    }

    async fn remove(&self) {
        let drop_database = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        if let Err(error) = self.on_postgres(&drop_database).await {
            eprintln!("the database {} was left behind: {error}", self.name);
        }
        if let Err(error) = self.clean_redis() {
            eprintln!("keys in Redis were left behind: {error}");
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
