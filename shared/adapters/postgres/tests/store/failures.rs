//! What the application is told when the server is not as it should be.

use std::time::{Duration, Instant};

use adapter_postgres::{PostgresStore, Settings, migrate};
use application::ports::{EngineStore, JobStore, StoreError, TenantStore};
use application::testing::make;
use application::testing::store::World;
use domain::{Action, JobId, TenantId};
use uuid::Uuid;

use crate::schema::{self, Schema};

fn unavailable<T>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(StoreError::Unavailable(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it worked"),
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    // Port 1 is reserved and has no listener; nothing leaves the machine.
    let settings = Settings::new("postgres://nobody@127.0.0.1:1/nothing");
    let why = unavailable(PostgresStore::connect(&settings).await);
    assert!(
        why.contains("connecting") && why.contains("cannot be reached"),
        "{why}"
    );
    let why = unavailable(migrate(&settings).await);
    assert!(why.contains("migrating"), "{why}");
}

#[tokio::test]
async fn a_url_that_is_none_says_so() {
    let settings = Settings::new("not a url");
    let why = unavailable(PostgresStore::connect(&settings).await);
    assert!(why.contains("URL"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_together_migrate_once() {
    let Some(schema) = Schema::empty().await else {
        return;
    };
    let settings = &schema.settings;
    let all = futures::future::join_all((0..4).map(|_| migrate(settings))).await;
    for migrated in all {
        migrated.unwrap();
    }
    migrate(settings).await.unwrap();
    assert_eq!(schema.store().await.tenants(None, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_is_not_migrated_says_what_to_do() {
    let Some(schema) = Schema::empty().await else {
        return;
    };
    let error = schema
        .store()
        .await
        .workers()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("run the migrations"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_lock_ends() {
    let Some(mut schema) = Schema::new().await else {
        return;
    };
    schema.settings.lock_timeout = Duration::from_millis(200);
    let store = schema.store().await;
    let world = World::new(application::testing::StoreUnderTest::new(
        std::sync::Arc::new(store.clone()),
    ));
    let tenant = world.tenant("locked").await;
    let client = schema.client().await;
    client
        .batch_execute("BEGIN; SELECT * FROM tenant_slots FOR UPDATE")
        .await
        .unwrap();
    let submission = application::ports::Submission {
        tenant: tenant.id,
        jobs: world.sessions(&tenant, 1),
    };
    let began = Instant::now();
    let why = unavailable(store.submit(vec![submission], world.now()).await);
    assert!(why.contains("submitting") && why.contains("55P03"), "{why}");
    assert!(began.elapsed() < Duration::from_secs(10));
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(store.slots(10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_used_up_is_waited_for_with_a_bound() {
    let Some(mut schema) = Schema::new().await else {
        return;
    };
    schema.settings.pool_size = 1;
    schema.settings.pool_wait = Duration::from_millis(200);
    schema.settings.lock_timeout = Duration::from_secs(10);
    let store = schema.store().await;
    let client = schema.client().await;
    client
        .batch_execute("BEGIN; LOCK TABLE workers IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    // Whichever of the two gets the connection waits for the lock, and the other for the connection.
    let (one, other) = (store.workers(), store.workers());
    let first = futures::future::select(one, other).await;
    let (outcome, waiting) = first.factor_first();
    assert!(unavailable(outcome).contains("no connection became free"));
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(waiting.await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_closed_are_replaced() {
    let Some(schema) = Schema::new().await else {
        return;
    };
    let store = schema.store().await;
    assert_eq!(store.workers().await.unwrap(), []);
    let client = schema.client().await;
    let cut = client
        .execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1",
            &[&schema.settings.application_name],
        )
        .await
        .unwrap();
    assert_eq!(cut, 1);
    // One call at most may meet the dead connection.
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = store.workers().await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(Instant::now() < deadline, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_job_is_not_there_to_be_steered() {
    let Some(store) = schema::store().await else {
        return;
    };
    let world = World::new(store);
    let tenant = world.tenant("owner").await;
    let job = world.submitted(&tenant, make::new_session("mine")).await;
    let jobs = &world.store.jobs;
    let stranger = world.tenant("stranger").await;
    for (tenant, job) in [
        (stranger.id, job.id),
        (TenantId::from_uuid(Uuid::nil()), job.id),
        (tenant.id, JobId::from_uuid(Uuid::nil())),
    ] {
        let steered = jobs.steer(tenant, job, Action::Cancel, world.now()).await;
        assert!(steered.unwrap().is_none());
    }
    assert_eq!(world.get(&job).await, job);
}
