//! Fences of shared resources: they rise, and an end under an old one is refused.

use domain::{Ending, Job, JobState};

use super::{StoreUnderTest, World};
use crate::ports::{Finish, Finished, Guard};
use crate::testing::make;

async fn next(world: &World, resource: &str) -> i64 {
    let fence = world.store.engine.next_fence(resource).await;
    fence.expect("the store works")
}

pub async fn fences_only_rise(store: StoreUnderTest) {
    let world = World::new(store);
    let first = next(&world, "repository:/srv/app").await;
    let calls = (0..8).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { next(&world, "repository:/srv/app").await })
    });
    let mut fences = vec![first];
    for call in calls.collect::<Vec<_>>() {
        fences.push(call.await.expect("no panic"));
    }
    assert!(fences[1..].iter().all(|fence| *fence > first));
    fences.sort_unstable();
    fences.dedup();
    assert_eq!(fences.len(), 9, "each is given once");
    // Another resource has its own, whatever its name is.
    let strange = next(&world, "gpu:0 'x'; \u{1F600}").await;
    assert!(next(&world, "gpu:0 'x'; \u{1F600}").await > strange);
}

pub async fn only_the_latest_fence_is_the_latest(store: StoreUnderTest) {
    let world = World::new(store);
    let old = next(&world, "repository:a").await;
    let is_latest = async |fence| {
        let asked = guard("repository:a", fence);
        let latest = world.store.engine.is_latest_fence(&asked).await;
        latest.expect("the store works")
    };
    assert!(is_latest(old).await);
    next(&world, "repository:b").await;
    assert!(is_latest(old).await, "another resource has its own");
    let new = next(&world, "repository:a").await;
    assert!(!is_latest(old).await);
    assert!(is_latest(new).await);
    let unknown = guard("repository:c", 1);
    let latest = world.store.engine.is_latest_fence(&unknown).await;
    assert!(!latest.expect("the store works"));
}

fn guard(resource: &str, fence: i64) -> Guard {
    Guard {
        resource: resource.to_owned(),
        fence,
    }
}

fn guarded(world: &World, job: &Job, guards: Vec<Guard>) -> Finish {
    let done = Ending::Completed(make::session_result("done"));
    Finish {
        guards,
        ..world.finish_of(job, done)
    }
}

pub async fn an_end_under_an_old_guard_is_refused(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 4).await;
    let worker = world.worker().await;
    let jobs = world.sessions(&tenant, 4);
    world.submit(jobs.clone()).await;
    let claimed = world.claim_some(worker, jobs[0].queue(), 4).await.jobs;
    let old = next(&world, "repository:a").await;
    let valid = next(&world, "repository:a").await;
    let other = next(&world, "repository:b").await;
    let ends = vec![
        guarded(&world, &claimed[0], vec![guard("repository:a", old)]),
        guarded(
            &world,
            &claimed[1],
            vec![guard("repository:a", valid), guard("repository:b", other)],
        ),
        guarded(
            &world,
            &claimed[2],
            vec![guard("repository:b", other), guard("repository:a", old)],
        ),
        guarded(&world, &claimed[3], vec![guard("never given", 1)]),
    ];
    let finished = world.store.engine.finish(worker, ends, world.now()).await;
    let Finished { mut fenced, .. } = finished.expect("the store works");
    fenced.sort_unstable();
    assert_eq!(fenced, [claimed[0].id, claimed[2].id, claimed[3].id]);
    for (job, state) in claimed.iter().zip([
        JobState::Running,
        JobState::Completed,
        JobState::Running,
        JobState::Running,
    ]) {
        assert_eq!(world.get(job).await.state(), state);
    }
    assert_eq!(
        world.events(&claimed[0]).await.len(),
        3,
        "nothing is written"
    );
    assert_eq!(world.counts(jobs[0].queue()).await.0, 3);
    // Without the guard the run is still its worker's to end.
    let ended = world.finish(worker, &claimed[0], Ending::HandedBack).await;
    assert_eq!(ended.fenced, []);
    world.no_drift().await;
}
