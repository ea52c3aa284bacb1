//! Many at once: all or none.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Mode, Quota, Stand, eventually};

const BULK: &str = "/api/v1/sessions/bulk";
const MANY: usize = 1_000;
/// A debug build on a busy machine; the point is that they all come to their end.
const LIMIT: Duration = Duration::from_mins(3);

fn sessions(count: usize) -> Vec<Value> {
    let session = |index| json!({"title": format!("number {index}"), "agent": {"kind": "echo"}});
    (0..count).map(session).collect()
}

pub async fn a_thousand_sessions_complete(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let quota = Quota {
        sessions: 100,
        ..Quota::default()
    };
    let tenant = stand.tenant_with(quota).await;
    let body = json!({"sessions": sessions(MANY)});
    let created = tenant.api.post(BULK, &body).await.expect(201).json();
    let ids: Vec<String> = serde_json::from_value(created["ids"].clone()).unwrap();
    assert_eq!(ids.len(), MANY);
    eventually("the queue is empty", LIMIT, async || {
        let queue = tenant.queue().await;
        (queue["depth"] == 0 && queue["running"] == 0).then_some(())
    })
    .await;
    let completed = tenant.sessions("&state=completed").await;
    let listed: HashSet<&str> = completed.iter().filter_map(|job| job["id"].as_str()).collect();
    assert_eq!(listed.len(), completed.len(), "no page repeats another one");
    let created: HashSet<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(listed, created, "all of them completed, and nothing else");
    assert!(completed.iter().all(|job| job["attempt"] == 1), "each ran once");
    // In the order of the request, which is that of their creation: the newest first.
    let titles: Vec<&str> = completed.iter().filter_map(|job| job["title"].as_str()).collect();
    assert_eq!((titles[0], titles[MANY - 1]), ("number 999", "number 0"));
}

pub async fn one_wrong_session_refuses_all(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let mut wrong = sessions(MANY);
    wrong[500]["title"] = json!("");
    wrong[700]["agent"]["kind"] = json!("oracle");
    let answer = tenant.api.post(BULK, &json!({"sessions": wrong})).await;
    let problem = answer.expect_problem(422, "VALIDATION_ERROR");
    let pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|error| error["pointer"].as_str())
        .collect();
    assert!(pointers.contains(&"/sessions/700/agent/kind"), "{pointers:?}");
    assert!(pointers.iter().all(|pointer| ["/sessions/500/title", "/sessions/700/agent/kind"].contains(pointer)));

    let mut wrong = sessions(MANY);
    wrong[500]["title"] = json!("");
    let answer = tenant.api.post(BULK, &json!({"sessions": wrong})).await;
    let problem = answer.expect_problem(422, "VALIDATION_ERROR");
    assert_eq!(problem["errors"][0]["pointer"], "/sessions/500/title");
    for count in [0, MANY + 1] {
        let answer = tenant.api.post(BULK, &json!({"sessions": sessions(count)})).await;
        answer.expect_problem(422, "VALIDATION_ERROR");
    }
    assert!(tenant.sessions("").await.is_empty(), "nothing was created");
    assert_eq!(tenant.queue().await["depth"], 0);
}
