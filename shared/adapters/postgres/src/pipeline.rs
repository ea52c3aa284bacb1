//! Statements that are sent together, without waiting for each other's answers.
//!
//! The driver sends a statement when it is first polled, so futures joined by `futures::try_join!` go out in the order
//! they are written in, and the server runs them in that order, each with a snapshot of its own. That holds only if
//! none of them has to wait for its preparation first: hence [`prepare`] before every such join.

use deadpool_postgres::Transaction;

use crate::error::Failure;

/// From here on `prepare_cached` answers for these statements at once. They are kept for the life of the connection.
pub(crate) async fn prepare(tx: &Transaction<'_>, statements: &[&str]) -> Result<(), Failure> {
    for statement in statements {
        tx.prepare_cached(statement).await?;
    }
    Ok(())
}
