//! A setting that must not be shown: passwords in URLs, API keys.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// Shown by `Debug` and when serialized without its secret part; [`Secret::reveal`] gives all of it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A URL without its password; anything else as `(set)`.
    pub fn shown(&self) -> String {
        let hidden = || "(set)".to_owned();
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return hidden();
        };
        // Passwords may also stand in the query, so only what is known to be harmless is shown.
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        match rest.rsplit_once('@') {
            None => format!("{scheme}://{rest}"),
            Some((user, host)) => {
                let user = user.split(':').next().unwrap_or_default();
                format!("{scheme}://{user}:***@{host}")
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_no_secret() {
        let shown = |text: &str| Secret::new(text).shown();
        assert_eq!(
            shown("postgres://app:hunter2@db:5432/x"),
            "postgres://app:***@db:5432/x"
        );
        assert_eq!(
            shown("postgres://app:p@ss:w@db/x?password=hunter2"),
            "postgres://app:***@db/x"
        );
        assert_eq!(
            shown("redis://127.0.0.1:6379/0"),
            "redis://127.0.0.1:6379/0"
        );
        assert_eq!(shown("orc_0198_abcdef"), "(set)");
        assert_eq!(format!("{:?}", Secret::new("orc_0198_abcdef")), "(set)");
    }
}
