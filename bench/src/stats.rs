//! Percentiles and rates. Nothing is estimated: percentiles are of all values, by the nearest rank.

use serde::Serialize;

/// In milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    pub count: usize,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Latency {
    /// `None` without values.
    pub fn of_micros(mut micros: Vec<u64>) -> Option<Self> {
        micros.sort_unstable();
        let max = *micros.last()?;
        Some(Self {
            count: micros.len(),
            p50: millis(percentile(&micros, 50)),
            p90: millis(percentile(&micros, 90)),
            p99: millis(percentile(&micros, 99)),
            max: millis(max),
        })
    }
}

/// The smallest value that at least `percent` of all values do not exceed. `sorted` must not be empty.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

#[expect(clippy::cast_precision_loss, reason = "spans of days fit")]
pub fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "numbers of jobs fit")]
pub fn per_second(count: u64, micros: u64) -> f64 {
    count as f64 / (micros.max(1) as f64 / 1e6)
}

#[expect(clippy::cast_precision_loss, reason = "what is measured fits")]
pub fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}

/// The middle one; of an even number the lower of the two in the middle. `None`: there are none.
pub fn median_index(values: &[f64]) -> Option<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    order.get(values.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let latency = Latency::of_micros((1..=100).rev().map(|n| n * 1_000).collect()).unwrap();
        assert_eq!((latency.p50, latency.p90), (50.0, 90.0));
        assert_eq!((latency.p99, latency.max), (99.0, 100.0));
        let one = Latency::of_micros(vec![7_500]).unwrap();
        assert_eq!((one.p50, one.p99, one.max), (7.5, 7.5, 7.5));
        assert_eq!(Latency::of_micros(Vec::new()), None);
    }

    #[test]
    fn few_values_show_their_largest_as_p99() {
        let latency = Latency::of_micros(vec![3_000, 1_000, 2_000]).unwrap();
        assert_eq!((latency.p50, latency.p90, latency.p99), (2.0, 3.0, 3.0));
    }

    #[test]
    fn the_median_round_is_one_of_the_rounds() {
        assert_eq!(median_index(&[5.0, 1.0, 3.0]), Some(2));
        assert_eq!(median_index(&[5.0, 1.0, 3.0, 2.0]), Some(3));
        assert_eq!(median_index(&[5.0]), Some(0));
        assert_eq!(median_index(&[]), None);
    }

    #[test]
    fn rates_do_not_divide_by_nothing() {
        assert!((per_second(500, 250_000) - 2_000.0).abs() < 1e-9);
        assert!(per_second(1, 0).is_finite());
        assert!(ratio(1, 0).is_finite());
    }
}
