//! How long a failed job waits before it runs again: exponential, capped, with full jitter, so that many jobs that
//! failed together do not come back together.

use std::time::Duration;

/// The upper end of the first wait.
pub const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// No wait is longer.
pub const BACKOFF_CAP: Duration = Duration::from_mins(5);

/// The wait after the `failures`th failure, in whole milliseconds; `jitter` is uniform in 0..1.
pub fn backoff(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let ceiling = BACKOFF_BASE.saturating_mul(1 << doublings).min(BACKOFF_CAP);
    let wait = ceiling.mul_f64(jitter.clamp(0.0, 1.0)).as_millis();
    Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let ceilings: Vec<u64> = (1..=12)
            .map(|failures| backoff(failures, 1.0).as_secs())
            .collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(backoff(u32::MAX, 1.0), BACKOFF_CAP);
    }

    #[test]
    fn jitter_spreads_from_zero() {
        assert_eq!(backoff(3, 0.0), Duration::ZERO);
        assert_eq!(backoff(3, 0.5), Duration::from_secs(2));
        assert_eq!(backoff(1, 0.123_456), Duration::from_millis(123));
    }
}
