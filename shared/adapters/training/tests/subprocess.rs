//! Trainings as the provider sees them: true ones, lying ones, and those that are interrupted.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test does"
)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapter_agents::Environment;
use adapter_agents::guard::GuardCommand;
use adapter_agents::output::OutputLimits;
use adapter_agents::workspace::Roots;
use adapter_training::SubprocessTrainer;
use application::ports::{
    HandlerError, Interruption, TrainingProvider, TrainingReport, TrainingTask,
};
use application::testing::run_context::RecordingContext;
use domain::{Dataset, JobError, JobId, LogStream, TenantId, TrainingProviderKind, TrainingSpec};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use uuid::Uuid;

const HELPER: &str = env!("CARGO_BIN_EXE_training-test-helper");

/// A dataset below a root, and trainings on it.
struct Place {
    folder: TempDir,
    trainer: Vec<OsString>,
}

impl Place {
    fn with_reference_trainer() -> Self {
        Self::with_trainer(vec![HELPER.into(), "reference-trainer".into()])
    }

    /// A trainer that is a shell line; `$2` is the job's file.
    fn with_line(line: &str) -> Self {
        Self::with_trainer(["/bin/sh", "-c", line, "sh"].map(OsString::from).to_vec())
    }

    fn with_trainer(trainer: Vec<OsString>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        let place = Self { folder, trainer };
        let lines: Vec<String> = (0..40)
            .map(|at| json!({"text": format!("the cat {} sat on the mat", at % 7)}).to_string())
            .collect();
        fs::write(place.dataset(), lines.join("\n")).unwrap();
        place
    }

    fn dataset(&self) -> PathBuf {
        self.folder.path().join("root/data.jsonl")
    }

    fn run(&self, parameters: Value) -> Run<'_> {
        let number = fs::read_dir(self.folder.path()).unwrap().count();
        let directory = self.folder.path().join(format!("run-{number}/tree"));
        fs::create_dir_all(&directory).unwrap();
        let parameters: Map<String, Value> = serde_json::from_value(parameters).unwrap();
        Run {
            place: self,
            context: Arc::new(RecordingContext::default()),
            task: TrainingTask {
                tenant: TenantId::from_uuid(Uuid::from_u128(1)),
                job: new_job(),
                attempt: 1,
                spec: TrainingSpec {
                    base_model: "scratch".to_owned(),
                    target_model_name: "cats".to_owned(),
                    provider: TrainingProviderKind::Subprocess,
                    dataset: Dataset {
                        path: self.dataset().to_str().unwrap().to_owned(),
                    },
                    parameters,
                },
                directory,
                checkpoint: None,
            },
        }
    }
}

struct Run<'a> {
    place: &'a Place,
    context: Arc<RecordingContext>,
    task: TrainingTask,
}

impl Run<'_> {
    async fn end(&self) -> Result<TrainingReport, HandlerError> {
        let provider = SubprocessTrainer::new(
            GuardCommand::new(HELPER, &["guard"]),
            self.place.trainer.clone(),
            Environment::new(std::env::vars_os(), &[], &[]),
            Roots::new(vec![self.place.folder.path().join("root")]),
            OutputLimits::default(),
        );
        provider.run(self.task.clone(), self.context.clone()).await
    }

    async fn failure(&self) -> JobError {
        match self.end().await.unwrap_err() {
            HandlerError::Fail(error) => error,
            other => panic!("{other:?}"),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests need ids that no other run on the machine has"
)]
fn new_job() -> JobId {
    JobId::from_uuid(Uuid::now_v7())
}

#[tokio::test]
async fn a_training_makes_a_model_and_its_loss_falls() {
    let place = Place::with_reference_trainer();
    let run = place.run(json!({"steps": 120, "batch": 8, "seed": 3}));
    let result = run.end().await.unwrap().result;
    let (first, last) = (result.first_loss.unwrap(), result.last_loss.unwrap());
    assert!((first - 256_f64.ln()).abs() < 0.2, "{first}");
    assert!(last < first * 0.7, "{first} -> {last}");
    assert_eq!((result.steps, result.model_name.as_str()), (120, "cats"));
    let said = run.context.recorded();
    let (media_type, model) = &said.files["model.json"];
    assert_eq!(
        (media_type.as_str(), model.len() as u64),
        ("application/json", result.bytes)
    );
    let model: Value = serde_json::from_slice(model).unwrap();
    assert_eq!(
        (&model["name"], &model["steps"]),
        (&json!("cats"), &json!(120))
    );
    let end = said.progress.last().unwrap();
    assert_eq!(end.fraction, Some(1.0));
    assert!(end.data["eval_loss"].as_f64().unwrap() < first);
    assert!(said.progress.len() > 20);

    let again = place.run(json!({"steps": 120, "batch": 8, "seed": 3}));
    assert_eq!(again.end().await.unwrap().result.sha256, result.sha256);
    let other = place.run(json!({"steps": 120, "batch": 8, "seed": 4}));
    assert_ne!(other.end().await.unwrap().result.sha256, result.sha256);
}

#[tokio::test]
async fn an_interrupted_training_goes_on_where_it_was_and_ends_the_same() {
    let place = Place::with_reference_trainer();
    let parameters = json!({"steps": 1500, "batch": 8, "checkpoint_every": 100});
    let whole = place.run(parameters.clone());
    let whole = whole.end().await.unwrap().result;

    let first = place.run(parameters.clone());
    let story = async {
        first
            .context
            .wait_until(|said| !said.checkpoints.is_empty())
            .await;
        first.context.interrupt(Interruption::Drain);
    };
    let (ended, ()) = tokio::join!(first.end(), story);
    assert!(
        matches!(ended, Err(HandlerError::Interrupted(Interruption::Drain))),
        "{ended:?}"
    );
    let kept = first.context.recorded().checkpoints.pop().unwrap();
    let step = kept["step"].as_u64().unwrap();
    assert!((100..1500).contains(&step), "{step}");

    let mut second = place.run(parameters);
    second.task.checkpoint = Some(kept);
    let resumed = second.end().await.unwrap().result;
    assert_eq!(resumed.sha256, whole.sha256);
    assert_eq!(resumed.first_loss, whole.first_loss);
    assert_eq!(resumed.steps, 1500);
    let first_seen = second.context.recorded().progress[0].data["step"]
        .as_u64()
        .unwrap();
    assert!(first_seen > step, "it began anew");
}

#[tokio::test]
async fn a_bad_dataset_or_parameter_is_named() {
    let place = Place::with_reference_trainer();
    let unknown = place.run(json!({"stepz": 5})).failure().await;
    assert_eq!(unknown.code, "TRAINING_FAILED");
    assert!(unknown.message.contains("stepz"), "{unknown}");
    let none = place.run(json!({"steps": 0})).failure().await;
    assert!(none.message.contains("`parameters.steps` is 0"), "{none}");
    fs::write(place.dataset(), "{\"text\":\"a\"}\nnot json\n").unwrap();
    let broken = place.run(json!({})).failure().await;
    assert!(broken.message.contains("line 2"), "{broken}");
    assert_eq!(broken.exit_code, Some(1));
}

#[tokio::test]
async fn a_dataset_outside_the_roots_is_not_read() {
    let place = Place::with_reference_trainer();
    let secret = place.folder.path().join("secret.jsonl");
    fs::write(&secret, "{\"text\":\"secret\"}\n").unwrap();
    let link = place.folder.path().join("root/link.jsonl");
    symlink(&secret, &link).unwrap();
    for path in [&secret, &link] {
        let mut run = place.run(json!({}));
        run.task.spec.dataset.path = path.to_str().unwrap().to_owned();
        let error = run.failure().await;
        assert_eq!(error.code, "DATASET_OUTSIDE_ROOTS");
        assert!(error.message.contains("ORCHESTRATOR_ROOTS"), "{error}");
    }
    for missing in ["root/none.jsonl", "root"] {
        let mut run = place.run(json!({}));
        let path = place.folder.path().join(missing);
        run.task.spec.dataset.path = path.to_str().unwrap().to_owned();
        assert_eq!(run.failure().await.code, "DATASET_MISSING");
    }
}

/// Shell that writes a model and claims what is asked for.
fn claim(artifact: &str, sha256: &str, bytes: &str) -> String {
    format!(
        r#"printf model > model.bin
        sum=$(sha256sum model.bin | cut -d' ' -f1)
        echo "{{\"type\":\"done\",\"artifact\":\"{artifact}\",\"sha256\":\"{sha256}\",\"bytes\":{bytes}}}""#
    )
}

#[tokio::test]
async fn a_true_claim_is_believed_and_a_false_one_is_not() {
    let place = Place::with_line(&claim("model.bin", "$sum", "5"));
    let run = place.run(json!({}));
    let result = run.end().await.unwrap().result;
    assert_eq!(result.bytes, 5);
    assert_eq!(run.context.recorded().files["model.bin"].1, b"model");

    let zeros = "0".repeat(64);
    for (line, reason) in [
        (claim("model.bin", &zeros, "5"), "SHA-256"),
        (claim("model.bin", "$sum", "6"), "5 bytes, not 6"),
        (claim("other.bin", "$sum", "5"), "no such file"),
        (claim("../../root/data.jsonl", "$sum", "5"), "outside"),
        (claim("/etc/hostname", "$sum", "5"), "not a relative path"),
    ] {
        let place = Place::with_line(&line);
        let run = place.run(json!({}));
        let error = run.failure().await;
        assert_eq!(error.code, "TRAINING_ARTIFACT");
        assert!(error.message.contains(reason), "{reason}: {error}");
        assert!(run.context.recorded().files.is_empty());
    }
}

#[tokio::test]
async fn the_end_of_a_trainer_is_judged() {
    let done = claim("model.bin", "$sum", "5");
    for (line, code) in [
        ("exit 0".to_owned(), "TRAINING_INCOMPLETE"),
        (format!("{done}; exit 3"), "TRAINING_FAILED"),
        (format!("{done}; kill -KILL $$"), "TRAINING_KILLED"),
        (
            "echo '{\"type\":\"error\",\"message\":\"no GPU\"}'".to_owned(),
            "TRAINING_FAILED",
        ),
    ] {
        let place = Place::with_line(&line);
        assert_eq!(place.run(json!({})).failure().await.code, code, "{line}");
    }
    for line in [
        "exit 75",
        "echo '{\"type\":\"error\",\"message\":\"busy\",\"retry\":true}'; exit 1",
    ] {
        let place = Place::with_line(line);
        let ended = place.run(json!({})).end().await;
        assert!(
            matches!(ended, Err(HandlerError::Retry(_))),
            "{line}: {ended:?}"
        );
    }
    let missing = Place::with_trainer(vec!["no-such-trainer".into()]);
    assert_eq!(
        missing.run(json!({})).failure().await.code,
        "TRAINER_NOT_FOUND"
    );
}

#[tokio::test]
async fn other_lines_are_logged_and_checkpoint_files_outlive_the_folder() {
    let line = format!(
        r#"echo "loading weights"; echo "{{\"type\":\"unknown\"}}"; echo careful >&2
        echo "{{\"epoch\":2}}" > state.json
        echo "{{\"type\":\"checkpoint\",\"step\":4,\"path\":\"state.json\"}}"
        echo "{{\"type\":\"checkpoint\",\"step\":5,\"path\":\"/etc/hostname\"}}"
        {}"#,
        claim("model.bin", "$sum", "5")
    );
    let place = Place::with_line(&line);
    let run = place.run(json!({}));
    run.end().await.unwrap();
    let said = run.context.recorded();
    assert_eq!(
        said.text(LogStream::Stdout),
        "loading weights\n{\"type\":\"unknown\"}\n"
    );
    assert_eq!(said.text(LogStream::Stderr), "careful\n");
    assert_eq!(said.checkpoints.len(), 1);
    assert_eq!(said.checkpoints[0]["state"], json!({"epoch": 2}));
    assert!(
        said.text(LogStream::System)
            .contains("a checkpoint was not kept")
    );
}

#[tokio::test]
async fn the_job_file_says_what_is_asked() {
    let place = Place::with_line(&format!(
        "cp \"$2\" job.json; {}",
        claim("job.json", "x", "1")
    ));
    let mut run = place.run(json!({"steps": 9}));
    run.task.checkpoint = Some(json!({"step": 3, "state": {"a": 1}, "first_loss": 5.5}));
    assert_eq!(run.failure().await.code, "TRAINING_ARTIFACT");
    let job: Value =
        serde_json::from_slice(&fs::read(run.task.directory.join("job.json")).unwrap()).unwrap();
    let real = |path: &Path| json!(fs::canonicalize(path).unwrap());
    assert_eq!(
        job,
        json!({
            "job_id": run.task.job,
            "attempt": 1,
            "base_model": "scratch",
            "target_model_name": "cats",
            "dataset": {"path": real(&place.dataset())},
            "parameters": {"steps": 9},
            "output_dir": run.task.directory,
            "checkpoint": {"step": 3, "state": {"a": 1}},
        })
    );
}
