//! From here to the end of a session: its events and its log as they come.

use std::time::Duration;

use domain::JobId;
use serde_json::Value;

use super::describe;
use crate::client::types::Job;
use crate::client::{Client, ClientError, Event};
use crate::exit::Exit;
use crate::output::{self, Format};

/// A server that leaves ends its streams; it, or another one, is there again in a moment.
pub const COME_BACK: Duration = Duration::from_millis(500);

/// Events to standard error, the log to standard output (or, as JSON, the session's document at its end).
pub async fn to_the_end(client: &Client, id: JobId, format: Format) -> anyhow::Result<Exit> {
    let document = match format {
        Format::Table => {
            let (document, ()) = tokio::try_join!(events(client, id), log(client, id))?;
            document
        }
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

/// Says each event; returns the session's document when it is finished.
async fn events(client: &Client, id: JobId) -> anyhow::Result<Value> {
    let mut events = client.events(&format!("sessions/{id}/events"));
    loop {
        match events.next().await? {
            Event::Job(event) => output::say(describe::event(&event)),
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

/// The log as it is written, to the session's end.
pub async fn log(client: &Client, id: JobId) -> anyhow::Result<()> {
    let mut log = client.log(id, true);
    loop {
        match log.next().await? {
            Some(piece) => output::raw(&piece)?,
            None if finished(client, id).await?.is_some() => return Ok(()),
            None => tokio::time::sleep(COME_BACK).await,
        }
    }
}
