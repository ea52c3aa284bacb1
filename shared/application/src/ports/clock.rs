use domain::Timestamp;

/// Tells the time. In services mode it is the store's time, so that all processes of an installation agree on leases;
/// in tests it stands still until told to move.
pub trait Clock: Send + Sync {
    /// Never goes back within one process; whole microseconds.
    fn now(&self) -> Timestamp;
}
