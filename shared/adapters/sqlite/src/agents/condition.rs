//! What agents say of themselves, and what became of their work: decided by the domain, under the one write lock.

use application::ports::StoreError;
use domain::{AgentId, Beat, Condition};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::batch::json;
use crate::error::failed;
use crate::rows::Reader;
use crate::statement::one;

pub(super) async fn beaten(
    store: &SqliteStore,
    id: AgentId,
    beat: Beat,
) -> Result<bool, StoreError> {
    let mut tx = store.write().await?;
    let found = change_condition(&mut tx, id, |condition| {
        let newer = condition
            .beat
            .as_ref()
            .is_none_or(|known| known.at <= beat.at);
        if newer {
            condition.beaten(beat)
        } else {
            condition
        }
    })
    .await?;
    tx.commit().await.map_err(failed)?;
    Ok(found)
}

/// False: the agent is gone.
pub async fn change_condition(
    connection: &mut SqliteConnection,
    id: AgentId,
    change: impl FnOnce(Condition) -> Condition,
) -> Result<bool, StoreError> {
    let query = sqlx::query("SELECT condition FROM agents WHERE id = ?").bind(id.as_uuid());
    let read = |row: &SqliteRow| Reader(row).json::<Condition>("condition");
    let Some(before) = one(&mut *connection, query, read).await? else {
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
