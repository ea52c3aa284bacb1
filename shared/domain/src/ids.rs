//! Each id has its own type, so that a tenant can never be passed where a job is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not {} {what} id: expected a UUID such as 0198c5a2-7e1b-7cc0-8000-0123456789ab",
    article(what)
)]
pub struct ParseIdError {
    pub what: &'static str,
    pub text: String,
}

/// Before a word that begins so; of the words below none has a vowel that is not heard.
fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']) {
        "an"
    } else {
        "a"
    }
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self).map_err(|_| ParseIdError {
                    what: $what,
                    text: text.chars().take(64).collect(),
                })
            }
        }
    };
}

typed_id!(
    /// A tenant: the unit of isolation, quota and fairness.
    TenantId, "tenant"
);
typed_id!(
    /// A job of any kind. UUIDv7, so ids sort by creation.
    JobId, "job"
);
typed_id!(
    /// One life of one worker process.
    WorkerId, "worker"
);
typed_id!(
    /// The public half of an API key.
    ApiKeyId, "API key"
);
typed_id!(
    /// A file kept from a job's run.
    ArtifactId, "artifact"
);
typed_id!(
    /// A schedule that makes jobs.
    ScheduleId, "schedule"
);
typed_id!(
    /// A registered agent.
    AgentId, "agent"
);
typed_id!(
    /// An external agent's hold on a task that it asked for.
    TaskLeaseId, "task lease"
);
typed_id!(
    /// A replay of dead letters.
    ReplayId, "replay"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_is_told_in_good_words() {
        let why = "x".parse::<AgentId>().unwrap_err().to_string();
        assert!(why.starts_with("`x` is not an agent id: "), "{why}");
        let why = "x".parse::<JobId>().unwrap_err().to_string();
        assert!(why.starts_with("`x` is not a job id: "), "{why}");
    }
}
