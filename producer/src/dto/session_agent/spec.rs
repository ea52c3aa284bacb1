//! Turns the body into what the domain runs, and back. What is wrong with values is found by the domain; here only what
//! does not belong together.

use domain::{AgentKind, AgentSpec, Command, Eap, OpenCode, PermissionRule, Violations};

use super::AgentBody;
use crate::dto::permission::PermissionRuleBody;
use crate::dto::text::check_object;

impl AgentBody {
    pub(in crate::dto) fn into_spec(self, violations: &mut Violations) -> Option<AgentSpec> {
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
        let mut body = Self {
            kind: spec.kind().to_string(),
            ..Self::default()
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
