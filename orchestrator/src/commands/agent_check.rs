//! `agent check`

mod caller;
mod checks;
mod misuse;
mod tasks;

use std::time::Duration;

use adapter_agents::eap::Endpoint;

use crate::cli::AgentCheckArgs;
use crate::config::{self, ConfigError};
use crate::exit::{Exit, UsageError};
use crate::output::{self, Format};
use caller::Caller;
use checks::Finding;

pub async fn run(args: AgentCheckArgs) -> anyhow::Result<Exit> {
    let url = Endpoint::parse_url(&args.url).map_err(|error| UsageError(error.to_string()))?;
    let token = token(&args.token_env)?;
    let endpoint = Endpoint::new("the agent", url, token);
    let asked = caller::Asked {
        task_type: args.task_type,
        prompt: args.prompt,
        patience: Duration::from_secs(args.patience),
    };
    let findings = checks::all(&Caller::new(endpoint, asked)?).await;
    match args.output {
        Format::Json => output::json(&findings)?,
        Format::Table => show(&findings)?,
    }
    let failed = findings.iter().any(Finding::is_failure);
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

fn token(variable: &str) -> Result<String, ConfigError> {
    let found = config::variables().find(|(name, _)| name == variable);
    let text = found.and_then(|(_, value)| value.into_string().ok());
    let token = text.map(|text| text.trim().to_owned()).unwrap_or_default();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConfigError(format!(
            "set {variable} to the agent's token, or name another variable with --token-env"
        )));
    }
    Ok(token)
}

fn show(findings: &[Finding]) -> anyhow::Result<()> {
    let mut table = output::table(&["check", "", "took", "finding"]);
    for finding in findings {
        table.add_row([
            finding.check.to_owned(),
            finding.outcome.shown().to_owned(),
            format!("{} ms", finding.milliseconds),
            finding.detail.clone(),
        ]);
    }
    output::print(table)?;
    let failed = findings.iter().filter(|it| it.is_failure()).count();
    output::say(match failed {
        0 => "the agent keeps the protocol, as far as this can see".to_owned(),
        1 => "1 check failed; docs/eap.md is the protocol".to_owned(),
        _ => format!("{failed} checks failed; docs/eap.md is the protocol"),
    });
    Ok(())
}
