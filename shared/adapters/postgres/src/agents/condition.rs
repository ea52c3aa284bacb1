//! What agents say of themselves, and what became of their work: decided by the domain, on a row that is locked.

use deadpool_postgres::Transaction;
use domain::{AgentId, Beat, Condition, Timestamp};
use tokio_postgres::Row;

use crate::error::Failure;
use crate::json::jsonb;
use crate::{PostgresStore, rows, statement};

const CONDITION: &str = "SELECT condition FROM agents WHERE id = $1";
const LOCK_CONDITION: &str = "SELECT condition FROM agents WHERE id = $1 FOR UPDATE";
const SET_CONDITION: &str = "UPDATE agents SET condition = $2 WHERE id = $1";

pub(super) async fn beaten(
    store: &PostgresStore,
    id: AgentId,
    beat: Beat,
) -> Result<bool, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let found = change_condition(&tx, id, |known| known.beaten(beat)).await?;
    tx.commit().await?;
    Ok(found)
}

pub(super) async fn heard(
    store: &PostgresStore,
    id: AgentId,
    now: Timestamp,
) -> Result<(), Failure> {
    let read = |row: &Row| rows::json::<Condition>(row, "condition");
    let known = statement::one(store, CONDITION, &[&id.as_uuid()], read).await?;
    if known.and_then(|known| known.heard(now)).is_none() {
        return Ok(());
    }
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    change_condition(&tx, id, |known| known.clone().heard(now).unwrap_or(known)).await?;
    tx.commit().await?;
    Ok(())
}

/// False: the agent is gone.
pub(crate) async fn change_condition(
    tx: &Transaction<'_>,
    id: AgentId,
    change: impl FnOnce(Condition) -> Condition,
) -> Result<bool, Failure> {
    let lock = tx.prepare_cached(LOCK_CONDITION).await?;
    let Some(row) = tx.query_opt(&lock, &[&id.as_uuid()]).await? else {
        return Ok(false);
    };
    let before: Condition = rows::json(&row, "condition")?;
    let after = change(before.clone());
    if after != before {
        let set = tx.prepare_cached(SET_CONDITION).await?;
        tx.execute(&set, &[&id.as_uuid(), &jsonb(&after)?]).await?;
    }
    Ok(true)
}
