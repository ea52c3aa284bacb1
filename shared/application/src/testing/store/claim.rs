//! CLAIM: wake-ups become runs of the jobs whose turn it is, never more than the quota allows.

use std::time::Duration;

use domain::{
    AGEING, Action, Attempt, Claim, Ending, Job, JobKind, JobState, Labels, Priority, QueueKey,
    Status, Tenant, TenantChange, WorkerId, WorkerRef,
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
        agent: None,
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
        .map(|_| {
            let (world, queue) = (world.clone(), jobs[0].queue());
            tokio::spawn(async move { claim_until_none_is_left(&world, queue).await })
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
async fn claim_until_none_is_left(world: &World, queue: QueueKey) -> usize {
    let worker = world.worker().await;
    let mut finished = 0;
    while let Some(slot) = world.slot(queue).await {
        assert!(slot.running <= slot.quota, "{slot:?}");
        let claimed = world.claim_some(worker, queue, 7).await;
        for slot in &claimed.slots {
            assert!(slot.running <= slot.quota, "{slot:?}");
        }
        finished += claimed.jobs.len();
        for job in &claimed.jobs {
            let done = Ending::Completed(make::session_result("done"));
            assert_eq!(world.finish(worker, job, done).await.fenced, []);
        }
    }
    finished
}

/// Whatever wake-ups are in the broker already: the most urgent job is the next to run.
pub async fn turns_go_by_priority_then_by_age(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 100).await;
    let mut expected = Vec::new();
    for rank in [4, 2, 0, 3, 1, 2] {
        let mut new = make::new_session("any");
        new.priority = Priority::from_rank(rank).expect("a rank");
        let job = world.submitted(&tenant, new).await;
        expected.push((rank, job.id));
        world.pass(Duration::from_secs(1));
    }
    expected.sort_unstable();
    let worker = world.worker().await;
    let queue = session(&tenant);
    let mut got = Vec::new();
    for wakeups in [1, 3, 2] {
        let claimed = world.claim_some(worker, queue, wakeups).await;
        assert_eq!(claimed.jobs.len(), wakeups as usize);
        got.extend(claimed.jobs.iter().map(|job| (job.priority.rank(), job.id)));
    }
    assert_eq!(got, expected);
    world.no_drift().await;
}

/// It waited for its queue while the job came to it.
pub async fn a_late_claim_starts_no_job_before_what_happened_last(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let asked = world.now();
    world.pass(Duration::from_secs(3));
    let job = world.submitted(&tenant, make::new_session("one")).await;
    let request = ClaimRequest {
        queue: job.queue(),
        wakeups: 1,
        labelled: 0,
    };
    let engine = &world.store.engine;
    let claimed = engine.claim(worker, vec![request], asked).await;
    let [started] = &claimed.expect("the lease holds").jobs[..] else {
        panic!("one job waits");
    };
    assert_eq!(started.started_at, Some(world.now()));
    let history = world.store.jobs.events(job.tenant, job.id, 0, 10).await;
    let history = history.expect("the store works").expect("it is there");
    let times: Vec<_> = history.iter().map(|event| event.at).collect();
    assert_eq!(times, [world.now(); 3]);
    let attempts = world.store.jobs.attempts(job.tenant, job.id).await;
    let attempts = attempts.expect("the store works").expect("it ran");
    assert_eq!(attempts[0].started_at, world.now());
}

/// Nothing waits behind later jobs for ever.
pub async fn a_job_that_has_waited_long_goes_first(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let low = |priority| domain::NewJob {
        priority,
        ..make::new_session(priority.as_str())
    };
    let old = world.submitted(&tenant, low(Priority::Low)).await;
    world.pass(AGEING.saturating_sub(Duration::from_secs(1)));
    let fresh = world.submitted(&tenant, low(Priority::Medium)).await;
    world.pass(Duration::from_secs(2));
    let fresher = world.submitted(&tenant, low(Priority::Medium)).await;
    assert_eq!(world.get(&old).await.turn, old.turn);
    let worker = world.worker().await;
    world.run(worker, &fresh).await;
    let running = world.run(worker, &old).await;
    // A run that ends in the queue again does not lose the job's place.
    world.finish(worker, &running, Ending::HandedBack).await;
    let back = world.get(&old).await;
    assert_eq!((back.turn, back.queued_at), (old.turn, Some(world.now())));
    world.run(worker, &old).await;
    let done = Ending::Completed(make::session_result("done"));
    let fresh = world.get(&fresh).await;
    world.finish(worker, &fresh, done).await;
    world.run(worker, &fresher).await;
}

pub async fn a_claim_takes_what_is_free_of_each_queue(store: StoreUnderTest) {
    let world = World::new(store);
    let first = world.tenant("first").await;
    let second = world.tenant("second").await;
    let a = world.sessions(&first, 5);
    let b = world.sessions(&second, 1);
    world.submit(a.clone()).await;
    world.submit(b.clone()).await;
    let worker = world.worker().await;
    let claimed = world
        .claim(worker, &[&a[2], &a[0], &b[0], &a[1], &a[3]])
        .await;
    let of_first = claimed.jobs.iter().filter(|job| job.tenant == first.id);
    let got: Vec<_> = of_first.map(|job| job.id).collect();
    assert_eq!(got, [a[0].id, a[1].id], "quota 2, by turn");
    assert_eq!(claimed.jobs.len(), 3);
    assert_eq!(claimed.slots.len(), 2);
    // All wake-ups are used up, also those that found no free slot.
    assert_eq!(world.counts(a[0].queue()).await, (2, 3, 1));
    world
        .finish(worker, &claimed.jobs[0], Ending::HandedBack)
        .await;
    let relayed = world.relay(100).await.publish;
    assert_eq!(relayed.iter().map(|wakeups| wakeups.n).sum::<u32>(), 3);
    assert_eq!(world.claim(worker, &[&a[1]]).await.jobs.len(), 1);
    world.counts_are_right(&first).await;
    world.no_drift().await;
}

pub async fn wakeups_are_used_up_whatever_came_of_them(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let jobs = world.sessions(&tenant, 4);
    world.submit(jobs.clone()).await;
    let queue = session(&tenant);
    for job in &jobs[..3] {
        let steered = world
            .store
            .jobs
            .steer(tenant.id, job.id, Action::Cancel, world.now());
        assert!(steered.await.expect("allowed").is_some());
    }
    assert_eq!(world.counts(queue).await, (0, 1, 4));
    let worker = world.worker().await;
    let claimed = world.claim_some(worker, queue, 3).await;
    assert_eq!(claimed.jobs.len(), 1);
    assert_eq!(world.counts(queue).await, (1, 0, 1));
    // Wake-ups come twice, or of a time before the count was forgotten.
    let late = world.claim_some(worker, queue, 9).await;
    assert_eq!(late.jobs, []);
    assert_eq!(late.slots[0].published, 0);
    assert_eq!(world.get(&jobs[3]).await.attempt, 1);
    // A queue of nobody.
    let nowhere = QueueKey {
        tenant: domain::TenantId::from_uuid(world.ids.next(world.now())),
        ..queue
    };
    let nothing = world.claim_some(worker, nowhere, 1).await;
    assert_eq!((nothing.jobs, nothing.slots), (vec![], vec![]));
    world.no_drift().await;
}

pub async fn what_may_not_run_now_is_not_claimed(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut delayed = make::new_session("not due");
    delayed.run_after = Some(world.now() + Duration::from_mins(1));
    let delayed = world.submitted(&tenant, delayed).await;
    let worker = world.worker().await;
    let early = world.claim(worker, &[&delayed]).await;
    assert_eq!(early.jobs, []);
    assert_eq!(world.get(&delayed).await, delayed);
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
    assert_eq!(refused.jobs, []);
    assert!(refused.slots[0].paused);
    assert_eq!(world.counts(job.queue()).await, (0, 1, 0), "used up");
    assert_eq!(world.events(&job).await, ["created", "queued"]);
    world.no_drift().await;
}

pub async fn labelled_jobs_wait_for_a_worker_that_has_their_labels(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 10).await;
    let queue = session(&tenant);
    let mut jobs = Vec::new();
    for (title, labels) in [
        ("big", "gpu=h100"),
        ("small", "gpu=t4"),
        ("big here", "gpu=h100,region=eu"),
        ("here", "region=eu"),
    ] {
        jobs.push(world.submitted(&tenant, asking(title, labels)).await);
    }
    let slot = world.slot(queue).await.expect("jobs wait");
    assert_eq!((slot.queued, slot.due, slot.published), (4, 0, 0));
    assert_eq!(world.relay(10).await.publish, [], "no wake-ups");
    let plain = world.worker().await;
    assert_eq!(
        claim_labelled(&world, plain, queue, 4, 4).await,
        [] as [&str; 0]
    );
    let big = world.worker_with(labels("gpu=h100")).await;
    assert_eq!(find(&world, "gpu=h100", 10).await, [(queue, 1)]);
    assert_eq!(
        claim_labelled(&world, big, queue, 4, 0).await,
        [] as [&str; 0]
    );
    assert_eq!(claim_labelled(&world, big, queue, 0, 4).await, ["big"]);
    assert_eq!(find(&world, "gpu=h100", 10).await, []);
    let full = "gpu=h100,region=eu,disk=fast";
    let both = world.worker_with(labels(full)).await;
    assert_eq!(find(&world, full, 10).await, [(queue, 2)]);
    assert_eq!(
        claim_labelled(&world, both, queue, 0, 1).await,
        ["big here"]
    );
    assert_eq!(claim_labelled(&world, both, queue, 0, 1).await, ["here"]);
    assert_eq!(world.get(&jobs[1]).await.state(), JobState::Queued);
    world.counts_are_right(&tenant).await;
    world.no_drift().await;
}

pub async fn labelled_jobs_share_the_free_slots(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 3).await;
    let queue = session(&tenant);
    for n in 0..4 {
        let title = format!("labelled {n}");
        world.submitted(&tenant, asking(&title, "gpu=h100")).await;
    }
    world.submit(world.sessions(&tenant, 2)).await;
    let worker = world.worker_with(labels("gpu=h100")).await;
    assert_eq!(find(&world, "gpu=h100", 10).await, [(queue, 3)], "free");
    let got = claim_labelled(&world, worker, queue, 2, 9).await;
    assert_eq!(got, ["labelled 0", "session 1", "session 2"], "by turn");
    assert_eq!(find(&world, "gpu=h100", 10).await, [], "none is free");
    assert_eq!(world.counts(queue).await, (3, 3, 0));
    world.no_drift().await;
}

pub async fn labelled_work_is_found_where_the_least_runs(store: StoreUnderTest) {
    let world = World::new(store);
    let worker = world.worker_with(labels("gpu=h100")).await;
    let mut queues = Vec::new();
    for (name, weight, runs) in [("a", 1, 1), ("b", 4, 2), ("c", 1, 0), ("d", 1, 0)] {
        let mut new = make::new_tenant(name);
        new.quotas.session = 10;
        new.weight = weight;
        let tenant = world.tenant_of(new).await;
        for _ in 0..runs {
            let job = world.submitted(&tenant, make::new_session("runs")).await;
            world.run(worker, &job).await;
        }
        for _ in 0..2 {
            world.submitted(&tenant, asking("waits", "gpu=h100")).await;
        }
        queues.push((session(&tenant), 2));
        if name == "d" {
            let off = TenantChange {
                active: Some(false),
                ..TenantChange::default()
            };
            let tenants = &world.store.tenants;
            let changed = tenants.change_tenant(tenant.id, off, None, world.now());
            assert!(changed.await.expect("valid").is_some());
        }
    }
    let expected = [queues[2], queues[1], queues[0]];
    assert_eq!(find(&world, "gpu=h100", 10).await, expected);
    assert_eq!(find(&world, "gpu=h100", 2).await, expected[..2]);
    let engine = &world.store.engine;
    let labels = labels("gpu=h100");
    let now = world.now();
    let training = engine.labelled(&[JobKind::Training], &labels, 10, now);
    assert_eq!(training.await.expect("the store works"), []);
}

fn session(tenant: &Tenant) -> QueueKey {
    QueueKey {
        tenant: tenant.id,
        kind: JobKind::Session,
    }
}

fn labels(text: &str) -> Labels {
    text.parse().expect("labels")
}

fn asking(title: &str, requires: &str) -> domain::NewJob {
    domain::NewJob {
        requires: labels(requires),
        ..make::new_session(title)
    }
}

async fn find(world: &World, of: &str, limit: u32) -> Vec<(QueueKey, u32)> {
    let (engine, labels) = (&world.store.engine, labels(of));
    let found = engine.labelled(&JobKind::ALL, &labels, limit, world.now());
    found.await.expect("the store works")
}

/// The titles of what was claimed.
async fn claim_labelled(
    world: &World,
    worker: WorkerRef,
    queue: QueueKey,
    wakeups: u32,
    labelled: u32,
) -> Vec<String> {
    let request = ClaimRequest {
        queue,
        wakeups,
        labelled,
    };
    let claimed = world.claim_of(worker, vec![request]).await;
    claimed.jobs.into_iter().map(|job| job.title).collect()
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
