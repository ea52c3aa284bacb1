//! Everything at random: whatever happens in whatever order, counts, quotas and histories stay right.

use std::time::Duration;

use domain::{
    Action, Ending, Job, JobKind, JobState, Priority, QueueKey, Tenant, WorkerRef, relay_window,
};
use fastrand::Rng;

use super::world::{GRACE, LEASE, error};
use super::{StoreUnderTest, World};
use crate::ports::{ClaimRequest, JobFilter, SteerError, Wakeups};
use crate::testing::make;

const STEPS: usize = 400;
/// Any will do; a fixed one makes a failure happen again.
const SEED: u64 = 20_260_101;

pub async fn counts_stay_right_through_any_life(store: StoreUnderTest) {
    let world = World::new(store);
    let mut life = Life {
        rng: Rng::with_seed(SEED),
        tenants: vec![world.tenant("a").await, world.tenant("b").await],
        workers: vec![world.worker().await, world.worker().await],
        world,
    };
    for step in 0..STEPS {
        life.step().await;
        life.quotas_hold().await;
        if step % 10 == 0 {
            life.everything_is_right().await;
        }
    }
    life.everything_is_right().await;
    life.run_to_the_end().await;
    for tenant in &life.tenants {
        for job in life.jobs(tenant, &[]).await {
            assert!(job.state().is_finished(), "{} is {}", job.id, job.state());
            let events = life.world.events(&job).await;
            assert_eq!(events[0], "created");
            let started = events.iter().filter(|event| **event == "started");
            assert_eq!(started.count(), job.attempt as usize);
        }
    }
    let slots = life.world.store.engine.slots(100).await;
    assert_eq!(slots.expect("the store works"), [], "all is done");
}

struct Life {
    world: World,
    rng: Rng,
    tenants: Vec<Tenant>,
    workers: Vec<WorkerRef>,
}

impl Life {
    async fn step(&mut self) {
        match self.rng.u8(0..16) {
            0..=2 => self.submit().await,
            3 => {
                self.world.relay(5).await;
            }
            4 => {
                self.world.promote(3).await;
            }
            5..=8 => self.claim().await,
            9..=11 => self.finish().await,
            12..=13 => self.steer().await,
            14 => self.lose_a_worker().await,
            _ => self.lose_messages().await,
        }
    }

    async fn submit(&mut self) {
        let tenant = self.tenant();
        let count = self.rng.usize(1..6);
        let mut jobs = Vec::new();
        for _ in 0..count {
            let kind = self.rng.choice(JobKind::ALL).expect("there are kinds");
            let mut new = make::new_job(kind, "any");
            new.priority = self.rng.choice(Priority::ALL).expect("there are some");
            new.start = self.rng.u8(0..4) > 0;
            let delay = Duration::from_secs(self.rng.u64(0..20));
            new.run_after = self.rng.bool().then(|| self.world.now() + delay);
            jobs.push(self.world.job(&tenant, new));
        }
        self.world.submit(jobs).await;
    }

    /// Wake-ups arrive at a worker, as many as the store counted or not.
    async fn claim(&mut self) {
        let worker = self.worker().await;
        let mut requests = Vec::new();
        for tenant in &self.tenants {
            for kind in JobKind::ALL {
                requests.push(ClaimRequest {
                    queue: QueueKey {
                        tenant: tenant.id,
                        kind,
                    },
                    wakeups: self.rng.u32(0..3),
                    labelled: self.rng.u32(0..2),
                });
            }
        }
        let asked: u32 = requests.iter().map(|r| r.wakeups + r.labelled).sum();
        let claimed = self.world.claim_of(worker, requests).await;
        assert!(claimed.jobs.len() <= asked as usize, "more than asked for");
    }

    async fn finish(&mut self) {
        let tenant = self.tenant();
        for job in self.jobs(&tenant, &[JobState::Running]).await {
            let ending = match self.rng.u8(0..7) {
                0..=1 => Ending::Completed(make::session_result("done")),
                2 => Ending::Failed(error("broken")),
                3 => Ending::HandedBack,
                4 => Ending::TimedOut(error("too long")),
                5 => Ending::Paused(None),
                _ => Ending::Retry {
                    error: error("again"),
                    after: Some(Duration::from_secs(self.rng.u64(0..20))),
                },
            };
            self.end(&job, ending).await;
        }
    }

    async fn end(&self, job: &Job, ending: Ending) {
        let claim = job.status.claim().expect("it runs");
        let worker = WorkerRef {
            id: claim.worker,
            epoch: claim.epoch,
        };
        let finished = self.world.finish(worker, job, ending).await;
        assert_eq!(finished.fenced, [], "nobody took it away");
    }

    async fn steer(&mut self) {
        let tenant = self.tenant();
        let jobs = self.jobs(&tenant, &[]).await;
        for _ in 0..3 {
            let Some(job) = self.rng.choice(&jobs) else {
                return;
            };
            let action = self.rng.choice(Action::ALL).expect("there are actions");
            let jobs = &self.world.store.jobs;
            let steered = jobs.steer(tenant.id, job.id, action, self.world.now());
            // Most are not allowed; that they then write nothing shows in the counts.
            if let Err(SteerError::Store(broken)) = steered.await {
                panic!("{action}: {broken}");
            }
        }
    }

    async fn lose_a_worker(&mut self) {
        self.world.pass(LEASE + GRACE + Duration::from_secs(1));
        let reaped = self
            .world
            .store
            .engine
            .reap(GRACE, 3, self.world.now())
            .await;
        assert!(reaped.expect("the store works").jobs.len() <= 3);
    }

    async fn lose_messages(&mut self) {
        let engine = &self.world.store.engine;
        if self.rng.u8(0..4) == 0 {
            engine.forget_published().await.expect("the store works");
            return;
        }
        let tenant = self.rng.choice(&self.tenants).expect("there are two").id;
        let wakeups = JobKind::ALL.map(|kind| Wakeups {
            queue: QueueKey { tenant, kind },
            n: self.rng.u32(1..4),
        });
        let taken_back = engine.unpublish(wakeups.to_vec()).await;
        taken_back.expect("the store works");
    }

    /// One whose lease lasts; new ones come when the old ones are gone.
    async fn worker(&mut self) -> WorkerRef {
        let at = self.rng.usize(0..self.workers.len());
        let (engine, now) = (&self.world.store.engine, self.world.now());
        let renewed = engine.renew_lease(self.workers[at], now + LEASE, now).await;
        if renewed.is_err() {
            self.workers[at] = self.world.worker().await;
        }
        self.workers[at]
    }

    fn tenant(&mut self) -> Tenant {
        self.rng
            .choice(&self.tenants)
            .expect("there are two")
            .clone()
    }

    async fn jobs(&self, tenant: &Tenant, states: &[JobState]) -> Vec<Job> {
        let filter = JobFilter {
            states: states.to_vec(),
            limit: 100_000,
            ..JobFilter::default()
        };
        let jobs = self.world.store.jobs.list(tenant.id, filter).await;
        jobs.expect("the store works")
    }

    async fn quotas_hold(&self) {
        let slots = self.world.store.engine.slots(100).await;
        for slot in slots.expect("the store works") {
            assert!(slot.running <= slot.quota, "{slot:?}");
            assert!(slot.due <= slot.queued, "{slot:?}");
            assert!(slot.published <= relay_window(slot.quota), "{slot:?}");
        }
    }

    async fn everything_is_right(&self) {
        for tenant in &self.tenants {
            self.world.counts_are_right(tenant).await;
        }
        self.world.no_drift().await;
    }

    /// Starts what is pending, resumes what is paused, and runs what waits, until nothing is left to do.
    async fn run_to_the_end(&mut self) {
        for tenant in self.tenants.clone() {
            let held = [JobState::Pending, JobState::Paused];
            for job in self.jobs(&tenant, &held).await {
                let action = match job.state() {
                    JobState::Paused => Action::Resume,
                    _ => Action::Start,
                };
                let jobs = &self.world.store.jobs;
                let started = jobs.steer(tenant.id, job.id, action, self.world.now());
                assert!(started.await.expect("there is room").is_some());
            }
            self.world.pass(Duration::from_mins(1));
            loop {
                for job in self.jobs(&tenant, &[JobState::Running]).await {
                    let done = Ending::Completed(make::session_result("done"));
                    self.end(&job, done).await;
                }
                let waiting = self.jobs(&tenant, &[JobState::Queued]).await;
                if waiting.is_empty() {
                    break;
                }
                self.world.promote(1_000).await;
                let worker = self.worker().await;
                let requests = JobKind::ALL.map(|kind| ClaimRequest {
                    queue: QueueKey {
                        tenant: tenant.id,
                        kind,
                    },
                    wakeups: 10,
                    labelled: 10,
                });
                let claimed = self.world.claim_of(worker, requests.to_vec()).await;
                assert!(!claimed.jobs.is_empty(), "work and room, no run");
            }
        }
    }
}
