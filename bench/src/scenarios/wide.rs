//! Wide and shallow: many tenants with one job each, and then with one more. Tenants are made through the API, as an operator would.

use std::sync::Arc;

use uuid::Uuid;

use crate::cli::Cli;
use crate::http::{Caller, Connection};
use crate::installation::Installation;
use crate::load::{Sent, Shot, fire, single, unix_micros};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::stats::{Latency, per_second};
use crate::tenants::tenant_body;

use super::{all_ended, drain};

/// What a new tenant gets where nothing was said.
const QUOTA: u32 = 10;

pub async fn run(cli: &Cli, installation: &mut Installation) -> anyhow::Result<Outcome> {
    let count = cli.tenants();
    let connections = cli.connections();
    let (ids, made) = make(installation, count, connections).await?;
    let sent = submit(cli, installation, &ids, connections).await?;
    let mut outcome = drain::work_off(installation, &[], &sent).await?;
    // Here the start counts: so many queues have to be found first.
    let (_, whole) = outcome.figures.pop().unwrap_or_default();
    outcome.figure("jobs/s, first claim to last end", outcome.rate);
    outcome.rate = whole.as_f64();
    outcome.rate_of = "start of workers to last end";
    outcome.latency_of = "";
    outcome.figure("tenants", count);
    outcome.figure("tenants made, a second, through the API", made);
    let submitted = per_second(sent.jobs, sent.elapsed_micros());
    outcome.figure("submitted, jobs/s", submitted);
    outcome.latency_figure("of a request", Latency::of_micros(sent.latencies));
    let again = again(cli, installation, &ids).await?;
    outcome.figure("a second job each, first submit to last end, jobs/s", again);
    Ok(outcome)
}

/// The broker knows all queues by now: one more job of each tenant, with the workers at work.
async fn again(cli: &Cli, installation: &Installation, ids: &[Uuid]) -> anyhow::Result<f64> {
    let begun = unix_micros();
    let sent = submit(cli, installation, ids, cli.connections()).await?;
    let store = installation.store().await?;
    all_ended(&store, sent.jobs).await?;
    let (_, last) = store.span().await?;
    store.close().await;
    Ok(per_second(sent.jobs, last.saturating_sub(begun)))
}

/// The tenants, and how many were made a second.
async fn make(
    installation: &Installation,
    count: u64,
    connections: u32,
) -> anyhow::Result<(Vec<Uuid>, f64)> {
    let shots = (1..=count).map(|number| {
        let body = tenant_body(&format!("wide-{number}"), QUOTA);
        let request = installation.admin.request("POST", "/api/v1/tenants", &body);
        (request.into(), 1)
    });
    let progress = Progress::new("making tenants", count);
    let sent = fire(installation.port, connections, shots.collect(), &progress).await?;
    let mut ids = Vec::new();
    let mut connection = Connection::open(installation.port).await?;
    let mut path = "/api/v1/tenants?limit=200".to_owned();
    loop {
        let request = installation.admin.request("GET", &path, "");
        let page: serde_json::Value =
            serde_json::from_slice(&connection.send(&request).await?.body)?;
        let items = page["items"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let ours = items.iter().filter(|it| {
            it["slug"]
                .as_str()
                .is_some_and(|slug| slug.starts_with("wide-"))
        });
        ids.extend(ours.filter_map(|it| it["id"].as_str()?.parse::<Uuid>().ok()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/tenants?limit=200&cursor={cursor}"),
            None => break,
        }
    }
    anyhow::ensure!(
        ids.len() as u64 == count,
        "{} of {count} tenants are there",
        ids.len()
    );
    Ok((ids, per_second(sent.jobs, sent.elapsed_micros())))
}

/// The admin's key acts for each of them in turn.
async fn submit(
    cli: &Cli,
    installation: &Installation,
    ids: &[Uuid],
    connections: u32,
) -> anyhow::Result<Sent> {
    let requests: Vec<Arc<[u8]>> = ids
        .iter()
        .map(|id| Caller {
            tenant: Some(id.to_string()),
            ..installation.admin.clone()
        })
        .map(|caller| single(&caller).into())
        .collect();
    let turns = requests.iter().cycle();
    let shots: Vec<Shot> = (0..cli.jobs())
        .zip(turns)
        .map(|(_, request)| (Arc::clone(request), 1))
        .collect();
    let progress = Progress::new("submitting", cli.jobs());
    fire(installation.port, connections, shots, &progress).await
}
