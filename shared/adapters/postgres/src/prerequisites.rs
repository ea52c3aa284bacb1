//! What the jobs of a submit wait for and belong to: looked up under the locks of all queues of their tenants, so that no
//! prerequisite ends between this look and the edge that is written for it.

use std::collections::{BTreeMap, BTreeSet};

use application::ports::{Refused, Submission};
use deadpool_postgres::Transaction;
use domain::{Job, JobId, JobState, Prerequisite, TenantId};
use uuid::Uuid;

use crate::budgets::{self, Accounts};
use crate::error::Failure;
use crate::rows::{self, int};

const FIND: &str = "SELECT id, tenant_id, state, ancestors FROM jobs WHERE id = ANY ($1::uuid[])";

/// Prerequisites and parents that are stored already.
#[derive(Default)]
pub(crate) struct Stored {
    jobs: BTreeMap<JobId, Known>,
    /// Of the parents, and all above them.
    accounts: Accounts,
}

struct Known {
    tenant: TenantId,
    stands: Prerequisite,
    ancestors: Vec<JobId>,
}

pub(crate) async fn stored(
    tx: &Transaction<'_>,
    submissions: &[Submission],
) -> Result<Stored, Failure> {
    let wanted: BTreeSet<JobId> = submissions
        .iter()
        .flat_map(|submission| &submission.jobs)
        .flat_map(|job| job.depends_on.iter().copied().chain(job.parent))
        .collect();
    if wanted.is_empty() {
        return Ok(Stored::default());
    }
    let ids: Vec<Uuid> = wanted.into_iter().map(JobId::as_uuid).collect();
    let find = tx.prepare_cached(FIND).await?;
    let rows = tx.query(&find, &[&ids]).await?;
    let mut stored = Stored::default();
    for row in &rows {
        let state: JobState = rows::named(row, "state")?;
        let known = Known {
            tenant: rows::tenant_id(row, "tenant_id")?,
            stands: Prerequisite::of(state),
            ancestors: rows::job_ids(row, "ancestors")?,
        };
        stored.jobs.insert(rows::job_id(row, "id")?, known);
    }
    let jobs = submissions.iter().flat_map(|submission| &submission.jobs);
    let lines: BTreeSet<JobId> = jobs.flat_map(|job| stored.ancestors(job)).collect();
    if !lines.is_empty() {
        stored.accounts = budgets::read(tx, lines).await?;
    }
    Ok(stored)
}

impl Stored {
    /// All parents are the tenant's, and all prerequisites are, stored or of the same submission.
    pub(crate) fn know_all(&self, submission: &Submission) -> Result<(), Refused> {
        let mut parents = submission.jobs.iter().filter_map(|job| job.parent);
        if let Some(unknown) = parents.find(|job| !self.is_of(*job, submission.tenant)) {
            return Err(Refused::ParentUnknown(unknown));
        }
        submission
            .jobs
            .iter()
            .try_for_each(|job| Refused::by_family(&self.ancestors(job), &self.accounts))?;
        if submission.jobs.iter().all(|job| job.depends_on.is_empty()) {
            return Ok(());
        }
        let beside: BTreeSet<JobId> = submission.jobs.iter().map(|job| job.id).collect();
        submission
            .jobs
            .iter()
            .flat_map(|job| &job.depends_on)
            .find(|&on| !beside.contains(on) && !self.is_of(*on, submission.tenant))
            .map_or(Ok(()), |unknown| {
                Err(Refused::PrerequisiteUnknown(*unknown))
            })
    }

    fn is_of(&self, job: JobId, tenant: TenantId) -> bool {
        let known = self.jobs.get(&job);
        known.is_some_and(|known| known.tenant == tenant)
    }

    /// Those above a new job, the first of its family first.
    pub(crate) fn ancestors(&self, job: &Job) -> Vec<JobId> {
        let Some(parent) = job.parent else {
            return Vec::new();
        };
        let above = self.jobs.get(&parent).map(|known| &known.ancestors);
        above
            .into_iter()
            .flatten()
            .copied()
            .chain([parent])
            .collect()
    }

    /// One of the same submission is not at its end.
    fn stands(&self, job: JobId) -> Prerequisite {
        self.jobs
            .get(&job)
            .map_or(Prerequisite::Open, |known| known.stands)
    }
}

const INSERT: &str = "INSERT INTO job_dependencies (depends_on, job_id, tenant_id, met)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bool[])";

/// Columns for `unnest`.
#[derive(Default)]
pub(crate) struct Edges {
    prerequisites: Vec<Uuid>,
    jobs: Vec<Uuid>,
    tenants: Vec<Uuid>,
    met: Vec<Option<bool>>,
    unmet: BTreeMap<JobId, i32>,
    /// What some job waits for has ended already.
    pub to_release: bool,
}

impl Edges {
    pub(crate) fn of(jobs: &[Job], stored: &Stored) -> Self {
        let mut edges = Self::default();
        for job in jobs.iter().filter(|job| !job.depends_on.is_empty()) {
            let on: BTreeSet<JobId> = job.depends_on.iter().copied().collect();
            let mut unmet = 0;
            for on in on {
                let met = match stored.stands(on) {
                    Prerequisite::Met => continue,
                    Prerequisite::Failed => Some(false),
                    Prerequisite::Open => None,
                };
                unmet += 1;
                edges.prerequisites.push(on.as_uuid());
                edges.jobs.push(job.id.as_uuid());
                edges.tenants.push(job.tenant.as_uuid());
                edges.met.push(met);
                edges.to_release |= met.is_some();
            }
            edges.to_release |= unmet == 0;
            edges.unmet.insert(job.id, int(unmet));
        }
        edges
    }

    /// How many prerequisites of the job have not ended well.
    pub(crate) fn unmet(&self, job: JobId) -> i32 {
        self.unmet.get(&job).copied().unwrap_or(0)
    }

    pub(crate) async fn insert(&self, tx: &Transaction<'_>) -> Result<(), Failure> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let insert = tx.prepare_cached(INSERT).await?;
        tx.execute(
            &insert,
            &[&self.prerequisites, &self.jobs, &self.tenants, &self.met],
        )
        .await?;
        Ok(())
    }
}
