//! API keys: found by their id alone, else only by their tenant.

use std::time::Duration;

use domain::{ApiKey, ApiKeyId, Role, TenantId};

use super::{StoreUnderTest, World};
use crate::ports::{Ids, KeyHash};

pub async fn a_key_reads_back_as_it_was_created(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut created = Vec::new();
    for role in Role::ALL {
        let mut key = key(&world, tenant.id, role);
        if role == Role::Lead {
            key.expires_at = Some(world.now() + Duration::from_micros(1_000_001));
        }
        let hash = KeyHash([role as u8 + 200; 32]);
        let stored = world.store.keys.create_key(key.clone(), hash).await;
        stored.expect("the store works");
        let found = world.store.keys.key(key.id).await.expect("works");
        let (found, its_hash) = found.expect("the key is there");
        assert_eq!(found, key);
        assert!(its_hash == hash);
        created.insert(0, key);
    }
    let keys = world.store.keys.keys(tenant.id).await;
    assert_eq!(keys.expect("the store works"), created, "newest first");
    let nothing = ApiKeyId::from_uuid(world.ids.next(world.now()));
    let nothing = world.store.keys.key(nothing).await;
    assert!(nothing.expect("the store works").is_none());
}

pub async fn a_key_is_revoked_once_and_by_its_tenant(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let other = world.tenant("other").await;
    let key = key(&world, tenant.id, Role::Member);
    let keys = &world.store.keys;
    let created = keys.create_key(key.clone(), KeyHash([1; 32])).await;
    created.expect("the store works");
    let ok = "the store works";
    assert_eq!(keys.keys(other.id).await.expect(ok), []);
    let revoke = |tenant| keys.revoke_key(tenant, key.id, world.now());
    assert!(!revoke(other.id).await.expect(ok), "not theirs");
    let (found, _) = keys.key(key.id).await.expect(ok).expect("it is there");
    assert_eq!(found.revoked_at, None);
    let revoked_at = world.pass(Duration::from_secs(5));
    assert!(revoke(tenant.id).await.expect(ok));
    world.pass(Duration::from_secs(5));
    assert!(!revoke(tenant.id).await.expect(ok), "revoked already");
    let (found, _) = keys.key(key.id).await.expect(ok).expect("it is there");
    assert_eq!(found.revoked_at, Some(revoked_at));
    let listed = keys.keys(tenant.id).await.expect(ok);
    assert_eq!(listed, [found], "revoked ones are shown");
}

fn key(world: &World, tenant: TenantId, role: Role) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_uuid(world.ids.next(world.now())),
        tenant,
        role,
        name: format!("of a {role}"),
        created_at: world.now(),
        expires_at: None,
        revoked_at: None,
    }
}
