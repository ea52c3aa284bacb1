//! What is asked of a session's work, as the API wants it told.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::cli::DemandArgs;
use crate::exit::UsageError;

pub fn fields(args: &DemandArgs) -> Result<Map<String, Value>, UsageError> {
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
    if let Some(branch) = &args.push {
        let push = branch
            .as_ref()
            .map_or(Value::Bool(true), |branch| json!({"branch": branch}));
        body.insert("push".to_owned(), push);
    }
    if let Some(path) = &args.output_schema {
        body.insert("output_schema".to_owned(), schema(path)?);
    }
    if let Some(rounds) = args.output_rounds {
        body.insert("output_rounds".to_owned(), rounds.into());
    }
    body.extend(budget(args)?.map(|budget| ("budget".to_owned(), budget)));
    Ok(body)
}

fn budget(args: &DemandArgs) -> Result<Option<Value>, UsageError> {
    let limits = [
        ("tokens", args.budget_tokens.map(Value::from)),
        ("cost", args.budget_cost.map(Value::from)),
        ("steps", args.budget_steps.map(Value::from)),
    ];
    let mut budget: Map<String, Value> = limits
        .into_iter()
        .filter_map(|(name, limit)| Some((name.to_owned(), limit?)))
        .collect();
    if budget.is_empty() {
        let message = "--budget-stops needs --budget-tokens, --budget-cost or --budget-steps";
        return if args.budget_stops {
            Err(UsageError(message.to_owned()))
        } else {
            Ok(None)
        };
    }
    if args.budget_stops {
        budget.insert("on_limit".to_owned(), "stop".into());
    }
    Ok(Some(budget.into()))
}

fn schema(path: &Path) -> Result<Value, UsageError> {
    let refuse = |why: String| UsageError(format!("the schema {}: {why}", path.display()));
    let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| refuse(format!("is not JSON: {error}")))
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

/// The branch, and what is on it.
pub fn pushed(pushed: &Map<String, Value>) -> String {
    let text = |name: &str| pushed.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{} at {}", text("branch"), text("commit"))
}
