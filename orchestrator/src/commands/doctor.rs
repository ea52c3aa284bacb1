//! `doctor`: what is configured, and whether it answers.

mod agents;
mod defaults;
mod probes;

use adapter_agents::isolation::Isolation;
use serde::Serialize;

use crate::cli::DoctorArgs;
use crate::compose::isolation;
use crate::config::{self, Config, Flags, Loader, Settings};
use crate::exit::Exit;
use crate::output::{self, Format};

#[derive(Debug, Serialize)]
struct Findings {
    settings: Vec<Setting>,
    probes: Vec<probes::Probe>,
    agents: Vec<agents::Registered>,
    isolation: Level,
}

/// How sessions are kept to themselves by a worker that is started as this was.
#[derive(Debug, Serialize)]
struct Level {
    summary: String,
    /// Why no worker starts with these settings.
    refused: Option<String>,
    parts: Vec<Part>,
}

#[derive(Debug, Serialize)]
struct Part {
    name: &'static str,
    works: bool,
    finding: String,
}

#[derive(Debug, Serialize)]
struct Setting {
    key: String,
    value: String,
    source: String,
}

pub async fn run(args: DoctorArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let config = loader.load(Flags::default().with(&args.data)?)?;
    let variables: agents::Variables = config::variables().collect();
    let findings = Findings {
        settings: settings(&config)?,
        probes: probes::all(&config.settings, &variables).await,
        agents: agents::registered(&config, &variables).await,
        isolation: level(
            &config.settings,
            &isolation::detect(&config.settings, false).await?,
        ),
    };
    match args.output {
        Format::Json => output::json(&findings)?,
        Format::Table => show(&findings)?,
    }
    // What registered agents lack is no reason: any tenant may register one that nobody has configured.
    let refused = findings.isolation.refused.is_some();
    let broken = refused || findings.probes.iter().any(|probe| !probe.ok);
    Ok(if broken { Exit::Failed } else { Exit::Ok })
}

fn level(settings: &Settings, isolation: &Isolation) -> Level {
    let parts = isolation.parts().into_iter().map(|part| Part {
        name: part.name,
        works: part.works,
        finding: part.finding,
    });
    Level {
        summary: isolation.level(),
        refused: isolation::check(settings)
            .and_then(|()| isolation.check().map_err(Into::into))
            .err()
            .map(|error| error.to_string()),
        parts: parts.collect(),
    }
}

fn settings(config: &Config) -> anyhow::Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for (key, value) in config.shown()? {
        let chosen = if config.is_set(&key) {
            None
        } else {
            defaults::chosen(&key, &config.settings)?
        };
        settings.push(Setting {
            source: config.source(&key),
            value: chosen.unwrap_or(value),
            key,
        });
    }
    Ok(settings)
}

fn show(findings: &Findings) -> anyhow::Result<()> {
    let mut settings = output::table(&["setting", "value", "from"]);
    for setting in &findings.settings {
        settings.add_row([&setting.key, &setting.value, &setting.source]);
    }
    output::print(settings)?;
    output::line("")?;
    let mut probes = output::table(&["probe", "", "took", "finding"]);
    for probe in &findings.probes {
        let took = probe.milliseconds;
        probes.add_row([
            probe.name.clone(),
            if probe.ok { "ok" } else { "BROKEN" }.to_owned(),
            format!("{took} ms"),
            probe.finding.clone(),
        ]);
    }
    output::print(probes)?;
    output::line("")?;
    show_agents(&findings.agents)?;
    show_isolation(&findings.isolation)
}

fn show_agents(agents: &[agents::Registered]) -> anyhow::Result<()> {
    if agents.is_empty() {
        return Ok(());
    }
    let mut table = output::table(&["registered", "", "finding"]);
    for agent in agents {
        let ok = if agent.ok { "ok" } else { "LACKS" };
        table.add_row([&agent.name, ok, &agent.finding]);
    }
    output::print(table)?;
    output::line("")
}

fn show_isolation(isolation: &Level) -> anyhow::Result<()> {
    output::line(format_args!("isolation: {}", isolation.summary))?;
    if let Some(refused) = &isolation.refused {
        output::line(format_args!("BROKEN: {refused}"))?;
    }
    if isolation.parts.is_empty() {
        return Ok(());
    }
    let mut parts = output::table(&["isolation of", "", "finding"]);
    for part in &isolation.parts {
        let works = if part.works { "yes" } else { "no" };
        parts.add_row([part.name, works, &part.finding]);
    }
    output::print(parts)
}
