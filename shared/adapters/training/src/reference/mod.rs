//! The reference trainer: fits a small language model over bytes to a JSONL file, on one CPU core.
//!
//! It exists so that the whole way of a training job can be seen to work without a GPU or an account, and as an example of
//! the protocol. The model is real, its loss falls, and the same seed gives the same file, also when the training was
//! interrupted and went on from a checkpoint. It is not meant to be useful as a model: `base_model` is recorded, and
//! every training starts from scratch.
//!
//! Parameters: `steps` (200), `batch` (32), `learning_rate` (0.5), `seed` (0), `checkpoint_every` (a tenth of the
//! steps). On SIGTERM it gives a checkpoint and ends with exit code 75.

mod dataset;
mod model;
mod spec;
mod trainer;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use serde_json::{Value, json};

use spec::JobFile;
use trainer::{End, train};

/// Left with a checkpoint.
const TRY_AGAIN: u8 = 75;

/// Why there is no model, in words for the person who started the training.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Problem(String);

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The trainer itself; `args`: `--spec FILE`. Call it before any thread is started, so that SIGTERM reaches it.
pub fn main(args: &[OsString]) -> ExitCode {
    let [flag, path] = args else {
        return usage();
    };
    if flag != "--spec" {
        return usage();
    }
    let ended = watch_for_sigterm().and_then(|leave| run(Path::new(path), &leave));
    match ended {
        Ok(End::Finished) => ExitCode::SUCCESS,
        Ok(End::Left) => ExitCode::from(TRY_AGAIN),
        Err(problem) => {
            // With nobody listening there is nobody to tell.
            let _ = say(&json!({"type": "error", "message": problem.0, "retry": false}));
            ExitCode::FAILURE
        }
    }
}

fn run(spec: &Path, leave: &AtomicBool) -> Result<End, Problem> {
    let text = std::fs::read(spec)
        .map_err(|error| Problem(format!("{} cannot be read: {error}", spec.display())))?;
    let job = JobFile::parse(&text)?;
    let data = dataset::read(&job.dataset.path)?;
    train(&job, &data, &mut say, &|| leave.load(Ordering::Relaxed))
}

/// True from the first SIGTERM on.
fn watch_for_sigterm() -> Result<Arc<AtomicBool>, Problem> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals
        .thread_block()
        .map_err(|error| Problem(error.to_string()))?;
    let leave = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&leave);
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            seen.store(true, Ordering::Relaxed);
        }
    });
    Ok(leave)
}

/// One line of the protocol.
fn say(message: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()
}

fn usage() -> ExitCode {
    let _ = writeln!(std::io::stderr(), "usage: --spec FILE");
    ExitCode::from(2)
}
