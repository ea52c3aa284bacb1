//! The workers as people see them.

use application::ports::StoreError;
use domain::WorkerView;

use crate::SqliteStore;
use crate::error::failed;
use crate::rows::Reader;

pub async fn workers(store: &SqliteStore) -> Result<Vec<WorkerView>, StoreError> {
    sqlx::query(
        "SELECT w.*, (SELECT count(*) FROM jobs
                      WHERE worker_id = w.id AND state IN ('running', 'degraded')) AS running
         FROM workers AS w ORDER BY w.started_at, w.id",
    )
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?
    .iter()
    .map(|row| {
        let row = Reader(row);
        Ok(WorkerView {
            id: row.worker_id("id")?,
            epoch: row.get("epoch")?,
            host: row.get("host")?,
            kinds: row.json("kinds")?,
            labels: row.json("labels")?,
            capacity: row.count("capacity")?,
            running: row.count("running")?,
            draining: row.get("draining")?,
            started_at: row.time("started_at")?,
            lease_until: row.time("lease_until")?,
        })
    })
    .collect()
}
