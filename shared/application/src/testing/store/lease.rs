//! Leases and REAP: a worker that is not heard of loses what it ran, once.

use std::time::Duration;

use domain::{Action, AttemptOutcome, Ending, Job, JobKind, JobState, Status, WorkerId, WorkerRef};

use super::world::{GRACE, LEASE};
use super::{StoreUnderTest, World};
use crate::ports::{HeldJob, Ids, LeaseError, Reaped, Renewal};
use crate::testing::make;

pub async fn a_lease_is_renewed_while_it_lasts(store: StoreUnderTest) {
    let world = World::new(store);
    let worker = world.worker().await;
    assert_eq!(worker.epoch, 1);
    world.pass(LEASE / 2);
    assert!(renew(&world, worker).await.is_ok());
    world.pass(LEASE.saturating_sub(Duration::from_micros(1)));
    assert!(renew(&world, worker).await.is_ok(), "by a hair");
    let former = WorkerRef {
        epoch: worker.epoch - 1,
        ..worker
    };
    let stranger = WorkerRef {
        id: WorkerId::from_uuid(world.ids.next(world.now())),
        ..worker
    };
    world.pass(LEASE);
    for lost in [worker, former, stranger] {
        match renew(&world, lost).await {
            Err(LeaseError::Lost(named)) => assert_eq!(named, lost),
            other => panic!("{other:?}"),
        }
    }
}

pub async fn a_renewal_names_the_jobs_to_stop(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 3).await;
    let jobs = world.sessions(&tenant, 3);
    world.submit(jobs.clone()).await;
    let worker = world.worker().await;
    let mut expected = Vec::new();
    for job in &jobs {
        let running = world.run(worker, job).await;
        expected.push(HeldJob {
            tenant: tenant.id,
            job: job.id,
            fence: running.fence,
        });
    }
    let other = world.worker().await;
    let renewal = renew(&world, worker).await.expect("valid");
    assert_eq!(renewal.stop_requested, []);
    let mut held = renewal.held;
    held.sort_unstable();
    assert_eq!(held, expected, "what it runs by the store's word");
    for job in [&jobs[2], &jobs[0]] {
        stop(&world, job).await;
    }
    let mut stop_requested = renew(&world, worker).await.expect("valid").stop_requested;
    stop_requested.sort_unstable();
    assert_eq!(stop_requested, [jobs[0].id, jobs[2].id]);
    assert_eq!(
        renew(&world, other).await.expect("valid"),
        Renewal::default()
    );
    // A pause is named until a stop overrules it.
    for (action, expected) in [
        (Action::Pause, vec![jobs[1].id]),
        (Action::Stop, Vec::new()),
    ] {
        let (tenant, id) = (jobs[1].tenant, jobs[1].id);
        let steered = world.store.jobs.steer(tenant, id, action, world.now());
        assert!(steered.await.expect("allowed").is_some());
        let renewal = renew(&world, worker).await.expect("valid");
        assert_eq!(renewal.pause_requested, expected);
    }
    let stopped = world.get(&jobs[0]).await;
    world.finish(worker, &stopped, Ending::Stopped(None)).await;
    let left = renew(&world, worker).await.expect("valid");
    assert_eq!(left.stop_requested, [jobs[1].id, jobs[2].id]);
    assert_eq!(left.held.len(), 2, "what has ended is held no more");
}

pub async fn people_see_workers_as_they_are(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, _job) = world.running(&tenant, make::new_session("one")).await;
    world.pass(Duration::from_secs(1));
    let second = world.worker().await;
    let drained = world.store.engine.drain_worker(second).await;
    drained.expect("the store works");
    let workers = workers(&world).await;
    let [first, other] = &workers[..] else {
        panic!("two workers: {workers:?}");
    };
    assert_eq!((first.id, first.epoch), (worker.id, 1));
    assert_eq!((first.running, first.draining), (1, false));
    assert_eq!((first.host.as_str(), first.capacity), ("host-1", 100));
    assert_eq!(first.kinds, JobKind::ALL);
    assert_eq!(other.id, second.id);
    assert_eq!((other.running, other.draining), (0, true));
    assert_eq!(other.started_at, world.now());
    assert_eq!(other.lease_until, world.now() + LEASE);
}

pub async fn a_worker_that_leaves_is_forgotten(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let idle = world.worker().await;
    let (careless, job) = world
        .running(&tenant, make::new_session("left behind"))
        .await;
    for worker in [idle, careless] {
        let released = world.store.engine.release_worker(worker, world.now());
        released.await.expect("the store works");
        assert!(renew(&world, worker).await.is_err());
    }
    let left = workers(&world).await;
    assert_eq!(left.len(), 1, "one still has a job");
    assert_eq!((left[0].id, left[0].running), (careless.id, 1));
    world.pass(GRACE + Duration::from_secs(1));
    let reaped = reap(&world, 10).await;
    assert_eq!(reaped.jobs[0].id, job.id);
    assert!(workers(&world).await.is_empty());
}

pub async fn a_dead_workers_job_runs_again(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (dead, job) = world.running(&tenant, make::new_session("unlucky")).await;
    world.pass(LEASE + GRACE);
    let early = reap(&world, 10).await;
    assert!(early.workers.is_empty() && early.jobs.is_empty(), "grace");
    world.pass(Duration::from_micros(1));
    let alive = world.worker().await;
    let reaped = reap(&world, 10).await;
    let gone: Vec<WorkerId> = reaped.workers.iter().map(|worker| worker.id).collect();
    assert_eq!(gone, [dead.id]);
    let waiting = world.get(&job).await;
    assert_eq!(reaped.jobs, std::slice::from_ref(&waiting));
    assert_eq!(waiting.status, Status::Queued);
    assert_eq!((waiting.fence, waiting.failures), (job.fence + 1, 1));
    assert_eq!((waiting.run_after, waiting.finished_at), (None, None));
    let code = waiting.error.map(|error| error.code);
    assert_eq!(code.as_deref(), Some("LEASE_LOST"));
    let [slot] = reaped.slots[..] else {
        panic!("one queue changed: {:?}", reaped.slots);
    };
    assert_eq!((slot.running, slot.queued, slot.published), (0, 1, 0));
    assert_eq!(world.events(&job).await.last(), Some(&"retry_scheduled"));
    let attempts = world.store.jobs.attempts(tenant.id, job.id).await;
    let attempts = attempts.expect("the store works").expect("it ran");
    assert_eq!(attempts[0].outcome, Some(AttemptOutcome::LeaseLost));
    assert_eq!(attempts[0].finished_at, Some(world.now()));
    assert!(renew(&world, dead).await.is_err());
    let left: Vec<WorkerId> = workers(&world).await.iter().map(|w| w.id).collect();
    assert_eq!(left, [alive.id]);
    let again = world.run(alive, &job).await;
    assert_eq!((again.attempt, again.fence), (2, job.fence + 2));
    world.no_drift().await;
}

pub async fn reapers_at_once_settle_once(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 20).await;
    let jobs = world.sessions(&tenant, 20);
    world.submit(jobs.clone()).await;
    for some in jobs.chunks(5) {
        let worker = world.worker().await;
        let claimed = world.claim(worker, &some.iter().collect::<Vec<_>>()).await;
        assert_eq!(claimed.jobs.len(), 5);
    }
    world.pass(LEASE + GRACE + Duration::from_secs(1));
    let reapers: Vec<_> = (0..4)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { reap(&world, 3).await.jobs.len() })
        })
        .collect();
    let mut settled = 0;
    for reaper in reapers {
        settled += reaper.await.expect("no panic");
    }
    // However the four shared the work, others take the rest.
    loop {
        let more = reap(&world, 3).await.jobs.len();
        settled += more;
        if more == 0 {
            break;
        }
    }
    assert_eq!(settled, 20);
    for job in &jobs {
        let stored = world.get(job).await;
        assert_eq!((stored.failures, stored.fence), (1, 2));
        assert_eq!(world.events(job).await.len(), 4);
    }
    assert!(workers(&world).await.is_empty());
    world.counts_are_right(&tenant).await;
    world.no_drift().await;
}

pub async fn a_reaper_takes_no_more_than_its_limit(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 7).await;
    let jobs = world.sessions(&tenant, 7);
    world.submit(jobs.clone()).await;
    let worker = world.worker().await;
    world.claim(worker, &jobs.iter().collect::<Vec<_>>()).await;
    world.pass(LEASE + GRACE + Duration::from_secs(1));
    for (taken, left) in [(3, 1), (3, 1), (1, 0), (0, 0)] {
        assert_eq!(reap(&world, 3).await.jobs.len(), taken);
        let seen = workers(&world).await;
        assert_eq!(seen.len(), left, "until all are taken");
        assert!(seen.iter().all(|seen| seen.epoch > worker.epoch));
        world.counts_are_right(&tenant).await;
    }
}

pub async fn lost_leases_use_up_the_attempts(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut new = make::new_session("kills its worker");
    new.max_attempts = 2;
    let job = world.submitted(&tenant, new).await;
    for state in [JobState::Queued, JobState::Failed] {
        let worker = world.worker().await;
        world.run(worker, &job).await;
        world.pass(LEASE + GRACE + Duration::from_secs(1));
        let reaped = reap(&world, 10).await;
        assert_eq!(reaped.jobs[0].state(), state);
    }
    let failed = world.get(&job).await;
    assert_eq!(failed.finished_at, Some(world.now()));
    assert_eq!((failed.failures, failed.attempt), (2, 2));
    let events = world.events(&job).await;
    assert_eq!(events[3..], ["retry_scheduled", "started", "failed"]);
    assert_eq!(world.counts(job.queue()).await, (0, 0, 0));
}

pub async fn a_stop_asked_of_a_dead_worker_holds(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (_, job) = world.running(&tenant, make::new_session("stop it")).await;
    stop(&world, &job).await;
    world.pass(LEASE + GRACE + Duration::from_secs(1));
    let reaped = reap(&world, 10).await;
    assert_eq!(reaped.jobs[0].state(), JobState::Stopped);
    assert_eq!(world.events(&job).await.last(), Some(&"stopped"));
    assert_eq!(world.counts(job.queue()).await, (0, 0, 0));
    world.no_drift().await;
}

async fn renew(world: &World, worker: WorkerRef) -> Result<Renewal, LeaseError> {
    let until = world.now() + LEASE;
    world
        .store
        .engine
        .renew_lease(worker, until, world.now())
        .await
}

async fn reap(world: &World, limit: u32) -> Reaped {
    let reaped = world.store.engine.reap(GRACE, limit, world.now()).await;
    reaped.expect("the store works")
}

async fn workers(world: &World) -> Vec<domain::WorkerView> {
    let mut workers = world.store.engine.workers().await.expect("the store works");
    workers.sort_by_key(|worker| worker.id);
    workers
}

async fn stop(world: &World, job: &Job) {
    let jobs = &world.store.jobs;
    let stopped = jobs.steer(job.tenant, job.id, Action::Stop, world.now());
    assert!(stopped.await.expect("allowed").is_some());
}
