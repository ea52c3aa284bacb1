//! SUBMIT: whole or refused, with events, counts and messages in the same transaction.

use std::time::Duration;

use domain::{Job, JobKind, JobSpec, Priority, QueueKey, TenantChange, TenantId, relay_window};
use serde_json::json;

use super::{StoreUnderTest, World};
use crate::ports::{Ids, Refused, Submission, Submitted, Wakeups};
use crate::testing::make;

pub async fn a_job_reads_back_as_it_was_submitted(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("reader").await;
    let parent = world.submitted(&tenant, make::new_session("parent")).await;
    let mut new = make::new_training("every field \u{1F600} \"quoted\" ''");
    new.priority = Priority::Deferred;
    new.tags = vec!["a".to_owned(), "b c".to_owned(), "ü,\"{}".to_owned()];
    new.metadata
        .insert("deep".to_owned(), json!({"list": [1, 2.5, null, "x"]}));
    if let JobSpec::Training(spec) = &mut new.spec {
        spec.parameters
            .insert("rate".to_owned(), json!(0.000_125_f64));
    }
    new.max_attempts = 7;
    new.max_duration_seconds = 61;
    new.run_after = Some(world.now() + Duration::from_micros(90_000_001));
    new.deadline = Some(world.now() + Duration::from_hours(1));
    new.requires = "gpu=h100,region=eu".parse().expect("labels");
    new.depends_on = vec![parent.id];
    new.if_prerequisite_fails = domain::DependencyRule::Skip;
    new.parent = Some(parent.id);
    let job = world.submitted(&tenant, new).await;
    assert_eq!(world.get(&job).await, job);
    assert_eq!(world.get(&parent).await, parent);
}

pub async fn a_submit_writes_events_counts_and_messages(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let started = world.job(&tenant, make::new_session("started"));
    let mut new = make::new_session("left pending");
    new.start = false;
    let pending = world.job(&tenant, new);
    let submitted = world.submit(vec![started.clone(), pending.clone()]).await;
    assert_eq!(submitted.publish, [wakeups(&started, 1)]);
    assert_eq!(world.events(&started).await, ["created", "queued"]);
    assert_eq!(world.events(&pending).await, ["created"]);
    let [slot] = submitted.slots[..] else {
        panic!("one queue changed: {:?}", submitted.slots);
    };
    assert_eq!(slot.queue, started.queue());
    assert_eq!((slot.queued, slot.due), (1, 1));
    assert_eq!((slot.published, slot.running), (1, 0));
    assert!((slot.service_seconds - domain::SERVICE_SECONDS_UNKNOWN).abs() < 1e-9);
    assert_eq!((slot.quota, slot.weight, slot.paused), (2, 1, false));
    assert_eq!(world.slot(started.queue()).await, Some(slot));
    let later = world.submit(world.sessions(&tenant, 1)).await;
    assert!(later.slots[0].version > slot.version, "the version rises");
    world.counts_are_right(&tenant).await;
}

pub async fn only_the_fault_of_a_submission_refuses_it(store: StoreUnderTest) {
    let world = World::new(store);
    let good = world.tenant("good").await;
    let idle = world.tenant("inactive").await;
    let off = TenantChange {
        active: Some(false),
        ..TenantChange::default()
    };
    let tenants = &world.store.tenants;
    let changed = tenants.change_tenant(idle.id, off, None, world.now()).await;
    assert!(changed.expect("the change is valid").is_some());
    let nobody = TenantId::from_uuid(world.ids.next(world.now()));
    let mut lost = world.sessions(&good, 1);
    lost[0].tenant = nobody;
    let taken = world.sessions(&good, 2);
    let submitted = world
        .store
        .jobs
        .submit(
            vec![
                submission(lost),
                submission(world.sessions(&idle, 1)),
                submission(taken.clone()),
            ],
            world.now(),
        )
        .await
        .expect("the store works");
    let expected = [
        Err(Refused::TenantUnknown(nobody)),
        Err(Refused::TenantInactive(idle.id)),
        Ok(()),
    ];
    assert_eq!(submitted.outcomes, expected);
    assert_eq!(submitted.publish, [wakeups(&taken[0], 2)]);
    world.counts_are_right(&idle).await;
    world.counts_are_right(&good).await;
}

pub async fn a_backlog_takes_no_more_than_its_limit(store: StoreUnderTest) {
    let world = World::new(store);
    let mut new = make::new_tenant("small");
    new.max_queued = 5;
    let tenant = world.tenant_of(new).await;
    // Pending jobs and jobs of the other kind count too.
    let mut pending = make::new_training("pending");
    pending.start = false;
    world.submitted(&tenant, pending).await;
    world.submit(world.sessions(&tenant, 1)).await;
    let too_many = world.sessions(&tenant, 4);
    let outcome = submit(&world, vec![too_many.clone()]).await.outcomes;
    let full = |waiting, offered| {
        Err(Refused::BacklogFull {
            limit: 5,
            waiting,
            offered,
        })
    };
    assert_eq!(outcome, [full(2, 4)]);
    let stored = world.store.jobs.get(tenant.id, too_many[0].id).await;
    assert_eq!(stored.expect("the store works"), None, "whole or not");
    // Submissions of one call see each other.
    let batches = vec![
        world.sessions(&tenant, 2),
        world.sessions(&tenant, 2),
        world.sessions(&tenant, 1),
    ];
    let outcomes = submit(&world, batches).await.outcomes;
    assert_eq!(outcomes, [Ok(()), full(4, 2), Ok(())]);
    world.counts_are_right(&tenant).await;
}

/// Two calls at once cannot both take the last place.
pub async fn a_backlog_holds_against_a_race(store: StoreUnderTest) {
    let world = World::new(store);
    let mut new = make::new_tenant("contended");
    new.max_queued = 10;
    let tenant = world.tenant_of(new).await;
    let calls = (0..8).map(|_| {
        let (world, jobs) = (world.clone(), world.sessions(&tenant, 3));
        tokio::spawn(async move { submit(&world, vec![jobs]).await.outcomes })
    });
    let mut taken = 0;
    for call in calls.collect::<Vec<_>>() {
        let outcomes = call.await.expect("no panic");
        taken += outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    }
    assert_eq!(taken, 3, "three of eight times three fit into ten");
    world.counts_are_right(&tenant).await;
}

pub async fn a_submit_fills_the_window(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("bulk", 1).await;
    let window = relay_window(1);
    let mut jobs = world.sessions(&tenant, 3);
    let mut delayed = make::new_session("not due");
    delayed.run_after = Some(world.now() + Duration::from_micros(1));
    jobs.push(world.job(&tenant, delayed));
    let submitted = world.submit(jobs.clone()).await;
    assert_eq!(submitted.publish, [wakeups(&jobs[0], 3)], "only due jobs");
    let slot = submitted.slots[0];
    assert_eq!((slot.queued, slot.due, slot.published), (4, 3, 3));
    let deep = world.submit(world.sessions(&tenant, 100)).await;
    assert_eq!(deep.publish, [wakeups(&jobs[0], window - 3)]);
    let more = world.submit(world.sessions(&tenant, 1)).await;
    assert_eq!(more.publish, [], "the window is full");
    assert_eq!(world.counts(jobs[0].queue()).await, (0, 105, window));
    let other = world.job(&tenant, make::new_training("the other queue is free"));
    let next = world.submit(vec![other.clone()]).await;
    assert_eq!(next.publish, [wakeups(&other, 1)]);
    world.no_drift().await;
}

/// What has no wake-up yet, for whatever reason, gets it with the next submit.
pub async fn a_submit_makes_up_for_wakeups_that_are_missing(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    world.submit(world.sessions(&tenant, 3)).await;
    let forgotten = world.store.engine.forget_published().await;
    assert_eq!(forgotten.expect("the store works").len(), 1);
    let job = world.sessions(&tenant, 1).remove(0);
    let next = world.submit(vec![job.clone()]).await;
    assert_eq!(next.publish, [wakeups(&job, 4)]);
}

pub async fn a_thousand_jobs_are_one_submission(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("bulk").await;
    let jobs = world.sessions(&tenant, 1_000);
    let submitted = world.submit(jobs.clone()).await;
    assert_eq!(submitted.publish, [wakeups(&jobs[0], relay_window(2))]);
    let queue = QueueKey {
        tenant: tenant.id,
        kind: JobKind::Session,
    };
    assert_eq!(world.counts(queue).await.1, 1_000);
    assert_eq!(world.get(&jobs[999]).await, jobs[999]);
    assert_eq!(world.events(&jobs[500]).await, ["created", "queued"]);
    world.counts_are_right(&tenant).await;
}

/// So many for the job's queue.
fn wakeups(job: &Job, n: u32) -> Wakeups {
    Wakeups {
        queue: job.queue(),
        n,
    }
}

fn submission(jobs: Vec<Job>) -> Submission {
    Submission {
        tenant: jobs.first().expect("something to submit").tenant,
        jobs,
    }
}

async fn submit(world: &World, batches: Vec<Vec<Job>>) -> Submitted {
    let submissions = batches.into_iter().map(submission).collect();
    let submitted = world.store.jobs.submit(submissions, world.now()).await;
    submitted.expect("the store works")
}
