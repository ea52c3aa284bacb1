//! Whatever is wrong with a request is said clearly, and changes nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Api, Mode, Stand};

const SESSIONS: &str = "/api/v1/sessions";

/// A request that is wrong, and what is said about it.
struct Case {
    path: &'static str,
    body: Value,
    status: u16,
    code: &'static str,
    /// The place that must be named, or nothing.
    pointer: &'static str,
}

fn session(changes: &Value) -> Value {
    let mut body = json!({"title": "wrong", "agent": {"kind": "echo"}});
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn cases() -> Vec<Case> {
    let session = |changes, pointer| Case {
        path: SESSIONS,
        body: session(&changes),
        status: 422,
        code: "VALIDATION_ERROR",
        pointer,
    };
    let tenant = |body, pointer| Case {
        path: "/api/v1/tenants",
        body,
        status: 422,
        code: "VALIDATION_ERROR",
        pointer,
    };
    let training = |body, pointer| Case {
        path: "/api/v1/fine-tuning/jobs",
        body,
        status: 422,
        code: "VALIDATION_ERROR",
        pointer,
    };
    let command = |agent: Value, pointer| session(json!({"agent": agent}), pointer);
    vec![
        // An agent that nobody knows, or that makes no sense.
        command(json!({"kind": "oracle"}), "/agent/kind"),
        command(json!({"kind": "command"}), "/agent"),
        command(json!({"kind": "command", "run": "x", "argv": ["x"]}), "/agent"),
        command(json!({"kind": "command", "argv": []}), "/agent/argv"),
        command(json!({"kind": "echo", "run": "x"}), "/agent/run"),
        command(json!({"kind": "echo", "speed": 3}), "/agent/speed"),
        // Texts and numbers out of bounds.
        session(json!({"title": "x".repeat(10_000)}), "/title"),
        session(json!({"title": ""}), "/title"),
        session(json!({"title": "a\u{0}b"}), "/title"),
        session(json!({"max_attempts": 0}), "/max_attempts"),
        session(json!({"max_duration_seconds": 0}), "/max_duration_seconds"),
        session(json!({"tags": ["x".repeat(65)]}), "/tags/0"),
        session(json!({"keep": ["../../etc/passwd"]}), "/keep/0"),
        session(json!({"repository": {"path": "relative"}}), "/repository/path"),
        session(json!({"repository": {"path": "/x", "ref": "--upload-pack=x"}}), "/repository/ref"),
        // Wrong types, unknown and missing fields.
        session(json!({"title": 7}), "/title"),
        session(json!({"priority": "urgent"}), "/priority"),
        session(json!({"max_attempts": "three"}), "/max_attempts"),
        session(json!({"max_attempts": -1}), "/max_attempts"),
        session(json!({"tags": "story"}), "/tags"),
        session(json!({"metadata": []}), "/metadata"),
        session(json!({"run_after": "tomorrow"}), "/run_after"),
        session(json!({"colour": "red"}), "/colour"),
        Case { body: json!({"agent": {"kind": "echo"}}), ..session(json!({}), "/title") },
        Case { body: json!({"title": "x"}), ..session(json!({}), "/agent") },
        // Tenants.
        tenant(json!({"slug": "zero", "quotas": {"session": 0}}), "/quotas/session"),
        tenant(json!({"slug": "zero", "quotas": {"training": 0}}), "/quotas/training"),
        tenant(json!({"slug": "zero", "quotas": {"gpu": 1}}), "/quotas/gpu"),
        tenant(json!({"slug": "zero", "max_queued": 0}), "/max_queued"),
        tenant(json!({"slug": "zero", "weight": 0}), "/weight"),
        tenant(json!({"slug": "No Slug"}), "/slug"),
        // Training jobs.
        training(json!({"base_model": "m", "target_model_name": "t"}), "/dataset"),
        training(
            json!({"base_model": "", "target_model_name": "t", "dataset": {"path": "/x"}}),
            "/base_model",
        ),
        training(
            json!({"base_model": "m", "target_model_name": "t", "dataset": {"path": "x"}}),
            "/dataset/path",
        ),
        training(
            json!({"base_model": "m", "target_model_name": "t", "dataset": {"path": "/x"}, "provider": "moon"}),
            "/provider",
        ),
    ]
}

fn agent_cases() -> Vec<Case> {
    let opencode = |agent: &Value, pointer| {
        let mut agent = agent.clone();
        agent["kind"] = "opencode".into();
        Case {
            path: SESSIONS,
            body: session(&json!({"agent": agent, "prompt": "work"})),
            status: 422,
            code: "VALIDATION_ERROR",
            pointer,
        }
    };
    let rule = |permission: &str, action: &str| {
        json!({"permissions": [{"permission": permission, "pattern": "*", "action": action}]})
    };
    vec![
        Case {
            body: session(&json!({"agent": {"kind": "opencode"}})),
            ..opencode(&json!({}), "/prompt")
        },
        opencode(&json!({"model": "no-provider"}), "/agent/model"),
        opencode(&json!({"run": "x"}), "/agent/run"),
        opencode(&rule("bash", "ask"), "/agent/permissions/0/action"),
        opencode(&rule("", "deny"), "/agent/permissions/0/permission"),
        Case {
            body: session(&json!({"agent": {"kind": "eap", "name": "http://127.0.0.1/"}})),
            ..opencode(&json!({}), "/agent/name")
        },
        Case {
            body: session(&json!({"agent": {"kind": "eap", "name": "a", "files": ["README"]}})),
            ..opencode(&json!({}), "/agent/files")
        },
    ]
}

pub async fn every_wrong_body_gets_its_problem(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    for case in cases().into_iter().chain(agent_cases()) {
        let answer = tenant.api.post(case.path, &case.body).await;
        let problem = answer.expect_problem(case.status, case.code);
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let named = errors.iter().any(|error| {
            let detail = error["detail"].as_str().unwrap_or_default();
            error["pointer"] == case.pointer && !detail.is_empty()
        });
        assert!(named, "{} is not named in {problem:#}", case.pointer);
    }
    assert!(tenant.sessions("").await.is_empty(), "nothing was created");

    // A quota of 0 cannot be had later either.
    let path = format!("/api/v1/tenants/{}", tenant.slug);
    let none = json!({"quotas": {"session": 0}});
    let problem = stand.admin().patch(&path, &none).await.expect_problem(422, "VALIDATION_ERROR");
    assert_eq!(problem["errors"][0]["pointer"], "/quotas/session");
}

pub async fn what_is_no_request_gets_its_problem_too(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let api = &stand.tenant().await.api;
    for text in ["", "{", "{\"title\": }", "{\"title\": \"x\", \"agent\": {\"kind\": \"echo\"}} {", "title=x", "\u{feff}{}"] {
        let answer = api.post_text(SESSIONS, "application/json", text).await;
        answer.expect_problem(400, "INVALID_JSON");
    }
    for text in ["[]", "7", "null", "\"text\""] {
        let answer = api.post_text(SESSIONS, "application/json", text).await;
        answer.expect_problem(422, "VALIDATION_ERROR");
    }
    let answer = api.post_text(SESSIONS, "text/plain", "{}").await;
    answer.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    let large = format!("{{\"title\": \"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let answer = api.post_text(SESSIONS, "application/json", &large).await;
    // The rest of the body was not read: the client is told to begin anew.
    assert_eq!(answer.header("connection"), Some("close"));
    answer.expect_problem(413, "BODY_TOO_LARGE");
    api.get("/api/v1/no-such-thing").await.expect_problem(404, "NOT_FOUND");
    let answer = api.send(api.request(Method::PUT, SESSIONS)).await;
    answer.expect_problem(405, "METHOD_NOT_ALLOWED");
}

pub async fn a_list_refuses_what_it_does_not_understand(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let other = stand.tenant().await;
    for _ in 0..3 {
        tenant.echo().await;
    }
    let page = tenant.api.get("/api/v1/sessions?limit=1").await.expect(200);
    assert!(page.header("link").unwrap_or_default().contains("rel=\"next\""));
    let cursor = page.json()["next_cursor"].as_str().unwrap().to_owned();
    let refused = async |api: &Api, query: &str, pointer: &str| {
        let answer = api.get(&format!("{SESSIONS}?{query}")).await;
        let problem = answer.expect_problem(422, "VALIDATION_ERROR");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}: {problem:#}");
    };
    let api = &tenant.api;
    // It is a cursor, of this list only: not of another filter's, not of another tenant's.
    api.get(&format!("{SESSIONS}?limit=1&cursor={cursor}")).await.expect(200);
    refused(api, &format!("state=queued&cursor={cursor}"), "/cursor").await;
    refused(&other.api, &format!("limit=1&cursor={cursor}"), "/cursor").await;
    refused(api, "cursor=next", "/cursor").await;
    refused(api, "limit=0", "/limit").await;
    refused(api, "limit=201", "/limit").await;
    refused(api, "limit=ten", "/limit").await;
    refused(api, "state=sleeping", "/state").await;
    refused(api, "priority=urgent", "/priority").await;
    refused(api, "colour=red", "/colour").await;
}

/// Without a key nothing, with a tenant's key only what is the tenant's: the rest is not there.
pub async fn tenants_do_not_see_each_other(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let mine = stand.tenant().await;
    let theirs = stand.tenant().await;
    let extra = json!({"keep": ["secret.txt"]});
    let job = theirs.command_with("echo theirs > secret.txt", extra).await;
    job.reaches("completed").await;
    let artifacts = job.artifacts().await;
    let artifact = artifacts[0]["id"].as_str().unwrap();
    job.artifact(artifact).await;
    let new_key = json!({"name": "a story's", "role": "member"});
    let key = mine.api.post("/api/v1/keys", &new_key).await.expect(201).json();
    let key = key["key"].as_str().unwrap();
    let api = stand.admin().with_key(Some(key));

    let path = format!("{SESSIONS}/{}", job.id);
    for part in ["", "/events", "/logs", "/diff", "/attempts", "/artifacts"] {
        let answer = api.get(&format!("{path}{part}")).await;
        answer.expect_problem(404, "SESSION_NOT_FOUND");
    }
    let answer = api.get(&format!("{path}/artifacts/{artifact}")).await;
    answer.expect_problem(404, "SESSION_NOT_FOUND");
    for action in ["start", "cancel", "stop", "retry"] {
        let answer = api.post_empty(&format!("{path}/{action}")).await;
        answer.expect_problem(404, "SESSION_NOT_FOUND");
    }
    let unknown = "01900000-0000-7000-8000-000000000000";
    api.get(&format!("{SESSIONS}/{unknown}")).await.expect_problem(404, "SESSION_NOT_FOUND");
    assert_eq!(api.get(&format!("{SESSIONS}/nonsense")).await.status, 404);
    let listed = api.get(SESSIONS).await.expect(200).json();
    assert_eq!(listed["items"], json!([]));

    // The header does not open another door.
    let elsewhere = api.acting_for(&theirs.id);
    elsewhere.get(SESSIONS).await.expect_problem(403, "WRONG_TENANT");
    let nowhere = api.acting_for("no-such-tenant");
    nowhere.get(SESSIONS).await.expect_problem(403, "WRONG_TENANT");
    // A member submits, and manages nothing.
    let body = json!({"slug": "sneaky"});
    api.post("/api/v1/tenants", &body).await.expect_problem(403, "FORBIDDEN");
    for key in [None, Some("orc_nonsense"), Some("Basic"), Some(&key[..key.len() - 1])] {
        let answer = api.with_key(key).get(SESSIONS).await;
        assert!(answer.header("www-authenticate").is_some());
        answer.expect_problem(401, "UNAUTHENTICATED");
    }
}
