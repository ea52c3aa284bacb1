use std::sync::Mutex;

use application::ports::Ids;
use domain::Timestamp;
use uuid::{ContextV7, Uuid};

use crate::mutex::lock;

/// `UUIDv7` of the given time. They rise within the process, also within one millisecond and when time stands still.
#[derive(Debug)]
pub struct SystemIds {
    context: Mutex<ContextV7>,
}

impl Default for SystemIds {
    fn default() -> Self {
        Self {
            context: Mutex::new(ContextV7::new()),
        }
    }
}

impl Ids for SystemIds {
    fn next(&self, now: Timestamp) -> Uuid {
        // No time before 1970 fits into an id.
        let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
        let context = lock(&self.context);
        Uuid::new_v7(uuid::Timestamp::from_unix(
            &*context,
            seconds,
            now.timestamp_subsec_nanos(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn noon() -> Timestamp {
        DateTime::from_timestamp_micros(1_800_000_000_000_000).unwrap()
    }

    #[test]
    fn ids_rise_while_time_stands_still_or_goes_back() {
        let ids = SystemIds::default();
        let mut latest = ids.next(noon());
        for step in 0..10_000 {
            let now = if step % 2 == 0 {
                noon()
            } else {
                noon() - TimeDelta::seconds(5)
            };
            let id = ids.next(now);
            assert!(id > latest, "{id} after {latest}");
            latest = id;
        }
    }

    #[test]
    fn ids_carry_their_time_and_version() {
        let id = SystemIds::default().next(noon());
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_timestamp().unwrap().to_unix().0, 1_800_000_000);
    }

    #[test]
    fn threads_never_get_the_same_id() {
        let ids = Arc::new(SystemIds::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let ids = Arc::clone(&ids);
                thread::spawn(move || (0..1_000).map(|_| ids.next(noon())).collect::<Vec<_>>())
            })
            .collect();
        let mut all: Vec<Uuid> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4_000);
    }
}
