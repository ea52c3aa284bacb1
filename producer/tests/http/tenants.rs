//! Tenants, their quotas, and editors that meet.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::site::Site;

#[tokio::test]
async fn an_admin_creates_a_tenant() {
    let site = Site::start().await;
    let body = json!({
        "slug": "initech", "name": "Initech", "quotas": {"session": 2, "training": 1}, "max_queued": 10_000, "weight": 1,
    });
    let created = site
        .post("/api/v1/tenants")
        .key(&site.admin)
        .json(&body)
        .send()
        .await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
    let tenant = created.json();
    for (field, said) in body.as_object().unwrap() {
        assert_eq!(&tenant[field], said, "{field}");
    }
    assert_eq!(created.header("etag"), "\"1\"");
    let by_id = site
        .get(created.header("location"))
        .key(&site.admin)
        .send()
        .await;
    assert_eq!(by_id.json(), tenant);
    let again = site
        .post("/api/v1/tenants")
        .key(&site.admin)
        .json(&body)
        .send()
        .await;
    again.problem(409, "SLUG_TAKEN");
    let lead = site
        .post("/api/v1/tenants")
        .key(&site.lead)
        .json(&body)
        .send()
        .await;
    lead.problem(403, "FORBIDDEN");
}

#[tokio::test]
async fn what_is_wrong_with_a_tenant() {
    let site = Site::start().await;
    let table = [
        (
            json!({"slug": "a", "quotas": {"session": 0}}),
            "/quotas/session",
            "pause the queue",
        ),
        (
            json!({"slug": "a", "quotas": {"robots": 1}}),
            "/quotas/robots",
            "unknown field",
        ),
        (json!({"slug": "A b"}), "/slug", "a-z"),
        (json!({"slug": "a", "weight": 0}), "/weight", "between 1"),
        (
            json!({"slug": "a", "max_queued": 0}),
            "/max_queued",
            "between 1",
        ),
        (json!({"name": "a"}), "/slug", "required"),
    ];
    for (body, pointer, words) in table {
        let answer = site
            .post("/api/v1/tenants")
            .key(&site.admin)
            .json(&body)
            .send()
            .await;
        let detail = answer.invalid_at(pointer);
        assert!(detail.contains(words), "{body}: {detail}");
    }
}

#[tokio::test]
async fn two_editors_do_not_undo_each_other() {
    let site = Site::start().await;
    let change = async |tag: Option<&str>, body: Value| {
        let mut ask = site
            .ask(Method::PATCH, "/api/v1/tenants/acme")
            .key(&site.admin);
        if let Some(tag) = tag {
            ask = ask.header("if-match", tag);
        }
        ask.json(&body).send().await
    };
    let first = change(Some("\"1\""), json!({"quotas": {"session": 5}})).await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.header("etag"), "\"2\"");
    assert_eq!(first.json()["quotas"], json!({"session": 5, "training": 1}));
    let second = change(Some("\"1\""), json!({"quotas": {"session": 9}})).await;
    let problem = second.problem(412, "VERSION_MISMATCH");
    assert_eq!(problem["version"], 2);
    for tag in ["\"7\", \"2\"", "*"] {
        assert_eq!(
            change(Some(tag), json!({"name": "Acme"})).await.status,
            StatusCode::OK,
            "{tag}"
        );
    }
    for tag in ["W/\"4\"", "4", "nonsense"] {
        change(Some(tag), json!({}))
            .await
            .problem(412, "VERSION_MISMATCH");
    }
    let tenant = site.get("/api/v1/tenants/acme").send().await.json();
    assert_eq!(
        (&tenant["quotas"]["session"], &tenant["name"]),
        (&json!(5), &json!("Acme"))
    );
    change(None, json!({"quotas": {"session": 0}}))
        .await
        .invalid_at("/quotas/session");
    let lead = site
        .ask(Method::PATCH, "/api/v1/tenants/acme")
        .key(&site.lead)
        .json(&json!({}));
    lead.send().await.problem(403, "FORBIDDEN");
}

#[tokio::test]
async fn everybody_sees_their_own_tenant_and_admins_all() {
    let site = Site::start().await;
    let slugs = async |key: &str| -> Vec<Value> {
        let list = site.get("/api/v1/tenants").key(key).send().await.json();
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["slug"].clone()).collect()
    };
    assert_eq!(slugs(&site.viewer).await, ["acme"]);
    assert_eq!(slugs(&site.admin).await, ["acme", "globex"]);
    let globex = site.globex.id.to_string();
    for named in ["globex", globex.as_str(), "nobody", "%00", "A%20B"] {
        let answer = site.get(&format!("/api/v1/tenants/{named}")).send().await;
        answer.problem(404, "TENANT_NOT_FOUND");
    }
    let page = site
        .get("/api/v1/tenants?limit=1")
        .key(&site.admin)
        .send()
        .await
        .json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let address = format!("/api/v1/tenants?limit=1&cursor={cursor}");
    let next = site.get(&address).key(&site.admin).send().await.json();
    assert_eq!(
        (&next["items"][0]["slug"], &next["next_cursor"]),
        (&json!("globex"), &Value::Null)
    );
}

#[tokio::test]
async fn queues_show_what_waits_and_runs() {
    let site = Site::start().await;
    let id = site.session("runs").await;
    site.session("waits").await;
    let worker = site.worker().await;
    site.claim(worker, &id).await;
    let queues = site.get("/api/v1/queues").send().await.json();
    let items = queues["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{queues}");
    let session = items
        .iter()
        .find(|queue| queue["kind"] == "session")
        .unwrap();
    assert_eq!(session["tenant"], "acme");
    assert_eq!(
        (&session["depth"], &session["running"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&session["quota"], &session["paused"]),
        (&json!(2), &json!(false))
    );
    assert!(session["oldest_age_seconds"].as_f64().unwrap() >= 0.0);
    let training = items
        .iter()
        .find(|queue| queue["kind"] == "training")
        .unwrap();
    assert_eq!(training["oldest_age_seconds"], Value::Null);
    site.get("/api/v1/queues?all=true")
        .send()
        .await
        .problem(403, "FORBIDDEN");
    let all = site
        .get("/api/v1/queues?all=true")
        .key(&site.admin)
        .send()
        .await
        .json();
    assert_eq!(all["items"].as_array().unwrap().len(), 4);
    let first = site
        .get("/api/v1/queues?all=true&limit=1")
        .key(&site.admin)
        .send()
        .await
        .json();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    assert!(first["next_cursor"].is_string());
}

#[tokio::test]
async fn workers_are_for_admins() {
    let site = Site::start().await;
    let worker = site.worker().await;
    site.get("/api/v1/workers")
        .key(&site.lead)
        .send()
        .await
        .problem(403, "FORBIDDEN");
    let list = site
        .get("/api/v1/workers")
        .key(&site.admin)
        .send()
        .await
        .json();
    let item = &list["items"][0];
    assert_eq!(
        (&item["id"], &item["alive"]),
        (&json!(worker.id.to_string()), &json!(true))
    );
    assert_eq!(
        (&item["capacity"], &item["kinds"]),
        (&json!(4), &json!(["session", "training"]))
    );
}
