//! Sessions and events in words.

use domain::JobState;
use serde_json::Value;
use std::fmt::Write as _;

use super::demands;
use crate::client::types::{Job, JobEvent};
use crate::output;

/// A session as lines of `name: value`.
pub fn job(job: &Job) -> anyhow::Result<()> {
    let mut table = output::table(&[]);
    for (name, value) in facts(job) {
        table.add_row([name, value]);
    }
    output::print(table)
}

fn facts(job: &Job) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: String| facts.push((name.to_owned(), value));
    add("id", job.id.to_string());
    add("title", job.title.clone());
    add("status", status(job));
    add("priority", job.priority.clone());
    add("runs", job.attempt.to_string());
    add(
        "failures",
        format!("{} of {}", job.failures, job.max_attempts),
    );
    if !job.tags.is_empty() {
        add("tags", job.tags.join(", "));
    }
    if !job.requires.is_empty() {
        add("requires", job.requires.to_string());
    }
    for prerequisite in &job.depends_on {
        add("after", prerequisite.to_string());
    }
    if let Some(at) = job.run_after {
        add("not before", output::instant(at));
    }
    if let Some(at) = job.deadline {
        add("deadline", output::instant(at));
    }
    add("created", output::instant(job.created_at));
    if let Some(at) = job.started_at {
        add("started", output::instant(at));
    }
    if let Some(at) = job.finished_at {
        add("finished", output::instant(at));
    }
    if let Some(message) = job.progress.as_ref().and_then(|said| said.message.clone()) {
        add("progress", message);
    }
    if let Some(error) = &job.error {
        // What goes on has not failed; paused, it waits because of this.
        let name = if job.status.is_finished() || job.status == JobState::Paused {
            "error"
        } else {
            "last error"
        };
        add(name, format!("{} ({})", error.message, error.code));
    }
    for (name, value) in job.result.iter().flatten() {
        // The output may be anything, and looks like itself.
        if name == "output" {
            add(name, value.to_string());
        } else {
            add(name, result(value));
        }
    }
    facts
}

/// The state, and how far it is.
pub fn status(job: &Job) -> String {
    let mut text = job.status.to_string();
    if job.stop_requested {
        text.push_str(", asked to stop");
    } else if job.pause_requested {
        text.push_str(", asked to pause");
    }
    let running = job.status.holds_slot().then_some(job.progress.as_ref());
    if let Some(fraction) = running.flatten().and_then(|progress| progress.fraction) {
        let _ = write!(text, " {:.0} %", fraction * 100.0);
    }
    text
}

fn result(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // What models cost.
        Value::Object(usage) if usage.contains_key("input_tokens") => {
            let number = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or_default();
            let cost = usage
                .get("cost")
                .and_then(Value::as_f64)
                .unwrap_or_default();
            format!(
                "{} tokens read, {} written, cost {cost}",
                number("input_tokens"),
                number("output_tokens")
            )
        }
        Value::Object(pushed) if pushed.contains_key("commit") => demands::pushed(pushed),
        Value::Object(verified) if verified.contains_key("passed") => demands::verified(verified),
        // A diff's numbers.
        Value::Object(diff) if diff.contains_key("insertions") => {
            let number = |name: &str| diff.get(name).and_then(Value::as_u64).unwrap_or_default();
            let files = diff.get("files").and_then(Value::as_array);
            let names: Vec<&str> = files
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            format!(
                "{} files, +{} -{}: {}",
                names.len(),
                number("insertions"),
                number("deletions"),
                names.join(", ")
            )
        }
        other => other.to_string(),
    }
}

/// An event as one line: `12:30:01  started  run 2`.
pub fn event(event: &JobEvent) -> String {
    let mut text = format!("{}  {}", event.at.format("%H:%M:%S"), event.kind);
    if event.attempt > 1 {
        let _ = write!(text, "  run {}", event.attempt);
    }
    if let Some(fraction) = event.data.get("fraction").and_then(Value::as_f64) {
        let _ = write!(text, "  {:.0} %", fraction * 100.0);
    }
    if let Some(message) = event.data.get("message").and_then(Value::as_str) {
        let _ = write!(text, "  {message}");
    }
    if let Some(why) = event
        .data
        .get("error")
        .and_then(|error| error.get("message"))
    {
        let _ = write!(text, "  {}", why.as_str().unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn runs_are_told_apart_from_failures() {
        let job: Job = serde_json::from_value(json!({
            "id": "0198c5a2-7e1b-7000-8000-000000000001", "status": "failed", "title": "a", "priority": "low",
            "attempt": 3, "failures": 1, "max_attempts": 1, "created_at": "2026-11-23T12:30:01Z",
        }))
        .unwrap();
        let facts = facts(&job);
        let said = |name: &str| {
            let fact = facts.iter().find(|(known, _)| known == name);
            fact.map(|(_, value)| value.as_str())
        };
        assert_eq!(said("runs"), Some("3"));
        assert_eq!(said("failures"), Some("1 of 1"));
    }

    #[test]
    fn what_is_in_a_result_is_told_in_a_line() {
        let usage = json!({"input_tokens": 300, "output_tokens": 30, "cost": 0.00135});
        assert_eq!(result(&usage), "300 tokens read, 30 written, cost 0.00135");
        let diff = json!({"files": ["a", "b"], "insertions": 3, "deletions": 1});
        assert_eq!(result(&diff), "2 files, +3 -1: a, b");
    }

    #[test]
    fn an_event_says_what_it_knows_and_no_more() {
        let said = |document: Value| event(&serde_json::from_value(document).unwrap());
        let at = "2026-11-23T12:30:01Z";
        assert_eq!(
            said(json!({"seq": 2, "at": at, "kind": "queued", "attempt": 0})),
            "12:30:01  queued"
        );
        assert_eq!(
            said(json!({"seq": 5, "at": at, "kind": "progress", "attempt": 2,
                        "data": {"fraction": 0.5, "message": "half of it"}})),
            "12:30:01  progress  run 2  50 %  half of it"
        );
        assert_eq!(
            said(json!({"seq": 6, "at": at, "kind": "failed", "attempt": 1,
                        "data": {"error": {"code": "EXIT", "message": "it exited with 3"}}})),
            "12:30:01  failed  it exited with 3"
        );
    }
}
