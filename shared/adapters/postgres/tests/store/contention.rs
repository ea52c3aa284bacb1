//! What many processes do to each other through the locks of one database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_postgres::PostgresStore;
use application::ports::{ClaimRequest, Claimed, EngineStore, JobFilter, Submission, Wakeups};
use application::testing::store::World;
use application::testing::{StoreUnderTest, make};
use domain::{Ending, Job, SlotSnapshot, Tenant, Timestamp, WorkerRef};

use crate::schema::{self, Schema};

const TENANTS: usize = 3;
const QUOTA: u32 = 5;
const JOBS: usize = 60;
const SUBMISSION: usize = 10;
const PATIENCE: Duration = Duration::from_mins(1);

/// Claims, finishes, submits, relays and reconciles at once, over the same few queues: nothing deadlocks, no quota is
/// ever exceeded, every job runs to its end exactly once, and the counts come out even.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_at_once_keeps_quotas_and_counts() {
    let Some(store) = schema::store().await else {
        return;
    };
    let world = World::new(store);
    let mut tenants = Vec::new();
    for n in 0..TENANTS {
        tenants.push(world.tenant_with_quota(&format!("tenant-{n}"), QUOTA).await);
    }
    let workers = [world.worker().await, world.worker().await];
    let (messages, inbox) = async_queue();
    let submitting = async {
        for _ in 0..JOBS / SUBMISSION {
            submit_some(&world, &tenants, &messages).await;
        }
    };
    let relaying = until_all_ran(&world, &tenants, async || relay(&world, &messages).await);
    let reconciling = until_all_ran(&world, &tenants, async || {
        let engine = &world.store.engine;
        let stale = Duration::from_hours(1);
        let reconciled = engine.reconcile(stale, world.now()).await.unwrap();
        assert_eq!(reconciled.drifted, [], "the counts drifted");
    });
    let working = workers.map(|worker| {
        let (world, tenants, inbox, messages) = (&world, &tenants, &inbox, &messages);
        until_all_ran(world, tenants, async move || {
            work(world, worker, inbox, messages).await;
        })
    });
    let [one, other] = working;
    futures::join!(submitting, relaying, reconciling, one, other);

    for tenant in &tenants {
        world.counts_are_right(tenant).await;
        let jobs = all_jobs(&world, tenant).await;
        assert_eq!(jobs.len(), JOBS);
        for job in jobs {
            assert_eq!((job.attempt, job.failures), (1, 0));
            assert_eq!(
                world.events(&job).await,
                ["created", "queued", "started", "completed"]
            );
        }
    }
    let left = world.store.engine.slots(10).await.unwrap();
    assert_eq!(left, []);
}

type Outbox = tokio::sync::mpsc::UnboundedSender<Wakeups>;
type Inbox = tokio::sync::Mutex<tokio::sync::mpsc::UnboundedReceiver<Wakeups>>;

fn async_queue() -> (Outbox, Inbox) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    (sender, tokio::sync::Mutex::new(receiver))
}

fn send(messages: &Outbox, publish: Vec<Wakeups>) {
    for wakeups in publish {
        messages.send(wakeups).unwrap();
    }
}

fn within_quota(slots: &[SlotSnapshot]) {
    for slot in slots {
        assert!(slot.running <= slot.quota, "{slot:?}");
    }
}

async fn submit_some(world: &World, tenants: &[Tenant], messages: &Outbox) {
    let submissions = tenants
        .iter()
        .map(|tenant| Submission {
            tenant: tenant.id,
            jobs: world.sessions(tenant, SUBMISSION),
        })
        .collect();
    let jobs = &world.store.jobs;
    let submitted = jobs.submit(submissions, world.now()).await.unwrap();
    assert!(submitted.outcomes.iter().all(Result::is_ok));
    send(messages, submitted.publish);
}

async fn relay(world: &World, messages: &Outbox) {
    let relayed = world.store.engine.relay(50, world.now()).await.unwrap();
    send(messages, relayed.publish);
}

async fn work(world: &World, worker: WorkerRef, inbox: &Inbox, messages: &Outbox) {
    let mut visit = Vec::new();
    while let Ok(wakeups) = inbox.lock().await.try_recv() {
        visit.push(wakeups);
        if visit.len() == 3 {
            break;
        }
    }
    let requests = visit
        .iter()
        .map(|wakeups| ClaimRequest {
            queue: wakeups.queue,
            wakeups: wakeups.n,
            labelled: 0,
        })
        .collect();
    let engine = &world.store.engine;
    let claimed = engine.claim(worker, requests, world.now()).await.unwrap();
    within_quota(&claimed.slots);
    let runs = claimed
        .jobs
        .iter()
        .map(|job| {
            let result = make::session_result("done");
            world.finish_of(job, Ending::Completed(result))
        })
        .collect();
    let finished = engine.finish(worker, runs, world.now()).await.unwrap();
    assert_eq!(finished.fenced, []);
    relay(world, messages).await;
}

async fn all_jobs(world: &World, tenant: &Tenant) -> Vec<Job> {
    let filter = JobFilter {
        limit: 10_000,
        ..Default::default()
    };
    world.store.jobs.list(tenant.id, filter).await.unwrap()
}

/// Does it again and again until every job of every tenant has ended.
async fn until_all_ran(world: &World, tenants: &[Tenant], mut again: impl AsyncFnMut()) {
    let began = Instant::now();
    loop {
        again().await;
        let mut ran = 0;
        for tenant in tenants {
            let jobs = all_jobs(world, tenant).await;
            ran += jobs.iter().filter(|job| job.state().is_finished()).count();
        }
        if ran == TENANTS * JOBS {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "only {ran} jobs have ended");
    }
}

/// A claim that had to wait for the slots sees what was committed meanwhile, not what was there when it asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_counts_free_slots_after_it_has_the_lock() {
    let Some((schema, store, world)) = open().await else {
        return;
    };
    let tenant = world.tenant_with_quota("waiting", 2).await;
    let jobs = world.sessions(&tenant, 2);
    world.submit(jobs.clone()).await;
    let worker = world.worker().await;

    let rival = schema.client().await;
    rival
        .batch_execute("BEGIN; UPDATE tenant_slots SET running = 1 WHERE kind = 'session'")
        .await
        .unwrap();
    let claiming = tokio::spawn(claim(store, worker, requests(&jobs), world.now()));
    schema.waiting(1).await;
    rival.batch_execute("COMMIT").await.unwrap();

    let claimed = claiming.await.unwrap();
    assert_eq!(claimed.jobs.len(), 1);
    assert_eq!(world.counts(jobs[0].queue()).await, (2, 1, 0));
}

/// The same for a tenant that was switched off meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_sees_that_its_tenant_was_switched_off_while_it_waited() {
    let Some((schema, store, world)) = open().await else {
        return;
    };
    let tenant = world.tenant("off").await;
    let jobs = world.sessions(&tenant, 1);
    world.submit(jobs.clone()).await;
    let worker = world.worker().await;

    let rival = schema.client().await;
    rival
        .batch_execute(
            "BEGIN; SELECT * FROM tenant_slots FOR UPDATE; UPDATE tenants SET active = false",
        )
        .await
        .unwrap();
    let claiming = tokio::spawn(claim(store, worker, requests(&jobs), world.now()));
    schema.waiting(1).await;
    rival.batch_execute("COMMIT").await.unwrap();

    let claimed = claiming.await.unwrap();
    assert_eq!(claimed.jobs, []);
}

/// A worker that claims without a pause must still be able to keep its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_does_not_wait_for_a_claim() {
    let Some((schema, store, world)) = open().await else {
        return;
    };
    let tenant = world.tenant("busy").await;
    let jobs = world.sessions(&tenant, 1);
    world.submit(jobs.clone()).await;
    let worker = world.worker().await;

    let rival = schema.client().await;
    rival.batch_execute(LOCK_SLOTS).await.unwrap();
    let claiming = tokio::spawn(claim(store.clone(), worker, requests(&jobs), world.now()));
    schema.waiting(1).await;
    let until = world.now() + PATIENCE;
    let renewal = store.renew_lease(worker, until, world.now());
    let renewal = tokio::time::timeout(Duration::from_secs(3), renewal).await;
    renewal.expect("the renewal waited for the claim").unwrap();
    rival.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(claiming.await.unwrap().jobs.len(), 1);
}

/// A worker that leaves while one of its claims is under way leaves its row for the reaper.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_leaves_during_its_own_claim_loses_no_job() {
    let Some((schema, store, world)) = open().await else {
        return;
    };
    let tenant = world.tenant("leaving").await;
    let jobs = world.sessions(&tenant, 1);
    world.submit(jobs.clone()).await;
    let worker = world.worker().await;
    let now = world.now();

    // The claim has checked its lease and waits for the slots; the leave waits for the claim.
    let rival = schema.client().await;
    rival.batch_execute(LOCK_SLOTS).await.unwrap();
    let claiming = tokio::spawn(claim(store.clone(), worker, requests(&jobs), now));
    schema.waiting(1).await;
    let leaving = {
        let store = store.clone();
        tokio::spawn(async move { store.release_worker(worker, now).await })
    };
    schema.waiting(2).await;
    rival.batch_execute("COMMIT").await.unwrap();
    assert_eq!(claiming.await.unwrap().jobs.len(), 1);
    leaving.await.unwrap().unwrap();

    let workers = store.workers().await.unwrap();
    assert_eq!(workers.len(), 1, "its job would be nobody's");
    assert_eq!((workers[0].running, workers[0].lease_until), (1, now));
    world.pass(Duration::from_secs(1));
    let reaped = store.reap(Duration::ZERO, 10, world.now()).await.unwrap();
    assert_eq!(reaped.jobs.len(), 1);
    assert_eq!(store.workers().await.unwrap(), []);
}

/// Two reapers at once share the dead instead of waiting for each other, and give each job back once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reaper_passes_over_what_another_one_holds() {
    let Some((schema, store, world)) = open().await else {
        return;
    };
    let tenant = world.tenant("orphans").await;
    let jobs = world.sessions(&tenant, 2);
    world.submit(jobs.clone()).await;
    for job in &jobs {
        let worker = world.worker().await;
        world.run(worker, job).await;
    }
    world.pass(PATIENCE);
    let rival = schema.client().await;
    let held = "BEGIN; SELECT * FROM workers ORDER BY id LIMIT 1 FOR UPDATE";
    rival.batch_execute(held).await.unwrap();
    let reaped = store.reap(Duration::ZERO, 10, world.now()).await.unwrap();
    assert_eq!((reaped.workers.len(), reaped.jobs.len()), (1, 1));
    rival.batch_execute("ROLLBACK").await.unwrap();

    let (one, other) = futures::join!(
        store.reap(Duration::ZERO, 10, world.now()),
        store.reap(Duration::ZERO, 10, world.now())
    );
    assert_eq!(one.unwrap().jobs.len() + other.unwrap().jobs.len(), 1);
    world.counts_are_right(&tenant).await;
}

const LOCK_SLOTS: &str = "BEGIN; SELECT * FROM tenant_slots FOR UPDATE";

async fn open() -> Option<(Schema, PostgresStore, World)> {
    let schema = Schema::new().await?;
    let store = schema.store().await;
    let world = World::new(StoreUnderTest::new(Arc::new(store.clone())));
    Some((schema, store, world))
}

fn requests(jobs: &[Job]) -> Vec<ClaimRequest> {
    jobs.iter().map(World::request).collect()
}

async fn claim(
    store: PostgresStore,
    worker: WorkerRef,
    requests: Vec<ClaimRequest>,
    now: Timestamp,
) -> Claimed {
    store.claim(worker, requests, now).await.unwrap()
}
