//! What SQLite says, as the decision that it means for us.

use application::ports::StoreError;
use sqlx::Error;

/// SQLite's primary result codes, of <https://sqlite.org/rescode.html>.
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CONSTRAINT: u32 = 19;
const MISMATCH: u32 = 20;
const NOT_A_DATABASE: u32 = 26;
const ERROR: u32 = 1;
/// `SQLITE_IOERR_SHMSIZE`: no room for the index of the write-ahead log.
const SHM_SIZE: u32 = 4874;

/// `taken` where a unique index or a primary key refused it.
pub fn refused<E: From<StoreError>>(error: Error, taken: impl FnOnce() -> E) -> E {
    match error.as_database_error() {
        Some(said) if said.is_unique_violation() => taken(),
        _ => failed(error).into(),
    }
}

pub fn failed(error: Error) -> StoreError {
    let text = error.to_string();
    match error {
        Error::Database(error) => {
            let code: u32 = error
                .code()
                .and_then(|code| code.parse().ok())
                .unwrap_or(ERROR);
            match code & 0xff {
                FULL => StoreError::Full(text),
                _ if code == SHM_SIZE => StoreError::Full(text),
                ERROR | CORRUPT | CONSTRAINT | MISMATCH | NOT_A_DATABASE => {
                    StoreError::Corrupt(text)
                }
                // Busy, read-only, not to be opened, an error of the disk.
                _ => StoreError::Unavailable(text),
            }
        }
        Error::Io(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed => {
            StoreError::Unavailable(text)
        }
        _ => StoreError::Corrupt(text),
    }
}

/// A row is not what the code expects.
pub fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}
