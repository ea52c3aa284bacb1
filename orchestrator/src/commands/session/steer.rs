//! `session stop|cancel|pause|resume|retry`

use serde_json::Value;

use super::describe;
use crate::cli::OneSession;
use crate::client::types::Job;
use crate::commands::connect;
use crate::config::Loader;
use crate::exit::Exit;
use crate::output::{self, Format};

pub async fn run(verb: &str, args: OneSession, loader: &Loader) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection, loader)?;
    let document: Value = client.act(&format!("sessions/{}/{verb}", args.id)).await?;
    match args.output {
        Format::Table => {
            let job: Job = serde_json::from_value(document)?;
            output::line(format_args!("{}  {}", job.id, describe::status(&job)))?;
        }
        Format::Json => output::json(&document)?,
    }
    Ok(Exit::Ok)
}
