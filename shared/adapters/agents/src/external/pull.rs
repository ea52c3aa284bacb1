//! Agents without an address, which ask for their tasks.

use application::ports::{AgentReport, HandlerError};

use super::ExternalRun;
use crate::failure::retry;

#[expect(clippy::unused_async, reason = "the store is asked from here")]
pub(super) async fn pull(run: &ExternalRun<'_>) -> Result<AgentReport, HandlerError> {
    let message = format!("the agent `{}` cannot ask for tasks yet", run.agent.name);
    Err(retry("EAP_NOT_CALLED", message))
}
