//! `doctor`: what is configured, and whether it answers.

mod defaults;
mod probes;

use serde::Serialize;

use crate::cli::DoctorArgs;
use crate::config::{Config, Flags, Loader};
use crate::exit::Exit;
use crate::output::{self, Format};

#[derive(Debug, Serialize)]
struct Findings {
    settings: Vec<Setting>,
    probes: Vec<probes::Probe>,
}

#[derive(Debug, Serialize)]
struct Setting {
    key: String,
    value: String,
    source: String,
}

pub async fn run(args: DoctorArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let config = loader.load(Flags::default().with(&args.data)?)?;
    let findings = Findings {
        settings: settings(&config)?,
        probes: probes::all(&config.settings).await,
    };
    match args.output {
        Format::Json => output::json(&findings)?,
        Format::Table => show(&findings)?,
    }
    let broken = findings.probes.iter().any(|probe| !probe.ok);
    Ok(if broken { Exit::Failed } else { Exit::Ok })
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
    output::print(probes)
}
