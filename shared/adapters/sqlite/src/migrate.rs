//! The tables' history, compiled in.

use application::ports::StoreError;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{SqlSafeStr as _, SqlitePool};

use crate::error::failed;

/// Every file of `migrations/sqlite`: number, name, text.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        "jobs",
        include_str!("../../../../migrations/sqlite/0001_jobs.sql"),
    ),
    (
        2,
        "scheduling",
        include_str!("../../../../migrations/sqlite/0002_scheduling.sql"),
    ),
    (
        3,
        "schedules",
        include_str!("../../../../migrations/sqlite/0003_schedules.sql"),
    ),
    (
        4,
        "replays",
        include_str!("../../../../migrations/sqlite/0004_replays.sql"),
    ),
    (
        5,
        "lean_jobs",
        include_str!("../../../../migrations/sqlite/0005_lean_jobs.sql"),
    ),
    (
        6,
        "agents",
        include_str!("../../../../migrations/sqlite/0006_agents.sql"),
    ),
    (
        7,
        "pause",
        include_str!("../../../../migrations/sqlite/0007_pause.sql"),
    ),
    (
        8,
        "agent_tasks",
        include_str!("../../../../migrations/sqlite/0008_agent_tasks.sql"),
    ),
    (
        9,
        "budgets",
        include_str!("../../../../migrations/sqlite/0009_budgets.sql"),
    ),
];

fn migrator() -> Migrator {
    let migration = |&(number, name, text): &(i64, &'static str, &'static str)| {
        let text = text.into_sql_str();
        Migration::new(number, name.into(), MigrationType::Simple, text, false)
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect())
}

pub async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    migrator().run(pool).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failed(error),
        MigrateError::VersionMissing(version) => StoreError::Corrupt(format!(
            "it was made by a newer version of the orchestrator: migration {version} is not known here; \
             use that version, or another data folder"
        )),
        error => StoreError::Corrupt(error.to_string()),
    })
}
