//! Why a job waits: the facts, all of one instant.

use std::time::Duration;

use domain::{Ending, Job, JobState, Labels, NewJob, Priority};

use super::{StoreUnderTest, World};
use crate::ports::{QueueAction, Waiting};
use crate::testing::make;

async fn waiting(world: &World, job: &Job) -> Waiting {
    let waiting = world.store.jobs.waiting(job.tenant, job.id, world.now());
    waiting
        .await
        .expect("the store works")
        .expect("it is stored")
}

pub async fn a_waiting_job_sees_what_is_before_it(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let first = world.submitted(&tenant, make::new_session("first")).await;
    let first = world.run(worker, &first).await;
    world.pass(Duration::from_secs(1));
    let second = world.submitted(&tenant, make::new_session("second")).await;
    let second = world.run(worker, &second).await;
    let urgent = NewJob {
        priority: Priority::Critical,
        ..make::new_session("urgent")
    };
    let not_yet = NewJob {
        run_after: Some(world.now() + Duration::from_hours(1)),
        ..make::new_session("not yet")
    };
    let before = world.submitted(&tenant, make::new_session("before")).await;
    world.submitted(&tenant, not_yet).await;
    let job = world.submitted(&tenant, make::new_session("asks")).await;
    world.submitted(&tenant, make::new_session("behind")).await;
    let urgent = world.submitted(&tenant, urgent).await;
    let facts = waiting(&world, &job).await;
    assert_eq!(facts.job, world.get(&job).await);
    assert_eq!(Some(facts.slots), world.slot(job.queue()).await);
    assert!(facts.tenant_active && !facts.queue_paused && !facts.draining);
    assert_eq!(facts.ahead, 2, "the urgent one and the one before");
    let holders: Vec<_> = facts.holders.iter().map(|run| run.job).collect();
    assert_eq!(holders, [first.id, second.id], "the oldest first");
    assert_eq!(facts.holders[0].title, "first");
    assert_eq!(facts.holders[0].worker, worker.id);
    assert_eq!(Some(facts.holders[0].started_at), first.started_at);
    assert_eq!((facts.workers, facts.free_worker_slots), (1, 98));
    assert_eq!(waiting(&world, &urgent).await.ahead, 0);
    assert_eq!(waiting(&world, &before).await.ahead, 1);
}

/// Plain jobs get free slots first.
pub async fn labelled_jobs_are_before_labelled_ones_only(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let labels = |text: &str| text.parse::<Labels>().expect("labels");
    world.worker_with(labels("gpu=h100,disk=big")).await;
    world.worker_with(labels("region=eu")).await;
    let mut ahead = Vec::new();
    for (title, requires) in [
        ("labelled", "gpu=h100"),
        ("plain", ""),
        ("other label", "region=eu"),
        ("plain again", ""),
        ("labelled again", "gpu=h100"),
    ] {
        let new = NewJob {
            requires: requires.parse().expect("labels"),
            ..make::new_session(title)
        };
        let job = world.submitted(&tenant, new).await;
        ahead.push((title, waiting(&world, &job).await.ahead));
    }
    let expected = [
        ("labelled", 0),
        ("plain", 0),
        ("other label", 2),
        ("plain again", 1),
        ("labelled again", 4),
    ];
    assert_eq!(ahead, expected);
}

/// They wait for a worker to come and take nobody's slot meanwhile.
pub async fn jobs_that_no_live_worker_could_run_are_before_nobody(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let labels = |text: &str| text.parse::<Labels>().expect("labels");
    let asking = |text: &str| NewJob {
        requires: labels(text),
        ..make::new_session(&format!("asks for {text}"))
    };
    for text in ["gpu=a100", "gpu=a100", "region=us", "gpu=h100"] {
        world.submitted(&tenant, asking(text)).await;
    }
    world.submitted(&tenant, make::new_session("plain")).await;
    let job = world.submitted(&tenant, asking("gpu=h100")).await;
    assert_eq!(waiting(&world, &job).await.ahead, 1, "the plain one");
    world.worker_with(labels("gpu=h100,region=eu")).await;
    assert_eq!(waiting(&world, &job).await.ahead, 2, "its like too");
    world.pass(Duration::from_secs(1));
    world.worker_with(labels("gpu=a100")).await;
    assert_eq!(waiting(&world, &job).await.ahead, 4, "they share a quota");
    world.pass(super::world::LEASE + Duration::from_secs(1));
    assert_eq!(
        waiting(&world, &job).await.ahead,
        1,
        "their workers are gone"
    );
}

/// What a run that was given up took says nothing of how long such jobs take.
pub async fn a_run_that_lost_its_lease_is_no_measure(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_session("stalls")).await;
    world.pass(Duration::from_secs(5));
    world.finish(worker, &job, Ending::LeaseLost).await;
    let facts = waiting(&world, &job).await;
    assert!(facts.recent_seconds.is_empty(), "{facts:?}");
    world.relay(10).await;
    let again = world.run(worker, &job).await;
    world.pass(Duration::from_secs(2));
    let ending = Ending::Completed(make::session_result("done"));
    world.finish(worker, &again, ending).await;
    assert_eq!(waiting(&world, &job).await.recent_seconds, [2.0]);
}

pub async fn a_waiting_job_sees_who_could_run_it(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let labels = |text: &str| text.parse::<Labels>().expect("labels");
    world.worker().await;
    world.worker_with(labels("gpu=a100")).await;
    world.worker_with(labels("gpu=h100,region=eu")).await;
    let asking = |text: &str| NewJob {
        requires: labels(text),
        ..make::new_session(&format!("asks for {text}"))
    };
    for (asked, workers) in [("gpu=h100", 1), ("region=us", 0), ("", 3)] {
        let job = world.submitted(&tenant, asking(asked)).await;
        let facts = waiting(&world, &job).await;
        let expected = (workers, workers * 100);
        assert_eq!((facts.workers, facts.free_worker_slots), expected);
    }
    // Their leases are over.
    world.pass(super::world::LEASE + Duration::from_secs(1));
    let job = world.submitted(&tenant, asking("gpu=h100")).await;
    assert_eq!(waiting(&world, &job).await.workers, 0);
}

pub async fn a_waiting_job_sees_its_prerequisites_and_its_queue(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let worker = world.worker().await;
    let mut done = Vec::new();
    for seconds in [3, 5] {
        let job = world.submitted(&tenant, make::new_session("done")).await;
        let job = world.run(worker, &job).await;
        world.pass(Duration::from_secs(seconds));
        let ending = Ending::Completed(make::session_result("done"));
        world.finish(worker, &job, ending).await;
        done.push(job);
    }
    let open = world.submitted(&tenant, make::new_session("open")).await;
    let new = NewJob {
        depends_on: vec![done[0].id, open.id],
        ..make::new_session("waits")
    };
    let job = world.submitted(&tenant, new).await;
    let jobs = &world.store.jobs;
    for action in [QueueAction::Pause, QueueAction::Drain] {
        let steered = jobs.steer_queues(tenant.id, None, action).await;
        assert!(steered.expect("the store works").is_some());
    }
    let facts = waiting(&world, &job).await;
    assert!(facts.all_queues_paused, "it was said of all");
    assert_eq!(facts.prerequisites, [(open.id, JobState::Queued)]);
    assert!(facts.queue_paused && facts.draining && facts.tenant_active);
    assert_eq!(facts.recent_seconds, [5.0, 3.0], "the latest first");
    assert_eq!(facts.holders, []);
    let training = Some(domain::JobKind::Training);
    let resumed = jobs.steer_queues(tenant.id, training, QueueAction::Resume);
    assert!(resumed.await.expect("the store works").is_some());
    let facts = waiting(&world, &job).await;
    assert_eq!((facts.queue_paused, facts.all_queues_paused), (true, false));
}

pub async fn another_tenant_learns_nothing_of_a_waiting_job(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let other = world.tenant("other").await;
    let job = world.submitted(&tenant, make::new_session("secret")).await;
    let theirs = world.store.jobs.waiting(other.id, job.id, world.now());
    assert_eq!(theirs.await.expect("the store works"), None);
}
