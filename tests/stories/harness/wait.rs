//! Waiting for what must come, with an end to the patience; and reading what it left.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

/// For whatever takes a moment: long enough for a busy machine, and only waited for in full when something is wrong.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// For what OpenCode does: starting it alone takes seconds of a processor, and several start at once.
pub const MODEL_PATIENCE: Duration = Duration::from_mins(4);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks until there is something to see.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = tokio::time::Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(
            began.elapsed() < limit,
            "waited {limit:?} and did not see: {what}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The lines of a file; none while it does not exist.
pub fn lines_of(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The number that stands in a file, once its line is complete.
pub fn number_in(path: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(path).ok()?;
    text.strip_suffix('\n')?.trim().parse().ok()
}

/// An instant of an answer of the API.
pub fn instant(value: &Value) -> DateTime<Utc> {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no instant"));
    text.parse()
        .unwrap_or_else(|error| panic!("{text} is no instant: {error}"))
}
