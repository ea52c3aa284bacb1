//! A quiet tenant with a job now and then, beside a tenant with a deep backlog: how long the quiet one's jobs wait, and
//! how long they wait alone, in the same run.

use std::time::{Duration, Instant};

use crate::cli::Cli;
use crate::http::Connection;
use crate::installation::Installation;
use crate::load::{single, unix_micros};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::stats::Latency;
use crate::store::{Store, Times};
use crate::tenants::Tenant;
use crate::usage::Meter;

use super::{QUOTA_FAR, all_ended, open_is, submit_backlog, tenants, waits};

const QUIET_QUOTA: u32 = 10;
/// Its first job makes its queue, which happens once in a tenant's life.
const WARM_UP: usize = 1;
/// The quiet tenant's last jobs have ended by then even where they wait long.
const SETTLE: Duration = Duration::from_secs(5);

pub async fn run(cli: &Cli, installation: &mut Installation) -> anyhow::Result<Outcome> {
    let mut quiet = tenants(installation, "quiet", 1, QUIET_QUOTA).await?;
    let quiet = quiet.remove(0);
    let flood = tenants(installation, "flood", 1, QUOTA_FAR).await?;

    installation.start_workers().await?;
    installation.workers_are_up().await?;
    let store = installation.store().await?;
    let alone = trickle(cli, installation, &quiet, "alone", None).await?;
    all_ended(&store, alone).await?;
    store.close().await;

    installation.without_workers().await?;
    let sent = submit_backlog(cli, installation, &flood, cli.jobs()).await?;
    let meter = Meter::start(&installation.watched());
    installation.start_workers().await?;
    let store = installation.store().await?;
    open_is(&store, |open| open < sent.jobs).await?;
    let boundary = unix_micros();
    let beside = trickle(cli, installation, &quiet, "beside the flood", Some(&store)).await?;
    let (left, _) = store.open().await?;
    tokio::time::sleep(SETTLE).await;
    let (open, running) = store.open().await?;
    let worked_off = (sent.jobs + beside).saturating_sub(open + running);
    let usage = meter.stop(&installation.watched(), worked_off);
    let tally = store.tally().await?;
    let times = store.times(quiet.id).await?;
    store.close().await;

    let mut faults = tally.faults_so_far(alone + sent.jobs + beside);
    let unended = times.iter().filter(|it| it.finished.is_none()).count();
    if unended > 0 {
        faults.push(format!("{unended} jobs of the quiet tenant have not ended"));
    }
    let measured = times.into_iter().skip(WARM_UP);
    let (before, during): (Vec<Times>, Vec<Times>) = measured.partition(|it| it.created < boundary);
    let (before, during) = (
        Latency::of_micros(waits(&before)),
        Latency::of_micros(waits(&during)),
    );
    let mut outcome = Outcome {
        jobs: worked_off,
        latency: during,
        latency_of: "submit to claim of the quiet tenant's jobs beside the flood",
        usage,
        faults,
        ..Outcome::default()
    };
    outcome.figure("depth of the flood", sent.jobs);
    outcome.figure("of it, still waiting at the end", left);
    outcome.figure("quiet jobs alone", alone);
    outcome.figure("quiet jobs beside the flood", beside);
    outcome.latency_figure("submit to claim, alone", before);
    if let (Some(before), Some(during)) = (before, during) {
        outcome.figure("p50 beside the flood / alone", during.p50 / before.p50);
        outcome.figure("p99 beside the flood / alone", during.p99 / before.p99);
    }
    Ok(outcome)
}

/// One job of the quiet tenant after the other, for `--seconds` or, where `flood` is given, until it is worked off.
async fn trickle(
    cli: &Cli,
    installation: &Installation,
    quiet: &Tenant,
    phase: &str,
    flood: Option<&Store>,
) -> anyhow::Result<u64> {
    let pause = Duration::from_secs_f64(1.0 / cli.rate().unwrap_or(1.0));
    let request = single(&quiet.caller);
    let mut connection = Connection::open(installation.port).await?;
    let progress = Progress::new(phase, cli.seconds);
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed().as_secs() < cli.seconds {
        if let Some(store) = flood
            && store.open().await? == (0, 0)
        {
            break;
        }
        let answer = connection.send(&request).await?;
        anyhow::ensure!(answer.status == 201, "answered {}", answer.text());
        sent += 1;
        progress.set(began.elapsed().as_secs());
        // No fixed beat that a timer of the product could fall into.
        tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
    }
    Ok(sent)
}
