//! Tokens and money, message by message: what is said again replaces what was said before.

use std::collections::HashMap;

use domain::{Progress, Usage};
use serde_json::{Map, Value, json};

use super::client::Message;

#[derive(Default)]
pub(super) struct Spending {
    messages: HashMap<String, Usage>,
}

impl Spending {
    /// Takes in what a message says about itself; false when it is none of a model's.
    pub(super) fn note(&mut self, info: &Value) -> bool {
        let Some(id) = info["id"].as_str() else {
            return false;
        };
        if info["role"] != "assistant" {
            return false;
        }
        self.messages.insert(id.to_owned(), usage(info));
        true
    }

    pub(super) fn note_all(&mut self, messages: &[Message]) {
        for message in messages {
            self.note(&message.info);
        }
    }

    pub(super) fn total(&self) -> Usage {
        let mut total = Usage::default();
        for usage in self.messages.values() {
            total.input_tokens += usage.input_tokens;
            total.output_tokens += usage.output_tokens;
            total.cost += usage.cost;
        }
        total.cost = rounded(total.cost);
        total
    }

    pub(super) fn progress(&self) -> Progress {
        let Usage {
            input_tokens,
            output_tokens,
            cost,
        } = self.total();
        let answers = self.messages.len();
        let mut data = Map::new();
        data.insert("answers".to_owned(), answers.into());
        data.insert("input_tokens".to_owned(), input_tokens.into());
        data.insert("output_tokens".to_owned(), output_tokens.into());
        data.insert("cost".to_owned(), json!(cost));
        Progress {
            fraction: None,
            message: Some(format!(
                "{answers} answers, {input_tokens} tokens read, {output_tokens} written"
            )),
            data,
        }
    }
}

/// Sums in binary fractions show dust in the last digits.
fn rounded(cost: f64) -> f64 {
    const PARTS: f64 = 1e9;
    (cost * PARTS).round() / PARTS
}

fn usage(info: &Value) -> Usage {
    let tokens = &info["tokens"];
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let cache = &tokens["cache"];
    Usage {
        input_tokens: count(&tokens["input"]) + count(&cache["read"]) + count(&cache["write"]),
        output_tokens: count(&tokens["output"]) + count(&tokens["reasoning"]),
        cost: info["cost"].as_f64().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_counts_once_with_what_it_said_last() {
        let mut spending = Spending::default();
        let said = |id: &str, input: u64, cost: f64| {
            json!({"id": id, "role": "assistant", "cost": cost, "tokens":
                {"input": input, "output": 2, "reasoning": 1, "cache": {"read": 5, "write": 0}}})
        };
        assert!(spending.note(&said("a", 0, 0.0)));
        assert!(spending.note(&said("a", 10, 0.1)));
        assert!(spending.note(&said("b", 20, 0.2)));
        assert!(!spending.note(&json!({"id": "c", "role": "user"})));
        let total = Usage {
            input_tokens: 40,
            output_tokens: 6,
            cost: 0.3,
        };
        assert_eq!(spending.total(), total);
        assert_eq!(spending.progress().data["answers"], 2);
    }
}
