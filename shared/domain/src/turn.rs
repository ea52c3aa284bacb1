//! When a job's turn comes among its own tenant's jobs: by priority, and by how long it has waited.

use std::time::Duration;

use crate::{Priority, Timestamp};

/// Waiting so long makes a job as urgent as a fresh one of the next higher priority. So priorities decide among what
/// was queued within some hours of each other, and nothing waits behind later jobs for ever: at most four times this.
pub const AGEING: Duration = Duration::from_hours(6);

/// A job's place in its queue: the earliest turn is taken first, and of equal ones the lowest id.
///
/// It is a fixed instant, so a job ages without anybody touching it.
#[must_use]
pub fn turn(priority: Priority, queued_at: Timestamp) -> Timestamp {
    queued_at + AGEING * u32::from(priority.rank())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_priority_goes_first_until_the_lower_one_has_aged() {
        let monday = Timestamp::UNIX_EPOCH;
        let deferred = turn(Priority::Deferred, monday);
        assert!(turn(Priority::Critical, monday + AGEING) < deferred);
        assert!(turn(Priority::Low, monday + AGEING / 2) < deferred);
        assert!(turn(Priority::Critical, monday + AGEING * 5) > deferred);
        assert!(turn(Priority::Medium, monday) < turn(Priority::Medium, monday + AGEING / 1_000));
    }
}
