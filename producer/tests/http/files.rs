//! Artifacts and diffs.

use axum::http::StatusCode;
use domain::{Artifact, ArtifactId};
use serde_json::{Value, json};

use crate::site::{Site, completed, empty_report};

/// A run of the session leaves a file.
async fn keep(site: &Site, id: &str, name: &str, media_type: &str, bytes: &[u8]) -> String {
    let worker = site.worker().await;
    let job = site.claim(worker, id).await;
    let now = site.ports.clock.now();
    let artifact = Artifact {
        id: ArtifactId::from_uuid(site.ports.ids.next(now)),
        attempt: job.attempt,
        name: name.to_owned(),
        media_type: media_type.to_owned(),
        bytes: bytes.len() as u64,
        sha256: "ab".repeat(32),
        created_at: now,
    };
    site.ports
        .blobs
        .put(job.tenant, artifact.id, bytes.to_vec())
        .await
        .unwrap();
    let mut report = empty_report(&job);
    report.artifacts = vec![artifact.clone()];
    site.report(worker, report).await;
    site.finish(worker, &job, completed()).await;
    artifact.id.to_string()
}

#[tokio::test]
async fn an_artifact_is_listed_and_downloaded_as_an_attachment() {
    let site = Site::start().await;
    let id = site.session("writes").await;
    let bytes = b"<script>alert(1)</script>";
    let artifact = keep(&site, &id, "out/p\u{e4}ge.html", "text/html", bytes).await;
    let listed = site
        .get(&format!("/api/v1/sessions/{id}/artifacts"))
        .send()
        .await
        .json();
    let item = &listed["items"][0];
    assert_eq!(
        (&item["id"], &item["bytes"]),
        (&json!(artifact), &json!(bytes.len()))
    );
    let got = site
        .get(&format!("/api/v1/sessions/{id}/artifacts/{artifact}"))
        .send()
        .await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(&got.body[..], bytes);
    assert!(
        got.header("content-disposition")
            .starts_with("attachment; filename=\"p_ge.html\"")
    );
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    assert_eq!(
        got.header("content-security-policy"),
        "default-src 'none'; sandbox"
    );
    let other = site.session("other").await;
    let crossed = site
        .get(&format!("/api/v1/sessions/{other}/artifacts/{artifact}"))
        .send()
        .await;
    crossed.problem(404, "ARTIFACT_NOT_FOUND");
    let foreign = site
        .get(&format!("/api/v1/sessions/{id}/artifacts/{artifact}"))
        .key(&site.stranger);
    foreign.send().await.problem(404, "SESSION_NOT_FOUND");
}

async fn with_repository(site: &Site) -> String {
    let body = json!({
        "title": "a", "agent": {"kind": "echo"}, "repository": {"path": "/srv/shop"},
    });
    let created = site
        .post("/api/v1/sessions")
        .json(&body)
        .send()
        .await
        .json();
    created["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_diff_is_given_or_its_absence_explained() {
    let site = Site::start().await;
    let why = async |id: &str| -> Value {
        let answer = site
            .get(&format!("/api/v1/sessions/{id}/diff"))
            .send()
            .await;
        answer.problem(404, "DIFF_NOT_FOUND")["detail"].clone()
    };
    let without = site.session("no repository").await;
    assert!(
        why(&without)
            .await
            .as_str()
            .unwrap()
            .contains("no repository")
    );
    // It would come first.
    site.run(&without).await;
    let id = with_repository(&site).await;
    assert!(why(&id).await.as_str().unwrap().contains("not ended yet"));
    let diff = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n";
    keep(&site, &id, "session.diff", "text/x-diff", diff.as_bytes()).await;
    let got = site
        .get(&format!("/api/v1/sessions/{id}/diff"))
        .send()
        .await;
    assert_eq!(got.header("content-type"), "text/x-diff; charset=utf-8");
    assert_eq!(got.text(), diff);
    let ended = with_repository(&site).await;
    site.run(&ended).await;
    assert!(why(&ended).await.as_str().unwrap().contains("No run"));
}
