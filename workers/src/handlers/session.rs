//! A coding session: a worktree, an agent in it, what judges its work, then the diff, the files and the branch that
//! were asked for.

mod budget;
mod output;
mod patch;
mod push;
mod rounds;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use application::ports::{
    Agent, AgentTask, HandlerError, Interruption, RunContext as _, Workspace,
};
use domain::{
    AgentKind, AgentSpec, DIFF_ARTIFACT, DiffStat, Job, JobError, JobResult, LogStream, OwnRating,
    SessionResult, SessionSpec,
};

use super::{Handled, checkpoint, keep};
use crate::context::JobContext;
use crate::life::Worker;
use crate::locks::RunLocks;
use budget::Meter;
use patch::Kept;
use rounds::Worked;

/// Codes of what a worker lacks or could not do: an agent's breaker is shared by all workers, and must not open because one of
/// them has a full disk or an old secret.
const WORKERS_OWN: [&str; 8] = [
    "DISK_FULL",
    "EAP_CLIENT",
    "EAP_REGISTRY",
    "EAP_TASK_LOST",
    "EAP_TOKEN",
    "GUARD_LOST",
    "TENANT_NOT_READ",
    "WORKER_FILES",
];

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
    // Before anything is made for it.
    let meter = Meter::new(worker, job, spec.demands.budget).await?;
    let checkpoint = checkpoint(worker, job).await?;
    let kept = match &spec.repository {
        Some(_) => patch::latest(worker, job).await?,
        None => None,
    };
    let workspace = open(worker, job, spec, kept.as_ref(), &context).await?;
    let directory = workspace
        .as_ref()
        .map_or_else(PathBuf::new, |it| it.directory().to_owned());
    let task = AgentTask {
        tenant: job.tenant,
        job: job.id,
        attempt: job.attempt,
        fence: job.fence,
        title: job.title.clone(),
        prompt: spec.prompt.clone(),
        agent: spec.agent.clone(),
        directory,
        max_duration_seconds: job.max_duration_seconds,
        checkpoint,
        restored: kept.is_some(),
        account: meter.account_of_agent(),
        feedback: None,
        round: 0,
        used: None,
        may_go_on: false,
        output_schema: None,
    };
    let made = if worker.lease_end.is_over() {
        let lost = HandlerError::Interrupted(Interruption::LeaseLost);
        (Err(lost), Worked::default())
    } else {
        rounds::work(worker, agent.as_ref(), &spec.demands, task, &context, meter).await
    };
    let Some(workspace) = workspace else {
        return Ok(handled(made, None));
    };
    let handled = conclude(workspace.as_ref(), job, spec, made, &context).await;
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

/// An echo without a repository touches no files, so it gets no folder, unless its work is judged there.
async fn open(
    worker: &Worker,
    job: &Job,
    spec: &SessionSpec,
    kept: Option<&Kept>,
    context: &JobContext,
) -> Result<Option<Box<dyn Workspace>>, HandlerError> {
    let touches_none = matches!(spec.agent, AgentSpec::Echo { .. }) && !spec.demands.judge();
    if touches_none && spec.repository.is_none() {
        return Ok(None);
    }
    let workspaces = &worker.tools.workspaces;
    let repository = spec.repository.as_ref();
    let works_here = matches!(spec.agent, AgentSpec::Command(_) | AgentSpec::OpenCode(_));
    if works_here && job.attempt > 1 && kept.is_none() && repository.is_some() {
        let line =
            "this run begins in a fresh worktree: what runs before it changed there is not in it\n";
        context.log(LogStream::System, line).await;
    }
    let (Some(kept), Some(repository)) = (kept, repository) else {
        return workspaces
            .open(job.id, job.attempt, repository)
            .await
            .map(Some);
    };
    let at_base = kept.at_base(repository);
    let workspace = workspaces.open(job.id, job.attempt, Some(&at_base)).await?;
    if let Err(error) = kept.apply(workspace.as_ref(), context).await {
        workspace.close().await;
        return Err(error);
    }
    Ok(Some(workspace))
}

/// Keeps the diff and the named files, whatever the agent's outcome, unless the job is not ours any more.
async fn conclude(
    workspace: &dyn Workspace,
    job: &Job,
    spec: &SessionSpec,
    (mut outcome, mut made): (Result<(), HandlerError>, Worked),
    context: &Arc<JobContext>,
) -> Handled {
    if matches!(
        outcome,
        Err(HandlerError::Interrupted(Interruption::LeaseLost))
    ) {
        return Handled::interrupted(Interruption::LeaseLost);
    }
    let kept = async {
        let stat = keep_diff(workspace, goes_on_later(&outcome), context).await?;
        keep::keep_named(workspace.directory(), &spec.keep, context).await?;
        Ok(stat)
    };
    match kept.await {
        Ok(stat) => {
            if outcome.is_ok() {
                match push::push(workspace, job, spec, context).await {
                    Ok(pushed) => made.pushed = pushed,
                    Err(error) => {
                        outcome = Err(error);
                        made.failed_beside = true;
                    }
                }
            }
            handled((outcome, made), stat)
        }
        // The agent's own failure says more than that of keeping its files.
        Err(error) if outcome.is_ok() => Handled::failed(error),
        Err(error) => {
            context.log(LogStream::System, &format!("{error}\n")).await;
            handled((outcome, made), None)
        }
    }
}

/// With what it has changed.
const fn goes_on_later(outcome: &Result<(), HandlerError>) -> bool {
    matches!(
        outcome,
        Err(HandlerError::Interrupted(Interruption::Pause) | HandlerError::OverBudget { .. })
    )
}

async fn keep_diff(
    workspace: &dyn Workspace,
    goes_on_later: bool,
    context: &Arc<JobContext>,
) -> Result<Option<DiffStat>, HandlerError> {
    let Some(diff) = workspace.diff().await? else {
        return Ok(None);
    };
    if goes_on_later {
        patch::keep(&diff, context).await?;
    }
    context
        .keep(DIFF_ARTIFACT, "text/x-diff", diff.patch)
        .await?;
    Ok(Some(diff.stat))
}

/// The error is the job's own, or the worker's, whoever did the work.
fn is_no_agents(outcome: &Result<(), HandlerError>) -> bool {
    match outcome {
        Err(HandlerError::Unfit(_)) => true,
        Err(HandlerError::Fail(error) | HandlerError::Retry(error)) => {
            WORKERS_OWN.contains(&error.code.as_str())
        }
        _ => false,
    }
}

fn handled((outcome, made): (Result<(), HandlerError>, Worked), diff: Option<DiffStat>) -> Handled {
    let report = made.report;
    let own = made.output.as_ref().map(OwnRating::of);
    let own = own.unwrap_or_default().or(report.rating);
    let result = SessionResult {
        summary: report.summary,
        exit_code: report.exit_code,
        diff,
        usage: report.usage,
        success: made.success,
        verify: made.verified,
        output: made.output,
        push: made.pushed,
        ..SessionResult::default()
    };
    Handled {
        by_agent: !made.failed_beside && !is_no_agents(&outcome),
        outcome,
        result: Some(JobResult::Session(result.rated(own))),
    }
}
