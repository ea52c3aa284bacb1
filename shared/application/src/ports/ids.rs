use domain::Timestamp;
use uuid::Uuid;

/// Makes ids. The real one makes UUIDv7 that rise within a process; a test's can be predicted.
pub trait Ids: Send + Sync {
    fn next(&self, now: Timestamp) -> Uuid;
}
