//! `dev`

use std::path::PathBuf;

use domain::AgentKind;

use crate::all_in_one::AllInOne;
use crate::cli::DevArgs;
use crate::commands::serving;
use crate::compose::data_dir::DataDir;
use crate::config::{self, Flags, Loader, Settings};
use crate::exit::Exit;
use crate::{output, signals};

/// The agents where nothing else was asked for.
pub const AGENTS: &[AgentKind] = &AgentKind::ALL;

/// The lease of its worker where nothing else was asked for. Nobody else could take over what a `dev` runs, and the next one
/// takes back at its start what a killed one held: a short lease would only end runs while the machine has no time.
pub const LEASE_SECONDS: u64 = 300;

pub async fn run(args: DevArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let flags = Flags::default()
        .with(&args.http)?
        .with(&args.metrics)?
        .with(&args.worker)?
        .with(&args.data)?
        .with(&args.log)?;
    let mut settings = loader.load(flags)?.settings;
    serving::log(&settings)?;
    let shutdown = signals::shutdown()?;
    let dir = DataDir::open(&settings.data_dir)?.claim()?;
    let key_file = dir.admin_key();
    complete(&mut settings)?;
    let running = AllInOne::start(dir, &settings).await?;
    output::raw(banner(&running, &key_file.display().to_string()).as_bytes())?;
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = running.broken() => {}
    }
    running.stop().await?;
    Ok(Exit::Ok)
}

/// On one's own machine one may run one's own programs on one's own files.
fn complete(settings: &mut Settings) -> anyhow::Result<()> {
    settings.agents.get_or_insert_with(|| AGENTS.to_vec());
    settings.lease_seconds.get_or_insert(LEASE_SECONDS);
    if settings.roots.is_none() {
        settings.roots = Some(roots()?);
    }
    Ok(())
}

/// The working directory and the user's home.
pub fn roots() -> anyhow::Result<Vec<PathBuf>> {
    let mut roots = vec![std::env::current_dir()?];
    roots.extend(config::home());
    Ok(roots)
}

fn banner(running: &AllInOne, key_file: &str) -> String {
    let AllInOne {
        url, metrics_url, ..
    } = running;
    format!(
        "\
orchestrator {version}, all in one process. Ctrl-C ends it in order.

  pages    {url}/
  API      {url}/api/v1   described at {url}/docs
  metrics  {metrics_url}/metrics
  key      {key_file}

  curl -H \"Authorization: Bearer $(cat {key_file})\" {url}/api/v1/queues
  orchestrator session run --run 'echo hello'
",
        version = env!("CARGO_PKG_VERSION"),
    )
}
