//! What an agent says of a task while it works, and what of it is kept for the run that waits.

use serde::{Deserialize, Serialize};

use crate::{Progress, Usage};

/// Messages that wait for the run to fetch them; of more the oldest are forgotten.
pub(super) const MESSAGES_MAX: usize = 50;

/// What an agent says on its way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskReport {
    pub progress: Option<Progress>,
    /// Of the task so far.
    pub usage: Option<Usage>,
}

/// What was said of a task, for the run that waits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskWords {
    /// The latest.
    #[serde(default)]
    pub progress: Option<Progress>,
    #[serde(default)]
    pub usage: Option<Usage>,
    /// The last few messages, each once, in order.
    #[serde(default)]
    pub messages: Vec<String>,
    /// Messages ever, those that are forgotten included.
    #[serde(default)]
    pub messages_said: u64,
    /// Reports ever.
    #[serde(default)]
    pub reports: u64,
}

impl TaskWords {
    pub(super) fn add(&mut self, report: TaskReport) {
        self.reports += 1;
        self.usage = report.usage.or(self.usage);
        let Some(progress) = report.progress else {
            return;
        };
        let before = self.progress.as_ref().and_then(|it| it.message.as_ref());
        if let Some(message) = progress.message.as_ref().filter(|it| Some(*it) != before) {
            self.messages.push(message.clone());
            self.messages_said += 1;
            if self.messages.len() > MESSAGES_MAX {
                self.messages.remove(0);
            }
        }
        self.progress = Some(progress);
    }

    /// The messages after the first `seen`, as far as they are still known.
    pub fn messages_after(&self, seen: u64) -> &[String] {
        let new = usize::try_from(self.messages_said.saturating_sub(seen)).unwrap_or(usize::MAX);
        &self.messages[self.messages.len().saturating_sub(new)..]
    }
}
