//! One run from its first server to its end: servers that die are replaced, an interruption ends everything.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::{AgentReport, AgentTask, HandlerError, Interruption, RunContext};
use domain::OpenCode;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::OpenCodeAgent;
use super::call::{CallError, Called};
use super::client::{Client, Message};
use super::config::Config;
use super::conversation::{Conversation, Told};
use super::folder::JobFolder;
use super::handover;
use super::outcome::printed_too_much;
use super::server::{Hearing, Own, Server};
use super::spending::Spending;
use crate::failure::{fail, retry};
use crate::guard::{Exit, RunLost};
use crate::isolation::LimitHit;
use crate::output::Console;
use crate::supervise::{KILL_PATIENCE, limited, lose};

/// A server that dies is started anew in the same run so often: its files and its conversation are still there.
const RESTARTS: u32 = 2;
/// The abort takes a tenth of a second, and less to say what was used until then; what does not end, the guard ends.
const ABORT_PATIENCE: Duration = Duration::from_millis(400);
/// Nobody else ends what a server does that is not the run's own.
const FOREIGN_ABORT_PATIENCE: Duration = Duration::from_secs(2);
/// How a server says that it does not understand its configuration, which another try would not change.
const CONFIG_INVALID: &str = "ConfigInvalidError";
/// A leaving worker, or a run that pauses, has more time than one whose user waits for its stop.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(2);
/// A server that stops answering has most likely ended, and how it did is known in this time.
const END_PATIENCE: Duration = Duration::from_millis(500);

pub(super) struct Run<'a> {
    pub agent: &'a OpenCodeAgent,
    pub task: &'a AgentTask,
    pub spec: &'a OpenCode,
    pub config: &'a Config,
    pub folder: &'a JobFolder,
    pub context: &'a dyn RunContext,
    /// The conversation, once there is one.
    session: Mutex<Option<String>>,
    spending: Mutex<Spending>,
    /// Another worker handed it over.
    taken_over: AtomicBool,
}

/// Why a server's time was over.
enum End {
    Told(Told),
    /// By itself; it had gone beyond a limit then, or not.
    Exit(Result<Exit, RunLost>, Option<LimitHit>),
    Interrupted(Interruption),
    Limited(LimitHit),
}

/// The server is gone, and another one may do.
struct Died(String);

impl<'a> Run<'a> {
    pub(super) fn new(
        agent: &'a OpenCodeAgent,
        task: &'a AgentTask,
        spec: &'a OpenCode,
        config: &'a Config,
        folder: &'a JobFolder,
        context: &'a dyn RunContext,
    ) -> Self {
        Self {
            agent,
            task,
            spec,
            config,
            folder,
            context,
            session: Mutex::new(handover::session_of(task.checkpoint.as_ref())),
            spending: Mutex::default(),
            taken_over: AtomicBool::new(false),
        }
    }

    pub(super) async fn to_the_end(&self) -> Result<AgentReport, HandlerError> {
        if self.agent.servers.is_none() {
            let taken = handover::take(self).await?;
            self.taken_over.store(taken, Ordering::Relaxed);
        }
        let mut deaths = 0;
        loop {
            let Died(why) = match self.with_one_server(deaths).await {
                Ok(ended) => return ended,
                Err(died) => died,
            };
            deaths += 1;
            if deaths > RESTARTS {
                let message = format!("OpenCode's server died {deaths} times: {why}");
                return Err(retry("OPENCODE_DIED", message));
            }
            tracing::warn!(job = %self.task.job, why, "OpenCode's server died and is started anew");
        }
    }

    /// When this returns, the server and all that it started are dead.
    async fn with_one_server(
        &self,
        deaths: u32,
    ) -> Result<Result<AgentReport, HandlerError>, Died> {
        let mut server = match Server::open(self).await {
            Ok(server) => server,
            Err(error) => return Ok(Err(error)),
        };
        let control = server.own.as_ref().map(|own| own.control.clone());
        let console = Console::new(
            self.context,
            server.redactor.clone(),
            self.agent.limits,
            control.clone(),
        );
        let mut alive = JoinSet::new();
        if let Some(control) = control.clone() {
            alive.spawn(control.keep_alive());
        }
        if deaths > 0 {
            let line = match control {
                Some(_) => "OpenCode's server died and was started anew",
                None => "OpenCode's server did not answer any more",
            };
            console.say(line).await;
        }
        let conversation = Conversation::new(self, &server.client, &console, deaths > 0);
        let watch = server.own.as_ref().map(|own| own.guard.watch());
        let watch = watch.unwrap_or_default();
        let mut exit = pin!(ended(server.own.as_mut()));
        let mut end = tokio::select! {
            why = self.context.interrupted() => End::Interrupted(why),
            hit = watch.exceeded() => End::Limited(hit),
            (exit, hit) = &mut exit => End::Exit(exit, hit),
            told = conversation.run(&server.hearing) => End::Told(told),
        };
        match &end {
            End::Interrupted(why) => {
                self.wind_up(&server.client, &console, *why, control.is_some())
                    .await;
            }
            End::Told(Err(CallError::Unreachable(_))) => {
                if let Ok((exit, hit)) = timeout(END_PATIENCE, &mut exit).await {
                    end = End::Exit(exit, hit);
                }
            }
            End::Exit(..) | End::Told(_) | End::Limited(_) => {}
        }
        if let Some(control) = control
            && !matches!(end, End::Exit(..))
        {
            control.kill();
            if timeout(KILL_PATIENCE, &mut exit).await.is_err() {
                tracing::error!(
                    "OpenCode's processes hang in the kernel; they die when it lets them go"
                );
            }
        }
        self.judge(end, &console, &server.hearing).await
    }

    async fn judge(
        &self,
        end: End,
        console: &Console<'_>,
        hearing: &Hearing,
    ) -> Result<Result<AgentReport, HandlerError>, Died> {
        let died = |why: String| {
            let words = format!("{why}; {}", hearing.last_words());
            Err(Died(console.redactor().once(&words)))
        };
        match end {
            End::Interrupted(why) => Ok(Err(HandlerError::Interrupted(why))),
            End::Limited(hit) | End::Exit(_, Some(hit)) => Ok(Err(limited(&hit, console))),
            End::Told(Ok(ended)) => Ok(ended),
            End::Told(Err(CallError::Refused { what, status, said })) => {
                let message = format!("OpenCode's server refused to {what}: {status}: {said}");
                let message = console.redactor().once(&message);
                Ok(Err(if said.contains(CONFIG_INVALID) {
                    fail("OPENCODE_CONFIG", message)
                } else {
                    retry("OPENCODE_FAILED", message)
                }))
            }
            End::Exit(Err(lost), None) => Ok(Err(lose(&lost, console).await)),
            End::Exit(Ok(_), None) | End::Told(Err(CallError::Unreachable(_)))
                if console.is_over_limit() =>
            {
                Ok(Err(printed_too_much()))
            }
            End::Told(Err(CallError::Unreachable(why))) => died(why),
            End::Exit(Ok(exit), None) => died(format!("it ended with {exit}")),
        }
    }

    /// Ends the model's work, so that the conversation knows that it was ended; a leaving worker hands it over, and a paused
    /// run does so too, since whoever resumes it may be another worker.
    async fn wind_up(
        &self,
        client: &Client,
        console: &Console<'_>,
        why: Interruption,
        is_own: bool,
    ) {
        if why == Interruption::LeaseLost {
            console.mute();
            if is_own {
                return;
            }
        }
        let Some(session) = self.session() else {
            return;
        };
        let patience = if is_own {
            ABORT_PATIENCE
        } else {
            FOREIGN_ABORT_PATIENCE
        };
        let ended = async {
            client.abort(&session).await?;
            if why == Interruption::LeaseLost {
                return Ok(());
            }
            self.settle(client, &session).await
        };
        if !matches!(timeout(patience, ended).await, Ok(Ok(()))) {
            let job = self.task.job;
            tracing::warn!(%job, session, "OpenCode did not end a session, and say what it used, in time");
        }
        if matches!(why, Interruption::Drain | Interruption::Pause) {
            let given = handover::give(self, client, console, &session);
            if timeout(HANDOVER_PATIENCE, given).await.is_err() {
                tracing::warn!(job = %self.task.job, "a conversation could not be handed over in time");
            }
        }
    }

    /// Counts what was answered while the run was told to end: its events may not have come by then.
    async fn settle(&self, client: &Client, session: &str) -> Called<()> {
        self.note_messages(client, session).await?;
        self.align();
        let progress = self.spending().progress();
        self.context.progress(progress).await;
        Ok(())
    }

    /// What a conversation used, and those that it opened for parts of its work: what these used counted when they used it,
    /// and counts on, since an account that shrinks would be taken for a new one. Returns its messages.
    pub(super) async fn note_messages(
        &self,
        client: &Client,
        session: &str,
    ) -> Called<Vec<Message>> {
        let messages = client.messages(session).await?;
        self.spending().note_all(&messages);
        let mut open = vec![session.to_owned()];
        while let Some(parent) = open.pop() {
            for child in client.children(&parent).await? {
                let messages = client.messages(&child.id).await?;
                self.spending().note_all(&messages);
                open.push(child.id);
            }
        }
        Ok(messages)
    }

    /// Once the conversation's messages are known, or it is known that there are none.
    pub(super) fn align(&self) {
        self.spending().align(self.task.account, self.task.round);
    }

    pub(super) fn spending(&self) -> MutexGuard<'_, Spending> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_taken_over(&self) -> bool {
        self.taken_over.load(Ordering::Relaxed)
    }

    pub(super) fn session(&self) -> Option<String> {
        let session = self.session.lock();
        session.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_session(&self, id: &str) {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        *session = Some(id.to_owned());
    }
}

/// How the run's own server ended; another one's end is not known.
async fn ended(own: Option<&mut Own>) -> (Result<Exit, RunLost>, Option<LimitHit>) {
    match own {
        Some(own) => (own.guard.wait().await, own.guard.hit()),
        None => std::future::pending().await,
    }
}
