//! Tokens and money, message by message: what is said again replaces what was said before. A conversation that was lost
//! was paid for all the same, and counts with the one that was begun in its place.

use std::collections::BTreeMap;

use domain::{Progress, Spent, Usage, money};
use serde_json::{Map, Value, json};

use super::client::Message;

#[derive(Default)]
pub(super) struct Spending {
    messages: BTreeMap<String, Usage>,
    /// What was used and is in no message here: of conversations that were lost, or of helpers that were left elsewhere.
    missing: Spent,
    /// What messages here used, and stands in another agent's account.
    others: Spent,
    aligned: bool,
}

impl Spending {
    /// Once a run: what is reported goes on from the account that the run was given. Messages that nobody has counted yet
    /// count now, but not in a later round, before which nothing was left to count.
    pub(super) fn align(&mut self, account: Option<Spent>, round: u32) {
        if std::mem::replace(&mut self.aligned, true) {
            return;
        }
        let here = self.spent();
        let account = account.unwrap_or_else(|| {
            self.others = here;
            Spent::default()
        });
        self.missing = account.minus(here.minus(self.others));
        if round > 0 {
            self.others = here.minus(account);
        }
    }

    /// The conversation is lost, and another one begins.
    pub(super) fn begin_anew(&mut self) {
        self.missing = self.spent();
        self.others = Spent::default();
        self.messages.clear();
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

    /// Rounded once: what each message costs may be less than what is rounded to.
    fn spent(&self) -> Spent {
        let mut sum = Spent::default();
        for usage in self.messages.values() {
            sum.input_tokens = sum.input_tokens.saturating_add(usage.input_tokens);
            sum.output_tokens = sum.output_tokens.saturating_add(usage.output_tokens);
            sum.cost += usage.cost;
            sum.steps += 1;
        }
        sum.cost = money(sum.cost);
        sum.plus(self.missing).minus(self.others)
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

    fn spent(tokens: u64, steps: u64) -> Spent {
        Spent {
            input_tokens: tokens,
            steps,
            ..Spent::default()
        }
    }

    /// Ten tokens a message.
    fn with(messages: &[&str]) -> Spending {
        let mut spending = Spending::default();
        add(&mut spending, messages);
        spending
    }

    fn add(spending: &mut Spending, messages: &[&str]) {
        for id in messages {
            spending.note(&json!({"id": id, "role": "assistant", "tokens": {"input": 10}}));
        }
    }

    #[test]
    fn an_account_goes_on_where_it_was_whatever_became_of_the_conversation() {
        // Found again, with an answer that nobody has counted.
        let mut spending = with(&["a", "b", "c"]);
        spending.align(Some(spent(20, 2)), 0);
        assert_eq!(spending.spent(), spent(30, 3));
        // Lost, and the one that was begun in its place is found by a later run.
        let mut spending = Spending::default();
        spending.align(Some(spent(80, 8)), 0);
        add(&mut spending, &["a"]);
        assert_eq!(spending.spent(), spent(90, 9));
        let mut spending = with(&["a"]);
        spending.align(Some(spent(90, 9)), 0);
        add(&mut spending, &["b"]);
        assert_eq!(spending.spent(), spent(100, 10));
        // Its server loses that one too.
        spending.begin_anew();
        spending.align(Some(spent(90, 9)), 0);
        add(&mut spending, &["x"]);
        assert_eq!(spending.spent(), spent(110, 11));
    }

    #[test]
    fn what_another_agent_used_in_the_conversation_stays_in_its_account() {
        let mut spending = with(&["a", "b"]);
        spending.align(None, 0);
        assert_eq!(spending.spent(), Spent::default());
        add(&mut spending, &["c"]);
        assert_eq!(spending.spent(), spent(10, 1));
        // The same run looks at the conversation anew in its next round.
        let mut spending = with(&["a", "b", "c"]);
        spending.align(Some(spent(10, 1)), 1);
        assert_eq!(spending.spent(), spent(10, 1));
        add(&mut spending, &["d"]);
        assert_eq!(spending.spent(), spent(20, 2));
    }

    #[test]
    fn costs_below_what_is_rounded_to_add_up_in_one_way() {
        let mut spending = Spending::default();
        for id in 0..1000 {
            spending.note(
                &json!({"id": format!("m{id}"), "role": "assistant", "cost": 0.000_000_000_4}),
            );
        }
        assert_eq!(spending.total().cost.to_string(), "0.0000004");
    }
}
