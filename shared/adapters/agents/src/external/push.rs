//! Agents that registered an address: they are given their task there, with a token that is made anew for each run and
//! stored nowhere, and heard of meanwhile: one that falls silent is not waited for.

use std::time::Duration;

use application::ports::{AgentReport, HandlerError, KeyHash};
use domain::{RegisteredAgent, Timestamp};
use tokio::time::sleep;

use super::ExternalRun;
use crate::eap::{self, Endpoint, Push};
use crate::failure::{fail, retry};

/// How often the registry is asked whether the agent is still well and still the same.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// An agent that registers again is given the task anew so often in one run.
const REGISTRATIONS_MAX: u32 = 20;
/// An agent that has just registered may not know its new token yet.
const TOKEN_PATIENCE: Duration = Duration::from_secs(10);
const TOKEN_PAUSE: Duration = Duration::from_secs(1);

/// Where the agent is, as it registered last.
struct Place {
    endpoint: Endpoint,
    generation: u32,
    since: Timestamp,
}

/// Why a call is not waited for.
enum Turn {
    /// The agent registered again: the address and the token may be others.
    Moved,
    Silent(HandlerError),
}

/// The task's way there and back, however often the agent registers meanwhile.
pub(super) async fn push(run: &ExternalRun<'_>) -> Result<AgentReport, HandlerError> {
    let http = run.http.clone().map_err(|why| retry("EAP_CLIENT", why))?;
    let body = eap::body(run.task, &run.agent.to_eap())?;
    for _ in 0..REGISTRATIONS_MAX {
        let place = place(run).await?;
        let push = Push::new(
            http.clone(),
            place.endpoint.clone(),
            run.task,
            run.redactor,
            run.context,
        );
        let result = tokio::select! {
            biased;
            result = push.result(body.clone()) => result,
            turn = turn(run, &place) => match turn {
                Turn::Moved => continue,
                Turn::Silent(error) => {
                    push.cancel().await;
                    Err(error)
                }
            }
        };
        match result {
            Ok(result) => return push.conclude(result).await,
            Err(error) if is_unauthorized(&error) && may_take_it_yet(run, &place).await => {
                sleep(TOKEN_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
    let name = &run.agent.name;
    let message = format!("the agent `{name}` registered {REGISTRATIONS_MAX} times in one run");
    Err(retry("EAP_UNAVAILABLE", message))
}

fn is_unauthorized(error: &HandlerError) -> bool {
    matches!(error, HandlerError::Fail(error) if error.code == "EAP_UNAUTHORIZED")
}

/// True when the agent and we do not speak of the same registration, or did not a moment ago.
async fn may_take_it_yet(run: &ExternalRun<'_>, place: &Place) -> bool {
    let is_new = run.setup.clock.now() < place.since + TOKEN_PATIENCE;
    is_new || matches!(look(run, place).await, Some(Turn::Moved))
}

/// Resolves when there is no point in waiting for the call.
async fn turn(run: &ExternalRun<'_>, place: &Place) -> Turn {
    loop {
        sleep(LOOK_EVERY).await;
        if let Some(turn) = look(run, place).await {
            return turn;
        }
    }
}

async fn look(run: &ExternalRun<'_>, place: &Place) -> Option<Turn> {
    let name = &run.agent.name;
    let found = run.setup.agents.agent(run.task.tenant, run.agent.agent);
    let agent = match found.await {
        Ok(Some(candidate)) => candidate.agent,
        // What a removed agent works on goes on.
        Ok(None) => return None,
        Err(error) => {
            tracing::debug!(%error, agent = name, "the registry could not be asked");
            return None;
        }
    };
    if agent.generation() != place.generation {
        return Some(Turn::Moved);
    }
    let beat = agent.condition.beat?;
    if beat.is_fresh(run.setup.clock.now()) {
        return None;
    }
    let message = format!(
        "the agent `{name}` was last heard of at {}, and neither beats nor answers at /health any more; its task is not \
         waited for",
        beat.at
    );
    Some(Turn::Silent(retry("EAP_SILENT", message)))
}

async fn place(run: &ExternalRun<'_>) -> Result<Place, HandlerError> {
    let name = &run.agent.name;
    let agents = &run.setup.agents;
    let id = run.agent.agent;
    let store = |error: application::ports::StoreError| {
        retry(
            "EAP_REGISTRY",
            format!("the agent `{name}` could not be looked up: {error}"),
        )
    };
    let gone = |why: &str| retry("EAP_UNKNOWN_AGENT", format!("the agent `{name}` {why}"));
    let found = agents.agent(run.task.tenant, id).await.map_err(store)?;
    let agent = found
        .ok_or_else(|| gone("is not registered any more"))?
        .agent;
    let url = agent.external().and_then(|it| it.endpoint_url.clone());
    let url = url.ok_or_else(|| gone("has registered again, and takes no tasks at an address"))?;
    let hash = agents.agent_token(id).await.map_err(store)?;
    let hash = hash.ok_or_else(|| gone("is not registered any more"))?;
    let token = token(run, &agent, hash)?;
    if let Err(why) = run.setup.outbound.check(&url).await {
        let message = format!("the agent `{name}` is not called: its address {why}");
        return Err(fail("EAP_ADDRESS", message));
    }
    let url = Endpoint::parse_url(&url).map_err(|error| fail("EAP_ADDRESS", error.to_string()))?;
    Ok(Place {
        endpoint: Endpoint::new(name, url, token).registered(),
        generation: agent.generation(),
        since: agent.updated_at,
    })
}

/// The token of the agent's latest registration, if this worker's secret is the one that it was made of.
fn token(
    run: &ExternalRun<'_>,
    agent: &RegisteredAgent,
    hash: KeyHash,
) -> Result<String, HandlerError> {
    let name = &run.agent.name;
    let Some(tokens) = &run.setup.tokens else {
        tracing::error!(
            agent = name,
            "an agent cannot be given its task: set ORCHESTRATOR_AGENT_SECRET as the producers have it"
        );
        return Err(HandlerError::Elsewhere(format!(
            "this worker has no secret to make the token of the agent `{name}` of; its operator sets \
             ORCHESTRATOR_AGENT_SECRET"
        )));
    };
    let generation = agent.generation();
    if tokens.hash(agent.id, generation) != hash {
        let message = format!(
            "the token of the agent `{name}` was made of another secret than this worker's: all producers and workers \
             need the same ORCHESTRATOR_AGENT_SECRET, and after a change of it the agent has to register again"
        );
        return Err(retry("EAP_TOKEN", message));
    }
    Ok(tokens.token(agent.id, generation))
}
