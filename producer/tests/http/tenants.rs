//! Tenants, their quotas, and editors that meet.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::site::{Site, empty_report};

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
async fn a_months_budget_is_set_changed_and_taken_away() {
    let site = Site::start().await;
    let body = json!({"slug": "initech", "monthly_tokens": 1_000, "monthly_cost_usd": 2.5});
    let created = site.post("/api/v1/tenants").key(&site.admin).json(&body);
    let created = created.send().await.json();
    assert_eq!(created["monthly_tokens"], 1_000);
    let change = async |body: Value| {
        let ask = site.ask(Method::PATCH, "/api/v1/tenants/initech");
        ask.key(&site.admin).json(&body).send().await
    };
    for (body, tokens, cost) in [
        (json!({"name": "Initech"}), json!(1_000), json!(2.5)),
        (json!({"monthly_tokens": null}), Value::Null, json!(2.5)),
        (
            json!({"monthly_tokens": 7, "monthly_cost_usd": null}),
            json!(7),
            Value::Null,
        ),
    ] {
        let changed = change(body.clone()).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
        let tenant = changed.json();
        let limits = (&tenant["monthly_tokens"], &tenant["monthly_cost_usd"]);
        assert_eq!(limits, (&tokens, &cost), "{body}");
    }
    let ask = site.get("/api/v1/tenants/initech").key(&site.admin);
    let month = &ask.send().await.json()["this_month"];
    let used = (&month["tokens"], &month["cost_usd"], &month["used_up"]);
    assert_eq!(used, (&json!(0), &json!(0.0), &json!(false)), "{month}");
    assert!(
        month["ends_at"]
            .as_str()
            .unwrap()
            .ends_with("-01T00:00:00Z")
    );
    for (field, value) in [
        ("monthly_tokens", json!(0)),
        ("monthly_cost_usd", json!(-1.0)),
    ] {
        let wrong = change(json!({ field: value })).await;
        wrong.invalid_at(&format!("/{field}"));
    }
}

/// A run of the session with this id says that it has used so many tokens.
async fn spends(site: &Site, id: &str, tokens: u64) -> (domain::WorkerRef, domain::Job) {
    let worker = site.worker().await;
    let job = site.claim(worker, id).await;
    let mut report = empty_report(&job);
    report.spent = Some(domain::Spent {
        input_tokens: tokens,
        ..domain::Spent::default()
    });
    site.report(worker, report).await;
    (worker, job)
}

#[tokio::test]
async fn a_used_up_month_is_seen_and_keeps_sessions() {
    let site = Site::start().await;
    let change = async |body: Value| {
        let ask = site.ask(Method::PATCH, "/api/v1/tenants/acme");
        let changed = ask.key(&site.admin).json(&body).send().await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
        changed.json()["this_month"]["used_up"].clone()
    };
    assert_eq!(change(json!({"monthly_tokens": 100})).await, json!(false));
    let id = site.session("spends").await;
    let (worker, job) = spends(&site, &id, 120).await;
    site.finish(worker, &job, domain::Ending::Paused(None))
        .await;
    let tenant = site.get("/api/v1/tenants/acme").send().await.json();
    let month = &tenant["this_month"];
    assert_eq!(
        (&month["tokens"], &month["used_up"]),
        (&json!(120), &json!(true))
    );

    let waits = site.session("waits").await;
    assert!(site.try_claim(worker, &waits).await.is_none());
    let address = format!("/api/v1/sessions/{waits}/why");
    let why = site.get(&address).send().await.json();
    let reasons = why["reasons"].as_array().unwrap();
    let reason = reasons
        .iter()
        .find(|reason| reason["code"] == "TENANT_BUDGET");
    let reason = reason.unwrap_or_else(|| panic!("{why}"));
    assert_eq!(reason["data"]["until"], month["ends_at"], "{reason}");

    let resume = async || {
        let address = format!("/api/v1/sessions/{id}/resume");
        site.post(&address).send().await
    };
    let refused = resume().await;
    let problem = refused.problem(429, "TENANT_BUDGET_EXCEEDED");
    assert_eq!(problem["until"], month["ends_at"]);
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=31 * 24 * 3600).contains(&seconds), "{seconds}");

    assert_eq!(change(json!({"monthly_tokens": 1_000})).await, json!(false));
    assert!(site.try_claim(worker, &waits).await.is_some());
    assert_eq!(resume().await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_family_whose_budget_is_used_up_takes_no_child() {
    let site = Site::start().await;
    let offer = async |more: Value| {
        let mut body = json!({"title": "t", "agent": {"kind": "echo"}});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        site.post("/api/v1/sessions").json(&body).send().await
    };
    let root = offer(json!({"budget": {"tokens": 10}})).await.json();
    let root = root["id"].as_str().unwrap();
    let below = json!({"parent_id": root});
    assert_eq!(offer(below.clone()).await.status, StatusCode::CREATED);
    spends(&site, root, 10).await;
    let problem = offer(below).await.problem(409, "BUDGET_EXCEEDED");
    assert_eq!(problem["session"], root);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("10 of 10 tokens")
    );

    let mut last = offer(json!({})).await.json()["id"].clone();
    for _ in 1..domain::FAMILY_DEPTH_MAX {
        last = offer(json!({"parent_id": last})).await.json()["id"].clone();
    }
    let detail = offer(json!({"parent_id": last}))
        .await
        .invalid_at("/parent_id");
    assert!(detail.contains("generations"), "{detail}");
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
