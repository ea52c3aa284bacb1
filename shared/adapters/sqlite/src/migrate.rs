//! The tables' history, compiled in.

use application::ports::StoreError;
use sqlx::SqlitePool;
use sqlx::migrate::{MigrateError, Migrator};

use crate::error::failed;

static MIGRATIONS: Migrator = sqlx::migrate!("../../../migrations/sqlite");

pub async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    MIGRATIONS.run(pool).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failed(error),
        MigrateError::VersionMissing(version) => StoreError::Corrupt(format!(
            "it was made by a newer version of the orchestrator: migration {version} is not known here; \
             use that version, or another data folder"
        )),
        error => StoreError::Corrupt(error.to_string()),
    })
}
