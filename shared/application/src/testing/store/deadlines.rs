//! Jobs that must have ended by an instant, and still wait then.

use std::time::Duration;

use domain::{Action, Ending, Job, JobKind, JobState, Labels, NewJob, QueueKey, Timestamp};

use super::world::error;
use super::{StoreUnderTest, World};
use crate::ports::ClaimRequest;
use crate::testing::make;

fn due_by(title: &str, deadline: Timestamp) -> NewJob {
    NewJob {
        deadline: Some(deadline),
        ..make::new_session(title)
    }
}

pub async fn a_job_that_waits_past_its_deadline_fails(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let deadline = world.now() + Duration::from_mins(1);
    let queued = world.submitted(&tenant, due_by("queued", deadline)).await;
    let pending = NewJob {
        start: false,
        ..due_by("pending", deadline)
    };
    let pending = world.submitted(&tenant, pending).await;
    let scheduled = NewJob {
        run_after: Some(deadline - Duration::from_secs(1)),
        ..due_by("scheduled", deadline)
    };
    let scheduled = world.submitted(&tenant, scheduled).await;
    let later = due_by("has a second more", deadline + Duration::from_secs(1));
    let later = world.submitted(&tenant, later).await;
    assert_eq!(world.get(&queued).await, queued);
    assert_eq!(world.expire(10).await.jobs, [], "not yet");
    world.pass(Duration::from_mins(1));
    let expired = world.expire(10).await;
    let mut ids: Vec<_> = expired.jobs.iter().map(|job| job.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [queued.id, pending.id, scheduled.id]);
    assert!(!expired.to_release);
    for job in expired.jobs {
        assert_eq!(world.get(&job).await, job);
        assert_eq!(job.state(), JobState::Failed);
        assert_eq!(job.finished_at, Some(world.now()));
        assert_eq!((job.attempt, job.failures), (0, 0));
        let error = job.error.clone().expect("it says why");
        assert_eq!(error.code, "DEADLINE_PASSED");
        let events = world.events(&job).await;
        assert_eq!(events.last(), Some(&"failed"));
    }
    assert_eq!(world.get(&later).await.state(), JobState::Queued);
    assert_eq!(world.counts(later.queue()).await.1, 1);
    assert_eq!(world.expire(10).await.jobs, [], "once");
    world.no_drift().await;
}

pub async fn a_run_is_not_expired(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let deadline = world.now() + Duration::from_secs(20);
    let (worker, running) = world.running(&tenant, due_by("runs", deadline)).await;
    world.pass(Duration::from_secs(21));
    assert_eq!(world.expire(10).await.jobs, [], "its worker ends it");
    let done = Ending::Completed(make::session_result("late, but done"));
    assert_eq!(world.finish(worker, &running, done).await.fenced, []);
    assert_eq!(world.expire(10).await.jobs, []);
    assert_eq!(world.get(&running).await.state(), JobState::Completed);
}

pub async fn a_job_that_is_cancelled_has_no_deadline(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let deadline = world.now() + Duration::from_secs(20);
    let job = world.submitted(&tenant, due_by("unwanted", deadline)).await;
    let jobs = &world.store.jobs;
    let steered = jobs.steer(tenant.id, job.id, Action::Cancel, world.now());
    assert!(steered.await.expect("allowed").is_some());
    world.pass(Duration::from_secs(21));
    assert_eq!(world.expire(10).await.jobs, []);
    assert_eq!(world.get(&job).await.state(), JobState::Cancelled);
}

pub async fn an_expiry_takes_no_more_than_its_limit(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let deadline = world.now() + Duration::from_secs(20);
    for n in 0..5 {
        let new = due_by(&format!("job {n}"), deadline);
        world.submitted(&tenant, new).await;
    }
    world.pass(Duration::from_secs(20));
    let mut moved = Vec::new();
    for expected in [2, 2, 1, 0] {
        let jobs = world.expire(2).await.jobs;
        assert_eq!(jobs.len(), expected);
        moved.extend(jobs.into_iter().map(|job| job.id));
    }
    moved.sort_unstable();
    moved.dedup();
    assert_eq!(moved.len(), 5);
    world.no_drift().await;
}

/// Who asks for a job once more, after its time, does not ask for the same failure.
pub async fn a_retry_forgets_a_deadline_that_has_passed(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let deadline = world.now() + Duration::from_mins(1);
    let late = world.submitted(&tenant, due_by("late", deadline)).await;
    let pending = NewJob {
        start: false,
        ..due_by("not started", deadline)
    };
    let pending = world.submitted(&tenant, pending).await;
    // In the very moment that it names.
    world.pass(Duration::from_mins(1));
    let started = steer(&world, &pending, Action::Start).await;
    assert_eq!(started.deadline, None);
    assert_eq!(world.expire(10).await.jobs.len(), 1);
    assert_eq!(world.get(&late).await.state(), JobState::Failed);
    let retried = steer(&world, &late, Action::Retry).await;
    assert_eq!(retried.deadline, None);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.expire(10).await.jobs, [], "not again");
    let worker = world.worker().await;
    for job in [retried, started] {
        assert_eq!(world.get(&job).await, job);
        world.run(worker, &job).await;
    }
    world.counts_are_right(&tenant).await;
    world.no_drift().await;
}

pub async fn a_retry_keeps_a_deadline_that_is_to_come(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let deadline = world.now() + Duration::from_secs(20);
    let (worker, job) = world.running(&tenant, due_by("fails", deadline)).await;
    let failed = Ending::Failed(error("broken"));
    world.finish(worker, &job, failed).await;
    world.pass(Duration::from_secs(19));
    let retried = steer(&world, &job, Action::Retry).await;
    assert_eq!(retried.deadline, Some(deadline));
    assert_eq!(world.get(&job).await, retried);
    assert_eq!(world.expire(10).await.jobs, [], "not yet");
    world.pass(Duration::from_secs(1));
    let expired = world.expire(10).await.jobs;
    let [expired] = &expired[..] else {
        panic!("one had a deadline: {expired:?}");
    };
    assert_eq!((expired.id, expired.deadline), (job.id, Some(deadline)));
    world.no_drift().await;
}

/// No person has asked for it anew.
pub async fn a_released_job_keeps_its_deadline(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let deadline = world.now() + Duration::from_secs(20);
    let (worker, first) = world.running(&tenant, make::new_session("first")).await;
    let waits = NewJob {
        depends_on: vec![first.id],
        ..due_by("waits", deadline)
    };
    let waits = world.submitted(&tenant, waits).await;
    world.pass(Duration::from_secs(20));
    let done = Ending::Completed(make::session_result("done"));
    world.finish(worker, &first, done).await;
    assert_eq!(world.release(10).await.jobs.len(), 1);
    let released = world.get(&waits).await;
    assert_eq!(released.state(), JobState::Queued);
    assert_eq!(released.deadline, Some(deadline));
    assert_eq!(world.claim(worker, &[&waits]).await.jobs, [], "too late");
    assert_eq!(world.expire(10).await.jobs.len(), 1);
    assert_eq!(world.get(&waits).await.state(), JobState::Failed);
    world.no_drift().await;
}

/// Between its deadline and the expiry that comes for it; those behind it run meanwhile.
pub async fn a_job_past_its_deadline_is_not_claimed(store: StoreUnderTest) {
    let world = World::new(store);
    let deadline = world.now() + Duration::from_secs(20);
    let mut tenants = Vec::new();
    let mut late = Vec::new();
    for slug in ["one", "two", "three"] {
        let tenant = world.tenant(slug).await;
        late.push(world.submitted(&tenant, due_by("late", deadline)).await);
        let in_time = due_by("in time", deadline + Duration::from_secs(1));
        world.submitted(&tenant, in_time).await;
        tenants.push(tenant);
    }
    let worker = world.worker().await;
    world.pass(Duration::from_secs(20));
    let alone = world.claim(worker, &[&late[0]]).await;
    let together = world.claim(worker, &[&late[1], &late[2]]).await;
    assert_eq!(titles(&alone.jobs), ["in time"]);
    assert_eq!(titles(&together.jobs), ["in time", "in time"]);
    assert_eq!(world.claim(worker, &[&late[0]]).await.jobs, []);
    for job in &late {
        assert_eq!(world.get(job).await, *job);
    }
    assert_eq!(world.expire(10).await.jobs.len(), 3);
    for (tenant, late) in tenants.iter().zip(&late) {
        assert_eq!(world.get(late).await.state(), JobState::Failed);
        let (running, queued, _) = world.counts(late.queue()).await;
        assert_eq!((running, queued), (1, 0));
        world.counts_are_right(tenant).await;
    }
    world.no_drift().await;
}

pub async fn a_labelled_job_past_its_deadline_is_not_claimed(store: StoreUnderTest) {
    let world = World::new(store);
    let labels: Labels = "gpu=h100".parse().expect("labels");
    let deadline = world.now() + Duration::from_secs(20);
    let asking = |title: &str, deadline| NewJob {
        requires: labels.clone(),
        ..due_by(title, deadline)
    };
    let tenant = world.tenant("acme").await;
    let late = world.submitted(&tenant, asking("late", deadline)).await;
    let in_time = asking("in time", deadline + Duration::from_secs(1));
    world.submitted(&tenant, in_time).await;
    let other = world.tenant("other").await;
    world.submitted(&other, asking("late", deadline)).await;
    let worker = world.worker_with(labels.clone()).await;
    let engine = &world.store.engine;
    world.pass(Duration::from_secs(20));
    let found = engine.labelled(&JobKind::ALL, &labels, 10, world.now());
    let queue = late.queue();
    assert_eq!(found.await.expect("the store works"), [(queue, 1)]);
    let all = |queue: QueueKey| ClaimRequest {
        queue,
        wakeups: 0,
        labelled: 2,
    };
    let queues = [tenant.id, other.id].map(|tenant| QueueKey { tenant, ..queue });
    let claimed = world.claim_of(worker, queues.map(all).to_vec()).await;
    assert_eq!(titles(&claimed.jobs), ["in time"]);
    let found = engine.labelled(&JobKind::ALL, &labels, 10, world.now());
    assert_eq!(found.await.expect("the store works"), []);
    assert_eq!(world.expire(10).await.jobs.len(), 2);
    world.counts_are_right(&tenant).await;
    world.counts_are_right(&other).await;
    world.no_drift().await;
}

fn titles(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.title.as_str()).collect()
}

async fn steer(world: &World, job: &Job, action: Action) -> Job {
    let jobs = &world.store.jobs;
    let steered = jobs.steer(job.tenant, job.id, action, world.now()).await;
    steered.expect("allowed").expect("it is stored").job
}
