//! FINISH: each end of a run, written once.

use std::time::Duration;

use domain::{
    Action, Attempt, AttemptOutcome, Ending, Job, JobError, JobResult, JobState, LogChunk,
    LogCursor, LogStream, WorkerRef,
};

use super::world::{GRACE, LEASE, error};
use super::{StoreUnderTest, World};
use crate::ports::Finish;
use crate::testing::make;

pub async fn a_run_that_ends_well_ends_the_job(store: StoreUnderTest) {
    let world = World::new(store);
    for (ending, state, event) in [
        (Ending::Completed(done()), JobState::Completed, "completed"),
        (
            Ending::PartiallyCompleted(done()),
            JobState::PartiallyCompleted,
            "partially_completed",
        ),
    ] {
        let (worker, job) = run_a_while(&world, event).await;
        let finished = world.finish(worker, &job, ending).await;
        assert_eq!(finished.fenced, []);
        let [slot] = finished.slots[..] else {
            panic!("one queue changed: {:?}", finished.slots);
        };
        assert_eq!((slot.running, slot.queued, slot.published), (0, 0, 0));
        let stored = world.get(&job).await;
        assert_eq!(stored.state(), state);
        assert_eq!(stored.result, Some(done()));
        assert_eq!((stored.error, stored.failures), (None, 0));
        assert_eq!(stored.finished_at, Some(world.now()));
        assert_eq!(stored.updated_at, world.now());
        let events = world.events(&job).await;
        assert_eq!(events, ["created", "queued", "started", event]);
        let attempt = last_attempt(&world, &job).await;
        assert_eq!(attempt.finished_at, Some(world.now()));
        assert_eq!(attempt.outcome.map(AttemptOutcome::as_str), Some(event));
        assert_eq!(attempt.error, None);
    }
}

pub async fn a_run_that_ends_badly_says_why(store: StoreUnderTest) {
    let world = World::new(store);
    for (ending, state, event, outcome) in [
        (
            Ending::Failed(error("broken")),
            JobState::Failed,
            "failed",
            AttemptOutcome::Failed,
        ),
        (
            Ending::TimedOut(error("broken")),
            JobState::Timeout,
            "timed_out",
            AttemptOutcome::Timeout,
        ),
    ] {
        let (worker, job) = run_a_while(&world, &format!("bad-{state}")).await;
        assert_eq!(world.finish(worker, &job, ending).await.fenced, []);
        let stored = world.get(&job).await;
        assert_eq!((stored.state(), stored.failures), (state, 1));
        assert_eq!(stored.error, Some(error("broken")));
        assert_eq!(stored.finished_at, Some(world.now()));
        assert_eq!(world.events(&job).await.last(), Some(&event));
        let data = last_event_data(&world, &job).await;
        assert_eq!(data["error"]["code"], "TEST");
        let attempt = last_attempt(&world, &job).await;
        assert_eq!(attempt.outcome, Some(outcome));
        assert_eq!(attempt.error, Some(error("broken")));
        assert_eq!(world.counts(job.queue()).await, (0, 0, 0));
    }
}

pub async fn a_failed_run_is_tried_again_later(store: StoreUnderTest) {
    let world = World::new(store);
    let (worker, job) = run_a_while(&world, "flaky").await;
    let finished = world.finish(worker, &job, retry(10)).await;
    let [slot] = finished.slots[..] else {
        panic!("one queue changed: {:?}", finished.slots);
    };
    assert_eq!((slot.running, slot.queued, slot.published), (0, 1, 0));
    let waiting = world.get(&job).await;
    let due = world.now() + Duration::from_secs(10);
    assert_eq!((waiting.state(), waiting.failures), (JobState::Queued, 1));
    assert_eq!(waiting.run_after, Some(due));
    assert_eq!(waiting.queued_at, Some(world.now()));
    assert_eq!(waiting.finished_at, None);
    assert_eq!(waiting.error, Some(error("again")));
    assert_eq!((waiting.attempt, waiting.fence), (1, 1));
    assert_eq!(world.events(&job).await.last(), Some(&"retry_scheduled"));
    let data = last_event_data(&world, &job).await;
    assert_eq!(data["error"]["code"], "TEST");
    assert_eq!(data["run_after"], serde_json::json!(due));
    assert_eq!(slot.due, 0);
    assert_eq!(waiting.turn, job.turn, "it keeps its place");
    assert_eq!(world.promote(10).await.jobs, 0, "not due yet");
    assert_eq!(world.relay(10).await.publish, []);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.promote(10).await.jobs, 1);
    assert_eq!(world.relay(10).await.publish.len(), 1);
    let second = world.run(worker, &job).await;
    assert_eq!((second.attempt, second.fence, second.failures), (2, 2, 1));
    world
        .finish(worker, &second, Ending::Completed(done()))
        .await;
    let stored = world.get(&job).await;
    assert_eq!(stored.state(), JobState::Completed);
    assert_eq!(stored.error, None, "the latest run did not fail");
    let attempts = world.store.jobs.attempts(job.tenant, job.id).await;
    let attempts = attempts.expect("the store works").expect("it ran");
    let outcomes: Vec<_> = attempts.iter().map(|a| (a.number, a.outcome)).collect();
    let failed = (1, Some(AttemptOutcome::Failed));
    assert_eq!(outcomes, [failed, (2, Some(AttemptOutcome::Completed))]);
    world.no_drift().await;
}

pub async fn a_job_whose_attempts_are_used_up_fails(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut new = make::new_session("hopeless");
    new.max_attempts = 2;
    let (worker, job) = world.running(&tenant, new).await;
    world.finish(worker, &job, retry(0)).await;
    assert_eq!(world.get(&job).await.run_after, None, "at once");
    let second = world.run(worker, &job).await;
    world.finish(worker, &second, retry(0)).await;
    let stored = world.get(&job).await;
    assert_eq!((stored.state(), stored.failures), (JobState::Failed, 2));
    assert_eq!(stored.finished_at, Some(world.now()));
    assert_eq!(world.events(&job).await.last(), Some(&"failed"));
}

pub async fn a_job_that_is_handed_back_waits_again(store: StoreUnderTest) {
    let world = World::new(store);
    let (worker, job) = run_a_while(&world, "drained").await;
    world.finish(worker, &job, Ending::HandedBack).await;
    let stored = world.get(&job).await;
    assert_eq!((stored.state(), stored.failures), (JobState::Queued, 0));
    assert_eq!(stored.status, domain::Status::Queued, "nobody's");
    assert_eq!(world.events(&job).await.last(), Some(&"handed_back"));
    let outcome = last_attempt(&world, &job).await.outcome;
    assert_eq!(outcome, Some(AttemptOutcome::HandedBack));
    assert_eq!(world.counts(job.queue()).await, (0, 1, 0));
    world.run(worker, &job).await;
}

/// The worker decided on another try before it heard of the stop.
pub async fn a_stop_wins_over_another_try(store: StoreUnderTest) {
    let world = World::new(store);
    for (name, ending, outcome) in [
        ("retry", retry(10), AttemptOutcome::Failed),
        ("drain", Ending::HandedBack, AttemptOutcome::HandedBack),
    ] {
        let (worker, job) = run_a_while(&world, name).await;
        let finish = world.finish_of(&job, ending);
        assert_eq!(finish.settlement.state, JobState::Queued);
        let jobs = &world.store.jobs;
        let asked = jobs.steer(job.tenant, job.id, Action::Stop, world.now());
        assert!(asked.await.expect("allowed").is_some());
        let finished = world
            .store
            .engine
            .finish(worker, vec![finish], world.now())
            .await
            .expect("the store works");
        assert_eq!(finished.fenced, []);
        let stored = world.get(&job).await;
        assert_eq!(stored.state(), JobState::Stopped);
        assert_eq!(stored.finished_at, Some(world.now()));
        assert_eq!(stored.run_after, None);
        let events = world.events(&job).await;
        assert_eq!(events[3..], ["stop_requested", "stopped"]);
        assert_eq!(last_attempt(&world, &job).await.outcome, Some(outcome));
        assert_eq!(world.counts(job.queue()).await, (0, 0, 0));
    }
}

pub async fn a_job_finishes_once(store: StoreUnderTest) {
    let world = World::new(store);
    let (worker, job) = run_a_while(&world, "once").await;
    let twice = vec![
        world.finish_of(&job, Ending::Completed(done())),
        world.finish_of(&job, Ending::Failed(error("late"))),
    ];
    let finished = world.store.engine.finish(worker, twice, world.now()).await;
    let finished = finished.expect("the store works");
    assert_eq!(finished.fenced, [job.id]);
    let stored = world.get(&job).await;
    assert_eq!(stored.state(), JobState::Completed);
    let again = world
        .finish(worker, &job, Ending::Failed(error("late")))
        .await;
    assert_eq!((again.fenced, again.slots), (vec![job.id], vec![]));
    assert_eq!(world.get(&job).await, stored);
    assert_eq!(world.events(&job).await.len(), 4);
    world.no_drift().await;
}

pub async fn a_finish_behind_the_fence_writes_nothing(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (frozen, job) = world.running(&tenant, make::new_session("frozen")).await;
    world.pass(LEASE + GRACE + Duration::from_secs(1));
    let reaped = world.store.engine.reap(GRACE, 100, world.now()).await;
    assert_eq!(reaped.expect("the store works").jobs.len(), 1);
    let other = world.worker().await;
    let again = world.run(other, &job).await;
    let late = |worker| world.finish(worker, &job, Ending::Completed(done()));
    assert_eq!(late(frozen).await.fenced, [job.id]);
    assert_eq!(late(other).await.fenced, [job.id], "an old fence");
    let stranger = world.worker().await;
    let foreign = world
        .finish(stranger, &again, Ending::Completed(done()))
        .await;
    assert_eq!(foreign.fenced, [job.id], "another worker's run");
    assert_eq!(world.get(&job).await, again);
    assert_eq!(world.counts(job.queue()).await, (1, 0, 0));
    let right = world.finish(other, &again, Ending::Completed(done())).await;
    assert_eq!(right.fenced, []);
    assert_eq!(world.get(&job).await.state(), JobState::Completed);
    world.no_drift().await;
}

pub async fn one_call_finishes_many_jobs(store: StoreUnderTest) {
    let world = World::new(store);
    let a = world.tenant_with_quota("a", 100).await;
    let b = world.tenant_with_quota("b", 100).await;
    let mut jobs = world.sessions(&a, 100);
    world.submit(jobs.clone()).await;
    let theirs = world.sessions(&b, 100);
    world.submit(theirs.clone()).await;
    jobs.extend(theirs);
    let worker = world.worker().await;
    let running = world.claim(worker, &jobs.iter().collect::<Vec<_>>()).await;
    assert_eq!(running.jobs.len(), 200);
    let ended = running
        .jobs
        .iter()
        .enumerate()
        .map(|(n, job)| match n % 2 {
            0 => world.finish_of(job, Ending::Completed(done())),
            _ => world.finish_of(job, retry(1)),
        })
        .collect();
    let finished = world.store.engine.finish(worker, ended, world.now());
    let finished = finished.await.expect("the store works");
    assert_eq!((finished.fenced.len(), finished.slots.len()), (0, 2));
    for slot in finished.slots {
        assert_eq!((slot.running, slot.queued), (0, 50));
    }
    world.counts_are_right(&a).await;
    world.no_drift().await;
}

/// What a pick is charged before the truth is known: learnt from runs that ended by themselves.
pub async fn a_queue_learns_how_long_its_runs_take(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut expected = domain::SERVICE_SECONDS_UNKNOWN;
    for (ending, seconds) in [
        (Ending::Completed(done()), 20_u32),
        (Ending::HandedBack, 29),
        (Ending::Failed(error("broken")), 3),
        (Ending::Completed(done()), 0),
    ] {
        let worker = world.worker().await;
        let mut job = make::new_session("a while");
        job.priority = domain::Priority::Critical;
        let job = world.submitted(&tenant, job).await;
        let claimed = world.claim_some(worker, job.queue(), 1).await.jobs;
        world.pass(Duration::from_secs(seconds.into()));
        let telling = ending != Ending::HandedBack;
        let finished = world.finish(worker, &claimed[0], ending).await;
        if telling {
            expected = domain::service_seconds(expected, 1, seconds.into());
        }
        let learnt = finished.slots[0].service_seconds;
        assert!((learnt - expected).abs() < 1e-6, "{learnt}, not {expected}");
    }
}

fn done() -> JobResult {
    make::session_result("done")
}

fn retry(seconds: u64) -> Ending {
    let error: JobError = error("again");
    let after = Some(Duration::from_secs(seconds));
    Ending::Retry { error, after }
}

/// On a worker whose lease goes on for a while yet.
async fn run_a_while(world: &World, tenant: &str) -> (WorkerRef, Job) {
    let tenant = world.tenant(&tenant.replace('_', "-")).await;
    let running = world.running(&tenant, make::new_session("a while")).await;
    world.pass(Duration::from_secs(10));
    running
}

async fn last_attempt(world: &World, job: &Job) -> Attempt {
    let attempts = world.store.jobs.attempts(job.tenant, job.id).await;
    let attempts = attempts.expect("the store works").expect("it ran");
    attempts.into_iter().next_back().expect("it ran")
}

async fn last_event_data(world: &World, job: &Job) -> serde_json::Map<String, serde_json::Value> {
    let events = world.store.jobs.events(job.tenant, job.id, 0, 100).await;
    let events = events.expect("the store works").expect("it has events");
    events.into_iter().next_back().expect("it has events").data
}

pub async fn last_words_are_written_with_the_end_and_never_without(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_session("one")).await;
    let chunk = |attempt, text: &str| LogChunk {
        cursor: LogCursor { attempt, number: 1 },
        at: world.now(),
        stream: LogStream::Stdout,
        text: text.to_owned(),
    };
    let end = |fence, text| Finish {
        fence,
        logs: vec![chunk(1, text)],
        ..world.finish_of(&job, Ending::Completed(make::session_result("done")))
    };
    let finish = async |end| {
        let finished = world.store.engine.finish(worker, vec![end], world.now());
        finished.await.expect("the store works")
    };
    assert_eq!(
        finish(end(job.fence - 1, "of a stranger")).await.fenced,
        [job.id]
    );
    assert_eq!(finish(end(job.fence, "the last word")).await.fenced, []);
    assert_eq!(finish(end(job.fence, "once more")).await.fenced, [job.id]);
    let jobs = &world.store.jobs;
    let logs = jobs.log_tail(tenant.id, job.id, 10).await;
    let logs = logs.expect("the store works").expect("the job is there");
    assert_eq!(logs, [chunk(1, "the last word")]);
}
