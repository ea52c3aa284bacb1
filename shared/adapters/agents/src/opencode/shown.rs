//! What the log shows of a conversation: the model's text as it comes, and a line for each tool at its start and end.

use std::collections::{HashMap, HashSet};

use domain::LogStream;
use serde_json::Value;

use super::asking::REFUSAL;
use super::client::Message;
use super::outcome::cut;
use crate::output::{Console, LineText};

/// Enough to see which file or command it is.
const INPUT_CHARS: usize = 200;
const REASON_CHARS: usize = 300;
/// How OpenCode tells the model that a rule forbids it.
const FORBIDDEN: &str = "prevents you from using this specific tool call";
/// The members of a tool's input that say most, the best first.
const TELLING: [&str; 6] = [
    "command",
    "filePath",
    "pattern",
    "path",
    "url",
    "description",
];

pub(super) struct Shown<'a> {
    console: &'a Console<'a>,
    text: LineText,
    /// The last text did not end its line.
    line_open: bool,
    /// Messages of the model in the session itself; what its helpers say is theirs.
    own: HashSet<String>,
    /// How much of each text has been shown.
    texts: HashMap<String, usize>,
    /// Parts whose start, or whose end, has been shown.
    begun: HashSet<String>,
    ended: HashSet<String>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(console: &'a Console<'a>) -> Self {
        Self {
            console,
            text: LineText::new(console.redactor().clone()),
            line_open: false,
            own: HashSet::new(),
            texts: HashMap::new(),
            begun: HashSet::new(),
            ended: HashSet::new(),
        }
    }

    /// A message of the model in the session that is shown.
    pub(super) fn own_message(&mut self, id: &str) {
        self.own.insert(id.to_owned());
    }

    pub(super) async fn delta(&mut self, properties: &Value) {
        let (Some(part), Some(delta)) =
            (properties["partID"].as_str(), properties["delta"].as_str())
        else {
            return;
        };
        // Reasoning comes the same way, but its part was not noted as text.
        let Some(shown) = self.texts.get_mut(part) else {
            return;
        };
        if properties["field"] == "text" {
            *shown += delta.len();
            self.write(delta).await;
        }
    }

    pub(super) async fn part(&mut self, part: &Value) {
        let Some(id) = part["id"].as_str() else {
            return;
        };
        match part["type"].as_str() {
            Some("text") => self.text_part(id, part).await,
            Some("tool") => self.tool(id, part).await,
            _ => {}
        }
    }

    /// Shows what no event has told of these messages yet.
    pub(super) async fn all_of(&mut self, messages: &[Message]) {
        for message in messages {
            if message.info["role"] != "assistant" {
                continue;
            }
            if let Some(id) = message.info["id"].as_str() {
                self.own_message(id);
            }
            for part in &message.parts {
                self.part(part).await;
            }
        }
    }

    /// Shows what can be shown of an unfinished line.
    pub(super) async fn idle(&mut self) {
        let ready = self.text.idle();
        self.console.show(LogStream::Stdout, &ready).await;
    }

    pub(super) async fn finish(&mut self) {
        self.end_line().await;
    }

    async fn text_part(&mut self, id: &str, part: &Value) {
        let is_own = part["messageID"]
            .as_str()
            .is_some_and(|message| self.own.contains(message));
        if !is_own || self.ended.contains(id) {
            return;
        }
        let text = part["text"].as_str().unwrap_or_default();
        let shown = self.texts.entry(id.to_owned()).or_default();
        // A delta may have been missed.
        let rest = text.get(*shown..).unwrap_or_default().to_owned();
        *shown = text.len().max(*shown);
        self.write(&rest).await;
        if !part["time"]["end"].is_null() {
            self.ended.insert(id.to_owned());
            self.end_line().await;
        }
    }

    async fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.console.count(text.len());
        self.line_open = !text.ends_with('\n');
        let ready = self.text.feed(text.as_bytes());
        self.console.show(LogStream::Stdout, &ready).await;
    }

    async fn end_line(&mut self) {
        if self.line_open {
            self.write("\n").await;
        }
    }

    async fn tool(&mut self, id: &str, part: &Value) {
        let name = part["tool"].as_str().unwrap_or("tool");
        let state = &part["state"];
        let status = state["status"].as_str().unwrap_or_default();
        let is_over = matches!(status, "completed" | "error");
        if (is_over || status == "running") && self.begun.insert(id.to_owned()) {
            self.end_line().await;
            let input = short_input(&state["input"]);
            self.console.say(&format!("{name}: {input}")).await;
        }
        if is_over && self.ended.insert(id.to_owned()) {
            self.console
                .say(&format!("{name}: {}", result(state)))
                .await;
        }
    }
}

fn result(state: &Value) -> String {
    if state["status"] == "completed" {
        // A command's own failure is a completed use of the shell.
        return match state["metadata"]["exit"].as_i64() {
            Some(code) if code != 0 => format!("done, exit code {code}"),
            _ => "done".to_owned(),
        };
    }
    let error = state["error"].as_str().unwrap_or("it did not say why");
    if error.contains(FORBIDDEN) || error.contains(REFUSAL) {
        return "denied by the rules of the session or its worker".to_owned();
    }
    format!("failed: {}", one_line(error, REASON_CHARS))
}

fn short_input(input: &Value) -> String {
    let telling = TELLING.iter().find_map(|name| input[name].as_str());
    telling.map_or_else(
        || one_line(&input.to_string(), INPUT_CHARS),
        |text| one_line(text, INPUT_CHARS),
    )
}

fn one_line(text: &str, limit: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    cut(&words.join(" ").replace('\0', "\u{fffd}"), limit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_is_told_in_a_line() {
        let command = json!({"description": "x", "command": "ls\n  -l"});
        assert_eq!(short_input(&command), "ls -l");
        assert_eq!(short_input(&json!({"todos": []})), r#"{"todos":[]}"#);
        let failed =
            |status: &str| json!({"status": "completed", "metadata": {"exit": 1}, "x": status});
        assert_eq!(result(&failed("")), "done, exit code 1");
        assert_eq!(result(&json!({"status": "completed"})), "done");
        let error = |text: &str| json!({"status": "error", "error": text});
        assert_eq!(result(&error("no\nfile")), "failed: no file");
        let denied = format!("The user has specified a rule which {FORBIDDEN}. []");
        assert!(result(&error(&denied)).starts_with("denied"));
    }
}
