//! `agent list|get|register|drain|resume|remove|route`

use std::collections::BTreeMap;

use domain::Labels;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::connect;
use crate::cli::{AgentCommand, AgentRegisterArgs, AgentRouteArgs, Listing, OneAgent};
use crate::client::Client;
use crate::config::Loader;
use crate::exit::{Exit, UsageError};
use crate::output::{self, Format};

/// More agents than a tenant may use.
const AGENTS: usize = 10_000;

#[derive(Debug, Deserialize)]
struct Agent {
    id: String,
    name: String,
    kind: String,
    shared: bool,
    capabilities: Vec<String>,
    tier: u8,
    capacity: u32,
    in_use: u32,
    labels: BTreeMap<String, String>,
    state: String,
    unavailable_because: Option<String>,
    success_rate: f64,
    latency_seconds: Option<f64>,
    quality: Option<f64>,
    tasks: u64,
    breaker: Breaker,
}

#[derive(Debug, Deserialize)]
struct Breaker {
    state: String,
}

#[derive(Debug, Deserialize)]
struct Routing {
    choice: Option<Scored>,
    alternatives: Vec<Scored>,
    reason: String,
    rejected: Vec<Rejected>,
    /// Absent in answers of older servers.
    #[serde(default)]
    rejected_more: usize,
}

#[derive(Debug, Deserialize)]
struct Scored {
    name: String,
    score: f64,
}

#[derive(Debug, Deserialize)]
struct Rejected {
    name: String,
    reason: String,
}

pub async fn run(command: AgentCommand, loader: &Loader) -> anyhow::Result<Exit> {
    match command {
        AgentCommand::List(listing) => list(listing, loader).await,
        AgentCommand::Get(args) => {
            let (client, path) = open(&args, loader)?;
            show(client.get(&path, &[]).await?, args.output)
        }
        AgentCommand::Register(args) => register(args, loader).await,
        AgentCommand::Drain(args) => steer("drain", &args, loader).await,
        AgentCommand::Resume(args) => steer("resume", &args, loader).await,
        AgentCommand::Remove(args) => {
            let (client, path) = open(&args, loader)?;
            client.delete(&path).await.map_err(anyhow::Error::from)
        }
        AgentCommand::Route(args) => return route(args, loader).await,
        AgentCommand::Check(args) => return super::agent_check::run(args).await,
    }?;
    Ok(Exit::Ok)
}

async fn list(listing: Listing, loader: &Loader) -> anyhow::Result<()> {
    let client = connect::client(&listing.connection, loader)?;
    let items = client.list("agents", &[], AGENTS).await?;
    if listing.output == Format::Json {
        return output::json(&json!({ "items": items }));
    }
    let headings = [
        "name", "kind", "can", "tier", "in use", "success", "quality", "state", "",
    ];
    let mut table = output::table(&headings);
    for item in items {
        let agent: Agent = serde_json::from_value(item)?;
        table.add_row([
            agent.name,
            agent.kind,
            agent.capabilities.join(", "),
            agent.tier.to_string(),
            format!("{}/{}", agent.in_use, agent.capacity),
            percent(agent.success_rate),
            agent.quality.map(quality).unwrap_or_default(),
            agent.state,
            agent.unavailable_because.unwrap_or_default(),
        ]);
    }
    output::print(table)
}

async fn register(args: AgentRegisterArgs, loader: &Loader) -> anyhow::Result<()> {
    let body = registration(&args)?;
    let client = connect::client(&args.connection, loader)?;
    show(client.post("agents", &body).await?, args.output)
}

async fn steer(verb: &str, args: &OneAgent, loader: &Loader) -> anyhow::Result<()> {
    let (client, path) = open(args, loader)?;
    show(client.act(&format!("{path}/{verb}")).await?, args.output)
}

/// That there is none is an answer, and no success: a script asks whether somebody would do it.
async fn route(args: AgentRouteArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let body = said([
        ("capabilities", Some(json!(args.capabilities))),
        ("min_tier", args.min_tier.map(Value::from)),
        ("agent_labels", labels(&args.labels)?),
        ("preferred_agent", args.prefer.map(Value::from)),
        ("preferred_kind", args.prefer_kind.map(|kind| json!(kind))),
    ]);
    let client = connect::client(&args.connection, loader)?;
    let document: Value = client.post("agents/route", &body).await?;
    let exit = if document["choice"].is_null() {
        Exit::NotFound
    } else {
        Exit::Ok
    };
    if args.output == Format::Json {
        output::json(&document)?;
        return Ok(exit);
    }
    let routing: Routing = serde_json::from_value(document)?;
    let mut table = output::table(&["agent", "score", ""]);
    let first = routing.choice.into_iter().map(|it| (it, "chosen"));
    for (scored, what) in first.chain(routing.alternatives.into_iter().map(|it| (it, ""))) {
        table.add_row([scored.name, format!("{:.3}", scored.score), what.to_owned()]);
    }
    for rejected in routing.rejected {
        table.add_row([rejected.name, String::new(), rejected.reason]);
    }
    output::print(table)?;
    if routing.rejected_more > 0 {
        let more = routing.rejected_more;
        output::line(format_args!("and {more} more that would not get it"))?;
    }
    output::line(routing.reason)?;
    Ok(exit)
}

/// The API, and the agent's address there.
fn open(args: &OneAgent, loader: &Loader) -> anyhow::Result<(Client, String)> {
    let named = &args.named;
    // It becomes a part of the address, so it must be no more than a name.
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let usable = named.chars().all(in_name) && named.chars().any(|c| c != '.');
    if !usable {
        return Err(UsageError(format!("`{named}` is not an agent's name or id")).into());
    }
    let client = connect::client(&args.connection, loader)?;
    Ok((client, format!("agents/{named}")))
}

fn registration(args: &AgentRegisterArgs) -> Result<Value, UsageError> {
    let agent = if let Some(line) = &args.run {
        json!({"kind": "command", "run": line})
    } else if let Some(model) = &args.model {
        said([
            ("kind", Some("opencode".into())),
            ("model", Some(json!(model))),
            ("providers", args.providers.as_deref().map(Value::from)),
        ])
    } else if let Some(name) = &args.eap {
        json!({"kind": "eap", "name": name})
    } else if let Some(delay) = args.echo {
        json!({"kind": "echo", "delay_seconds": delay})
    } else {
        json!({"kind": "command", "argv": args.argv})
    };
    Ok(said([
        ("name", Some(json!(args.name))),
        ("agent", Some(agent)),
        ("capabilities", Some(json!(args.capabilities))),
        ("tier", args.tier.map(Value::from)),
        ("capacity", args.capacity.map(Value::from)),
        ("labels", labels(&args.labels)?),
        ("cost_usd", args.cost.map(Value::from)),
        ("shared", args.shared.then_some(json!(true))),
    ]))
}

fn said<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Value {
    let given = pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    given.collect::<Map<String, Value>>().into()
}

fn labels(given: &[String]) -> Result<Option<Value>, UsageError> {
    let labels: Labels = given
        .join(",")
        .parse()
        .map_err(|error: domain::NotALabel| UsageError(error.to_string()))?;
    Ok((!labels.is_empty()).then(|| json!(labels)))
}

fn show(document: Value, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&document);
    }
    let agent: Agent = serde_json::from_value(document)?;
    let mut table = output::table(&[]);
    let mut add = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    add("name", agent.name);
    add("id", agent.id);
    add("kind", agent.kind);
    add(
        "for",
        if agent.shared {
            "all tenants"
        } else {
            "its tenant"
        }
        .to_owned(),
    );
    add("can", agent.capabilities.join(", "));
    add("tier", agent.tier.to_string());
    add("in use", format!("{} of {}", agent.in_use, agent.capacity));
    if !agent.labels.is_empty() {
        add("labels", Labels(agent.labels).to_string());
    }
    add("state", agent.state);
    if let Some(why) = agent.unavailable_because {
        add("gets nothing", why);
    }
    add(
        "success",
        format!(
            "{} of {} tasks, the latest most",
            percent(agent.success_rate),
            agent.tasks
        ),
    );
    if let Some(seconds) = agent.latency_seconds {
        add("takes", format!("{seconds:.1} s"));
    }
    let rated = agent.quality.map(quality);
    add(
        "quality",
        rated.unwrap_or_else(|| "not rated yet".to_owned()),
    );
    add("breaker", agent.breaker.state);
    output::print(table)
}

fn quality(share: f64) -> String {
    format!("{share:.2}")
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn sent(words: &str) -> Value {
        let cli = Cli::parse_from(words.split(' '));
        let Command::Agent(AgentCommand::Register(args)) = cli.command else {
            panic!("{words}");
        };
        registration(&args).unwrap()
    }

    #[test]
    fn only_what_was_said_is_sent() {
        let sent_by = sent(
            "orchestrator agent register a --can testing,web --tier 4 --label region=eu --run make",
        );
        let expected = json!({
            "name": "a", "agent": {"kind": "command", "run": "make"}, "capabilities": ["testing", "web"],
            "tier": 4, "labels": {"region": "eu"},
        });
        assert_eq!(sent_by, expected);
        let sent_by = sent("orchestrator agent register a --shared -- make test");
        let expected = json!({
            "name": "a", "agent": {"kind": "command", "argv": ["make", "test"]}, "capabilities": [], "shared": true,
        });
        assert_eq!(sent_by, expected);
    }

    #[test]
    fn an_agent_does_one_thing() {
        for words in ["agent register a", "agent register a --run x --echo 1"] {
            let words = format!("orchestrator {words}");
            assert!(Cli::try_parse_from(words.split(' ')).is_err(), "{words}");
        }
    }
}
