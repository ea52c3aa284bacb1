//! Ids in addresses. What is not an id names nothing, so it is answered like an id of nothing: 404.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use domain::{AgentId, ApiKeyId, ArtifactId, JobId, JobKind, ReplayId, TaskKey};

use crate::api::jobs::OfKind;
use crate::problem::Problem;
use crate::problem_kinds::{self as kinds, Kind};

/// The job that an address names as `{id}`.
pub(crate) struct JobPath(pub JobId);

/// The artifact that an address names as `{id}` and `{artifact_id}`.
pub(crate) struct ArtifactPath(pub JobId, pub ArtifactId);

/// The checkpoint that an address names as `{id}` and `{number}`.
pub(crate) struct CheckpointPath(pub JobId, pub u32);

/// The key that an address names as `{id}`.
pub(crate) struct KeyPath(pub ApiKeyId);

/// The replay that an address names as `{id}`.
pub(crate) struct ReplayPath(pub ReplayId);

/// The agent that an address names as `{id}`.
pub(crate) struct AgentPath(pub AgentId);

/// The agent and its task that an address names as `{id}` and `{task}`.
pub(crate) struct TaskPath(pub AgentId, pub TaskKey);

/// The kind of jobs that an address names as `{kind}`.
pub(crate) struct KindPath(pub JobKind);

/// A text that an address names as `{id}`.
pub(crate) struct TextPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let missing = no_such_job(parts);
        parse(parts, state, "id", missing).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ArtifactPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let missing = no_such_job(parts);
        let job = parse(parts, state, "id", missing).await?;
        let artifact = parse(parts, state, "artifact_id", &kinds::ARTIFACT_NOT_FOUND).await?;
        Ok(Self(job, artifact))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CheckpointPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let missing = no_such_job(parts);
        let job = parse(parts, state, "id", missing).await?;
        let number = parse(parts, state, "number", &kinds::CHECKPOINT_NOT_FOUND).await?;
        Ok(Self(job, number))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        parse(parts, state, "id", &kinds::KEY_NOT_FOUND)
            .await
            .map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ReplayPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        parse(parts, state, "id", &kinds::REPLAY_NOT_FOUND)
            .await
            .map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AgentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        parse(parts, state, "id", &kinds::AGENT_NOT_FOUND)
            .await
            .map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let agent = parse(parts, state, "id", &kinds::AGENT_NOT_FOUND).await?;
        let task = parse(parts, state, "task", &kinds::TASK_NOT_FOUND).await?;
        Ok(Self(agent, task))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for KindPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        parse(parts, state, "kind", &kinds::QUEUE_NOT_FOUND)
            .await
            .map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TextPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        text(parts, state, "id").await.map(Self)
    }
}

fn no_such_job(parts: &Parts) -> &'static Kind {
    let of_kind = parts.extensions.get().copied().unwrap_or(OfKind(None));
    of_kind.missing()
}

async fn parse<T, S>(
    parts: &mut Parts,
    state: &S,
    name: &str,
    missing: &'static Kind,
) -> Result<T, Problem>
where
    T: FromStr,
    T::Err: Display,
    S: Send + Sync,
{
    let text = text(parts, state, name).await?;
    text.parse()
        .map_err(|error: T::Err| Problem::new(missing, format!("{error}.")))
}

async fn text<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Result<String, Problem> {
    let unreadable = || {
        let detail = "The address cannot be read. Check its percent-encoding.";
        Problem::new(&kinds::BAD_REQUEST, detail)
    };
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| unreadable())?;
    let found = params.iter().find(|(key, _)| *key == name);
    found
        .map(|(_, value)| value.to_owned())
        .ok_or_else(unreadable)
}
