//! Queues that a person pauses, drains and lets go on.

use domain::{Action, Ending, JobKind, QueueKey, SlotSnapshot, Tenant, TenantId};

use super::{StoreUnderTest, World};
use crate::ports::{Ids, QueueAction, Refused, SteerError, Submission};
use crate::testing::make;

async fn steer(
    world: &World,
    tenant: &Tenant,
    kind: Option<JobKind>,
    action: QueueAction,
) -> Vec<SlotSnapshot> {
    let steered = world.store.jobs.steer_queues(tenant.id, kind, action).await;
    steered
        .expect("the store works")
        .expect("the tenant exists")
}

async fn offer(world: &World, tenant: &Tenant, new: domain::NewJob) -> Result<(), Refused> {
    let submission = Submission {
        tenant: tenant.id,
        jobs: vec![world.job(tenant, new)],
    };
    let submitted = world.store.jobs.submit(vec![submission], world.now()).await;
    let mut outcomes = submitted.expect("the store works").outcomes;
    outcomes.pop().expect("an outcome a submission")
}

pub async fn a_paused_queue_takes_jobs_and_starts_none(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let other = world.tenant("other").await;
    let worker = world.worker().await;
    let before = world.submitted(&tenant, make::new_session("before")).await;
    let slots = steer(&world, &tenant, Some(JobKind::Session), QueueAction::Pause).await;
    let [slot] = slots[..] else {
        panic!("one queue changed: {slots:?}");
    };
    assert_eq!(slot.queue, before.queue());
    assert!(slot.paused && slot.claimable() == 0 && slot.to_relay() == 0);
    let meanwhile = world.job(&tenant, make::new_session("meanwhile"));
    let submitted = world.submit(vec![meanwhile.clone()]).await;
    assert_eq!(submitted.publish, []);
    assert_eq!(world.claim_some(worker, slot.queue, 2).await.jobs, []);
    assert_eq!(world.relay(10).await.publish, []);
    // Its other queue, and everybody else's, go on.
    let training = world
        .submitted(&tenant, make::new_training("goes on"))
        .await;
    world.run(worker, &training).await;
    let theirs = world.submitted(&other, make::new_session("theirs")).await;
    world.run(worker, &theirs).await;
    let resumed = steer(&world, &tenant, Some(JobKind::Session), QueueAction::Resume).await;
    assert!(!resumed[0].paused && resumed[0].version > slot.version);
    assert_eq!((resumed[0].queued, resumed[0].due), (2, 2));
    assert_eq!(world.claim_some(worker, slot.queue, 2).await.jobs.len(), 2);
    world.no_drift().await;
}

pub async fn a_draining_queue_starts_what_it_has_and_takes_no_more(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let job = world.submitted(&tenant, make::new_session("has it")).await;
    let mut later = make::new_session("left pending");
    later.start = false;
    let later = world.submitted(&tenant, later).await;
    steer(&world, &tenant, Some(JobKind::Session), QueueAction::Drain).await;
    let draining = |paused| Refused::QueueDraining {
        kind: JobKind::Session,
        paused,
    };
    let refused = draining(false);
    let offered = offer(&world, &tenant, make::new_session("too late")).await;
    assert_eq!(offered, Err(refused.clone()));
    let start = world
        .store
        .jobs
        .steer(tenant.id, later.id, Action::Start, world.now())
        .await;
    match start {
        Err(SteerError::Refused(why)) => assert_eq!(why, refused),
        other => panic!("it is draining: {other:?}"),
    }
    let training = offer(&world, &tenant, make::new_training("the other queue")).await;
    assert_eq!(training, Ok(()));
    // What the engine itself puts back into the queue was there before.
    let running = world.run(worker, &job).await;
    world.finish(worker, &running, Ending::HandedBack).await;
    world.run(worker, &job).await;
    let views = world.store.jobs.queues(tenant.id).await;
    for view in views.expect("the store works") {
        let drained = view.queue.kind == JobKind::Session;
        assert_eq!((view.draining, view.paused), (drained, false));
    }
    steer(&world, &tenant, Some(JobKind::Session), QueueAction::Pause).await;
    let offered = offer(&world, &tenant, make::new_session("nor now")).await;
    assert_eq!(offered, Err(draining(true)), "it works nothing off");
    steer(&world, &tenant, Some(JobKind::Session), QueueAction::Resume).await;
    let offered = offer(&world, &tenant, make::new_session("again")).await;
    assert_eq!(offered, Ok(()));
    world.no_drift().await;
}

pub async fn all_queues_of_a_tenant_are_steered_at_once(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let other = world.tenant("other").await;
    let nobody = TenantId::from_uuid(world.ids.next(world.now()));
    let jobs = &world.store.jobs;
    let unknown = jobs.steer_queues(nobody, None, QueueAction::Pause).await;
    assert!(unknown.expect("the store works").is_none());
    let paused = steer(&world, &tenant, None, QueueAction::Pause).await;
    let queues: Vec<QueueKey> = paused.iter().map(|slot| slot.queue).collect();
    let tenant_id = tenant.id;
    let all = JobKind::ALL.map(|kind| QueueKey {
        tenant: tenant_id,
        kind,
    });
    assert_eq!(queues, all);
    assert!(paused.iter().all(|slot| slot.paused));
    for (of, paused) in [(&tenant, true), (&other, false)] {
        let views = jobs.queues(of.id).await.expect("the store works");
        assert!(views.iter().all(|view| view.paused == paused));
    }
    // A queue may be paused and draining; resuming ends both.
    steer(&world, &tenant, None, QueueAction::Drain).await;
    steer(&world, &tenant, None, QueueAction::Resume).await;
    let views = jobs.queues(tenant.id).await.expect("the store works");
    assert!(views.iter().all(|view| !view.paused && !view.draining));
}
