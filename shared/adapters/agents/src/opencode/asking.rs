//! What the agent asks to be allowed. Answered at once and by the rules alone, since nobody is there who would: a question
//! never holds a run up.

use serde_json::Value;

use super::call::{CallError, Called};
use super::conversation::Conversation;
use super::outcome::cut;

/// What a model is told whose use of a tool was refused.
pub(super) const REFUSAL: &str =
    "This is not allowed here, and nobody can be asked. Find another way.";
const WHAT_CHARS: usize = 300;

impl Conversation<'_> {
    pub(super) async fn answer(&mut self, request: &Value) -> Called<()> {
        let Some(id) = request["id"].as_str() else {
            return Ok(());
        };
        if !self.answered.insert(id.to_owned()) {
            return Ok(());
        }
        let permission = request["permission"].as_str().unwrap_or_default();
        let patterns = request["patterns"].as_array();
        let patterns: Vec<&str> = patterns
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let allowed = self.answers.allow(permission, &patterns);
        if !allowed {
            let what = cut(&patterns.join(", "), WHAT_CHARS);
            let line = format!("{permission}: denied, since no rule allows it: {what}");
            self.console.say(&line).await;
        }
        match self.client.answer(id, allowed, REFUSAL).await {
            // It was answered or given up meanwhile.
            Err(CallError::Refused { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Those that were asked while nobody listened.
    pub(super) async fn answer_all(&mut self) -> Called<()> {
        for request in self.client.questions().await? {
            self.answer(&request).await?;
        }
        Ok(())
    }
}
