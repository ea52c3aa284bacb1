//! Checks that give the agent work.

use std::time::Duration;

use adapter_agents::eap::{ARTIFACT_BYTES, ARTIFACTS_MAX, TaskResult, TaskStatus};
use domain::is_inside;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::caller::{Caller, Told, id_of};
use super::checks::{Checked, good, nothing};

/// As large as the largest that a worker sends, and a bit.
const LARGE_BYTES: usize = 2 * 1024 * 1024;
/// Between a task and its cancellation.
const CANCEL_AFTER: Duration = Duration::from_millis(100);
/// A cancelled task ends in this time.
const CANCEL_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub async fn task(caller: &Caller) -> Checked {
    let task = caller.task();
    let result = caller.finish(&task).await?;
    fits(&result)?;
    let files = result.artifacts.as_ref().map_or(0, Vec::len);
    let spent = result.usage().map_or_else(
        || "it says nothing of tokens and cost".to_owned(),
        |usage| {
            format!(
                "{} tokens, cost {}",
                usage.input_tokens + usage.output_tokens,
                usage.cost
            )
        },
    );
    good(format!(
        "{}; files: {files}; {spent}",
        result.status.as_str()
    ))
}

/// What a worker would refuse.
fn fits(result: &TaskResult) -> Result<(), String> {
    let artifacts = result.artifacts.as_deref().unwrap_or_default();
    if artifacts.len() > ARTIFACTS_MAX {
        let count = artifacts.len();
        return Err(format!("{count} artifacts; send at most {ARTIFACTS_MAX}"));
    }
    for artifact in artifacts {
        let path = &artifact.path;
        if !is_inside(path) {
            return Err(format!(
                "the artifact {path:?} leads out of the worktree; send relative paths without `..` and `.git`"
            ));
        }
        if artifact.content.len() > ARTIFACT_BYTES {
            return Err(format!(
                "the artifact {path:?} has more than {ARTIFACT_BYTES} bytes"
            ));
        }
    }
    if result.status == TaskStatus::Failed && result.error_message.is_none() {
        return Err("the task failed without an `error_message`; say why".to_owned());
    }
    Ok(())
}

/// The end of a task that has to be good for what is checked to mean anything.
async fn completed(caller: &Caller, task: &Value) -> Result<TaskResult, String> {
    let result = caller.finish(task).await?;
    if result.status == TaskStatus::Completed {
        return Ok(result);
    }
    Err(format!(
        "its tasks fail ({}); ask for one that it can do, with --prompt and --task-type",
        result.error_message.unwrap_or_default()
    ))
}

/// What two answers about one execution share, the time that it took included.
fn print_of(result: &TaskResult) -> Value {
    let artifacts: Vec<Value> = result
        .artifacts
        .iter()
        .flatten()
        .map(|file| json!([file.path, file.content]))
        .collect();
    json!([
        result.status.as_str(),
        artifacts,
        result.output_data,
        result.execution_time_ms,
        result.tokens_used,
        result.cost_usd
    ])
}

pub async fn again(caller: &Caller) -> Checked {
    let task = caller.task();
    let first = completed(caller, &task).await?;
    let answer = caller.give(&task).await?;
    if matches!(answer, Told::Running) {
        return Err(
            "a completed task that is asked for again is answered 202; keep its result, and answer that with 200".to_owned(),
        );
    }
    let second = caller.wait(&task, answer).await?;
    if print_of(&first) != print_of(&second) {
        return Err(
            "a completed task that is asked for again has another result: it was done twice; know tasks by their `task_id`"
                .to_owned(),
        );
    }
    good("the same answer")
}

pub async fn at_once(caller: &Caller) -> Checked {
    let task = caller.task();
    let (first, second) = futures::join!(completed(caller, &task), completed(caller, &task));
    if print_of(&first?) != print_of(&second?) {
        return Err(
            "a task that is asked for twice at the same time has two results: it was done twice; join the one that runs"
                .to_owned(),
        );
    }
    good("one execution for two requests")
}

pub async fn unknown_fields(caller: &Caller) -> Checked {
    let mut task = caller.task();
    task["a_field_of_a_later_version"] = json!({"any": ["thing"]});
    task["context"]["another_one"] = json!(null);
    let told = caller.give(&task).await;
    let told = told.map_err(|why| format!("a task with unknown fields: {why}; ignore them"))?;
    caller.wait(&task, told).await?;
    good("ignored")
}

pub async fn large(caller: &Caller) -> Checked {
    let mut task = caller.task();
    let file = json!({"path": "large.txt", "content": "large ".repeat(LARGE_BYTES / 6)});
    task["context"]["files"] = json!([file]);
    let told = caller.give(&task).await;
    let told = told.map_err(|why| {
        format!("a task of {LARGE_BYTES} bytes: {why}; take bodies of 4 MiB at least")
    })?;
    caller.wait(&task, told).await?;
    good(format!("took {LARGE_BYTES} bytes"))
}

pub async fn later(caller: &Caller) -> Checked {
    let task = caller.task();
    match caller.give(&task).await? {
        Told::Running => {
            let result = caller.wait(&task, Told::Running).await?;
            good(format!("202, then {} by GET", result.status.as_str()))
        }
        Told::Ended(first) => {
            let looked = caller.look(&task).await?;
            if looked.status == StatusCode::OK {
                let second = caller.wait(&task, Told::Running).await?;
                if print_of(&first) != print_of(&second) {
                    return Err("GET /task/{id} has another result than POST had".to_owned());
                }
            }
            nothing(
                "it answers at once, so there is no 202 to see; what takes longer than 60 seconds needs one",
            )
        }
    }
}

/// Cancels a task while it is given, as a stop does.
pub async fn cancellation(caller: &Caller) -> Checked {
    let task = caller.task();
    let cancelling = async {
        sleep(CANCEL_AFTER).await;
        caller.cancel(&task).await
    };
    let (given, cancelled) = futures::join!(caller.give(&task), cancelling);
    let cancelled = cancelled?;
    if ![StatusCode::NO_CONTENT, StatusCode::NOT_FOUND].contains(&cancelled.status) {
        return Err(format!(
            "DELETE /task/{{id}}: {}; answer 204",
            cancelled.shown()
        ));
    }
    if let Ok(Told::Ended(result)) = &given {
        if result.status == TaskStatus::Completed {
            return nothing("the task was done before it could be cancelled");
        }
        return good("the task ended as failed at once");
    }
    given?;
    ends(caller, &task).await
}

/// A cancelled task is gone, or has failed, soon.
async fn ends(caller: &Caller, task: &Value) -> Checked {
    let began = Instant::now();
    while began.elapsed() < CANCEL_LIMIT {
        let looked = caller.look(task).await?;
        match looked.status {
            StatusCode::NOT_FOUND => return good("204, and the task is gone"),
            StatusCode::OK => {
                let result = adapter_agents::eap::result(&looked.body, id_of(task));
                return match result.map(|result| result.status) {
                    Ok(TaskStatus::Failed) => good("204, and the task has failed"),
                    Ok(TaskStatus::Completed) => Err(
                        "a task that was cancelled went on to its end; stop the work at DELETE"
                            .to_owned(),
                    ),
                    Err(why) => Err(format!("the answer {why}")),
                };
            }
            _ => sleep(LOOK_EVERY).await,
        }
    }
    Err(format!(
        "a task that was cancelled still runs {} s later; stop the work at DELETE",
        CANCEL_LIMIT.as_secs()
    ))
}
