//! Inbound HTTP: the API under `/api/v1`, its live streams, health, metrics and the web pages.
//!
//! Translates requests into use cases and their answers into JSON, problem documents or HTML. Sees ports only; it
//! never decides what a job may do (the domain does), never talks to a database or broker itself, and never lets a
//! request reach a tenant that its key does not open.

mod api;
mod auth;
mod body;
mod config;
mod cursor;
mod dto;
mod if_match;
mod metrics;
mod openapi;
mod page;
mod path;
mod problem;
mod problem_kinds;
mod query;
mod request_id;
mod responses;
mod router;
mod security_headers;
mod serve;
mod sse;
mod state;
mod timeout;
mod ui;

pub use config::ProducerConfig;
pub use metrics::metrics_router;
pub use openapi::openapi;
pub use router::router;
pub use serve::serve;
