//! PostgreSQL stores no NUL in text, not even inside JSON. What comes from outside must not make a batch fail.

use application::ports::Report;
use application::testing::make;
use application::testing::store::World;
use domain::{Ending, JobError, LogChunk, LogCursor, LogStream, Progress};
use serde_json::json;

use crate::schema;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nul_is_replaced_wherever_it_may_come_from() {
    let Some(store) = schema::store().await else {
        return;
    };
    let world = World::new(store);
    let tenant = world.tenant("nul").await;
    let (worker, job) = world.running(&tenant, make::new_session("nul")).await;

    let report = Report {
        tenant: tenant.id,
        job: job.id,
        fence: job.fence,
        attempt: job.attempt,
        progress: Some(Progress {
            message: Some("half\0way".to_owned()),
            ..Progress::default()
        }),
        spent: None,
        checkpoints: vec![json!({"state": "\0"})],
        logs: vec![LogChunk {
            cursor: LogCursor {
                attempt: 1,
                number: 1,
            },
            at: world.now(),
            stream: LogStream::Stdout,
            text: "before\0after".to_owned(),
        }],
        artifacts: Vec::new(),
    };
    let engine = &world.store.engine;
    let lost = engine
        .report(worker, vec![report], world.now())
        .await
        .unwrap()
        .lost;
    assert_eq!(lost, []);
    let error = JobError::new("COMMAND_FAILED", "it said \0");
    world.finish(worker, &job, Ending::Failed(error)).await;

    let job = world.get(&job).await;
    assert_eq!(job.error.unwrap().message, "it said \u{fffd}");
    assert_eq!(job.progress.unwrap().message.unwrap(), "half\u{fffd}way");
    let jobs = &world.store.jobs;
    let logs = jobs.log_tail(tenant.id, job.id, 10).await.unwrap().unwrap();
    assert_eq!(logs[0].text, "before\u{fffd}after");
    let checkpoint = jobs
        .latest_checkpoint(tenant.id, job.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(checkpoint.data, json!({"state": "\u{fffd}"}));
}
