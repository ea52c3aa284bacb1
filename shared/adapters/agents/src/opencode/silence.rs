//! Notices a model that answers again and again with nothing at all, as something does that is no model: OpenCode would ask
//! it for ever, and what reports no tokens comes to no budget's end.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// So many answers of one conversation in a row.
pub(super) const EMPTY_ANSWERS: u32 = 10;

#[derive(Default)]
pub(super) struct Silence {
    /// Messages in which something was said.
    spoken: HashSet<String>,
    ended: HashSet<String>,
    /// Empty answers in a row, by conversation.
    empty: HashMap<String, u32>,
}

impl Silence {
    /// Takes in a part of a message.
    pub(super) fn part(&mut self, part: &Value) {
        let says = match part["type"].as_str() {
            Some("tool") => true,
            Some("text" | "reasoning") => {
                part["text"].as_str().is_some_and(|text| !text.is_empty())
            }
            _ => false,
        };
        if says {
            self.spoke(&part["messageID"]);
        }
    }

    pub(super) fn spoke(&mut self, message: &Value) {
        if let Some(id) = message.as_str()
            && !self.spoken.contains(id)
        {
            self.spoken.insert(id.to_owned());
        }
    }

    /// Takes in what a message says about itself; true when there were too many that say nothing.
    pub(super) fn message(&mut self, info: &Value) -> bool {
        let (Some(id), Some(session)) = (info["id"].as_str(), info["sessionID"].as_str()) else {
            return false;
        };
        let is_over = info["role"] == "assistant"
            && info["error"].is_null()
            && !info["time"]["completed"].is_null();
        if !is_over || !self.ended.insert(id.to_owned()) {
            return false;
        }
        let empty = self.empty.entry(session.to_owned()).or_default();
        let tokens = &info["tokens"];
        let said = tokens["output"] != 0 || tokens["reasoning"] != 0;
        *empty = if said || self.spoken.contains(id) {
            0
        } else {
            *empty + 1
        };
        *empty >= EMPTY_ANSWERS
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(id: u32, output: u64) -> Value {
        json!({"id": format!("m{id}"), "sessionID": "s", "role": "assistant", "time": {"completed": 1},
            "tokens": {"output": output, "reasoning": 0}})
    }

    fn asked(says: impl Fn(u32) -> (Value, u64)) -> Option<u32> {
        let mut silence = Silence::default();
        (1..=EMPTY_ANSWERS * 3).find(|&id| {
            let (part, output) = says(id);
            silence.part(&part);
            let message = ended(id, output);
            let first = silence.message(&message);
            assert!(!silence.message(&message), "said again, it counts once");
            first
        })
    }

    #[test]
    fn only_answers_with_nothing_in_them_count_and_only_in_a_row() {
        let part = |id: u32, kind: &str, text: &str| json!({"type": kind, "text": text, "messageID": format!("m{id}")});
        assert_eq!(
            asked(|id| (part(id, "step-start", ""), 0)),
            Some(EMPTY_ANSWERS)
        );
        assert_eq!(asked(|id| (part(id, "text", ""), 0)), Some(EMPTY_ANSWERS));
        assert_eq!(asked(|id| (part(id, "text", "a word"), 0)), None);
        assert_eq!(asked(|id| (part(id, "tool", ""), 0)), None);
        assert_eq!(asked(|id| (part(id, "step-start", ""), 7)), None);
        let now_and_then = |id: u32| if id.is_multiple_of(5) { "now" } else { "" };
        assert_eq!(asked(|id| (part(id, "text", now_and_then(id)), 0)), None);
    }
}
