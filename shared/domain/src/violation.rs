//! What is wrong with an input, all of it at once, each with the place it stands at.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// JSON pointer into the input, `/title` or `/agent/argv`.
    pub pointer: String,
    /// What is wrong there and what would be right.
    pub detail: String,
}

/// Everything that is wrong with an input; never empty inside an `Err`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    pub fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Violation {
            pointer: pointer.into(),
            detail: detail.into(),
        });
    }

    /// `Ok(value)` when nothing was found wrong.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }

    /// The same violations, below `prefix`.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        for violation in &mut self.0 {
            violation.pointer.insert_str(0, prefix);
        }
        self
    }

    /// Requires `text` to have between `min` and `max` characters and no control characters but line breaks and tabs.
    pub(crate) fn text(&mut self, pointer: &str, text: &str, min: usize, max: usize) {
        let length = text.chars().count();
        if length < min || (min > 0 && text.trim().is_empty()) {
            self.add(pointer, "must not be empty");
        } else if length > max {
            self.add(
                pointer,
                format!("has {length} characters; at most {max} are allowed"),
            );
        }
        // PostgreSQL refuses NUL in text, and no other control character belongs into a name.
        if text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        {
            self.add(pointer, "contains control characters");
        }
        if text.chars().any(turns_text_around) {
            self.add(
                pointer,
                "contains characters that turn the direction of text around (U+202A to U+202E, U+2066 to U+2069)",
            );
        }
    }

    /// Requires that no text anywhere in `entries` holds a NUL, which PostgreSQL cannot store.
    pub(crate) fn no_nul(&mut self, pointer: &str, entries: &Map<String, Value>) {
        if entries
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value))
        {
            self.add(pointer, "contains a NUL character");
        }
    }

    /// `value` must lie between `min` and `max`, which are allowed too.
    pub fn range(&mut self, pointer: &str, value: u64, min: u64, max: u64) {
        if value < min || value > max {
            self.add(
                pointer,
                format!("is {value}; must be between {min} and {max}"),
            );
        }
    }
}

/// True when a text anywhere in `value` holds a NUL, which PostgreSQL cannot store.
pub fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(entries) => entries
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// Embeddings, overrides and isolates of the bidirectional algorithm: with them a text shows as another one than it is,
/// and drags what stands beside it along. The marks U+200E and U+200F only help a text to be read, and stay.
const fn turns_text_around(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{} {}", violation.pointer, violation.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_shows_as_what_it_is() {
        let wrong = |text: &str| {
            let mut violations = Violations::default();
            violations.text("/title", text, 1, 100);
            violations.to_string()
        };
        for text in ["exe\u{202E}txt.pdf", "\u{2066}a\u{2069}", "\u{202A}"] {
            assert!(wrong(text).contains("direction"), "{text:?}");
        }
        for text in [
            "build",
            "\u{5D1}\u{5E0}\u{5D9}\u{5D4}",
            "a\u{200F}b",
            "two\nlines",
        ] {
            assert_eq!(wrong(text), "", "{text:?}");
        }
        assert!(wrong("bell\u{7}").contains("control"));
    }
}
