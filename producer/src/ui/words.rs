//! Numbers and states in words that a person reads at a glance. The script counts on in the same words.

use chrono::TimeDelta;
use domain::{JobState, Timestamp};

/// `340 ms`, `12 s`, `4 m 05 s`, `2 h 10 m`, `3 d 4 h`.
pub(super) fn span(span: TimeDelta) -> String {
    let millis = span.num_milliseconds().max(0);
    let seconds = millis / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} m {:02} s", seconds % 60),
        3600..86_400 => format!("{hours} h {:02} m", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A span that is over, or one that goes on.
pub(super) struct Span {
    pub text: String,
    /// Milliseconds since 1970 from which it still counts.
    pub since_ms: Option<i64>,
}

impl Span {
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        Self {
            text: span(to - from),
            since_ms: None,
        }
    }

    pub fn going_on(since: Timestamp, now: Timestamp) -> Self {
        Self {
            text: span(now - since),
            since_ms: Some(since.timestamp_millis()),
        }
    }

    pub fn none() -> Self {
        Self {
            text: "\u{2013}".to_owned(),
            since_ms: None,
        }
    }
}

pub(super) fn instant(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// The sign beside a state's name: no state is told by colour alone.
pub(super) const fn glyph(state: JobState) -> &'static str {
    match state {
        JobState::Pending => "\u{25cb}",
        JobState::Queued => "\u{25d4}",
        JobState::Running => "\u{25b8}",
        JobState::Paused => "\u{2016}",
        JobState::Degraded => "\u{25d0}",
        JobState::Completed => "\u{2713}",
        JobState::PartiallyCompleted => "\u{25d1}",
        JobState::Failed => "\u{2717}",
        JobState::Timeout => "\u{25f7}",
        JobState::Stopped => "\u{25a0}",
        JobState::Cancelled => "\u{2298}",
        JobState::Orphaned => "\u{2205}",
    }
}

/// The state as words.
pub(super) fn state_words(state: JobState) -> String {
    state.as_str().replace('_', " ")
}

pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        for (millis, words) in [
            (-5, "0 ms"),
            (340, "340 ms"),
            (59_999, "59 s"),
            (245_000, "4 m 05 s"),
            (7_800_000, "2 h 10 m"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(span(TimeDelta::milliseconds(millis)), words);
        }
    }

    #[test]
    fn sizes_read_well() {
        for (size, words) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 * 1024 * 1024, "5.0 MiB"),
        ] {
            assert_eq!(bytes(size), words);
        }
    }
}
