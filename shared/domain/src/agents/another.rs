//! Whether a task that its agent failed for good is worth another run: only with an agent that has not had it.

use super::route::{Candidate, RouteContext, RouteRequest, refusal};

/// True when an agent that is not among `context.failed` suits the task and could have it: now, or when something that it
/// works on ends. One that is away, draining or left alone for a while is not waited for, here as in routing.
pub fn another_would_do<'a>(
    request: &RouteRequest,
    candidates: impl IntoIterator<Item = &'a Candidate>,
    context: RouteContext<'_>,
) -> bool {
    candidates
        .into_iter()
        .filter(|candidate| !context.failed.contains(&candidate.agent.id))
        .any(|candidate| refusal(request, candidate, context).is_none_or(|why| why.is_at_work()))
}
