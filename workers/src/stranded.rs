//! Jobs that the store says this worker runs, and that nobody here runs: claims whose answers were lost after their
//! commit. They are handed back; otherwise they would stand as running for as long as this worker lives.
//!
//! Level-triggered, since a lost claim may still be under way in the store when its connection is gone: each renewal of
//! the lease tells what the worker holds. Never touches a job that a claim under way may bring.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use application::ports::{Finish, HeldJob, StoreError};
use domain::{Ending, Outcome, settle};

use crate::finish::End;
use crate::life::Worker;

/// Claims whose answer is not there yet, by number. The numbers rise.
#[derive(Default)]
pub(crate) struct UnderWay(Mutex<Numbers>);

#[derive(Default)]
struct Numbers {
    next: u64,
    under_way: BTreeSet<u64>,
}

/// The claim is under way until this is dropped.
pub(crate) struct Claim<'a> {
    number: u64,
    of: &'a UnderWay,
}

impl UnderWay {
    pub fn begin(&self) -> Claim<'_> {
        let mut numbers = self.lock();
        let number = numbers.next;
        numbers.next += 1;
        numbers.under_way.insert(number);
        Claim { number, of: self }
    }

    /// The number of the next claim.
    fn next(&self) -> u64 {
        self.lock().next
    }

    /// True when a claim with a number below `number` is still under way.
    fn any_before(&self, number: u64) -> bool {
        let oldest = self.lock().under_way.first().copied();
        oldest.is_some_and(|oldest| oldest < number)
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.of.lock().under_way.remove(&self.number);
    }
}

/// What earlier looks found: jobs that nobody here ran, with the number of the next claim at that time. A job that was
/// claimed again since is another suspect: the claim that brings it may be the next one.
#[derive(Default)]
pub(crate) struct Stranded {
    suspects: BTreeMap<HeldJob, u64>,
}

impl Stranded {
    /// `held` is what the store says this worker runs. A job that was claimed a moment ago is not among the runs yet, so
    /// only what a later look finds again is stranded, when all claims of before the first one have had their answers.
    pub fn look(&mut self, worker: &Arc<Worker>, held: Vec<HeldJob>) {
        let held = held.into_iter();
        let not_run = held.filter(|held| !worker.running.has(held.job));
        for stranded in self.suspect(not_run, worker.claims.under_way()) {
            // Not waited for: the next renewal must not be late.
            tokio::spawn(hand_back(Arc::clone(worker), stranded));
        }
    }

    /// Takes note of those that nobody runs now, and returns those that are stranded.
    fn suspect(
        &mut self,
        not_run: impl Iterator<Item = HeldJob>,
        under_way: &UnderWay,
    ) -> Vec<HeldJob> {
        let earlier = std::mem::take(&mut self.suspects);
        let mut stranded = Vec::new();
        for held in not_run {
            match earlier.get(&held).copied() {
                Some(seen_at) if !under_way.any_before(seen_at) => stranded.push(held),
                seen_at => {
                    let seen_at = seen_at.unwrap_or_else(|| under_way.next());
                    self.suspects.insert(held, seen_at);
                }
            }
        }
        stranded
    }
}

async fn hand_back(worker: Arc<Worker>, stranded: HeldJob) {
    let job = stranded.job;
    match try_hand_back(&worker, stranded).await {
        Ok(()) => {
            tracing::warn!(%job, "a claim's answer was lost; its job is handed back");
        }
        // The renewals after this one find it again.
        Err(error) => tracing::warn!(%error, %job, "a stranded job could not be handed back"),
    }
}

async fn try_hand_back(worker: &Worker, stranded: HeldJob) -> Result<(), StoreError> {
    let HeldJob { tenant, job, fence } = stranded;
    let Some(job) = worker.ports.jobs.get(tenant, job).await? else {
        return Ok(());
    };
    let mine = |claim: domain::Claim| claim.worker == worker.me.id;
    // Claimed again since, it is run, or another look finds that out.
    if job.fence != fence || !job.status.claim().is_some_and(mine) {
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
                agent: Outcome::Nothing,
                logs: Vec::new(),
                guards: Vec::new(),
            };
            // Nobody knows what its queue was charged; little, as it did not run. Fenced: taken back meanwhile. Not
            // now: found again.
            let end = End {
                finish,
                beyond: 0.0,
            };
            worker.finishes.finish(end).await;
        }
        Err(error) => {
            tracing::error!(%error, job = %job.id, "a stranded job cannot be handed back");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::{JobId, TenantId};
    use uuid::Uuid;

    use super::*;

    fn held(fence: i64) -> HeldJob {
        HeldJob {
            tenant: TenantId::from_uuid(Uuid::from_u128(1)),
            job: JobId::from_uuid(Uuid::from_u128(2)),
            fence,
        }
    }

    #[test]
    fn a_job_that_was_claimed_again_is_suspected_anew() {
        let under_way = UnderWay::default();
        let mut stranded = Stranded::default();
        let mut suspect = |fence| stranded.suspect([held(fence)].into_iter(), &under_way);
        assert_eq!(suspect(5), []);
        // Its run had just ended, and a claim that is under way brings it again.
        let claim = under_way.begin();
        assert_eq!(suspect(6), []);
        drop(claim);
        assert_eq!(suspect(6), [held(6)]);
        assert_eq!(suspect(6), [], "handed back; not yet seen to be");
    }

    #[test]
    fn claims_are_under_way_until_they_have_their_answers() {
        let under_way = UnderWay::default();
        let first = under_way.begin();
        let seen_at = under_way.next();
        let second = under_way.begin();
        assert!(under_way.any_before(seen_at));
        drop(first);
        assert!(!under_way.any_before(seen_at), "the second came later");
        drop(second);
        assert!(under_way.lock().under_way.is_empty());
    }
}
