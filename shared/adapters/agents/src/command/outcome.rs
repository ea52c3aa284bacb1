//! What a command's end means for its session.

use application::ports::{AgentReport, HandlerError};
use domain::{JobError, LogStream};

use crate::failure::{DISK_FULL_WORDS, disk_full};
use crate::guard::{Exit, LeftBehind};
use crate::output::Console;

/// `EX_TEMPFAIL` of sysexits.h: try again.
const TRY_AGAIN: i32 = 75;
const SIGKILL: i32 = 9;

pub(super) fn report(
    exit: Exit,
    behind: &LeftBehind,
    name: &str,
    console: &Console<'_>,
) -> Result<AgentReport, HandlerError> {
    let words = console.last_lines(LogStream::Stderr).join("\n");
    let mut said = if behind.number > 0 {
        format!("{behind}; ")
    } else {
        String::new()
    };
    if words.is_empty() {
        said.push_str("it wrote nothing to stderr");
    } else {
        said.push_str("its last words on stderr:\n");
        said.push_str(&words);
    }
    match exit {
        Exit::Code(0) => Ok(AgentReport {
            summary: console.last_lines(LogStream::Stdout).pop(),
            exit_code: Some(0),
            ..AgentReport::default()
        }),
        Exit::Code(TRY_AGAIN) => Err(HandlerError::Retry(
            JobError::new(
                "COMMAND_TRY_AGAIN",
                format!("`{name}` asked to be tried again; {said}"),
            )
            .with_exit_code(TRY_AGAIN),
        )),
        Exit::Code(_) if words.contains(DISK_FULL_WORDS) => {
            Err(disk_full(&format!("`{name}` failed; {said}\n")))
        }
        Exit::Code(code) => Err(HandlerError::Fail(
            JobError::new(
                "COMMAND_FAILED",
                format!("`{name}` ended with {exit}; {said}"),
            )
            .with_exit_code(code),
        )),
        Exit::Signal(number) => {
            let hint = if number == SIGKILL {
                ", as the system does when memory runs out"
            } else {
                ""
            };
            Err(HandlerError::Fail(JobError::new(
                "COMMAND_KILLED",
                format!("`{name}` was killed by {exit}{hint}; {said}"),
            )))
        }
    }
}
