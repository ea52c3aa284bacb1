//! What the product tells about itself: the metrics catalogue and the tracing set-up.
//!
//! Never labels a metric by tenant, job or raw path: series must stay few whatever clients do.

mod catalogue;
mod tracing_setup;

pub use catalogue::Metrics;
pub use tracing_setup::{LogFormat, init_tracing};
