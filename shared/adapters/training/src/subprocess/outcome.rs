//! What a trainer's end means.

use adapter_agents::failure::{DISK_FULL_WORDS, disk_full, fail};
use adapter_agents::guard::Exit;
use adapter_agents::output::Console;
use application::ports::HandlerError;
use domain::{JobError, LogStream};

use super::messages::{Done, Observed};

/// `EX_TEMPFAIL` of sysexits.h: try again.
const TRY_AGAIN: i32 = 75;

/// The model that the trainer claims to have made, if it ended as one does that has.
pub(super) fn done<'a>(
    exit: Exit,
    observed: &'a Observed,
    console: &Console<'_>,
) -> Result<&'a Done, HandlerError> {
    let reason = reason(observed, console);
    match (exit, &observed.complaint, &observed.done) {
        (Exit::Code(0), None, Some(done)) => Ok(done),
        (Exit::Code(0), None, None) => Err(fail(
            "TRAINING_INCOMPLETE",
            "the trainer ended with exit code 0 but never said `done`; there is no model",
        )),
        (Exit::Code(TRY_AGAIN), None, _) => Err(HandlerError::Retry(
            JobError::new(
                "TRAINING_TRY_AGAIN",
                format!("the trainer asked to be tried again; {reason}"),
            )
            .with_exit_code(TRY_AGAIN),
        )),
        _ if reason.contains(DISK_FULL_WORDS) => {
            Err(disk_full(&format!("the training failed; {reason}\n")))
        }
        (Exit::Signal(_), None, _) => Err(fail(
            "TRAINING_KILLED",
            format!("the trainer was killed by {exit}; {reason}"),
        )),
        (_, complaint, _) => {
            let mut error = JobError::new(
                "TRAINING_FAILED",
                format!("the trainer ended with {exit}; {reason}"),
            );
            if let Exit::Code(code) = exit {
                error = error.with_exit_code(code);
            }
            Err(
                if complaint.as_ref().is_some_and(|complaint| complaint.retry) {
                    HandlerError::Retry(error)
                } else {
                    HandlerError::Fail(error)
                },
            )
        }
    }
}

/// The trainer's own words, or its last ones on stderr.
fn reason(observed: &Observed, console: &Console<'_>) -> String {
    if let Some(complaint) = &observed.complaint {
        return format!("it says: {}", complaint.message);
    }
    let words = console.last_lines(LogStream::Stderr);
    if words.is_empty() {
        "it wrote nothing to stderr".to_owned()
    } else {
        format!("its last words on stderr:\n{}", words.join("\n"))
    }
}
