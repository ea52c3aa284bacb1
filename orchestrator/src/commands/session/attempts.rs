//! `session attempts`

use domain::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::OneSession;
use crate::commands::connect;
use crate::config::Loader;
use crate::exit::Exit;
use crate::output::{self, Format};

/// What is shown of a run.
#[derive(Debug, Deserialize)]
struct Attempt {
    number: u32,
    worker_id: String,
    agent: Option<String>,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    outcome: Option<String>,
    error: Option<Error>,
}

#[derive(Debug, Deserialize)]
struct Error {
    code: String,
    message: String,
}

pub async fn run(args: OneSession, loader: &Loader) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection, loader)?;
    let path = format!("sessions/{}/attempts", args.id);
    let document: Value = client.get(&path, &[]).await?;
    if args.output == Format::Json {
        output::json(&document)?;
        return Ok(Exit::Ok);
    }
    let attempts: Vec<Attempt> = serde_json::from_value(document["items"].clone())?;
    let mut table = output::table(&[
        "run", "agent", "worker", "started", "ran", "outcome", "error",
    ]);
    for attempt in attempts {
        let ran = attempt.finished_at.map(|end| end - attempt.started_at);
        let error = attempt.error;
        table.add_row([
            attempt.number.to_string(),
            output::or_nothing(attempt.agent),
            attempt.worker_id,
            output::instant(attempt.started_at),
            output::or_nothing(ran.map(output::duration)),
            attempt.outcome.unwrap_or_else(|| "running".to_owned()),
            output::or_nothing(error.map(|it| format!("{} ({})", it.message, it.code))),
        ]);
    }
    output::print(table)?;
    Ok(Exit::Ok)
}
