//! How a conversation begins, or goes on where an earlier run left it.

use std::fmt::Write as _;
use std::path::Path;

use application::ports::HandlerError;

use super::call::{CallError, Called};
use super::client::Session;
use super::conversation::Conversation;
use super::handover;
use crate::failure::fail;

const MODELS_NAMED: usize = 20;

/// What the model is told first.
pub(super) struct Opening {
    pub prompt: String,
    /// It was said before, in an earlier run or to a server that died.
    pub goes_on: bool,
}

impl Conversation<'_> {
    /// A model that is not there is an event at best, so it is asked for first.
    pub(super) async fn check_model(&self) -> Called<Result<(), HandlerError>> {
        let run = self.run;
        let wanted = run.spec.model.as_ref().or(run.config.model.as_ref());
        let known = self.client.models().await?;
        let Some(wanted) = wanted else {
            return Ok(Ok(()));
        };
        if known.contains(wanted) {
            return Ok(Ok(()));
        }
        let named: Vec<&str> = known
            .iter()
            .take(MODELS_NAMED)
            .map(String::as_str)
            .collect();
        let named = if named.is_empty() {
            "none".to_owned()
        } else {
            named.join(", ")
        };
        Ok(Err(fail(
            "MODEL_UNKNOWN",
            format!("the worker's OpenCode does not know the model {wanted}; it knows {named}"),
        )))
    }

    /// Opens a session, or finds the one that an earlier run left.
    pub(super) async fn open(&mut self) -> Called<Opening> {
        if let Some(id) = self.run.session() {
            if let Some(opening) = self.find(&id).await? {
                return Ok(opening);
            }
            let line =
                format!("OpenCode does not know session {id} on this worker; it begins anew");
            self.console.say(&line).await;
            self.run.spending().begin_anew();
        }
        self.run.align();
        let task = self.run.task;
        let rules = self.answers.together();
        let session = self.client.create_session(&task.title, &rules).await?;
        self.session = session.id;
        self.run.set_session(&self.session);
        handover::note(self.console.context(), &self.session).await;
        Ok(Opening {
            prompt: self.begin(),
            goes_on: false,
        })
    }

    /// `None` when the server does not have it, or cannot go on with it here.
    async fn find(&mut self, id: &str) -> Called<Option<Opening>> {
        let task = self.run.task;
        let Some(session) = self.client.session(id).await? else {
            return Ok(None);
        };
        if self.run.agent.servers.is_some() {
            self.end_what_goes_on(&session).await?;
        }
        let moved = session.directory != task.directory.to_string_lossy();
        if moved {
            match self.client.move_here(id, &task.directory).await {
                Ok(()) => {}
                Err(error @ CallError::Refused { .. }) => {
                    tracing::warn!(job = %task.job, %error, "a conversation could not be moved");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        // Whoever tightened them meant those who work already too.
        let rules = self.answers.together();
        if !session.permission.ends_with(&rules) {
            self.client.add_rules(id, &rules).await?;
        }
        self.session = session.id;
        let messages = self.run.note_messages(self.client, &self.session).await?;
        self.run.align();
        self.before = messages.len();
        let goes_on = self.before > 0;
        let prompt = if goes_on {
            // One that was taken over names this folder, and never worked in it.
            self.go_on(moved || self.run.is_taken_over())
        } else {
            self.begin()
        };
        Ok(Some(Opening { prompt, goes_on }))
    }

    /// A server that outlived the last run's worker is still at it, in the folder of that run.
    async fn end_what_goes_on(&self, session: &Session) -> Called<()> {
        let there = self.client.at(Path::new(&session.directory));
        match there.abort(&session.id).await {
            // It may not want to know a folder that is gone; then nothing goes on there.
            Err(CallError::Refused { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a model is told first.
    fn begin(&self) -> String {
        let task = self.run.task;
        let mut words = task.prompt.clone();
        if let Some(schema) = &task.output_schema {
            let _ = write!(
                words,
                "\n\nWhen all is done, end your last message with a block of JSON, begun by ```json, that fits this JSON \
                 schema:\n\n{schema}"
            );
        }
        if let Some(feedback) = &task.feedback {
            let _ = write!(words, "\n\n{feedback}");
        }
        words
    }

    /// What a model is told whose run was cut off, or whose work is found to lack something.
    fn go_on(&self, moved: bool) -> String {
        let task = self.run.task;
        let as_left = || {
            format!(
                "You were interrupted; the files are as you left them. Look at what is done, go on, and complete the \
                 task:\n\n{}",
                self.begin()
            )
        };
        if self.interrupted {
            return as_left();
        }
        if let Some(feedback) = &task.feedback {
            return feedback.clone();
        }
        if task.restored {
            return format!(
                "You were paused, and now work in the folder {}, which holds what you had changed; paths from before are \
                 gone. Look at what is done, go on, and complete the task:\n\n{}",
                task.directory.display(),
                self.begin()
            );
        }
        if !moved {
            return as_left();
        }
        format!(
            "You were interrupted, and now work in another folder, {}. Changes that you made before may not be in it, \
             and paths from before are gone. Look at what is there, go on, and complete the task:\n\n{}",
            task.directory.display(),
            self.begin()
        )
    }
}
