//! What the runs of commands have written themselves: what really ran, whatever the store says.

use std::path::Path;

#[derive(Debug, Clone)]
pub struct Mark {
    pub job: String,
    pub attempt: i32,
    pub what: String,
    /// Milliseconds since 1970.
    pub at: i64,
}

/// In the order in which they were written. A run that was killed may have left half a line at most at the end of the
/// file; nobody's line is broken by another's.
pub fn read(path: &Path) -> Vec<Mark> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| parse(line).unwrap_or_else(|| panic!("no mark: {line}")))
        .collect()
}

fn parse(line: &str) -> Option<Mark> {
    let mut words = line.split_whitespace();
    Some(Mark {
        job: words.next()?.to_owned(),
        attempt: words.next()?.parse().ok()?,
        what: words.next()?.to_owned(),
        at: words.next()?.parse().ok()?,
    })
}
