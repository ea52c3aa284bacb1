//! Agents that registered an address, which are to be called there.

use application::ports::{AgentReport, HandlerError};

use super::ExternalRun;
use crate::failure::retry;

/// Nothing calls them yet: such agents are passed over, and one that was given a session all the same gives it back.
#[expect(clippy::unused_async, reason = "calls go out from here")]
pub(super) async fn push(run: &ExternalRun<'_>, url: &str) -> Result<AgentReport, HandlerError> {
    let name = &run.agent.name;
    let message = format!(
        "the agent `{name}` takes tasks at {url}, where this version does not call it; register it without endpoint_url \
         and let it ask for tasks"
    );
    Err(retry("EAP_NOT_CALLED", message))
}
