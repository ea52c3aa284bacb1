//! Tokens and money, message by message: what is said again replaces what was said before. A conversation that was lost
//! was paid for all the same, and counts with the one that was begun in its place.

use std::collections::HashMap;

use domain::{Progress, Spent, Usage};
use serde_json::{Map, Value, json};

use super::client::Message;

#[derive(Default)]
pub(super) struct Spending {
    /// Of conversations that were lost.
    lost: Spent,
    messages: HashMap<String, Usage>,
}

impl Spending {
    /// A conversation that began when so much was used.
    pub(super) fn begin_with(&mut self, lost: Spent) {
        self.lost = lost;
    }

    /// The conversation is lost, and another one begins. Returns what was used until now; `earlier` runs said what they
    /// used.
    pub(super) fn begin_anew(&mut self, earlier: Spent) -> Spent {
        self.lost = self.spent().at_least(earlier);
        self.messages.clear();
        self.lost
    }

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
        let Spent {
            input_tokens,
            output_tokens,
            cost,
            ..
        } = self.spent();
        Usage {
            input_tokens,
            output_tokens,
            cost,
        }
    }

    fn spent(&self) -> Spent {
        self.messages.values().fold(self.lost, |sum, usage| {
            sum.plus(Spent {
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                cost: usage.cost,
                steps: 1,
            })
        })
    }

    pub(super) fn progress(&self) -> Progress {
        let Spent {
            input_tokens,
            output_tokens,
            cost,
            steps: answers,
        } = self.spent();
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

    #[test]
    fn what_a_lost_conversation_used_counts_once_however_often_one_goes_on() {
        let said = |id: &str| json!({"id": id, "role": "assistant", "tokens": {"input": 10}});
        let mut spending = Spending::default();
        let earlier = Spent {
            input_tokens: 80,
            steps: 8,
            ..Spent::default()
        };
        let lost = spending.begin_anew(earlier);
        assert_eq!(lost, earlier);
        spending.note(&said("a"));
        assert_eq!(spending.total().input_tokens, 90);
        // A later run goes on with it.
        let mut spending = Spending::default();
        spending.begin_with(lost);
        spending.note(&said("a"));
        spending.note(&said("b"));
        assert_eq!(spending.total().input_tokens, 100);
        assert_eq!(spending.progress().data["answers"], 10);
        // Its server loses that one too.
        let lost = spending.begin_anew(earlier);
        assert_eq!((lost.input_tokens, lost.steps), (100, 10));
        spending.note(&said("c"));
        assert_eq!(spending.total().input_tokens, 110);
    }
}
