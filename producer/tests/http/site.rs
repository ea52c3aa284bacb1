//! A whole installation in a folder: SQLite, the embedded queue and bus, artifacts, and the router over them.

use std::sync::Arc;
use std::time::Duration;

use adapter_artifacts::FolderBlobs;
use adapter_embedded::{
    EmbeddedBus, EmbeddedLocks, EmbeddedQueue, EmbeddedReady, SystemClock, SystemIds,
};
use adapter_sqlite::SqliteStore;
use application::agent_tokens::AgentTokens;
use application::ports::{ClaimRequest, Finish, NewWorker, Ports, Report};
use application::use_cases::{NewKey, create_key, create_tenant};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use domain::{
    Ending, Job, JobError, JobKind, JobResult, NewTenant, Quotas, Role, SessionResult, Tenant,
    WorkerId, WorkerRef, settle,
};
use producer::{ProducerConfig, router};
use serde_json::Value;
use telemetry::Metrics;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::answer::{Answer, Reading};

/// Far longer than anything here takes; a test that waits for it has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What the tokens of agents with an address are made of.
pub const AGENT_SECRET: &str = "0123456789abcdef0123456789abcdef";

pub struct Site {
    pub router: Router,
    pub ports: Ports,
    pub store: SqliteStore,
    pub metrics: Arc<Metrics>,
    pub draining: CancellationToken,
    /// The tenants `acme` and `globex`.
    pub acme: Tenant,
    pub globex: Tenant,
    /// Keys of `acme`, and one of a member of `globex`.
    pub admin: String,
    pub lead: String,
    pub member: String,
    pub viewer: String,
    pub stranger: String,
    _folder: tempfile::TempDir,
}

impl Site {
    pub async fn start() -> Self {
        Self::with(ProducerConfig {
            stream_poll: Duration::from_millis(50),
            agent_tokens: Some(AgentTokens::new(AGENT_SECRET).unwrap()),
            ..ProducerConfig::default()
        })
        .await
    }

    pub async fn with(config: ProducerConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db"))
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let shared = Arc::new(store.clone());
        let ports = Ports {
            jobs: shared.clone(),
            engine: shared.clone(),
            tenants: shared.clone(),
            agents: shared.clone(),
            agent_tasks: shared.clone(),
            schedules: shared.clone(),
            replays: shared.clone(),
            keys: shared,
            queue: Arc::new(EmbeddedQueue::default()),
            ready: Arc::new(EmbeddedReady::default()),
            locks: Arc::new(EmbeddedLocks::default()),
            bus: Arc::new(EmbeddedBus::default()),
            blobs: Arc::new(FolderBlobs::open(&folder.path().join("artifacts")).unwrap()),
            clock: Arc::new(SystemClock::default()),
            ids: Arc::new(SystemIds::default()),
        };
        let acme = tenant(&ports, "acme").await;
        let globex = tenant(&ports, "globex").await;
        let metrics = Metrics::new();
        let draining = CancellationToken::new();
        Self {
            router: router(ports.clone(), metrics.clone(), config, draining.clone()),
            admin: key(&ports, &acme, Role::Admin).await,
            lead: key(&ports, &acme, Role::Lead).await,
            member: key(&ports, &acme, Role::Member).await,
            viewer: key(&ports, &acme, Role::Viewer).await,
            stranger: key(&ports, &globex, Role::Member).await,
            store,
            ports,
            metrics,
            draining,
            acme,
            globex,
            _folder: folder,
        }
    }

    pub fn get(&self, path: &str) -> Ask<'_> {
        self.ask(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Ask<'_> {
        self.ask(Method::POST, path)
    }

    /// A request with a member's key of `acme`.
    pub fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        Ask {
            site: self,
            request: Request::builder().method(method).uri(path),
            body: Body::empty(),
            key: Some(self.member.clone()),
        }
    }

    /// A queued session of `acme`; its id.
    pub async fn session(&self, title: &str) -> String {
        let body = serde_json::json!({"title": title, "agent": {"kind": "echo"}});
        let answer = self.post("/api/v1/sessions").json(&body).send().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// A worker that holds a lease.
    pub async fn worker(&self) -> WorkerRef {
        let now = self.ports.clock.now();
        let worker = NewWorker {
            id: WorkerId::from_uuid(self.ports.ids.next(now)),
            host: "here".to_owned(),
            kinds: JobKind::ALL.to_vec(),
            labels: domain::Labels::default(),
            capacity: 4,
        };
        let until = now + Duration::from_mins(10);
        self.ports
            .engine
            .register_worker(worker, until, now)
            .await
            .unwrap()
    }

    /// A worker of ours takes the job.
    pub async fn claim(&self, worker: WorkerRef, id: &str) -> Job {
        let claimed = self.try_claim(worker, id).await;
        claimed.expect("the job is claimed")
    }

    /// The same, where the queue may not give it out. It must be the job whose turn it is.
    pub async fn try_claim(&self, worker: WorkerRef, id: &str) -> Option<Job> {
        let job = self.job(id).await;
        let request = ClaimRequest {
            queue: job.queue(),
            wakeups: 1,
            labelled: 0,
        };
        let now = self.ports.clock.now();
        let claimed = self
            .ports
            .engine
            .claim(worker, vec![request], now)
            .await
            .unwrap();
        let claimed = claimed.jobs.into_iter().next();
        if let Some(claimed) = &claimed {
            assert_eq!(claimed.id, job.id, "it was the turn of `{}`", claimed.title);
        }
        claimed
    }

    /// The run of `job` says something.
    pub async fn report(&self, worker: WorkerRef, report: Report) {
        let now = self.ports.clock.now();
        let fenced = self
            .ports
            .engine
            .report(worker, vec![report], now)
            .await
            .unwrap()
            .lost;
        assert!(fenced.is_empty());
    }

    /// The run of `job` ends.
    pub async fn finish(&self, worker: WorkerRef, job: &Job, ending: Ending) {
        let now = self.ports.clock.now();
        let finish = Finish {
            queue: job.queue(),
            job: job.id,
            fence: job.fence,
            attempt: job.attempt,
            settlement: settle(job, ending, now, 0.0).unwrap(),
            agent: domain::Outcome::Nothing,
            logs: Vec::new(),
            guards: Vec::new(),
        };
        let finished = self
            .ports
            .engine
            .finish(worker, vec![finish], now)
            .await
            .unwrap();
        assert!(finished.fenced.is_empty());
    }

    /// Claims and completes a job.
    pub async fn run(&self, id: &str) {
        let worker = self.worker().await;
        let job = self.claim(worker, id).await;
        self.finish(worker, &job, completed()).await;
    }

    /// Claims a job and fails it for good.
    pub async fn fail(&self, id: &str, code: &str, message: &str) {
        let worker = self.worker().await;
        let job = self.claim(worker, id).await;
        let error = JobError::new(code, message);
        self.finish(worker, &job, Ending::Failed(error)).await;
    }

    pub async fn job(&self, id: &str) -> Job {
        let id = id.parse().unwrap();
        let found = self.ports.jobs.get(self.acme.id, id).await.unwrap();
        found.expect("acme has the job")
    }
}

pub fn completed() -> Ending {
    Ending::Completed(JobResult::Session(SessionResult::default()))
}

pub fn empty_report(job: &Job) -> Report {
    Report {
        tenant: job.tenant,
        job: job.id,
        fence: job.fence,
        attempt: job.attempt,
        progress: None,
        spent: None,
        checkpoints: Vec::new(),
        logs: Vec::new(),
        artifacts: Vec::new(),
    }
}

async fn tenant(ports: &Ports, slug: &str) -> Tenant {
    let new = NewTenant {
        slug: slug.to_owned(),
        name: slug.to_owned(),
        quotas: Quotas {
            session: 2,
            training: 1,
        },
        max_queued: 1_000,
        weight: 1,
        monthly: domain::MonthlyLimits::default(),
    };
    create_tenant(ports, new).await.unwrap()
}

pub async fn key(ports: &Ports, tenant: &Tenant, role: Role) -> String {
    let new = NewKey {
        tenant: tenant.id,
        role,
        name: format!("{role} of {}", tenant.slug),
        expires_at: None,
    };
    create_key(ports, new).await.unwrap().1
}

/// A request in the making.
pub struct Ask<'a> {
    site: &'a Site,
    request: axum::http::request::Builder,
    body: Body,
    key: Option<String>,
}

impl Ask<'_> {
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    pub fn no_key(mut self) -> Self {
        self.key = None;
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string())
    }

    pub fn raw(mut self, content_type: &str, body: impl Into<Body>) -> Self {
        self.request = self.request.header(header::CONTENT_TYPE, content_type);
        self.body = body.into();
        self
    }

    /// The answer with its whole body.
    pub async fn send(self) -> Answer {
        let response = self.open().await;
        let status = response.status();
        let headers = response.headers().clone();
        let whole = axum::body::to_bytes(response.into_body(), usize::MAX);
        let body = tokio::time::timeout(DEADLINE, whole)
            .await
            .expect("the body ends")
            .unwrap();
        Answer {
            status,
            headers,
            body,
        }
    }

    /// The answer before its body.
    pub async fn open(self) -> axum::response::Response {
        let mut request = self.request;
        if let Some(key) = self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(self.body).unwrap();
        self.site.router.clone().oneshot(request).await.unwrap()
    }

    /// The answer as a stream that can be read bit by bit.
    pub async fn stream(self) -> Reading {
        let response = self.open().await;
        assert_eq!(response.status(), StatusCode::OK);
        Reading::of(response)
    }
}
