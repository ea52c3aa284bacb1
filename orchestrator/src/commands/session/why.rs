//! `session why`

use serde_json::Value;

use crate::cli::OneSession;
use crate::client::types::{Reason, Why};
use crate::commands::connect;
use crate::config::Loader;
use crate::exit::Exit;
use crate::output::{self, Format};

/// Holders shown; the document has more.
const HOLDERS: usize = 10;

pub async fn run(args: OneSession, loader: &Loader) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection, loader)?;
    let path = format!("sessions/{}/why", args.id);
    let document: Value = client.get(&path, &[]).await?;
    if args.output == Format::Json {
        output::json(&document)?;
        return Ok(Exit::Ok);
    }
    let why: Why = serde_json::from_value(document)?;
    if why.reasons.is_empty() {
        output::line(format_args!("It does not wait: it is {}.", why.status))?;
        return Ok(Exit::Ok);
    }
    for reason in &why.reasons {
        output::line(&reason.message)?;
        for line in jobs(reason) {
            output::line(line)?;
        }
    }
    // To one that is not due, who holds the slots is nothing.
    if let Some(position) = why.position {
        place(&why, position)?;
    }
    if let Some(estimate) = why.estimate {
        output::line(format_args!(
            "It may begin in about {:.0} s, if runs take as long as the latest {} mostly did.",
            estimate.seconds, estimate.runs
        ))?;
    }
    Ok(Exit::Ok)
}

/// Its place in the queue, and who has the slots.
fn place(why: &Why, position: u32) -> anyhow::Result<()> {
    let (running, quota) = (why.running, why.quota);
    let end = if why.holders.is_empty() { "." } else { ":" };
    output::line(format_args!(
        "Position {position}; {running} of {quota} slots are taken{end}"
    ))?;
    for holder in why.holders.iter().take(HOLDERS) {
        let since = output::instant(holder.started_at);
        output::line(format_args!(
            "  {}  since {since}  {}",
            holder.id, holder.title
        ))?;
    }
    Ok(())
}

/// The jobs that a reason names.
fn jobs(reason: &Reason) -> Vec<String> {
    let text = |job: &Value, field: &str| job[field].as_str().unwrap_or_default().to_owned();
    let jobs = reason.data["jobs"].as_array();
    jobs.into_iter()
        .flatten()
        .map(|job| format!("  {}  {}", text(job, "id"), text(job, "status")))
        .collect()
}
