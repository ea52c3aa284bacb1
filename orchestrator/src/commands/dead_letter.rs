//! `dead-letter list|replay|show|abort`

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::connect;
use crate::cli::{DeadLetterCommand, Listing, OneReplay, ReplayArgs};
use crate::client::Client;
use crate::client::types::{DeadLetterGroup, Page};
use crate::config::Loader;
use crate::exit::Exit;
use crate::output::{self, Format};

/// Between looks at a replay.
const LOOK_EVERY: Duration = Duration::from_millis(300);

#[derive(Debug, Deserialize)]
struct Replay {
    id: String,
    status: String,
    matched: u64,
    replayed: u64,
    skipped: u64,
    held_up: Option<String>,
}

pub async fn run(command: DeadLetterCommand, loader: &Loader) -> anyhow::Result<Exit> {
    match command {
        DeadLetterCommand::List(listing) => list(listing, loader).await,
        DeadLetterCommand::Replay(args) => replay(args, loader).await,
        DeadLetterCommand::Show(args) => {
            let client = connect::client(&args.connection, loader)?;
            let document = client.get(&address(&args), &[]).await?;
            show(document, args.output)
        }
        DeadLetterCommand::Abort(args) => {
            let client = connect::client(&args.connection, loader)?;
            let document = client.act(&format!("{}/abort", address(&args))).await?;
            show(document, args.output)
        }
    }?;
    Ok(Exit::Ok)
}

fn address(args: &OneReplay) -> String {
    format!("dead-letters/replays/{}", args.id)
}

async fn list(listing: Listing, loader: &Loader) -> anyhow::Result<()> {
    let client = connect::client(&listing.connection, loader)?;
    let document: Value = client.get("dead-letters", &[]).await?;
    if listing.output == Format::Json {
        return output::json(&document);
    }
    let page: Page<DeadLetterGroup> = serde_json::from_value(document)?;
    let mut table = output::table(&["jobs", "kind", "last", "latest", "error"]);
    for group in page.items {
        table.add_row([
            group.count.to_string(),
            group.kind,
            output::instant(group.last_at),
            group.latest_id.to_string(),
            group.fingerprint,
        ]);
    }
    output::print(table)
}

async fn replay(args: ReplayArgs, loader: &Loader) -> anyhow::Result<()> {
    let client = connect::client(&args.connection, loader)?;
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<String>| {
        body.extend(value.map(|value| (name.to_owned(), value.into())));
    };
    set("kind", args.kind.map(|kind| kind.to_string()));
    set("fingerprint", args.fingerprint);
    set("code", args.code);
    body.insert("dry_run".to_owned(), args.dry_run.into());
    let begun: Value = client.post("dead-letters/replays", &body.into()).await?;
    if args.dry_run {
        return match args.output {
            Format::Json => output::json(&begun),
            Format::Table => {
                if begun["matched"] == 0 {
                    nothing_matched();
                }
                output::line(format_args!("{} would be queued again", begun["matched"]))
            }
        };
    }
    let id = begun["id"].as_str().unwrap_or_default().to_owned();
    if args.detach {
        return match args.output {
            Format::Json => output::json(&begun),
            Format::Table => output::line(id),
        };
    }
    let ended = watch(&client, &id).await?;
    show(ended, args.output)
}

/// Looks at it until it is over.
async fn watch(client: &Client, id: &str) -> anyhow::Result<Value> {
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} queued again  {msg}",
    )?);
    loop {
        let document: Value = client
            .get(&format!("dead-letters/replays/{id}"), &[])
            .await?;
        let replay: Replay = serde_json::from_value(document.clone())?;
        bar.set_length(replay.matched);
        bar.set_position(replay.replayed + replay.skipped);
        bar.set_message(replay.held_up.unwrap_or_default());
        if replay.status != "running" {
            bar.finish_and_clear();
            return Ok(document);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn show(document: Value, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&json!(document));
    }
    let replay: Replay = serde_json::from_value(document)?;
    output::line(format_args!(
        "{}  {}: {} of {} queued again, {} skipped",
        replay.id, replay.status, replay.replayed, replay.matched, replay.skipped
    ))?;
    if let Some(why) = replay.held_up {
        output::line(format_args!("held up: {why}"))?;
    }
    if replay.matched == 0 {
        nothing_matched();
    }
    Ok(())
}

fn nothing_matched() {
    output::say("no dead letter matched; `orchestrator dead-letter list` shows what there is");
}
