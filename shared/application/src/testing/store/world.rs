//! A store, a clock and ids, with the moves that contracts are made of.

use std::sync::Arc;
use std::time::Duration;

use domain::{
    Ending, Job, JobError, JobId, JobState, Labels, NewJob, NewTenant, QueueKey, SlotSnapshot,
    Tenant, TenantId, Timestamp, WorkerId, WorkerRef, settle,
};

use super::StoreUnderTest;
use crate::ports::{
    ClaimRequest, Claimed, Clock, Finish, Finished, Ids, JobFilter, Moved, NewWorker, Promoted,
    Relayed, Report, Submission, Submitted,
};
use crate::testing::{ManualClock, SequentialIds, make};

/// How long a lease lasts in these tests.
pub const LEASE: Duration = Duration::from_secs(30);
pub const GRACE: Duration = Duration::from_secs(5);

/// Longer than any of these tests lasts by its clock.
const AN_AGE: Duration = Duration::from_hours(24 * 365);

pub fn error(message: &str) -> JobError {
    JobError::new("TEST", message)
}

#[derive(Clone)]
pub struct World {
    pub store: StoreUnderTest,
    pub clock: Arc<ManualClock>,
    pub ids: Arc<SequentialIds>,
}

impl World {
    pub fn new(store: StoreUnderTest) -> Self {
        Self {
            store,
            clock: Arc::default(),
            ids: Arc::default(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock on.
    pub fn pass(&self, time: Duration) -> Timestamp {
        self.clock.advance(time)
    }

    /// A stored tenant with quota 2 a kind.
    pub async fn tenant(&self, slug: &str) -> Tenant {
        self.tenant_of(make::new_tenant(slug)).await
    }

    pub async fn tenant_with_quota(&self, slug: &str, quota: u32) -> Tenant {
        let mut new = make::new_tenant(slug);
        new.quotas.session = quota;
        new.quotas.training = quota;
        self.tenant_of(new).await
    }

    pub async fn tenant_of(&self, new: NewTenant) -> Tenant {
        let tenant = make::tenant(
            new,
            TenantId::from_uuid(self.ids.next(self.now())),
            self.now(),
        );
        self.store
            .tenants
            .create_tenant(tenant.clone())
            .await
            .expect("the tenant is new");
        tenant
    }

    /// A job, not stored yet.
    pub fn job(&self, tenant: &Tenant, new: NewJob) -> Job {
        let id = JobId::from_uuid(self.ids.next(self.now()));
        make::job(new, id, tenant.id, self.now())
    }

    /// `count` sessions, not stored yet.
    pub fn sessions(&self, tenant: &Tenant, count: usize) -> Vec<Job> {
        (1..=count)
            .map(|n| self.job(tenant, make::new_session(&format!("session {n}"))))
            .collect()
    }

    /// Submits as one submission a tenant (jobs of one tenant only), which must be taken.
    pub async fn submit(&self, jobs: Vec<Job>) -> Submitted {
        let tenant = jobs.first().expect("something to submit").tenant;
        let submitted = self
            .store
            .jobs
            .submit(vec![Submission { tenant, jobs }], self.now())
            .await
            .expect("the store works");
        assert_eq!(submitted.outcomes, [Ok(())]);
        submitted
    }

    /// One stored job that was started.
    pub async fn submitted(&self, tenant: &Tenant, new: NewJob) -> Job {
        let job = self.job(tenant, new);
        self.submit(vec![job.clone()]).await;
        job
    }

    /// A worker for all kinds, without labels.
    pub async fn worker(&self) -> WorkerRef {
        self.worker_with(Labels::default()).await
    }

    pub async fn worker_with(&self, labels: Labels) -> WorkerRef {
        let worker = NewWorker {
            id: WorkerId::from_uuid(self.ids.next(self.now())),
            host: "host-1".to_owned(),
            kinds: domain::JobKind::ALL.to_vec(),
            labels,
            capacity: 100,
        };
        self.store
            .engine
            .register_worker(worker, self.now() + LEASE, self.now())
            .await
            .expect("the worker is new")
    }

    /// One wake-up of the job's queue.
    pub fn request(job: &Job) -> ClaimRequest {
        ClaimRequest {
            queue: job.queue(),
            wakeups: 1,
            labelled: 0,
        }
    }

    /// A wake-up of each job's queue.
    pub async fn claim(&self, worker: WorkerRef, jobs: &[&Job]) -> Claimed {
        let requests = jobs.iter().map(|job| Self::request(job)).collect();
        self.claim_of(worker, requests).await
    }

    /// So many wake-ups of one queue.
    pub async fn claim_some(&self, worker: WorkerRef, queue: QueueKey, wakeups: u32) -> Claimed {
        let request = ClaimRequest {
            queue,
            wakeups,
            labelled: 0,
        };
        self.claim_of(worker, vec![request]).await
    }

    pub async fn claim_of(&self, worker: WorkerRef, requests: Vec<ClaimRequest>) -> Claimed {
        self.store
            .engine
            .claim(worker, requests, self.now())
            .await
            .expect("the lease is valid")
    }

    /// Claims one wake-up of the job's queue, which must bring this job.
    pub async fn run(&self, worker: WorkerRef, job: &Job) -> Job {
        let mut claimed = self.claim(worker, &[job]).await;
        let got: Vec<&str> = claimed.jobs.iter().map(|job| job.title.as_str()).collect();
        assert_eq!(got, [job.title.as_str()], "another job's turn, or none");
        let running = claimed.jobs.pop().expect("one was claimed");
        assert_eq!(running.id, job.id, "another job's turn");
        running
    }

    /// A stored job that runs on a worker of its own.
    pub async fn running(&self, tenant: &Tenant, new: NewJob) -> (WorkerRef, Job) {
        let job = self.submitted(tenant, new).await;
        let worker = self.worker().await;
        let job = self.run(worker, &job).await;
        (worker, job)
    }

    pub async fn relay(&self, limit: u32) -> Relayed {
        let relayed = self.store.engine.relay(limit, self.now()).await;
        relayed.expect("the store works")
    }

    pub async fn promote(&self, limit: u32) -> Promoted {
        let promoted = self.store.engine.promote(limit, self.now()).await;
        promoted.expect("the store works")
    }

    pub async fn release(&self, limit: u32) -> Moved {
        let released = self.store.engine.release(limit, self.now()).await;
        released.expect("the store works")
    }

    pub async fn expire(&self, limit: u32) -> Moved {
        let expired = self.store.engine.expire(limit, self.now()).await;
        expired.expect("the store works")
    }

    pub fn finish_of(&self, job: &Job, ending: Ending) -> Finish {
        Finish {
            queue: job.queue(),
            job: job.id,
            fence: job.fence,
            attempt: job.attempt,
            settlement: settle(job, ending, self.now(), 1.0).expect("the job runs"),
            agent: domain::Outcome::Nothing,
            logs: Vec::new(),
            guards: Vec::new(),
        }
    }

    pub async fn finish(&self, worker: WorkerRef, job: &Job, ending: Ending) -> Finished {
        let finish = self.finish_of(job, ending);
        self.store
            .engine
            .finish(worker, vec![finish], self.now())
            .await
            .expect("the store works")
    }

    /// Returns the jobs that are no longer the worker's.
    pub async fn report(&self, worker: WorkerRef, report: Report) -> Vec<JobId> {
        self.store
            .engine
            .report(worker, vec![report], self.now())
            .await
            .expect("the store works")
            .lost
    }

    /// The job as it is stored now.
    pub async fn get(&self, job: &Job) -> Job {
        self.store
            .jobs
            .get(job.tenant, job.id)
            .await
            .expect("the store works")
            .expect("the job is stored")
    }

    /// The names of the job's events, which must be numbered 1, 2, 3, ...
    pub async fn events(&self, job: &Job) -> Vec<&'static str> {
        let events = self
            .store
            .jobs
            .events(job.tenant, job.id, 0, 10_000)
            .await
            .expect("the store works")
            .expect("the job is stored");
        let numbers: Vec<i64> = events.iter().map(|event| event.seq).collect();
        let expected: Vec<i64> = (1..).take(events.len()).collect();
        assert_eq!(numbers, expected, "events of {} have gaps", job.title);
        events.iter().map(|event| event.kind.as_str()).collect()
    }

    /// The queue's snapshot; `None` while nothing waits or runs in it.
    pub async fn slot(&self, queue: QueueKey) -> Option<SlotSnapshot> {
        let slots = self
            .store
            .engine
            .slots(100_000)
            .await
            .expect("the store works");
        slots.into_iter().find(|slot| slot.queue == queue)
    }

    /// Running, queued and published of a queue.
    pub async fn counts(&self, queue: QueueKey) -> (u32, u32, u32) {
        let slot = self.slot(queue).await;
        slot.map_or((0, 0, 0), |slot| {
            (slot.running, slot.queued, slot.published)
        })
    }

    /// Compares the counts that the engine keeps with the jobs that are there.
    pub async fn counts_are_right(&self, tenant: &Tenant) {
        for view in self
            .store
            .jobs
            .queues(tenant.id)
            .await
            .expect("the store works")
        {
            let (running, queued, _) = self.counts(view.queue).await;
            let due = self.slot(view.queue).await.map_or(0, |slot| slot.due);
            let waiting = self.count(view.queue, &[JobState::Queued]).await;
            let held = [JobState::Running, JobState::Degraded];
            assert_eq!(running, self.count(view.queue, &held).await, "running");
            assert_eq!(queued, waiting, "queued");
            assert_eq!((view.running, view.depth), (running, queued), "the view");
            assert!(due <= queued, "{due} of {queued} due");
        }
    }

    /// The reconciler, which counts all that the engine keeps, finds nothing to repair.
    pub async fn no_drift(&self) {
        let reconciled = self
            .store
            .engine
            .reconcile(AN_AGE, self.now())
            .await
            .expect("the store works");
        assert_eq!(reconciled.drifted, [], "counts were wrong");
        assert_eq!((reconciled.slots, reconciled.silent), (vec![], vec![]));
    }

    async fn count(&self, queue: QueueKey, states: &[JobState]) -> u32 {
        let filter = JobFilter {
            kind: Some(queue.kind),
            states: states.to_vec(),
            limit: 100_000,
            ..JobFilter::default()
        };
        let jobs = self.store.jobs.list(queue.tenant, filter).await;
        u32::try_from(jobs.expect("the store works").len()).expect("a test has few jobs")
    }
}
