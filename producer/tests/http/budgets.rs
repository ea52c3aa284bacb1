//! What tenants and families may use, and what is answered when it is used up.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::site::{Site, empty_report};

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
