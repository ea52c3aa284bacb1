use std::sync::atomic::{AtomicI64, Ordering};

use application::ports::Clock;
use chrono::{DateTime, Utc};
use domain::Timestamp;

/// The machine's clock, held still where it was set back.
#[derive(Debug, Default)]
pub struct SystemClock {
    /// The latest time told, in microseconds since 1970.
    latest: AtomicI64,
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else is given"
    )]
    fn now(&self) -> Timestamp {
        self.at_least_latest(Utc::now())
    }
}

impl SystemClock {
    fn at_least_latest(&self, now: Timestamp) -> Timestamp {
        let micros = now.timestamp_micros();
        let latest = self.latest.fetch_max(micros, Ordering::Relaxed);
        // Every i64 that came out of a timestamp goes back into one.
        DateTime::from_timestamp_micros(micros.max(latest)).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_in_whole_microseconds() {
        let clock = SystemClock::default();
        assert_eq!(clock.now().timestamp_subsec_nanos() % 1_000, 0);
    }

    #[test]
    fn a_clock_set_back_stands_still() {
        let clock = SystemClock::default();
        let before = clock.now();
        let told = clock.at_least_latest(before - chrono::TimeDelta::hours(1));
        assert_eq!(told, before);
        assert!(clock.now() >= before);
    }
}
