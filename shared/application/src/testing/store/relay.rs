//! RELAY: how many wake-ups the broker is given for each queue. Which jobs they bring is decided at the claim.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{QueueKey, TenantChange, relay_window};

use super::{StoreUnderTest, World};
use crate::ports::{Relayed, Wakeups};
use crate::testing::make;

pub async fn a_relay_fills_the_window_and_touches_no_job(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 1).await;
    let window = relay_window(1);
    let jobs = world.sessions(&tenant, window as usize + 6);
    world.submit(jobs.clone()).await;
    assert_eq!(world.relay(100).await.publish, [], "the window is full");
    for (n, job) in (1..).zip(&jobs[..4]) {
        run_through(&world, &[job.queue()]).await;
        let relayed = world.relay(100).await;
        assert_eq!(sent(&relayed), BTreeMap::from([(job.queue(), 1)]));
        let [slot] = relayed.slots[..] else {
            panic!("one queue changed: {:?}", relayed.slots);
        };
        assert_eq!((slot.due, slot.published), (window + 6 - n, window));
        assert_eq!(world.slot(job.queue()).await, Some(slot));
    }
    assert_eq!(world.get(&jobs[4]).await, jobs[4]);
    world.counts_are_right(&tenant).await;
    world.no_drift().await;
}

pub async fn a_relay_gives_no_more_than_asked(store: StoreUnderTest) {
    let world = World::new(store);
    for name in ["a", "b", "c"] {
        let tenant = world.tenant(name).await;
        world.submit(world.sessions(&tenant, 10)).await;
    }
    forget(&world).await;
    let first = world.relay(12).await;
    assert_eq!(sent(&first).values().sum::<u32>(), 12);
    for slot in &first.slots {
        assert_eq!(Some(&slot.published), sent(&first).get(&slot.queue));
        assert_eq!(world.slot(slot.queue).await, Some(*slot));
    }
    assert!(first.more);
    let second = world.relay(100).await;
    assert_eq!(sent(&second).values().sum::<u32>(), 18, "the rest");
    assert!(!second.more);
    let third = world.relay(100).await;
    assert_eq!((third.publish, third.slots), (vec![], vec![]));
}

/// One call need not look at all queues; it says so, and the rest is not left to a timer.
pub async fn a_relay_that_says_no_more_has_left_no_queue_out(store: StoreUnderTest) {
    const TENANTS: usize = 600;
    let world = World::new(store);
    let mut jobs = Vec::new();
    for n in 0..TENANTS {
        let tenant = world.tenant(&format!("tenant-{n}")).await;
        jobs.extend(world.sessions(&tenant, 1));
    }
    world.submit(jobs).await;
    forget(&world).await;
    let mut all = BTreeMap::new();
    loop {
        let relayed = world.relay(10_000).await;
        all.extend(sent(&relayed));
        if !relayed.more {
            break;
        }
        assert!(!relayed.publish.is_empty(), "asked again for nothing");
    }
    assert_eq!(all.len(), TENANTS);
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
    assert_eq!(world.relay(100).await.publish, [], "more than full");
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
        run_through(&world, &[deep[0].queue()]).await;
        let mut late = world.sessions(waiting, 1);
        late[0].run_after = Some(world.now() + Duration::from_secs(1));
        world.submit(late.clone()).await;
        world.pass(Duration::from_secs(1));
        world.promote(10).await;
        let relayed = world.relay(1).await;
        let expected = BTreeMap::from([(late[0].queue(), 1)]);
        assert_eq!(sent(&relayed), expected, "before the deep queue");
        cancel_all(&world, having).await;
        cancel_all(&world, waiting).await;
        forget(&world).await;
    }
}

pub async fn relays_at_once_never_pass_the_window(store: StoreUnderTest) {
    let world = World::new(store);
    let mut expected = BTreeMap::new();
    for n in 60..70_u32 {
        let tenant = world.tenant(&format!("tenant-{n}")).await;
        let jobs = world.sessions(&tenant, n as usize);
        expected.insert(jobs[0].queue(), n.min(relay_window(2)));
        world.submit(jobs).await;
    }
    forget(&world).await;
    let relays: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut all = Vec::new();
                loop {
                    let relayed = world.relay(17).await;
                    if relayed.publish.is_empty() {
                        return all;
                    }
                    all.extend(relayed.publish);
                }
            })
        })
        .collect();
    let mut sent: BTreeMap<QueueKey, u32> = BTreeMap::new();
    for relay in relays {
        for wakeups in relay.await.expect("no panic") {
            *sent.entry(wakeups.queue).or_default() += wakeups.n;
        }
    }
    // A relay that lost the race for its queues may have given up early.
    for wakeups in world.relay(1_000).await.publish {
        *sent.entry(wakeups.queue).or_default() += wakeups.n;
    }
    assert_eq!(sent, expected);
    world.no_drift().await;
}

pub async fn an_inactive_tenant_is_not_relayed(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    world.submit(world.sessions(&tenant, 3)).await;
    forget(&world).await;
    activate(&world, &tenant, false).await;
    assert_eq!(world.relay(100).await.publish, []);
    activate(&world, &tenant, true).await;
    let relayed = world.relay(100).await;
    assert_eq!(sent(&relayed).values().sum::<u32>(), 3);
}

pub async fn what_could_not_be_sent_is_sent_again(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let jobs = world.sessions(&tenant, 3);
    let published = world.submit(jobs.clone()).await.publish;
    let queue = jobs[0].queue();
    assert_eq!(published, [Wakeups { queue, n: 3 }]);
    let two = vec![Wakeups { queue, n: 2 }];
    let slots = world.store.engine.unpublish(two).await;
    let slots = slots.expect("the store works");
    assert_eq!(slots.len(), 1);
    assert_eq!((slots[0].due, slots[0].published), (3, 1));
    assert_eq!(world.slot(queue).await, Some(slots[0]));
    // More than are counted: the count ends at nothing.
    let many = vec![Wakeups { queue, n: 1 }, Wakeups { queue, n: 5 }];
    let slots = world.store.engine.unpublish(many).await;
    assert_eq!(slots.expect("the store works")[0].published, 0);
    let relayed = world.relay(100).await;
    assert_eq!(relayed.publish, [Wakeups { queue, n: 3 }]);
    world.no_drift().await;
}

/// A mass of jobs that are not due yet costs no wake-up, and each gets one when its time has come.
pub async fn jobs_are_promoted_when_their_time_has_come(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut jobs = world.sessions(&tenant, 5);
    for (n, job) in (1..).zip(&mut jobs) {
        job.run_after = Some(world.now() + Duration::from_secs(n));
    }
    let submitted = world.submit(jobs.clone()).await;
    assert_eq!(submitted.publish, []);
    let queue = jobs[0].queue();
    let slot = world.slot(queue).await.expect("jobs wait");
    assert_eq!((slot.queued, slot.due, slot.published), (5, 0, 0));
    let early = world.promote(10).await;
    assert_eq!((early.jobs, early.slots), (0, vec![]));
    assert_eq!(early.next, jobs[0].run_after);
    let worker = world.worker().await;
    assert_eq!(world.claim_some(worker, queue, 5).await.jobs, []);
    world.pass(Duration::from_secs(3));
    let first = world.promote(2).await;
    assert_eq!(first.jobs, 2, "no more than asked");
    assert_eq!(first.next, jobs[2].run_after, "overdue already");
    assert_eq!(first.slots.len(), 1);
    assert_eq!(first.slots[0].due, 2);
    assert_eq!(world.slot(queue).await, Some(first.slots[0]));
    let second = world.promote(10).await;
    assert_eq!((second.jobs, second.next), (1, jobs[3].run_after));
    assert_eq!(sent(&world.relay(10).await), BTreeMap::from([(queue, 3)]));
    let claimed = world.claim_some(worker, queue, 5).await;
    let got: Vec<_> = claimed.jobs.iter().map(|job| job.id).collect();
    assert_eq!(got, [jobs[0].id, jobs[1].id]);
    world.pass(Duration::from_mins(1));
    let last = world.promote(10).await;
    assert_eq!((last.jobs, last.next), (2, None));
    world.counts_are_right(&tenant).await;
    world.no_drift().await;
}

pub async fn promotions_at_once_count_each_job_once(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut jobs = world.sessions(&tenant, 40);
    for job in &mut jobs {
        job.run_after = Some(world.now() + Duration::from_secs(1));
    }
    world.submit(jobs).await;
    world.pass(Duration::from_secs(1));
    let all: Vec<_> = (0..6)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.promote(10).await.jobs })
        })
        .collect();
    let mut promoted = 0;
    for one in all {
        promoted += one.await.expect("no panic");
    }
    promoted += world.promote(100).await.jobs;
    assert_eq!(promoted, 40);
    world.no_drift().await;
}

/// By queue; a relay names a queue once.
fn sent(relayed: &Relayed) -> BTreeMap<QueueKey, u32> {
    let sent: BTreeMap<QueueKey, u32> = relayed.publish.iter().map(|w| (w.queue, w.n)).collect();
    assert_eq!(sent.len(), relayed.publish.len(), "a queue came twice");
    assert!(sent.values().all(|n| *n > 0), "{sent:?}");
    sent
}

async fn forget(world: &World) {
    let forgotten = world.store.engine.forget_published().await;
    forgotten.expect("the store works");
}

/// Claims and completes a job of each queue, which makes room for one wake-up.
async fn run_through(world: &World, queues: &[QueueKey]) {
    let worker = world.worker().await;
    for queue in queues {
        let claimed = world.claim_some(worker, *queue, 1).await;
        let [job] = &claimed.jobs[..] else {
            panic!("one job: {:?}", claimed.jobs);
        };
        let done = domain::Ending::Completed(make::session_result("done"));
        world.finish(worker, job, done).await;
    }
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
