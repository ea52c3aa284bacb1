//! RELEASE: what follows for the jobs that wait when their prerequisites have ended.
//!
//! Level-triggered: it looks for edges whose prerequisite has ended and for jobs that nothing holds back, so it may run
//! at any time and twice at once.

use std::collections::BTreeMap;

use application::ports::Moved;
use deadpool_postgres::Transaction;
use domain::{DependencyRule, JobError, JobId, JobState, Timestamp};
use uuid::Uuid;

use crate::PostgresStore;
use crate::dependents;
use crate::end::{self, Move};
use crate::error::Failure;
use crate::rows::{self, StoredJob, int};

/// Jobs that have an ended prerequisite, and those that had none left when they were submitted.
const FIND: &str = "SELECT j.id, j.tenant_id FROM (
        SELECT DISTINCT job_id AS id, tenant_id FROM (
            SELECT job_id, tenant_id FROM job_dependencies WHERE met IS NOT NULL ORDER BY job_id LIMIT $2
        ) AS ended
        UNION
        (SELECT id, tenant_id FROM jobs WHERE state = 'pending' AND unmet = 0 AND depends_on <> '{}'
        ORDER BY id LIMIT $1)
    ) AS j ORDER BY j.id LIMIT $1";

/// A job may have so many prerequisites; looking that far finds as many jobs as are asked for.
const EDGES_A_JOB: i64 = 100;

const ENDED: &str = "SELECT d.job_id, d.depends_on, d.met, p.state
    FROM job_dependencies d JOIN jobs p ON p.id = d.depends_on
    WHERE d.job_id = ANY ($1::uuid[]) AND d.met IS NOT NULL
    ORDER BY d.job_id, d.depends_on";

/// They wait on for the others.
const FEWER: &str = "UPDATE jobs j SET unmet = greatest(j.unmet - m.n, 0)
    FROM unnest($1::uuid[], $2::int4[]) AS m (id, n)
    WHERE j.id = m.id";

pub(crate) async fn release(
    store: &PostgresStore,
    limit: u32,
    now: Timestamp,
) -> Result<Moved, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let find = tx.prepare_cached(FIND).await?;
    let limit = i64::from(limit);
    let found = tx.query(&find, &[&limit, &(limit * EDGES_A_JOB)]).await?;
    if found.is_empty() {
        return Ok(Moved::default());
    }
    let waiting = end::lock(&tx, &found).await?;
    let ids: Vec<Uuid> = found
        .iter()
        .map(|row| rows::get(row, "id"))
        .collect::<Result<_, _>>()?;
    let ended = Ended::read(&tx, &ids).await?;
    let (moves, fewer) = decide(waiting, &ended, now);
    let fewer_ids: Vec<Uuid> = fewer.iter().map(|(job, _)| job.as_uuid()).collect();
    let fewer: Vec<i32> = fewer.iter().map(|(_, met)| int(*met)).collect();
    if !fewer.is_empty() {
        let statement = tx.prepare_cached(FEWER).await?;
        tx.execute(&statement, &[&fewer_ids, &fewer]).await?;
    }
    // Also those of jobs that do not wait any more.
    dependents::forget_edges(&tx, &ended.edges).await?;
    let mut released = end::write(&tx, moves, now).await?;
    // There may be more than were asked for.
    released.to_release |= i64::try_from(found.len()).is_ok_and(|found| found == limit);
    tx.commit().await?;
    Ok(released)
}

/// How the prerequisites of some jobs ended, as far as those have not been told.
struct Ended {
    edges: (Vec<Uuid>, Vec<Uuid>),
    /// How many ended well.
    met: BTreeMap<JobId, u32>,
    /// The first that did not, and how it ended.
    failed: BTreeMap<JobId, (JobId, JobState)>,
}

impl Ended {
    async fn read(tx: &Transaction<'_>, jobs: &[Uuid]) -> Result<Self, Failure> {
        let mut ended = Self {
            edges: (Vec::new(), Vec::new()),
            met: BTreeMap::new(),
            failed: BTreeMap::new(),
        };
        let statement = tx.prepare_cached(ENDED).await?;
        for row in &tx.query(&statement, &[&jobs]).await? {
            let job = rows::job_id(row, "job_id")?;
            let prerequisite = rows::job_id(row, "depends_on")?;
            ended.edges.0.push(prerequisite.as_uuid());
            ended.edges.1.push(job.as_uuid());
            if rows::get(row, "met")? {
                *ended.met.entry(job).or_default() += 1;
            } else {
                let state = rows::named(row, "state")?;
                ended.failed.entry(job).or_insert((prerequisite, state));
            }
        }
        Ok(ended)
    }
}

/// Jobs that go on or end, and those that have fewer prerequisites before them.
fn decide(
    waiting: Vec<StoredJob>,
    ended: &Ended,
    now: Timestamp,
) -> (Vec<Move>, Vec<(JobId, u32)>) {
    let (mut moves, mut fewer) = (Vec::new(), Vec::new());
    for stored in waiting {
        let job = stored.job.id;
        if stored.job.state() != JobState::Pending || stored.job.depends_on.is_empty() {
            continue;
        }
        let met = ended.met.get(&job).copied().unwrap_or(0);
        if let Some((prerequisite, state)) = ended.failed.get(&job) {
            let why = format!("prerequisite {prerequisite} is {state}");
            moves.push(match stored.job.if_prerequisite_fails {
                DependencyRule::Fail => {
                    Move::failed(stored, JobError::new("PREREQUISITE_FAILED", why), now)
                }
                DependencyRule::Skip => Move::cancelled(stored, why, now),
            });
        } else if stored.unmet <= met {
            moves.push(Move::queued(stored, now));
        } else if met > 0 {
            fewer.push((job, met));
        }
    }
    (moves, fewer)
}
