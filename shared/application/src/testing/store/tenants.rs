//! Tenants, and their quotas reaching the slots.

use std::time::Duration;

use domain::{JobKind, SlotSnapshot, Tenant, TenantChange, TenantId};

use super::{StoreUnderTest, World};
use crate::ports::{Ids, TenantError};
use crate::testing::make;

pub async fn a_tenant_reads_back_as_it_was_created(store: StoreUnderTest) {
    let world = World::new(store);
    let mut new = make::new_tenant("acme");
    new.name.push_str(" \"&\" Söhne");
    new.quotas.session = 7;
    new.quotas.training = 3;
    new.weight = 5;
    new.max_queued = 100_000_000;
    let id = TenantId::from_uuid(world.ids.next(world.now()));
    let tenant = make::tenant(new, id, world.now());
    let tenants = &world.store.tenants;
    let slots = tenants.create_tenant(tenant.clone()).await.expect("new");
    let seen: Vec<_> = slots
        .iter()
        .map(|slot| (slot.queue.kind, slot.quota, slot.weight, slot.paused))
        .collect();
    let expected = [
        (JobKind::Session, 7, 5, false),
        (JobKind::Training, 3, 5, false),
    ];
    assert_eq!(seen, expected);
    let ok = "the store works";
    assert_eq!(tenants.tenant(id).await.expect(ok), Some(tenant.clone()));
    let by_slug = tenants.tenant_by_slug("acme").await.expect(ok);
    assert_eq!(by_slug, Some(tenant));
    assert_eq!(tenants.tenant_by_slug("Acme").await.expect(ok), None);
    let nobody = TenantId::from_uuid(world.ids.next(world.now()));
    assert_eq!(tenants.tenant(nobody).await.expect(ok), None);
}

pub async fn a_slug_is_taken_once(store: StoreUnderTest) {
    let world = World::new(store);
    let first = world.tenant("acme").await;
    let id = TenantId::from_uuid(world.ids.next(world.now()));
    let second = make::tenant(make::new_tenant("acme"), id, world.now());
    match world.store.tenants.create_tenant(second).await {
        Err(TenantError::SlugTaken(slug)) => assert_eq!(slug, "acme"),
        other => panic!("{other:?}"),
    }
    let found = world.store.tenants.tenant_by_slug("acme").await;
    assert_eq!(found.expect("the store works"), Some(first));
    let lost = world.store.tenants.tenant(id).await;
    assert_eq!(lost.expect("the store works"), None);
}

pub async fn tenants_are_listed_by_slug(store: StoreUnderTest) {
    let world = World::new(store);
    for slug in ["c", "a", "b-2", "b"] {
        world.tenant(slug).await;
    }
    let page = async |after: Option<&str>, limit| {
        let tenants = world.store.tenants.tenants(after, limit).await;
        let tenants = tenants.expect("the store works");
        tenants.into_iter().map(|t| t.slug).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3).await, ["a", "b", "b-2"]);
    assert_eq!(page(Some("b-2"), 3).await, ["c"]);
    assert_eq!(page(Some("b"), 1).await, ["b-2"]);
    assert!(page(Some("c"), 3).await.is_empty());
}

pub async fn a_change_reaches_the_slots(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_session("one")).await;
    let second = world.submitted(&tenant, make::new_session("two")).await;
    world.run(worker, &second).await;
    let before = world.slot(job.queue()).await.expect("it is in use");
    world.pass(Duration::from_secs(1));
    let change = TenantChange {
        name: Some("New name".to_owned()),
        session_quota: Some(1),
        weight: Some(9),
        max_queued: Some(3),
        ..TenantChange::default()
    };
    let (changed, slots) = apply(&world, &tenant, change.clone()).await;
    let expected = tenant.change(change, world.now()).expect("valid");
    assert_eq!(changed, expected);
    assert_eq!((changed.version, changed.updated_at), (2, world.now()));
    let stored = world.store.tenants.tenant(changed.id).await;
    assert_eq!(stored.expect("the store works"), Some(expected));
    let slot = of_kind(&slots, JobKind::Session);
    assert_eq!((slot.quota, slot.weight), (1, 9));
    assert!(slot.version > before.version, "hints see that it is newer");
    assert_eq!(slot.running, 2, "running jobs above the quota go on");
    assert_eq!(slot.free(), 0);
    assert_eq!(world.slot(job.queue()).await, Some(slot));
    // And none starts until there is room.
    let third = world.submitted(&changed, make::new_session("three")).await;
    let done = domain::Ending::Completed(make::session_result("done"));
    world.finish(worker, &job, done.clone()).await;
    assert_eq!(world.claim(worker, &[&third]).await.jobs, []);
    let second = world.get(&second).await;
    world.finish(worker, &second, done).await;
    world.run(worker, &third).await;
}

pub async fn an_inactive_tenants_queues_are_paused(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let job = world.submitted(&tenant, make::new_session("waits")).await;
    for active in [false, true] {
        let change = TenantChange {
            active: Some(active),
            ..TenantChange::default()
        };
        let (changed, slots) = apply(&world, &tenant, change).await;
        assert_eq!(changed.active, active);
        assert!(slots.iter().all(|slot| slot.paused != active));
        let slot = of_kind(&slots, JobKind::Session);
        assert_eq!(world.slot(job.queue()).await, Some(slot));
        let queues = world.store.jobs.queues(tenant.id).await;
        let queues = queues.expect("the store works");
        assert!(queues.iter().all(|queue| queue.paused != active));
    }
}

pub async fn a_change_of_an_old_version_is_refused(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let tenants = &world.store.tenants;
    let change = TenantChange {
        session_quota: Some(5),
        ..TenantChange::default()
    };
    let first = tenants.change_tenant(tenant.id, change.clone(), Some(1), world.now());
    assert!(first.await.expect("valid").is_some());
    let second = tenants.change_tenant(tenant.id, change, Some(1), world.now());
    match second.await {
        Err(TenantError::VersionMoved(version)) => assert_eq!(version, 2),
        other => panic!("{other:?}"),
    }
    let zero = TenantChange {
        session_quota: Some(0),
        ..TenantChange::default()
    };
    let invalid = tenants.change_tenant(tenant.id, zero.clone(), None, world.now());
    match invalid.await {
        Err(TenantError::Invalid(why)) => assert_eq!(why.0[0].pointer, "/quotas/session"),
        other => panic!("{other:?}"),
    }
    let stored = tenants.tenant(tenant.id).await.expect("the store works");
    let stored = stored.expect("it is there");
    assert_eq!((stored.version, stored.quotas.session), (2, 5));
    let nobody = TenantId::from_uuid(world.ids.next(world.now()));
    let nothing = tenants.change_tenant(nobody, zero, None, world.now()).await;
    assert!(nothing.expect("the store works").is_none());
}

/// Of two editors that saw the same version one wins.
pub async fn of_changes_at_once_one_wins(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let editors: Vec<_> = (1..=6)
        .map(|n| {
            let (world, id) = (world.clone(), tenant.id);
            tokio::spawn(async move {
                let change = TenantChange {
                    weight: Some(n),
                    ..TenantChange::default()
                };
                let tenants = &world.store.tenants;
                let changed = tenants.change_tenant(id, change, Some(1), world.now());
                changed.await.is_ok()
            })
        })
        .collect();
    let mut won = 0;
    for editor in editors {
        won += u32::from(editor.await.expect("no panic"));
    }
    assert_eq!(won, 1);
}

async fn apply(
    world: &World,
    tenant: &Tenant,
    change: TenantChange,
) -> (Tenant, Vec<SlotSnapshot>) {
    let tenants = &world.store.tenants;
    let changed = tenants.change_tenant(tenant.id, change, None, world.now());
    changed.await.expect("valid").expect("the tenant is there")
}

fn of_kind(slots: &[SlotSnapshot], kind: JobKind) -> SlotSnapshot {
    let found = slots.iter().find(|slot| slot.queue.kind == kind);
    *found.expect("one a kind")
}
