//! What a run reads of the store before its work. That the store is away for a while is not the job's fault and costs it no
//! attempt: the question is asked again, for as long as the run lasts. Never writes.

use std::time::Duration;

use application::ports::StoreError;

/// Between two questions while the store cannot be reached.
const AGAIN: Duration = Duration::from_millis(500);

/// Asks until the store answers. The run is dropped when its lease or its time ends, and the waiting with it.
pub(crate) async fn read<T, F>(what: &str, ask: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match ask().await {
            Err(StoreError::Unavailable(error)) => {
                tracing::warn!(error, "{what} could not be read; trying again");
                tokio::time::sleep(AGAIN).await;
            }
            answer => return answer,
        }
    }
}
