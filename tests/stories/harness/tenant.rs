//! A tenant of a stand: every story has its own, so that stories can share a stand.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{Answer, Api, Job};

pub const SESSIONS: &str = "/api/v1/sessions";
pub const TRAININGS: &str = "/api/v1/fine-tuning/jobs";

#[derive(Debug, Clone, Copy)]
pub struct Quota {
    pub sessions: u32,
    pub waiting: u32,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            sessions: 10,
            waiting: 10_000,
        }
    }
}

pub struct Tenant {
    pub id: String,
    pub slug: String,
    /// Acts for this tenant, with the admin's key.
    pub api: Api,
}

/// With which an agent's author registers it.
pub struct LeadKey {
    id: String,
    pub text: String,
}

impl Tenant {
    pub async fn lead_key(&self) -> LeadKey {
        let new = json!({"name": "an agent's author", "role": "lead"});
        let made = self.api.post("/api/v1/keys", &new).await.expect(201).json();
        let field = |name: &str| made[name].as_str().expect("text").to_owned();
        LeadKey {
            id: field("id"),
            text: field("key"),
        }
    }

    /// An agent is removed, by somebody who does not want it back: its author's key is worth nothing before.
    pub async fn remove_agent(&self, name: &str, key: &LeadKey) {
        for path in [format!("/api/v1/keys/{}", key.id), agent_path(name)] {
            let request = self.api.request(Method::DELETE, &path);
            self.api.send(request).await.expect(204);
        }
        self.api.get(&agent_path(name)).await.expect(404);
    }

    /// As it is shown.
    pub async fn agent(&self, name: &str) -> Value {
        self.api.get(&agent_path(name)).await.expect(200).json()
    }

    pub async fn create(admin: &Api, quota: Quota) -> Self {
        let unique = format!("{:012x}", fastrand::u64(..) >> 16);
        Self::named(admin, format!("t-{unique}"), quota).await
    }

    pub async fn named(admin: &Api, slug: String, quota: Quota) -> Self {
        let body = json!({
            "slug": slug,
            "name": slug,
            "quotas": {"session": quota.sessions, "training": 1},
            "max_queued": quota.waiting,
        });
        let created = admin
            .post("/api/v1/tenants", &body)
            .await
            .expect(201)
            .json();
        let id = created["id"]
            .as_str()
            .expect("a tenant has an id")
            .to_owned();
        Self {
            api: admin.acting_for(&id),
            id,
            slug,
        }
    }

    /// Submits a session with this agent, and what `more` adds or changes.
    pub async fn session(&self, agent: Value, more: Value) -> Job {
        self.offer(agent, more).await.0
    }

    /// The same, with the answer to the submission.
    pub async fn offer(&self, agent: Value, more: Value) -> (Job, Answer) {
        let answer = self
            .api
            .post(SESSIONS, &session(agent, more))
            .await
            .expect(201);
        let id = answer.json()["id"]
            .as_str()
            .expect("a session has an id")
            .to_owned();
        (self.job(&id), answer)
    }

    pub fn job(&self, id: &str) -> Job {
        Job::new(&self.api, SESSIONS, id)
    }

    /// Submits a session that runs a shell line in an empty folder.
    pub async fn command(&self, line: &str) -> Job {
        self.command_with(line, json!({})).await
    }

    pub async fn command_with(&self, line: &str, more: Value) -> Job {
        self.session(json!({"kind": "command", "run": line}), more)
            .await
    }

    pub async fn echo(&self) -> Job {
        self.session(json!({"kind": "echo"}), json!({})).await
    }

    pub async fn training(&self, body: &Value) -> Job {
        let answer = self.api.post(TRAININGS, body).await.expect(201).json();
        let id = answer["id"].as_str().expect("a job has an id");
        Job::new(&self.api, TRAININGS, id)
    }

    /// Submits sessions together, all or none; the jobs in their order.
    pub async fn bulk(&self, sessions: &[Value]) -> Vec<Job> {
        let body = json!({ "sessions": sessions });
        let path = format!("{SESSIONS}/bulk");
        let created = self.api.post(&path, &body).await.expect(201).json();
        let ids = created["ids"].as_array().expect("a list");
        let job = |id: &Value| self.job(id.as_str().expect("an id"));
        ids.iter().map(job).collect()
    }

    /// The body of a session that runs a shell line, for [`Tenant::bulk`].
    pub fn line(line: &str, more: Value) -> Value {
        session(json!({"kind": "command", "run": line}), more)
    }

    /// All sessions of the tenant, page by page.
    pub async fn sessions(&self, filter: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut path = format!("{SESSIONS}?limit=200{filter}");
            if let Some(cursor) = &cursor {
                path = format!("{path}&cursor={cursor}");
            }
            let page = self.api.get(&path).await.expect(200).json();
            all.extend(page["items"].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return all,
            }
        }
    }

    /// The tenant's queue of sessions.
    pub async fn queue(&self) -> Value {
        let queues = self.api.get("/api/v1/queues").await.expect(200).json();
        let items = queues["items"].as_array().expect("a list");
        let session = items.iter().find(|queue| queue["kind"] == "session");
        session.expect("a queue of sessions").clone()
    }
}

fn agent_path(name: &str) -> String {
    format!("/api/v1/agents/{name}")
}

/// The body of a session.
fn session(agent: Value, more: Value) -> Value {
    let mut body = Map::from_iter([
        ("title".to_owned(), json!("a story's session")),
        ("max_duration_seconds".to_owned(), json!(120)),
        ("agent".to_owned(), agent),
    ]);
    if let Value::Object(more) = more {
        body.extend(more);
    }
    Value::Object(body)
}
