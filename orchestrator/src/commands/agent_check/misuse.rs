//! Checks that give the agent no work: its health, and what it says to those who may not ask or ask for nonsense.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::caller::{Answer, Caller, Token};
use super::checks::{Checked, good};

const HEALTH_LIMIT: Duration = Duration::from_secs(5);

pub async fn health(caller: &Caller) -> Checked {
    let asking = caller.call(Method::GET, &["health"], Token::Missing, None);
    let answer = timeout(HEALTH_LIMIT, asking).await.map_err(|_| {
        let limit = HEALTH_LIMIT.as_secs();
        format!("GET /health: no answer within {limit} s; answer it also while you work")
    })?;
    let answer = answer.map_err(|why| format!("GET /health: {why}"))?;
    if answer.status != StatusCode::OK {
        return Err(format!(
            "GET /health: {}; answer 200, without a token",
            answer.shown()
        ));
    }
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match document["status"].as_str() {
        Some(status @ ("healthy" | "degraded" | "busy")) => good(format!("it is {status}")),
        _ => Err(format!(
            "GET /health: {}; answer {{\"status\": \"healthy\"}}, or degraded, or busy",
            answer.shown()
        )),
    }
}

/// All other checks need an agent that takes the token, and would only say once more that it does not.
pub async fn token(caller: &Caller) -> Checked {
    let refusals = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
    let looked = caller.look(&caller.task()).await?;
    let given = caller.post(Token::Right, b"{".to_vec()).await?;
    match [looked, given]
        .iter()
        .find(|it| refusals.contains(&it.status))
    {
        None => good("it is taken"),
        Some(refusal) => Err(format!(
            "{}; give the agent the token that is checked with (--token-env names its variable). Nothing else was checked",
            refusal.shown()
        )),
    }
}

pub async fn wrong_token(caller: &Caller) -> Checked {
    unauthorized(caller, Token::Wrong, "a wrong X-Agent-Token").await
}

pub async fn missing_token(caller: &Caller) -> Checked {
    unauthorized(caller, Token::Missing, "no X-Agent-Token").await
}

async fn unauthorized(caller: &Caller, token: Token, what: &str) -> Checked {
    let task = caller.task().to_string().into_bytes();
    let answer = caller.post(token, task).await?;
    due(&answer, &[StatusCode::UNAUTHORIZED], what)
}

pub async fn bad_json(caller: &Caller) -> Checked {
    let answer = caller
        .post(Token::Right, b"{\"task_id\": ".to_vec())
        .await?;
    due(
        &answer,
        &[StatusCode::BAD_REQUEST],
        "a body that is no JSON",
    )
}

pub async fn no_task_id(caller: &Caller) -> Checked {
    let mut task = caller.task();
    if let Some(fields) = task.as_object_mut() {
        fields.remove("task_id");
    }
    let answer = caller
        .post(Token::Right, task.to_string().into_bytes())
        .await?;
    let allowed = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY];
    due(&answer, &allowed, "a task without `task_id`")
}

pub async fn unknown_task(caller: &Caller) -> Checked {
    let task = caller.task();
    let looked = caller.look(&task).await?;
    due(
        &looked,
        &[StatusCode::NOT_FOUND],
        "GET of a task that it never got",
    )?;
    let cancelled = caller.cancel(&task).await?;
    let allowed = [StatusCode::NOT_FOUND, StatusCode::NO_CONTENT];
    due(&cancelled, &allowed, "DELETE of a task that it never got")
}

fn due(answer: &Answer, allowed: &[StatusCode], what: &str) -> Checked {
    if allowed.contains(&answer.status) {
        return good(format!("{what}: {}", answer.status));
    }
    let allowed: Vec<&str> = allowed.iter().map(StatusCode::as_str).collect();
    Err(format!(
        "{what}: {}; answer {}",
        answer.shown(),
        allowed.join(" or ")
    ))
}
