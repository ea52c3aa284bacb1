//! What is SQLite's own: the file, its limits, and what somebody else did to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adapter_sqlite::SqliteStore;
use application::ports::{EngineStore, JobStore, StoreError, TenantStore};
use application::testing::store::World;
use application::testing::{StoreUnderTest, make};
use domain::{CHECKPOINTS_KEPT, JobState};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

async fn open(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path).await.expect("the file opens");
    store.migrate().await.expect("the tables are made");
    store
}

/// Somebody else's connection to the file.
async fn other(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path);
    options.connect().await.expect("the file opens")
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) {
    let done = sqlx::raw_sql(statement).execute(connection).await;
    done.expect("the statement is right");
}

#[tokio::test]
async fn what_was_accepted_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).await;
    let world = World::new(StoreUnderTest::new(Arc::new(store.clone())));
    let tenant = world.tenant("acme").await;
    let (_, job) = world.running(&tenant, make::new_session("one")).await;
    store.close().await;
    let store = open(&path).await;
    let stored = store.get(tenant.id, job.id).await.unwrap();
    assert_eq!(stored, Some(job));
    assert_eq!(store.slots(10).await.unwrap()[0].running, 1);
}

#[tokio::test]
async fn the_file_is_written_ahead_and_synced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).await;
    assert!(folder.path().join("store.db-wal").exists());
    store.close().await;
    let mut other = other(&path).await;
    let mode = sqlx::query("PRAGMA journal_mode").fetch_one(&mut other);
    assert_eq!(mode.await.unwrap().get::<String, _>(0), "wal");
}

#[tokio::test]
async fn a_missing_folder_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nowhere").join("store.db");
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).await;
    execute(
        &mut other(&path).await,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .await;
    let error = store.migrate().await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    std::fs::write(&path, "certainly not a database ".repeat(100)).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
}

#[tokio::test]
async fn somebody_elses_lock_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).await;
    let world = World::new(StoreUnderTest::new(Arc::new(store)));
    let tenant = world.tenant("acme").await;
    let mut other = other(&path).await;
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let submit = {
        let (world, jobs) = (world.clone(), world.sessions(&tenant, 1));
        tokio::spawn(async move { world.submit(jobs).await })
    };
    // Readers are not held up by it.
    assert_eq!(world.store.engine.slots(10).await.unwrap(), []);
    assert!(!submit.is_finished());
    held.rollback().await.unwrap();
    assert_eq!(submit.await.unwrap().publish.len(), 1);
}

#[tokio::test]
async fn counts_that_somebody_spoiled_are_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).await;
    let world = World::new(StoreUnderTest::new(Arc::new(store.clone())));
    let tenant = world.tenant("acme").await;
    let right = world.tenant("right").await;
    let (_, job) = world.running(&tenant, make::new_session("runs")).await;
    world.submit(world.sessions(&tenant, 3)).await;
    world.submit(world.sessions(&right, 3)).await;
    let before = world.slot(job.queue()).await.unwrap();
    execute(
        &mut other(&path).await,
        "UPDATE tenant_slots SET running = 9, queued = 0, due = 8, pending = 5
         WHERE kind = 'session' AND tenant_id = (SELECT id FROM tenants WHERE slug = 'acme')",
    )
    .await;
    let silence = Duration::from_hours(1);
    let reconciled = store.reconcile(silence, world.now()).await.unwrap();
    assert_eq!(reconciled.drifted, [job.queue()]);
    let slot = world.slot(job.queue()).await.unwrap();
    assert_eq!(reconciled.slots, [slot]);
    assert!(slot.version > before.version);
    let counts = (slot.running, slot.queued, slot.due);
    assert_eq!(counts, (before.running, before.queued, before.due));
    world.no_drift().await;
}

#[tokio::test]
async fn old_checkpoints_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let world = World::new(StoreUnderTest::new(Arc::new(open(&path).await)));
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_training("long")).await;
    let report = application::ports::Report {
        tenant: tenant.id,
        job: job.id,
        fence: job.fence,
        attempt: job.attempt,
        progress: None,
        spent: None,
        checkpoints: (0..CHECKPOINTS_KEPT + 7).map(|n| json!(n)).collect(),
        logs: Vec::new(),
        artifacts: Vec::new(),
    };
    world.report(worker, report).await;
    let row = sqlx::query("SELECT count(*), min(number) FROM checkpoints")
        .fetch_one(&mut other(&path).await)
        .await
        .unwrap();
    assert_eq!(
        (row.get::<u32, _>(0), row.get::<u32, _>(1)),
        (CHECKPOINTS_KEPT, 8)
    );
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_reported_not_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).await;
    let world = World::new(StoreUnderTest::new(Arc::new(store.clone())));
    let tenant = world.tenant("acme").await;
    let (_, job) = world.running(&tenant, make::new_session("one")).await;
    assert_eq!(job.state(), JobState::Running);
    execute(&mut other(&path).await, "UPDATE jobs SET worker_id = NULL").await;
    let error = store.get(tenant.id, job.id).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert!(error.to_string().contains("worker"), "{error}");
    assert_eq!(store.tenants(None, 10).await.unwrap(), [tenant]);
}
