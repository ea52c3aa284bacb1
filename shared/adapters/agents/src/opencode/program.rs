//! How the program is started, whatever it is to do: below a guard, in the run's folder, with folders and settings of the
//! run alone.

use std::ffi::OsString;

use application::ports::HandlerError;

use super::run::Run;
use crate::guard::{Launch, RunMark, Started};
use crate::isolation::Confined;
use crate::private::PrivateFolder;
use crate::supervise::refused;

/// What an unattended program is not to do. The repository's own `opencode.json` is left out as well: it could start
/// programs, or send the worker's keys to a provider of its choice.
const SWITCHED_OFF: [&str; 9] = [
    "OPENCODE_DISABLE_MODELS_FETCH",
    "OPENCODE_DISABLE_AUTOUPDATE",
    "OPENCODE_DISABLE_LSP_DOWNLOAD",
    "OPENCODE_DISABLE_SHARE",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS",
    "OPENCODE_DISABLE_CLAUDE_CODE",
    "OPENCODE_DISABLE_EXTERNAL_SKILLS",
    "OPENCODE_DISABLE_PROJECT_CONFIG",
    "OPENCODE_DISABLE_TERMINAL_TITLE",
];

/// `password`: what a server asks of who calls it.
pub(super) async fn start(
    run: &Run<'_>,
    arguments: Vec<OsString>,
    password: Option<&str>,
) -> Result<Started, HandlerError> {
    let agent = run.agent;
    let private = PrivateFolder::beside(&run.task.directory);
    private.create()?;
    let config = private.write("opencode.json", run.config.json.as_bytes())?;
    let mut variables = agent.environment.variables().to_vec();
    variables.extend(private.variables());
    variables.extend(run.folder.variables());
    variables.extend(SWITCHED_OFF.map(|name| (name.into(), "1".into())));
    variables.push(("OPENCODE_CONFIG".into(), config.into()));
    variables.extend(password.map(|it| ("OPENCODE_SERVER_PASSWORD".into(), it.into())));
    let mut argv = vec![agent.program.as_os_str().to_owned()];
    argv.extend(arguments);
    let launch = Launch {
        argv,
        directory: run.task.directory.clone(),
        variables,
        mark: RunMark {
            job: run.task.job,
            attempt: run.task.attempt,
        },
        confined: Some(confined(run, &private)),
    };
    let started = agent.guard.start(launch).await;
    let name = agent.program.display().to_string();
    let codes = ("OPENCODE_NOT_FOUND", "OPENCODE_NOT_STARTED");
    started.map_err(|error| refused(&error, &name, codes))
}

/// A model is reached over the network, and the worker speaks to the server over it.
fn confined(run: &Run<'_>, private: &PrivateFolder) -> Confined {
    let mut confined = private.confine(&run.task.directory);
    confined.writable.push(run.folder.root().to_owned());
    let program = &run.agent.program;
    if program.is_absolute() {
        let real = program.canonicalize().ok();
        let names = [Some(program.clone()), real];
        let there = names.into_iter().flatten().filter(|path| path.exists());
        confined.readable.extend(there);
    }
    confined.needs_network = true;
    confined
}
