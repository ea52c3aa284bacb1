//! The job queue over RabbitMQ: one queue a tenant and kind, a message a wake-up.
//!
//! A message says nothing but that it is there; its body is never read, so those of older versions count as well. A
//! publish says exactly how many the broker has not got; everything else that goes wrong brings one twice or late.
//! Nothing here may hold a message while a job runs, wait for more messages to come, or requeue one in order to wait.

mod ask;
mod declare;
mod error;
mod lanes;
mod link;
mod message;
mod names;
mod publish;
mod queue;
mod visits;

pub use queue::{RabbitConfig, RabbitQueue};
