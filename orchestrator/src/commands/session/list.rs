//! `session list`

use domain::JobState;
use serde_json::json;

use super::describe;
use crate::cli::SessionListArgs;
use crate::client::types::Job;
use crate::commands::connect;
use crate::config::Loader;
use crate::exit::Exit;
use crate::output::{self, Format};

pub async fn run(args: SessionListArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection, loader)?;
    let limit = usize::try_from(args.limit)?;
    let items = client.list("sessions", &query(&args), limit).await?;
    if args.output == Format::Json {
        output::json(&json!({ "items": items }))?;
        return Ok(Exit::Ok);
    }
    let mut table = output::table(&[
        "id", "status", "priority", "runs", "failures", "waited", "ran", "created", "title",
    ]);
    for item in items {
        let job: Job = serde_json::from_value(item)?;
        let waited = job
            .queued_at
            .zip(job.started_at)
            .map(|(from, to)| to - from);
        let ran = job
            .started_at
            .zip(job.finished_at)
            .map(|(from, to)| to - from);
        table.add_row([
            job.id.to_string(),
            describe::status(&job),
            job.priority.clone(),
            job.attempt.to_string(),
            format!("{} of {}", job.failures, job.max_attempts),
            // A session that waits again has waited for an earlier run; that is not what is asked here.
            output::or_nothing(
                waited
                    .filter(|span| *span >= chrono::TimeDelta::zero())
                    .map(output::duration),
            ),
            output::or_nothing(ran.map(output::duration)),
            output::instant(job.created_at),
            job.title.clone(),
        ]);
    }
    output::print(table)?;
    Ok(Exit::Ok)
}

fn query(args: &SessionListArgs) -> Vec<(&'static str, String)> {
    let mut query = Vec::new();
    if !args.status.is_empty() {
        let states: Vec<&str> = args
            .status
            .iter()
            .map(|state| JobState::as_str(*state))
            .collect();
        query.push(("state", states.join(",")));
    }
    query.extend(
        args.priority
            .map(|priority| ("priority", priority.to_string())),
    );
    query.extend(args.tag.clone().map(|tag| ("tag", tag)));
    query
}
