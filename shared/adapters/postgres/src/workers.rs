//! The workers as people see them.

use domain::WorkerView;

use crate::PostgresStore;
use crate::error::Failure;
use crate::rows;

const ALL: &str = "SELECT w.id, w.epoch, w.host, w.kinds, w.labels, w.capacity, w.draining, w.started_at, w.lease_until,
        (SELECT count(*) FROM jobs j WHERE j.worker_id = w.id AND j.state IN ('running', 'degraded')) AS running
    FROM workers w ORDER BY w.id";

pub(crate) async fn all(store: &PostgresStore) -> Result<Vec<WorkerView>, Failure> {
    let client = store.client().await?;
    let all = client.prepare_cached(ALL).await?;
    let rows = client.query(&all, &[]).await?;
    rows.iter().map(rows::worker).collect()
}
