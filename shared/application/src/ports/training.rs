use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use domain::{JobId, TenantId, TrainingProviderKind, TrainingResult, TrainingSpec};
use serde_json::Value;

use super::{HandlerError, RunContext};

/// One way to have a model fine-tuned.
#[async_trait]
pub trait TrainingProvider: Send + Sync {
    fn kind(&self) -> TrainingProviderKind;

    /// Trains until done or interrupted; the model file is kept through the context before this returns.
    async fn run(
        &self,
        task: TrainingTask,
        context: Arc<dyn RunContext>,
    ) -> Result<TrainingReport, HandlerError>;
}

#[derive(Debug, Clone)]
pub struct TrainingTask {
    pub tenant: TenantId,
    pub job: JobId,
    pub attempt: u32,
    pub spec: TrainingSpec,
    /// An empty folder of this run alone.
    pub directory: PathBuf,
    pub checkpoint: Option<Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TrainingReport {
    pub result: TrainingResult,
}
