//! From the start of a guarded program to its end: by itself, by what it prints, or because it was told to.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use application::ports::{HandlerError, Interruption};
use domain::LogStream;
use futures::future::{Either, select};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failure::{fail, retry};
use crate::guard::{Control, Exit, Guard, LeftBehind, RunLost, StartError};
use crate::isolation::LimitHit;
use crate::output::Console;

/// The guard itself gives up on processes that hang in the kernel after five seconds.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(8);
/// A worker that was frozen learns in this time that its lease is over, which is then why the run ended.
const THAW_PATIENCE: Duration = Duration::from_secs(1);
/// When all is dead its pipes end at once; this is for a log that is slow to take the rest.
const STREAM_PATIENCE: Duration = Duration::from_mins(1);

/// Waits for the end. `streams` carries the program's output and ends with it. When this returns, the program and all
/// that it started are dead, whatever the result.
///
/// An interrupted run is asked to end and gets `grace` for it, but for a lost lease: then it is killed at once, and
/// nothing more of it is written.
pub async fn supervise(
    guard: &mut Guard,
    control: &Control,
    console: &Console<'_>,
    streams: impl Future<Output = ()>,
    grace: Duration,
) -> Result<Exit, HandlerError> {
    // A task of its own, so that nothing the run's task waits for silences a worker that is well. It ends with this
    // call.
    let mut alive = JoinSet::new();
    alive.spawn(control.clone().keep_alive());
    let watch = guard.watch();
    let mut work = pin!(async {
        let end = async {
            let exit = guard.wait().await;
            (exit, guard.hit(), guard.left_behind())
        };
        match select(pin!(end), pin!(streams)).await {
            Either::Left((exit, streams)) => {
                if timeout(STREAM_PATIENCE, streams).await.is_err() {
                    tracing::warn!("the rest of a run's output was given up");
                }
                exit
            }
            Either::Right(((), end)) => end.await,
        }
    });
    let ended = tokio::select! {
        exit = &mut work => return judge(exit, console).await,
        reason = console.context().interrupted() => Ok(reason),
        hit = watch.exceeded() => Err(hit),
    };
    let reason = match ended {
        Ok(reason) => reason,
        Err(hit) => {
            control.kill();
            let _ = timeout(KILL_PATIENCE, &mut work).await;
            return Err(limited(&hit, console));
        }
    };
    if reason == Interruption::LeaseLost {
        console.mute();
    } else {
        control.terminate();
        if timeout(grace, &mut work).await.is_ok() {
            return Err(HandlerError::Interrupted(reason));
        }
    }
    control.kill();
    if timeout(KILL_PATIENCE, &mut work).await.is_err() {
        tracing::error!("a run's processes hang in the kernel; they die when it lets them go");
    }
    Err(HandlerError::Interrupted(reason))
}

/// What it means that a run used more than it may.
pub(crate) fn limited(hit: &LimitHit, console: &Console<'_>) -> HandlerError {
    hit.error(&console.last_lines(LogStream::Stderr).join("\n"))
}

async fn judge(
    (exit, hit, behind): (Result<Exit, RunLost>, Option<LimitHit>, LeftBehind),
    console: &Console<'_>,
) -> Result<Exit, HandlerError> {
    if console.is_over_limit() {
        return Err(fail(
            "OUTPUT_LIMIT",
            format!(
                "the run printed more than {} bytes and was killed; let it print less, or into a file",
                console.limits().killed_bytes
            ),
        ));
    }
    if let Some(hit) = hit {
        return Err(limited(&hit, console));
    }
    match exit {
        Ok(exit) => {
            if behind.number > 0 {
                console.say(&behind.to_string()).await;
            }
            Ok(exit)
        }
        Err(lost) => Err(lose(&lost, console).await),
    }
}

/// What it means that a run did not come to an end of its own.
pub(crate) async fn lose(lost: &RunLost, console: &Console<'_>) -> HandlerError {
    let code = match lost {
        RunLost::Guard => "GUARD_LOST",
        RunLost::Worker => {
            let interrupted = console.context().interrupted();
            if let Ok(reason) = timeout(THAW_PATIENCE, interrupted).await {
                return HandlerError::Interrupted(reason);
            }
            "WORKER_FROZEN"
        }
    };
    retry(code, format!("{lost}; all that the run started was killed"))
}

/// Why a program could not be started, in words. `codes`: of a program that is not there, and of any other refusal.
pub fn refused(error: &StartError, program: &str, codes: (&str, &str)) -> HandlerError {
    use std::io::ErrorKind;
    let (not_found, other) = codes;
    match error {
        StartError::Refused(error) => match error.kind() {
            ErrorKind::NotFound => fail(
                not_found,
                format!(
                    "`{program}` was not found on the worker, or its interpreter was not; install it there or correct the name"
                ),
            ),
            ErrorKind::PermissionDenied if program.contains('/') => fail(
                other,
                format!(
                    "`{program}` may not be executed: {error}; is it a program, and executable?"
                ),
            ),
            ErrorKind::PermissionDenied => fail(
                other,
                format!(
                    "`{program}` was not found where the worker may look: {error} for a folder of its PATH, or for the program itself"
                ),
            ),
            ErrorKind::ArgumentListTooLong => fail(
                other,
                format!(
                    "`{program}` could not be started: its arguments are too long for the system; hand long text over in a file"
                ),
            ),
            _ => fail(other, format!("`{program}` could not be started: {error}")),
        },
        StartError::Guard(error) => {
            retry(other, format!("`{program}` could not be started: {error}"))
        }
    }
}
