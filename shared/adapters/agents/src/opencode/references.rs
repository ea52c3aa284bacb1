//! What a configuration refers to instead of holding it: `{env:NAME}` and `{file:PATH}` in its texts, and which of its
//! texts are secrets.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

const KEY_BYTES: u64 = 64 * 1024;
/// Members whose texts are secrets however they came there.
const SECRET_MEMBERS: [&str; 3] = ["apikey", "authorization", "x-api-key"];

pub(super) struct References<'a> {
    /// What relative paths start from.
    folder: &'a Path,
    variables: &'a BTreeMap<String, String>,
    secrets: Vec<String>,
}

impl<'a> References<'a> {
    pub(super) fn new(folder: &'a Path, variables: &'a BTreeMap<String, String>) -> Self {
        Self {
            folder,
            variables,
            secrets: Vec::new(),
        }
    }

    /// All that was put in, and what stood there as a key already.
    pub(super) fn into_secrets(self) -> Vec<String> {
        self.secrets
    }

    /// Puts in what `value` refers to.
    pub(super) fn resolve(&mut self, value: &mut Value) -> Result<(), String> {
        match value {
            Value::String(text) => *text = self.resolved(text)?,
            Value::Array(items) => {
                for item in items {
                    self.resolve(item)?;
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    let refers = member
                        .as_str()
                        .is_some_and(|text| first_reference(text).is_some());
                    self.resolve(member)?;
                    let is_secret = SECRET_MEMBERS.contains(&name.to_ascii_lowercase().as_str());
                    if let Value::String(text) = member
                        && is_secret
                        && !refers
                    {
                        self.secrets.push(text.clone());
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        Ok(())
    }

    fn resolved(&mut self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, kind, name, after)) = first_reference(rest) {
            out.push_str(before);
            let value = match kind {
                Kind::Variable => self.variables.get(name).cloned().ok_or_else(|| {
                    format!(
                        "it refers to the variable {name}, which the worker's environment lacks"
                    )
                })?,
                Kind::File => bounded(&self.folder.join(name), KEY_BYTES)?
                    .trim()
                    .to_owned(),
            };
            out.push_str(&value);
            self.secrets.push(value);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Variable,
    File,
}

/// What stands before it, what it is, its name, and what follows.
fn first_reference(text: &str) -> Option<(&str, Kind, &str, &str)> {
    let found = [("{env:", Kind::Variable), ("{file:", Kind::File)]
        .into_iter()
        .filter_map(|(mark, kind)| Some((text.find(mark)?, mark, kind)))
        .min_by_key(|(at, ..)| *at);
    let (at, mark, kind) = found?;
    let (name, after) = text[at + mark.len()..].split_once('}')?;
    Some((&text[..at], kind, name, after))
}

/// The text of a file that has at most `limit` bytes.
pub(super) fn bounded(path: &Path, limit: u64) -> Result<String, String> {
    use std::io::Read as _;
    let shown = path.display();
    let unreadable = |error| format!("{shown} cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    // One byte more than allowed, to see that there is one.
    let read = file.take(limit + 1).read_to_string(&mut text);
    if read.map_err(unreadable)? as u64 > limit {
        return Err(format!("{shown} has more than {limit} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_what_is_referred_to_and_what_stands_where_keys_stand() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "key-from-a-file\n").unwrap();
        let variables = BTreeMap::from([("KEY_A".to_owned(), "from-the-environment".to_owned())]);
        let mut references = References::new(folder.path(), &variables);
        let mut value = json!([
            {"apiKey": "{env:KEY_A}"},
            {"headers": {"Authorization": "Bearer {file:key}!", "X-Api-Key": "literal-key"}},
            {"baseURL": "http://host/{no}"},
        ]);
        references.resolve(&mut value).unwrap();
        assert_eq!(value[0]["apiKey"], "from-the-environment");
        assert_eq!(
            value[1]["headers"]["Authorization"],
            "Bearer key-from-a-file!"
        );
        assert_eq!(value[2]["baseURL"], "http://host/{no}");
        let secrets = references.into_secrets();
        assert_eq!(
            secrets,
            ["from-the-environment", "key-from-a-file", "literal-key"]
        );
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(bounded(&path, 5).unwrap(), "12345");
        assert!(bounded(&path, 4).unwrap_err().contains("more than 4 bytes"));
    }
}
