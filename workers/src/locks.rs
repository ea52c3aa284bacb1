//! LOCK: what runs share, such as a branch of a repository, is worked on by one of them at a time.
//!
//! First come, first served. A lock is renewed every third of its time; its fence comes from the store and guards the
//! run's end, so that a run that lost its lock without noticing changes nothing. Locks that are known ahead are taken in
//! the order of their names, so that no two runs wait for each other. A run that holds some and wants more waits only for
//! younger runs (by the time their jobs were created, which no retry changes) and gives way to older ones.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Guard, HandlerError, Interruption, LockState, RunContext as _};
use domain::{Job, JobError, JobId, LogStream};
use tokio::task::JoinHandle;

use crate::context::JobContext;
use crate::life::Worker;

/// A holder that died keeps others waiting for so long.
const LOCK_TTL: Duration = Duration::from_secs(30);
/// Between looks at the line while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The locks of one run, kept until they are released or dropped.
pub(crate) struct RunLocks {
    worker: Arc<Worker>,
    job: JobId,
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
            job: job.id,
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
            let fence = self.worker.ports.engine.next_fence(&resource).await;
            let fence = fence.map_err(|error| not_locked(&resource, &error.to_string()))?;
            let keeper = tokio::spawn(keep(
                Arc::clone(&self.worker),
                self.job,
                self.owner.clone(),
                resource.clone(),
            ));
            self.held.push(Lock {
                guard: Guard { resource, fence },
                keeper,
            });
        }
        Ok(())
    }

    /// Gives all of them up.
    pub async fn release(mut self) {
        for lock in std::mem::take(&mut self.held) {
            self.give_up(&lock.guard.resource).await;
        }
    }

    /// Waits until the lock is held.
    async fn wait_for(
        &self,
        resource: &str,
        may_have_to_yield: bool,
        context: &JobContext,
    ) -> Result<(), HandlerError> {
        let locks = &self.worker.ports.locks;
        let mut told = false;
        loop {
            let state = locks.acquire(resource, &self.owner, LOCK_TTL).await;
            let (ahead, holder) = match state {
                Ok(LockState::Held) => return Ok(()),
                Ok(LockState::Waiting { ahead, holder }) => (ahead, holder),
                Err(error) => return Err(not_locked(resource, &error.to_string())),
            };
            // Owners sort by the age of their jobs.
            if may_have_to_yield && holder < self.owner {
                self.give_up(resource).await;
                return Err(HandlerError::Yield(format!(
                    "an older run holds {resource}"
                )));
            }
            if !told {
                told = true;
                let line = format!("waits for {resource}: {ahead} before it\n");
                context.log(LogStream::System, &line).await;
            }
            tokio::select! {
                biased;
                why = context.interrupted() => {
                    self.give_up(resource).await;
                    return Err(HandlerError::Interrupted(why));
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// If this fails, the time of the lock, or of the place in the line, runs out.
    async fn give_up(&self, resource: &str) {
        let _ = self.worker.ports.locks.release(resource, &self.owner).await;
    }
}

/// Sorts by when the job was created. One life of one run: what an earlier run of the job left behind is another's.
fn owner(job: &Job) -> String {
    let created = job.created_at.timestamp_micros();
    format!("{created:020}:{}:{}", job.id, job.attempt)
}

fn not_locked(resource: &str, why: &str) -> HandlerError {
    let message = format!("the lock of {resource} could not be taken: {why}");
    HandlerError::Retry(JobError::new("LOCK_UNAVAILABLE", message))
}

/// Renews until aborted. When the lock is gone it asks for it again: if nobody was before it the run goes on, as its
/// fence is still the latest; else the run is ended.
async fn keep(worker: Arc<Worker>, job: JobId, owner: String, resource: String) {
    loop {
        tokio::time::sleep(LOCK_TTL / 3).await;
        match worker
            .ports
            .locks
            .acquire(&resource, &owner, LOCK_TTL)
            .await
        {
            Ok(LockState::Held) => {}
            Ok(LockState::Waiting { .. }) => {
                tracing::warn!(%job, resource, "a lock went to another run; this one is ended");
                worker.running.interrupt(job, Interruption::LockLost);
                return;
            }
            // The fence decides in the end.
            Err(error) => tracing::warn!(%error, %job, resource, "a lock could not be renewed"),
        }
    }
}
