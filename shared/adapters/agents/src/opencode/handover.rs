//! What of a conversation stands in the job's checkpoint: its name, and, when a worker leaves in order, all that was said, so
//! that a worker on another machine can go on with it.
//!
//! Without secrets, as a log has it. What a killed worker knew is on its own machine alone: there the job's folder has the
//! conversation, anywhere else it begins anew.

use std::ffi::OsString;
use std::pin::pin;
use std::time::Duration;

use application::ports::{HandlerError, RunContext};
use domain::LogStream;
use serde_json::{Value, json};
use tokio::io::AsyncRead;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::call::Called;
use super::client::Client;
use super::program;
use super::run::Run;
use crate::guard::{Exit, Started};
use crate::output::{Console, Redactor};
use crate::private::PrivateFolder;
use crate::supervise::KILL_PATIENCE;

/// The member of a checkpoint that names the conversation.
const SESSION: &str = "opencode_session";
/// The member that has it.
const EXPORT: &str = "opencode_export";
/// The member that says which attempt gave it.
const GIVEN_BY: &str = "opencode_given_by";
/// It lies in the store, with each of the job's last checkpoints.
const EXPORT_BYTES: usize = 1024 * 1024;
/// It takes three seconds on a machine that is not busy.
const IMPORT_PATIENCE: Duration = Duration::from_mins(1);

/// The conversation that the last run left.
pub(super) fn session_of(checkpoint: Option<&Value>) -> Option<String> {
    Some(checkpoint?.get(SESSION)?.as_str()?.to_owned())
}

/// Says where a later run on this worker goes on.
pub(super) async fn note(context: &dyn RunContext, session: &str) {
    context.checkpoint(json!({SESSION: session})).await;
}

/// Puts the conversation into the checkpoint.
pub(super) async fn give(
    run: &Run<'_>,
    client: &Client,
    console: &Console<'_>,
    session: &str,
) -> Called<()> {
    let info = client.session_info(session).await?;
    let messages = client.messages(session).await?;
    let mut export = json!({"info": info, "messages": messages});
    clean(&mut export, console.redactor());
    let bytes = export.to_string().len();
    if bytes > EXPORT_BYTES {
        let line = format!(
            "the conversation has {bytes} bytes, more than {EXPORT_BYTES}, and is not handed over: a worker on another \
             machine begins anew"
        );
        console.say(&line).await;
        return Ok(());
    }
    let attempt = run.task.attempt;
    let checkpoint = json!({SESSION: session, EXPORT: export, GIVEN_BY: attempt});
    console.context().checkpoint(checkpoint).await;
    run.folder.note_handover(attempt);
    Ok(())
}

/// Without secrets, and without what a store cannot keep.
fn clean(value: &mut Value, redactor: &Redactor) {
    match value {
        Value::String(text) => *text = redactor.once(&text.replace('\0', "\u{fffd}")),
        Value::Array(items) => items.iter_mut().for_each(|item| clean(item, redactor)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| clean(member, redactor)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Takes in what another worker handed over, unless what a run of the job left here comes from that handover and may be
/// more. A conversation that cannot be taken in begins anew. Returns whether there was one and it was taken in.
pub(super) async fn take(run: &Run<'_>) -> Result<bool, HandlerError> {
    let checkpoint = run.task.checkpoint.as_ref();
    let Some(export) = checkpoint.and_then(|it| it.get(EXPORT)) else {
        return Ok(false);
    };
    let given_by = checkpoint.and_then(|it| it.get(GIVEN_BY)?.as_u64());
    let given_by = given_by.and_then(|attempt| u32::try_from(attempt).ok());
    if !run.folder.is_new {
        if run.folder.handover == given_by {
            return Ok(false);
        }
        // It went on elsewhere since.
        run.folder.clear()?;
    }
    let private = PrivateFolder::beside(&run.task.directory);
    private.create()?;
    let file = private.write("conversation.json", export.to_string().as_bytes())?;
    let arguments = vec![OsString::from("import"), file.into()];
    let started = program::start(run, arguments, None).await?;
    let words = match ended(run, started).await? {
        Some(Exit::Code(0)) => {
            if let Some(attempt) = given_by {
                run.folder.note_handover(attempt);
            }
            return Ok(true);
        }
        Some(exit) => format!("it ended with {exit}"),
        None => "it did not end in time".to_owned(),
    };
    let line = format!("OpenCode could not take in the conversation of another worker: {words}\n");
    run.context.log(LogStream::System, &line).await;
    Ok(false)
}

/// When this returns, the program is dead. `None` when it was killed for its time, or with its guard.
async fn ended(run: &Run<'_>, started: Started) -> Result<Option<Exit>, HandlerError> {
    let Started {
        stdout,
        stderr,
        control,
        mut guard,
    } = started;
    let mut beside = JoinSet::new();
    let alive = control.clone().keep_alive();
    beside.spawn(async move {
        alive.await;
    });
    beside.spawn(drain(stdout));
    beside.spawn(drain(stderr));
    let mut exit = pin!(guard.wait());
    let interrupted = tokio::select! {
        exit = timeout(IMPORT_PATIENCE, &mut exit) => match exit {
            Ok(exit) => return Ok(exit.ok()),
            Err(_) => None,
        },
        why = run.context.interrupted() => Some(why),
    };
    control.kill();
    if timeout(KILL_PATIENCE, &mut exit).await.is_err() {
        tracing::error!("OpenCode's processes hang in the kernel; they die when it lets them go");
    }
    interrupted.map_or(Ok(None), |why| Err(HandlerError::Interrupted(why)))
}

/// What it says is said again by its exit.
async fn drain(mut reader: impl AsyncRead + Unpin) {
    let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_has_no_secrets() {
        let redactor = Redactor::new(["the-provider-key".to_owned()]);
        let mut export =
            json!({"messages": [{"parts": [{"text": "with the-provider-key\0"}], "n": 1}]});
        clean(&mut export, &redactor);
        let text = "with [redacted]\u{fffd}";
        assert_eq!(
            export,
            json!({"messages": [{"parts": [{"text": text}], "n": 1}]})
        );
    }

    #[test]
    fn a_checkpoint_of_something_else_names_no_conversation() {
        assert_eq!(session_of(None), None);
        assert_eq!(session_of(Some(&json!({"step": 3}))), None);
        let found = session_of(Some(&json!({SESSION: "ses_1"})));
        assert_eq!(found.as_deref(), Some("ses_1"));
    }
}
