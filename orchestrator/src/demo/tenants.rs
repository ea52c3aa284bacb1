//! The demo's tenants, as the API knows them: made by the admin, each acting with a key of its own.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use domain::JobState;
use serde_json::{Value, json};

use super::plan::{Planned, Tenant};
use crate::client::Client;
use crate::client::types::{CreatedKey, Job};
use crate::config::Secret;

/// A tenant and the jobs that it has submitted, in their order.
pub struct Submitted {
    pub slug: &'static str,
    pub session_quota: u32,
    pub client: Client,
    pub jobs: Vec<SubmittedJob>,
}

pub struct SubmittedJob {
    pub id: domain::JobId,
    pub planned: Planned,
    asked_to_stop: AtomicBool,
}

/// Makes all tenants first, so that none has a start on the others.
pub async fn submit_all(admin: &Client, plan: Vec<Tenant>) -> anyhow::Result<Vec<Submitted>> {
    let mut tenants = Vec::new();
    for tenant in plan {
        let client = make(admin, &tenant).await?;
        tenants.push((tenant, client));
    }
    let mut submitted = Vec::new();
    for (tenant, client) in tenants {
        submitted.push(submit(tenant, client).await?);
    }
    Ok(submitted)
}

/// The tenant, and a client that acts as one of its members.
async fn make(admin: &Client, tenant: &Tenant) -> anyhow::Result<Client> {
    let body = json!({
        "slug": tenant.slug,
        "name": tenant.name,
        "quotas": {"session": tenant.session_quota, "training": 1},
    });
    let _: Value = admin.post("tenants", &body).await?;
    let body = json!({"name": "demo", "role": "member"});
    let created: CreatedKey = admin.for_tenant(tenant.slug)?.post("keys", &body).await?;
    Ok(admin.with_key(Secret::new(created.key)))
}

async fn submit(tenant: Tenant, client: Client) -> anyhow::Result<Submitted> {
    let mut jobs = Vec::new();
    for planned in tenant.jobs {
        let mut body = planned.body.clone();
        body["title"] = json!(planned.title);
        let job: Job = client
            .post(planned.kind.path(), &body)
            .await
            .with_context(|| format!("`{}` of {} was not taken", planned.title, tenant.slug))?;
        jobs.push(SubmittedJob {
            id: job.id,
            planned,
            asked_to_stop: AtomicBool::new(false),
        });
    }
    Ok(Submitted {
        slug: tenant.slug,
        session_quota: tenant.session_quota,
        client,
        jobs,
    })
}

impl SubmittedJob {
    pub fn path(&self) -> String {
        format!("{}/{}", self.planned.kind.path(), self.id)
    }
}

impl Submitted {
    /// All its jobs as they are now, in the order of their submission.
    pub async fn look(&self) -> anyhow::Result<Vec<Job>> {
        let query = [("tag", "demo".to_owned())];
        let items = self.client.list("jobs", &query, self.jobs.len()).await?;
        let mut found: Vec<Job> = items
            .into_iter()
            .map(serde_json::from_value)
            .collect::<Result<_, _>>()?;
        self.jobs
            .iter()
            .map(|job| {
                let at = found.iter().position(|found| found.id == job.id);
                let at = at.with_context(|| format!("job {} is not listed", job.id))?;
                Ok(found.swap_remove(at))
            })
            .collect()
    }

    /// Those that run and have said something, so that there is something to look at afterwards.
    pub async fn stop_what_is_to_be_stopped(&self, now: &[Job]) -> anyhow::Result<()> {
        for (job, seen) in self.jobs.iter().zip(now) {
            if !job.planned.stop || seen.status != JobState::Running {
                continue;
            }
            if job.asked_to_stop.load(Ordering::Relaxed) {
                continue;
            }
            let log = self
                .client
                .text(&format!("{}/logs", job.path()), &[])
                .await?;
            if log.bytes().await?.is_empty() {
                continue;
            }
            let _: Value = self.client.act(&format!("{}/stop", job.path())).await?;
            job.asked_to_stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
