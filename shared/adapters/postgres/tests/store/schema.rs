//! A schema for each test, gone with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_postgres::{PostgresStore, Settings, migrate};
use application::testing::{StoreUnderTest, service_url};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A migrated, empty store; `None` where no services are wanted.
pub async fn store() -> Option<StoreUnderTest> {
    let schema = Schema::new().await?;
    let store = schema.store().await;
    Some(StoreUnderTest::new(Arc::new(store)).keeping(schema))
}

pub struct Schema {
    pub settings: Settings,
    name: String,
}

impl Schema {
    /// Migrated.
    pub async fn new() -> Option<Self> {
        let schema = Self::empty().await?;
        migrate(&schema.settings).await.unwrap();
        Some(schema)
    }

    pub async fn empty() -> Option<Self> {
        let url = service_url("DATABASE_URL")?;
        #[expect(
            clippy::disallowed_methods,
            reason = "a test that picks a name needs no clock port"
        )]
        let name = format!("test_{}", Uuid::now_v7().simple());
        let client = connect(&url).await;
        client
            .batch_execute(&format!("CREATE SCHEMA {name}"))
            .await
            .unwrap();
        let mut settings = Settings::new(url);
        settings.pool_size = 4;
        settings.application_name.clone_from(&name);
        settings.search_path = Some(name.clone());
        Some(Self { settings, name })
    }

    pub async fn store(&self) -> PostgresStore {
        PostgresStore::connect(&self.settings).await.unwrap()
    }

    /// A connection beside the store's own, to get in its way.
    pub async fn client(&self) -> Client {
        let client = connect(&self.settings.url).await;
        client
            .batch_execute(&format!("SET search_path = {}", self.name))
            .await
            .unwrap();
        client
    }

    /// Until so many statements of the store wait for a lock.
    pub async fn waiting(&self, statements: i64) {
        let client = self.client().await;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let row = client
                .query_one(
                    "SELECT count(*) FROM pg_stat_activity
                    WHERE application_name = $1 AND wait_event_type = 'Lock'",
                    &[&self.settings.application_name],
                )
                .await
                .unwrap();
            let waiting: i64 = row.get(0);
            if waiting == statements {
                return;
            }
            assert!(Instant::now() < deadline, "{waiting} statements wait");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (url, name) = (self.settings.url.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let client = connect(&url).await;
                client
                    .batch_execute(&format!("DROP SCHEMA {name} CASCADE"))
                    .await
                    .unwrap();
            });
        });
        // A test that has failed already says more than what follows from it.
        assert!(
            dropped.join().is_ok() || std::thread::panicking(),
            "the schema {} could not be dropped",
            self.name
        );
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
