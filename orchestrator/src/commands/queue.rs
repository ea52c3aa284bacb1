//! `queue list`

use chrono::TimeDelta;
use serde_json::json;

use super::connect;
use crate::cli::{QueueCommand, QueueListArgs};
use crate::client::types::Queue;
use crate::config::Loader;
use crate::exit::Exit;
use crate::output::{self, Format};

/// More queues than anybody reads.
const QUEUES: usize = 100_000;

pub async fn run(command: QueueCommand, loader: &Loader) -> anyhow::Result<Exit> {
    let QueueCommand::List(QueueListArgs { all, listing }) = command;
    let client = connect::client(&listing.connection, loader)?;
    let items = if all {
        let query = [("all", "true".to_owned())];
        client.list("queues", &query, QUEUES).await?
    } else {
        let page: crate::client::types::Page<serde_json::Value> = client.get("queues", &[]).await?;
        page.items
    };
    if listing.output == Format::Json {
        output::json(&json!({ "items": items }))?;
        return Ok(Exit::Ok);
    }
    let mut table = output::table(&[
        "tenant", "kind", "waiting", "oldest", "running", "quota", "",
    ]);
    for item in items {
        let queue: Queue = serde_json::from_value(item)?;
        let age = queue.oldest_age_seconds.map(|seconds| {
            #[expect(clippy::cast_possible_truncation, reason = "an age in milliseconds")]
            let milliseconds = (seconds * 1000.0) as i64;
            output::duration(TimeDelta::milliseconds(milliseconds))
        });
        table.add_row([
            queue.tenant,
            queue.kind,
            queue.depth.to_string(),
            output::or_nothing(age),
            queue.running.to_string(),
            queue.quota.to_string(),
            if queue.paused { "paused" } else { "" }.to_owned(),
        ]);
    }
    output::print(table)?;
    Ok(Exit::Ok)
}
