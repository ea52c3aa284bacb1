//! The loop: steps, reports, checkpoints, and the model's file at the end.

use std::fs;
use std::io;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Problem;
use super::dataset::Examples;
use super::model::Model;
use super::spec::JobFile;

/// About how many progress lines a training has.
const REPORTS: u64 = 100;
/// The format of the model's file, for its readers.
const FORMAT: &str = "orchestrator-reference-lm/1";
const FILE: &str = "model.json";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The model is there.
    Finished,
    /// Asked to leave; the last message is a checkpoint.
    Left,
}

/// Trains to the end, or until `leave` says so. `say` takes the messages of the protocol.
pub(super) fn train(
    job: &JobFile,
    data: &Examples,
    say: &mut dyn FnMut(&Value) -> io::Result<()>,
    leave: &dyn Fn() -> bool,
) -> Result<End, Problem> {
    let settings = job.settings;
    let (mut model, from) = job.start()?;
    let every = (settings.steps / REPORTS).max(1);
    say(&json!({"type": "start", "total_steps": settings.steps}))?;
    let (mut sum, mut count) = (0.0, 0.0);
    for step in from..settings.steps {
        if leave() {
            say(&checkpoint(&model, settings.seed, step))?;
            return Ok(End::Left);
        }
        let (batch, rate, seed) = (settings.batch, settings.learning_rate, settings.seed);
        sum += model.step(&data.training, batch, rate, seed, step);
        count += 1.0;
        let done = step + 1;
        if done == 1 || done % every == 0 || done == settings.steps {
            let loss = sum / count;
            say(
                &json!({"type": "progress", "step": done, "total_steps": settings.steps, "loss": loss}),
            )?;
            (sum, count) = (0.0, 0.0);
        }
        if done % settings.checkpoint_every() == 0 && done < settings.steps {
            say(&checkpoint(&model, seed, done))?;
        }
    }
    say(&json!({"type": "eval", "loss": model.evaluate(&data.evaluation)}))?;
    say(&write(job, &model)?)?;
    Ok(End::Finished)
}

fn checkpoint(model: &Model, seed: u64, step: u64) -> Value {
    json!({"type": "checkpoint", "step": step, "state": {"seed": seed, "parameters": model.to_hex()}})
}

/// Writes the model's file and returns the message that claims it.
fn write(job: &JobFile, model: &Model) -> Result<Value, Problem> {
    let file = json!({
        "format": FORMAT,
        "name": job.target_model_name,
        "base_model": job.base_model,
        "seed": job.settings.seed,
        "steps": job.settings.steps,
        "parameters": model.to_hex(),
    });
    let bytes = file.to_string().into_bytes();
    let path = job.output_dir.join(FILE);
    fs::write(&path, &bytes)
        .map_err(|error| Problem(format!("{} cannot be written: {error}", path.display())))?;
    Ok(json!({
        "type": "done",
        "artifact": FILE,
        "sha256": hex::encode(Sha256::digest(&bytes)),
        "bytes": bytes.len(),
    }))
}
