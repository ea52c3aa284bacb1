//! Gets a task done: gives it, waits for its end, and asks again when no answer comes. Every try carries the same id, so
//! that the agent does the work once.

use std::time::Duration;

use application::ports::{HandlerError, RunContext};
use domain::{LogStream, Progress, Usage};
use tokio::time::sleep;

use super::answer::{TaskResult, add};
use super::client::{Client, Said};
use crate::failure::{redacted, retry};
use crate::output::Redactor;

/// Calls in a row that came to nothing; then the run ends, and the session's own retries take over.
const TRIES: u32 = 6;
/// Doubles from one to the next.
const BACKOFF: Duration = Duration::from_millis(500);
/// The first look at a task that is worked on; each next one waits half as long again.
const LOOK_FIRST: Duration = Duration::from_millis(500);
const LOOK_MAX: Duration = Duration::from_secs(5);
/// An agent that forgets its tasks, because it was restarted, is given them anew so often.
const FORGOTTEN_MAX: u32 = 3;
/// What an agent says on its way is in the log up to here, so that one that counts steps does not fill it.
const SHOWN_MESSAGES: u32 = 1000;

pub(super) struct Delivery<'a> {
    pub client: &'a Client,
    pub context: &'a dyn RunContext,
    pub redactor: &'a Redactor,
    /// By the rounds before this one: each task has an account of its own.
    pub used: Option<Usage>,
    /// The task, as it is sent.
    pub body: Vec<u8>,
}

/// What the tries so far came to.
struct State {
    is_given: bool,
    misses: u32,
    forgotten: u32,
    look_after: Duration,
    shown: u32,
    message: String,
    /// That its fractions are none.
    told_fraction: bool,
}

impl Delivery<'_> {
    /// The task's end, whichever.
    pub(super) async fn result(&self) -> Result<TaskResult, HandlerError> {
        let mut state = State {
            is_given: false,
            misses: 0,
            forgotten: 0,
            look_after: LOOK_FIRST,
            shown: 0,
            message: String::new(),
            told_fraction: false,
        };
        loop {
            let said = if state.is_given {
                self.client.look().await
            } else {
                self.client.give(self.body.clone()).await
            };
            let said = said.map_err(|error| redacted(error, self.redactor))?;
            let pause = match said {
                Said::Ended(result) => return Ok(*result),
                Said::Running { progress, after } => {
                    self.show(progress, &mut state).await;
                    state.goes_on(after)
                }
                Said::Unknown => {
                    self.give_anew(&mut state).await?;
                    Duration::ZERO
                }
                Said::NotNow { why, after } => self.missed(&why, after, &mut state).await?,
            };
            sleep(pause).await;
        }
    }

    async fn show(&self, progress: Option<Progress>, state: &mut State) {
        let Some(mut progress) = progress else {
            return;
        };
        let message = progress.message.take();
        let message = message.map(|text| self.redactor.once(&text));
        progress.message.clone_from(&message);
        if let Some(message) = message.filter(|text| !text.is_empty() && *text != state.message) {
            state.shown += 1;
            if state.shown <= SHOWN_MESSAGES {
                let line = format!("{message}\n");
                self.context.log(LogStream::Stdout, &line).await;
            }
            state.message = message;
        }
        if let Some(why) = progress.wrong_fraction() {
            if !state.told_fraction {
                state.told_fraction = true;
                let agent = self.client.agent();
                self.say(&format!(
                    "the agent `{agent}` says how far it is, and its {why}"
                ))
                .await;
            }
            progress.fraction = progress.fraction.map(|it| it.clamp(0.0, 1.0));
        }
        progress.data = self.redactor.members(progress.data);
        if let Some(used) = self.used {
            add(used, &mut progress.data);
        }
        self.context.progress(progress).await;
    }

    /// Counts a task that the agent took and does not know any more.
    async fn give_anew(&self, state: &mut State) -> Result<(), HandlerError> {
        state.forgotten += 1;
        let agent = self.client.agent();
        if state.forgotten > FORGOTTEN_MAX {
            let message = format!(
                "the agent `{agent}` took the task {} times and knew nothing of it later; is it one agent, and does it \
                 stay up?",
                state.forgotten
            );
            return Err(retry("EAP_UNAVAILABLE", message));
        }
        self.say(&format!(
            "the agent `{agent}` knows nothing of the task any more and is given it again"
        ))
        .await;
        state.is_given = false;
        state.look_after = LOOK_FIRST;
        Ok(())
    }

    /// How long to wait before the next try, if there is to be one.
    async fn missed(
        &self,
        why: &str,
        after: Option<Duration>,
        state: &mut State,
    ) -> Result<Duration, HandlerError> {
        state.misses += 1;
        let agent = self.client.agent();
        let misses = state.misses;
        let line = format!("the agent `{agent}` did not answer, try {misses} of {TRIES}: {why}");
        self.say(&line).await;
        if misses >= TRIES {
            let why = self.redactor.once(why);
            let message = format!("the agent `{agent}` did not answer in {TRIES} tries: {why}");
            return Err(retry("EAP_UNAVAILABLE", message));
        }
        let backoff = BACKOFF * 2_u32.pow(misses - 1);
        Ok(backoff.max(after.unwrap_or_default()))
    }

    async fn say(&self, line: &str) {
        let line = format!("{}\n", self.redactor.once(line));
        self.context.log(LogStream::System, &line).await;
    }
}

impl State {
    /// How long to wait before the next look.
    fn goes_on(&mut self, after: Option<Duration>) -> Duration {
        self.is_given = true;
        self.misses = 0;
        let pause = after.unwrap_or(self.look_after);
        self.look_after = (self.look_after * 3 / 2).min(LOOK_MAX);
        pause
    }
}
