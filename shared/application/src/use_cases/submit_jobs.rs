//! SUBMIT: jobs are checked, stored durably in a commit shared with other submissions, and only then sent on.

use domain::{Job, JobId, JobSpec, NewJob, TenantId, Violations};

use super::link_offers::{Offer, link};
use super::{Dispatcher, release_jobs};
use crate::batch::{BatchLimits, Batcher};
use crate::output_schema;
use crate::ports::{Ports, Refused, Signal, StoreError, Submission};

/// Jobs in one commit: large enough for the disk's rate, small enough that nobody waits for long.
const GROUP_JOBS: usize = 1_000;
/// Requests that may wait for their commit; more are held up in the server's accept queue.
const WAITING_REQUESTS: usize = 4_096;
/// Two commits at once: one writes while the other's answer is on its way.
const COMMITS_AT_ONCE: usize = 1;

/// Why jobs were not taken. None of them was.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// What is wrong, by the index of the job.
    #[error("invalid")]
    Invalid(Vec<(usize, Violations)>),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone)]
pub struct Submitter {
    ports: Ports,
    commits: Batcher<Submission, Result<(), SubmitError>>,
}

impl Submitter {
    /// Starts the group commit; needs a tokio runtime.
    pub fn new(ports: Ports) -> Self {
        let dispatcher = Dispatcher::new(ports.clone());
        let committing = ports.clone();
        let limits = BatchLimits {
            weight: GROUP_JOBS,
            waiting: WAITING_REQUESTS,
            in_flight: COMMITS_AT_ONCE,
        };
        let commits = Batcher::start(
            limits,
            |submission: &Submission| submission.jobs.len(),
            move |submissions| commit(committing.clone(), dispatcher.clone(), submissions),
        );
        Self { ports, commits }
    }

    /// Takes all jobs or none. When it returns `Ok`, they survive a power cut.
    pub async fn submit(
        &self,
        tenant: TenantId,
        offers: Vec<Offer>,
    ) -> Result<Vec<Job>, SubmitError> {
        let jobs = self.check(tenant, offers)?;
        if jobs.is_empty() {
            return Ok(jobs);
        }
        let submission = Submission {
            tenant,
            jobs: jobs.clone(),
        };
        self.commits.call(submission).await.unwrap_or_else(|| {
            let why = "the commit of this submission broke off; whether it was taken is not known";
            Err(StoreError::Unavailable(why.to_owned()).into())
        })?;
        Ok(jobs)
    }

    fn check(&self, tenant: TenantId, offers: Vec<Offer>) -> Result<Vec<Job>, SubmitError> {
        let now = self.ports.clock.now();
        let ids: Vec<JobId> = offers
            .iter()
            .map(|_| JobId::from_uuid(self.ports.ids.next(now)))
            .collect();
        let jobs = link(offers, &ids).map_err(SubmitError::Invalid)?;
        let mut checked = Vec::with_capacity(jobs.len());
        let mut invalid = Vec::new();
        for (index, (new, id)) in jobs.into_iter().zip(ids).enumerate() {
            match checked_schema(&new).and_then(|()| new.into_job(id, tenant, now)) {
                Ok(job) => checked.push(job),
                Err(violations) => invalid.push((index, violations)),
            }
        }
        if invalid.is_empty() {
            Ok(checked)
        } else {
            Err(SubmitError::Invalid(invalid))
        }
    }
}

/// The domain checks all else.
fn checked_schema(new: &NewJob) -> Result<(), Violations> {
    let mut violations = Violations::default();
    if let JobSpec::Session(session) = &new.spec
        && let Some(output) = &session.demands.output
    {
        output_schema::check(&output.schema, &mut violations);
    }
    violations.or(())
}

async fn commit(
    ports: Ports,
    dispatcher: Dispatcher,
    submissions: Vec<Submission>,
) -> Vec<Result<(), SubmitError>> {
    let count = submissions.len();
    let mut signals: Vec<Signal> = submissions.iter().filter_map(first_job).collect();
    signals.dedup();
    let submitted = match ports.jobs.submit(submissions, ports.clock.now()).await {
        Ok(submitted) => submitted,
        Err(error) => return (0..count).map(|_| Err(error.clone().into())).collect(),
    };
    // The jobs are safe: clients get their answer now, the broker is told meanwhile.
    tokio::spawn(async move {
        dispatcher
            .dispatch(submitted.publish, &submitted.slots)
            .await;
        dispatcher.signal(signals).await;
        if submitted.to_release
            && let Err(error) = release_jobs(&ports).await
        {
            tracing::warn!(%error, "jobs whose prerequisites have ended are released by a worker later");
        }
    });
    submitted
        .outcomes
        .into_iter()
        .map(|outcome| outcome.map_err(SubmitError::from))
        .collect()
}

/// One signal a submission is enough to make watchers of the tenant look again.
fn first_job(submission: &Submission) -> Option<Signal> {
    submission.jobs.first().map(|job| Signal::JobChanged {
        tenant: submission.tenant,
        job: job.id,
    })
}
