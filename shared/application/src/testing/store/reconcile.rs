//! RECONCILE: what is right stays as it is, what nobody took is sent again.

use std::time::Duration;

use domain::{JobKind, QueueKey};

use super::{StoreUnderTest, World};
use crate::ports::Reconciled;
use crate::testing::make;

const STALE: Duration = Duration::from_mins(1);

pub async fn right_counts_are_left_alone(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (_, job) = world.running(&tenant, make::new_session("runs")).await;
    world.submit(world.sessions(&tenant, 100)).await;
    let before = world.slot(job.queue()).await;
    assert!(before.is_some());
    world.no_drift().await;
    assert_eq!(
        world.slot(job.queue()).await,
        before,
        "not even its version"
    );
}

pub async fn a_message_that_nobody_takes_is_sent_again(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let jobs = world.sessions(&tenant, 2);
    world.submit(jobs[..1].to_vec()).await;
    world.pass(STALE / 2);
    world.submit(jobs[1..].to_vec()).await;
    world.pass(STALE / 2);
    assert_eq!(reconcile(&world).await.unpublished, 0, "not yet stale");
    world.pass(Duration::from_secs(1));
    let reconciled = reconcile(&world).await;
    assert_eq!((reconciled.unpublished, reconciled.drifted), (1, vec![]));
    let [slot] = reconciled.slots[..] else {
        panic!("one queue changed: {:?}", reconciled.slots);
    };
    assert_eq!((slot.queued, slot.published), (2, 1));
    assert_eq!(world.slot(jobs[0].queue()).await, Some(slot));
    let relayed = world.store.engine.relay(10, world.now()).await;
    let relayed = relayed.expect("the store works").publish;
    assert_eq!(relayed[0].job, jobs[0].id);
    assert_eq!(relayed.len(), 1);
    world.no_drift().await;
}

/// Where all slots are taken, waiting long is no sign of a lost message.
pub async fn messages_behind_a_full_quota_are_not_stale(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 1).await;
    let jobs = world.sessions(&tenant, 2);
    world.submit(jobs.clone()).await;
    let worker = world.worker().await;
    let running = world.run(worker, &jobs[0]).await;
    world.pass(STALE * 10);
    assert_eq!(reconcile(&world).await.unpublished, 0);
    let done = domain::Ending::Completed(make::session_result("done"));
    world.finish(worker, &running, done).await;
    assert_eq!(reconcile(&world).await.unpublished, 1);
    assert_eq!(world.counts(jobs[1].queue()).await, (0, 1, 0));
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
        expected.extend([jobs[1].id, jobs[2].id]);
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
    let relayed = world.store.engine.relay(100, world.now()).await;
    let relayed = relayed.expect("the store works").publish;
    let mut sent: Vec<_> = relayed.iter().map(|message| message.job).collect();
    sent.sort_unstable();
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

async fn reconcile(world: &World) -> Reconciled {
    let reconciled = world.store.engine.reconcile(STALE, world.now()).await;
    reconciled.expect("the store works")
}
