//! Where jobs wait that ask for labels which a worker has. They have no wake-ups, so workers with labels ask.

use domain::{JobKind, Labels, QueueKey, Timestamp};

use crate::PostgresStore;
use crate::error::Failure;
use crate::json::jsonb;
use crate::rows;

/// From one asked-for set of labels to the next, by the index: a mass of jobs that ask for the same costs one look, and
/// queues without such jobs cost none. Jobs whose deadline has passed are no work.
const FIND: &str = "WITH RECURSIVE asked AS (
        (SELECT tenant_id, kind, requires FROM jobs
        WHERE state = 'queued' AND due AND requires IS NOT NULL
        ORDER BY tenant_id, kind, requires LIMIT 1)
        UNION ALL
        SELECT further.tenant_id, further.kind, further.requires FROM asked a CROSS JOIN LATERAL (
            SELECT j.tenant_id, j.kind, j.requires FROM jobs j
            WHERE j.state = 'queued' AND j.due AND j.requires IS NOT NULL
                AND (j.tenant_id, j.kind, j.requires) > (a.tenant_id, a.kind, a.requires)
            ORDER BY j.tenant_id, j.kind, j.requires LIMIT 1
        ) AS further
    )
    SELECT s.tenant_id, s.kind, least(sum(waiting.jobs), s.quota - s.running)::int4 AS jobs
    FROM asked a
    JOIN tenant_slots s ON s.tenant_id = a.tenant_id AND s.kind = a.kind
    JOIN tenants t ON t.id = s.tenant_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM (
            SELECT FROM jobs j
            WHERE j.tenant_id = a.tenant_id AND j.kind = a.kind AND j.state = 'queued' AND j.due
                AND j.requires IS NOT NULL AND j.requires = a.requires
                AND (j.deadline IS NULL OR j.deadline > $4)
            LIMIT s.quota - s.running
        ) AS found
    ) AS waiting
    WHERE a.requires <@ $1::jsonb AND a.kind = ANY ($2::text[])
        AND s.running < s.quota AND NOT s.paused AND t.active
        AND (s.kind <> 'session' OR t.budget_until IS NULL)
    GROUP BY s.tenant_id, s.kind, t.weight HAVING sum(waiting.jobs) > 0
    ORDER BY s.running::float8 / t.weight, s.tenant_id, s.kind LIMIT $3";

pub(crate) async fn labelled(
    store: &PostgresStore,
    kinds: &[JobKind],
    labels: &Labels,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<(QueueKey, u32)>, Failure> {
    if labels.is_empty() {
        return Ok(Vec::new());
    }
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    let client = store.client().await?;
    let find = client.prepare_cached(FIND).await?;
    let rows = client
        .query(&find, &[&jsonb(labels)?, &kinds, &i64::from(limit), &now])
        .await?;
    rows.iter()
        .map(|row| Ok((rows::queue(row)?, rows::count(row, "jobs")?)))
        .collect()
}
