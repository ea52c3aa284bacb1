//! Registered agents: made, read, changed and removed by those who may, beating with their own token, and chosen.

use application::agent_tokens::AgentTokens;
use axum::http::{Method, StatusCode};
use producer::ProducerConfig;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::site::{AGENT_SECRET, Site};

const ALL: &str = "/api/v1/agents";
const REGISTER: &str = "/api/v1/agents/external/register";

fn tester() -> Value {
    json!({
        "name": "tester", "agent": {"kind": "command", "run": "make test"}, "capabilities": ["shell", "testing"],
        "tier": 4, "capacity": 2, "labels": {"region": "eu"}, "cost_usd": 0.5,
    })
}

async fn register(site: &Site, key: &str, body: &Value) -> Answer {
    site.post(ALL).key(key).json(body).send().await
}

async fn registered(site: &Site, body: &Value) -> Value {
    let answer = register(site, &site.lead, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    answer.json()
}

fn external(name: &str, url: Option<&str>) -> Value {
    json!({
        "protocol_version": "1.0", "name": name, "version": "0.1", "agent_type": "tester", "capabilities": ["testing"],
        "endpoint_url": url, "max_concurrent_tasks": 2,
    })
}

#[tokio::test]
async fn an_agent_is_shown_as_it_was_registered() {
    let site = Site::start().await;
    let answer = register(&site, &site.lead, &tester()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(answer.header("etag"), "\"1\"");
    let location = answer.header("location").to_owned();
    let made = answer.json();
    for (field, said) in tester().as_object().unwrap() {
        assert_eq!(&made[field], said, "{field}");
    }
    for (field, expected) in [
        ("kind", json!("command")),
        ("state", json!("active")),
        ("available", json!(true)),
        ("in_use", json!(0)),
        ("shared", json!(false)),
        ("success_rate", json!(1.0)),
        ("quality", json!(null)),
        (
            "breaker",
            json!({"state": "closed", "failures": 0, "until": null}),
        ),
    ] {
        assert_eq!(made[field], expected, "{field}");
    }
    for path in [location.as_str(), "/api/v1/agents/tester"] {
        assert_eq!(site.get(path).key(&site.viewer).send().await.json(), made);
    }
    register(&site, &site.lead, &tester())
        .await
        .problem(409, "AGENT_NAME_TAKEN");
}

#[tokio::test]
async fn a_label_that_is_given_twice_is_refused() {
    let site = Site::start().await;
    registered(&site, &tester()).await;
    let twice = r#"{"a": "1", "b": "2", "a": "3"}"#;
    let agent = r#""name": "other", "agent": {"kind": "echo"}"#;
    let change = format!("{ALL}/tester");
    for (method, address, body, pointer) in [
        (
            Method::POST,
            ALL,
            format!("{{{agent}, \"labels\": {twice}}}"),
            "/labels",
        ),
        (
            Method::PATCH,
            &change,
            format!("{{\"labels\": {twice}}}"),
            "/labels",
        ),
        (
            Method::POST,
            "/api/v1/agents/route",
            format!("{{\"agent_labels\": {twice}}}"),
            "/agent_labels",
        ),
    ] {
        let ask = site
            .ask(method, address)
            .key(&site.lead)
            .header("if-match", "\"1\"");
        let answer = ask.raw("application/json", body).send().await;
        let detail = answer.invalid_at(pointer);
        assert!(detail.contains("`a` is given twice"), "{detail}");
    }
    let shown = site.get(&change).key(&site.lead).send().await.json();
    assert_eq!(shown["labels"], json!({"region": "eu"}));
    let listed = site.get(ALL).key(&site.lead).send().await.json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn agents_are_managed_by_leads_and_shared_ones_by_admins() {
    let site = Site::start().await;
    let shared = json!({"name": "common", "agent": {"kind": "echo"}, "shared": true});
    register(&site, &site.member, &tester())
        .await
        .problem(403, "FORBIDDEN");
    register(&site, &site.lead, &shared)
        .await
        .problem(403, "FORBIDDEN");
    assert_eq!(
        register(&site, &site.admin, &shared).await.status,
        StatusCode::CREATED
    );
    let own = registered(&site, &tester()).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let listed = site.get(ALL).key(&site.stranger).send().await.json();
    assert_eq!(listed["items"][0]["name"], "common");
    assert_eq!(
        listed["items"].as_array().unwrap().len(),
        1,
        "acme's own is not shown"
    );
    let path = format!("{ALL}/{own}");
    site.get(&path)
        .key(&site.stranger)
        .send()
        .await
        .problem(404, "AGENT_NOT_FOUND");
    for (method, path) in [
        (Method::PATCH, format!("{ALL}/common")),
        (Method::POST, format!("{ALL}/common/drain")),
        (Method::DELETE, format!("{ALL}/common")),
    ] {
        let refused = site
            .ask(method, &path)
            .key(&site.lead)
            .json(&json!({}))
            .send()
            .await;
        refused.problem(403, "FORBIDDEN");
    }
    let gone = site
        .ask(Method::DELETE, &format!("{ALL}/common"))
        .key(&site.admin)
        .send()
        .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_agent_is_changed_drained_resumed_and_removed() {
    let site = Site::start().await;
    registered(&site, &tester()).await;
    let patch = |body: Value, tag: &'static str| {
        let ask = site
            .ask(Method::PATCH, "/api/v1/agents/tester")
            .key(&site.lead);
        ask.header("if-match", tag).json(&body).send()
    };
    let changed = patch(json!({"tier": 2, "agent": {"kind": "echo"}}), "\"1\"").await;
    assert_eq!(changed.header("etag"), "\"2\"");
    assert_eq!(
        (&changed.json()["tier"], &changed.json()["kind"]),
        (&json!(2), &json!("echo"))
    );
    patch(json!({"tier": 3}), "\"1\"")
        .await
        .problem(412, "VERSION_MISMATCH");
    patch(json!({"tier": 9}), "*").await.invalid_at("/tier");
    patch(json!({"level": 9}), "*").await.invalid_at("/level");
    let steer = |verb: &str| {
        site.post(&format!("{ALL}/tester/{verb}"))
            .key(&site.lead)
            .send()
    };
    let drained = steer("drain").await.json();
    assert_eq!(
        (&drained["state"], &drained["available"]),
        (&json!("draining"), &json!(false))
    );
    assert_eq!(drained["unavailable_because"], "is draining");
    assert_eq!(steer("resume").await.json()["available"], true);
    let delete = || {
        site.ask(Method::DELETE, "/api/v1/agents/tester")
            .key(&site.lead)
            .send()
    };
    assert_eq!(delete().await.status, StatusCode::NO_CONTENT);
    delete().await.problem(404, "AGENT_NOT_FOUND");
}

#[tokio::test]
async fn agents_are_paged_by_name() {
    let site = Site::start().await;
    for name in ["b", "c", "a"] {
        registered(&site, &json!({"name": name, "agent": {"kind": "echo"}})).await;
    }
    let first = site.get("/api/v1/agents?limit=2").send().await;
    let (page, cursor) = (first.json(), first.json()["next_cursor"].clone());
    assert_eq!(
        (&page["items"][0]["name"], &page["items"][1]["name"]),
        (&json!("a"), &json!("b"))
    );
    assert!(first.header("link").contains("rel=\"next\""));
    let next = format!("{ALL}?limit=2&cursor={}", cursor.as_str().unwrap());
    let next = site.get(&next).send().await.json();
    assert_eq!(
        (&next["items"][0]["name"], &next["next_cursor"]),
        (&json!("c"), &Value::Null)
    );
}

/// Registered by a lead; its id and its token.
async fn registered_external(site: &Site) -> (String, String) {
    let ask = site.post(REGISTER).key(&site.lead);
    let answer = ask.json(&external("EXT-1", None)).send().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let made = answer.json();
    assert_eq!(made["heartbeat_interval_seconds"], 10);
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("agent_id"), text("auth_token"))
}

async fn beat(site: &Site, id: &str, token: &str, body: &Value) -> Answer {
    let path = format!("{ALL}/external/{id}/heartbeat");
    let ask = site.post(&path).no_key().header("x-agent-token", token);
    ask.json(body).send().await
}

fn healthy() -> Value {
    json!({"status": "healthy", "current_load": 0.5, "tasks_in_progress": 1})
}

#[tokio::test]
async fn an_external_agent_is_available_while_it_beats() {
    let site = Site::start().await;
    let (id, token) = registered_external(&site).await;
    let shown = || site.get("/api/v1/agents/EXT-1").send();
    let silent = shown().await.json();
    let never = "was never heard of since it registered";
    assert_eq!(silent["unavailable_because"], never);
    let answer = beat(&site, &id, &token, &healthy()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let heard = shown().await;
    assert_eq!(heard.json()["available"], true);
    assert_eq!(heard.json()["heartbeat"]["current_load"], 0.5);
    assert!(!heard.text().contains(&token), "it is shown once");
    let busy = json!({"status": "busy", "current_load": 1, "tasks_in_progress": 1});
    beat(&site, &id, &token, &busy).await;
    let said = shown().await.json();
    assert_eq!(said["unavailable_because"], "says that it is busy");
}

#[tokio::test]
async fn a_heartbeat_needs_the_agents_own_token() {
    let site = Site::start().await;
    let (id, token) = registered_external(&site).await;
    for wrong in ["ora_wrong", site.lead.as_str(), ""] {
        let answer = beat(&site, &id, wrong, &healthy()).await;
        answer.problem(401, "UNAUTHENTICATED");
    }
    let path = format!("{ALL}/external/{id}/heartbeat");
    let keyed = site.post(&path).key(&site.lead).json(&healthy()).send();
    keyed.await.problem(401, "UNAUTHENTICATED");
    let nobody = "0198c5a2-7e1b-7cc0-8000-0123456789ab";
    let unknown = beat(&site, nobody, &token, &healthy()).await;
    unknown.problem(404, "AGENT_NOT_FOUND");
    for (field, value) in [("/status", json!("fine")), ("/current_load", json!(1.5))] {
        let mut wrong = healthy();
        wrong[&field[1..]] = value;
        beat(&site, &id, &token, &wrong).await.invalid_at(field);
    }
    let (again, newer) = registered_external(&site).await;
    assert_eq!(again, id);
    let old = beat(&site, &id, &token, &healthy()).await;
    old.problem(401, "UNAUTHENTICATED");
    let new = beat(&site, &id, &newer, &healthy()).await;
    assert_eq!(new.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_external_agent_is_not_a_way_into_the_servers_network() {
    let site = Site::start().await;
    let ask = async |site: &Site, body: &Value| {
        site.post(REGISTER).key(&site.lead).json(body).send().await
    };
    for url in [
        "http://127.0.0.1:1/",
        "http://169.254.169.254/latest",
        "http://10.0.0.1/",
        "file:///etc/passwd",
    ] {
        ask(&site, &external("E", Some(url)))
            .await
            .invalid_at("/endpoint_url");
    }
    assert_eq!(
        ask(&site, &external("E", Some("http://93.184.215.14/")))
            .await
            .status,
        StatusCode::CREATED
    );
    ask(&site, &external("lower", None))
        .await
        .invalid_at("/name");
    for tasks in [0, 1001] {
        let mut body = external("E", None);
        body["max_concurrent_tasks"] = json!(tasks);
        ask(&site, &body).await.invalid_at("/max_concurrent_tasks");
    }
    let mut old = external("E", None);
    old["protocol_version"] = json!("0.9");
    ask(&site, &old).await.invalid_at("/protocol_version");
    let mut config = ProducerConfig {
        agent_tokens: Some(AgentTokens::new(AGENT_SECRET).unwrap()),
        ..ProducerConfig::default()
    };
    config.outbound.allowed = vec!["127.0.0.0/8".parse().unwrap()];
    let open = Site::with(config).await;
    assert_eq!(
        ask(&open, &external("E", Some("http://127.0.0.1:1/")))
            .await
            .status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn the_token_of_an_agent_with_an_address_can_be_made_again() {
    let site = Site::start().await;
    let register = async |url: Option<&str>| {
        let ask = site.post(REGISTER).key(&site.lead);
        let answer = ask.json(&external("PUSHED", url)).send().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        let made = answer.json();
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        (text("agent_id"), text("auth_token"))
    };
    let tokens = AgentTokens::new(AGENT_SECRET).unwrap();
    let address = Some("http://93.184.215.14/eap");
    let (id, first) = register(address).await;
    let agent = id.parse().unwrap();
    assert_eq!(first, tokens.token(agent, 1));
    let (again, second) = register(address).await;
    assert_eq!((&again, &second), (&id, &tokens.token(agent, 2)));
    let old = beat(&site, &id, &first, &healthy()).await;
    old.problem(401, "UNAUTHENTICATED");
    let new = beat(&site, &id, &second, &healthy()).await;
    assert_eq!(new.status, StatusCode::NO_CONTENT);
    // One that asks for its tasks has a token that nobody can make again.
    let (_, third) = register(None).await;
    assert_ne!(third, tokens.token(agent, 3));
    let shown = site.get("/api/v1/agents/PUSHED").send().await;
    for token in [&first, &second, &third] {
        assert!(!shown.text().contains(token.as_str()), "it is shown once");
    }
}

#[tokio::test]
async fn without_a_secret_no_agent_with_an_address_is_registered() {
    let site = Site::with(ProducerConfig::default()).await;
    let ask = async |url: Option<&str>| {
        let ask = site.post(REGISTER).key(&site.lead);
        ask.json(&external("E", url)).send().await
    };
    let refused = ask(Some("http://93.184.215.14/eap")).await;
    assert!(
        refused.text().contains("ORCHESTRATOR_AGENT_SECRET"),
        "{}",
        refused.text()
    );
    refused.invalid_at("/endpoint_url");
    assert_eq!(ask(None).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn routing_answers_the_choice_the_next_and_why_not_the_others() {
    let site = Site::start().await;
    for (name, tier, capabilities) in [
        ("low", 1, json!(["testing"])),
        ("high", 5, json!(["testing"])),
        ("other", 5, json!(["web"])),
    ] {
        let body = json!({"name": name, "agent": {"kind": "echo"}, "tier": tier, "capabilities": capabilities});
        registered(&site, &body).await;
    }
    let route = |body: Value| site.post("/api/v1/agents/route").json(&body).send();
    let answer = route(json!({"capabilities": ["testing"]})).await.json();
    assert_eq!(answer["choice"]["name"], "high");
    let score = answer["choice"]["score"].as_f64().unwrap();
    assert!((score - 1.0).abs() < 1e-9, "{answer}");
    assert_eq!(answer["alternatives"][0]["name"], "low");
    assert_eq!(answer["rejected"][0]["reason"], "cannot do testing");
    assert_eq!(answer["rejected_more"], 0);
    let preferred =
        json!({"capabilities": ["testing"], "preferred_agent": "low", "preferred_kind": "echo"});
    let parts = &route(preferred).await.json()["alternatives"][0]["parts"];
    assert_eq!(parts["preferred"], 0.5);
    let none = route(json!({"capabilities": ["vision"]})).await.json();
    assert_eq!(none["choice"], Value::Null);
    assert!(
        none["reason"]
            .as_str()
            .unwrap()
            .starts_with("no agent suits: "),
        "{none}"
    );
    // Those that are nearest, and how many more there are.
    for n in 0..12 {
        let body = json!({"name": format!("n{n}"), "agent": {"kind": "echo"}, "capabilities": []});
        registered(&site, &body).await;
    }
    let asked = json!({"capabilities": ["web", "testing"]});
    let answer = route(asked).await.json();
    let rejected = answer["rejected"].as_array().unwrap();
    let names: Vec<&str> = rejected
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 10);
    assert_eq!(answer["rejected_more"], 5, "{answer}");
    let mut near = names[..3].to_vec();
    near.sort_unstable();
    assert_eq!(near, ["high", "low", "other"]);
    route(json!({"capabilities": ["Vision"]}))
        .await
        .invalid_at("/capabilities/0");
    route(json!({"preferred_kind": "robot"}))
        .await
        .invalid_at("/preferred_kind");
}
