//! Agents without an address, which ask for their tasks: the task is laid into the store, and looked at until its end is
//! there. The run's own lease, limits and stops are the worker's, as in any other run.

use std::time::Duration;

use application::ports::{
    AgentReport, AgentTaskStore, HandlerError, Interruption, Offered, StoreError,
    TASK_RESULT_BYTES_MAX, TaskOffer, TaskView, TaskWatch,
};
use domain::{
    HEARTBEATS_MISSED, LogStream, Progress, TASK_LEASE, TaskKey, TaskStage, TaskWords, Timestamp,
    Withdrawal,
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::ExternalRun;
use crate::eap::{self, Conclusion, TaskResult};
use crate::failure::{fail, retry};

/// The first look; each next one waits half as long again. Many runs may wait, so none looks often.
const LOOK_FIRST: Duration = Duration::from_millis(250);
const LOOK_MAX: Duration = Duration::from_secs(2);
/// Between looks at whether the agent is still heard of.
const LOOK_FOR_AGENT: Duration = Duration::from_secs(5);
/// An agent that lives and was chosen because it is free comes for its task by then.
const OFFER_LIMIT: Duration = Duration::from_mins(1);
/// Between tries while the store cannot be reached.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// Taking a task back must not hold the run's end up; the store refuses the agent's next word all the same.
const FAREWELL_LIMIT: Duration = Duration::from_secs(3);
/// What an agent says on its way is in the log up to here, so that one that counts steps does not fill it.
const SHOWN_MESSAGES: u32 = 1000;

pub(super) async fn pull(run: &ExternalRun<'_>) -> Result<AgentReport, HandlerError> {
    let task = run.task;
    let watch = TaskWatch {
        tenant: task.tenant,
        key: TaskKey {
            job: task.job,
            round: task.round,
        },
        agent: run.agent.agent,
        fence: task.fence,
    };
    let body = eap::task_body(task, &run.agent.to_eap(), TASK_RESULT_BYTES_MAX)?;
    let pull = Pull { run, watch };
    let result = tokio::select! {
        why = run.context.interrupted() => return Err(pull.leave(why).await),
        result = pull.result(body) => result?,
    };
    let conclusion = Conclusion {
        task,
        agent: &run.agent.name,
        redactor: run.redactor,
        context: run.context,
    };
    conclusion.of(result).await
}

struct Pull<'a> {
    run: &'a ExternalRun<'a>,
    watch: TaskWatch,
}

/// What was shown of the agent's words.
#[derive(Default)]
struct Shown {
    messages: u64,
    lines: u32,
    reports: u64,
}

impl Pull<'_> {
    async fn result(&self, body: String) -> Result<TaskResult, HandlerError> {
        self.offer(body).await?;
        let mut shown = Shown::default();
        let mut pause = LOOK_FIRST;
        let mut agent_seen = Instant::now();
        loop {
            let view = self.tried("watched", || self.tasks().watch_task(self.watch));
            let view = view.await?.ok_or_else(not_ours)?;
            self.show(&view.words, &mut shown).await;
            if let TaskStage::Done(_) = view.stage {
                return self.understand(view);
            }
            let mut silent = silence(&view, self.now())?;
            if silent.is_none() && agent_seen.elapsed() >= LOOK_FOR_AGENT {
                agent_seen = Instant::now();
                silent = self.agent_is_silent().await?;
            }
            if let Some(why) = silent {
                return self.take(&why).await;
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(LOOK_MAX);
        }
    }

    async fn offer(&self, body: String) -> Result<(), HandlerError> {
        let offer = TaskOffer {
            watch: self.watch,
            attempt: self.run.task.attempt,
            body,
        };
        let now = self.now();
        let offered = self.tried("offered", || self.tasks().offer_task(offer.clone(), now));
        let name = &self.run.agent.name;
        let line = match offered.await? {
            Offered::Anew => format!("the task waits for the agent `{name}`\n"),
            Offered::Joined => format!("the agent `{name}` has the task already and goes on\n"),
            Offered::Fenced => return Err(not_ours()),
        };
        self.run.context.log(LogStream::System, &line).await;
        Ok(())
    }

    /// Why it is believed not to live any more.
    async fn agent_is_silent(&self) -> Result<Option<String>, HandlerError> {
        let agents = &self.run.setup.agents;
        let found = self.tried("watched", || {
            agents.agent(self.watch.tenant, self.watch.agent)
        });
        let Some(found) = found.await? else {
            return Ok(Some("was removed".to_owned()));
        };
        let beat = found.agent.condition.beat;
        let fresh = beat.is_some_and(|beat| beat.is_fresh(self.now()));
        Ok((!fresh).then(|| format!("missed {HEARTBEATS_MISSED} beats")))
    }

    /// Takes the task from an agent that is not heard of; a result that came just then counts.
    async fn take(&self, why: &str) -> Result<TaskResult, HandlerError> {
        let now = self.now();
        let view = self.tried("taken back", || {
            self.tasks()
                .withdraw_task(self.watch, Withdrawal::Lost, now)
        });
        let view = view.await?.ok_or_else(not_ours)?;
        if let TaskStage::Done(_) = view.stage {
            return self.understand(view);
        }
        let name = &self.run.agent.name;
        let message = format!("the agent `{name}` {why}; the task was taken from it");
        Err(retry("EAP_SILENT", message))
    }

    fn understand(&self, view: TaskView) -> Result<TaskResult, HandlerError> {
        let bytes = view.result.unwrap_or_default();
        let id = self.watch.key.to_string();
        eap::result(bytes.as_bytes(), &id).map_err(|why| {
            let name = &self.run.agent.name;
            let message = format!("the result of the agent `{name}` {why}");
            fail("EAP_BAD_ANSWER", self.run.redactor.once(&message))
        })
    }

    async fn show(&self, words: &TaskWords, shown: &mut Shown) {
        for message in words.messages_after(shown.messages) {
            shown.lines += 1;
            if shown.lines <= SHOWN_MESSAGES {
                let line = format!("{}\n", self.run.redactor.once(message));
                self.run.context.log(LogStream::Stdout, &line).await;
            }
        }
        shown.messages = words.messages_said;
        if words.reports > shown.reports {
            shown.reports = words.reports;
            self.run.context.progress(self.progress(words)).await;
        }
    }

    /// The latest, with what the work took so far.
    fn progress(&self, words: &TaskWords) -> Progress {
        let mut progress = words.progress.clone().unwrap_or_default();
        progress.message = progress
            .message
            .map(|message| self.run.redactor.once(&message));
        progress.data = self.run.redactor.members(progress.data);
        // Each task has an account of its own; a run may be of several.
        if let Some(usage) = eap::together(self.run.task.used, words.usage) {
            let fields = [
                ("input_tokens", json!(usage.input_tokens)),
                ("output_tokens", json!(usage.output_tokens)),
                ("cost", json!(usage.cost)),
            ];
            let fields = fields.map(|(name, value)| (name.to_owned(), value));
            progress.data.extend(fields);
        }
        progress
    }

    /// Takes the task back where nobody wants it any more. When only the worker leaves, the next one joins it.
    async fn leave(&self, why: Interruption) -> HandlerError {
        match why {
            Interruption::Stop
            | Interruption::Pause
            | Interruption::Deadline
            | Interruption::LockLost => {
                let now = self.now();
                let taken = self
                    .tasks()
                    .withdraw_task(self.watch, Withdrawal::Cancelled, now);
                match timeout(FAREWELL_LIMIT, taken).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, job = %self.run.task.job, "a task could not be taken back");
                    }
                    Err(_) => {
                        tracing::warn!(job = %self.run.task.job, "a task was not taken back in time");
                    }
                }
            }
            Interruption::Drain | Interruption::LeaseLost => {}
        }
        HandlerError::Interrupted(why)
    }

    /// Tries again while the store cannot be reached: the run is dropped when the worker's lease ends.
    async fn tried<T, F>(
        &self,
        what: &str,
        call: impl Fn() -> F + Send + Sync,
    ) -> Result<T, HandlerError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        loop {
            match call().await {
                Ok(done) => return Ok(done),
                Err(StoreError::Unavailable(error)) => {
                    tracing::warn!(error, job = %self.run.task.job, "a task could not be {what}; trying again");
                    sleep(STORE_RETRY).await;
                }
                Err(error) => {
                    let name = &self.run.agent.name;
                    let message =
                        format!("the task for the agent `{name}` could not be {what}: {error}");
                    return Err(retry("EAP_TASK_LOST", message));
                }
            }
        }
    }

    fn tasks(&self) -> &dyn AgentTaskStore {
        self.run.setup.tasks.as_ref()
    }

    fn now(&self) -> Timestamp {
        self.run.setup.clock.now()
    }
}

/// Another run has the job.
fn not_ours() -> HandlerError {
    HandlerError::Interrupted(Interruption::LeaseLost)
}

/// Why the agent is believed to have dropped its task, by what the task itself shows.
fn silence(view: &TaskView, now: Timestamp) -> Result<Option<String>, HandlerError> {
    match view.stage {
        TaskStage::Offered if now >= view.offered_at + OFFER_LIMIT => Ok(Some(format!(
            "did not ask for its task within {} s",
            OFFER_LIMIT.as_secs()
        ))),
        TaskStage::Leased(lease) if lease.until <= now => Ok(Some(format!(
            "said nothing of its task for {} s",
            TASK_LEASE.as_secs()
        ))),
        TaskStage::Offered | TaskStage::Leased(_) | TaskStage::Done(_) => Ok(None),
        // By nobody that this run knows of.
        TaskStage::Cancelled | TaskStage::Lost => Err(retry(
            "EAP_TASK_LOST",
            "the task was taken back while its run still waited for it",
        )),
    }
}
