//! Who may do what: without a key, with a wrong one, in the wrong role, for the wrong tenant.

use axum::http::{Method, StatusCode};
use domain::Role;
use serde_json::{Value, json};

use crate::site::{Site, completed, key};

/// Every documented operation: its method, its address with `id` put in, and its description.
fn operations(id: &str) -> Vec<(Method, String, Value)> {
    let document = serde_json::to_value(producer::openapi()).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path.replace("{id}", id).replace("{artifact_id}", id);
            all.push((method, path, operation.clone()));
        }
    }
    assert!(all.len() > 40, "{} operations", all.len());
    all
}

fn is_open(operation: &Value) -> bool {
    operation["security"] == json!([{}])
}

/// Asks for an agent's token and not for a key.
fn is_agents_own(operation: &Value) -> bool {
    operation["security"] == json!([{"agent": []}])
}

/// A `POST` because of what it has to say; it changes nothing, and who may see the agents may ask.
const ASKS_ONLY: &str = "/api/v1/agents/route";

#[tokio::test]
async fn without_a_key_nothing_but_health_and_the_description_answers() {
    let site = Site::start().await;
    let id = site.session("private").await;
    for (method, path, operation) in operations(&id) {
        let answer = site.ask(method.clone(), &path).no_key().send().await;
        if is_open(&operation) {
            assert_eq!(answer.status, StatusCode::OK, "{method} {path}");
        } else {
            answer.problem(401, "UNAUTHENTICATED");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
}

#[tokio::test]
async fn keys_that_open_nothing() {
    let site = Site::start().await;
    let wrong_secret = format!("{}{}", &site.member[..site.member.len() - 4], "0000");
    for header in [
        "Bearer nonsense".to_owned(),
        "Bearer ".to_owned(),
        format!("Basic {}", site.member),
        site.member.clone(),
        format!("Bearer {wrong_secret}"),
    ] {
        let answer = site
            .get("/api/v1/sessions")
            .no_key()
            .header("authorization", &header);
        answer.send().await.problem(401, "UNAUTHENTICATED");
    }
    // The scheme's name has no case.
    let lower = format!("bearer {}", site.member);
    let answer = site
        .get("/api/v1/sessions")
        .no_key()
        .header("authorization", &lower)
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_viewer_reads_and_changes_nothing() {
    let site = Site::start().await;
    let id = site.session("looked at").await;
    for (method, path, operation) in operations(&id) {
        if method == Method::GET || path == ASKS_ONLY || is_agents_own(&operation) {
            continue;
        }
        let answer = site
            .ask(method.clone(), &path)
            .key(&site.viewer)
            .send()
            .await;
        let problem = answer.problem(403, "FORBIDDEN");
        assert!(
            problem["detail"].as_str().unwrap().contains("viewer"),
            "{method} {path}"
        );
        // No lead can give what only an admin may do.
        let detail = problem["detail"].as_str().unwrap();
        let of_admins = detail.contains("role admin");
        assert_ne!(of_admins, detail.contains("ask a lead"), "{detail}");
    }
    let answer = site
        .get(&format!("/api/v1/sessions/{id}"))
        .key(&site.viewer)
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let asked = site.post(ASKS_ONLY).key(&site.viewer).json(&json!({}));
    assert_eq!(asked.send().await.status, StatusCode::OK);
    assert_eq!(site.job(&id).await.state(), domain::JobState::Queued);
}

#[tokio::test]
async fn another_tenants_jobs_are_not_there_on_any_route() {
    let site = Site::start().await;
    let id = site.session("private").await;
    let worker = site.worker().await;
    let job = site.claim(worker, &id).await;
    site.finish(worker, &job, completed()).await;
    let strangers_lead = key(&site.ports, &site.globex, Role::Lead).await;
    let admin_elsewhere = [("x-tenant-id", "globex")];
    let mut tried = 0;
    for (method, path, _) in operations(&id) {
        if !path.contains(&id) || !path.contains("/jobs/") && !path.contains("/sessions/") {
            continue;
        }
        tried += 1;
        let answer = site
            .ask(method.clone(), &path)
            .key(&strangers_lead)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        let mut ask = site.ask(method.clone(), &path).key(&site.admin);
        for (name, value) in admin_elsewhere {
            ask = ask.header(name, value);
        }
        let answer = ask.send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        assert!(!answer.text().contains("private"));
    }
    assert!(tried > 20, "{tried}");
}

#[tokio::test]
async fn the_tenant_header_opens_ones_own_tenant_only() {
    let site = Site::start().await;
    let ask = |key: &str, tenant: &str| {
        let ask = site.get("/api/v1/sessions").key(key);
        ask.header("x-tenant-id", tenant).send()
    };
    let own_id = site.acme.id.to_string();
    for own in ["acme", own_id.as_str()] {
        assert_eq!(ask(&site.member, own).await.status, StatusCode::OK, "{own}");
    }
    let other_id = site.globex.id.to_string();
    for other in ["globex", other_id.as_str(), "nobody", "", "../acme", "a b"] {
        ask(&site.lead, other).await.problem(403, "WRONG_TENANT");
    }
    for any in ["acme", "globex", other_id.as_str()] {
        assert_eq!(ask(&site.admin, any).await.status, StatusCode::OK, "{any}");
    }
    ask(&site.admin, "nobody")
        .await
        .problem(404, "TENANT_NOT_FOUND");
}

#[tokio::test]
async fn an_admin_acts_for_the_tenant_of_the_header() {
    let site = Site::start().await;
    let body = json!({"title": "for globex", "agent": {"kind": "echo"}});
    let ask = site
        .post("/api/v1/sessions")
        .key(&site.admin)
        .header("x-tenant-id", "globex");
    let created = ask.json(&body).send().await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.json()["tenant_id"], site.globex.id.to_string());
    let listed = site
        .get("/api/v1/sessions")
        .key(&site.stranger)
        .send()
        .await
        .json();
    assert_eq!(listed["items"][0]["title"], "for globex");
    let own = site.get("/api/v1/sessions").send().await.json();
    assert_eq!(own["items"], json!([]));
}

#[tokio::test]
async fn the_login_cookie_counts_only_from_our_own_pages() {
    let site = Site::start().await;
    let cookie = format!("orchestrator_key={}", site.member);
    let id = site.session("steered by cookie").await;
    let read = site
        .get("/api/v1/sessions")
        .no_key()
        .header("cookie", &cookie)
        .send()
        .await;
    assert_eq!(read.status, StatusCode::OK);
    let cancel = || {
        let ask = site.post(&format!("/api/v1/sessions/{id}/cancel")).no_key();
        ask.header("cookie", &cookie)
            .header("host", "orchestrator.test")
    };
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        cancel()
            .header(name, value)
            .send()
            .await
            .problem(403, "CROSS_SITE");
    }
    let own = cancel()
        .header("origin", "https://orchestrator.test")
        .send()
        .await;
    assert_eq!(own.status, StatusCode::OK);
}
