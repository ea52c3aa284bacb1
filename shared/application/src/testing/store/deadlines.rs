//! Jobs that must have ended by an instant, and still wait then.

use std::time::Duration;

use domain::{Action, JobState, NewJob, Timestamp};

use super::{StoreUnderTest, World};
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
    let done = domain::Ending::Completed(make::session_result("late, but done"));
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
