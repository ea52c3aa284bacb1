//! What all servers share: logging, listening, and the metrics' own port.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use telemetry::Metrics;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{LogFormat, Settings};

/// Starts logging to standard error.
pub fn log(settings: &Settings) -> anyhow::Result<()> {
    let format = match settings.log_format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    telemetry::init_tracing(&settings.log, format).context("logging could not be started")
}

/// A port of this server, taken.
pub struct Listening {
    pub listener: TcpListener,
    pub address: SocketAddr,
}

impl Listening {
    /// `port` 0 takes a free one.
    pub async fn on(host: &str, port: u16, flag: &str) -> anyhow::Result<Self> {
        match Self::bind(host, port).await {
            Ok(listening) => Ok(listening),
            Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
                "port {port} of {host} is taken by another program. Choose another one with {flag}, or 0 for a free one"
            ),
            Err(error) => {
                Err(error).with_context(|| format!("{host}:{port} cannot be listened on"))
            }
        }
    }

    async fn bind(host: &str, port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((host, port)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The metrics' port: what was asked for or, when nothing was, `usual`, or a free one where that is taken.
    pub async fn for_metrics(settings: &Settings, usual: u16) -> anyhow::Result<Self> {
        let host = &settings.host;
        if let Some(port) = settings.metrics_port {
            return Self::on(host, port, "--metrics-port").await;
        }
        match Self::bind(host, usual).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let listening = Self::on(host, 0, "--metrics-port").await?;
                let port = listening.address.port();
                tracing::warn!(
                    usual,
                    port,
                    "the usual metrics port is taken; using another one"
                );
                Ok(listening)
            }
            other => other.with_context(|| format!("{host}:{usual} cannot be listened on")),
        }
    }

    /// What a client on this machine calls it.
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{address}")
    }
}

/// Serves the metrics until `shutdown`; a failure is logged, and no reason to stop working.
pub fn serve_metrics(
    listening: Listening,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> JoinHandle<()> {
    tracing::info!(url = %format!("{}/metrics", listening.url()), "metrics");
    tokio::spawn(async move {
        let router = producer::metrics_router(metrics);
        if let Err(error) = producer::serve(listening.listener, router, shutdown).await {
            tracing::error!(%error, "metrics are not served any more");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named_with_a_way_out() {
        let first = Listening::on("127.0.0.1", 0, "--port").await.unwrap();
        let port = first.address.port();
        let refused = Listening::on("127.0.0.1", port, "--port").await.err();
        let text = refused.unwrap().to_string();
        assert!(text.contains(&port.to_string()), "{text}");
        assert!(text.contains("--port"), "{text}");
    }

    #[tokio::test]
    async fn metrics_move_aside_unless_their_port_was_asked_for() {
        let taken = Listening::on("127.0.0.1", 0, "--port").await.unwrap();
        let usual = taken.address.port();
        let settings = Settings::default();
        let moved = Listening::for_metrics(&settings, usual).await.unwrap();
        assert_ne!(moved.address.port(), usual);
        let asked = Settings {
            metrics_port: Some(usual),
            ..settings
        };
        assert!(Listening::for_metrics(&asked, 1).await.is_err());
    }

    #[tokio::test]
    async fn an_address_for_everybody_is_called_by_the_loopback() {
        let all = Listening::on("0.0.0.0", 0, "--port").await.unwrap();
        assert!(all.url().starts_with("http://127.0.0.1:"), "{}", all.url());
    }
}
