//! API keys: shown once, listed without their secret, revoked for good.

use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::site::Site;

#[tokio::test]
async fn a_key_is_shown_once_and_works() {
    let site = Site::start().await;
    let body = json!({"name": "ci", "role": "member"});
    let created = site
        .post("/api/v1/keys")
        .key(&site.lead)
        .json(&body)
        .send()
        .await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
    let created = created.json();
    let text = created["key"].as_str().unwrap();
    assert!(text.starts_with("orc_"));
    let used = site.get("/api/v1/sessions").key(text).send().await;
    assert_eq!(used.status, StatusCode::OK);
    let listed = site.get("/api/v1/keys").key(&site.lead).send().await;
    let secret = text.rsplit('_').next().unwrap();
    assert!(!listed.text().contains(secret));
    let newest = &listed.json()["items"][0];
    assert_eq!(
        (&newest["id"], &newest["name"]),
        (&created["id"], &json!("ci"))
    );
    assert!(newest.get("key").is_none());
}

#[tokio::test]
async fn a_revoked_key_opens_nothing() {
    let site = Site::start().await;
    let body = json!({"name": "short-lived", "role": "viewer"});
    let created = site
        .post("/api/v1/keys")
        .key(&site.lead)
        .json(&body)
        .send()
        .await
        .json();
    let address = format!("/api/v1/keys/{}", created["id"].as_str().unwrap());
    let revoke = || site.ask(Method::DELETE, &address);
    revoke()
        .key(&site.member)
        .send()
        .await
        .problem(403, "FORBIDDEN");
    let foreign = crate::site::key(&site.ports, &site.globex, domain::Role::Lead).await;
    revoke()
        .key(&foreign)
        .send()
        .await
        .problem(404, "KEY_NOT_FOUND");
    assert_eq!(
        revoke().key(&site.lead).send().await.status,
        StatusCode::NO_CONTENT
    );
    revoke()
        .key(&site.lead)
        .send()
        .await
        .problem(404, "KEY_NOT_FOUND");
    // It was never used, so no server remembers it.
    let key = created["key"].as_str().unwrap();
    site.get("/api/v1/sessions")
        .key(key)
        .send()
        .await
        .problem(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn nobody_makes_or_revokes_a_key_above_their_own() {
    let site = Site::start().await;
    let body = json!({"name": "power", "role": "admin"});
    let refused = site
        .post("/api/v1/keys")
        .key(&site.lead)
        .json(&body)
        .send()
        .await;
    let problem = refused.problem(403, "FORBIDDEN");
    assert!(problem["detail"].as_str().unwrap().contains("lead"));
    let keys = site.get("/api/v1/keys").key(&site.lead).send().await.json();
    let items = keys["items"].as_array().unwrap();
    let admin = items.iter().find(|key| key["role"] == "admin").unwrap();
    let address = format!("/api/v1/keys/{}", admin["id"].as_str().unwrap());
    let refused = site
        .ask(Method::DELETE, &address)
        .key(&site.lead)
        .send()
        .await;
    refused.problem(403, "FORBIDDEN");
    let elsewhere = site
        .post("/api/v1/keys")
        .key(&site.lead)
        .header("x-tenant-id", "globex");
    elsewhere
        .json(&body)
        .send()
        .await
        .problem(403, "WRONG_TENANT");
    let body = json!({"name": "first", "role": "lead"});
    let admin = site
        .post("/api/v1/keys")
        .key(&site.admin)
        .header("x-tenant-id", "globex");
    let created = admin.json(&body).send().await.json();
    assert_eq!(created["tenant_id"], site.globex.id.to_string());
}

#[tokio::test]
async fn what_is_wrong_with_a_key() {
    let site = Site::start().await;
    let table = [
        (json!({"name": "a", "role": "king"}), "/role", "viewer"),
        (json!({"name": "", "role": "viewer"}), "/name", "empty"),
        (
            json!({"name": "a\u{0}", "role": "viewer"}),
            "/name",
            "control",
        ),
        (
            json!({"name": "x".repeat(101), "role": "viewer"}),
            "/name",
            "at most 100",
        ),
        (
            json!({"name": "a", "role": "viewer", "expires_at": "2001-01-01T00:00:00Z"}),
            "/expires_at",
            "past",
        ),
    ];
    for (body, pointer, words) in table {
        let answer = site
            .post("/api/v1/keys")
            .key(&site.lead)
            .json(&body)
            .send()
            .await;
        let detail = answer.invalid_at(pointer);
        assert!(detail.contains(words), "{body}: {detail}");
    }
}
