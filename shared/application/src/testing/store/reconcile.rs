//! RECONCILE: what is right stays as it is; queues whose wake-ups may be lost are named and put right.

use std::time::Duration;

use domain::{JobKind, QueueKey, SlotSnapshot, TenantChange};

use super::{StoreUnderTest, World};
use crate::ports::Wakeups;
use crate::testing::make;

const SILENCE: Duration = Duration::from_mins(1);

pub async fn right_counts_are_left_alone(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (_, job) = world.running(&tenant, make::new_session("runs")).await;
    let mut late = make::new_session("not due");
    late.run_after = Some(world.now() + Duration::from_secs(1));
    world.submitted(&tenant, late).await;
    let mut labelled = make::new_session("asks for a label");
    labelled.requires = "gpu=h100".parse().expect("labels");
    world.submitted(&tenant, labelled).await;
    let mut pending = make::new_session("not started");
    pending.start = false;
    world.submitted(&tenant, pending).await;
    world.submit(world.sessions(&tenant, 100)).await;
    let before = world.slot(job.queue()).await.expect("in use");
    assert_eq!((before.queued, before.due), (102, 100));
    world.no_drift().await;
    let after = world.slot(job.queue()).await;
    assert_eq!(after, Some(before), "not even its version");
}

pub async fn a_queue_that_nobody_visits_is_named(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let jobs = world.sessions(&tenant, 3);
    world.submit(jobs.clone()).await;
    let queue = jobs[0].queue();
    world.pass(SILENCE.saturating_sub(Duration::from_micros(1)));
    assert_eq!(silent(&world).await, [], "not yet");
    world.pass(Duration::from_micros(1));
    let named = silent(&world).await;
    assert_eq!(named, [world.slot(queue).await.expect("jobs wait")]);
    // Neither one that was found nor a new one says anything about the others.
    let worker = world.worker().await;
    world.run(worker, &jobs[0]).await;
    assert_eq!(silent(&world).await.len(), 1);
    world.submit(world.sessions(&tenant, 1)).await;
    assert_eq!(silent(&world).await.len(), 1);
    // New ones have just been given.
    let forgotten = world.store.engine.forget_published().await;
    forgotten.expect("the store works");
    assert_eq!(silent(&world).await, [], "it has none to lose");
    world.relay(100).await;
    assert_eq!(silent(&world).await, []);
    world.pass(SILENCE);
    assert_eq!(silent(&world).await.len(), 1);
    activate(&world, &tenant, false).await;
    assert_eq!(silent(&world).await, [], "nobody may visit it");
}

/// Where all slots are taken, or nothing may run, waiting long is no sign of lost wake-ups.
pub async fn a_queue_that_cannot_go_on_is_not_silent(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 1).await;
    let jobs = world.sessions(&tenant, 2);
    world.submit(jobs.clone()).await;
    let worker = world.worker().await;
    let running = world.run(worker, &jobs[0]).await;
    world.pass(SILENCE * 10);
    assert_eq!(silent(&world).await, []);
    let done = || domain::Ending::Completed(make::session_result("done"));
    world.finish(worker, &running, done()).await;
    assert_eq!(silent(&world).await.len(), 1);
    let cancelled =
        world
            .store
            .jobs
            .steer(tenant.id, jobs[1].id, domain::Action::Cancel, world.now());
    assert!(cancelled.await.expect("allowed").is_some());
    assert_eq!(world.counts(jobs[1].queue()).await, (0, 0, 0), "no work");
    assert_eq!(silent(&world).await, [], "no job waits for a wake-up");
}

pub async fn counted_wakeups_are_believed_while_nothing_moves(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let jobs = world.sessions(&tenant, 5);
    world.submit(jobs.clone()).await;
    world.pass(SILENCE);
    let seen = silent(&world).await;
    let recounted = recount(&world, vec![(seen[0], 2)]).await;
    assert_eq!(recounted.len(), 1);
    assert_eq!((recounted[0].due, recounted[0].published), (5, 2));
    assert!(recounted[0].version > seen[0].version);
    assert_eq!(world.slot(jobs[0].queue()).await, Some(recounted[0]));
    // The first snapshot is out of date now, and says nothing about the queue as it is.
    assert_eq!(recount(&world, vec![(seen[0], 0)]).await, []);
    let relayed = world.relay(100).await.publish;
    let queue = jobs[0].queue();
    assert_eq!(relayed, [Wakeups { queue, n: 3 }]);
    world.no_drift().await;
}

pub async fn a_broker_that_lost_its_data_gets_all_anew(store: StoreUnderTest) {
    let world = World::new(store);
    let mut expected = Vec::new();
    for name in ["a", "b"] {
        let tenant = world.tenant(name).await;
        let jobs = world.sessions(&tenant, 3);
        world.submit(jobs.clone()).await;
        let worker = world.worker().await;
        world.run(worker, &jobs[0]).await;
        let queue = jobs[0].queue();
        expected.push(Wakeups { queue, n: 2 });
    }
    world.tenant("idle").await;
    let slots = world.store.engine.forget_published().await;
    let slots = slots.expect("the store works");
    assert_eq!(slots.len(), 2, "idle queues do not change");
    for slot in slots {
        assert_eq!((slot.running, slot.queued, slot.published), (1, 2, 0));
        assert_eq!(world.slot(slot.queue).await, Some(slot));
    }
    let again = world.store.engine.forget_published().await;
    assert_eq!(again.expect("the store works"), []);
    let mut sent = world.relay(100).await.publish;
    sent.sort_unstable_by_key(|wakeups| wakeups.queue);
    assert_eq!(sent, expected);
    world.no_drift().await;
}

pub async fn slots_list_queues_with_work_only(store: StoreUnderTest) {
    let world = World::new(store);
    world.tenant("idle").await;
    let waiting = world.tenant("waiting").await;
    world.submitted(&waiting, make::new_session("waits")).await;
    let running = world.tenant("running").await;
    world.running(&running, make::new_training("runs")).await;
    let mut left_pending = make::new_session("left pending");
    left_pending.start = false;
    let pending = world.tenant("pending").await;
    world.submitted(&pending, left_pending).await;
    let slots = world.store.engine.slots(100).await;
    let mut queues: Vec<QueueKey> = slots
        .expect("the store works")
        .iter()
        .map(|slot| slot.queue)
        .collect();
    queues.sort_unstable();
    let queue = |tenant, kind| QueueKey { tenant, kind };
    let expected = [
        queue(waiting.id, JobKind::Session),
        queue(running.id, JobKind::Training),
    ];
    assert_eq!(queues, expected);
    let bounded = world.store.engine.slots(1).await;
    assert_eq!(bounded.expect("the store works").len(), 1);
}

async fn silent(world: &World) -> Vec<SlotSnapshot> {
    let reconciled = world.store.engine.reconcile(SILENCE, world.now()).await;
    let reconciled = reconciled.expect("the store works");
    assert_eq!((reconciled.drifted, reconciled.slots), (vec![], vec![]));
    reconciled.silent
}

async fn recount(world: &World, counted: Vec<(SlotSnapshot, u32)>) -> Vec<SlotSnapshot> {
    let recounted = world.store.engine.recount_published(counted).await;
    recounted.expect("the store works")
}

async fn activate(world: &World, tenant: &domain::Tenant, active: bool) {
    let change = TenantChange {
        active: Some(active),
        ..TenantChange::default()
    };
    let tenants = &world.store.tenants;
    let changed = tenants.change_tenant(tenant.id, change, None, world.now());
    assert!(changed.await.expect("valid").is_some());
}
