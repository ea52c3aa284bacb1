//! REPLAY: dead letters are queued again, a batch at a time, and only what matches.

use std::time::Duration;

use domain::{
    Action, DeadLetterFilter, Ending, Job, JobError, JobState, Replay, ReplayId, ReplayState,
    Tenant, TenantChange,
};

use super::{StoreUnderTest, World};
use crate::ports::{HELD_UP, Ids, ReplayStep};
use crate::testing::make;

const OK: &str = "the store works";

/// So many jobs that failed for good with this error.
async fn failed(world: &World, tenant: &Tenant, code: &str, count: usize) -> Vec<Job> {
    let mut jobs = Vec::new();
    for n in 0..count {
        let (worker, job) = world
            .running(tenant, make::new_session(&format!("{code} {n}")))
            .await;
        let error = JobError::new(code, format!("exit code {n} of {}", job.id));
        world.finish(worker, &job, Ending::Failed(error)).await;
        world.pass(Duration::from_secs(1));
        jobs.push(job);
    }
    jobs
}

fn of_code(code: &str) -> DeadLetterFilter {
    DeadLetterFilter {
        code: Some(code.to_owned()),
        ..DeadLetterFilter::default()
    }
}

async fn begin(world: &World, tenant: &Tenant, filter: DeadLetterFilter) -> Replay {
    let replays = &world.store.replays;
    let matched = replays.count_dead_letters(tenant.id, filter.clone()).await;
    let id = ReplayId::from_uuid(world.ids.next(world.now()));
    let replay = Replay::new(id, tenant.id, filter, matched.expect(OK), world.now());
    replays.create_replay(replay.clone()).await.expect(OK);
    replay
}

async fn step(world: &World, limit: u32) -> Option<ReplayStep> {
    world.pass(Duration::from_millis(1));
    let step = world.store.replays.step_replay(limit, world.now()).await;
    step.expect(OK)
}

pub async fn dead_letters_are_grouped_by_what_they_share(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let other = world.tenant("other").await;
    let disk = failed(&world, &tenant, "DISK_FULL", 3).await;
    failed(&world, &tenant, "NO_NETWORK", 1).await;
    failed(&world, &other, "DISK_FULL", 1).await;
    let replays = &world.store.replays;
    let all = DeadLetterFilter::default();
    let groups = replays.dead_letters(tenant.id, all.clone(), 10).await;
    let groups = groups.expect(OK);
    let counts: Vec<_> = groups
        .iter()
        .map(|group| (group.fingerprint.as_str(), group.count))
        .collect();
    let expected = [
        ("DISK_FULL: exit code # of #", 3),
        ("NO_NETWORK: exit code # of #", 1),
    ];
    assert_eq!(counts, expected);
    assert_eq!(groups[0].latest, disk[2].id);
    assert!(groups[0].first_at < groups[0].last_at);
    let one = replays.dead_letters(tenant.id, all, 1).await.expect(OK);
    assert_eq!(one, groups[..1]);
    // A code is a code, not the beginning of one.
    let part = replays.count_dead_letters(tenant.id, of_code("DISK")).await;
    assert_eq!(part.expect(OK), 0);
    // What was retried is no dead letter any more.
    let jobs = &world.store.jobs;
    let retried = jobs.steer(tenant.id, disk[0].id, Action::Retry, world.now());
    assert!(retried.await.expect("allowed").is_some());
    let left = replays.count_dead_letters(tenant.id, of_code("DISK_FULL"));
    assert_eq!(left.await.expect(OK), 2);
}

pub async fn all_that_match_are_queued_again_step_by_step(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let disk = failed(&world, &tenant, "DISK_FULL", 5).await;
    let network = failed(&world, &tenant, "NO_NETWORK", 1).await;
    assert!(step(&world, 2).await.is_none(), "nobody asked for any");
    let replay = begin(&world, &tenant, of_code("DISK_FULL")).await;
    assert_eq!((replay.state, replay.matched), (ReplayState::Running, 5));
    let mut done = Vec::new();
    for expected in [2, 4, 5] {
        let step = step(&world, 2).await.expect("it runs");
        assert_eq!(step.replay.replayed, expected);
        assert_eq!(step.slots.len(), 1);
        done.extend(step.jobs.iter().map(|job| job.id));
    }
    assert!(step(&world, 2).await.is_none(), "it is complete");
    assert_eq!(done, disk.iter().map(|job| job.id).collect::<Vec<_>>());
    let ended = world.store.replays.replay(tenant.id, replay.id).await;
    let ended = ended.expect(OK).expect("it is kept");
    assert_eq!(ended.state, ReplayState::Completed);
    assert_eq!((ended.replayed, ended.skipped), (5, 0));
    for job in &disk {
        let job = world.get(job).await;
        assert_eq!((job.state(), job.failures), (JobState::Queued, 0));
        let events = world.events(&job).await;
        assert_eq!(events[events.len() - 2..], ["failed", "queued"]);
    }
    assert_eq!(world.get(&network[0]).await.state(), JobState::Failed);
    // They run like any other.
    let worker = world.worker().await;
    let again = world.run(worker, &disk[0]).await;
    assert_eq!(again.attempt, 2);
    world.counts_are_right(&tenant).await;
    world.no_drift().await;
}

pub async fn a_replay_is_held_up_by_a_full_backlog(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    failed(&world, &tenant, "DISK_FULL", 3).await;
    let change = |max_queued| TenantChange {
        max_queued: Some(max_queued),
        ..TenantChange::default()
    };
    let tenants = &world.store.tenants;
    let changed = tenants.change_tenant(tenant.id, change(2), None, world.now());
    assert!(changed.await.expect("valid").is_some());
    begin(&world, &tenant, DeadLetterFilter::default()).await;
    let held = step(&world, 10).await.expect("it runs");
    assert_eq!((held.replay.replayed, held.jobs.len()), (2, 2));
    assert_eq!(held.replay.state, ReplayState::Running);
    assert!(held.replay.held_up.is_some(), "{:?}", held.replay);
    world.pass(HELD_UP);
    let changed = tenants.change_tenant(tenant.id, change(9), None, world.now());
    assert!(changed.await.expect("valid").is_some());
    let freed = step(&world, 10).await.expect("it runs");
    assert_eq!(freed.replay.replayed, 3);
    assert_eq!(freed.replay.held_up, None);
    assert_eq!(freed.replay.state, ReplayState::Completed);
    world.no_drift().await;
}

pub async fn a_replay_that_is_held_up_holds_up_no_other(store: StoreUnderTest) {
    let world = World::new(store);
    let full = world.tenant("full").await;
    let free = world.tenant("free").await;
    failed(&world, &full, "DISK_FULL", 1).await;
    failed(&world, &free, "DISK_FULL", 2).await;
    world.submitted(&full, make::new_session("waits")).await;
    let no_room = TenantChange {
        max_queued: Some(1),
        ..TenantChange::default()
    };
    let tenants = &world.store.tenants;
    let changed = tenants.change_tenant(full.id, no_room, None, world.now());
    assert!(changed.await.expect("valid").is_some());
    for tenant in [&full, &full, &free] {
        world.pass(Duration::from_millis(1));
        begin(&world, tenant, DeadLetterFilter::default()).await;
    }
    for _ in 0..2 {
        let held = step(&world, 1).await.expect("it runs").replay;
        assert_eq!((held.tenant, held.replayed), (full.id, 0));
        assert!(held.held_up.is_some(), "{held:?}");
    }
    for replayed in [1, 2, 2] {
        let other = step(&world, 1).await.expect("it runs").replay;
        assert_eq!((other.tenant, other.replayed), (free.id, replayed));
    }
    assert!(step(&world, 1).await.is_none(), "it was looked at just now");
    world.pass(HELD_UP);
    let again = step(&world, 1).await.expect("its time has come").replay;
    assert_eq!(again.tenant, full.id);
}

pub async fn an_aborted_replay_stops(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let jobs = failed(&world, &tenant, "DISK_FULL", 3).await;
    let replay = begin(&world, &tenant, DeadLetterFilter::default()).await;
    assert_eq!(step(&world, 1).await.expect("it runs").jobs.len(), 1);
    let replays = &world.store.replays;
    let aborted = replays.abort_replay(tenant.id, replay.id, world.now());
    let aborted = aborted.await.expect(OK).expect("it is kept");
    assert_eq!(aborted.state, ReplayState::Aborted);
    assert_eq!(
        (aborted.replayed, aborted.finished_at),
        (1, Some(world.now()))
    );
    assert!(step(&world, 10).await.is_none());
    assert_eq!(world.get(&jobs[0]).await.state(), JobState::Queued);
    assert_eq!(world.get(&jobs[1]).await.state(), JobState::Failed);
    world.pass(Duration::from_secs(1));
    let again = replays.abort_replay(tenant.id, replay.id, world.now());
    assert_eq!(again.await.expect(OK), Some(aborted), "once is enough");
}

pub async fn what_was_retried_meanwhile_is_skipped(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let jobs = failed(&world, &tenant, "DISK_FULL", 2).await;
    let replay = begin(&world, &tenant, DeadLetterFilter::default()).await;
    let store = &world.store.jobs;
    let retried = store.steer(tenant.id, jobs[1].id, Action::Retry, world.now());
    assert!(retried.await.expect("allowed").is_some());
    world.pass(Duration::from_secs(1));
    // One that fails after it was asked for is not part of it.
    let late = make::new_training("of another queue");
    let (worker, late) = world.running(&tenant, late).await;
    let error = JobError::new("NO_NETWORK", "unplugged");
    world.finish(worker, &late, Ending::Failed(error)).await;
    let step = step(&world, 10).await.expect("it runs");
    assert_eq!(step.replay.id, replay.id);
    assert_eq!(world.get(&late).await.state(), JobState::Failed);
    assert_eq!((step.replay.replayed, step.replay.skipped), (1, 1));
    assert_eq!(step.replay.state, ReplayState::Completed);
}

pub async fn replays_are_their_tenants_own(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let other = world.tenant("other").await;
    failed(&world, &tenant, "DISK_FULL", 1).await;
    let replay = begin(&world, &tenant, DeadLetterFilter::default()).await;
    let replays = &world.store.replays;
    assert_eq!(replays.replay(other.id, replay.id).await.expect(OK), None);
    let aborted = replays.abort_replay(other.id, replay.id, world.now());
    assert_eq!(aborted.await.expect(OK), None);
    assert_eq!(replays.replays(other.id, 10).await.expect(OK), []);
    assert_eq!(replays.replays(tenant.id, 10).await.expect(OK), [replay]);
}
