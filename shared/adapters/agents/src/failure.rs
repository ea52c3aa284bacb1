//! Turns what the system says into a decision and words for the person who reads it.

use std::io::{Error, ErrorKind};
use std::path::Path;

use application::ports::HandlerError;
use domain::JobError;
use nix::sys::statvfs::statvfs;

use crate::output::Redactor;

/// What git, shells and most programs print when the disk is full, in the C locale.
pub const DISK_FULL_WORDS: &str = "No space left on device";

/// A permanent failure.
pub fn fail(code: &str, message: impl Into<String>) -> HandlerError {
    HandlerError::Fail(JobError::new(code, message))
}

/// A permanent failure for a reason that lies in the job, and not in who works on it.
pub fn unfit(code: &str, message: impl Into<String>) -> HandlerError {
    HandlerError::Unfit(JobError::new(code, message))
}

/// A failure that another run may not meet.
pub fn retry(code: &str, message: impl Into<String>) -> HandlerError {
    HandlerError::Retry(JobError::new(code, message))
}

/// The same without secrets: an agent may repeat what it was told in what it is refused for.
pub fn redacted(error: HandlerError, redactor: &Redactor) -> HandlerError {
    let shown = |error: JobError| JobError {
        message: redactor.once(&error.message),
        ..error
    };
    match error {
        HandlerError::Fail(error) => HandlerError::Fail(shown(error)),
        HandlerError::Retry(error) => HandlerError::Retry(shown(error)),
        other => other,
    }
}

/// `doing` says what was tried, as in "create the folder".
pub fn io(doing: &str, path: &Path, error: &Error) -> HandlerError {
    if error.kind() == ErrorKind::StorageFull || error.kind() == ErrorKind::QuotaExceeded {
        return disk_full(&format!("the worker could not {doing} {}", path.display()));
    }
    retry(
        "WORKER_FILES",
        format!(
            "the worker could not {doing} {}: {error}; see to it on the worker's machine",
            path.display()
        ),
    )
}

/// True when next to nothing fits onto the disk that `path` is on. For programs that fail without saying why.
pub fn is_full(path: &Path) -> bool {
    const SPARE_BYTES: u64 = 64 * 1024;
    statvfs(path).is_ok_and(|disk| {
        let bytes = disk.blocks_available() * disk.fragment_size();
        bytes < SPARE_BYTES || (disk.files() > 0 && disk.files_available() == 0)
    })
}

/// `what` says what could not be done.
pub fn disk_full(what: &str) -> HandlerError {
    fail(
        "DISK_FULL",
        format!("{what}: the disk is full; make room on the worker's machine, then retry the job"),
    )
}
