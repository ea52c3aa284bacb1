//! Fences of resources that jobs share. A lock may be lost; the number behind it only ever rises, because it is kept here.

use std::collections::BTreeMap;

use application::ports::Guard;
use deadpool_postgres::Transaction;

use crate::PostgresStore;
use crate::error::Failure;
use crate::json::text;
use crate::rows;

const NEXT: &str = "INSERT INTO resource_fences AS f (resource, fence) VALUES ($1, 1)
    ON CONFLICT (resource) DO UPDATE SET fence = f.fence + 1 RETURNING fence";

/// `EngineStore::next_fence`.
pub(crate) async fn next(store: &PostgresStore, resource: &str) -> Result<i64, Failure> {
    let client = store.client().await?;
    let next = client.prepare_cached(NEXT).await?;
    let row = client.query_one(&next, &[&text(resource)]).await?;
    rows::get(&row, "fence")
}

const LATEST: &str = "SELECT EXISTS
    (SELECT FROM resource_fences WHERE resource = $1 AND fence = $2) AS latest";

/// `EngineStore::is_latest_fence`.
pub(crate) async fn is_latest(store: &PostgresStore, guard: &Guard) -> Result<bool, Failure> {
    let client = store.client().await?;
    let latest = client.prepare_cached(LATEST).await?;
    let row = client
        .query_one(&latest, &[&text(&guard.resource), &guard.fence])
        .await?;
    rows::get(&row, "latest")
}

/// The next fence waits until who holds these has committed.
const HOLD: &str = "SELECT resource, fence FROM resource_fences
    WHERE resource = ANY ($1::text[]) ORDER BY resource FOR SHARE";

/// Fences as they are until the transaction ends.
pub(crate) struct Held(BTreeMap<String, i64>);

impl Held {
    pub(crate) fn all_held(&self, guards: &[Guard]) -> bool {
        guards
            .iter()
            .all(|guard| self.0.get(&text(&guard.resource)) == Some(&guard.fence))
    }
}

pub(crate) async fn hold(
    tx: &Transaction<'_>,
    guards: impl Iterator<Item = &Guard>,
) -> Result<Held, Failure> {
    let mut resources: Vec<String> = guards.map(|guard| text(&guard.resource)).collect();
    if resources.is_empty() {
        return Ok(Held(BTreeMap::new()));
    }
    resources.sort_unstable();
    resources.dedup();
    let hold = tx.prepare_cached(HOLD).await?;
    let rows = tx.query(&hold, &[&resources]).await?;
    rows.iter()
        .map(|row| Ok((rows::get(row, "resource")?, rows::get(row, "fence")?)))
        .collect::<Result<_, Failure>>()
        .map(Held)
}
