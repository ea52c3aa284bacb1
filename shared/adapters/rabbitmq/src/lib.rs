//! The job queue over RabbitMQ: one queue a tenant and kind, messages that carry a job's id.
//!
//! Messages are wake-ups. A publish says exactly which ones the broker has not got; everything else that goes wrong
//! brings a message twice or late. Nothing here may hold a message while a job runs, wait for more messages to come,
//! or requeue one in order to wait.

mod declare;
mod error;
mod lanes;
mod link;
mod names;
mod publish;
mod queue;
mod visits;

pub use queue::{RabbitConfig, RabbitQueue};
