//! One server of OpenCode for one run, below a guard: started, heard until it listens, and never shared.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use application::ports::{AgentTask, HandlerError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::{CallError, Called, Client};
use super::config::Config;
use super::folder::JobFolder;
use crate::environment::Environment;
use crate::failure;
use crate::guard::{Control, Guard, GuardCommand, Launch, RunMark, Started};
use crate::isolation::Confined;
use crate::output::{Records, Redactor};
use crate::private::PrivateFolder;
use crate::supervise::refused;

/// What it says once it can be called; a call before that may hang for good.
const LISTENING: &str = "opencode server listening on";
/// From its start to that line: seconds, minutes on a machine that is very busy.
const START_PATIENCE: Duration = Duration::from_mins(2);
const PASSWORD_BYTES: usize = 24;
/// Of what it said last, for the error when it dies.
const LAST_LINES: usize = 5;
const LAST_LINE_CHARS: usize = 300;
const READ_BYTES: usize = 4096;

/// What an unattended server is not to do. The repository's own `opencode.json` is left out as well: it could start
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

/// A server that was started and may not listen yet.
pub(super) struct Server {
    pub control: Control,
    pub guard: Guard,
    pub client: Client,
    pub redactor: Redactor,
    pub hearing: Hearing,
    /// Read what it prints; end with this.
    _readers: JoinSet<()>,
}

/// What a server says on its own account.
#[derive(Clone)]
pub(super) struct Hearing {
    listens: watch::Receiver<bool>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

impl Server {
    pub(super) async fn start(
        guard: &GuardCommand,
        program: &Path,
        environment: &Environment,
        task: &AgentTask,
        config: &Config,
        folder: &JobFolder,
    ) -> Result<Self, HandlerError> {
        let private = PrivateFolder::beside(&task.directory);
        private.create()?;
        let written = private.write("opencode.json", config.json.as_bytes())?;
        let password = password()?;
        let port = free_port().map_err(|error| {
            failure::retry("OPENCODE_NOT_STARTED", format!("no free port: {error}"))
        })?;
        let mut variables = environment.variables().to_vec();
        variables.extend(private.variables());
        variables.extend(folder.variables());
        variables.extend(SWITCHED_OFF.map(|name| (name.into(), "1".into())));
        variables.push(("OPENCODE_CONFIG".into(), written.into()));
        variables.push(("OPENCODE_SERVER_PASSWORD".into(), OsString::from(&password)));
        let mut argv = vec![program.as_os_str().to_owned()];
        let port_text = port.to_string();
        argv.extend(["serve", "--hostname", "127.0.0.1", "--port", &port_text].map(OsString::from));
        let launch = Launch {
            argv,
            directory: task.directory.clone(),
            variables,
            mark: RunMark {
                job: task.job,
                attempt: task.attempt,
            },
            confined: Some(confined(program, task, &private, folder)),
        };
        let name = program.display().to_string();
        let codes = ("OPENCODE_NOT_FOUND", "OPENCODE_NOT_STARTED");
        let started = guard.start(launch).await;
        let started = started.map_err(|error| refused(&error, &name, codes))?;
        let client = Client::new(port, &password, &task.directory);
        let client =
            client.map_err(|error| failure::retry("OPENCODE_NOT_STARTED", error.to_string()))?;
        let secrets = config.secrets.iter().cloned().chain([password]);
        let redactor = environment.redactor().and(secrets);
        Ok(Self::of(started, client, redactor))
    }

    fn of(started: Started, client: Client, redactor: Redactor) -> Self {
        let Started {
            stdout,
            stderr,
            control,
            guard,
        } = started;
        let (listening, listens) = watch::channel(false);
        let hearing = Hearing {
            listens,
            last_lines: Arc::default(),
        };
        let mut readers = JoinSet::new();
        readers.spawn(hearing.clone().follow(stdout, Some(listening)));
        readers.spawn(hearing.clone().follow(stderr, None));
        Self {
            control,
            guard,
            client,
            redactor,
            hearing,
            _readers: readers,
        }
    }
}

/// A model is reached over the network, and the worker speaks to the server over it.
fn confined(
    program: &Path,
    task: &AgentTask,
    private: &PrivateFolder,
    folder: &JobFolder,
) -> Confined {
    let mut confined = private.confine(&task.directory);
    confined.writable.push(folder.root().to_owned());
    if program.is_absolute() {
        let real = program.canonicalize().ok();
        let names = [Some(program.to_owned()), real];
        confined.readable.extend(names.into_iter().flatten());
    }
    confined.needs_network = true;
    confined
}

impl Hearing {
    /// Returns when the server can be called.
    pub(super) async fn listening(&self) -> Called<()> {
        let mut listens = self.listens.clone();
        let heard = tokio::time::timeout(START_PATIENCE, listens.wait_for(|yes| *yes)).await;
        let why = match heard {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) => "it ended before it listened".to_owned(),
            Err(_) => format!("it did not listen within {} s", START_PATIENCE.as_secs()),
        };
        Err(CallError::Unreachable(why))
    }

    /// What it said last, for people.
    pub(super) fn last_words(&self) -> String {
        let lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return "it said nothing".to_owned();
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        format!("its last words:\n{}", lines.join("\n"))
    }

    async fn follow(
        self,
        mut reader: impl AsyncRead + Unpin,
        listening: Option<watch::Sender<bool>>,
    ) {
        let mut records = Records::default();
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            for line in records.feed(&buffer[..count]) {
                let line = String::from_utf8_lossy(&line);
                if line.starts_with(LISTENING)
                    && let Some(listening) = &listening
                {
                    let _ = listening.send(true);
                }
                self.remember(&line);
            }
        }
    }

    fn remember(&self, line: &str) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(LISTENING) {
            return;
        }
        let mut lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(line.chars().take(LAST_LINE_CHARS).collect());
    }
}

/// Another process may take it before the server does; the server then ends at once and is started anew.
fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn password() -> Result<String, HandlerError> {
    let mut bytes = [0; PASSWORD_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        failure::retry(
            "OPENCODE_NOT_STARTED",
            format!("no random numbers: {error}"),
        )
    })?;
    Ok(hex::encode(bytes))
}
