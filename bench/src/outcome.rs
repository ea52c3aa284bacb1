//! What a scenario found out.

use serde_json::{Map, Value};

use crate::stats::Latency;
use crate::usage::Usage;

#[derive(Debug, Default)]
pub struct Outcome {
    /// Jobs that the figures are about.
    pub jobs: u64,
    /// Jobs a second, where a rate is what was measured.
    pub rate: Option<f64>,
    /// From what to what the rate and the latency were measured.
    pub rate_of: &'static str,
    pub latency: Option<Latency>,
    pub latency_of: &'static str,
    pub usage: Usage,
    /// Further figures, in the order in which they are shown.
    pub figures: Vec<(String, Value)>,
    /// Jobs lost, failed or run twice. Any makes the run a failure.
    pub faults: Vec<String>,
}

impl Outcome {
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.push((name.to_owned(), rounded(value.into())));
    }

    pub fn latency_figure(&mut self, name: &str, latency: Option<Latency>) {
        let value = latency.map_or(Value::Null, latency_value);
        self.figures.push((name.to_owned(), value));
    }

    pub fn figures_object(&self) -> Value {
        Value::Object(self.figures.iter().cloned().collect())
    }
}

pub fn latency_value(latency: Latency) -> Value {
    let pairs = [
        ("p50_ms", latency.p50),
        ("p90_ms", latency.p90),
        ("p99_ms", latency.p99),
        ("max_ms", latency.max),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), rounded(value.into())));
    Value::Object(Map::from_iter(pairs))
}

/// Three decimals say more than such measurements know.
pub fn rounded(value: Value) -> Value {
    match value.as_f64() {
        Some(number) if value.is_f64() => ((number * 1e3).round() / 1e3).into(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_their_order_and_are_rounded() {
        let mut outcome = Outcome::default();
        outcome.figure("b", 1.23456);
        outcome.figure("a", 7);
        assert_eq!(outcome.figures[0], ("b".to_owned(), Value::from(1.235)));
        assert_eq!(outcome.figures[1], ("a".to_owned(), Value::from(7)));
    }
}
