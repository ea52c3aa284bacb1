//! Jobs that the store says this worker runs, and that nobody here runs: claims whose answers were lost after their
//! commit. They are handed back; otherwise they would stand as running for as long as this worker lives.
//!
//! Level-triggered, since a lost claim may still be under way in the store when its connection is gone: each renewal of
//! the lease tells what the worker holds. Never touches a job that a claim under way asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use application::ports::{Finish, StoreError};
use domain::{Ending, JobId, TenantId, settle};

use crate::life::Worker;

/// The jobs that claims under way ask for, with how many of them do.
#[derive(Default)]
pub(crate) struct Asked(Mutex<BTreeMap<JobId, usize>>);

/// They are asked for until this is dropped.
pub(crate) struct Asking {
    asked: Arc<Asked>,
    jobs: Vec<JobId>,
}

impl Asked {
    pub fn ask(self: &Arc<Self>, jobs: Vec<JobId>) -> Asking {
        let mut counts = self.lock();
        for job in &jobs {
            *counts.entry(*job).or_default() += 1;
        }
        drop(counts);
        Asking {
            asked: Arc::clone(self),
            jobs,
        }
    }

    pub fn has(&self, job: JobId) -> bool {
        self.lock().contains_key(&job)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<JobId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut counts = self.asked.lock();
        for job in &self.jobs {
            match counts.get_mut(job) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    counts.remove(job);
                }
            }
        }
    }
}

/// What the last look found.
#[derive(Default)]
pub(crate) struct Stranded {
    suspects: BTreeSet<JobId>,
}

impl Stranded {
    /// `held` is what the store says this worker runs. A job that was claimed a moment ago is not among the runs yet, so
    /// only what two looks find is stranded.
    pub fn look(&mut self, worker: &Arc<Worker>, held: Vec<(TenantId, JobId)>) {
        let mut suspects = BTreeSet::new();
        for (tenant, job) in held {
            if worker.running.has(job) || worker.claims.asked().has(job) {
                continue;
            }
            if self.suspects.contains(&job) {
                // Not waited for: the next renewal must not be late.
                tokio::spawn(hand_back(Arc::clone(worker), tenant, job));
            } else {
                suspects.insert(job);
            }
        }
        self.suspects = suspects;
    }
}

async fn hand_back(worker: Arc<Worker>, tenant: TenantId, job: JobId) {
    match try_hand_back(&worker, tenant, job).await {
        Ok(()) => {
            tracing::warn!(%job, "a claim's answer was lost; its job is handed back");
        }
        // The renewals after this one find it again.
        Err(error) => tracing::warn!(%error, %job, "a stranded job could not be handed back"),
    }
}

async fn try_hand_back(worker: &Worker, tenant: TenantId, job: JobId) -> Result<(), StoreError> {
    let Some(job) = worker.ports.jobs.get(tenant, job).await? else {
        return Ok(());
    };
    let mine = |claim: domain::Claim| claim.worker == worker.me.id;
    if !job.status.claim().is_some_and(mine) {
        return Ok(());
    }
    let now = worker.ports.clock.now();
    match settle(&job, Ending::HandedBack, now, 0.0) {
        Ok(settlement) => {
            let finish = Finish {
                queue: job.queue(),
                job: job.id,
                fence: job.fence,
                attempt: job.attempt,
                settlement,
            };
            // Fenced: taken back meanwhile. Not now: found again.
            worker.finishes.finish(finish).await;
        }
        Err(error) => {
            tracing::error!(%error, job = %job.id, "a stranded job cannot be handed back");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_job_is_asked_for_until_the_last_claim_has_its_answer() {
        let asked = Arc::new(Asked::default());
        let job = JobId::from_uuid(Uuid::from_u128(1));
        let first = asked.ask(vec![job]);
        let second = asked.ask(vec![job, JobId::from_uuid(Uuid::from_u128(2))]);
        drop(first);
        assert!(asked.has(job));
        drop(second);
        assert!(!asked.has(job));
        assert!(asked.lock().is_empty());
    }
}
