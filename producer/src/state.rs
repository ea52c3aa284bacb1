//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;

use application::ports::Ports;
use application::use_cases::{Authenticator, Submitter};
use telemetry::Metrics;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::ProducerConfig;
use crate::openapi::Description;

/// Cheap to clone: one pointer.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

pub(crate) struct Parts {
    pub ports: Ports,
    pub submitter: Submitter,
    pub authenticator: Authenticator,
    pub metrics: Arc<Metrics>,
    pub config: ProducerConfig,
    /// What `/docs` and the OpenAPI address answer.
    pub description: Description,
    /// Cancelled when the process is about to leave: streams end, readiness fails.
    pub draining: CancellationToken,
    /// One permit for every open stream.
    pub streams: Arc<Semaphore>,
}

impl App {
    pub fn new(
        ports: Ports,
        metrics: Arc<Metrics>,
        config: ProducerConfig,
        description: Description,
        draining: CancellationToken,
    ) -> Self {
        Self(Arc::new(Parts {
            submitter: Submitter::new(ports.clone()),
            authenticator: Authenticator::new(ports.clone()),
            streams: Arc::new(Semaphore::new(config.max_streams)),
            ports,
            metrics,
            config,
            description,
            draining,
        }))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
