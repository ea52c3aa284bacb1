//! FAIL OVER: what becomes of a session that was routed and whose agent failed it for good. Another agent may do better, the
//! same one will not, and attempts are dear: they may cost money and hours. So it is tried anew only where there is another.

use std::time::Duration;

use application::use_cases::another_agent;
use domain::{Ending, Job, JobError};

use crate::life::Worker;
use crate::patient;

/// Said behind the agent's own words.
const NOBODY_ELSE: &str = "it is not tried again, since no other agent that suits and has not failed at it is free now or soon";

/// Tried with the next best agent that has not failed at it; where there is none, the failure stands. While the store cannot
/// be asked, nobody knows, and its end could not be written either: then it waits.
pub(crate) async fn fail_over(
    worker: &Worker,
    job: &Job,
    ending: Ending,
    by_agent: bool,
) -> Ending {
    let error = match ending {
        Ending::Failed(error) if by_agent => error,
        other => return other,
    };
    if has_another(worker, job).await {
        return Ending::Retry {
            error,
            after: Some(Duration::ZERO),
        };
    }
    let message = format!("{}; {NOBODY_ELSE}", error.message);
    Ending::Failed(JobError { message, ..error })
}

async fn has_another(worker: &Worker, job: &Job) -> bool {
    let ports = &worker.ports;
    let stores = || {
        (
            ports.jobs.as_ref(),
            ports.engine.as_ref(),
            ports.agents.as_ref(),
        )
    };
    let asking = patient::read("whether another agent would do", || {
        another_agent(stores(), job, ports.clock.now())
    });
    tokio::select! {
        biased;
        // Nothing is written of a run that is not ours any more.
        () = worker.over.cancelled() => false,
        found = asking => found.unwrap_or_else(|error| {
            tracing::warn!(%error, job = %job.id, "whether another agent would do is not known");
            true
        }),
    }
}
