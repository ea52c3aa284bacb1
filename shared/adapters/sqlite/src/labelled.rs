//! Jobs that ask for labels: found by what they ask for, of which there are few, however many jobs wait.

use std::collections::BTreeMap;

use application::ports::StoreError;
use domain::{JobKind, Labels, QueueKey, SlotSnapshot, Timestamp};
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::SqliteStore;
use crate::batch::{Hex, json};
use crate::error::failed;
use crate::rows::Reader;
use crate::slots;

/// Different wishes that one look goes through; nobody has so many.
const WISHES_MAX: u32 = 20_000;

/// What due jobs of a queue ask for.
#[derive(Debug)]
pub struct Wish {
    pub queue: QueueKey,
    /// As it is stored.
    pub requires: String,
}

/// Jumps from one wish to the next, a step of the index each.
const WISHES: &str = "
    WITH RECURSIVE wishes (tenant_id, kind, requires) AS (
        SELECT * FROM (
            SELECT tenant_id, kind, requires FROM jobs INDEXED BY jobs_labelled
            WHERE state = 'queued' AND due AND requires IS NOT NULL
              AND (tenant_id, kind, requires) > (coalesce(?1, x''), coalesce(?2, ''), '')
            ORDER BY tenant_id, kind, requires LIMIT 1)
        UNION ALL
        SELECT n.tenant_id, n.kind, n.requires
        FROM wishes AS w
        CROSS JOIN jobs AS n ON n.rowid = (
            SELECT rowid FROM jobs INDEXED BY jobs_labelled
            WHERE state = 'queued' AND due AND requires IS NOT NULL
              AND (tenant_id, kind, requires) > (w.tenant_id, w.kind, w.requires)
            ORDER BY tenant_id, kind, requires LIMIT 1)
        WHERE ?1 IS NULL OR (n.tenant_id = ?1 AND n.kind = ?2)
        LIMIT +?3)
    SELECT tenant_id, kind, requires FROM wishes WHERE ?1 IS NULL OR (tenant_id = ?1 AND kind = ?2)";

/// What is asked for in a queue, or in all, and can be met.
pub async fn wishes(
    executor: impl SqliteExecutor<'_>,
    queue: Option<QueueKey>,
    can_be_met: impl Fn(&Labels) -> bool,
) -> Result<Vec<Wish>, StoreError> {
    let rows = sqlx::query(WISHES)
        .bind(queue.map(|queue| queue.tenant.as_uuid()))
        .bind(queue.map(|queue| queue.kind.as_str()))
        .bind(WISHES_MAX)
        .fetch_all(executor)
        .await
        .map_err(failed)?;
    let mut met = Vec::new();
    for row in &rows {
        let row = Reader(row);
        if can_be_met(&row.json("requires")?) {
            met.push(Wish {
                queue: row.queue()?,
                requires: row.get("requires")?,
            });
        }
    }
    Ok(met)
}

pub async fn labelled(
    store: &SqliteStore,
    kinds: &[JobKind],
    labels: &Labels,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<(QueueKey, u32)>, StoreError> {
    let mut wishes = wishes(&store.readers, None, |wish| wish.are_met_by(labels)).await?;
    wishes.retain(|wish| kinds.contains(&wish.queue.kind));
    if wishes.is_empty() {
        return Ok(Vec::new());
    }
    let mut connection = store.readers.acquire().await.map_err(failed)?;
    let mut queues: Vec<QueueKey> = wishes.iter().map(|wish| wish.queue).collect();
    queues.dedup();
    let mut slots = slots::read(&mut connection, queues).await?;
    slots.retain(|slot| !slot.paused && slot.free() > 0);
    slots.sort_unstable_by(|a, b| share(a).total_cmp(&share(b)).then(a.queue.cmp(&b.queue)));
    slots.truncate(limit as usize);
    let most = slots.iter().map(SlotSnapshot::free).max().unwrap_or(0);
    let offered = slots.iter().map(|slot| slot.queue).collect::<Vec<_>>();
    wishes.retain(|wish| offered.contains(&wish.queue));
    let waiting = count(&mut connection, &wishes, most, now).await?;
    Ok(slots
        .iter()
        .map(|slot| {
            let waiting = waiting.get(&slot.queue).copied().unwrap_or(0);
            (slot.queue, waiting.min(slot.free()))
        })
        .filter(|(_, waiting)| *waiting > 0)
        .collect())
}

/// What a queue uses of what it may claim by its weight.
fn share(slot: &SlotSnapshot) -> f64 {
    f64::from(slot.running) / f64::from(slot.weight.max(1))
}

fn rows(wishes: &[Wish]) -> Result<String, StoreError> {
    let row = |wish: &Wish| -> (Hex, &'static str, String) {
        let queue = wish.queue;
        let tenant = Hex(queue.tenant.as_uuid());
        (tenant, queue.kind.as_str(), wish.requires.clone())
    };
    json(&wishes.iter().map(row).collect::<Vec<_>>())
}

/// Due jobs by queue, of each wish counted up to `most`. Those whose deadline has passed are EXPIRE's, here and below.
async fn count(
    connection: &mut SqliteConnection,
    wishes: &[Wish],
    most: u32,
    now: Timestamp,
) -> Result<BTreeMap<QueueKey, u32>, StoreError> {
    let found = sqlx::query(
        "SELECT unhex(w.value ->> 0) AS tenant_id, w.value ->> 1 AS kind,
                (SELECT count(*) FROM (
                     SELECT 1 FROM jobs INDEXED BY jobs_labelled
                     WHERE state = 'queued' AND due AND requires IS NOT NULL AND tenant_id = unhex(w.value ->> 0)
                       AND kind = w.value ->> 1 AND requires = w.value ->> 2
                       AND (deadline IS NULL OR deadline > ?3) LIMIT +?2)) AS waiting
         FROM jsonb_each(?1) AS w",
    )
    .bind(rows(wishes)?)
    .bind(most)
    .bind(now.timestamp_micros())
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let mut waiting: BTreeMap<QueueKey, u32> = BTreeMap::new();
    for row in &found {
        let row = Reader(row);
        let of_queue = waiting.entry(row.queue()?).or_default();
        *of_queue = of_queue.saturating_add(row.count("waiting")?);
    }
    Ok(waiting)
}

/// The rows of the jobs of a queue whose turn is next among those that these labels meet, at most `count`.
pub async fn next(
    connection: &mut SqliteConnection,
    queue: QueueKey,
    labels: &Labels,
    count: u32,
    now: Timestamp,
) -> Result<Vec<i64>, StoreError> {
    let wishes = wishes(&mut *connection, Some(queue), |wish| {
        wish.are_met_by(labels)
    })
    .await?;
    if wishes.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query(
        "SELECT j.rowid AS row FROM jsonb_each(?1) AS w
         CROSS JOIN jobs AS j ON j.rowid IN (
             SELECT rowid FROM jobs INDEXED BY jobs_labelled
             WHERE state = 'queued' AND due AND requires IS NOT NULL AND tenant_id = unhex(w.value ->> 0)
               AND kind = w.value ->> 1 AND requires = w.value ->> 2
               AND (deadline IS NULL OR deadline > ?3)
             ORDER BY turn, id LIMIT +?2)
         ORDER BY j.turn, j.id LIMIT +?2",
    )
    .bind(rows(&wishes)?)
    .bind(count)
    .bind(now.timestamp_micros())
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(|row| Reader(row).get("row"))
    .collect()
}
