//! What agents say of themselves, and what became of their work: decided by the domain, under the one write lock.

use application::ports::StoreError;
use domain::{AgentId, Beat, Condition, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::batch::json;
use crate::error::failed;
use crate::rows::Reader;
use crate::statement::{Bound, one};

pub(super) async fn beaten(
    store: &SqliteStore,
    id: AgentId,
    beat: Beat,
) -> Result<bool, StoreError> {
    let mut tx = store.write().await?;
    let found = change_condition(&mut tx, id, |known| known.beaten(beat)).await?;
    tx.commit().await.map_err(failed)?;
    Ok(found)
}

pub(super) async fn heard(
    store: &SqliteStore,
    id: AgentId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let known = one(&store.readers, condition_of(id), condition).await?;
    if known.and_then(|known| known.heard(now)).is_none() {
        return Ok(());
    }
    let mut tx = store.write().await?;
    change_condition(&mut tx, id, |known| {
        known.clone().heard(now).unwrap_or(known)
    })
    .await?;
    tx.commit().await.map_err(failed)
}

fn condition_of(id: AgentId) -> Bound<'static> {
    sqlx::query("SELECT condition FROM agents WHERE id = ?").bind(id.as_uuid())
}

fn condition(row: &SqliteRow) -> Result<Condition, StoreError> {
    Reader(row).json("condition")
}

/// False: the agent is gone.
pub async fn change_condition(
    connection: &mut SqliteConnection,
    id: AgentId,
    change: impl FnOnce(Condition) -> Condition,
) -> Result<bool, StoreError> {
    let Some(before) = one(&mut *connection, condition_of(id), condition).await? else {
        return Ok(false);
    };
    sqlx::query("UPDATE agents SET condition = ?2 WHERE id = ?1")
        .bind(id.as_uuid())
        .bind(json(&change(before))?)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(true)
}
