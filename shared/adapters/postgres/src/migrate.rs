//! Brings the schema up to date. The only place here that uses sqlx, because migrations of both stores are its job.

use std::str::FromStr;

use application::ports::StoreError;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, SqlSafeStr as _};

use crate::Settings;

/// Every file of `migrations/postgres`: number, name, text.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        "jobs",
        include_str!("../../../../migrations/postgres/0001_jobs.sql"),
    ),
    (
        2,
        "scheduling",
        include_str!("../../../../migrations/postgres/0002_scheduling.sql"),
    ),
    (
        3,
        "schedules",
        include_str!("../../../../migrations/postgres/0003_schedules.sql"),
    ),
    (
        4,
        "replays",
        include_str!("../../../../migrations/postgres/0004_replays.sql"),
    ),
    (
        5,
        "lean_jobs",
        include_str!("../../../../migrations/postgres/0005_lean_jobs.sql"),
    ),
    (
        6,
        "agents",
        include_str!("../../../../migrations/postgres/0006_agents.sql"),
    ),
    (
        7,
        "pause",
        include_str!("../../../../migrations/postgres/0007_pause.sql"),
    ),
    (
        8,
        "agent_tasks",
        include_str!("../../../../migrations/postgres/0008_agent_tasks.sql"),
    ),
    (
        9,
        "budgets",
        include_str!("../../../../migrations/postgres/0009_budgets.sql"),
    ),
];

fn migrator() -> Migrator {
    let migration = |&(number, name, text): &(i64, &'static str, &'static str)| {
        let text = text.into_sql_str();
        Migration::new(number, name.into(), MigrationType::Simple, text, false)
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect())
}

/// Applies what is missing, on a connection of its own. Processes that start together wait for each other: the
/// migrations are under a lock of the database.
pub async fn migrate(settings: &Settings) -> Result<(), StoreError> {
    let mut connection = connect(settings).await?;
    let migrated = migrator().run(&mut connection).await.map_err(refused);
    // What was migrated is committed; a failure to say goodbye changes nothing.
    let _ = connection.close().await;
    migrated
}

fn refused(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            StoreError::Unavailable(format!("migrating the schema: {error}"))
        }
        MigrateError::VersionMissing(version) => StoreError::Corrupt(format!(
            "the schema was made by a newer version of the orchestrator: migration {version} is not known here; \
             use that version, or another database"
        )),
        error => StoreError::Corrupt(format!("migrating the schema: {error}")),
    }
}

async fn connect(settings: &Settings) -> Result<PgConnection, StoreError> {
    let unavailable =
        |error: sqlx::Error| StoreError::Unavailable(format!("migrating the schema: {error}"));
    let mut options = PgConnectOptions::from_str(&settings.url)
        .map_err(unavailable)?
        .application_name(&settings.application_name);
    if let Some(path) = &settings.search_path {
        options = options.options([("search_path", path)]);
    }
    options.connect().await.map_err(unavailable)
}
