//! Every failure is a problem document, whoever made it.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use producer::ProducerConfig;

use crate::site::Site;

#[tokio::test]
async fn an_address_that_is_not() {
    let site = Site::start().await;
    let problem = site.get("/api/v1/nothing").send().await;
    let problem = problem.problem(404, "NOT_FOUND");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("GET /api/v1/nothing")
    );
}

#[tokio::test]
async fn a_method_that_is_not() {
    let site = Site::start().await;
    let answer = site.ask(Method::PUT, "/api/v1/sessions").send().await;
    let problem = answer.problem(405, "METHOD_NOT_ALLOWED");
    assert!(answer.header("allow").contains("POST"));
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("PUT /api/v1/sessions")
    );
}

#[tokio::test]
async fn a_body_that_is_too_large() {
    let site = Site::start().await;
    let big = format!("{{\"title\":\"{}\"}}", "x".repeat(1_100_000));
    let answer = site
        .post("/api/v1/sessions")
        .raw("application/json", big.clone());
    answer.send().await.problem(413, "BODY_TOO_LARGE");
    // Bulk creation takes more: this one is read, and then refused for what it says.
    let answer = site
        .post("/api/v1/sessions/bulk")
        .raw("application/json", big);
    answer.send().await.problem(422, "VALIDATION_ERROR");
    let huge = " ".repeat(17 * 1024 * 1024);
    let answer = site
        .post("/api/v1/sessions/bulk")
        .raw("application/json", huge);
    answer.send().await.problem(413, "BODY_TOO_LARGE");
}

#[tokio::test]
async fn a_body_that_is_not_json() {
    let site = Site::start().await;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let answer = site
            .post("/api/v1/sessions")
            .raw(content_type, "{}")
            .send()
            .await;
        let problem = answer.problem(415, "UNSUPPORTED_MEDIA_TYPE");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("application/json")
        );
    }
    site.post("/api/v1/sessions")
        .send()
        .await
        .problem(415, "UNSUPPORTED_MEDIA_TYPE");
    for body in ["", "{", "{\"title\": nope}", "{\"title\":\"a\"}{"] {
        let answer = site
            .post("/api/v1/sessions")
            .raw("application/json", body)
            .send()
            .await;
        if body.ends_with("}{") {
            // Parsed as far as it goes, and then a field is missing: either is a fair answer, a crash is not.
            assert!(answer.status.is_client_error());
        } else {
            answer.problem(400, "INVALID_JSON");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_address() {
    let site = Site::start().await;
    let answer = site.get("/api/v1/sessions/%ff").send().await;
    answer.problem(400, "BAD_REQUEST");
}

#[tokio::test]
async fn a_store_that_is_gone_tells_nothing_of_itself() {
    let site = Site::start().await;
    site.session("before").await;
    site.store.close().await;
    let answer = site.get("/api/v1/sessions").send().await;
    let problem = answer.problem(503, "STORE_UNAVAILABLE");
    assert_eq!(answer.header("retry-after"), "1");
    let told = problem.to_string().to_lowercase();
    for secret in ["sqlite", "sqlx", "pool", "store.db"] {
        assert!(!told.contains(secret), "{problem}");
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let site = Site::with(ProducerConfig {
        request_timeout: Duration::from_millis(50),
        ..ProducerConfig::default()
    })
    .await;
    let never = futures::stream::pending::<Result<String, std::io::Error>>();
    let ask = site.post("/api/v1/sessions");
    let ask = ask.raw("application/json", Body::from_stream(never));
    ask.send().await.problem(503, "REQUEST_TIMEOUT");
}

#[tokio::test]
async fn a_body_that_breaks_off() {
    let site = Site::start().await;
    let parts = futures::stream::iter([
        Ok("{\"title\":"),
        Err(std::io::Error::other("the client went away")),
    ]);
    let answer = site.post("/api/v1/sessions");
    let answer = answer
        .raw("application/json", Body::from_stream(parts))
        .send()
        .await;
    answer.problem(400, "BAD_REQUEST");
}

#[tokio::test]
async fn request_ids_are_kept_when_harmless_and_replaced_when_not() {
    let site = Site::start().await;
    let ask = |id: &str| site.get("/health/live").header("x-request-id", id).send();
    let kept = ask("build-17.3_a:b").await;
    assert_eq!(kept.header("x-request-id"), "build-17.3_a:b");
    let long = "x".repeat(129);
    for strange in ["a b", "<script>", "a\tb", long.as_str(), ""] {
        let answer = ask(strange).await;
        assert_eq!(answer.header("x-request-id").len(), 36, "{strange}");
    }
}

#[tokio::test]
async fn answers_carry_the_headers_that_keep_browsers_tame() {
    let site = Site::start().await;
    for path in ["/", "/api/v1/sessions", "/nothing"] {
        let answer = site.get(path).send().await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_template_and_never_by_path() {
    let site = Site::start().await;
    let id = site.session("counted").await;
    site.get(&format!("/api/v1/sessions/{id}")).send().await;
    site.get("/api/v1/made-up/by-a-client").send().await;
    site.ask(Method::from_bytes(b"BREW").unwrap(), "/health/live")
        .send()
        .await;
    let text = site.metrics.render();
    assert!(text.contains("route=\"/api/v1/sessions/{id}\""), "{text}");
    assert!(text.contains("route=\"unmatched\""));
    assert!(text.contains("method=\"other\""));
    for never in [id.as_str(), "made-up", "BREW", "acme"] {
        assert!(!text.contains(never), "{never}");
    }
}
