//! What is asked of a session's work, as the API wants it told.

use serde_json::{Map, Value, json};

use crate::cli::DemandArgs;

pub fn fields(args: &DemandArgs) -> Map<String, Value> {
    let mut body = Map::new();
    if let Some(line) = &args.verify {
        let mut verify = json!({"run": line});
        if let Some(rounds) = args.verify_rounds {
            verify["rounds"] = rounds.into();
        }
        if let Some(seconds) = args.verify_timeout {
            verify["timeout_seconds"] = seconds.into();
        }
        body.insert("verify".to_owned(), verify);
    }
    body
}

/// What the command said that judged the work.
pub fn verified(verified: &Map<String, Value>) -> String {
    let how = match (
        verified.get("passed").and_then(Value::as_bool),
        verified.get("exit_code").and_then(Value::as_i64),
    ) {
        (Some(true), _) => "passed".to_owned(),
        (_, Some(code)) => format!("failed with exit code {code}"),
        _ => "failed".to_owned(),
    };
    match verified.get("rounds").and_then(Value::as_u64) {
        None | Some(0) => how,
        Some(1) => format!("{how}, after the agent was told once"),
        Some(rounds) => format!("{how}, after the agent was told {rounds} times"),
    }
}
