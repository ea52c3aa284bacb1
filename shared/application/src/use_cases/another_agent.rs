//! Whether a routed session that its agent failed for good is tried anew: only where another agent may do better.

use domain::{
    AgentKind, AgentSpec, Job, JobSpec, RegisteredKind, RouteContext, Timestamp, another_would_do,
};

use crate::ports::{AGENTS_MAX, AgentStore, EngineStore, JobStore, StoreError};

/// True when an agent suits the session that neither failed at it nor works on it now, and can have it now or soon, by a
/// worker that lives. `job` as it was claimed. By the time that it is claimed again it may be otherwise; then it is asked
/// again, and attempts bound how often.
pub async fn another_agent(
    (jobs, engine, agents): (&dyn JobStore, &dyn EngineStore, &dyn AgentStore),
    job: &Job,
    now: Timestamp,
) -> Result<bool, StoreError> {
    // As it was asked for: the claimed one has its agent's spec.
    let asked = jobs.get(job.tenant, job.id).await?;
    let Some(JobSpec::Session(session)) = asked.map(|job| job.spec) else {
        return Ok(false);
    };
    let AgentSpec::Routed(request) = &session.agent else {
        return Ok(false);
    };
    let requires = job.requires.clone().without_agent();
    let live = engine.workers().await?.into_iter();
    let labels: Vec<_> = live
        .filter(|worker| worker.lease_until > now && requires.are_met_by(&worker.labels))
        .map(|worker| worker.labels)
        .collect();
    let runs = |kind: AgentKind| labels.iter().any(|has| kind.label().are_met_by(has));
    let kinds = AgentKind::ALL.into_iter().filter(|kind| runs(*kind));
    let kinds: Vec<RegisteredKind> = kinds.map(RegisteredKind::from).collect();
    let tried = agents.agents_tried(job.tenant, job.id).await?;
    let candidates = agents.agents(job.tenant, None, AGENTS_MAX * 2).await?;
    let context = RouteContext {
        kinds: Some(&kinds),
        failed: &tried,
        now,
    };
    Ok(another_would_do(request, &candidates, context))
}
