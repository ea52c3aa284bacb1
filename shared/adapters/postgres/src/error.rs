//! What can go wrong with the server, sorted into what the application can do about it.

use std::error::Error as _;

use application::ports::StoreError;
use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

/// Inside this crate, before the operation is named. Callers never see it.
#[derive(Debug)]
pub(crate) enum Failure {
    Server(tokio_postgres::Error),
    /// No connection could be had.
    Pool(PoolError),
    /// A row is not as the code expects.
    Unexpected(String),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl Failure {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "made for `map_err`, which hands the error over"
    )]
    pub(crate) fn unexpected(error: impl ToString) -> Self {
        Self::Unexpected(error.to_string())
    }

    /// In words, for an error that says more of where it was.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Server(error) => words(error),
            Self::Pool(error) => pool(error),
            Self::Unexpected(what) => what.clone(),
        }
    }

    /// The error for the caller; `operation` says what was being done: "claiming jobs".
    pub(crate) fn during(self, operation: &str) -> StoreError {
        match self {
            Self::Pool(error) => StoreError::Unavailable(format!("{operation}: {}", pool(&error))),
            Self::Server(error) => server(&error, operation),
            Self::Unexpected(what) => StoreError::Corrupt(format!("{operation}: {what}")),
        }
    }
}

pub(crate) trait During<T> {
    fn during(self, operation: &str) -> Result<T, StoreError>;
}

impl<T, E: Into<Failure>> During<T> for Result<T, E> {
    fn during(self, operation: &str) -> Result<T, StoreError> {
        self.map_err(|error| error.into().during(operation))
    }
}

fn pool(error: &PoolError) -> String {
    match error {
        PoolError::Timeout(_) => {
            "no connection became free in time; the pool is too small or PostgreSQL too slow"
                .to_owned()
        }
        PoolError::Backend(error) => format!("PostgreSQL cannot be reached: {}", words(error)),
        other => other.to_string(),
    }
}

/// The driver's own message leaves out the cause.
fn words(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

fn server(error: &tokio_postgres::Error, operation: &str) -> StoreError {
    let said = format!("{operation}: {}", words(error));
    match error.code() {
        Some(state) if *state == SqlState::DISK_FULL => StoreError::Full(said),
        Some(state) if passes(state) => StoreError::Unavailable(said),
        Some(state) if *state == SqlState::UNDEFINED_TABLE => {
            StoreError::Corrupt(format!("{said}; run the migrations first"))
        }
        None if lost_connection(error) => StoreError::Unavailable(said),
        _ => StoreError::Corrupt(said),
    }
}

/// States that may be gone at the next try, or that only whoever runs the server can mend.
fn passes(state: &SqlState) -> bool {
    // Classes: connection, authorization, transaction rollback (deadlock, serialization), resources, operator.
    let class = ["08", "28", "40", "53", "57", "58"];
    class.iter().any(|class| state.code().starts_with(class))
        || [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::UNDEFINED_DATABASE,
        ]
        .contains(state)
}

fn lost_connection(error: &tokio_postgres::Error) -> bool {
    error.is_closed()
        || error
            .source()
            .is_some_and(|source| source.downcast_ref::<std::io::Error>().is_some())
}
