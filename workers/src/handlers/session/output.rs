//! Holds the structured output of an agent's work against the session's schema.

use application::output_schema::{Misfit, OutputSchema};
use application::ports::{AgentReport, HandlerError};
use domain::{JobError, OUTPUT_BYTES_MAX, OutputDemand, has_nul};
use serde_json::Value;

use super::rounds::{Complaint, Of};

/// The output, or what is wrong with it.
pub(super) fn judge(
    demand: &OutputDemand,
    report: &AgentReport,
) -> Result<Result<Value, Complaint>, HandlerError> {
    let schema = OutputSchema::new(&demand.schema).map_err(|why| {
        let message = format!("the session's output_schema cannot be used: {why}");
        HandlerError::Fail(JobError::new("OUTPUT_SCHEMA_UNUSABLE", message))
    })?;
    let fitting = match &report.output {
        None => Err("none was given".to_owned()),
        Some(text) => parse(text).and_then(|output| {
            let misfits = schema.misfits(&output);
            if misfits.is_empty() {
                Ok(output)
            } else {
                Err(listed(&misfits))
            }
        }),
    };
    Ok(fitting.map_err(|wrong| complain(demand, &wrong)))
}

fn parse(text: &str) -> Result<Value, String> {
    if text.len() > OUTPUT_BYTES_MAX {
        return Err(format!("it has more than {OUTPUT_BYTES_MAX} bytes"));
    }
    let output = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    // No store keeps it.
    if has_nul(&output) {
        return Err("it contains a NUL character".to_owned());
    }
    Ok(output)
}

fn listed(misfits: &[Misfit]) -> String {
    let line = |misfit: &Misfit| match misfit.pointer.as_str() {
        "" => misfit.detail.clone(),
        pointer => format!("{pointer}: {}", misfit.detail),
    };
    misfits.iter().map(line).collect::<Vec<_>>().join("; ")
}

fn complain(demand: &OutputDemand, wrong: &str) -> Complaint {
    let message = format!("the output is not what the session's output_schema asks for: {wrong}");
    Complaint {
        of: Of::Output,
        error: JobError::new("OUTPUT_INVALID", message),
        words: format!(
            "Your output does not fit its JSON schema: {wrong}\n\nThe schema is:\n\n{}\n\nGive the whole output again, so \
             that it fits.",
            demand.schema
        ),
        rounds: demand.rounds,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(output: Option<&str>) -> Result<Value, String> {
        let demand = OutputDemand {
            schema: json!({"properties": {"n": {"type": "number"}}, "required": ["n"]}),
            rounds: 1,
        };
        let report = AgentReport {
            output: output.map(str::to_owned),
            ..AgentReport::default()
        };
        let judged = judge(&demand, &report).unwrap();
        judged.map_err(|complaint| complaint.error.message)
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert_eq!(judged(Some("{\"n\": 2}")), Ok(json!({"n": 2})));
        let long = "1".repeat(OUTPUT_BYTES_MAX + 1);
        for (output, words) in [
            (None, "none was given"),
            (Some("{n: 2}"), "not JSON"),
            (Some("{\"n\": \"2\"}"), "/n: "),
            (Some("{}"), "\"n\" is a required property"),
            (Some("{\"n\": 1, \"a\\u0000\": 2}"), "NUL"),
            (Some(&*long), "more than 65536 bytes"),
        ] {
            let message = judged(output).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }
}
