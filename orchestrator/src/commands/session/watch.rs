//! `session watch`

use std::time::Duration;

use serde_json::json;

use super::{describe, follow};
use crate::cli::WatchArgs;
use crate::client::types::{Job, JobEvent};
use crate::client::{Client, Event};
use crate::commands::connect;
use crate::config::Loader;
use crate::exit::{Exit, WaitedTooLong};
use crate::output::{self, Format};

pub async fn run(args: WatchArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection, loader)?;
    let watching = watch(&client, &args);
    let Some(seconds) = args.timeout else {
        return watching.await;
    };
    let waited = tokio::time::timeout(Duration::from_secs(seconds), watching).await;
    waited.unwrap_or_else(|_| {
        let what = format!("session {}", args.id);
        Err(WaitedTooLong { what, seconds }.into())
    })
}

/// Here the events are the data, so they go to standard output.
async fn watch(client: &Client, args: &WatchArgs) -> anyhow::Result<Exit> {
    let id = args.id;
    let mut events = client.events(&format!("sessions/{id}/events"));
    loop {
        match events.next().await? {
            Event::Job(event) => match args.output {
                Format::Table => output::line(describe::event(&event))?,
                Format::Json => output::json_line(&json_line(&event))?,
            },
            Event::End => {
                if let Some(document) = follow::finished(client, id).await? {
                    let job: Job = serde_json::from_value(document)?;
                    return Ok(Exit::of_job(job.status));
                }
                tokio::time::sleep(follow::COME_BACK).await;
            }
        }
    }
}

fn json_line(event: &JobEvent) -> serde_json::Value {
    json!({
        "seq": event.seq,
        "at": event.at,
        "kind": event.kind,
        "attempt": event.attempt,
        "data": event.data,
    })
}
