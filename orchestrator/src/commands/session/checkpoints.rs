//! `session checkpoints|restore`

use serde_json::Value;

use crate::cli::{OneSession, RestoreArgs};
use crate::commands::connect;
use crate::config::Loader;
use crate::exit::Exit;
use crate::output::{self, Format};

pub async fn list(args: OneSession, loader: &Loader) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection, loader)?;
    let path = format!("sessions/{}/checkpoints", args.id);
    let document: Value = client.get(&path, &[]).await?;
    match args.output {
        Format::Table => {
            let mut table = output::table(&["NUMBER", "RUN", "AT", "BYTES"]);
            for checkpoint in document["items"].as_array().into_iter().flatten() {
                table.add_row(["number", "attempt", "at", "bytes"].map(|name| {
                    let value = &checkpoint[name];
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned)
                }));
            }
            output::print(table)?;
        }
        Format::Json => output::json(&document)?,
    }
    Ok(Exit::Ok)
}

pub async fn restore(args: RestoreArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let RestoreArgs { session, number } = args;
    let client = connect::client(&session.connection, loader)?;
    let path = format!("sessions/{}/checkpoints/{number}/restore", session.id);
    let document: Value = client.act(&path).await?;
    match session.output {
        Format::Table => output::line(format_args!(
            "checkpoint {} is {number} again; the next run starts from it, and files stay as they are",
            document["number"]
        ))?,
        Format::Json => output::json(&document)?,
    }
    Ok(Exit::Ok)
}
