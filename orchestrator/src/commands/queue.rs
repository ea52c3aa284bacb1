//! `queue list|pause|resume|drain`

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::connect;
use crate::cli::{OneQueue, QueueCommand, QueueListArgs};
use crate::client::types::{Page, Queue};
use crate::config::Loader;
use crate::exit::Exit;
use crate::output::{self, Format};

/// More queues than anybody reads.
const QUEUES: usize = 100_000;

pub async fn run(command: QueueCommand, loader: &Loader) -> anyhow::Result<Exit> {
    match command {
        QueueCommand::List(args) => list(args, loader).await,
        QueueCommand::Pause(args) => steer("pause", args, loader).await,
        QueueCommand::Resume(args) => steer("resume", args, loader).await,
        QueueCommand::Drain(args) => steer("drain", args, loader).await,
    }?;
    Ok(Exit::Ok)
}

async fn list(args: QueueListArgs, loader: &Loader) -> anyhow::Result<()> {
    let QueueListArgs { all, listing } = args;
    let client = connect::client(&listing.connection, loader)?;
    let items = if all {
        let query = [("all", "true".to_owned())];
        client.list("queues", &query, QUEUES).await?
    } else {
        let page: Page<Value> = client.get("queues", &[]).await?;
        page.items
    };
    show(items, listing.output)
}

async fn steer(verb: &str, args: OneQueue, loader: &Loader) -> anyhow::Result<()> {
    let client = connect::client(&args.listing.connection, loader)?;
    let path = format!("queues/{}/{verb}", args.kind);
    let page: Page<Value> = client.act(&path).await?;
    show(page.items, args.listing.output)
}

pub fn show(items: Vec<Value>, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&json!({ "items": items }));
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
            match (queue.paused, queue.draining) {
                (true, true) => "paused and draining: takes none, starts none",
                (true, false) => "paused",
                (false, true) => "draining",
                (false, false) => "",
            }
            .to_owned(),
        ]);
    }
    output::print(table)
}
