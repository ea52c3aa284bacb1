//! Hands the changes of a session that succeeded back to its repository, where it asks for that.

use application::ports::{HandlerError, PushOrder, RunContext as _, Workspace};
use domain::{Job, LogStream, Pushed, SessionSpec};

use crate::context::JobContext;

/// After everything else was kept, so that what cannot be pushed is not lost.
pub(super) async fn push(
    workspace: &dyn Workspace,
    job: &Job,
    spec: &SessionSpec,
    context: &JobContext,
) -> Result<Option<Pushed>, HandlerError> {
    let Some(push) = &spec.demands.push else {
        return Ok(None);
    };
    let order = PushOrder {
        job: job.id,
        branch: push.branch_of(job.id),
        message: job.title.clone(),
    };
    let pushed = workspace.push(&order).await?;
    let line = match &pushed {
        Some(pushed) => format!("pushed {} as {}\n", pushed.commit, pushed.branch),
        None => "nothing changed, so nothing was pushed\n".to_owned(),
    };
    context.log(LogStream::System, &line).await;
    Ok(pushed)
}
