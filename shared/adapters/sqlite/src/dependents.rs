//! Who waits for the end of a job. An edge of `job_dependencies` stands from the submit until RELEASE told the waiting
//! job of the end of its prerequisite, or the job waits no longer.

use application::ports::StoreError;
use domain::{JobId, JobState, Prerequisite};
use sqlx::SqliteConnection;

use crate::batch::{Hex, json};
use crate::error::failed;

/// Jobs that ended for good, with their states: those who wait for them have something to decide. True when there
/// are such.
pub async fn tell(
    connection: &mut SqliteConnection,
    ended: impl Iterator<Item = (JobId, JobState)>,
) -> Result<bool, StoreError> {
    let ended: Vec<(Hex, bool)> = ended
        .map(|(job, state)| {
            let met = Prerequisite::of(state) == Prerequisite::Met;
            (Hex(job.as_uuid()), met)
        })
        .collect();
    if ended.is_empty() {
        return Ok(false);
    }
    let told = sqlx::query(
        "UPDATE job_dependencies SET met = e.met
         FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS met FROM jsonb_each(?)) AS e
         WHERE job_dependencies.depends_on = e.id AND job_dependencies.met IS NULL",
    )
    .bind(json(&ended)?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(told.rows_affected() > 0)
}

/// Deletes edges, each a prerequisite and who waits for it.
pub async fn forget(
    connection: &mut SqliteConnection,
    edges: impl Iterator<Item = (JobId, JobId)>,
) -> Result<(), StoreError> {
    let edges: Vec<(Hex, Hex)> = edges
        .map(|(depends_on, job)| (Hex(depends_on.as_uuid()), Hex(job.as_uuid())))
        .collect();
    if edges.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM job_dependencies
         WHERE (depends_on, job_id) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM jsonb_each(?))",
    )
    .bind(json(&edges)?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
