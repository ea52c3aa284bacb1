//! The main job on real input, from a checkout and nothing else: what a newcomer sees first, and a test of the whole.
//!
//! Everything goes through the API over HTTP, as any other client's would. What the table at the end says is what the
//! API answered; what is expected was written down before anything ran.

mod board;
mod dataset;
mod findings;
mod folder;
mod plan;
mod report;
mod repository;
mod tenants;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::all_in_one::AllInOne;
use crate::cli::DemoArgs;
use crate::compose::data_dir::DataDir;
use crate::config::{Secret, Settings};
use crate::exit::Exit;
use crate::output::StdoutClosed;
use crate::{client, output, signals};

use board::Board;
use folder::Folder;
use repository::Source;
use tenants::Submitted;

/// Between two looks at the jobs.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A machine that needs longer has a problem of its own.
const PATIENCE: Duration = Duration::from_mins(4);
/// More than all quotas together, so that the quotas are what limits.
const CONCURRENCY: u32 = 32;
const DRAIN_SECONDS: u64 = 3;

/// What Ctrl-C makes of a process, as a shell would say.
const INTERRUPTED: i32 = 130;

pub async fn run(args: &DemoArgs) -> anyhow::Result<Exit> {
    let shutdown = signals::shutdown()?;
    let folder = Folder::create()?;
    let source = Source::find(args.repo.as_deref(), folder.path()).await?;
    output::say(format_args!("working on copies of {}", source.description));
    let dataset = dataset::write(&source, folder.path())?;

    let dir = DataDir::open(&folder.path().join("data"))?.claim()?;
    let key_file = dir.admin_key();
    let settings = settings(args, &source, &folder);
    let running = AllInOne::start(dir, &settings).await?;
    let admin_key = Secret::new(std::fs::read_to_string(&key_file)?.trim());
    let admin = client::Client::new(&running.url, Some(admin_key.clone()), None)?;
    output::say(format_args!("server and worker are up at {}", running.url));

    let plan = plan::of(&source, &dataset);
    let shown = tokio::select! {
        shown = show(&admin, plan) => shown,
        () = running.broken() => Err(anyhow::anyhow!("a part of the server ended by itself")),
        () = shutdown.cancelled() => {
            running.stop().await?;
            drop(folder);
            std::process::exit(INTERRUPTED);
        }
    };
    let exit = match shown {
        Ok(as_expected) => {
            leave_or_keep(args, &running, &admin_key, &shutdown).await?;
            if as_expected { Exit::Ok } else { Exit::Failed }
        }
        Err(error) => {
            output::say(format_args!("error: {error:#}"));
            Exit::Failed
        }
    };
    running.stop().await?;
    Ok(exit)
}

fn settings(args: &DemoArgs, source: &Source, folder: &Folder) -> Settings {
    Settings {
        port: args.port,
        metrics_port: Some(0),
        concurrency: Some(CONCURRENCY),
        agents: Some(domain::AgentKind::ALL.to_vec()),
        roots: Some(vec![source.path.clone(), folder.path().to_owned()]),
        drain_seconds: Some(DRAIN_SECONDS),
        ..Settings::default()
    }
}

/// Submits everything, shows it until it has ended, and tells what happened. True when all of it was as expected.
async fn show(admin: &client::Client, plan: Vec<plan::Tenant>) -> anyhow::Result<bool> {
    let tenants = tenants::submit_all(admin, plan).await?;
    watch(&tenants).await?;
    let findings = findings::gather(&tenants).await?;
    unless_unread(report::print(&findings))?;
    Ok(findings.are_as_expected())
}

/// That nobody reads the table does not change what happened.
fn unless_unread(printed: anyhow::Result<()>) -> anyhow::Result<()> {
    match printed {
        Err(error) if error.is::<StdoutClosed>() => Ok(()),
        printed => printed,
    }
}

/// Until every job has ended. Stops those that are to be stopped.
async fn watch(tenants: &[Submitted]) -> anyhow::Result<()> {
    let mut board = Board::new(tenants);
    let watching = async {
        loop {
            let mut all_ended = true;
            for tenant in tenants {
                let jobs = tenant.look().await?;
                tenant.stop_what_is_to_be_stopped(&jobs).await?;
                all_ended &= jobs.iter().all(|job| job.status.is_finished());
                board.update(tenant, &jobs);
            }
            if all_ended {
                board.finish();
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, watching)
        .await
        .unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            anyhow::bail!("not everything had ended after {seconds} s; see the pages with --keep")
        })
}

async fn leave_or_keep(
    args: &DemoArgs,
    running: &AllInOne,
    key: &Secret,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    if !args.keep {
        let hint = "\nLook around in it with `orchestrator demo --keep`; start one of your own with `orchestrator dev`.";
        return unless_unread(output::line(hint));
    }
    let url = &running.url;
    unless_unread(output::line(format_args!(
        "\nStill up, until Ctrl-C:\n  pages    {url}/\n  key      {}\n  API      {url}/docs\n  metrics  {}/metrics",
        key.reveal(),
        running.metrics_url,
    )))?;
    shutdown.cancelled().await;
    Ok(())
}
