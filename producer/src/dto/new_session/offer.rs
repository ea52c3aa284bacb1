//! Turns the body into the job to submit. What is wrong with values that exist is found by the domain; here only what the
//! body says twice, not at all, or in names that nobody knows.

use application::use_cases::Offer;
use chrono::SubsecRound as _;
use domain::{AgentSpec, JobId, JobSpec, NewJob, SessionSpec, Violations};

use super::NewSession;
use crate::dto::demands::demands;
use crate::dto::new_job::{labels, offer};
use crate::dto::repository::RepositoryBody;
use crate::dto::routing::RouteBody;
use crate::dto::text::check_object;

impl NewSession {
    /// The job to submit.
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

    /// False: refused unless it could begin now. Taken out, as it is no part of the job.
    pub fn take_wait(&mut self) -> bool {
        // Without capabilities it stays, and is refused as a mistake.
        self.capabilities.is_none() || self.wait.take().unwrap_or(true)
    }

    /// The agent that is named, or what is asked of the one to choose.
    fn agent_spec(&mut self, violations: &mut Violations) -> Option<AgentSpec> {
        if self.wait.is_some() {
            violations.add("/wait", "is for a single session that names capabilities");
        }
        let Some(capabilities) = self.capabilities.take() else {
            return self.named_agent(violations);
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

    fn named_agent(&mut self, violations: &mut Violations) -> Option<AgentSpec> {
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
        agent.into_spec(violations)
    }
}
