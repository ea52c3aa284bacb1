//! A coding session: a worktree, an agent in it, then the diff and the files that were asked for.

use std::path::PathBuf;
use std::sync::Arc;

use application::ports::{
    Agent, AgentReport, AgentTask, HandlerError, Interruption, RunContext as _, Workspace,
};
use domain::{
    AgentKind, AgentSpec, DiffStat, Job, JobError, JobResult, LogStream, SessionResult, SessionSpec,
};

use super::{Handled, checkpoint, keep};
use crate::context::JobContext;
use crate::life::Worker;
use crate::locks::RunLocks;

/// The artifact that `GET .../diff` serves.
const DIFF_NAME: &str = "session.diff";

pub(super) async fn run(
    worker: &Arc<Worker>,
    job: &Job,
    spec: &SessionSpec,
    context: Arc<JobContext>,
) -> Result<Handled, HandlerError> {
    let Some(repository) = spec.repository.as_ref().filter(|it| it.exclusive) else {
        return work(worker, job, spec, context).await;
    };
    let branch = worker.tools.workspaces.branch(repository).await?;
    let mut locks = RunLocks::new(Arc::clone(worker), job);
    context.wait();
    let taken = locks.take(vec![format!("branch:{branch}")], &context).await;
    context.keep_locks(locks);
    taken?;
    context.begin();
    work(worker, job, spec, context).await
}

async fn work(
    worker: &Worker,
    job: &Job,
    spec: &SessionSpec,
    context: Arc<JobContext>,
) -> Result<Handled, HandlerError> {
    let agent = agent(worker, &spec.agent).await?;
    let checkpoint = checkpoint(worker, job).await?;
    let workspace = open(worker, job, spec).await?;
    let directory = workspace
        .as_ref()
        .map_or_else(PathBuf::new, |it| it.directory().to_owned());
    let task = AgentTask {
        tenant: job.tenant,
        job: job.id,
        attempt: job.attempt,
        title: job.title.clone(),
        prompt: spec.prompt.clone(),
        agent: spec.agent.clone(),
        directory,
        max_duration_seconds: job.max_duration_seconds,
        checkpoint,
    };
    let reported = if worker.lease_end.is_over() {
        Err(HandlerError::Interrupted(Interruption::LeaseLost))
    } else {
        agent.run(task, context.clone()).await
    };
    let Some(workspace) = workspace else {
        return Ok(handled(reported, None));
    };
    let handled = conclude(workspace.as_ref(), spec, reported, &context).await;
    workspace.close().await;
    Ok(handled)
}

async fn agent(worker: &Worker, spec: &AgentSpec) -> Result<Arc<dyn Agent>, HandlerError> {
    let wanted = spec.kind();
    let agents = &worker.tools.agents;
    if let Some(agent) = agents.iter().find(|agent| agent.kind() == wanted) {
        return Ok(Arc::clone(agent));
    }
    if another_runs(worker, wanted).await {
        let why = format!("this worker does not run `{wanted}` agents, another one does");
        return Err(HandlerError::Elsewhere(why));
    }
    let has: Vec<&str> = agents.iter().map(|agent| agent.kind().as_str()).collect();
    let message = format!(
        "the worker that claimed this session does not run `{wanted}` agents, only {}, and no other worker does; start \
         workers with --agents {wanted} (ORCHESTRATOR_AGENTS) to allow them",
        has.join(", ")
    );
    Err(HandlerError::Fail(JobError::new(
        "AGENT_UNAVAILABLE",
        message,
    )))
}

/// Whether a live worker says by its label that it runs such agents. When the store does not tell: perhaps.
async fn another_runs(worker: &Worker, wanted: AgentKind) -> bool {
    let now = worker.ports.clock.now();
    let Ok(workers) = worker.ports.engine.workers().await else {
        return true;
    };
    let mut live = workers
        .iter()
        .filter(|it| !it.draining && it.lease_until > now);
    live.any(|it| wanted.label().are_met_by(&it.labels))
}

/// An echo without a repository touches no files, so it gets no folder.
async fn open(
    worker: &Worker,
    job: &Job,
    spec: &SessionSpec,
) -> Result<Option<Box<dyn Workspace>>, HandlerError> {
    if matches!(spec.agent, AgentSpec::Echo { .. }) && spec.repository.is_none() {
        return Ok(None);
    }
    let workspaces = &worker.tools.workspaces;
    workspaces
        .open(job.id, job.attempt, spec.repository.as_ref())
        .await
        .map(Some)
}

/// Keeps the diff and the named files, whatever the agent's outcome, unless the job is not ours any more.
async fn conclude(
    workspace: &dyn Workspace,
    spec: &SessionSpec,
    reported: Result<AgentReport, HandlerError>,
    context: &Arc<JobContext>,
) -> Handled {
    if matches!(
        reported,
        Err(HandlerError::Interrupted(Interruption::LeaseLost))
    ) {
        return Handled::interrupted(Interruption::LeaseLost);
    }
    let kept = async {
        let stat = keep_diff(workspace, context).await?;
        keep::keep_named(workspace.directory(), &spec.keep, context).await?;
        Ok(stat)
    };
    match kept.await {
        Ok(stat) => handled(reported, stat),
        // The agent's own failure says more than that of keeping its files.
        Err(error) if reported.is_ok() => Handled::failed(error),
        Err(error) => {
            context.log(LogStream::System, &format!("{error}\n")).await;
            handled(reported, None)
        }
    }
}

async fn keep_diff(
    workspace: &dyn Workspace,
    context: &Arc<JobContext>,
) -> Result<Option<DiffStat>, HandlerError> {
    let Some(diff) = workspace.diff().await? else {
        return Ok(None);
    };
    context.keep(DIFF_NAME, "text/x-diff", diff.patch).await?;
    Ok(Some(diff.stat))
}

fn handled(reported: Result<AgentReport, HandlerError>, diff: Option<DiffStat>) -> Handled {
    let (outcome, report) = match reported {
        Ok(report) => (Ok(()), report),
        Err(error) => (Err(error), AgentReport::default()),
    };
    Handled {
        outcome,
        by_agent: true,
        result: Some(JobResult::Session(SessionResult {
            summary: report.summary,
            exit_code: report.exit_code,
            diff,
            usage: report.usage,
        })),
    }
}
