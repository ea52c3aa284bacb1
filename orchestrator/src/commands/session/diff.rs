//! `session diff`

use serde_json::json;

use crate::cli::OneSession;
use crate::client::ClientError;
use crate::commands::connect;
use crate::config::Loader;
use crate::exit::Exit;
use crate::output::{self, Format};

pub async fn run(args: OneSession, loader: &Loader) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection, loader)?;
    let answer = client
        .text(&format!("sessions/{}/diff", args.id), &[])
        .await?;
    let patch = answer
        .bytes()
        .await
        .map_err(|error| ClientError::broke_off(client.base(), &error))?;
    match args.output {
        // A patch may hold any bytes; they are to reach `git apply` as they are.
        Format::Table => output::foreign(&patch)?,
        Format::Json => output::json(&json!({"diff": String::from_utf8_lossy(&patch)}))?,
    }
    Ok(Exit::Ok)
}
