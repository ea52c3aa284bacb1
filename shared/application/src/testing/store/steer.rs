//! What people ask of a job: the table of the domain, kept by the store.

use std::time::Duration;

use domain::{
    Action, Ending, Job, JobError, JobState, Tenant, TenantChange, WorkerRef, relay_window,
};

use super::world::error;
use super::{StoreUnderTest, World};
use crate::ports::{Refused, SteerError, Steered, Wakeups};
use crate::testing::make;

pub async fn every_action_does_what_the_table_says(store: StoreUnderTest) {
    let world = World::new(store);
    let worker = world.worker().await;
    for state in REACHABLE {
        for action in Action::ALL {
            let slug = format!("{state}-{action}").replace('_', "-");
            let tenant = world.tenant(&slug).await;
            let job = in_state(&world, &tenant, worker, state).await;
            assert_eq!(job.state(), state);
            let events = world.events(&job).await;
            let expected = job.clone().steer(action, world.now());
            let steered = steer(&world, &job, action).await;
            match (steered, expected) {
                (Ok(steered), Ok(expected)) => {
                    assert_eq!(steered.job, expected, "{action} a {state} job");
                    assert_eq!(world.get(&job).await, expected, "{action} a {state} job");
                    assert_eq!(world.events(&job).await.len(), events.len() + 1);
                }
                (Err(SteerError::Invalid(said)), Err(expected)) => {
                    assert_eq!(said, expected);
                    assert_eq!(world.get(&job).await, job, "nothing was written");
                    assert_eq!(world.events(&job).await, events);
                }
                (got, expected) => panic!("{action} a {state} job: {got:?}, not {expected:?}"),
            }
            world.counts_are_right(&tenant).await;
        }
    }
    world.no_drift().await;
}

pub async fn a_started_job_is_queued_and_published(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let job = in_state(&world, &tenant, worker, JobState::Pending).await;
    world.pass(Duration::from_secs(1));
    let steered = steer(&world, &job, Action::Start).await.expect("allowed");
    assert_eq!(steered.job.queued_at, Some(world.now()));
    assert_eq!(steered.publish, [wakeup(&job)]);
    assert_eq!(steered.slots.len(), 1);
    assert_eq!(world.counts(job.queue()).await, (0, 1, 1));
    assert_eq!(world.events(&job).await, ["created", "queued"]);
    world.run(worker, &job).await;
}

/// The window is full of wake-ups for others; one of those will bring it when its turn has come.
pub async fn a_started_job_needs_no_wakeup_where_the_window_is_full(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let job = in_state(&world, &tenant, worker, JobState::Pending).await;
    let older = world.sessions(&tenant, relay_window(2) as usize);
    world.submit(older).await;
    let steered = steer(&world, &job, Action::Start).await.expect("allowed");
    assert_eq!(steered.publish, []);
    world.counts_are_right(&tenant).await;
    world.no_drift().await;
}

pub async fn a_cancelled_job_gives_up_its_place(store: StoreUnderTest) {
    let world = World::new(store);
    let mut new = make::new_tenant("acme");
    new.max_queued = 2;
    let tenant = world.tenant_of(new).await;
    let jobs = world.sessions(&tenant, 2);
    world.submit(jobs.clone()).await;
    let steered = steer(&world, &jobs[0], Action::Cancel).await.expect("ok");
    assert_eq!(steered.job.state(), JobState::Cancelled);
    assert_eq!(steered.job.finished_at, Some(world.now()));
    // Its wake-up is with the broker and stays counted until a worker takes it.
    assert_eq!(world.counts(jobs[0].queue()).await, (0, 1, 2));
    let events = world.events(&jobs[0]).await;
    assert_eq!(events, ["created", "queued", "cancelled"]);
    world.submit(world.sessions(&tenant, 1)).await;
    world.no_drift().await;
}

pub async fn a_running_job_is_asked_to_stop_once(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_session("long")).await;
    let first = steer(&world, &job, Action::Stop).await.expect("allowed");
    assert_eq!(first.job.state(), JobState::Running);
    assert_eq!(first.job.stop_requested_at, Some(world.now()));
    world.pass(Duration::from_secs(1));
    let second = steer(&world, &job, Action::Stop).await.expect("allowed");
    assert_eq!(second.job, first.job, "the second time changes nothing");
    let events = world.events(&job).await;
    assert_eq!(events, ["created", "queued", "started", "stop_requested"]);
    assert_eq!(world.counts(job.queue()).await, (1, 0, 0));
    world.finish(worker, &job, Ending::Stopped(None)).await;
    assert_eq!(world.get(&job).await.state(), JobState::Stopped);
}

pub async fn a_paused_job_holds_no_slot_and_goes_on(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_session("long")).await;
    let first = steer(&world, &job, Action::Pause).await.expect("allowed");
    assert_eq!(first.job.state(), JobState::Running);
    assert_eq!(first.job.pause_requested_at, Some(world.now()));
    world.pass(Duration::from_secs(1));
    let second = steer(&world, &job, Action::Pause).await.expect("allowed");
    assert_eq!(second.job, first.job, "the second time changes nothing");
    world.finish(worker, &job, Ending::Paused(None)).await;
    let paused = world.get(&job).await;
    assert_eq!((paused.state(), paused.failures), (JobState::Paused, 0));
    assert_eq!(paused.finished_at, None);
    assert_eq!(world.counts(job.queue()).await, (0, 0, 0));
    let resumed = steer(&world, &job, Action::Resume).await.expect("allowed");
    assert_eq!(resumed.job.pause_requested_at, None);
    assert_eq!(resumed.publish, [wakeup(&job)]);
    let again = world.run(worker, &resumed.job).await;
    assert_eq!((again.attempt, again.pause_requested_at), (2, None));
    let events = world.events(&job).await;
    let expected = ["pause_requested", "paused", "queued", "started"];
    assert_eq!(events[3..], expected);
    world.no_drift().await;
}

/// The run came to another end before its worker heard of the pause.
pub async fn a_pause_that_was_asked_for_is_not_lost(store: StoreUnderTest) {
    let world = World::new(store);
    for (name, ending, stop, state) in [
        ("retry", retry(), false, JobState::Paused),
        ("drain", Ending::HandedBack, false, JobState::Paused),
        ("paused", Ending::Paused(None), true, JobState::Stopped),
        (
            "done",
            Ending::Completed(make::session_result("done")),
            false,
            JobState::Completed,
        ),
    ] {
        let tenant = world.tenant(name).await;
        let (worker, job) = world.running(&tenant, make::new_session(name)).await;
        let finish = world.finish_of(&job, ending);
        steer(&world, &job, Action::Pause).await.expect("allowed");
        if stop {
            steer(&world, &job, Action::Stop).await.expect("allowed");
        }
        let engine = &world.store.engine;
        let finished = engine.finish(worker, vec![finish], world.now()).await;
        assert_eq!(finished.expect("the store works").fenced, []);
        let ended = world.get(&job).await;
        assert_eq!(ended.state(), state, "{name}");
        assert_eq!(ended.run_after, None, "{name}");
        assert_eq!(ended.finished_at.is_some(), state.is_finished(), "{name}");
        let events = world.events(&job).await;
        assert_eq!(events.last(), Some(&state.as_str()), "{name}");
        assert_eq!(world.counts(job.queue()).await, (0, 0, 0), "{name}");
    }
    world.no_drift().await;
}

pub async fn a_retried_job_has_all_its_attempts_again(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut new = make::new_session("fails");
    new.max_attempts = 1;
    let (worker, job) = world.running(&tenant, new).await;
    world.finish(worker, &job, retry()).await;
    let failed = world.get(&job).await;
    assert_eq!((failed.state(), failed.failures), (JobState::Failed, 1));
    let steered = steer(&world, &job, Action::Retry).await.expect("allowed");
    assert_eq!((steered.job.failures, steered.job.attempt), (0, 1));
    assert_eq!(steered.job.finished_at, None);
    assert_eq!(steered.job.error, failed.error, "its history stays");
    assert_eq!(steered.publish, [wakeup(&job)]);
    let again = world.run(worker, &steered.job).await;
    assert_eq!((again.attempt, again.failures), (2, 0));
    assert!(again.fence > job.fence);
    world.no_drift().await;
}

pub async fn a_retry_needs_room_and_an_active_tenant(store: StoreUnderTest) {
    let world = World::new(store);
    let mut new = make::new_tenant("acme");
    new.max_queued = 2;
    let tenant = world.tenant_of(new).await;
    let worker = world.worker().await;
    let failed = in_state(&world, &tenant, worker, JobState::Failed).await;
    let pending = in_state(&world, &tenant, worker, JobState::Pending).await;
    world.submit(world.sessions(&tenant, 1)).await;
    let refused = steer(&world, &failed, Action::Retry).await;
    let expected = Refused::BacklogFull {
        limit: 2,
        waiting: 2,
        offered: 1,
    };
    match refused {
        Err(SteerError::Refused(refused)) => assert_eq!(refused, expected),
        other => panic!("{other:?}"),
    }
    // A pending job has its place already.
    let started = steer(&world, &pending, Action::Start).await;
    assert_eq!(started.expect("allowed").job.state(), JobState::Queued);
    let off = TenantChange {
        active: Some(false),
        max_queued: Some(100),
        ..TenantChange::default()
    };
    let tenants = &world.store.tenants;
    let changed = tenants.change_tenant(tenant.id, off, None, world.now());
    assert!(changed.await.expect("valid").is_some());
    match steer(&world, &failed, Action::Retry).await {
        Err(SteerError::Refused(Refused::TenantInactive(id))) => assert_eq!(id, tenant.id),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.get(&failed).await, failed, "nothing was written");
    world.counts_are_right(&tenant).await;
}

/// The states that a job can be brought into today.
const REACHABLE: [JobState; 10] = [
    JobState::Pending,
    JobState::Queued,
    JobState::Running,
    JobState::Completed,
    JobState::PartiallyCompleted,
    JobState::Failed,
    JobState::Timeout,
    JobState::Stopped,
    JobState::Cancelled,
    JobState::Paused,
];

async fn in_state(world: &World, tenant: &Tenant, worker: WorkerRef, state: JobState) -> Job {
    let mut new = make::new_session(&format!("to be {state}"));
    new.start = state != JobState::Pending;
    let job = world.submitted(tenant, new).await;
    let result = make::session_result("done");
    let ending = match state {
        JobState::Cancelled => {
            steer(world, &job, Action::Cancel).await.expect("allowed");
            return world.get(&job).await;
        }
        JobState::Running => return world.run(worker, &job).await,
        JobState::Completed => Ending::Completed(result),
        JobState::PartiallyCompleted => Ending::PartiallyCompleted(result),
        JobState::Failed => Ending::Failed(error("broken")),
        JobState::Timeout => Ending::TimedOut(error("too long")),
        JobState::Stopped => Ending::Stopped(None),
        JobState::Paused => Ending::Paused(None),
        _ => return job,
    };
    let job = world.run(worker, &job).await;
    world.finish(worker, &job, ending).await;
    world.get(&job).await
}

async fn steer(world: &World, job: &Job, action: Action) -> Result<Steered, SteerError> {
    let jobs = &world.store.jobs;
    let steered = jobs.steer(job.tenant, job.id, action, world.now()).await?;
    Ok(steered.expect("the job is the tenant's own"))
}

fn retry() -> Ending {
    let error: JobError = error("try again");
    Ending::Retry { error, after: None }
}

fn wakeup(job: &Job) -> Wakeups {
    Wakeups {
        queue: job.queue(),
        n: 1,
    }
}
