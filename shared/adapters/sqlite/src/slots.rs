//! `tenant_slots`: the counts that quotas and hints come from. Every change of a row raises its version.

use std::collections::BTreeMap;

use application::ports::StoreError;
use domain::{JobKind, QueueKey, SlotSnapshot, Timestamp, service_seconds};
use serde::Serialize;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::batch::{Hex, json};
use crate::error::failed;
use crate::rows::Reader;

/// What a transaction adds to a queue's counts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Delta {
    pub pending: i64,
    pub queued: i64,
    pub due: i64,
    pub published: i64,
    pub running: i64,
    /// Set when wake-ups were used up or given; the row keeps it where it was the last one, or the first.
    pub touched: Option<Timestamp>,
    /// Runs that say how long one takes, and their seconds.
    pub served: (u32, f64),
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
        let mut slots = sqlx::query(APPLY)
            .bind(json(&changed)?)
            .fetch_all(connection)
            .await
            .map_err(failed)?
            .iter()
            .map(snapshot)
            .collect::<Result<Vec<_>, _>>()?;
        slots.sort_unstable_by_key(|slot| slot.queue);
        Ok(slots)
    }
}

/// Counts stop at zero; the reconciler repairs what made them wrong.
const APPLY: &str = "
    UPDATE tenant_slots
    SET pending = max(0, tenant_slots.pending + d.pending), queued = max(0, tenant_slots.queued + d.queued),
        due = max(0, tenant_slots.due + d.due), published = max(0, tenant_slots.published + d.published),
        running = max(0, tenant_slots.running + d.running),
        touched_at = CASE WHEN d.touched IS NULL OR tenant_slots.published > 0 AND tenant_slots.published + d.published > 0
            THEN tenant_slots.touched_at ELSE d.touched END,
        service_seconds = tenant_slots.service_seconds * d.remembered + d.latest, version = version + 1
    FROM (SELECT unhex(value ->> 0) AS tenant_id, value ->> 1 AS kind, value ->> 2 AS pending, value ->> 3 AS queued,
                 value ->> 4 AS due, value ->> 5 AS published, value ->> 6 AS running, value ->> 7 AS touched,
                 value ->> 8 AS remembered, value ->> 9 AS latest
          FROM jsonb_each(?)) AS d
    WHERE tenant_slots.tenant_id = d.tenant_id AND tenant_slots.kind = d.kind
    RETURNING tenant_id, kind, version, quota, running, queued, due, published, paused, service_seconds,
              (SELECT weight FROM tenants WHERE id = tenant_id) AS weight,
              (SELECT active FROM tenants WHERE id = tenant_id) AS active,
              (SELECT budget_until FROM tenants WHERE id = tenant_id) AS budget_until";

/// As an array, in the order in which the statement takes it apart: tenant, kind, pending, queued, due, published,
/// running, touched, and the two parts of the new expected length (what is kept of the old one, and what is added).
#[derive(Debug, Serialize)]
struct DeltaRow(
    Hex,
    &'static str,
    i64,
    i64,
    i64,
    i64,
    i64,
    Option<i64>,
    f64,
    f64,
);

impl From<(QueueKey, Delta)> for DeltaRow {
    fn from((queue, delta): (QueueKey, Delta)) -> Self {
        let (runs, seconds) = delta.served;
        // The rule is linear in the old value, so that it need not be read first.
        let latest = service_seconds(0.0, runs, seconds);
        let remembered = service_seconds(1.0, runs, seconds) - latest;
        Self(
            Hex(queue.tenant.as_uuid()),
            queue.kind.as_str(),
            delta.pending,
            delta.queued,
            delta.due,
            delta.published,
            delta.running,
            delta.touched.map(|at| at.timestamp_micros()),
            remembered,
            latest,
        )
    }
}

#[derive(Debug, Serialize)]
struct KeyRow(Hex, &'static str);

/// The queues as they are in this transaction, in the order of their keys.
pub async fn read(
    connection: &mut SqliteConnection,
    queues: impl IntoIterator<Item = QueueKey>,
) -> Result<Vec<SlotSnapshot>, StoreError> {
    let keys: Vec<KeyRow> = queues
        .into_iter()
        .map(|queue| KeyRow(Hex(queue.tenant.as_uuid()), queue.kind.as_str()))
        .collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query(
        "SELECT s.*, t.weight, t.active, t.budget_until
         FROM jsonb_each(?) AS k
         CROSS JOIN tenant_slots AS s ON s.tenant_id = unhex(k.value ->> 0) AND s.kind = k.value ->> 1
         CROSS JOIN tenants AS t ON t.id = s.tenant_id
         ORDER BY s.tenant_id, s.kind",
    )
    .bind(json(&keys)?)
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(snapshot)
    .collect()
}

/// Of a row of `tenant_slots` with `weight`, `active` and `budget_until` of its tenant.
pub fn snapshot(row: &SqliteRow) -> Result<SlotSnapshot, StoreError> {
    let row = Reader(row);
    let queue = row.queue()?;
    let used_up = row.get::<Option<i64>>("budget_until")?.is_some();
    Ok(SlotSnapshot {
        queue,
        version: row.get("version")?,
        weight: row.count("weight")?,
        quota: row.count("quota")?,
        running: row.count("running")?,
        queued: row.count("queued")?,
        due: row.count("due")?,
        published: row.count("published")?,
        paused: row.get::<bool>("paused")?
            || !row.get::<bool>("active")?
            || used_up && queue.kind == JobKind::Session,
        service_seconds: row.get("service_seconds")?,
    })
}
