//! `session run`

use std::path::{Path, PathBuf};

use domain::Labels;
use serde_json::{Map, Value, json};

use super::{demands, follow};
use crate::cli::{AgentChoice, RunArgs, WorkArgs};
use crate::client::types::Job;
use crate::commands::connect;
use crate::config::Loader;
use crate::exit::{Exit, UsageError};
use crate::output::{self, Format};

/// A title that is made of a command line is cut here.
const TITLE_CHARS: usize = 80;

pub async fn run(args: RunArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let body = body(&args)?;
    let client = connect::client(&args.connection, loader)?;
    let document: Value = client.post("sessions", &body).await?;
    let job: Job = serde_json::from_value(document.clone())?;
    if args.detach {
        match args.output {
            Format::Table => output::line(job.id)?,
            Format::Json => output::json(&document)?,
        }
        return Ok(Exit::Ok);
    }
    output::say(format_args!(
        "session {}, {}. Ctrl-C ends the following, not the session.",
        job.id, job.status
    ));
    follow::to_the_end(&client, job.id, args.output).await
}

fn body(args: &RunArgs) -> Result<Value, UsageError> {
    let mut body = work(&args.work)?;
    body.extend(when(args));
    Ok(body.into())
}

/// What it does: the fields that a schedule's sessions have too.
pub fn work(args: &WorkArgs) -> Result<Map<String, Value>, UsageError> {
    let routed = !args.capabilities.is_empty();
    let mut body = Map::new();
    body.insert("title".to_owned(), title(args).into());
    if routed {
        body.extend(handed(args));
    } else {
        body.insert("agent".to_owned(), agent(args)?);
    }
    let mut set = |name: &str, value: Option<Value>| {
        body.extend(value.map(|value| (name.to_owned(), value)));
    };
    set(
        "prompt",
        (!args.prompt.is_empty()).then(|| args.prompt.clone().into()),
    );
    set("capabilities", routed.then(|| json!(args.capabilities)));
    set("min_tier", args.min_tier.map(Value::from));
    set("preferred_agent", args.prefer.as_deref().map(Value::from));
    set(
        "priority",
        args.priority.map(|priority| priority.as_str().into()),
    );
    set("max_duration_seconds", args.max_duration.map(Value::from));
    set("max_attempts", args.max_attempts.map(Value::from));
    set(
        "tags",
        (!args.tags.is_empty()).then(|| args.tags.clone().into()),
    );
    set(
        "keep",
        (!args.keep.is_empty()).then(|| args.keep.clone().into()),
    );
    if let Some(path) = &args.repo {
        let path = absolute(path)?;
        let reference = args.reference.as_deref().unwrap_or("HEAD");
        let mut repository = json!({"path": path, "ref": reference});
        if args.exclusive {
            repository["exclusive"] = true.into();
        }
        set("repository", Some(repository));
    }
    let mut requires = Labels::default();
    for (key, value) in args.require.iter().flat_map(|labels| &labels.0) {
        requires
            .add(key.clone(), value.clone())
            .map_err(|error| UsageError(format!("--require: {error}")))?;
    }
    if !requires.is_empty() {
        body.insert("requires".to_owned(), json!(requires));
    }
    body.extend(demands::fields(&args.demands)?);
    Ok(body)
}

/// What decides when it runs.
fn when(args: &RunArgs) -> Map<String, Value> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        body.extend(value.map(|value| (name.to_owned(), value)));
    };
    set(
        "depends_on",
        (!args.after.is_empty()).then(|| json!(args.after)),
    );
    set(
        "if_prerequisite_fails",
        args.if_prerequisite_fails.map(|rule| json!(rule)),
    );
    set("run_after", args.run_after.map(|at| json!(at)));
    set("deadline", args.deadline.map(|at| json!(at)));
    body
}

fn agent(args: &WorkArgs) -> Result<Value, UsageError> {
    let has_command = args.run.is_some() || !args.argv.is_empty();
    let is_model_chosen =
        args.model.is_some() || args.providers.is_some() || !args.permissions.is_empty();
    if is_model_chosen && args.agent != Some(AgentChoice::OpenCode) {
        let message = "--model, --providers and --permission are for the agent `opencode`; say --agent opencode too";
        return Err(UsageError(message.to_owned()));
    }
    let is_handed = args.agent_name.is_some() || !handed(args).is_empty();
    if args.agent != Some(AgentChoice::Eap) && is_handed {
        let message = "--agent-name, --file, --task-type and --input-data are for external agents; say --agent eap too";
        return Err(UsageError(message.to_owned()));
    }
    match (args.agent, &args.run) {
        (Some(AgentChoice::Eap), _) => eap(args, has_command),
        (Some(AgentChoice::Command), _) if !has_command => Err(UsageError(
            "the agent `command` needs a command: --run 'LINE', or -- PROGRAM ARGUMENTS".to_owned(),
        )),
        (Some(AgentChoice::Echo), _) if has_command => Err(UsageError(
            "the agent `echo` runs no command; leave --agent out to run it".to_owned(),
        )),
        (Some(AgentChoice::OpenCode), _) if has_command => Err(UsageError(
            "the agent `opencode` runs no command; say what it is to do with --prompt".to_owned(),
        )),
        (Some(AgentChoice::OpenCode), _) if args.prompt.trim().is_empty() => Err(UsageError(
            "the agent `opencode` needs to know what to do: --prompt 'TEXT'".to_owned(),
        )),
        (Some(AgentChoice::OpenCode), _) => {
            let mut agent = json!({"kind": "opencode"});
            if let Some(model) = &args.model {
                agent["model"] = model.as_str().into();
            }
            if let Some(name) = &args.providers {
                agent["providers"] = name.as_str().into();
            }
            if !args.permissions.is_empty() {
                agent["permissions"] = json!(args.permissions);
            }
            Ok(agent)
        }
        (_, Some(line)) => Ok(json!({"kind": "command", "run": line})),
        (_, None) if has_command => Ok(json!({"kind": "command", "argv": args.argv})),
        _ => Ok(json!({"kind": "echo"})),
    }
}

fn eap(args: &WorkArgs, has_command: bool) -> Result<Value, UsageError> {
    if has_command {
        let message = "an external agent runs no command; say what it is to do with --prompt";
        return Err(UsageError(message.to_owned()));
    }
    let Some(name) = &args.agent_name else {
        let message =
            "which external agent? --agent-name NAME, as the workers' configuration has it";
        return Err(UsageError(message.to_owned()));
    };
    let mut agent = handed(args);
    agent.insert("kind".to_owned(), "eap".into());
    agent.insert("name".to_owned(), name.as_str().into());
    Ok(agent.into())
}

/// What an agent that works elsewhere is handed beside the prompt.
fn handed(args: &WorkArgs) -> Map<String, Value> {
    let fields = [
        ("files", (!args.files.is_empty()).then(|| json!(args.files))),
        ("task_type", args.task_type.as_deref().map(Value::from)),
        ("input_data", args.input_data.clone().map(Value::from)),
    ];
    let given = fields.into_iter();
    given
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// What was said, or else what it does.
fn title(args: &WorkArgs) -> String {
    if let Some(title) = &args.title {
        return title.clone();
    }
    let source = match &args.run {
        Some(line) => line.clone(),
        None if !args.argv.is_empty() => args.argv.join(" "),
        None if args.prompt.trim().is_empty() => args.capabilities.join(", "),
        None => args.prompt.clone(),
    };
    let line: String = source
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("session")
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    if line.chars().count() <= TITLE_CHARS {
        return line;
    }
    let start: String = line.chars().take(TITLE_CHARS - 3).collect();
    format!("{start}...")
}

/// The workers need an absolute path. One that is not here may still be there.
fn absolute(path: &Path) -> Result<PathBuf, UsageError> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) if path.is_absolute() => Ok(path.to_owned()),
        Err(error) => Err(UsageError(format!(
            "the repository {} cannot be found: {error}",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command, SessionCommand};

    fn parsed(words: &[&str]) -> RunArgs {
        let start = ["orchestrator", "session", "run"];
        let cli = Cli::parse_from(start.iter().chain(words));
        match cli.command {
            Command::Session(SessionCommand::Run(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_was_said_is_sent() {
        let body = body(&parsed(&["--run", "make test"])).unwrap();
        let expected = json!({
            "title": "make test", "agent": {"kind": "command", "run": "make test"}
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn everything_that_was_said_is_sent() {
        let words = [
            "--title",
            "t",
            "--prompt",
            "p",
            "--priority",
            "high",
            "--max-duration",
            "60",
            "--max-attempts",
            "2",
            "--tag",
            "a",
            "--tag",
            "b",
            "--keep",
            "R.txt",
            "--repo",
            "/",
            "--ref",
            "main",
            "--exclusive",
            "--after",
            "0198c5a2-7e1b-7cc0-8000-0123456789ab",
            "--if-prerequisite-fails",
            "skip",
            "--require",
            "gpu=h100",
            "--require",
            "region=eu",
            "--run-after",
            "2026-12-24T18:00:00Z",
            "--deadline",
            "2026-12-25T18:00:00Z",
            "--",
            "cargo",
            "test",
            "--all",
        ];
        let expected = json!({
            "title": "t", "prompt": "p", "priority": "high", "max_duration_seconds": 60,
            "max_attempts": 2, "tags": ["a", "b"], "keep": ["R.txt"],
            "agent": {"kind": "command", "argv": ["cargo", "test", "--all"]},
            "repository": {"path": "/", "ref": "main", "exclusive": true},
            "depends_on": ["0198c5a2-7e1b-7cc0-8000-0123456789ab"], "if_prerequisite_fails": "skip",
            "requires": {"gpu": "h100", "region": "eu"},
            "run_after": "2026-12-24T18:00:00Z", "deadline": "2026-12-25T18:00:00Z",
        });
        assert_eq!(body(&parsed(&words)).unwrap(), expected);
    }

    #[test]
    fn a_model_is_named_for_the_agent_that_uses_one() {
        let words = [
            "--agent",
            "opencode",
            "--model",
            "a/b",
            "--providers",
            "c",
            "--permission",
            "deny:bash",
            "--permission",
            "allow:bash:echo a:b",
            "--prompt",
            "fix it",
        ];
        let expected = json!({
            "title": "fix it", "prompt": "fix it",
            "agent": {"kind": "opencode", "model": "a/b", "providers": "c", "permissions": [
                {"action": "deny", "permission": "bash", "pattern": "*"},
                {"action": "allow", "permission": "bash", "pattern": "echo a:b"},
            ]}
        });
        assert_eq!(body(&parsed(&words)).unwrap(), expected);
    }

    #[test]
    fn an_external_agent_is_named() {
        let words = [
            "--agent",
            "eap",
            "--agent-name",
            "a",
            "--prompt",
            "p",
            "--repo",
            "/",
            "--file",
            "b/c",
            "--task-type",
            "review",
            "--input-data",
            r#"{"depth": 2}"#,
        ];
        let expected = json!({
            "kind": "eap", "name": "a", "files": ["b/c"], "task_type": "review", "input_data": {"depth": 2},
        });
        assert_eq!(body(&parsed(&words)).unwrap()["agent"], expected);
        let with_command = ["--agent", "eap", "--agent-name", "a", "--run", "x"];
        for wrong in [
            &["--agent", "eap"][..],
            &["--agent-name", "a"],
            &["--task-type", "a"],
            &["--input-data", "{}"],
            &with_command,
        ] {
            assert!(body(&parsed(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn capabilities_stand_instead_of_an_agent() {
        let words = [
            "--can",
            "testing,web",
            "--min-tier",
            "3",
            "--prefer",
            "tester",
            "--prompt",
            "test it",
            "--repo",
            "/",
            "--file",
            "b/c",
            "--task-type",
            "review",
            "--input-data",
            r#"{"depth": 2}"#,
        ];
        let expected = json!({
            "title": "test it", "prompt": "test it", "capabilities": ["testing", "web"], "min_tier": 3,
            "preferred_agent": "tester", "repository": {"path": "/", "ref": "HEAD"}, "files": ["b/c"],
            "task_type": "review", "input_data": {"depth": 2},
        });
        assert_eq!(body(&parsed(&words)).unwrap(), expected);
    }

    #[test]
    fn an_agent_and_a_command_that_do_not_fit_are_refused() {
        assert!(body(&parsed(&["--agent", "command"])).is_err());
        assert!(body(&parsed(&["--agent", "echo", "--run", "x"])).is_err());
        assert!(body(&parsed(&["--repo", "no/such/folder"])).is_err());
        assert!(body(&parsed(&["--agent", "opencode"])).is_err());
        assert!(body(&parsed(&["--model", "a/b", "--run", "x"])).is_err());
        let both = ["--agent", "opencode", "--prompt", "p", "--run", "x"];
        assert!(body(&parsed(&both)).is_err());
    }

    #[test]
    fn a_label_that_is_asked_for_twice_is_refused() {
        let doubled = ["--require", "gpu=a", "--require", "gpu=b", "--run", "x"];
        let error = body(&parsed(&doubled)).unwrap_err();
        assert!(error.0.contains("`gpu` is given twice"), "{}", error.0);
    }

    #[test]
    fn a_title_is_one_line_of_a_bearable_length() {
        let long = format!("\n\n  {}\nsecond", "x".repeat(300));
        let title = title(&parsed(&["--run", &long]).work);
        assert_eq!(title.chars().count(), TITLE_CHARS);
        assert!(title.ends_with("x..."), "{title}");
        assert_eq!(super::title(&parsed(&[]).work), "session");
        let routed = parsed(&["--can", "testing,web"]).work;
        assert_eq!(super::title(&routed), "testing, web");
    }
}
