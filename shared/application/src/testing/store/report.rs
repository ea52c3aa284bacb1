//! WRITE: what running jobs say, fenced and batched.

use std::time::Duration;

use domain::{
    Artifact, ArtifactId, CHECKPOINTS_KEPT, Checkpoint, Ending, EventKind, Job, JobError, JobId,
    JobState, LogChunk, LogCursor, LogStream, Progress, Tenant,
};
use serde_json::{Value, json};

use super::world::{GRACE, LEASE};
use super::{StoreUnderTest, World};
use crate::ports::{Ids, Report, Restored};
use crate::testing::make;

/// Whoever looks at a session that is tried again is not to see how far the run before came.
pub async fn a_new_run_has_said_nothing_yet(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_session("talks")).await;
    let mut report = report_of(&job);
    report.progress = Some(progress(1.0, "all"));
    assert_eq!(world.report(worker, report).await, []);
    let again = Ending::Retry {
        error: JobError::new("TEST", "it broke"),
        after: Some(Duration::ZERO),
    };
    let finish = world.finish_of(&job, again);
    let finished = world.store.engine.finish(worker, vec![finish], world.now());
    assert_eq!(finished.await.expect("the store works").fenced, []);
    let said = world.get(&job).await.progress.and_then(|it| it.fraction);
    assert_eq!(said, Some(1.0), "the last that was said");
    world.relay(9).await;
    // What all runs used together stands in the data.
    let kept = Progress {
        fraction: None,
        message: None,
        ..progress(1.0, "all")
    };
    let run = world.run(worker, &job).await;
    assert_eq!(run.progress, Some(kept.clone()));
    assert_eq!(world.get(&job).await.progress, Some(kept));
}

pub async fn a_report_is_kept_in_all_its_parts(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_session("talks")).await;
    world.pass(Duration::from_secs(1));
    let progress = progress(0.5, "half");
    let mut report = report_of(&job);
    report.progress = Some(progress.clone());
    report.checkpoints = vec![json!({"step": 1}), json!({"step": 2})];
    report.logs = vec![chunk(&world, &job, 1, "out"), chunk(&world, &job, 2, "err")];
    report.logs[1].stream = LogStream::Stderr;
    report.artifacts = vec![artifact(&world, &job, "b"), artifact(&world, &job, "a")];
    let said = report.clone();
    assert_eq!(world.report(worker, report).await, []);
    let stored = world.get(&job).await;
    assert_eq!(stored.progress, Some(progress.clone()));
    assert_eq!((stored.fence, stored.state()), (job.fence, job.state()));
    let jobs = &world.store.jobs;
    let ok = "the store works";
    let start = LogCursor::default();
    let logs = jobs.logs(tenant.id, job.id, start, 10).await.expect(ok);
    assert_eq!(logs, Some(said.logs));
    let kept = jobs.artifacts(tenant.id, job.id).await.expect(ok);
    let [b, a] = &said.artifacts[..] else {
        panic!("two files");
    };
    assert_eq!(kept, Some(vec![a.clone(), b.clone()]), "by name");
    let latest = Checkpoint {
        number: 2,
        attempt: 1,
        at: world.now(),
        data: json!({"step": 2}),
    };
    assert_eq!(checkpoint(&world, &job).await, Some(latest));
    let events = jobs.events(tenant.id, job.id, 3, 10).await.expect(ok);
    let events = events.expect("the job is there");
    let told: Vec<(EventKind, Value)> = events
        .into_iter()
        .map(|event| (event.kind, Value::Object(event.data)))
        .collect();
    let expected = [
        (EventKind::Progress, json!(progress)),
        (EventKind::Checkpoint, json!({"number": 1})),
        (EventKind::Checkpoint, json!({"number": 2})),
    ];
    assert_eq!(told, expected);
}

pub async fn one_call_brings_reports_of_many_jobs(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 50).await;
    let jobs = world.sessions(&tenant, 50);
    world.submit(jobs.clone()).await;
    let worker = world.worker().await;
    let running = world.claim(worker, &jobs.iter().collect::<Vec<_>>()).await;
    let mut reports = Vec::new();
    for (number, text) in [(1, "first"), (2, "second")] {
        for job in &running.jobs {
            let mut report = report_of(job);
            report.progress = Some(progress(f64::from(number) / 4.0, text));
            report.checkpoints = vec![json!(text)];
            report.logs = vec![chunk(&world, job, number, text)];
            reports.push(report);
        }
    }
    let lost = world.store.engine.report(worker, reports, world.now());
    assert_eq!(lost.await.expect("the store works").lost, []);
    for job in &running.jobs {
        let stored = world.get(job).await;
        assert_eq!(stored.progress, Some(progress(0.5, "second")));
        let latest = checkpoint(&world, job).await.expect("one was kept");
        assert_eq!((latest.number, latest.data), (2, json!("second")));
        assert_eq!(world.events(job).await.len(), 3 + 4);
        assert_eq!(logs_of(&world, job).await, ["first", "second"]);
    }
}

/// An answer that was lost makes the worker send again.
pub async fn a_report_that_is_sent_again_does_no_harm(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_session("talks")).await;
    let mut report = report_of(&job);
    report.logs = vec![chunk(&world, &job, 1, "once")];
    report.artifacts = vec![artifact(&world, &job, "report.txt")];
    world.report(worker, report.clone()).await;
    world.report(worker, report.clone()).await;
    assert_eq!(logs_of(&world, &job).await, ["once"]);
    // A file kept again under its name replaces the former one, also within one report.
    let mut bigger = artifact(&world, &job, "report.txt");
    bigger.bytes = 7;
    let mut biggest = artifact(&world, &job, "report.txt");
    biggest.bytes = u64::from(u32::MAX) * 9;
    report.artifacts = vec![bigger, biggest.clone()];
    world.report(worker, report).await;
    let kept = world.store.jobs.artifacts(tenant.id, job.id).await;
    assert_eq!(kept.expect("the store works"), Some(vec![biggest]));
}

pub async fn only_the_latest_checkpoints_are_kept(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_training("long")).await;
    let (_, other) = world.running(&tenant, make::new_training("other")).await;
    let mut report = report_of(&job);
    report.checkpoints = (1..CHECKPOINTS_KEPT + 50).map(|n| json!(n)).collect();
    world.report(worker, report.clone()).await;
    report.checkpoints = vec![json!("last")];
    world.report(worker, report).await;
    let latest = checkpoint(&world, &job).await.expect("one was kept");
    let number = CHECKPOINTS_KEPT + 50;
    assert_eq!((latest.number, latest.data), (number, json!("last")));
    assert_eq!(checkpoint(&world, &other).await, None);
    // The numbers go on in the next run.
    world.finish(worker, &job, domain::Ending::HandedBack).await;
    let job = world.run(worker, &job).await;
    let mut report = report_of(&job);
    report.checkpoints = vec![json!("next run")];
    world.report(worker, report).await;
    let latest = checkpoint(&world, &job).await.expect("one was kept");
    assert_eq!((latest.number, latest.attempt), (number + 1, 2));
}

pub async fn an_earlier_checkpoint_is_restored_as_the_newest(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let stranger = world.tenant("other").await.id;
    let (worker, job) = world.running(&tenant, make::new_training("long")).await;
    let mut report = report_of(&job);
    report.checkpoints = (1..=CHECKPOINTS_KEPT).map(|n| json!({"step": n})).collect();
    world.report(worker, report).await;
    let jobs = &world.store.jobs;
    let restore = async |tenant, number| {
        let restored = jobs.restore_checkpoint(tenant, job.id, number, world.now());
        restored.await.expect("the store works")
    };
    assert_eq!(
        restore(tenant.id, 3).await,
        Restored::Running(JobState::Running)
    );
    world
        .finish(worker, &job, domain::Ending::Paused(None))
        .await;
    assert_eq!(restore(stranger, 3).await, Restored::NoJob);
    assert_eq!(
        restore(tenant.id, CHECKPOINTS_KEPT + 1).await,
        Restored::NoCheckpoint
    );
    let before = world.get(&job).await;
    world.pass(Duration::from_secs(1));
    let Restored::Done(restored) = restore(tenant.id, 3).await else {
        panic!("it is there and nothing runs");
    };
    let (number, data) = (CHECKPOINTS_KEPT + 1, json!({"step": 3}));
    assert_eq!((restored.number, &restored.data), (number, &data));
    assert_eq!((restored.attempt, restored.at), (1, world.now()));
    assert_eq!(checkpoint(&world, &job).await, Some(restored));
    // As many as ever, and the job's own state as it was.
    let listed = jobs.checkpoints(tenant.id, job.id).await.expect("works");
    let numbers: Vec<u32> = listed
        .expect("it exists")
        .iter()
        .map(|it| it.number)
        .collect();
    assert_eq!(numbers, (2..=number).collect::<Vec<_>>());
    let foreign = jobs.checkpoints(stranger, job.id).await;
    assert_eq!(foreign.expect("works"), None);
    let after = world.get(&job).await;
    assert_eq!((after.state(), after.fence), (before.state(), before.fence));
    assert_eq!(world.events(&job).await.last(), Some(&"checkpoint"));
}

pub async fn a_report_behind_the_fence_writes_nothing(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (frozen, job) = world.running(&tenant, make::new_session("frozen")).await;
    world.pass(LEASE + GRACE + Duration::from_secs(1));
    let reaped = world.store.engine.reap(GRACE, 100, world.now()).await;
    assert_eq!(reaped.expect("the store works").jobs.len(), 1);
    let late = full_report(&world, &job);
    assert_eq!(world.report(frozen, late.clone()).await, [job.id]);
    is_untouched(&world, &tenant, &job, 4).await;
    // Also while another worker runs it, and from a worker that never ran it.
    let other = world.worker().await;
    let again = world.run(other, &job).await;
    assert_eq!(world.report(frozen, late.clone()).await, [job.id]);
    assert_eq!(world.report(other, late).await, [job.id], "an old fence");
    let stranger = world.worker().await;
    let foreign = full_report(&world, &again);
    assert_eq!(world.report(stranger, foreign).await, [job.id]);
    is_untouched(&world, &tenant, &job, 5).await;
    // One lost job does not keep the others' words from being written.
    let healthy = world.submitted(&tenant, make::new_session("healthy")).await;
    let healthy = world.run(other, &healthy).await;
    let reports = vec![full_report(&world, &job), full_report(&world, &healthy)];
    let lost = world.store.engine.report(other, reports, world.now());
    assert_eq!(lost.await.expect("the store works").lost, [job.id]);
    assert_eq!(logs_of(&world, &healthy).await, ["late"]);
    is_untouched(&world, &tenant, &job, 5).await;
}

/// A program may print anything. What a store cannot keep is replaced, not refused.
pub async fn any_text_that_a_run_writes_is_kept(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_session("noisy")).await;
    let texts = [
        "a\0b",
        "\u{1b}[31mred\u{7}",
        "\"\\u0000\\\"",
        "日本\u{10FFFF}\r\n",
        "",
    ];
    let mut report = report_of(&job);
    report.logs = (1..)
        .zip(texts)
        .map(|(number, text)| chunk(&world, &job, number, text))
        .collect();
    report.progress = Some(progress(1.0, "nul \0 and \\u0000"));
    report.checkpoints = vec![json!({"k\0": "\0", "deep": ["\\u0000", "\u{2028}"]})];
    report.artifacts = vec![artifact(&world, &job, "näme \"1\".txt")];
    assert_eq!(world.report(worker, report).await, []);
    let expected = texts.map(|text| text.replace('\0', "\u{FFFD}"));
    assert_eq!(logs_of(&world, &job).await, expected);
    let said = world.get(&job).await.progress.and_then(|p| p.message);
    let said = said.expect("the message is kept").replace('\0', "\u{FFFD}");
    assert_eq!(said, "nul \u{FFFD} and \\u0000");
    let kept = checkpoint(&world, &job).await.expect("it is kept").data;
    assert_eq!(kept["deep"], json!(["\\u0000", "\u{2028}"]));
    let error = domain::JobError::new("X", "nul \0 in an error");
    world
        .finish(worker, &job, domain::Ending::Failed(error))
        .await;
    let said = world.get(&job).await.error.expect("the error is kept");
    assert!(said.message.starts_with("nul "), "{said}");
    assert_eq!(world.events(&job).await.last(), Some(&"failed"));
}

pub fn report_of(job: &Job) -> Report {
    Report {
        tenant: job.tenant,
        job: job.id,
        fence: job.fence,
        attempt: job.attempt,
        progress: None,
        spent: None,
        checkpoints: Vec::new(),
        logs: Vec::new(),
        artifacts: Vec::new(),
    }
}

pub fn chunk(world: &World, job: &Job, number: u32, text: &str) -> LogChunk {
    LogChunk {
        cursor: LogCursor {
            attempt: job.attempt,
            number,
        },
        at: world.now(),
        stream: LogStream::Stdout,
        text: text.to_owned(),
    }
}

pub fn artifact(world: &World, job: &Job, name: &str) -> Artifact {
    Artifact {
        id: ArtifactId::from_uuid(world.ids.next(world.now())),
        attempt: job.attempt,
        name: name.to_owned(),
        media_type: "text/plain".to_owned(),
        bytes: 5,
        sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned(),
        created_at: world.now(),
    }
}

fn progress(fraction: f64, message: &str) -> Progress {
    let mut progress = Progress {
        fraction: Some(fraction),
        message: Some(message.to_owned()),
        ..Progress::default()
    };
    progress.data.insert("loss".to_owned(), json!(0.25));
    progress
}

fn full_report(world: &World, job: &Job) -> Report {
    let mut report = report_of(job);
    report.progress = Some(progress(0.9, "late"));
    report.checkpoints = vec![json!("late")];
    report.logs = vec![chunk(world, job, 1, "late")];
    report.artifacts = vec![artifact(world, job, "late.txt")];
    report
}

async fn is_untouched(world: &World, tenant: &Tenant, job: &Job, events: usize) {
    assert_eq!(world.get(job).await.progress, None);
    assert_eq!(world.events(job).await.len(), events);
    assert_eq!(checkpoint(world, job).await, None);
    assert!(logs_of(world, job).await.is_empty());
    let kept = world.store.jobs.artifacts(tenant.id, job.id).await;
    assert_eq!(kept.expect("the store works"), Some(Vec::new()));
}

async fn checkpoint(world: &World, job: &Job) -> Option<Checkpoint> {
    let latest = world.store.jobs.latest_checkpoint(job.tenant, job.id).await;
    latest.expect("the store works")
}

async fn logs_of(world: &World, job: &Job) -> Vec<String> {
    let (tenant, id): (_, JobId) = (job.tenant, job.id);
    let logs = world.store.jobs.logs(tenant, id, LogCursor::default(), 100);
    let logs = logs.await.expect("the store works");
    let logs = logs.expect("the job is there");
    logs.into_iter().map(|log| log.text).collect()
}
