//! LOCK: what runs share, such as a branch of a repository, is worked on by one of them at a time.
//!
//! First come, first served. A lock is renewed every third of its time; its fence comes from the store and guards the
//! run's end, so that a run that lost its lock without noticing changes nothing. Locks that are known ahead are taken in
//! the order of their names, so that no two runs wait for each other. A run that holds some and wants more waits only for
//! younger runs (by the time their jobs were created, which no retry changes) and gives way to older ones.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Guard, HandlerError, Interruption, LockState, Locks, RunContext};
use domain::{AwaitedLock, Job, JobError, JobId, LogStream, Progress, TenantId};
use tokio::task::JoinHandle;

use crate::context::JobContext;
use crate::life::Worker;
use crate::patient;

/// A holder that died keeps others waiting for so long.
const LOCK_TTL: Duration = Duration::from_secs(30);
/// Between looks at the line while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The locks of one run, kept until they are released or dropped.
pub(crate) struct RunLocks {
    worker: Arc<Worker>,
    tenant: TenantId,
    job: JobId,
    attempt: u32,
    owner: String,
    held: Vec<Lock>,
}

struct Lock {
    guard: Guard,
    keeper: JoinHandle<()>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl RunLocks {
    pub fn new(worker: Arc<Worker>, job: &Job) -> Self {
        Self {
            owner: owner(job),
            tenant: job.tenant,
            job: job.id,
            attempt: job.attempt,
            held: Vec::new(),
            worker,
        }
    }

    /// What guards the run's end.
    pub fn guards(&self) -> Vec<Guard> {
        self.held.iter().map(|lock| lock.guard.clone()).collect()
    }

    /// Takes all of `resources`, waiting for those before it in their lines. When it fails, what was held stays held
    /// until [`Self::release`].
    pub async fn take(
        &mut self,
        mut resources: Vec<String>,
        context: &JobContext,
    ) -> Result<(), HandlerError> {
        resources.sort_unstable();
        resources.dedup();
        resources.retain(|wanted| self.held.iter().all(|lock| lock.guard.resource != *wanted));
        let held_before = !self.held.is_empty();
        for resource in resources {
            self.wait_for(&resource, held_before, context).await?;
            let engine = &self.worker.ports.engine;
            let fence = patient::read("the fence of a lock", || engine.next_fence(&resource));
            let fence = fence
                .await
                .map_err(|error| not_locked(&resource, &error.to_string()))?;
            let guard = Guard { resource, fence };
            let keeper = tokio::spawn(keep(
                Arc::clone(&self.worker),
                self.job,
                self.owner.clone(),
                guard.clone(),
            ));
            self.held.push(Lock { guard, keeper });
        }
        Ok(())
    }

    /// Gives all of them up.
    pub async fn release(mut self) {
        // Whoever keeps them goes first: another run's turn must not be taken for a loss, nor the job's next run for this.
        let held: Vec<Guard> = self.held.drain(..).map(|lock| lock.guard.clone()).collect();
        for guard in held {
            self.give_up(&guard.resource).await;
        }
    }

    /// Waits until the lock is held.
    async fn wait_for(
        &self,
        resource: &str,
        may_have_to_yield: bool,
        context: &JobContext,
    ) -> Result<(), HandlerError> {
        let locks = &*self.worker.ports.locks;
        let mut told = None;
        loop {
            let (ahead, holder) = match ask(locks, resource, &self.owner, context).await {
                Ok(LockState::Held) => {
                    if told.is_some() {
                        context.progress(Progress::default()).await;
                    }
                    return Ok(());
                }
                Ok(LockState::Waiting { ahead, holder }) => (ahead, holder),
                Err(why) => return Err(self.leave_line(resource, why).await),
            };
            // Owners sort by the age of their jobs.
            if may_have_to_yield && holder < self.owner {
                self.give_up(resource).await;
                return Err(HandlerError::Yield(format!(
                    "an older run holds {resource}"
                )));
            }
            let awaited = AwaitedLock {
                resource: resource.to_owned(),
                ahead,
                holder: job_of(&holder, self.tenant),
                attempt: self.attempt,
            };
            if told.is_none() {
                context
                    .log(LogStream::System, &format!("{awaited}\n"))
                    .await;
            }
            if told.as_ref() != Some(&awaited) {
                context.progress(Progress::waiting_for(&awaited)).await;
                told = Some(awaited);
            }
            if let Err(why) = next_look(context).await {
                return Err(self.leave_line(resource, why).await);
            }
        }
    }

    async fn leave_line(&self, resource: &str, why: Interruption) -> HandlerError {
        self.give_up(resource).await;
        HandlerError::Interrupted(why)
    }

    /// If this fails, the time of the lock, or of the place in the line, runs out.
    async fn give_up(&self, resource: &str) {
        let _ = self.worker.ports.locks.release(resource, &self.owner).await;
    }
}

/// Joins the line, or looks where it stands. That the locks cannot be reached for a while is not the job's fault and costs
/// it no attempt, at most its place: they are asked again, until the run is told to end.
async fn ask(
    locks: &dyn Locks,
    resource: &str,
    owner: &str,
    context: &dyn RunContext,
) -> Result<LockState, Interruption> {
    let mut away = false;
    loop {
        match locks.acquire(resource, owner, LOCK_TTL).await {
            Ok(state) => return Ok(state),
            Err(error) if !away => {
                tracing::warn!(%error, resource, "a lock could not be asked for; trying again");
                away = true;
            }
            Err(_) => {}
        }
        next_look(context).await?;
    }
}

/// Returns when it is time to look again, unless the run is told to end.
async fn next_look(context: &dyn RunContext) -> Result<(), Interruption> {
    tokio::select! {
        biased;
        why = context.interrupted() => Err(why),
        () = tokio::time::sleep(LOOK_EVERY) => Ok(()),
    }
}

/// Sorts by when the job was created. One life of one run: what an earlier run of the job left behind is another's.
fn owner(job: &Job) -> String {
    let created = job.created_at.timestamp_micros();
    format!("{created:020}:{}:{}:{}", job.id, job.attempt, job.tenant)
}

/// The job whose run this owner is, if `tenant` may know of it: repositories can be shared between tenants.
fn job_of(owner: &str, tenant: TenantId) -> Option<JobId> {
    let mut parts = owner.split(':').skip(1);
    let job = parts.next()?.parse().ok()?;
    let of: TenantId = parts.nth(1)?.parse().ok()?;
    (of == tenant).then_some(job)
}

fn not_locked(resource: &str, why: &str) -> HandlerError {
    let message = format!("the lock of {resource} could not be taken: {why}");
    HandlerError::Retry(JobError::new("LOCK_UNAVAILABLE", message))
}

/// Renews until aborted. A lock that was gone is asked for again: the run goes on if nobody worked under it meanwhile,
/// which the fence tells; else it is ended.
async fn keep(worker: Arc<Worker>, job: JobId, owner: String, guard: Guard) {
    loop {
        tokio::time::sleep(LOCK_TTL / 3).await;
        let resource = &guard.resource;
        let state = worker.ports.locks.acquire(resource, &owner, LOCK_TTL).await;
        let still_ours = match state {
            Ok(LockState::Held) => worker.ports.engine.is_latest_fence(&guard).await,
            Ok(LockState::Waiting { .. }) => Ok(false),
            // The fence decides in the end.
            Err(error) => {
                tracing::warn!(%error, %job, resource, "a lock could not be renewed");
                continue;
            }
        };
        match still_ours {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(%job, resource, "a lock went to another run; this one is ended");
                worker.running.interrupt(job, Interruption::LockLost);
                return;
            }
            Err(error) => tracing::warn!(%error, %job, resource, "a fence could not be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use application::ports::CoordinationError;
    use application::testing::run_context::RecordingContext;
    use async_trait::async_trait;
    use uuid::Uuid;

    use super::*;

    /// Cannot be reached when asked the first `away` times.
    struct Outage {
        away: u32,
        asked: AtomicU32,
    }

    #[async_trait]
    impl Locks for Outage {
        async fn acquire(
            &self,
            _: &str,
            _: &str,
            _: Duration,
        ) -> Result<LockState, CoordinationError> {
            if self.asked.fetch_add(1, Ordering::Relaxed) < self.away {
                return Err(CoordinationError("gone".to_owned()));
            }
            Ok(LockState::Held)
        }

        async fn renew(&self, _: &str, _: &str, _: Duration) -> Result<bool, CoordinationError> {
            Ok(true)
        }

        async fn release(&self, _: &str, _: &str) -> Result<bool, CoordinationError> {
            Ok(true)
        }
    }

    const fn outage(away: u32) -> Outage {
        Outage {
            away,
            asked: AtomicU32::new(0),
        }
    }

    #[tokio::test]
    async fn locks_that_are_away_are_asked_again() {
        let context = RecordingContext::default();
        let locks = outage(2);
        let state = ask(&locks, "branch", "me", &context).await;
        assert_eq!(state, Ok(LockState::Held));
        assert_eq!(locks.asked.into_inner(), 3);
    }

    #[tokio::test]
    async fn who_waits_for_locks_that_are_away_can_be_told_to_end() {
        let context = RecordingContext::default();
        context.interrupt(Interruption::Stop);
        let state = ask(&outage(u32::MAX), "branch", "me", &context).await;
        assert_eq!(state, Err(Interruption::Stop));
    }

    #[test]
    fn only_runs_of_the_same_tenant_are_known_by_their_owner() {
        let tenant = |number| TenantId::from_uuid(Uuid::from_u128(number));
        let id = JobId::from_uuid(Uuid::from_u128(3));
        let owner = format!("0123:{id}:2:{}", tenant(1));
        assert_eq!(job_of(&owner, tenant(1)), Some(id));
        assert_eq!(job_of(&owner, tenant(2)), None);
        assert_eq!(job_of("0123:4", tenant(1)), None);
    }
}
