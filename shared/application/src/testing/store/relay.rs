//! RELAY: which jobs get their messages next.

use std::collections::HashSet;
use std::time::Duration;

use domain::{Job, JobId, Priority, TenantChange, relay_window};

use super::{StoreUnderTest, World};
use crate::ports::{Message, Relayed};
use crate::testing::make;

pub async fn a_relay_goes_by_priority_then_by_age(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 1).await;
    let window = relay_window(1) as usize;
    // Fills the window, so that the rest waits for the relay.
    let first = world.sessions(&tenant, window);
    world.submit(first.clone()).await;
    let mut waiting = world.sessions(&tenant, 6);
    waiting[1].priority = Priority::Low;
    waiting[3].priority = Priority::Critical;
    waiting[4].priority = Priority::High;
    waiting[5].run_after = Some(world.now() + Duration::from_mins(1));
    waiting[5].priority = Priority::Critical;
    world.submit(waiting.clone()).await;
    assert_eq!(relay(&world, 100).await.publish, [], "the window is full");
    let expected: Vec<JobId> = [3, 4, 0, 2, 1].map(|index| waiting[index].id).to_vec();
    let mut relayed = Vec::new();
    for job in &first[..4] {
        run_through(&world, job).await;
        relayed.extend(ids(&relay(&world, 100).await));
    }
    assert_eq!(relayed, expected[..4], "one place, one message");
    world.pass(Duration::from_mins(1));
    run_through(&world, &first[4]).await;
    let late = ids(&relay(&world, 100).await);
    assert_eq!(late, [waiting[5].id], "due now, and the most urgent");
    world.counts_are_right(&tenant).await;
    world.no_drift().await;
}

pub async fn a_relay_gives_no_more_than_asked(store: StoreUnderTest) {
    let world = World::new(store);
    let mut queues = HashSet::new();
    for name in ["a", "b", "c"] {
        let tenant = world.tenant(name).await;
        let jobs = world.sessions(&tenant, 10);
        queues.insert(jobs[0].queue());
        world.submit(jobs).await;
    }
    forget(&world).await;
    let first = relay(&world, 12).await;
    assert_eq!(first.publish.len(), 12);
    for slot in &first.slots {
        let sent = first.publish.iter().filter(|m| m.queue == slot.queue);
        assert_eq!(slot.published as usize, sent.count());
        assert_eq!(world.slot(slot.queue).await, Some(*slot));
    }
    let second = relay(&world, 100).await;
    let all: HashSet<JobId> = ids(&first).into_iter().chain(ids(&second)).collect();
    assert_eq!(all.len(), 30, "all, and none twice");
    assert_eq!(relay(&world, 100).await.publish, []);
}

pub async fn a_lowered_quota_narrows_the_window(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 10).await;
    world
        .submit(world.sessions(&tenant, relay_window(10) as usize + 5))
        .await;
    let change = TenantChange {
        session_quota: Some(1),
        ..TenantChange::default()
    };
    let tenants = &world.store.tenants;
    let changed = tenants.change_tenant(tenant.id, change, None, world.now());
    assert!(changed.await.expect("valid").is_some());
    assert_eq!(relay(&world, 100).await.publish, [], "more than full");
    let more = world.submit(world.sessions(&tenant, 1)).await;
    assert_eq!(more.publish, []);
}

/// A queue that has nothing with the workers is not kept waiting by those that have.
pub async fn a_relay_serves_the_emptiest_queue_first(store: StoreUnderTest) {
    let world = World::new(store);
    let busy = world.tenant_with_quota("busy", 1).await;
    let quiet = world.tenant_with_quota("quiet", 1).await;
    for (having, waiting) in [(&busy, &quiet), (&quiet, &busy)] {
        let deep = world.sessions(having, relay_window(1) as usize + 50);
        world.submit(deep.clone()).await;
        run_through(&world, &deep[0]).await;
        let mut late = world.sessions(waiting, 1);
        late[0].run_after = Some(world.now() + Duration::from_secs(1));
        world.submit(late.clone()).await;
        world.pass(Duration::from_secs(1));
        let relayed = relay(&world, 1).await;
        assert_eq!(ids(&relayed), [late[0].id], "before the deep queue");
        cancel_all(&world, having).await;
        cancel_all(&world, waiting).await;
    }
}

pub async fn two_relays_at_once_never_send_the_same_job(store: StoreUnderTest) {
    let world = World::new(store);
    let mut expected = 0;
    for n in 0..10 {
        let tenant = world.tenant(&format!("tenant-{n}")).await;
        let jobs = world.sessions(&tenant, 60);
        expected += jobs.len();
        world.submit(jobs).await;
    }
    forget(&world).await;
    let relays: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut sent = Vec::new();
                loop {
                    let relayed = relay(&world, 17).await;
                    if relayed.publish.is_empty() {
                        return sent;
                    }
                    sent.extend(ids(&relayed));
                }
            })
        })
        .collect();
    let mut sent = Vec::new();
    for relay in relays {
        sent.extend(relay.await.expect("no panic"));
    }
    let distinct: HashSet<JobId> = sent.iter().copied().collect();
    assert_eq!((sent.len(), distinct.len()), (expected, expected));
    world.no_drift().await;
}

pub async fn an_inactive_tenant_is_not_relayed(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    world.submit(world.sessions(&tenant, 3)).await;
    forget(&world).await;
    activate(&world, &tenant, false).await;
    assert_eq!(relay(&world, 100).await.publish, []);
    activate(&world, &tenant, true).await;
    assert_eq!(relay(&world, 100).await.publish.len(), 3);
}

pub async fn what_could_not_be_sent_is_sent_again(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let jobs = world.sessions(&tenant, 3);
    let sent = world.submit(jobs.clone()).await.publish;
    let worker = world.worker().await;
    world.run(worker, &jobs[0]).await;
    // The first one runs already and its message is named twice: only what waits is taken back.
    let mut failed: Vec<Message> = sent.clone();
    failed.extend(&sent[1..2]);
    let slots = world.store.engine.unpublish(failed.clone()).await;
    let slots = slots.expect("the store works");
    assert_eq!(slots.len(), 1);
    assert_eq!((slots[0].queued, slots[0].published), (2, 0));
    let again = world.store.engine.unpublish(failed).await;
    assert_eq!(again.expect("the store works"), [], "nothing changes twice");
    let expected: Vec<JobId> = jobs[1..].iter().map(|job| job.id).collect();
    assert_eq!(ids(&relay(&world, 100).await), expected);
    world.no_drift().await;
}

async fn relay(world: &World, limit: u32) -> Relayed {
    let relayed = world.store.engine.relay(limit, world.now()).await;
    relayed.expect("the store works")
}

fn ids(relayed: &Relayed) -> Vec<JobId> {
    relayed.publish.iter().map(|message| message.job).collect()
}

async fn forget(world: &World) {
    let forgotten = world.store.engine.forget_published().await;
    forgotten.expect("the store works");
}

/// Claims and completes a job, which makes room for one message.
async fn run_through(world: &World, job: &Job) {
    let worker = world.worker().await;
    let job = world.run(worker, job).await;
    let done = domain::Ending::Completed(make::session_result("done"));
    world.finish(worker, &job, done).await;
}

async fn cancel_all(world: &World, tenant: &domain::Tenant) {
    let filter = crate::ports::JobFilter {
        states: vec![domain::JobState::Queued],
        limit: 10_000,
        ..Default::default()
    };
    let jobs = &world.store.jobs;
    for job in jobs.list(tenant.id, filter).await.expect("the store works") {
        let cancelled = jobs.steer(tenant.id, job.id, domain::Action::Cancel, world.now());
        assert!(cancelled.await.expect("allowed").is_some());
    }
}

async fn activate(world: &World, tenant: &domain::Tenant, active: bool) {
    let change = TenantChange {
        active: Some(active),
        ..TenantChange::default()
    };
    let tenants = &world.store.tenants;
    let changed = tenants.change_tenant(tenant.id, change, None, world.now());
    let (_, slots) = changed.await.expect("valid").expect("the tenant is there");
    assert!(slots.iter().all(|slot| slot.paused != active));
}
