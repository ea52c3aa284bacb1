//! What tests of adapters and use cases share: a clock that stands still, ids that count, builders of tenants and
//! jobs, and the contract that every store keeps. Compiled with the feature `testing` only.
#![expect(
    clippy::missing_panics_doc,
    reason = "a contract says that it is broken by panicking"
)]

pub mod bus;
mod clock;
mod ids;
pub mod locks;
pub mod make;
mod port_contract;
mod proxy;
pub mod queue;
pub mod ready;
pub mod run_context;
mod service_url;
pub mod store;

pub use clock::ManualClock;
pub use ids::SequentialIds;
pub use proxy::Proxy;
pub use service_url::service_url;
pub use store::StoreUnderTest;
