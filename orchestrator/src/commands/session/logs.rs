//! `session logs`

use crate::cli::LogsArgs;
use crate::client::ClientError;
use crate::commands::connect;
use crate::config::Loader;
use crate::exit::Exit;
use crate::output;

pub async fn run(args: LogsArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection, loader)?;
    let query = [("follow", args.follow.to_string())];
    let path = format!("sessions/{}/logs", args.id);
    let mut answer = client.text(&path, &query).await?;
    loop {
        let piece = answer
            .chunk()
            .await
            .map_err(|error| ClientError::broke_off(client.base(), &error))?;
        let Some(piece) = piece else {
            return Ok(Exit::Ok);
        };
        output::raw(&piece)?;
    }
}
