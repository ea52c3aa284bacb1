//! What an agent may answer. Fields that nobody knows are left alone: later versions of the protocol have more.

use domain::{Progress, Usage, money, unbelievable_cost, unbelievable_tokens};
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

use crate::progress::without_nul;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    Completed,
    Failed,
}

impl TaskStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// How a task ended. Whatever is absent may be null as well.
#[derive(Debug, Clone, Deserialize)]
pub struct TaskResult {
    pub task_id: String,
    pub status: TaskStatus,
    pub artifacts: Option<Vec<Artifact>>,
    pub output_data: Option<Map<String, Value>>,
    pub error_message: Option<String>,
    pub execution_time_ms: Option<f64>,
    /// Read and written together.
    pub tokens_used: Option<u64>,
    /// How many of them were read.
    pub input_tokens: Option<u64>,
    pub cost_usd: Option<f64>,
}

/// A file for the worktree.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Artifact {
    pub path: String,
    pub content: String,
    pub mime_type: Option<String>,
}

#[derive(Deserialize)]
struct Running {
    task_id: Option<String>,
    progress: Option<Progress>,
}

impl TaskResult {
    /// None when the agent says nothing about models.
    pub fn usage(&self) -> Option<Usage> {
        if self.tokens_used.is_none() && self.cost_usd.is_none() {
            return None;
        }
        let all = self.tokens_used.unwrap_or_default();
        let read = self.input_tokens.unwrap_or_default().min(all);
        Some(Usage {
            input_tokens: read,
            output_tokens: all - read,
            cost: money(self.cost_usd.unwrap_or_default()),
        })
    }
}

/// What was used by the rounds before and by this one. None when none of them says anything.
pub fn together(before: Option<Usage>, own: Option<Usage>) -> Option<Usage> {
    let (Some(before), Some(own)) = (before, own) else {
        return before.or(own);
    };
    Some(Usage {
        input_tokens: before.input_tokens.saturating_add(own.input_tokens),
        output_tokens: before.output_tokens.saturating_add(own.output_tokens),
        cost: money(before.cost + own.cost),
    })
}

/// Adds what the rounds before used to what the agent says of this one on its way, where it says so.
pub fn add(before: Usage, said: &mut Map<String, Value>) {
    let mut add = |name: &str, more: Value| {
        let sum = match (said.get(name), &more) {
            (Some(Value::Number(own)), Value::Number(more)) => {
                if let (Some(own), Some(more)) = (own.as_u64(), more.as_u64()) {
                    json!(own.saturating_add(more))
                } else {
                    let cost = |number: &Number| number.as_f64().unwrap_or_default();
                    json!(money(cost(own) + cost(more)))
                }
            }
            _ => return,
        };
        said.insert(name.to_owned(), sum);
    };
    add("input_tokens", before.input_tokens.into());
    add("output_tokens", before.output_tokens.into());
    add("cost", json!(before.cost));
}

/// Understands the result of the task `id`. The error is the end of a sentence that begins with the answer.
pub fn result(bytes: &[u8], id: &str) -> Result<TaskResult, String> {
    let result: TaskResult = understood(bytes)?;
    same_task(&result.task_id, id)?;
    if result.execution_time_ms.is_some_and(|time| time < 0.0) {
        return Err("has `execution_time_ms` below 0".to_owned());
    }
    if let Some(why) = unbelievable_cost(result.cost_usd) {
        return Err(format!("has a `cost_usd` that {why}"));
    }
    if let Some(why) = unbelievable_tokens(result.tokens_used) {
        return Err(format!("has `tokens_used` that {why}"));
    }
    if let Some(why) = wrong_tokens(result.tokens_used, result.input_tokens) {
        return Err(format!("has `input_tokens` that {why}"));
    }
    Ok(result)
}

/// Why these cannot be the tokens that were read, of all that were used; the end of a sentence about `input_tokens`.
pub fn wrong_tokens(all: Option<u64>, read: Option<u64>) -> Option<String> {
    let read = read?;
    let all = all.unwrap_or_default();
    (read > all)
        .then(|| format!("are more than `tokens_used`, which counts them too: {read} of {all}"))
}

/// Understands what an agent says while it works on the task `id`.
pub fn running(bytes: &[u8], id: &str) -> Result<Option<Progress>, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let running: Running = understood(bytes)?;
    if let Some(said) = &running.task_id {
        same_task(said, id)?;
    }
    Ok(running.progress.map(presentable))
}

fn understood<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("is not understood: {error}"))
}

fn same_task(said: &str, id: &str) -> Result<(), String> {
    if said == id {
        return Ok(());
    }
    let said: String = said.chars().take(id.len()).collect();
    Err(format!("is about the task `{said}` and not about `{id}`"))
}

fn presentable(mut progress: Progress) -> Progress {
    progress.message = progress
        .message
        .map(|message| message.replace('\0', "\u{fffd}"));
    if let Value::Object(data) = without_nul(progress.data.into()) {
        progress.data = data;
    } else {
        progress.data = Map::new();
    }
    progress
}

#[cfg(test)]
mod tests {
    use super::*;

    fn understood(answer: &Value) -> Result<TaskResult, String> {
        result(answer.to_string().as_bytes(), "t")
    }

    #[test]
    fn only_the_task_and_its_status_are_needed_and_more_is_ignored() {
        let bare = understood(&json!({"task_id": "t", "status": "completed"})).unwrap();
        assert_eq!(bare.usage(), None);
        let nulls = json!({"task_id": "t", "status": "failed", "artifacts": null, "cost_usd": null, "mood": "good"});
        assert_eq!(understood(&nulls).unwrap().status, TaskStatus::Failed);
    }

    #[test]
    fn tokens_without_a_split_count_as_written() {
        let of = |more: Value| {
            let mut answer = json!({"task_id": "t", "status": "completed", "cost_usd": 0.5});
            answer
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let usage = understood(&answer).unwrap().usage().unwrap();
            (usage.input_tokens, usage.output_tokens)
        };
        assert_eq!(of(json!({"tokens_used": 10})), (0, 10));
        assert_eq!(of(json!({"tokens_used": 10, "input_tokens": 7})), (7, 3));
        assert_eq!(of(json!({})), (0, 0));
    }

    #[test]
    fn rounds_are_added_up() {
        let before = Usage {
            input_tokens: 5,
            output_tokens: 1,
            cost: 0.5,
        };
        assert_eq!(together(None, None), None);
        assert_eq!(together(Some(before), None), Some(before));
        let both = together(Some(before), Some(before)).unwrap();
        assert_eq!((both.input_tokens, both.output_tokens), (10, 2));
        let mut said = json!({"input_tokens": 2, "cost": 0.25, "step": 7});
        add(before, said.as_object_mut().unwrap());
        assert_eq!(said, json!({"input_tokens": 7, "cost": 0.75, "step": 7}));
    }

    #[test]
    fn what_is_no_result_says_why() {
        for (answer, words) in [
            (json!({"status": "completed"}), "task_id"),
            (
                json!({"task_id": "u", "status": "completed"}),
                "`u` and not about `t`",
            ),
            (
                json!({"task_id": "t", "status": "done"}),
                "unknown variant `done`",
            ),
            (
                json!({"task_id": "t", "status": "completed", "cost_usd": -1}),
                "from 0 to",
            ),
            (
                json!({"task_id": "t", "status": "completed", "tokens_used": -1}),
                "invalid value",
            ),
            (
                json!({"task_id": "t", "status": "completed", "tokens_used": 10, "input_tokens": 70}),
                "more than `tokens_used`, which counts them too: 70 of 10",
            ),
            (
                json!({"task_id": "t", "status": "completed", "input_tokens": 7}),
                "7 of 0",
            ),
            (json!([]), "not understood"),
        ] {
            let why = understood(&answer).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn progress_is_made_presentable() {
        let said = json!({"task_id": "t", "status": "running", "progress": {"fraction": 7, "message": "a\u{0}b"}});
        let progress = running(said.to_string().as_bytes(), "t").unwrap().unwrap();
        assert_eq!(
            progress.fraction,
            Some(7.0),
            "whoever shows it says what is wrong"
        );
        assert_eq!(progress.message.as_deref(), Some("a\u{fffd}b"));
        assert!(running(b"", "t").unwrap().is_none());
        assert!(running(br#"{"task_id": "u"}"#, "t").is_err());
    }
}
