//! `tenant_slots`: the counts that quotas and hints come from. Every change of a row raises its version.

use std::collections::BTreeMap;

use application::ports::StoreError;
use domain::{QueueKey, SlotSnapshot};
use serde::Serialize;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::batch::{Hex, json};
use crate::error::failed;
use crate::rows::Reader;

/// What a transaction adds to a queue's counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delta {
    pub pending: i64,
    pub queued: i64,
    pub published: i64,
    pub running: i64,
}

/// By queue, in the order of their keys.
#[derive(Debug, Default)]
pub struct Deltas(BTreeMap<QueueKey, Delta>);

impl Deltas {
    pub fn of(&mut self, queue: QueueKey) -> &mut Delta {
        self.0.entry(queue).or_default()
    }

    /// Writes the counts and returns the rows as they are then. A queue whose counts stay is left alone.
    pub async fn apply(
        self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<SlotSnapshot>, StoreError> {
        let changed: Vec<DeltaRow> = self
            .0
            .into_iter()
            .filter(|(_, delta)| *delta != Delta::default())
            .map(DeltaRow::from)
            .collect();
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        // Counts stop at zero; the reconciler repairs what made them wrong.
        sqlx::query(
            "UPDATE tenant_slots
             SET pending = max(0, tenant_slots.pending + d.pending),
                 queued = max(0, tenant_slots.queued + d.queued),
                 published = max(0, tenant_slots.published + d.published),
                 running = max(0, tenant_slots.running + d.running),
                 version = version + 1
             FROM (SELECT unhex(value ->> 'tenant') AS tenant_id, value ->> 'kind' AS kind,
                          value ->> 'pending' AS pending, value ->> 'queued' AS queued,
                          value ->> 'published' AS published, value ->> 'running' AS running
                   FROM json_each(?)) AS d
             WHERE tenant_slots.tenant_id = d.tenant_id AND tenant_slots.kind = d.kind",
        )
        .bind(json(&changed)?)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        snapshots(connection, &changed).await
    }
}

#[derive(Debug, Serialize)]
struct DeltaRow {
    tenant: Hex,
    kind: &'static str,
    pending: i64,
    queued: i64,
    published: i64,
    running: i64,
}

impl From<(QueueKey, Delta)> for DeltaRow {
    fn from((queue, delta): (QueueKey, Delta)) -> Self {
        Self {
            tenant: Hex(queue.tenant.as_uuid()),
            kind: queue.kind.as_str(),
            pending: delta.pending,
            queued: delta.queued,
            published: delta.published,
            running: delta.running,
        }
    }
}

#[derive(Debug, Serialize)]
struct KeyRow {
    tenant: Hex,
    kind: &'static str,
}

/// The queues as they are in this transaction, in the order of their keys.
pub async fn read(
    connection: &mut SqliteConnection,
    queues: impl IntoIterator<Item = QueueKey>,
) -> Result<Vec<SlotSnapshot>, StoreError> {
    let keys: Vec<KeyRow> = queues
        .into_iter()
        .map(|queue| KeyRow {
            tenant: Hex(queue.tenant.as_uuid()),
            kind: queue.kind.as_str(),
        })
        .collect();
    snapshots(connection, &keys).await
}

async fn snapshots<K: Serialize>(
    connection: &mut SqliteConnection,
    keys: &[K],
) -> Result<Vec<SlotSnapshot>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query(
        "SELECT s.*, t.weight, t.active
         FROM json_each(?) AS k
         CROSS JOIN tenant_slots AS s ON s.tenant_id = unhex(k.value ->> 'tenant') AND s.kind = k.value ->> 'kind'
         JOIN tenants AS t ON t.id = s.tenant_id
         ORDER BY s.tenant_id, s.kind",
    )
    .bind(json(keys)?)
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(snapshot)
    .collect()
}

/// Of a row of `tenant_slots` with `weight` and `active` of its tenant.
pub fn snapshot(row: &SqliteRow) -> Result<SlotSnapshot, StoreError> {
    let row = Reader(row);
    Ok(SlotSnapshot {
        queue: row.queue()?,
        version: row.get("version")?,
        weight: row.count("weight")?,
        quota: row.count("quota")?,
        running: row.count("running")?,
        queued: row.count("queued")?,
        published: row.count("published")?,
        paused: row.get::<bool>("paused")? || !row.get::<bool>("active")?,
    })
}
