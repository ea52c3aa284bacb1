//! Who waits for whom: an edge for each prerequisite that has not ended well.
//!
//! Whoever ends a job for good tells its edges in the same transaction. What follows for the jobs that wait is RELEASE's.

use deadpool_postgres::Transaction;
use domain::{Job, JobId, JobState, Prerequisite};
use uuid::Uuid;

use crate::error::Failure;

/// Only ends of prerequisites that nobody waits for match nothing.
pub(crate) const TELL: &str = "UPDATE job_dependencies SET met = depends_on = ANY ($2::uuid[])
    WHERE depends_on = ANY ($1::uuid[]) AND met IS NULL";

/// Says how these jobs ended, in the same transaction; jobs that have not ended may be among them. True when somebody
/// waits for one.
pub(crate) async fn tell(
    tx: &Transaction<'_>,
    jobs: impl IntoIterator<Item = (JobId, JobState)>,
) -> Result<bool, Failure> {
    let (mut ended, mut met): (Vec<Uuid>, Vec<Uuid>) = (Vec::new(), Vec::new());
    for (job, state) in jobs {
        match Prerequisite::of(state) {
            Prerequisite::Open => continue,
            Prerequisite::Met => met.push(job.as_uuid()),
            Prerequisite::Failed => {}
        }
        ended.push(job.as_uuid());
    }
    if ended.is_empty() {
        return Ok(false);
    }
    let tell = tx.prepare_cached(TELL).await?;
    Ok(tx.execute(&tell, &[&ended, &met]).await? > 0)
}

const FORGET: &str = "DELETE FROM job_dependencies d
    USING unnest($1::uuid[], $2::uuid[]) AS e (depends_on, job_id)
    WHERE d.depends_on = e.depends_on AND d.job_id = e.job_id";

/// These jobs wait for nothing any more.
pub(crate) async fn forget(tx: &Transaction<'_>, jobs: &[&Job]) -> Result<(), Failure> {
    let edges: (Vec<Uuid>, Vec<Uuid>) = jobs
        .iter()
        .flat_map(|job| {
            job.depends_on
                .iter()
                .map(|on| (on.as_uuid(), job.id.as_uuid()))
        })
        .unzip();
    forget_edges(tx, &edges).await
}

/// Prerequisites, and beside each the job that waits for it.
pub(crate) async fn forget_edges(
    tx: &Transaction<'_>,
    (prerequisites, jobs): &(Vec<Uuid>, Vec<Uuid>),
) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    let forget = tx.prepare_cached(FORGET).await?;
    tx.execute(&forget, &[prerequisites, jobs]).await?;
    Ok(())
}
