//! Queue, coordination, event bus, clock and ids inside one process: what `dev`, `demo` and most tests run on.
//!
//! Nothing here survives the process, and nothing has to: the store is the truth, the queue's marker is missing after
//! a start and the ready set is blank, so the engine sends its messages again and rebuilds the hints.

mod bus;
mod clock;
mod fair;
mod ids;
mod locks;
mod mutex;
mod queue;
mod ready;

pub use bus::EmbeddedBus;
pub use clock::SystemClock;
pub use ids::SystemIds;
pub use locks::EmbeddedLocks;
pub use queue::EmbeddedQueue;
pub use ready::EmbeddedReady;
