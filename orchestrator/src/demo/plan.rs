//! What the demo's tenants submit, and what is expected of each job, written down before anything runs.

use std::path::Path;

use domain::JobState;
use serde_json::{Value, json};

use super::repository::Source;

mod scripts;

/// Sessions that do something short, so that a quota has something to hold back.
const SURVEYS: usize = 12;

pub struct Tenant {
    pub slug: &'static str,
    pub name: &'static str,
    pub session_quota: u32,
    pub jobs: Vec<Planned>,
}

pub struct Planned {
    pub title: String,
    pub kind: Kind,
    /// The request's body without its title.
    pub body: Value,
    pub expected: Expected,
    /// Stopped through the API once it runs.
    pub stop: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Session,
    Training,
}

#[derive(Debug, Clone)]
pub struct Expected {
    pub outcome: JobState,
    pub attempts: u32,
    /// A file that the diff must name; `None`: the diff does not matter.
    pub file: Option<String>,
}

impl Kind {
    /// Where jobs of this kind are in the API.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Session => "sessions",
            Self::Training => "fine-tuning/jobs",
        }
    }
}

pub fn of(source: &Source, dataset: &Path) -> Vec<Tenant> {
    let session = Sessions {
        repository: json!({"path": source.path, "ref": "HEAD"}),
    };
    let (pattern, files) = if source.has_rust() {
        (scripts::RUST_ITEMS, "*.rs")
    } else {
        (scripts::ANY_ITEMS, "*")
    };
    let count = scripts::COUNT
        .replace("@PATTERN@", pattern)
        .replace("@FILES@", files);
    let atlas = vec![
        session.completes("count public items", &count, "PUBLIC-ITEMS.md"),
        session.completes("format a badly formatted file", scripts::FORMAT, "messy.rs"),
    ];
    let birch = vec![
        session.third_time("fails twice, then succeeds"),
        session.outlives("outlives its deadline of 2 s"),
        session.fails("a check that fails"),
    ];
    let cedar = vec![
        session.stopped("runs until it is stopped"),
        training(dataset),
    ];
    let tenants = [
        ("atlas", "Atlas", 2, atlas),
        ("birch", "Birch", 3, birch),
        ("cedar", "Cedar", 1, cedar),
    ];
    tenants
        .into_iter()
        .map(|(slug, name, session_quota, mut jobs)| {
            jobs.extend(session.surveys(if session_quota == 1 {
                SURVEYS / 3
            } else {
                SURVEYS
            }));
            Tenant {
                slug,
                name,
                session_quota,
                jobs,
            }
        })
        .collect()
}

struct Sessions {
    repository: Value,
}

impl Sessions {
    fn plan(&self, title: &str, script: &str, outcome: JobState) -> Planned {
        Planned {
            title: title.to_owned(),
            kind: Kind::Session,
            body: json!({
                "agent": {"kind": "command", "run": script},
                "repository": self.repository,
                "priority": "high",
                "max_duration_seconds": 120,
                "max_attempts": 3,
                "tags": ["demo"],
            }),
            expected: Expected {
                outcome,
                attempts: 1,
                file: None,
            },
            stop: false,
        }
    }

    fn completes(&self, title: &str, script: &str, file: &str) -> Planned {
        let mut planned = self.plan(title, script, JobState::Completed);
        planned.expected.file = Some(file.to_owned());
        planned.body["keep"] = json!([file]);
        planned
    }

    fn third_time(&self, title: &str) -> Planned {
        let mut planned = self.completes(title, scripts::THIRD_TIME, "THIRD-TIME.txt");
        planned.expected.attempts = 3;
        planned
    }

    fn outlives(&self, title: &str) -> Planned {
        let mut planned = self.plan(title, scripts::ENDLESS, JobState::Timeout);
        planned.body["max_duration_seconds"] = json!(2);
        planned
    }

    fn fails(&self, title: &str) -> Planned {
        self.plan(title, scripts::FAILS, JobState::Failed)
    }

    fn stopped(&self, title: &str) -> Planned {
        let mut planned = self.plan(title, scripts::ENDLESS, JobState::Stopped);
        planned.stop = true;
        planned
    }

    fn surveys(&self, count: usize) -> impl Iterator<Item = Planned> + '_ {
        (1..=count).map(move |part| {
            let script = scripts::SURVEY
                .replace("@PART@", &part.to_string())
                .replace("@PARTS@", &count.to_string());
            let file = format!("survey/part-{part}.tsv");
            let title = format!("survey the files, part {part} of {count}");
            let mut planned = self.completes(&title, &script, &file);
            planned.body["priority"] = json!("medium");
            planned
        })
    }
}

fn training(dataset: &Path) -> Planned {
    Planned {
        title: "train a small model on the repository's texts".to_owned(),
        kind: Kind::Training,
        body: json!({
            "base_model": "none",
            "target_model_name": "demo-bytes",
            "provider": "subprocess",
            "dataset": {"path": dataset},
            "parameters": {"steps": 6000, "batch": 32, "learning_rate": 0.5, "seed": 1},
            "max_duration_seconds": 120,
            "max_attempts": 2,
            "tags": ["demo"],
        }),
        expected: Expected {
            outcome: JobState::Completed,
            attempts: 1,
            file: None,
        },
        stop: false,
    }
}
