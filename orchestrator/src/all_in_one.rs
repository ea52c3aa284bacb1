//! The embedded mode as one running thing: API, pages, metrics and a worker over one data folder. What `dev` and `demo`
//! start and stop.

use std::sync::Arc;

use anyhow::Context as _;
use telemetry::Metrics;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::commands::serving::{Listening, serve_metrics};
use crate::compose::data_dir::Claimed;
use crate::compose::embedded::{Embedded, first_start};
use crate::compose::{producer_config, tools, worker_config};
use crate::config::Settings;

/// The port that Prometheus scrapes where nothing else was asked for.
pub const METRICS_PORT: u16 = 9100;

pub struct AllInOne {
    pub url: String,
    pub metrics_url: String,
    dir: Claimed,
    embedded: Embedded,
    worker: JoinHandle<anyhow::Result<()>>,
    server: JoinHandle<anyhow::Result<()>>,
    metrics: JoinHandle<()>,
    /// No more jobs are taken, streams end.
    leave: CancellationToken,
    /// No more requests are taken.
    shutdown: CancellationToken,
}

impl AllInOne {
    /// Everything is up when this returns; the settings have been completed by the caller.
    pub async fn start(dir: Claimed, settings: &Settings) -> anyhow::Result<Self> {
        let listening = Listening::on(&settings.host, settings.port, "--port").await?;
        let metrics_listening = Listening::for_metrics(settings, METRICS_PORT).await?;
        let embedded = Embedded::open(&dir, settings).await?;
        first_start(&embedded.ports, &dir).await?;
        let tools = tools::build(settings, &embedded.ports, &dir.work()).await?;

        let metrics = Metrics::new();
        let (leave, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let (url, metrics_url) = (listening.url(), metrics_listening.url());
        let router = producer::router(
            embedded.ports.clone(),
            Arc::clone(&metrics),
            producer_config(settings),
            leave.clone(),
        );
        let serving = producer::serve(listening.listener, router, shutdown.clone());
        let server = tokio::spawn(async move { serving.await.context("the API broke off") });
        let working = workers::run(
            embedded.ports.clone(),
            tools,
            Arc::clone(&metrics),
            worker_config(settings),
            leave.clone(),
        );
        let worker = tokio::spawn(async move { working.await.context("the worker broke off") });
        let metrics = serve_metrics(metrics_listening, metrics, shutdown.clone());
        dir.write_url(&url)?;
        Ok(Self {
            url,
            metrics_url,
            dir,
            embedded,
            worker,
            server,
            metrics,
            leave,
            shutdown,
        })
    }

    /// Resolves when a part ended by itself, which none should; [`Self::stop`] says why.
    pub async fn broken(&self) {
        while !self.worker.is_finished() && !self.server.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    /// Lets running jobs end or be handed back, then requests, then closes the store.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.leave.cancel();
        let worker = self.worker.await.context("the worker panicked")?;
        self.shutdown.cancel();
        let server = self.server.await.context("the API panicked")?;
        self.metrics.await.context("the metrics panicked")?;
        self.dir.remove_url();
        self.embedded.close().await;
        worker.and(server)
    }
}
