//! What new jobs wait for, the edges of `job_dependencies`, and belong to.

use std::collections::{BTreeMap, BTreeSet};

use application::ports::{Refused, StoreError, Submission};
use domain::{Job, JobId, JobState, Prerequisite, TenantId};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::batch::{Hex, ids, json};
use crate::budgets::{self, Accounts};
use crate::error::failed;
use crate::rows::Reader;

/// The stored jobs that submissions wait for or belong to, by tenant: another tenant's job is not known.
#[derive(Debug, Default)]
pub struct Known {
    jobs: BTreeMap<(TenantId, JobId), Stored>,
    /// Of the parents, and all above them.
    accounts: Accounts,
}

#[derive(Debug)]
struct Stored {
    state: JobState,
    ancestors: Vec<JobId>,
}

impl Known {
    pub async fn load(
        connection: &mut SqliteConnection,
        submissions: &[Submission],
    ) -> Result<Self, StoreError> {
        let jobs = submissions.iter().flat_map(|submission| &submission.jobs);
        let wanted: BTreeSet<JobId> = jobs
            .flat_map(|job| job.depends_on.iter().copied().chain(job.parent))
            .collect();
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let rows = sqlx::query(
            "SELECT id, tenant_id, state, ancestors FROM jobs
             WHERE id IN (SELECT unhex(value) FROM json_each(?))",
        )
        .bind(ids(wanted.into_iter().map(JobId::as_uuid))?)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
        let mut known = Self::default();
        for row in &rows {
            let row = Reader(row);
            let stored = Stored {
                state: row.name("state")?,
                ancestors: row.json("ancestors")?,
            };
            let key = (row.tenant_id("tenant_id")?, row.job_id("id")?);
            known.jobs.insert(key, stored);
        }
        let jobs = submissions.iter().flat_map(|submission| &submission.jobs);
        let lines: BTreeSet<JobId> = jobs.flat_map(|job| known.ancestors(job)).collect();
        if !lines.is_empty() {
            known.accounts = budgets::read(connection, lines).await?;
        }
        Ok(known)
    }

    /// Those above a new job, the first of its family first.
    pub fn ancestors(&self, job: &Job) -> Vec<JobId> {
        let Some(parent) = job.parent else {
            return Vec::new();
        };
        let stored = self.jobs.get(&(job.tenant, parent));
        let above = stored.map(|stored| &stored.ancestors);
        above
            .into_iter()
            .flatten()
            .copied()
            .chain([parent])
            .collect()
    }

    /// Every parent is the tenant's, and every prerequisite is, stored or of the same submission.
    pub fn check(&self, submission: &Submission) -> Result<(), Refused> {
        let mut parents = submission.jobs.iter().filter_map(|job| job.parent);
        if let Some(unknown) = parents.find(|id| !self.jobs.contains_key(&(submission.tenant, *id)))
        {
            return Err(Refused::ParentUnknown(unknown));
        }
        submission
            .jobs
            .iter()
            .try_for_each(|job| Refused::by_family(&self.ancestors(job), &self.accounts))?;
        let mut own: Option<BTreeSet<JobId>> = None;
        for prerequisite in submission.jobs.iter().flat_map(|job| &job.depends_on) {
            if self.jobs.contains_key(&(submission.tenant, *prerequisite)) {
                continue;
            }
            let own = own.get_or_insert_with(|| submission.jobs.iter().map(|j| j.id).collect());
            if !own.contains(prerequisite) {
                return Err(Refused::PrerequisiteUnknown(*prerequisite));
            }
        }
        Ok(())
    }

    /// The edges of a new job. What is not stored yet has not ended.
    pub fn edges(&self, job: &Job) -> Vec<Edge> {
        let prerequisites: BTreeSet<JobId> = job.depends_on.iter().copied().collect();
        prerequisites
            .into_iter()
            .filter_map(|prerequisite| {
                let stored = self.jobs.get(&(job.tenant, prerequisite));
                let met = match stored.map(|stored| Prerequisite::of(stored.state)) {
                    Some(Prerequisite::Met) => return None,
                    Some(Prerequisite::Failed) => Some(false),
                    Some(Prerequisite::Open) | None => None,
                };
                Some(Edge {
                    depends_on: prerequisite,
                    job: job.id,
                    tenant: job.tenant,
                    met,
                })
            })
            .collect()
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Edge {
    pub depends_on: JobId,
    pub job: JobId,
    pub tenant: TenantId,
    /// `None` while the prerequisite has not ended.
    pub met: Option<bool>,
}

#[derive(Debug, Serialize)]
struct EdgeRow(Hex, Hex, Hex, Option<bool>);

pub async fn insert(connection: &mut SqliteConnection, edges: &[Edge]) -> Result<(), StoreError> {
    if edges.is_empty() {
        return Ok(());
    }
    let rows: Vec<EdgeRow> = edges
        .iter()
        .map(|edge| {
            EdgeRow(
                Hex(edge.depends_on.as_uuid()),
                Hex(edge.job.as_uuid()),
                Hex(edge.tenant.as_uuid()),
                edge.met,
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO job_dependencies (depends_on, job_id, tenant_id, met)
         SELECT unhex(value ->> 0), unhex(value ->> 1), unhex(value ->> 2), value ->> 3 FROM jsonb_each(?)",
    )
    .bind(json(&rows)?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
