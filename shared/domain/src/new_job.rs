//! What a client hands in, checked before anything is stored.

use serde_json::{Map, Value};

use crate::{
    AGENT_LABEL, DependencyRule, Job, JobId, JobSpec, Labels, Priority, Status, TenantId,
    Timestamp, Violations, turn,
};

const TITLE_MAX: usize = 200;
const TAGS_MAX: usize = 20;
const TAG_MAX: usize = 64;
const METADATA_BYTES_MAX: usize = 16 * 1024;
const DEPENDENCIES_MAX: usize = 100;
const ATTEMPTS_MAX: u64 = 100;
/// A week: longer than that, a job should checkpoint and be resumed.
const DURATION_SECONDS_MAX: u64 = 7 * 24 * 3600;

#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub title: String,
    pub priority: Priority,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,
    pub spec: JobSpec,
    /// Wall-clock limit of one run.
    pub max_duration_seconds: u32,
    /// How many runs may fail before the job does.
    pub max_attempts: u32,
    /// Not before this instant.
    pub run_after: Option<Timestamp>,
    /// By when it must have ended.
    pub deadline: Option<Timestamp>,
    /// Labels that a worker must have to run it.
    pub requires: Labels,
    /// Jobs that must end well first.
    pub depends_on: Vec<JobId>,
    /// When one of them does not.
    pub if_prerequisite_fails: DependencyRule,
    /// False leaves the job `pending` until it is started; one with prerequisites starts when they are met.
    pub start: bool,
    pub parent: Option<JobId>,
}

impl NewJob {
    /// The job as it will be stored, or everything that is wrong with it.
    pub fn into_job(self, id: JobId, tenant: TenantId, now: Timestamp) -> Result<Job, Violations> {
        let mut violations = Violations::default();
        self.check(now, &mut violations);
        violations.or(())?;
        let queued = self.start && self.depends_on.is_empty();
        let requires = if self.spec.route().is_some() {
            self.requires.with_agent()
        } else {
            self.requires
        };
        Ok(Job {
            id,
            tenant,
            title: self.title,
            priority: self.priority,
            tags: self.tags,
            metadata: self.metadata,
            spec: self.spec,
            status: if queued {
                Status::Queued
            } else {
                Status::Pending
            },
            attempt: 0,
            failures: 0,
            max_attempts: self.max_attempts,
            max_duration_seconds: self.max_duration_seconds,
            // What is due already needs no date.
            run_after: self.run_after.filter(|at| *at > now),
            deadline: self.deadline,
            requires,
            depends_on: self.depends_on,
            if_prerequisite_fails: self.if_prerequisite_fails,
            fence: 0,
            progress: None,
            result: None,
            error: None,
            parent: self.parent,
            stop_requested_at: None,
            pause_requested_at: None,
            created_at: now,
            updated_at: now,
            queued_at: queued.then_some(now),
            turn: queued.then(|| turn(self.priority, now)),
            started_at: None,
            finished_at: None,
        })
    }

    fn check(&self, now: Timestamp, violations: &mut Violations) {
        violations.text("/title", &self.title, 1, TITLE_MAX);
        self.check_schedule(now, violations);
        if self.tags.len() > TAGS_MAX {
            violations.add(
                "/tags",
                format!(
                    "has {} tags; at most {TAGS_MAX} are allowed",
                    self.tags.len()
                ),
            );
        }
        for (index, tag) in self.tags.iter().enumerate() {
            violations.text(&format!("/tags/{index}"), tag, 1, TAG_MAX);
        }
        let metadata_bytes = serde_json::to_string(&self.metadata).map_or(0, |text| text.len());
        if metadata_bytes > METADATA_BYTES_MAX {
            violations.add(
                "/metadata",
                format!("has {metadata_bytes} bytes; at most {METADATA_BYTES_MAX} are allowed"),
            );
        }
        violations.no_nul("/metadata", &self.metadata);
        violations.range("/max_attempts", self.max_attempts.into(), 1, ATTEMPTS_MAX);
        violations.range(
            "/max_duration_seconds",
            self.max_duration_seconds.into(),
            1,
            DURATION_SECONDS_MAX,
        );
        self.spec.check(violations);
    }

    fn check_schedule(&self, now: Timestamp, violations: &mut Violations) {
        if let Some(deadline) = self.deadline {
            if deadline <= now {
                violations.add("/deadline", "is in the past");
            } else if self
                .run_after
                .is_some_and(|run_after| run_after >= deadline)
            {
                violations.add(
                    "/deadline",
                    "is not after run_after, so the job could never run",
                );
            }
        }
        self.requires.check("/requires", violations);
        if self.requires.0.contains_key(AGENT_LABEL) {
            violations.add(
                "/requires",
                format!(
                    "must not name {AGENT_LABEL}: sessions that name capabilities are given it"
                ),
            );
        }
        if self.depends_on.len() > DEPENDENCIES_MAX {
            violations.add(
                "/depends_on",
                format!(
                    "names {} jobs; at most {DEPENDENCIES_MAX} are allowed",
                    self.depends_on.len()
                ),
            );
        }
        if !self.depends_on.is_empty() && !self.start {
            violations.add(
                "/start",
                "must not be false with depends_on: the job starts when its prerequisites are met",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::{AgentSpec, Command, JobState, Repository, SessionSpec};

    fn new_job() -> NewJob {
        NewJob {
            title: "count public items".to_owned(),
            priority: Priority::High,
            tags: vec!["demo".to_owned()],
            metadata: Map::new(),
            spec: JobSpec::Session(session(AgentSpec::ECHO)),
            max_duration_seconds: 60,
            max_attempts: 3,
            run_after: None,
            deadline: None,
            requires: Labels::default(),
            depends_on: Vec::new(),
            if_prerequisite_fails: DependencyRule::Fail,
            start: true,
            parent: None,
        }
    }

    fn session(agent: AgentSpec) -> SessionSpec {
        SessionSpec {
            prompt: String::new(),
            agent,
            repository: None,
            keep: Vec::new(),
            demands: Box::default(),
        }
    }

    fn pointers(new: NewJob) -> Vec<String> {
        let id = Uuid::from_u128(1);
        let made = new.into_job(
            JobId::from_uuid(id),
            TenantId::from_uuid(id),
            Timestamp::UNIX_EPOCH,
        );
        made.map_or_else(
            |wrong| wrong.0.into_iter().map(|it| it.pointer).collect(),
            |_| Vec::new(),
        )
    }

    #[test]
    fn a_job_starts_queued_or_pending_as_it_was_asked_for() {
        let id = Uuid::from_u128(1);
        let make = |start| {
            let new = NewJob { start, ..new_job() };
            new.into_job(
                JobId::from_uuid(id),
                TenantId::from_uuid(id),
                Timestamp::UNIX_EPOCH,
            )
            .unwrap()
        };
        assert_eq!(make(true).state(), JobState::Queued);
        assert_eq!(make(true).queued_at, Some(Timestamp::UNIX_EPOCH));
        assert_eq!(make(false).state(), JobState::Pending);
        assert_eq!(make(false).queued_at, None);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let wrong = NewJob {
            title: "x".repeat(TITLE_MAX + 1),
            tags: vec![String::new()],
            max_attempts: 0,
            max_duration_seconds: 0,
            metadata: json!({"note": ["fine", "a\u{0}b"]})
                .as_object()
                .cloned()
                .unwrap_or_default(),
            ..new_job()
        };
        let expected = [
            "/title",
            "/tags/0",
            "/metadata",
            "/max_attempts",
            "/max_duration_seconds",
        ];
        assert_eq!(pointers(wrong), expected);
        assert!(pointers(new_job()).is_empty());
    }

    #[test]
    fn a_session_is_checked_where_its_fields_stand() {
        let of = |spec: SessionSpec| {
            pointers(NewJob {
                spec: JobSpec::Session(spec),
                ..new_job()
            })
        };
        let run = |line: &str| AgentSpec::Command(Command::Run(line.to_owned()));
        let argv = |argv: &[&str]| {
            AgentSpec::Command(Command::Argv(
                argv.iter().map(|&part| part.to_owned()).collect(),
            ))
        };
        let at = |path: &str, reference: &str| SessionSpec {
            repository: Some(Repository {
                path: path.to_owned(),
                reference: reference.to_owned(),
                exclusive: false,
            }),
            ..session(AgentSpec::ECHO)
        };
        assert_eq!(of(session(run("  "))), ["/agent/run"]);
        assert_eq!(of(session(argv(&[]))), ["/agent/argv"]);
        assert_eq!(of(session(argv(&["ls", "a\0b"]))), ["/agent/argv/1"]);
        assert_eq!(of(at("relative", "HEAD")), ["/repository/path"]);
        assert_eq!(
            of(at("/srv/app", "--upload-pack=evil")),
            ["/repository/ref"]
        );
        assert!(of(at("/srv/app", "main")).is_empty());
        let waiting = |delay_seconds| session(AgentSpec::Echo { delay_seconds });
        assert!(of(waiting(3600)).is_empty());
        assert_eq!(of(waiting(3601)), ["/agent/delay_seconds"]);
        for escape in ["../x", "/etc/passwd", "a/../../b", ".git/config", ""] {
            let keep = SessionSpec {
                keep: vec![escape.to_owned()],
                ..session(AgentSpec::ECHO)
            };
            assert_eq!(of(keep), ["/keep/0"], "{escape}");
        }
    }
}
