//! `schedule create|list|get|pause|resume|run|delete`

use domain::{JobId, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::connect;
use super::session::submit;
use crate::cli::{Listing, OneSchedule, ScheduleCommand, ScheduleCreateArgs};
use crate::client::Client;
use crate::client::types::Job;
use crate::config::Loader;
use crate::exit::{Exit, UsageError};
use crate::output::{self, Format};

/// More schedules than a tenant may have.
const SCHEDULES: usize = 10_000;

#[derive(Debug, Deserialize)]
struct Schedule {
    id: String,
    name: String,
    cron: String,
    timezone: String,
    missed: String,
    overlap: String,
    paused: bool,
    next_at: Option<Timestamp>,
    next_ticks: Vec<Timestamp>,
    last_tick_at: Option<Timestamp>,
    last_job_id: Option<JobId>,
    last_error: Option<LastError>,
}

#[derive(Debug, Deserialize)]
struct LastError {
    at: Timestamp,
    message: String,
}

pub async fn run(command: ScheduleCommand, loader: &Loader) -> anyhow::Result<Exit> {
    match command {
        ScheduleCommand::Create(args) => create(args, loader).await,
        ScheduleCommand::List(listing) => list(listing, loader).await,
        ScheduleCommand::Get(args) => {
            let (client, path) = open(&args, loader)?;
            show(client.get(&path, &[]).await?, args.output)
        }
        ScheduleCommand::Pause(args) => steer("pause", &args, loader).await,
        ScheduleCommand::Resume(args) => steer("resume", &args, loader).await,
        ScheduleCommand::Run(args) => run_now(&args, loader).await,
        ScheduleCommand::Delete(args) => {
            let (client, path) = open(&args, loader)?;
            client.delete(&path).await.map_err(anyhow::Error::from)
        }
    }?;
    Ok(Exit::Ok)
}

async fn create(args: ScheduleCreateArgs, loader: &Loader) -> anyhow::Result<()> {
    let body = body(&args)?;
    let client = connect::client(&args.connection, loader)?;
    show(client.post("schedules", &body).await?, args.output)
}

async fn list(listing: Listing, loader: &Loader) -> anyhow::Result<()> {
    let client = connect::client(&listing.connection, loader)?;
    let items = client.list("schedules", &[], SCHEDULES).await?;
    if listing.output == Format::Json {
        return output::json(&json!({ "items": items }));
    }
    let mut table = output::table(&["name", "timetable", "zone", "next", "last", "job", ""]);
    for item in items {
        let schedule: Schedule = serde_json::from_value(item)?;
        table.add_row([
            schedule.name,
            schedule.cron,
            schedule.timezone,
            output::or_nothing(schedule.next_at.map(output::instant)),
            output::or_nothing(schedule.last_tick_at.map(output::instant)),
            output::or_nothing(schedule.last_job_id),
            match schedule.last_error {
                _ if schedule.paused => "paused".to_owned(),
                Some(error) => error.message,
                None => String::new(),
            },
        ]);
    }
    output::print(table)
}

async fn steer(verb: &str, args: &OneSchedule, loader: &Loader) -> anyhow::Result<()> {
    let (client, path) = open(args, loader)?;
    show(client.act(&format!("{path}/{verb}")).await?, args.output)
}

async fn run_now(args: &OneSchedule, loader: &Loader) -> anyhow::Result<()> {
    let (client, path) = open(args, loader)?;
    let document: Value = client.act(&format!("{path}/run")).await?;
    match args.output {
        Format::Table => output::line(serde_json::from_value::<Job>(document)?.id),
        Format::Json => output::json(&document),
    }
}

/// The API, and the schedule's address there.
fn open(args: &OneSchedule, loader: &Loader) -> anyhow::Result<(Client, String)> {
    let named = &args.named;
    // It becomes a part of the address, so it must be no more than a name.
    let is_name = !named.is_empty() && named.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !is_name {
        return Err(UsageError(format!("`{named}` is not a schedule's name or id")).into());
    }
    let client = connect::client(&args.connection, loader)?;
    Ok((client, format!("schedules/{named}")))
}

fn body(args: &ScheduleCreateArgs) -> Result<Value, UsageError> {
    let mut body = match &args.body {
        Some(path) => read(path)?,
        None => Map::from_iter([("session".to_owned(), submit::work(&args.work)?.into())]),
    };
    let said = [
        ("name", Some(json!(args.name))),
        ("cron", Some(json!(args.cron))),
        ("timezone", args.timezone.as_ref().map(|zone| json!(zone))),
        ("missed", args.missed.map(|rule| json!(rule))),
        ("overlap", args.overlap.map(|rule| json!(rule))),
        (
            "deadline_after_seconds",
            args.deadline_after.map(|after| json!(after)),
        ),
        ("paused", args.paused.then_some(json!(true))),
    ];
    body.extend(
        said.into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?))),
    );
    Ok(body.into())
}

fn read(path: &std::path::Path) -> Result<Map<String, Value>, UsageError> {
    let unusable = |why: String| UsageError(format!("{} cannot be used: {why}", path.display()));
    let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))
}

fn show(document: Value, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&document);
    }
    let schedule: Schedule = serde_json::from_value(document)?;
    let mut table = output::table(&[]);
    let mut add = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    add("name", schedule.name);
    add("id", schedule.id);
    add(
        "timetable",
        format!("{} {}", schedule.cron, schedule.timezone),
    );
    add("missed", schedule.missed);
    add("overlap", schedule.overlap);
    let next = schedule.next_at.map(output::instant);
    add("next", next.unwrap_or_else(|| "paused".to_owned()));
    let ticks = schedule.next_ticks.into_iter().map(output::instant);
    add("ticks", ticks.collect::<Vec<_>>().join(", "));
    if let Some(at) = schedule.last_tick_at {
        add("last tick", output::instant(at));
    }
    if let Some(job) = schedule.last_job_id {
        add("last job", job.to_string());
    }
    if let Some(error) = schedule.last_error {
        add(
            "error",
            format!("{} ({})", error.message, output::instant(error.at)),
        );
    }
    output::print(table)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn only_what_was_said_is_sent() {
        let words = "orchestrator schedule create nightly --cron @daily --missed all --tag n --require gpu=h100 --run make";
        let cli = Cli::parse_from(words.split(' '));
        let Command::Schedule(ScheduleCommand::Create(args)) = cli.command else {
            panic!("{words}");
        };
        let expected = json!({
            "name": "nightly", "cron": "@daily", "missed": "all",
            "session": {"title": "make", "tags": ["n"], "requires": {"gpu": "h100"},
                        "agent": {"kind": "command", "run": "make"}},
        });
        assert_eq!(body(&args).unwrap(), expected);
    }

    #[test]
    fn a_body_stands_instead_of_the_flags() {
        let words = "orchestrator schedule create s --cron @daily --body x.json --run make";
        assert!(Cli::try_parse_from(words.split(' ')).is_err());
    }
}
