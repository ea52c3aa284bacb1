//! Takes secrets out of text: the worker's own by value, and those of others by their well-known shapes.
//!
//! A guess by shape can be wrong both ways. It is the last net, not the reason why a run may see secrets: runs get an
//! environment without any.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::scan::{self, Found};

const MARK: &str = "[redacted]";
/// A shorter value would take ordinary words out of logs.
const VALUE_MIN: usize = 6;

/// Cheap to clone; all clones share the values.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a secret that contains another goes as a whole.
    values: Arc<Vec<String>>,
}

/// What a stream remembers from one piece of text to the next.
#[derive(Debug, Default)]
pub struct Seam {
    in_key_block: bool,
    /// The last piece ended inside a secret.
    in_secret: bool,
}

impl Seam {
    pub fn line_ended(&mut self) {
        self.in_secret = false;
    }
}

impl Redactor {
    /// `values`: secrets as they are. Of a value with several lines, each line is one.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut lines: Vec<String> = values
            .into_iter()
            .flat_map(|value| {
                value
                    .lines()
                    .map(|line| line.trim().to_owned())
                    .collect::<Vec<_>>()
            })
            .filter(|line| line.len() >= VALUE_MIN)
            .collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
        lines.dedup();
        Self {
            values: Arc::new(lines),
        }
    }

    /// The same, with more values.
    #[must_use]
    pub fn and(&self, values: impl IntoIterator<Item = String>) -> Self {
        Self::new(self.values.iter().cloned().chain(values))
    }

    /// A text of its own: a message, a single line.
    pub fn once(&self, text: &str) -> String {
        let mut seam = Seam::default();
        let lines: Vec<String> = text
            .split('\n')
            .map(|line| {
                seam.line_ended();
                self.redact(line, &mut seam)
            })
            .collect();
        lines.join("\n")
    }

    /// The texts in a document, its members' names included.
    pub fn document(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.once(&text)),
            Value::Array(items) => items.into_iter().map(|it| self.document(it)).collect(),
            Value::Object(members) => self.members(members).into(),
            other => other,
        }
    }

    pub fn members(&self, members: Map<String, Value>) -> Map<String, Value> {
        members
            .into_iter()
            .map(|(name, value)| (self.once(&name), self.document(value)))
            .collect()
    }

    /// A line, or a piece of one that ends where [`Redactor::settled`] said.
    pub fn redact(&self, line: &str, seam: &mut Seam) -> String {
        let mut rest = line;
        if seam.in_key_block {
            let goes_on = scan::is_key_material(rest);
            seam.in_key_block = goes_on && !rest.contains(scan::KEY_END);
            if goes_on {
                return String::new();
            }
        }
        if seam.in_secret {
            rest = &rest[scan::secret_run(rest)..];
            seam.in_secret = rest.is_empty();
        }
        let mut out = String::with_capacity(rest.len());
        while let Some(found) = self.first(rest) {
            out.push_str(&rest[..found.start]);
            out.push_str(MARK);
            seam.in_key_block = found.opens_key_block;
            seam.in_secret = found.end == rest.len();
            rest = &rest[found.end..];
        }
        out.push_str(rest);
        out
    }

    /// Up to which byte an unfinished line can be shown: after it, a secret may be half there. The last word waits for
    /// its end, and so does what may be the beginning of a known value.
    pub fn settled(&self, partial: &str) -> usize {
        let word = scan::last_word(partial);
        let value = partial
            .char_indices()
            .map(|(at, _)| at)
            .find(|&at| {
                let tail = &partial[at..];
                self.values
                    .iter()
                    .any(|value| value.len() > tail.len() && value.starts_with(tail))
            })
            .unwrap_or(partial.len());
        word.min(value)
    }

    fn first(&self, text: &str) -> Option<Found> {
        let value = self
            .values
            .iter()
            .filter_map(|value| {
                let start = text.find(value.as_str())?;
                Some(Found::plain(start, start + value.len()))
            })
            .min_by_key(|found| (found.start, std::cmp::Reverse(found.end)));
        let shape = scan::first(text);
        match (value, shape) {
            (Some(value), Some(shape)) if shape.start < value.start => Some(shape),
            (None, shape) => shape,
            (value, _) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redact(text: &str) -> String {
        Redactor::new(["hunter2-the-password".to_owned()]).once(text)
    }

    #[test]
    fn secrets_by_value_and_by_shape_are_taken_out() {
        for (text, expected) in [
            ("say hunter2-the-password now", "say [redacted] now"),
            (
                "key orc_0198c5a27e1b_0123456789abcdef0123456789 ok",
                "key [redacted] ok",
            ),
            (
                "agent ora_d1d2d751ec796c5ba97ecd37573d692351ca2f6d916c6b40d17428f9da3820d8.",
                "agent [redacted]",
            ),
            (
                "beforeora_d1d2d751ec796c5ba97ecd37573d692351ca2f6d916c6b40d17428f9da3820d8 after",
                "before[redacted] after",
            ),
            (
                "flora_and_fauna_of_the_far_north",
                "flora_and_fauna_of_the_far_north",
            ),
            ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
            (
                "x ghp_abcdefghijklmnopqrstuvwxyz0123456789 y",
                "x [redacted] y",
            ),
            ("github_pat_11ABCDEFG0abcdefghijkl_mnop", "[redacted]"),
            ("\"sk-proj-abcdefghijklmnopqrstuv\"", "\"[redacted]\""),
            ("xoxb-1234567890-abcdef", "[redacted]"),
            (
                "fetch https://user:pa55@example.org/x",
                "fetch https://user:[redacted]@example.org/x",
            ),
            ("DB_PASSWORD=swordfish rest", "DB_PASSWORD=[redacted] rest"),
            ("?token=abc&page=2", "?token=[redacted]&page=2"),
            ("api_key=\"two words\"", "api_key=\"[redacted]\""),
            (
                "Authorization: Bearer abcdefghijklmnop.qrst",
                "Authorization: Bearer [redacted]",
            ),
            (
                "> Authorization: Bearer abcdef.ghijkl-0123456789",
                "> Authorization: Bearer [redacted]",
            ),
            (
                "authorization: bearer abcdefgh+ijkl/mnop~qrst== end",
                "authorization: bearer [redacted] end",
            ),
            (
                "\"Authorization\": \"Bearer abcdefgh+ijkl/mnop==\"",
                "\"Authorization\": \"Bearer [redacted]\"",
            ),
            ("Bearer abcdef.ghijkl-0123456789", "Bearer [redacted]"),
            (
                "Authorization: Bearer short",
                "Authorization: Bearer [redacted]",
            ),
            (
                "Authorization: Basic dXNlcjpwYTU1",
                "Authorization: Basic dXNlcjpwYTU1",
            ),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn secrets_in_a_document_are_taken_out_wherever_they_stand() {
        let said =
            json!({"hunter2-the-password": [1, {"a": "is hunter2-the-password"}], "b": true});
        let redactor = Redactor::new(["hunter2-the-password".to_owned()]);
        let expected = json!({"[redacted]": [1, {"a": "is [redacted]"}], "b": true});
        assert_eq!(redactor.document(said), expected);
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in [
            "task-management-for-busy-people-everywhere",
            "https://example.org/a@b",
            "git@example.org:team/repo.git",
            "if token == other { }",
            "a bearer acknowledgement-of-everything",
            "the Bearer of this, and a forbearer abcdefghijklmnopqrst",
            "the AKIA prefix, sk- and ghp_ alone",
            "token=",
            "50% done, größe = 3",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn a_private_key_goes_with_all_its_lines_and_nothing_after_them() {
        let text = "before\n-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7x\nq83j+/==\n-----END RSA PRIVATE KEY-----\nafter it";
        assert_eq!(redact(text), "before\n[redacted]\n\n\n\nafter it");
        // A line of source code that only mentions one does not swallow the log.
        let text = "grep: -----BEGIN PRIVATE KEY-----\nand then other words";
        assert_eq!(redact(text), "grep: [redacted]\nand then other words");
    }
}
