//! CLAIM: messages become runs, never more than the quota allows.

use std::time::Duration;

use domain::{
    Action, Attempt, Claim, Ending, Job, JobState, Status, TenantChange, WorkerId, WorkerRef,
};

use super::world::LEASE;
use super::{StoreUnderTest, World};
use crate::ports::{ClaimRequest, Ids, LeaseError};
use crate::testing::make;

pub async fn a_claimed_job_runs_on_its_worker(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let job = world.submitted(&tenant, make::new_session("one")).await;
    let worker = world.worker().await;
    world.pass(Duration::from_secs(3));
    let claimed = world.claim(worker, &[&job]).await;
    let expected = Job {
        status: Status::Running(Claim {
            worker: worker.id,
            epoch: worker.epoch,
        }),
        attempt: 1,
        fence: 1,
        started_at: Some(world.now()),
        updated_at: world.now(),
        ..job.clone()
    };
    assert_eq!(claimed.jobs, std::slice::from_ref(&expected));
    assert_eq!((claimed.refused.len(), claimed.gone.len()), (0, 0));
    assert_eq!(world.get(&job).await, expected);
    let [slot] = claimed.slots[..] else {
        panic!("one queue changed: {:?}", claimed.slots);
    };
    assert_eq!((slot.running, slot.queued, slot.published), (1, 0, 0));
    assert_eq!(world.slot(job.queue()).await, Some(slot));
    assert_eq!(world.events(&job).await, ["created", "queued", "started"]);
    let jobs = &world.store.jobs;
    let events = jobs.events(tenant.id, job.id, 2, 1).await.expect("works");
    let started = &events.expect("the job is there")[0];
    assert_eq!((started.attempt, started.at), (1, world.now()));
    assert_eq!(started.data["worker"], worker.id.to_string());
    let attempts = jobs.attempts(tenant.id, job.id).await.expect("works");
    let open = Attempt {
        number: 1,
        worker: worker.id,
        started_at: world.now(),
        finished_at: None,
        outcome: None,
        error: None,
    };
    assert_eq!(attempts, Some(vec![open]));
}

pub async fn many_claimers_never_pass_the_quota(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("busy", 3).await;
    let jobs = world.sessions(&tenant, 50);
    world.submit(jobs.clone()).await;
    let claimers: Vec<_> = (0..8)
        .map(|n: usize| {
            let (world, mut jobs) = (world.clone(), jobs.clone());
            jobs.rotate_left(n * 6);
            tokio::spawn(async move { claim_until_none_is_left(&world, &jobs).await })
        })
        .collect();
    let mut finished = 0;
    for claimer in claimers {
        finished += claimer.await.expect("no panic");
    }
    assert_eq!(finished, 50, "each job ran once");
    for job in &jobs {
        assert_eq!(world.get(job).await.state(), JobState::Completed);
        assert_eq!(world.get(job).await.attempt, 1);
    }
    world.counts_are_right(&tenant).await;
    world.no_drift().await;
}

/// Claims some at a time, sees that the quota holds while they run, and completes them.
async fn claim_until_none_is_left(world: &World, jobs: &[Job]) -> usize {
    let worker = world.worker().await;
    let mut finished = 0;
    loop {
        let mut left = 0;
        for some in jobs.chunks(7) {
            let claimed = world.claim(worker, &some.iter().collect::<Vec<_>>()).await;
            left += claimed.refused.len() + claimed.jobs.len();
            for slot in &claimed.slots {
                assert!(slot.running <= slot.quota, "{slot:?}");
            }
            let (running, ..) = world.counts(some[0].queue()).await;
            assert!(running <= 3, "{running} run at once");
            finished += claimed.jobs.len();
            for job in &claimed.jobs {
                let done = Ending::Completed(make::session_result("done"));
                assert_eq!(world.finish(worker, job, done).await.fenced, []);
            }
        }
        if left == 0 {
            return finished;
        }
    }
}

pub async fn a_claim_takes_what_is_free_in_the_order_asked(store: StoreUnderTest) {
    let world = World::new(store);
    let first = world.tenant("first").await;
    let second = world.tenant("second").await;
    let a = world.sessions(&first, 4);
    let b = world.sessions(&second, 1);
    world.submit(a.clone()).await;
    world.submit(b.clone()).await;
    let worker = world.worker().await;
    let claimed = world
        .claim(worker, &[&a[2], &a[0], &b[0], &a[1], &a[3]])
        .await;
    let got: Vec<_> = claimed.jobs.iter().map(|job| job.id).collect();
    assert_eq!(got, [a[2].id, a[0].id, b[0].id], "quota 2 a tenant");
    assert_eq!(claimed.refused, [a[1].id, a[3].id]);
    assert_eq!(claimed.slots.len(), 2);
    assert_eq!(world.counts(a[0].queue()).await, (2, 2, 0));
    // What was refused waits in the store and is sent anew when there is room.
    world
        .finish(worker, &claimed.jobs[0], Ending::HandedBack)
        .await;
    let relayed = world.store.engine.relay(100, world.now()).await;
    let relayed = relayed.expect("the store works").publish;
    assert_eq!(relayed.len(), 3);
    let after = world.claim(worker, &[&a[1]]).await;
    assert_eq!(after.jobs.len(), 1);
    world.counts_are_right(&first).await;
    world.no_drift().await;
}

pub async fn a_message_that_comes_twice_runs_once(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let jobs = world.sessions(&tenant, 2);
    world.submit(jobs.clone()).await;
    let worker = world.worker().await;
    let claimed = world.claim(worker, &[&jobs[0], &jobs[0], &jobs[1]]).await;
    assert_eq!(claimed.jobs.len(), 2, "the duplicate took no slot");
    assert_eq!((claimed.refused, claimed.gone), (vec![], vec![]));
    let again = world.claim(worker, &[&jobs[0]]).await;
    assert_eq!(again.gone, [jobs[0].id]);
    assert_eq!((again.jobs, again.slots), (vec![], vec![]));
    assert_eq!(world.counts(jobs[0].queue()).await, (2, 0, 0));
    assert_eq!(world.get(&jobs[0]).await.attempt, 1);
}

pub async fn a_late_message_finds_the_job_gone(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let other = world.tenant("other").await;
    let jobs = world.sessions(&tenant, 2);
    world.submit(jobs.clone()).await;
    let cancelled = world
        .store
        .jobs
        .steer(tenant.id, jobs[0].id, Action::Cancel, world.now());
    assert!(cancelled.await.expect("allowed").is_some());
    let unknown = world.job(&tenant, make::new_session("never stored"));
    let worker = world.worker().await;
    let mut requests: Vec<ClaimRequest> = [&jobs[0], &unknown].map(World::request).to_vec();
    // A message in another tenant's queue does not run the job on that tenant's quota.
    requests.push(ClaimRequest {
        queue: domain::QueueKey {
            tenant: other.id,
            ..jobs[1].queue()
        },
        job: jobs[1].id,
    });
    let claimed = world
        .store
        .engine
        .claim(worker, requests, world.now())
        .await
        .expect("the lease is valid");
    assert_eq!(claimed.gone, [jobs[0].id, unknown.id, jobs[1].id]);
    assert_eq!((claimed.jobs, claimed.refused), (vec![], vec![]));
    assert_eq!(world.get(&jobs[1]).await, jobs[1]);
    world.no_drift().await;
}

pub async fn what_may_not_run_now_waits_without_a_message(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut delayed = make::new_session("not due");
    delayed.run_after = Some(world.now() + Duration::from_mins(1));
    let delayed = world.submitted(&tenant, delayed).await;
    let worker = world.worker().await;
    let early = world.claim(worker, &[&delayed]).await;
    assert_eq!(early.refused, [delayed.id]);
    assert_eq!(world.get(&delayed).await, delayed);
    assert_eq!(early.slots, [], "it had no message to lose");
    let job = world.job(&tenant, make::new_training("of an inactive tenant"));
    world.submit(vec![job.clone()]).await;
    let off = TenantChange {
        active: Some(false),
        ..TenantChange::default()
    };
    let tenants = &world.store.tenants;
    let changed = tenants.change_tenant(tenant.id, off, None, world.now());
    assert!(changed.await.expect("valid").is_some());
    let refused = world.claim(worker, &[&job]).await;
    assert_eq!(refused.refused, [job.id]);
    assert!(refused.slots[0].paused);
    assert_eq!(world.counts(job.queue()).await, (0, 1, 0));
    assert_eq!(world.events(&job).await, ["created", "queued"]);
    world.no_drift().await;
}

pub async fn a_worker_without_its_lease_claims_nothing(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let job = world.submitted(&tenant, make::new_session("one")).await;
    let worker = world.worker().await;
    let stranger = WorkerRef {
        id: WorkerId::from_uuid(world.ids.next(world.now())),
        epoch: 1,
    };
    let former = WorkerRef {
        epoch: worker.epoch - 1,
        ..worker
    };
    let claim = async |worker: WorkerRef| {
        let requests = vec![World::request(&job)];
        let claimed = world
            .store
            .engine
            .claim(worker, requests, world.now())
            .await;
        match claimed {
            Err(LeaseError::Lost(lost)) => assert_eq!(lost, worker),
            other => panic!("{other:?}"),
        }
    };
    claim(stranger).await;
    claim(former).await;
    // The lease is over in the very moment that it names.
    world.pass(LEASE);
    claim(worker).await;
    assert_eq!(world.get(&job).await, job);
    assert_eq!(world.counts(job.queue()).await, (0, 1, 1));
}
