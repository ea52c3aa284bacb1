//! Dead letters and their replays.

use chrono::{DateTime, Utc};
use domain::{DeadLetterFilter, DeadLetterGroup, JobKind, Replay, ReplayState, Violations};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::job::KindBody;

/// Jobs that failed for good and most likely for the same reason.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterGroup)]
pub(crate) struct DeadLetterGroupBody {
    pub kind: KindBody,
    /// The error with everything taken out that differs from job to job; names the group.
    #[schema(example = "COMMAND_FAILED: the command ended with exit code #")]
    pub fingerprint: String,
    pub count: u32,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
    /// The job that failed last.
    pub latest_id: Uuid,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterList {
    pub items: Vec<DeadLetterGroupBody>,
}

/// Which dead letters to queue again; all of them where nothing is named.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewReplay {
    /// `session` or `training`.
    pub kind: Option<String>,
    /// A group's.
    pub fingerprint: Option<String>,
    /// An error code.
    pub code: Option<String>,
    /// Only say how many match.
    #[serde(default)]
    pub dry_run: bool,
}

/// How many dead letters match.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayCount {
    pub matched: u32,
}

/// Dead letters that are being queued again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replay)]
pub(crate) struct ReplayBody {
    pub id: Uuid,
    /// `running`, `completed` or `aborted`.
    #[schema(example = "running")]
    pub status: &'static str,
    pub kind: Option<KindBody>,
    pub fingerprint: Option<String>,
    pub code: Option<String>,
    /// Dead letters that matched when it was asked for.
    pub matched: u32,
    /// Queued again so far.
    pub replayed: u32,
    /// Looked at and left, because somebody else had retried them meanwhile.
    pub skipped: u32,
    /// Why it does not go on at the moment; null once it is over.
    pub held_up: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayList {
    pub items: Vec<ReplayBody>,
}

impl NewReplay {
    pub fn into_filter(self) -> Result<DeadLetterFilter, Violations> {
        let kind = self.kind.map(|kind| kind.parse::<JobKind>()).transpose();
        let kind = kind.map_err(|error| {
            let mut violations = Violations::default();
            violations.add("/kind", error.to_string());
            violations
        })?;
        let filter = DeadLetterFilter {
            kind,
            fingerprint: self.fingerprint,
            code: self.code,
        };
        filter.check()?;
        Ok(filter)
    }
}

impl From<DeadLetterGroup> for DeadLetterGroupBody {
    fn from(group: DeadLetterGroup) -> Self {
        Self {
            kind: group.kind.into(),
            fingerprint: group.fingerprint,
            count: group.count,
            first_at: group.first_at,
            last_at: group.last_at,
            latest_id: group.latest.as_uuid(),
        }
    }
}

impl From<Replay> for ReplayBody {
    fn from(replay: Replay) -> Self {
        Self {
            id: replay.id.as_uuid(),
            status: ReplayState::as_str(replay.state),
            kind: replay.filter.kind.map(KindBody::from),
            fingerprint: replay.filter.fingerprint,
            code: replay.filter.code,
            matched: replay.matched,
            replayed: replay.replayed,
            skipped: replay.skipped,
            // What held it up last is no news of one that is over.
            held_up: replay
                .held_up
                .filter(|_| replay.state == ReplayState::Running),
            created_at: replay.created_at,
            updated_at: replay.updated_at,
            finished_at: replay.finished_at,
        }
    }
}
