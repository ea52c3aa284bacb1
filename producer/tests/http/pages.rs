//! The pages: complete without script, safe with hostile titles, closed without a key.

use axum::http::StatusCode;
use domain::{LogChunk, LogCursor, LogStream, Progress};
use serde_json::json;

use crate::answer::Answer;
use crate::site::{Ask, Site, empty_report};

fn logged_in<'a>(ask: Ask<'a>, key: &str) -> Ask<'a> {
    ask.no_key()
        .header("cookie", &format!("orchestrator_key={key}"))
}

async fn page(site: &Site, path: &str) -> Answer {
    logged_in(site.get(path), &site.member).send().await
}

async fn log_in(site: &Site, form: String, origin: &str) -> Answer {
    let ask = site
        .post("/login")
        .no_key()
        .header("host", "orchestrator.test");
    let ask = ask.header("origin", origin);
    ask.raw("application/x-www-form-urlencoded", form)
        .send()
        .await
}

#[tokio::test]
async fn the_first_page_asks_for_a_key_and_takes_it() {
    let site = Site::start().await;
    let form = site.get("/").no_key().send().await;
    assert_eq!(form.status, StatusCode::OK);
    assert!(form.text().contains("action=\"/login\""));
    let own = "http://orchestrator.test";
    let wrong = log_in(&site, "key=orc_wrong".to_owned(), own).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.header("set-cookie"), "");
    let form = format!("key={}&next=/jobs/1", site.member);
    let elsewhere = log_in(&site, form.clone(), "http://evil.example").await;
    assert_eq!(elsewhere.status, StatusCode::FORBIDDEN);
    let right = log_in(&site, form, own).await;
    assert_eq!(right.status, StatusCode::SEE_OTHER);
    assert_eq!(right.header("location"), "/jobs/1");
    let cookie = right.header("set-cookie");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "only behind https: {cookie}");
}

#[tokio::test]
async fn behind_https_the_cookie_is_secure() {
    let config = producer::ProducerConfig {
        trust_forwarded_proto: true,
        ..producer::ProducerConfig::default()
    };
    let site = Site::with(config).await;
    let form = format!("key={}", site.member);
    let ask = site
        .post("/login")
        .no_key()
        .header("x-forwarded-proto", "https");
    let answer = ask
        .raw("application/x-www-form-urlencoded", form)
        .send()
        .await;
    assert!(answer.header("set-cookie").contains("Secure"));
}

#[tokio::test]
async fn the_first_page_shows_queues_and_jobs() {
    let site = Site::start().await;
    let id = site.session("a <b>bold</b> title").await;
    let text = page(&site, "/").await.text();
    assert!(
        text.contains("a &#60;b&#62;bold&#60;/b&#62; title"),
        "{text}"
    );
    assert!(text.contains(&format!("href=\"/jobs/{id}\"")));
    assert!(text.contains("queued"));
    assert!(
        !text.contains("globex"),
        "another tenant is nowhere on the page"
    );
    assert!(
        !text.contains("style=") && !text.contains(" on"),
        "nothing inline"
    );
    let admin = logged_in(site.get("/"), &site.admin).send().await.text();
    assert!(admin.contains("/?tenant=globex"));
    let other = logged_in(site.get("/?tenant=globex"), &site.admin)
        .send()
        .await
        .text();
    assert!(!other.contains("bold"));
    let refused = page(&site, "/?tenant=globex").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.header("content-type").starts_with("text/html"));
}

#[tokio::test]
async fn a_jobs_page_tells_its_whole_story() {
    let site = Site::start().await;
    let body = json!({
        "title": "tell me", "agent": {"kind": "command", "run": "echo '<i>'"}, "repository": {"path": "/srv/shop"},
    });
    let created = site
        .post("/api/v1/sessions")
        .json(&body)
        .send()
        .await
        .json();
    let id = created["id"].as_str().unwrap();
    let worker = site.worker().await;
    let job = site.claim(worker, id).await;
    let mut report = empty_report(&job);
    report.progress = Some(Progress {
        fraction: Some(0.25),
        message: Some("reading".to_owned()),
        ..Progress::default()
    });
    report.logs = vec![LogChunk {
        cursor: LogCursor {
            attempt: 1,
            number: 1,
        },
        at: site.ports.clock.now(),
        stream: LogStream::Stdout,
        text: "<script>alert(1)</script>\n".to_owned(),
    }];
    site.report(worker, report).await;
    let answer = page(&site, &format!("/jobs/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK);
    let text = answer.text();
    for part in [
        "tell me",
        "running",
        "25 %",
        "reading",
        "started",
        "&#60;script&#62;alert(1)",
        "not ended yet",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let nonsense = page(&site, "/jobs/17").await;
    assert_eq!(nonsense.status, StatusCode::NOT_FOUND);
    assert!(nonsense.text().contains("</html>"));
    let foreign = logged_in(site.get(&format!("/jobs/{id}")), &site.stranger)
        .send()
        .await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    assert!(!foreign.text().contains("tell me"));
}

#[tokio::test]
async fn the_page_of_an_ended_job_without_output_expects_none() {
    let site = Site::start().await;
    let body = json!({"title": "quiet", "agent": {"kind": "echo"}});
    let created = site
        .post("/api/v1/sessions")
        .json(&body)
        .send()
        .await
        .json();
    let id = created["id"].as_str().unwrap();
    let waiting = page(&site, &format!("/jobs/{id}")).await.text();
    assert!(waiting.contains(">Nothing was printed yet.<"), "{waiting}");
    let cancelled = site.post(&format!("/api/v1/sessions/{id}/cancel"));
    assert_eq!(cancelled.send().await.status, StatusCode::OK);
    let ended = page(&site, &format!("/jobs/{id}")).await.text();
    assert!(ended.contains(">Nothing was printed.<"), "{ended}");
}

#[tokio::test]
async fn assets_are_served_and_not_sent_twice() {
    let site = Site::start().await;
    for (file, kind) in [
        ("style.css", "text/css"),
        ("live.js", "text/javascript"),
        ("icon.svg", "image/svg"),
    ] {
        let path = format!("/assets/{file}");
        let answer = site.get(&path).no_key().send().await;
        assert!(answer.header("content-type").starts_with(kind), "{file}");
        let tag = answer.header("etag").to_owned();
        let again = site
            .get(&path)
            .no_key()
            .header("if-none-match", &tag)
            .send()
            .await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    }
    for outside in ["/assets/nothing.css", "/assets/..%2FCargo.toml"] {
        site.get(outside)
            .no_key()
            .send()
            .await
            .problem(404, "NOT_FOUND");
    }
}
