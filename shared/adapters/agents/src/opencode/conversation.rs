//! One prompt to its end: opens the session or goes on with one, follows what happens, and judges how it ended.

use std::collections::HashSet;
use std::time::Duration;

use application::ports::{AgentReport, HandlerError};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::call::Called;
use super::client::{Client, Message};
use super::events::{Event, Events};
use super::opening::Opening;
use super::outcome::{SUMMARY_CHARS, Verdict, cut, failure, judge, printed_too_much, unavailable};
use super::rules::Answers;
use super::run::Run;
use super::server::Hearing;
use super::shown::Shown;
use super::silence::{EMPTY_ANSWERS, Silence};
use crate::failure::{fail, retry};
use crate::handed;
use crate::output::Console;

/// The API that this speaks.
const VERSION: &str = "1.";
/// An unfinished line of the model's is shown after this, at the latest.
const TICK: Duration = Duration::from_millis(500);
/// Ticks between looks at the messages when no event asks for one.
const LOOK_EVERY: u32 = 10;
/// OpenCode would ask a provider that fails for ever, with pauses of 2, 4, 8, ... seconds.
const PROVIDER_TRIES: u64 = 5;
const PROVIDER_PATIENCE: Duration = Duration::from_mins(2);
/// A session that neither works nor has ended.
const STALL_PATIENCE: Duration = Duration::from_mins(1);
/// Parts that a model makes, so its provider is up again.
const ANSWERED: [&str; 4] = ["text", "reasoning", "tool", "step-finish"];
/// An abort takes a tenth of a second.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);
const WORDS_CHARS: usize = 300;

/// The end of a conversation, or why the server could not be talked to.
pub(super) type Told = Called<Result<AgentReport, HandlerError>>;

pub(super) struct Conversation<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) client: &'a Client,
    pub(super) console: &'a Console<'a>,
    shown: Shown<'a>,
    silence: Silence,
    /// Its server died in this same run.
    pub(super) interrupted: bool,
    /// OpenCode's own name of it.
    pub(super) session: String,
    /// How many messages there were before the prompt.
    pub(super) before: usize,
    pub(super) answers: Answers,
    /// Questions that need no further answer.
    pub(super) answered: HashSet<String>,
    /// An error of the session that no message tells.
    error: Option<Value>,
    retrying_since: Option<Instant>,
    idle_since: Option<Instant>,
}

/// What an event asks for.
enum Asked {
    Nothing,
    Look,
    GiveUp(HandlerError),
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        run: &'a Run<'a>,
        client: &'a Client,
        console: &'a Console<'a>,
        interrupted: bool,
    ) -> Self {
        Self {
            run,
            client,
            console,
            shown: Shown::new(console),
            silence: Silence::default(),
            interrupted,
            session: String::new(),
            before: 0,
            answers: run.config.answers.clone(),
            answered: HashSet::new(),
            error: None,
            retrying_since: None,
            idle_since: None,
        }
    }

    pub(super) async fn run(mut self, hearing: &Hearing) -> Told {
        hearing.listening().await?;
        let version = self.client.version().await?;
        if !version.starts_with(VERSION) {
            let message = format!("the worker's OpenCode has version {version}; 1.* is needed");
            return Ok(Err(fail("OPENCODE_VERSION", message)));
        }
        if let Err(error) = self.check_model().await? {
            return Ok(Err(error));
        }
        if self.run.agent.servers.is_some() {
            self.answers = Answers::of(self.run.spec, self.client.rules().await?);
        }
        let Opening { prompt, goes_on } = self.open().await?;
        let how = if goes_on { "goes on with" } else { "opens" };
        let line = format!("OpenCode {version} {how} session {}", self.session);
        self.console.say(&line).await;
        for unknown in self.answers.unknown() {
            let line = if Answers::asks_for_edit(unknown) {
                format!("the rule that allows `{unknown}` allows nothing: OpenCode asks for `edit`")
            } else {
                format!(
                    "the rule for `{unknown}` holds for tools of that very name only; OpenCode itself has none"
                )
            };
            self.console.say(&line).await;
        }
        // Before the prompt, so that nothing is missed.
        let events = self.client.events().await?;
        let model = self.run.spec.model_parts();
        self.client.prompt(&self.session, &prompt, model).await?;
        let ended = self.follow(events).await?;
        self.shown.finish().await;
        Ok(ended)
    }

    async fn follow(&mut self, mut events: Events) -> Called<Result<AgentReport, HandlerError>> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_look = LOOK_EVERY;
        loop {
            let mut look = false;
            tokio::select! {
                happened = events.next() => {
                    if happened.is_empty() {
                        events = self.client.events().await?;
                        look = true;
                    }
                    for event in happened {
                        match self.take(&event).await? {
                            Asked::Nothing => {}
                            Asked::Look => look = true,
                            Asked::GiveUp(error) => return self.give_up(error).await,
                        }
                    }
                }
                _ = ticks.tick() => {
                    self.shown.idle().await;
                    until_look -= 1;
                    look = until_look == 0;
                }
            }
            if self.console.is_over_limit() {
                return self.give_up(printed_too_much()).await;
            }
            if look {
                until_look = LOOK_EVERY;
                if let Some(ended) = self.look().await? {
                    return Ok(ended);
                }
            }
            if self
                .retrying_since
                .is_some_and(|since| since.elapsed() > PROVIDER_PATIENCE)
            {
                let patience = PROVIDER_PATIENCE.as_secs();
                return self
                    .give_up(unavailable(&format!("for {patience} s")))
                    .await;
            }
        }
    }

    async fn take(&mut self, event: &Event) -> Called<Asked> {
        let properties = &event.properties;
        let is_own = properties["sessionID"] == self.session.as_str();
        match event.kind.as_str() {
            "message.updated" => {
                let info = &properties["info"];
                self.message(info).await;
                if self.silence.message(info) {
                    let how = format!("{EMPTY_ANSWERS} times in a row: its answers are empty");
                    return Ok(Asked::GiveUp(unavailable(&how)));
                }
            }
            "message.part.updated" => {
                let part = &properties["part"];
                if ANSWERED.contains(&part["type"].as_str().unwrap_or_default()) {
                    self.retrying_since = None;
                }
                self.silence.part(part);
                self.shown.part(part).await;
            }
            "message.part.delta" => {
                self.retrying_since = None;
                self.silence.spoke(&properties["messageID"]);
                self.shown.delta(properties).await;
            }
            "permission.asked" => self.answer(properties).await?,
            "session.status" if is_own => return Ok(self.status(&properties["status"]).await),
            "session.idle" if is_own => return Ok(Asked::Look),
            "session.error" if is_own => {
                self.error = Some(properties["error"].clone());
                return Ok(Asked::Look);
            }
            _ => {}
        }
        Ok(Asked::Nothing)
    }

    async fn message(&mut self, info: &Value) {
        if !self.run.spending().note(info) {
            return;
        }
        if info["sessionID"] == self.session.as_str()
            && let Some(id) = info["id"].as_str()
        {
            self.shown.own_message(id);
        }
        let progress = self.run.spending().progress();
        self.console.context().progress(progress).await;
    }

    async fn status(&mut self, status: &Value) -> Asked {
        match status["type"].as_str() {
            Some("retry") => {
                let tries = status["attempt"].as_u64().unwrap_or_default();
                let why = cut(status["message"].as_str().unwrap_or_default(), WORDS_CHARS);
                self.retrying_since.get_or_insert_with(Instant::now);
                let line = format!("the provider failed, try {tries} of {PROVIDER_TRIES}: {why}");
                self.console.say(&line).await;
                if tries >= PROVIDER_TRIES {
                    return Asked::GiveUp(unavailable(&format!("{tries} times: {why}")));
                }
                Asked::Nothing
            }
            Some("idle") => Asked::Look,
            _ => Asked::Nothing,
        }
    }

    /// Looks at the session itself. `None`: it goes on.
    async fn look(&mut self) -> Called<Option<Result<AgentReport, HandlerError>>> {
        if self.client.is_busy(&self.session).await? {
            self.idle_since = None;
            self.answer_all().await?;
            return Ok(None);
        }
        let messages = self.client.messages(&self.session).await?;
        self.run.spending().note_all(&messages);
        let since: &[Message] = messages.get(self.before..).unwrap_or_default();
        if let Some(verdict) = judge(since) {
            // Their events may be on their way still.
            self.shown.all_of(since).await;
            let progress = self.run.spending().progress();
            self.console.context().progress(progress).await;
            return Ok(Some(self.report(verdict)));
        }
        if let Some(error) = &self.error {
            return Ok(Some(Err(self.readable(failure(error)))));
        }
        let idle = self.idle_since.get_or_insert_with(Instant::now);
        if idle.elapsed() > STALL_PATIENCE {
            let message = "OpenCode neither works nor has ended";
            return Ok(Some(Err(retry("OPENCODE_STALLED", message))));
        }
        Ok(None)
    }

    fn report(&self, verdict: Verdict) -> Result<AgentReport, HandlerError> {
        match verdict {
            Verdict::Done(said) => Ok(AgentReport {
                summary: said.as_ref().map(|text| {
                    self.console
                        .redactor()
                        .once(&cut(text, SUMMARY_CHARS).replace('\0', "\u{fffd}"))
                }),
                usage: Some(self.run.spending().total()),
                output: self.output(said.as_deref()),
                ..AgentReport::default()
            }),
            Verdict::Failed(error) => Err(self.readable(error)),
        }
    }

    /// The output that the session asks for: in what was said last, or in a file.
    fn output(&self, said: Option<&str>) -> Option<String> {
        let task = self.run.task;
        task.output_schema.as_ref()?;
        let redactor = self.console.redactor();
        let block = said.and_then(handed::block);
        block
            .map(|text| redactor.once(&text))
            .or_else(|| handed::read(&task.directory, redactor))
    }

    /// Without secrets: a provider may repeat the key that it refuses.
    fn readable(&self, error: HandlerError) -> HandlerError {
        let clean = |mut error: domain::JobError| {
            error.message = self
                .console
                .redactor()
                .once(&error.message.replace('\0', "\u{fffd}"));
            error
        };
        match error {
            HandlerError::Retry(error) => HandlerError::Retry(clean(error)),
            HandlerError::Fail(error) => HandlerError::Fail(clean(error)),
            other => other,
        }
    }

    async fn give_up(&self, error: HandlerError) -> Called<Result<AgentReport, HandlerError>> {
        let _ = tokio::time::timeout(ABORT_PATIENCE, self.client.abort(&self.session)).await;
        Ok(Err(self.readable(error)))
    }
}
