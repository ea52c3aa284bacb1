//! `session get`

use serde_json::Value;

use super::describe;
use crate::cli::OneSession;
use crate::commands::connect;
use crate::config::Loader;
use crate::exit::Exit;
use crate::output::{self, Format};

pub async fn run(args: OneSession, loader: &Loader) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection, loader)?;
    let document: Value = client.get(&format!("sessions/{}", args.id), &[]).await?;
    match args.output {
        Format::Table => describe::job(&serde_json::from_value(document)?)?,
        Format::Json => output::json(&document)?,
    }
    Ok(Exit::Ok)
}
