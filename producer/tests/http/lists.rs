//! Lists: order, pages, filters, and cursors that stay where they belong.

use serde_json::{Value, json};

use crate::site::Site;

fn titles(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["title"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn pages_neither_repeat_nor_miss_while_jobs_are_added() {
    let site = Site::start().await;
    for number in 0..25 {
        site.session(&format!("job {number}")).await;
    }
    let mut seen = Vec::new();
    let mut address = "/api/v1/sessions?limit=10&state=queued".to_owned();
    loop {
        let answer = site.get(&address).send().await;
        let page = answer.json();
        seen.extend(titles(&page));
        site.session("meanwhile").await;
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert_eq!(answer.header("link"), "");
            break;
        };
        let link = answer.header("link");
        address = format!("/api/v1/sessions?limit=10&state=queued&cursor={cursor}");
        assert_eq!(link, format!("<{address}>; rel=\"next\""));
    }
    let expected: Vec<String> = (0..25)
        .rev()
        .map(|number| format!("job {number}"))
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_last_page_is_known_to_be_the_last() {
    let site = Site::start().await;
    for number in 0..4 {
        site.session(&format!("job {number}")).await;
    }
    let exact = site.get("/api/v1/sessions?limit=4").send().await.json();
    assert_eq!(
        (titles(&exact).len(), &exact["next_cursor"]),
        (4, &Value::Null)
    );
}

#[tokio::test]
async fn a_cursor_from_elsewhere_is_refused() {
    let site = Site::start().await;
    for number in 0..3 {
        site.session(&format!("job {number}")).await;
    }
    let page = site
        .get("/api/v1/sessions?limit=1&state=queued")
        .send()
        .await
        .json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let elsewhere = [
        format!("/api/v1/sessions?state=running&cursor={cursor}"),
        format!("/api/v1/sessions?cursor={cursor}"),
        format!("/api/v1/fine-tuning/jobs?state=queued&cursor={cursor}"),
        format!("/api/v1/jobs?state=queued&cursor={cursor}"),
        format!("/api/v1/tenants?cursor={cursor}"),
    ];
    for address in elsewhere {
        let answer = site.get(&address).send().await;
        let detail = answer.invalid_at("/cursor");
        assert!(detail.contains("belongs to another"), "{address}: {detail}");
    }
    let address = format!("/api/v1/sessions?state=queued&cursor={cursor}");
    site.get(&address)
        .key(&site.stranger)
        .send()
        .await
        .invalid_at("/cursor");
    // Another page size is no other list.
    let next = site.get(&format!("{address}&limit=2")).send().await.json();
    assert_eq!(titles(&next), ["job 1", "job 0"]);
}

#[tokio::test]
async fn filters_narrow_and_combine() {
    let site = Site::start().await;
    let create = async |title: &str, priority: &str, tags: Value, start: bool| {
        let body = json!({
            "title": title, "priority": priority, "tags": tags, "start": start, "agent": {"kind": "echo"},
        });
        site.post("/api/v1/sessions")
            .json(&body)
            .send()
            .await
            .json()
    };
    create("Alpha build", "high", json!(["ci"]), true).await;
    create("beta build", "low", json!(["ci", "slow"]), false).await;
    create("100% gamma_ray", "high", json!([]), true).await;
    let table: [(&str, &[&str]); 11] = [
        ("", &["100% gamma_ray", "beta build", "Alpha build"]),
        ("?state=pending", &["beta build"]),
        (
            "?state=pending&state=queued",
            &["100% gamma_ray", "beta build", "Alpha build"],
        ),
        (
            "?state=pending,queued&priority=high",
            &["100% gamma_ray", "Alpha build"],
        ),
        ("?priority=low", &["beta build"]),
        ("?tag=ci", &["beta build", "Alpha build"]),
        ("?tag=slow&state=queued", &[]),
        ("?q=ALPHA", &["Alpha build"]),
        // What a pattern language would read as "anything" is itself.
        ("?q=%25", &["100% gamma_ray"]),
        ("?q=gamma_", &["100% gamma_ray"]),
        ("?q=gamma-", &[]),
    ];
    for (query, expected) in table {
        let page = site
            .get(&format!("/api/v1/sessions{query}"))
            .send()
            .await
            .json();
        assert_eq!(titles(&page), expected, "{query}");
    }
}

#[tokio::test]
async fn jobs_of_all_kinds_are_listed_together() {
    let site = Site::start().await;
    site.session("a session").await;
    let training = json!({
        "base_model": "tiny", "target_model_name": "a model", "dataset": {"path": "/srv/data.jsonl"},
    });
    site.post("/api/v1/fine-tuning/jobs")
        .json(&training)
        .send()
        .await;
    let all = site.get("/api/v1/jobs").send().await.json();
    assert_eq!(titles(&all), ["a model", "a session"]);
    let sessions = site.get("/api/v1/sessions").send().await.json();
    assert_eq!(titles(&sessions), ["a session"]);
    let trainings = site.get("/api/v1/fine-tuning/jobs").send().await.json();
    assert_eq!(titles(&trainings), ["a model"]);
}
