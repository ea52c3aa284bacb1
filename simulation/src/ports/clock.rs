//! Time and ids. Both are the world's; a process's clock is off by a constant.

use std::sync::Arc;

use application::ports::{Clock, Ids};
use domain::Timestamp;
use uuid::{Builder, Uuid};

use crate::process::Process;

pub struct SkewedClock(pub Arc<Process>);

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        self.0.world.now() + self.0.skew
    }
}

pub struct CountedIds(pub Arc<Process>);

impl Ids for CountedIds {
    /// The instant in front, a counter behind, as `UUIDv7` is.
    fn next(&self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        let mut tail = [0; 10];
        tail[2..].copy_from_slice(&self.0.world.next_id().to_be_bytes());
        Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }
}
