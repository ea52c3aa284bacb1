//! The fences of shared resources: they only rise, whatever happens to the locks.

use std::collections::{BTreeSet, HashMap};

use application::ports::{Finish, Guard, StoreError};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::batch::json;
use crate::error::failed;
use crate::rows::Reader;

pub async fn next_fence(store: &SqliteStore, resource: &str) -> Result<i64, StoreError> {
    let mut tx = store.write().await?;
    let row = sqlx::query(
        "INSERT INTO resource_fences (resource, fence) VALUES (?, 1)
         ON CONFLICT (resource) DO UPDATE SET fence = fence + 1 RETURNING fence",
    )
    .bind(resource)
    .fetch_one(&mut *tx)
    .await
    .map_err(failed)?;
    let fence = Reader(&row).get("fence")?;
    tx.commit().await.map_err(failed)?;
    Ok(fence)
}

pub async fn is_latest(store: &SqliteStore, guard: &Guard) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM resource_fences WHERE resource = ? AND fence = ?) AS latest",
    )
    .bind(&guard.resource)
    .bind(guard.fence)
    .fetch_one(&store.readers)
    .await
    .map_err(failed)?;
    Reader(&row).get("latest")
}

/// The present fences of resources that runs are guarded by.
#[derive(Debug, Default)]
pub struct Fences(HashMap<String, i64>);

impl Fences {
    pub async fn load(
        connection: &mut SqliteConnection,
        finishes: &[Finish],
    ) -> Result<Self, StoreError> {
        let guards = finishes.iter().flat_map(|finish| &finish.guards);
        let resources: BTreeSet<&str> = guards.map(|guard| guard.resource.as_str()).collect();
        if resources.is_empty() {
            return Ok(Self::default());
        }
        sqlx::query(
            "SELECT resource, fence FROM resource_fences WHERE resource IN (SELECT value FROM json_each(?))",
        )
        .bind(json(&resources)?)
        .fetch_all(connection)
        .await
        .map_err(failed)?
        .iter()
        .map(|row| {
            let row = Reader(row);
            Ok((row.get("resource")?, row.get("fence")?))
        })
        .collect::<Result<_, _>>()
        .map(Self)
    }

    /// Nobody was given one of these locks since.
    pub fn hold(&self, guards: &[Guard]) -> bool {
        guards
            .iter()
            .all(|guard| self.0.get(&guard.resource) == Some(&guard.fence))
    }
}
