//! A full backlog refuses, whole submissions at a time, and says when to come back.

use serde_json::json;

use crate::harness::{Mode, Quota, Stand};

const LIMIT: u32 = 3;

pub async fn a_full_backlog_refuses_and_nothing_is_half_done(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let quota = Quota {
        waiting: LIMIT,
        ..Quota::default()
    };
    let tenant = stand.tenant_with(quota).await;
    let waits = json!({"title": "waits", "agent": {"kind": "echo"}, "start": false});
    let offer = async |count: usize| {
        let body = json!({"sessions": vec![waits.clone(); count]});
        tenant.api.post("/api/v1/sessions/bulk", &body).await
    };
    offer(2).await.expect(201);
    // Room for one, and two are offered: none is taken.
    let refused = offer(2).await;
    let retry_after = refused.header("retry-after").and_then(|text| text.parse::<u32>().ok());
    assert!(retry_after.is_some_and(|seconds| seconds > 0));
    let problem = refused.expect_problem(429, "QUOTA_EXCEEDED");
    assert_eq!(problem["limit"], LIMIT);
    assert_eq!(problem["waiting"], 2);
    assert_eq!(problem["offered"], 2);
    assert_eq!(tenant.sessions("").await.len(), 2);

    offer(1).await.expect(201);
    let answer = tenant.api.post("/api/v1/sessions", &waits).await;
    answer.expect_problem(429, "QUOTA_EXCEEDED");
    let all = tenant.sessions("").await;
    assert_eq!(all.len(), LIMIT as usize);

    // Room comes back with the first one that is gone.
    let first = tenant.job(all[0]["id"].as_str().unwrap());
    first.act("cancel").await.expect(200);
    tenant.api.post("/api/v1/sessions", &waits).await.expect(201);

    // Another tenant has its own backlog.
    stand.tenant().await.echo().await.reaches("completed").await;
}
