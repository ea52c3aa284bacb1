use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use domain::{Artifact, TenantId};
use futures::StreamExt as _;

use super::OfKind;
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::path::ArtifactPath;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::responses::Guarded;
use crate::state::App;

/// Download an artifact
#[utoipa::path(
    get,
    path = "/{id}/artifacts/{artifact_id}",
    params(
        ("id" = Uuid, Path, description = "The job's id."),
        ("artifact_id" = Uuid, Path, description = "The artifact's id."),
    ),
    responses(
        (status = 200, description = "The file, as an attachment.", body = Vec<u8>,
         content_type = "application/octet-stream"),
        (status = 404, description = "`ARTIFACT_NOT_FOUND`, or the job is not found.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded,
    ),
)]
pub(super) async fn artifact(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<ReadJobs>,
    ArtifactPath(job, id): ArtifactPath,
) -> Result<Response, Problem> {
    let tenant = caller.tenant;
    of_kind.find(&app, tenant, job).await?;
    let found = app.ports.jobs.artifact(tenant, job, id).await?;
    let artifact = found.ok_or_else(|| {
        let detail = format!(
            "The job {job} has no artifact {id}. Its artifacts are listed at the address above."
        );
        Problem::new(&kinds::ARTIFACT_NOT_FOUND, detail)
    })?;
    download(&app, tenant, &artifact).await
}

async fn download(app: &App, tenant: TenantId, artifact: &Artifact) -> Result<Response, Problem> {
    let body = bytes_of(app, tenant, artifact).await?;
    let mut headers = HeaderMap::new();
    // What a run made is never shown as a page of this server.
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    headers.insert(CONTENT_LENGTH, artifact.bytes.into());
    let or_plain = |text: &str, plain: &'static str| {
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(plain))
    };
    let media_type = or_plain(&artifact.media_type, "application/octet-stream");
    headers.insert(CONTENT_TYPE, media_type);
    let disposition = or_plain(&attachment(&artifact.name), "attachment");
    headers.insert(CONTENT_DISPOSITION, disposition);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", artifact.sha256)) {
        headers.insert(ETAG, tag);
    }
    Ok((headers, body).into_response())
}

/// The bytes, streamed: an artifact may be larger than memory.
pub(crate) async fn bytes_of(
    app: &App,
    tenant: TenantId,
    artifact: &Artifact,
) -> Result<Body, Problem> {
    let stream = app.ports.blobs.get(tenant, artifact.id).await?;
    let stream = stream.ok_or_else(|| {
        tracing::error!(artifact = %artifact.id, "an artifact's bytes are gone");
        let detail = format!(
            "The bytes of the artifact `{}` are not there any more; only its record is kept.",
            artifact.name
        );
        Problem::new(&kinds::ARTIFACT_NOT_FOUND, detail)
    })?;
    let id = artifact.id;
    let stream = stream.inspect(move |part| {
        if let Err(error) = part {
            tracing::error!(%error, artifact = %id, "a download broke off");
        }
    });
    Ok(Body::from_stream(stream))
}

/// `attachment` with the name in plain ASCII, and in full for clients that know RFC 8187.
fn attachment(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._- ".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let mut full = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            full.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(full, "%{byte:02X}");
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{full}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_leave_its_quotes() {
        assert_eq!(
            attachment("out/a\"b\r\nü.txt"),
            "attachment; filename=\"a_b___.txt\"; filename*=UTF-8''a%22b%0D%0A%C3%BC.txt"
        );
    }
}
