//! `producer`

use std::sync::Arc;

use anyhow::Context as _;
use telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use crate::cli::ProducerArgs;
use crate::commands::serving::{self, Listening, serve_metrics};
use crate::compose::services::Services;
use crate::compose::{agent_tokens, producer_config};
use crate::config::{Flags, Loader};
use crate::exit::Exit;
use crate::signals;

/// The port that Prometheus scrapes where nothing else was asked for.
pub const METRICS_PORT: u16 = 9100;

pub async fn run(args: ProducerArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let flags = Flags::default()
        .with(&args.http)?
        .with(&args.metrics)?
        .with(&args.data)?
        .with(&args.log)?;
    let settings = loader.load(flags)?.settings;
    serving::log(&settings)?;
    let shutdown = signals::shutdown()?;
    let tokens = agent_tokens(&settings)?;
    let services = Services::connect(&settings, "producer").await?;
    let listening = Listening::on(&settings.host, settings.port, "--port").await?;
    let metrics_listening = Listening::for_metrics(&settings, METRICS_PORT).await?;

    let metrics = Metrics::new();
    let ended = CancellationToken::new();
    let serving_metrics = serve_metrics(metrics_listening, Arc::clone(&metrics), ended.clone());
    let url = listening.url();
    let router = producer::router(
        services.ports.clone(),
        metrics,
        producer_config(&settings, tokens),
        shutdown.clone(),
    );
    tracing::info!(%url, "the API is served");
    producer::serve(listening.listener, router, shutdown)
        .await
        .context("the API broke off")?;
    ended.cancel();
    serving_metrics.await?;
    services.close();
    Ok(Exit::Ok)
}
