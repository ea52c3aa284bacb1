//! Asks how many messages a queue holds, without making it.

use application::ports::QueueError;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::time::timeout;

use crate::error::{ANSWER_WITHIN, in_words, is_not_found, no_answer};
use crate::lanes::Lanes;

/// Messages that nobody has in hand; `None` when there is no such queue.
pub(crate) async fn depth(lanes: &Lanes, name: String) -> Result<Option<u32>, QueueError> {
    let lane = lanes.take().await?;
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let asking = lane
        .channel()
        .queue_declare(name.into(), options, FieldTable::default());
    match timeout(ANSWER_WITHIN, asking).await {
        Ok(Ok(queue)) => {
            lanes.put_back(lane);
            Ok(Some(queue.message_count()))
        }
        // The error has closed the channel, which nobody else uses.
        Ok(Err(error)) if is_not_found(&error) => Ok(None),
        Ok(Err(error)) => Err(in_words(&error)),
        Err(_) => Err(no_answer("how many messages a queue holds")),
    }
}
