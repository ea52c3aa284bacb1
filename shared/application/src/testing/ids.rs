//! Ids that count upwards, in the form of UUIDv7, so that they sort like real ones and read well in a failed test.

use std::sync::atomic::{AtomicU64, Ordering};

use domain::Timestamp;
use uuid::{Builder, Uuid};

use crate::ports::Ids;

#[derive(Debug, Default)]
pub struct SequentialIds(AtomicU64);

impl Ids for SequentialIds {
    /// The instant in front, a counter behind: ids of one instant still rise.
    fn next(&self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        let count = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        let mut tail = [0; 10];
        tail[2..].copy_from_slice(&count.to_be_bytes());
        Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }
}
