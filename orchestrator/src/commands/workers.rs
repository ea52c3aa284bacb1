//! `workers`

use serde_json::Value;

use super::connect;
use crate::cli::WorkersArgs;
use crate::client::types::{Page, Worker};
use crate::config::Loader;
use crate::exit::Exit;
use crate::output::{self, Format};

pub async fn run(args: WorkersArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let client = connect::client(&args.listing.connection, loader)?;
    let document: Value = client.get("workers", &[]).await?;
    if args.listing.output == Format::Json {
        output::json(&document)?;
        return Ok(Exit::Ok);
    }
    let page: Page<Worker> = serde_json::from_value(document)?;
    let mut table = output::table(&[
        "id", "host", "kinds", "labels", "running", "slots", "since", "",
    ]);
    for worker in page.items {
        let state = match (worker.alive, worker.draining) {
            (false, _) => "lease over",
            (true, true) => "draining",
            (true, false) => "",
        };
        table.add_row([
            worker.id,
            worker.host,
            worker.kinds.join(","),
            worker.labels.to_string(),
            worker.running.to_string(),
            worker.capacity.to_string(),
            output::instant(worker.started_at),
            state.to_owned(),
        ]);
    }
    output::print(table)?;
    Ok(Exit::Ok)
}
