//! What the messages of a session say about its end. The server's events only say when to look.

use application::ports::HandlerError;
use domain::JobError;
use serde_json::Value;

use super::client::Message;
use crate::failure::{fail, retry};

/// A summary is read in lists.
pub(super) const SUMMARY_CHARS: usize = 2000;
const REASON_CHARS: usize = 500;

/// What came of a prompt.
#[derive(Debug)]
pub(super) enum Verdict {
    /// With the last thing that was said, all of it.
    Done(Option<String>),
    Failed(HandlerError),
}

/// `messages` are those that followed the prompt. `None`: nothing is decided yet.
pub(super) fn judge(messages: &[Message]) -> Option<Verdict> {
    let last = messages
        .iter()
        .rfind(|message| message.info["role"] == "assistant")?;
    let info = &last.info;
    if !info["error"].is_null() {
        return Some(Verdict::Failed(failure(&info["error"])));
    }
    if info["time"]["completed"].is_null() {
        return None;
    }
    let reason = match info["finish"].as_str()? {
        "stop" => return Some(Verdict::Done(said_last(last))),
        "length" => "the model's answer was cut off at its limit of tokens",
        "content-filter" => "the provider's content filter ended the answer",
        "tool-calls" => "it ended with a tool that was refused",
        _ => "it ended without saying that it was done",
    };
    let error = JobError::new("OPENCODE_ENDED_EARLY", format!("{reason}; see the log"));
    Some(Verdict::Failed(HandlerError::Fail(error)))
}

/// The last text of a message.
fn said_last(message: &Message) -> Option<String> {
    let texts = message.parts.iter().filter(|part| part["type"] == "text");
    let text = texts
        .filter_map(|part| part["text"].as_str())
        .next_back()?
        .trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// An error as OpenCode names them.
pub(super) fn failure(error: &Value) -> HandlerError {
    let data = &error["data"];
    let said = cut(
        data["message"].as_str().unwrap_or("it did not say why"),
        REASON_CHARS,
    );
    match error["name"].as_str().unwrap_or_default() {
        "APIError" => provider_failure(data["statusCode"].as_u64(), &said),
        "ProviderAuthError" => provider_failure(Some(401), &said),
        "ContextOverflowError" => HandlerError::Fail(JobError::new(
            "CONTEXT_OVERFLOW",
            format!("the conversation became too long for the model: {said}"),
        )),
        "MessageAbortedError" => HandlerError::Retry(JobError::new(
            "OPENCODE_ABORTED",
            "the agent's work was aborted from within",
        )),
        name => HandlerError::Retry(JobError::new(
            "OPENCODE_FAILED",
            format!("OpenCode failed with {name}: {said}"),
        )),
    }
}

/// What the provider answered, or that it did not.
fn provider_failure(status: Option<u64>, said: &str) -> HandlerError {
    match status {
        Some(status @ 400..=499) if status != 408 && status != 429 => {
            let advice = match status {
                401 | 403 => "; see to the key in the worker's configuration of OpenCode",
                _ => "",
            };
            HandlerError::Fail(JobError::new(
                "PROVIDER_REFUSED",
                format!("the model's provider answered {status}: {said}{advice}"),
            ))
        }
        Some(status) => HandlerError::Retry(JobError::new(
            "PROVIDER_UNAVAILABLE",
            format!("the model's provider answered {status}: {said}"),
        )),
        None => HandlerError::Retry(JobError::new(
            "PROVIDER_UNAVAILABLE",
            format!("the model's provider did not answer: {said}"),
        )),
    }
}

pub(super) fn printed_too_much() -> HandlerError {
    fail("OUTPUT_LIMIT", "the run printed too much and was ended")
}

/// Of a provider that fails again and again.
pub(super) fn unavailable(how: &str) -> HandlerError {
    retry(
        "PROVIDER_UNAVAILABLE",
        format!("the model's provider failed {how}"),
    )
}

pub(super) fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let start: String = text.chars().take(limit).collect();
    format!("{start}...")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(whole: Value) -> Message {
        serde_json::from_value(whole).unwrap()
    }

    fn code(messages: &[Message]) -> (bool, String) {
        match judge(messages) {
            Some(Verdict::Failed(HandlerError::Fail(error))) => (false, error.code),
            Some(Verdict::Failed(HandlerError::Retry(error))) => (true, error.code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_completed_stop_is_success() {
        let user = message(json!({"info": {"role": "user"}}));
        assert!(judge(std::slice::from_ref(&user)).is_none());
        let open = json!({"role": "assistant", "time": {"created": 1}});
        assert!(judge(&[user.clone(), message(json!({"info": open}))]).is_none());
        let done = message(json!({
            "info": {"role": "assistant", "finish": "stop", "time": {"completed": 2}},
            "parts": [{"type": "text", "text": "first"}, {"type": "text", "text": " last \n"}, {"type": "tool"}],
        }));
        let verdict = judge(&[user, done]);
        assert!(matches!(verdict, Some(Verdict::Done(Some(text))) if text == "last"));
        let early = json!({"role": "assistant", "finish": "length", "time": {"completed": 2}});
        let early = message(json!({"info": early}));
        assert_eq!(code(&[early]), (false, "OPENCODE_ENDED_EARLY".to_owned()));
    }

    #[test]
    fn an_error_says_whether_another_try_may_help() {
        let failed = |error: Value| message(json!({"info": {"role": "assistant", "error": error}}));
        let api = |status: u64| json!({"name": "APIError", "data": {"message": "no", "statusCode": status}});
        for (error, retry, expected) in [
            (api(401), false, "PROVIDER_REFUSED"),
            (api(400), false, "PROVIDER_REFUSED"),
            (api(429), true, "PROVIDER_UNAVAILABLE"),
            (api(500), true, "PROVIDER_UNAVAILABLE"),
            (
                json!({"name": "APIError", "data": {"message": "no"}}),
                true,
                "PROVIDER_UNAVAILABLE",
            ),
            (
                json!({"name": "MessageAbortedError"}),
                true,
                "OPENCODE_ABORTED",
            ),
            (json!({"name": "Surprise"}), true, "OPENCODE_FAILED"),
        ] {
            assert_eq!(code(&[failed(error)]), (retry, expected.to_owned()));
        }
    }
}
