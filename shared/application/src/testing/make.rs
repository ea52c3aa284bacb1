//! Tenants and jobs with sensible values, so that a test names only what it is about.

use domain::{
    AgentSpec, Job, JobId, JobKind, JobResult, JobSpec, NewJob, NewTenant, Priority, Quotas,
    SessionResult, SessionSpec, Tenant, TenantId, Timestamp, TrainingProviderKind, TrainingSpec,
};
use serde_json::Map;

/// Quota 2 a kind, weight 1, room for 10,000 waiting jobs.
pub fn new_tenant(slug: &str) -> NewTenant {
    NewTenant {
        slug: slug.to_owned(),
        name: format!("Tenant {slug}"),
        quotas: Quotas {
            session: 2,
            training: 2,
        },
        max_queued: NewTenant::DEFAULT_MAX_QUEUED,
        weight: NewTenant::DEFAULT_WEIGHT,
        monthly: domain::MonthlyLimits::default(),
    }
}

pub fn tenant(new: NewTenant, id: TenantId, now: Timestamp) -> Tenant {
    new.into_tenant(id, now)
        .expect("a test's tenant is without fault")
}

/// An echo session of medium priority that starts at once and may fail twice.
pub fn new_session(title: &str) -> NewJob {
    NewJob {
        title: title.to_owned(),
        priority: Priority::Medium,
        tags: Vec::new(),
        metadata: Map::new(),
        spec: JobSpec::Session(SessionSpec {
            prompt: String::new(),
            agent: AgentSpec::ECHO,
            repository: None,
            keep: Vec::new(),
            demands: Box::default(),
        }),
        max_duration_seconds: 600,
        max_attempts: 3,
        run_after: None,
        deadline: None,
        requires: domain::Labels::default(),
        depends_on: Vec::new(),
        if_prerequisite_fails: domain::DependencyRule::Fail,
        start: true,
        parent: None,
    }
}

pub fn new_training(title: &str) -> NewJob {
    NewJob {
        spec: JobSpec::Training(TrainingSpec {
            base_model: "tiny".to_owned(),
            target_model_name: title.to_owned(),
            provider: TrainingProviderKind::Subprocess,
            dataset: domain::Dataset {
                path: "/data/examples.jsonl".to_owned(),
            },
            parameters: Map::new(),
        }),
        ..new_session(title)
    }
}

pub fn new_job(kind: JobKind, title: &str) -> NewJob {
    match kind {
        JobKind::Session => new_session(title),
        JobKind::Training => new_training(title),
    }
}

pub fn job(new: NewJob, id: JobId, tenant: TenantId, now: Timestamp) -> Job {
    new.into_job(id, tenant, now)
        .expect("a test's job is without fault")
}

pub fn session_result(summary: &str) -> JobResult {
    JobResult::Session(SessionResult {
        summary: Some(summary.to_owned()),
        exit_code: Some(0),
        ..SessionResult::default()
    })
}
