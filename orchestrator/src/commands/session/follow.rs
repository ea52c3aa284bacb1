//! From here to the end of a session: its events and its log as they come. One whose budget is used up waits for a person,
//! who may be the one that follows: then the following ends as well.

use std::pin::pin;
use std::time::Duration;

use domain::{BUDGET_EXCEEDED, EventKind, JobId, JobState};
use serde_json::Value;

use super::describe;
use crate::client::types::{Job, JobEvent};
use crate::client::{Client, ClientError, Event};
use crate::exit::Exit;
use crate::output::{self, Format};

/// What a paused run wrote is stored already, and its log does not end.
const REST_OF_LOG: Duration = Duration::from_secs(1);
/// A server that leaves ends its streams; it, or another one, is there again in a moment.
pub const COME_BACK: Duration = Duration::from_millis(500);

/// Events to standard error, the log to standard output (or, as JSON, the session's document at its end).
pub async fn to_the_end(client: &Client, id: JobId, format: Format) -> anyhow::Result<Exit> {
    let document = match format {
        Format::Table => events_and_log(client, id).await?,
        Format::Json => {
            let document = events(client, id).await?;
            output::json(&document)?;
            document
        }
    };
    let job: Job = serde_json::from_value(document)?;
    if let Some(error) = &job.error {
        output::say(format_args!(
            "{}: {} ({})",
            job.status, error.message, error.code
        ));
    }
    Ok(Exit::of_job(job.status))
}

async fn events_and_log(client: &Client, id: JobId) -> anyhow::Result<Value> {
    let mut events = pin!(events(client, id));
    let mut log = pin!(log(client, id));
    let mut logged = false;
    let document = loop {
        tokio::select! {
            document = &mut events => break document?,
            read = &mut log, if !logged => {
                read?;
                logged = true;
            }
        }
    };
    if logged {
        return Ok(document);
    }
    let job: Job = serde_json::from_value(document.clone())?;
    if job.status.is_finished() {
        log.await?;
    } else if let Ok(read) = tokio::time::timeout(REST_OF_LOG, log).await {
        read?;
    }
    Ok(document)
}

/// Says each event; returns the session's document when it is finished, or waits because its budget is used up.
async fn events(client: &Client, id: JobId) -> anyhow::Result<Value> {
    let mut events = client.events(&format!("sessions/{id}/events"));
    loop {
        match events.next().await? {
            Event::Job(event) => {
                output::say(describe::event(&event));
                if is_over_budget(&event)
                    && let Some(document) = paused(client, id).await?
                {
                    return Ok(document);
                }
            }
            Event::End => {
                if let Some(document) = finished(client, id).await? {
                    return Ok(document);
                }
                tokio::time::sleep(COME_BACK).await;
            }
        }
    }
}

/// The session's document, if it is finished: a stream also ends when its server leaves.
pub async fn finished(client: &Client, id: JobId) -> Result<Option<Value>, ClientError> {
    let document: Value = match client.get(&format!("sessions/{id}"), &[]).await {
        Ok(document) => document,
        // The events come back by themselves, or say why not.
        Err(error) if error.is_passing() => return Ok(None),
        Err(error) => return Err(error),
    };
    let job: Job = serde_json::from_value(document.clone())
        .map_err(|error| ClientError::Garbled(client.base().to_owned(), error.to_string()))?;
    Ok(job.status.is_finished().then_some(document))
}

fn is_over_budget(event: &JobEvent) -> bool {
    let error = event.data.get("error");
    event.kind == EventKind::Paused && error.is_some_and(|error| error["code"] == BUDGET_EXCEEDED)
}

/// The session's document, if it is paused still.
async fn paused(client: &Client, id: JobId) -> Result<Option<Value>, ClientError> {
    let document: Value = client.get(&format!("sessions/{id}"), &[]).await?;
    Ok((document["status"] == JobState::Paused.as_str()).then_some(document))
}

/// The log as it is written, to the session's end.
pub async fn log(client: &Client, id: JobId) -> anyhow::Result<()> {
    let mut log = client.log(id, true);
    let mut shown = output::Foreign::default();
    loop {
        match log.next().await? {
            Some(piece) => shown.write(&piece)?,
            None if finished(client, id).await?.is_some() => return shown.finish(),
            None => tokio::time::sleep(COME_BACK).await,
        }
    }
}
