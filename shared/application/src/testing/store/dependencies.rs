//! Jobs that wait for other jobs: when they are queued, when they are not, and who is told.

use std::time::Duration;

use domain::{
    Action, DependencyRule, Ending, Job, JobError, JobId, JobState, NewJob, Tenant, WorkerRef,
};

use super::world::{GRACE, LEASE, error};
use super::{StoreUnderTest, World};
use crate::ports::{Ids, Moved, Refused, Submission};
use crate::testing::make;

/// More calls than any of these tests needs.
const CALLS_MAX: usize = 100;

/// A session that waits for these jobs.
fn after(title: &str, prerequisites: &[&Job]) -> NewJob {
    NewJob {
        depends_on: prerequisites.iter().map(|job| job.id).collect(),
        ..make::new_session(title)
    }
}

fn skipping(new: NewJob) -> NewJob {
    NewJob {
        if_prerequisite_fails: DependencyRule::Skip,
        ..new
    }
}

fn well() -> Ending {
    Ending::Completed(make::session_result("done"))
}

/// Releases until there is nothing to do; the jobs that moved.
async fn release_all(world: &World) -> Vec<Job> {
    let mut jobs = Vec::new();
    for _ in 0..CALLS_MAX {
        let moved = world.release(100).await;
        let over = moved.jobs.is_empty() && !moved.to_release;
        jobs.extend(moved.jobs);
        if over {
            return jobs;
        }
    }
    panic!("the release finds something to do for ever");
}

async fn end(world: &World, worker: WorkerRef, job: &Job, ending: Ending) -> bool {
    let running = world.run(worker, job).await;
    let finished = world.finish(worker, &running, ending).await;
    assert_eq!(finished.fenced, []);
    finished.to_release
}

async fn state(world: &World, job: &Job) -> JobState {
    world.get(job).await.state()
}

async fn pending(world: &World, job: &Job) -> u32 {
    let view = world.store.jobs.list(
        job.tenant,
        crate::ports::JobFilter {
            states: vec![JobState::Pending],
            limit: 100,
            ..Default::default()
        },
    );
    u32::try_from(view.await.expect("the store works").len()).expect("few")
}

pub async fn a_job_waits_for_all_its_prerequisites(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let first = world.submitted(&tenant, make::new_session("first")).await;
    let second = world.submitted(&tenant, make::new_session("second")).await;
    let last = world.job(&tenant, after("last", &[&first, &second, &first]));
    let submitted = world.submit(vec![last.clone()]).await;
    assert!(!submitted.to_release);
    assert_eq!(submitted.publish, [], "it waits, but not for a slot");
    assert_eq!(world.get(&last).await, last);
    assert_eq!(world.events(&last).await, ["created"]);
    assert!(end(&world, worker, &first, well()).await);
    assert_eq!(release_all(&world).await, [], "one is met, one is not");
    assert_eq!(state(&world, &last).await, JobState::Pending);
    assert!(end(&world, worker, &second, well()).await);
    let now = world.pass(Duration::from_secs(7));
    let Moved { jobs, slots, .. } = world.release(10).await;
    let [released] = &jobs[..] else {
        panic!("one job is released: {jobs:?}");
    };
    assert_eq!(*released, world.get(&last).await);
    assert_eq!(released.state(), JobState::Queued);
    assert_eq!(released.queued_at, Some(now));
    assert_eq!(released.turn, Some(domain::turn(last.priority, now)));
    assert_eq!(world.events(&last).await, ["created", "queued"]);
    assert_eq!((slots[0].queued, slots[0].due), (1, 1));
    assert_eq!(release_all(&world).await, [], "once");
    assert!(!end(&world, worker, &last, well()).await, "nobody waits");
    world.no_drift().await;
}

/// So many jobs wait for others too that none of the first call's moves: it says that there is more.
pub async fn who_waits_on_keeps_nobody_else_back(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let other = world.tenant("other").await;
    let worker = world.worker().await;
    let first = world.submitted(&tenant, make::new_session("first")).await;
    let second = world.submitted(&tenant, make::new_session("second")).await;
    let crowd: Vec<Job> = (0..4)
        .map(|n| world.job(&tenant, after(&format!("waits {n}"), &[&first, &second])))
        .collect();
    world.submit(crowd.clone()).await;
    let theirs = world.submitted(&other, make::new_session("theirs")).await;
    let last = world.submitted(&other, after("last", &[&theirs])).await;
    end(&world, worker, &first, well()).await;
    end(&world, worker, &theirs, well()).await;
    let mut calls = 0;
    loop {
        calls += 1;
        let moved = world.release(2).await;
        if let [released] = &moved.jobs[..] {
            assert_eq!(released.id, last.id);
            break;
        }
        assert_eq!(moved.jobs, []);
        assert!(moved.to_release, "another job is left");
        assert!(calls < crowd.len(), "each call gets on");
    }
    assert!(calls > 1, "the jobs of before come first");
    assert_eq!(release_all(&world).await, []);
    end(&world, worker, &second, well()).await;
    assert_eq!(release_all(&world).await.len(), crowd.len());
    world.no_drift().await;
}

pub async fn a_failed_prerequisite_fails_who_waits(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let first = world.submitted(&tenant, make::new_session("first")).await;
    let other = world.submitted(&tenant, make::new_session("other")).await;
    let second = world
        .submitted(&tenant, after("second", &[&first, &other]))
        .await;
    let third = world.submitted(&tenant, after("third", &[&second])).await;
    let fourth = world
        .submitted(&tenant, skipping(after("fourth", &[&third])))
        .await;
    let fifth = world.submitted(&tenant, after("fifth", &[&fourth])).await;
    assert!(end(&world, worker, &first, Ending::Failed(error("no"))).await);
    let moved = release_all(&world).await;
    assert_eq!(moved.len(), 4, "one after the other: {moved:?}");
    let because = |job: &Job, state: &str| {
        let why = format!("prerequisite {} is {state}", job.id);
        Some(JobError::new("PREREQUISITE_FAILED", why))
    };
    for (job, why) in [
        (&second, because(&first, "failed")),
        (&third, because(&second, "failed")),
        (&fifth, because(&fourth, "cancelled")),
    ] {
        let stored = world.get(job).await;
        assert_eq!(stored.state(), JobState::Failed, "{}", job.title);
        assert_eq!(stored.error, why);
        assert_eq!(stored.finished_at, Some(world.now()));
        assert_eq!(world.events(job).await, ["created", "failed"]);
        let said = last_event(&world, job).await;
        assert_eq!(said["error"], serde_json::json!(stored.error));
    }
    let skipped = world.get(&fourth).await;
    assert_eq!(skipped.state(), JobState::Cancelled);
    assert_eq!(skipped.error, None, "nothing was wrong with it");
    let said = last_event(&world, &fourth).await;
    let reason = format!("prerequisite {} is failed", third.id);
    assert_eq!(said["reason"], reason.as_str());
    // The other prerequisite of a job that has failed already finds nobody to tell.
    assert!(!end(&world, worker, &other, well()).await);
    assert_eq!(release_all(&world).await, []);
    world.no_drift().await;
}

async fn last_event(world: &World, job: &Job) -> serde_json::Map<String, serde_json::Value> {
    let events = world.store.jobs.events(job.tenant, job.id, 0, 100).await;
    let events = events.expect("the store works").expect("the job is stored");
    events.last().expect("it has events").data.clone()
}

pub async fn prerequisites_may_have_ended_before(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let good = world.submitted(&tenant, make::new_session("good")).await;
    end(&world, worker, &good, well()).await;
    let bad = world.submitted(&tenant, make::new_session("bad")).await;
    end(&world, worker, &bad, Ending::Failed(error("no"))).await;
    let ready = world.job(&tenant, after("ready", &[&good]));
    let vain = world.job(&tenant, after("vain", &[&good, &bad]));
    let submitted = world.submit(vec![ready.clone(), vain.clone()]).await;
    assert!(submitted.to_release);
    assert_eq!(state(&world, &ready).await, JobState::Pending);
    let moved = release_all(&world).await;
    assert_eq!(moved.len(), 2);
    assert_eq!(state(&world, &ready).await, JobState::Queued);
    assert_eq!(state(&world, &vain).await, JobState::Failed);
    world.no_drift().await;
}

pub async fn only_a_tenants_own_jobs_can_be_waited_for(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let other = world.tenant("other").await;
    let theirs = world.submitted(&other, make::new_session("theirs")).await;
    let nothing = JobId::from_uuid(world.ids.next(world.now()));
    for unknown in [theirs.id, nothing] {
        let new = NewJob {
            depends_on: vec![unknown],
            ..make::new_session("curious")
        };
        let jobs = vec![
            world.job(&tenant, make::new_session("beside it")),
            world.job(&tenant, new),
        ];
        let submission = Submission {
            tenant: tenant.id,
            jobs: jobs.clone(),
        };
        let submitted = world.store.jobs.submit(vec![submission], world.now()).await;
        let outcomes = submitted.expect("the store works").outcomes;
        assert_eq!(outcomes, [Err(Refused::PrerequisiteUnknown(unknown))]);
        let stored = world.store.jobs.get(tenant.id, jobs[0].id).await;
        assert_eq!(stored.expect("the store works"), None, "whole or not");
    }
    world.counts_are_right(&tenant).await;
}

pub async fn only_a_tenants_own_job_can_be_a_parent(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let other = world.tenant("other").await;
    let theirs = world.submitted(&other, make::new_session("theirs")).await;
    let own = world.submitted(&tenant, make::new_session("own")).await;
    let nothing = JobId::from_uuid(world.ids.next(world.now()));
    let below = |parent| NewJob {
        parent: Some(parent),
        ..make::new_session("child")
    };
    for unknown in [theirs.id, nothing] {
        let jobs = vec![
            world.job(&tenant, below(own.id)),
            world.job(&tenant, below(unknown)),
        ];
        let first = jobs[0].id;
        let submission = Submission {
            tenant: tenant.id,
            jobs,
        };
        let submitted = world.store.jobs.submit(vec![submission], world.now()).await;
        let outcomes = submitted.expect("the store works").outcomes;
        assert_eq!(outcomes, [Err(Refused::ParentUnknown(unknown))]);
        let stored = world.store.jobs.get(tenant.id, first).await;
        assert_eq!(stored.expect("the store works"), None, "whole or not");
    }
    let child = world.submitted(&tenant, below(own.id)).await;
    assert_eq!(world.get(&child).await.parent, Some(own.id));
    world.counts_are_right(&tenant).await;
}

pub async fn a_submission_may_be_a_chain(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let first = world.job(&tenant, make::new_session("first"));
    let left = world.job(&tenant, after("left", &[&first]));
    let right = world.job(&tenant, after("right", &[&first]));
    let last = world.job(&tenant, after("last", &[&left, &right]));
    // Whatever their order.
    let chain = vec![last.clone(), left.clone(), first.clone(), right.clone()];
    let submitted = world.submit(chain).await;
    assert!(!submitted.to_release);
    end(&world, worker, &first, well()).await;
    assert_eq!(release_all(&world).await.len(), 2);
    end(&world, worker, &left, well()).await;
    let half = Ending::PartiallyCompleted(make::session_result("enough"));
    end(&world, worker, &right, half).await;
    assert_eq!(release_all(&world).await.len(), 1);
    end(&world, worker, &last, well()).await;
    world.no_drift().await;
}

pub async fn a_waiting_job_is_steered_by_a_person(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let first = world.submitted(&tenant, make::new_session("first")).await;
    let started = world.submitted(&tenant, after("started", &[&first])).await;
    let cancelled = world
        .submitted(&tenant, after("cancelled", &[&first]))
        .await;
    let behind = world
        .submitted(&tenant, after("behind", &[&cancelled]))
        .await;
    assert_eq!(pending(&world, &first).await, 3);
    let steer = async |job: &Job, action| {
        let steered = world
            .store
            .jobs
            .steer(tenant.id, job.id, action, world.now());
        steered.await.expect("allowed").expect("stored")
    };
    let steered = steer(&started, Action::Start).await;
    assert_eq!(steered.job.state(), JobState::Queued);
    assert!(steer(&cancelled, Action::Cancel).await.to_release);
    assert_eq!(release_all(&world).await.len(), 1);
    assert_eq!(state(&world, &behind).await, JobState::Failed);
    // They wait for nothing any more, so that its end is no news to anybody.
    assert!(!end(&world, worker, &first, Ending::Failed(error("no"))).await);
    assert_eq!(release_all(&world).await, []);
    assert_eq!(state(&world, &started).await, JobState::Queued);
    assert_eq!(state(&world, &cancelled).await, JobState::Cancelled);
    world.no_drift().await;
}

pub async fn every_end_of_a_prerequisite_is_told(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 10).await;
    let waiting = async |job: &Job| world.submitted(&tenant, after("waits", &[job])).await;
    let mut waits = Vec::new();

    let new = NewJob {
        max_attempts: 1,
        ..make::new_session("its worker dies")
    };
    let (_, lost) = world.running(&tenant, new).await;
    waits.push(waiting(&lost).await);
    let now = world.pass(LEASE + GRACE + Duration::from_secs(1));
    let reaped = world.store.engine.reap(GRACE, 10, now).await;
    assert!(reaped.expect("the store works").to_release, "reaped");

    let (worker, stopped) = world
        .running(&tenant, make::new_session("is stopped"))
        .await;
    waits.push(waiting(&stopped).await);
    let finished = world.finish(worker, &stopped, Ending::Stopped(None)).await;
    assert!(finished.to_release, "stopped");

    let dated = NewJob {
        deadline: Some(world.now() + Duration::from_secs(9)),
        ..make::new_session("comes too late")
    };
    let late = world.submitted(&tenant, dated).await;
    waits.push(waiting(&late).await);
    world.pass(Duration::from_secs(10));
    assert!(world.expire(10).await.to_release, "expired");

    assert_eq!(release_all(&world).await.len(), waits.len());
    for job in &waits {
        assert_eq!(state(&world, job).await, JobState::Failed);
    }
    world.no_drift().await;
}

/// Prerequisites that are tried again have not ended.
pub async fn a_retry_of_a_prerequisite_is_no_end(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let first = world.submitted(&tenant, make::new_session("first")).await;
    let last = world.submitted(&tenant, after("last", &[&first])).await;
    let again = Ending::Retry {
        error: error("once more"),
        after: Some(Duration::ZERO),
    };
    assert!(!end(&world, worker, &first, again).await);
    assert!(!end(&world, worker, &first, Ending::HandedBack).await);
    assert_eq!(release_all(&world).await, []);
    assert!(end(&world, worker, &first, well()).await);
    assert_eq!(release_all(&world).await.len(), 1);
    assert_eq!(state(&world, &last).await, JobState::Queued);
}

pub async fn releases_at_once_move_each_job_once(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant: Tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let first = world.submitted(&tenant, make::new_session("first")).await;
    let crowd: Vec<Job> = (0..40)
        .map(|n| world.job(&tenant, after(&format!("waits {n}"), &[&first])))
        .collect();
    world.submit(crowd.clone()).await;
    end(&world, worker, &first, well()).await;
    let calls = (0..8).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { world.release(7).await.jobs })
    });
    let mut moved = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        moved.extend(call.await.expect("no panic"));
    }
    moved.extend(release_all(&world).await);
    let mut ids: Vec<JobId> = moved.iter().map(|job| job.id).collect();
    ids.sort_unstable();
    let expected: Vec<JobId> = crowd.iter().map(|job| job.id).collect();
    assert_eq!(ids, expected);
    for job in &crowd {
        assert_eq!(world.events(job).await, ["created", "queued"]);
    }
    world.no_drift().await;
}
