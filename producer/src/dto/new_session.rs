//! The body that asks for a coding session.

use std::collections::{BTreeMap, BTreeSet};

use application::use_cases::Offer;
use chrono::{DateTime, SubsecRound as _, Utc};
use domain::{
    AgentKind, AgentSpec, Command, Eap, JobId, JobSpec, NewJob, OpenCode, PermissionAction,
    PermissionRule, Repository, SessionSpec, Violations,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::demands::{BudgetBody, PushBody, VerifyBody, demands};
use super::new_job::{
    PriorityBody, RuleBody, default_attempts, default_duration, default_start, instant, labels,
    labels_once, offer,
};
use super::routing::RouteBody;
use super::text::check_object;

/// A coding session to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSession {
    /// For people; 1 to 200 characters.
    #[schema(example = "count public items")]
    pub title: String,
    /// What the agent is asked to do.
    #[serde(default)]
    pub prompt: String,
    #[serde(default)]
    #[schema(inline, default = "medium")]
    pub priority: PriorityBody,
    /// Wall-clock limit of one run, at most a week.
    #[serde(default = "default_duration")]
    pub max_duration_seconds: u32,
    /// How many runs may fail before the session does.
    #[serde(default = "default_attempts")]
    pub max_attempts: u32,
    /// At most 20, to find the session by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Kept as it is and handed back; at most 16 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// Which agent does the work; or leave it out and name `capabilities`.
    pub agent: Option<AgentBody>,
    /// Instead of `agent`: what the agent must be able to do, at most 50. When the session is claimed, the best of the
    /// registered agents that can take it gets it; until there is one, it waits.
    #[schema(example = json!(["code_review"]))]
    pub capabilities: Option<BTreeSet<String>>,
    /// With `capabilities`: the agent's least tier, 1 to 5.
    pub min_tier: Option<u8>,
    /// With `capabilities`: labels that the agent must have.
    #[serde(default, deserialize_with = "labels_once")]
    pub agent_labels: BTreeMap<String, String>,
    /// With `capabilities`: an agent to prefer, by name or id.
    pub preferred_agent: Option<String>,
    /// With `capabilities`: a kind of agents to prefer: `echo`, `command`, `opencode`, `eap` or `external`.
    pub preferred_kind: Option<String>,
    /// With `capabilities`: files of the worktree that an agent which works elsewhere (`eap`, `external`) is handed, at most
    /// 100 relative paths. Other agents see the whole worktree.
    #[serde(default)]
    pub files: Vec<String>,
    /// With `capabilities`: what kind of work it is, in words that an agent which works elsewhere knows; at most 64
    /// characters. Absent: what the agent is registered with, or `coding`.
    pub task_type: Option<String>,
    /// With `capabilities`: handed as it is to an agent which works elsewhere, over what the agent is registered with; at
    /// most 16 KiB. Other agents do not see it.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub input_data: Map<String, Value>,
    /// With `capabilities`: false refuses the session with 503 if no agent could take it now. For single sessions only.
    pub wait: Option<bool>,
    /// Absent: the agent works in an empty folder.
    pub repository: Option<RepositoryBody>,
    /// Files of the worktree to keep as artifacts, as relative paths.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Decides whether the agent's work is good: runs in the worktree when the agent is done.
    pub verify: Option<VerifyBody>,
    /// After success, pushes what changed to the repository, as one commit on a branch that nobody else uses.
    pub push: Option<PushBody>,
    /// A JSON schema that refers to nothing outside of itself, at most 64 KiB: the agent hands over JSON that fits it.
    #[schema(value_type = Option<Object>)]
    pub output_schema: Option<Value>,
    /// How often, 0 to 5, what does not fit is told to the agent, which then goes on.
    pub output_rounds: Option<u32>,
    /// What it may use before it pauses to ask, or stops.
    pub budget: Option<BudgetBody>,
    /// Not before this instant.
    #[serde(default, deserialize_with = "instant")]
    pub run_after: Option<DateTime<Utc>>,
    /// By when it must have ended: it fails then if it still waits, and is ended if it runs.
    #[serde(default, deserialize_with = "instant")]
    pub deadline: Option<DateTime<Utc>>,
    /// Labels that a worker must have to run it, such as `{"gpu": "h100"}`.
    #[serde(default, deserialize_with = "labels_once")]
    pub requires: BTreeMap<String, String>,
    /// What others of the same bulk request may call it in their `depends_on`; for bulk requests only.
    pub name: Option<String>,
    /// Jobs that must end well first: their ids, or names of others in the same bulk request. It is `pending` until then.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// What becomes of it when one of them does not.
    #[serde(default)]
    #[schema(inline, default = "fail")]
    pub if_prerequisite_fails: RuleBody,
    /// False leaves the session `pending` until it is started.
    #[serde(default = "default_start")]
    pub start: bool,
    /// The job that this one belongs to.
    pub parent_id: Option<Uuid>,
}

/// Which agent does the work. `echo` answers at once, or after a delay; `command` runs a program; `opencode` lets a model
/// work on what the prompt says; `eap` gives the work to an external agent that the workers' operator has configured.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Agent)]
pub(crate) struct AgentBody {
    /// `echo`, `command`, `opencode` or `eap`.
    #[schema(example = "command")]
    pub kind: String,
    /// For `command`: a program and its arguments. Either this or `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    /// For `command`: a line for `/bin/sh -c`. Either this or `argv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// For `echo`: how long to wait before the answer, at most 3,600; absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<u32>,
    /// For `opencode`: provider and model, as the workers' configuration names them; absent: what the worker prefers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "anthropic/claude-sonnet-4-5")]
    pub model: Option<String>,
    /// For `opencode`: one of the configurations with providers that the workers' operator has named; absent: the tenant's
    /// own, or the one that is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "research")]
    pub providers: Option<String>,
    /// For `opencode`: at most 100 rules, of which the last that fits a use of a tool decides. What no rule names is
    /// allowed, within what the worker allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<PermissionRuleBody>>,
    /// For `eap`: the agent, by the name that it has in the workers' configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "reviewer")]
    pub name: Option<String>,
    /// For `eap`: what kind of work it is, in words that the agent knows; absent: `coding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// For `eap`: files of the worktree that the agent is handed, at most 100, as relative paths; text, 256 KiB each and
    /// 1 MiB together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
    /// For `eap`: handed to the agent as it is; at most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub input_data: Option<Map<String, Value>>,
    /// For `routed`, as sessions that name `capabilities` are shown: what is asked of the agent to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Box<RouteBody>>,
}

/// What the agent `opencode` may do with a tool.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PermissionRule)]
pub(crate) struct PermissionRuleBody {
    /// The tool's name in OpenCode, such as `bash`, `edit`, `webfetch`; `*` and `?` stand for others.
    #[schema(example = "bash")]
    pub permission: String,
    /// What it is used on, such as a command line or a path; `*` and `?` stand for others.
    #[schema(example = "rm *")]
    pub pattern: String,
    #[schema(inline)]
    pub action: PermissionActionBody,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PermissionAction)]
pub(crate) enum PermissionActionBody {
    Allow,
    Deny,
}

/// A local git repository; the agent works in a worktree of its own.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Repository)]
pub(crate) struct RepositoryBody {
    /// Absolute path on the workers, below one of their configured roots.
    #[schema(example = "/srv/repositories/shop")]
    pub path: String,
    /// Branch, tag or commit.
    #[serde(rename = "ref", default = "head")]
    #[schema(default = "HEAD")]
    pub reference: String,
    /// No other exclusive session works on this branch of this repository at the same time; the session waits for its
    /// turn while it holds a slot, which does not count as its run's time. Not for a bare commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
}

fn head() -> String {
    "HEAD".to_owned()
}

impl NewSession {
    /// The job to submit. What is wrong with values that exist is found by the domain; here only what the body says
    /// twice, not at all, or in names that nobody knows.
    pub fn into_offer(mut self) -> Result<Offer, Violations> {
        let mut violations = Violations::default();
        check_object("/metadata", &self.metadata, &mut violations);
        let agent = self.agent_spec(&mut violations);
        let demands = demands(
            self.verify,
            self.push,
            self.output_schema,
            self.output_rounds,
            self.budget,
            &mut violations,
        );
        let (Some(agent), true) = (agent, violations.0.is_empty()) else {
            return Err(violations);
        };
        let job = NewJob {
            title: self.title,
            priority: self.priority.into(),
            tags: self.tags,
            metadata: self.metadata,
            spec: JobSpec::Session(SessionSpec {
                prompt: self.prompt,
                agent,
                repository: self.repository.map(RepositoryBody::into_spec),
                keep: self.keep,
                demands: Box::new(demands),
            }),
            max_duration_seconds: self.max_duration_seconds,
            max_attempts: self.max_attempts,
            run_after: self.run_after.map(|at| at.trunc_subsecs(6)),
            deadline: self.deadline.map(|at| at.trunc_subsecs(6)),
            requires: labels(self.requires),
            depends_on: Vec::new(),
            if_prerequisite_fails: self.if_prerequisite_fails.into(),
            start: self.start,
            parent: self.parent_id.map(JobId::from_uuid),
        };
        Ok(offer(job, self.name, self.depends_on))
    }
}

impl NewSession {
    /// The agent that is named, or what is asked of the one to choose.
    fn agent_spec(&mut self, violations: &mut Violations) -> Option<AgentSpec> {
        if self.wait.is_some() {
            violations.add("/wait", "is for a single session that names capabilities");
        }
        let Some(capabilities) = self.capabilities.take() else {
            let asked = [
                ("/min_tier", self.min_tier.is_some()),
                ("/agent_labels", !self.agent_labels.is_empty()),
                ("/preferred_agent", self.preferred_agent.is_some()),
                ("/preferred_kind", self.preferred_kind.is_some()),
                ("/files", !self.files.is_empty()),
                ("/task_type", self.task_type.is_some()),
                ("/input_data", !self.input_data.is_empty()),
            ];
            for (pointer, _) in asked.iter().filter(|(_, given)| *given) {
                violations.add(*pointer, "is for sessions that name capabilities");
            }
            let Some(agent) = self.agent.take() else {
                violations.add(
                    "/agent",
                    "is required; or give capabilities to choose one by",
                );
                return None;
            };
            return agent.into_spec(violations);
        };
        if self.agent.is_some() {
            violations.add("/agent", "is given beside capabilities; give one of them");
        }
        let route = RouteBody {
            capabilities,
            min_tier: self.min_tier.take(),
            agent_labels: std::mem::take(&mut self.agent_labels),
            preferred_agent: self.preferred_agent.take(),
            preferred_kind: self.preferred_kind.take(),
            files: std::mem::take(&mut self.files),
            task_type: self.task_type.take(),
            input_data: std::mem::take(&mut self.input_data),
        };
        Some(AgentSpec::Routed(route.into_request(violations)))
    }

    /// False: refused unless it could begin now. Taken out, as it is no part of the job.
    pub fn take_wait(&mut self) -> bool {
        // Without capabilities it stays, and is refused as a mistake.
        self.capabilities.is_none() || self.wait.take().unwrap_or(true)
    }
}

impl AgentBody {
    pub(super) fn into_spec(self, violations: &mut Violations) -> Option<AgentSpec> {
        if self.kind == AgentKind::Routed.as_str() {
            self.check_owners(AgentKind::Routed, violations);
            let route = self.route.unwrap_or_default();
            return Some(AgentSpec::Routed(route.into_request(violations)));
        }
        let kind = match self.kind.parse::<AgentKind>() {
            Ok(kind) => kind,
            Err(error) => {
                violations.add("/agent/kind", error.to_string());
                return None;
            }
        };
        self.check_owners(kind, violations);
        match kind {
            AgentKind::Echo => Some(AgentSpec::Echo {
                delay_seconds: self.delay_seconds.unwrap_or_default(),
            }),
            // Not among those that a text is read as.
            AgentKind::Routed => None,
            AgentKind::External => {
                violations.add(
                    "/agent/kind",
                    "agents that register themselves are not named; give `capabilities`, and `preferred_agent` for one of them",
                );
                None
            }
            AgentKind::Command => self.into_command(violations).map(AgentSpec::Command),
            AgentKind::OpenCode => Some(AgentSpec::OpenCode(OpenCode {
                providers: self.providers,
                model: self.model,
                permissions: self
                    .permissions
                    .unwrap_or_default()
                    .into_iter()
                    .map(PermissionRule::from)
                    .collect(),
            })),
            AgentKind::Eap => Some(AgentSpec::Eap(self.into_eap(violations))),
        }
    }

    fn into_eap(self, violations: &mut Violations) -> Eap {
        let input_data = self.input_data.unwrap_or_default();
        check_object("/agent/input_data", &input_data, violations);
        Eap {
            name: self.name.unwrap_or_default(),
            task_type: self.task_type,
            files: self.files.unwrap_or_default(),
            input_data,
        }
    }

    /// Each field is for one kind of agent; elsewhere it is a mistake.
    fn check_owners(&self, kind: AgentKind, violations: &mut Violations) {
        let fields = [
            ("argv", self.argv.is_some(), AgentKind::Command),
            ("run", self.run.is_some(), AgentKind::Command),
            (
                "delay_seconds",
                self.delay_seconds.is_some(),
                AgentKind::Echo,
            ),
            ("model", self.model.is_some(), AgentKind::OpenCode),
            ("providers", self.providers.is_some(), AgentKind::OpenCode),
            (
                "permissions",
                self.permissions.is_some(),
                AgentKind::OpenCode,
            ),
            ("name", self.name.is_some(), AgentKind::Eap),
            ("task_type", self.task_type.is_some(), AgentKind::Eap),
            ("files", self.files.is_some(), AgentKind::Eap),
            ("input_data", self.input_data.is_some(), AgentKind::Eap),
            ("route", self.route.is_some(), AgentKind::Routed),
        ];
        for (field, given, owner) in fields {
            if given && owner != kind {
                violations.add(
                    format!("/agent/{field}"),
                    format!("is for the agent {owner} only, and not for the agent {kind}"),
                );
            }
        }
    }

    fn into_command(self, violations: &mut Violations) -> Option<Command> {
        match (self.argv, self.run) {
            (Some(argv), None) => Some(Command::Argv(argv)),
            (None, Some(line)) => Some(Command::Run(line)),
            (Some(_), Some(_)) => {
                violations.add("/agent", "has both argv and run; give one of them");
                None
            }
            (None, None) => {
                violations.add(
                    "/agent",
                    "has neither argv nor run; the agent command needs one of them",
                );
                None
            }
        }
    }
}

impl From<AgentSpec> for AgentBody {
    fn from(spec: AgentSpec) -> Self {
        let kind = spec.kind().to_string();
        let mut body = Self {
            kind,
            argv: None,
            run: None,
            delay_seconds: None,
            model: None,
            providers: None,
            permissions: None,
            name: None,
            task_type: None,
            files: None,
            input_data: None,
            route: None,
        };
        match spec {
            AgentSpec::Echo { delay_seconds: 0 } => {}
            AgentSpec::Echo { delay_seconds } => body.delay_seconds = Some(delay_seconds),
            AgentSpec::Routed(request) => body.route = Some(Box::new(request.into())),
            AgentSpec::External(external) => body.name = Some(external.name),
            AgentSpec::Command(Command::Argv(argv)) => body.argv = Some(argv),
            AgentSpec::Command(Command::Run(line)) => body.run = Some(line),
            AgentSpec::OpenCode(opencode) => {
                let rules = opencode.permissions;
                body.model = opencode.model;
                body.providers = opencode.providers;
                body.permissions = (!rules.is_empty())
                    .then(|| rules.into_iter().map(PermissionRuleBody::from).collect());
            }
            AgentSpec::Eap(eap) => {
                body.name = Some(eap.name);
                body.task_type = eap.task_type;
                body.files = (!eap.files.is_empty()).then_some(eap.files);
                body.input_data = (!eap.input_data.is_empty()).then_some(eap.input_data);
            }
        }
        body
    }
}

impl From<PermissionRuleBody> for PermissionRule {
    fn from(rule: PermissionRuleBody) -> Self {
        Self {
            permission: rule.permission,
            pattern: rule.pattern,
            action: match rule.action {
                PermissionActionBody::Allow => PermissionAction::Allow,
                PermissionActionBody::Deny => PermissionAction::Deny,
            },
        }
    }
}

impl From<PermissionRule> for PermissionRuleBody {
    fn from(rule: PermissionRule) -> Self {
        Self {
            permission: rule.permission,
            pattern: rule.pattern,
            action: match rule.action {
                PermissionAction::Allow => PermissionActionBody::Allow,
                PermissionAction::Deny => PermissionActionBody::Deny,
            },
        }
    }
}

impl RepositoryBody {
    fn into_spec(self) -> Repository {
        Repository {
            path: self.path,
            reference: self.reference,
            exclusive: self.exclusive,
        }
    }
}

impl From<Repository> for RepositoryBody {
    fn from(repository: Repository) -> Self {
        Self {
            path: repository.path,
            reference: repository.reference,
            exclusive: repository.exclusive,
        }
    }
}

/// Sessions to create together: all or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSessions {
    /// 1 to 1,000.
    pub sessions: Vec<NewSession>,
}

/// The sessions that were created, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedSessions {
    pub ids: Vec<Uuid>,
}
