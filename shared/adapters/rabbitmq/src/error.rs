use std::time::Duration;

use application::ports::QueueError;
use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use tokio::time::timeout;

/// How long the broker may take for anything it answers. It fsyncs in between, and shares its disk.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

pub(crate) fn in_words(error: &lapin::Error) -> QueueError {
    QueueError(format!("RabbitMQ: {error}"))
}

/// The outcome, or an error when the broker does not answer.
pub(crate) async fn answered<T>(
    what: &str,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, QueueError> {
    match timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer.map_err(|error| in_words(&error)),
        Err(_) => Err(no_answer(what)),
    }
}

pub(crate) fn no_answer(what: &str) -> QueueError {
    let seconds = ANSWER_WITHIN.as_secs();
    QueueError(format!(
        "RabbitMQ did not answer within {seconds} s to: {what}"
    ))
}

pub(crate) fn is_not_found(error: &lapin::Error) -> bool {
    is_soft(error, &AMQPSoftError::NOTFOUND)
}

/// The queue is there, with other properties.
pub(crate) fn is_precondition_failed(error: &lapin::Error) -> bool {
    is_soft(error, &AMQPSoftError::PRECONDITIONFAILED)
}

fn is_soft(error: &lapin::Error, expected: &AMQPSoftError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ProtocolError(error)
            if matches!(error.kind(), AMQPErrorKind::Soft(kind) if kind == expected)
    )
}
