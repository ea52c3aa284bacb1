//! The server of OpenCode that a run talks to: one of its own below a guard, started and heard until it listens, or one that
//! runs already.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use application::ports::HandlerError;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::call::{CallError, Called};
use super::client::Client;
use super::program;
use super::run::Run;
use crate::failure;
use crate::guard::{Control, Guard, Started};
use crate::output::{Records, Redactor};

/// What it says once it can be called; a call before that may hang for good.
const LISTENING: &str = "opencode server listening on";
/// From its start to that line: seconds, minutes on a machine that is very busy.
const START_PATIENCE: Duration = Duration::from_mins(2);
const PASSWORD_BYTES: usize = 24;
/// Of what it said last, for the error when it dies.
const LAST_LINES: usize = 5;
const LAST_LINE_CHARS: usize = 300;
const READ_BYTES: usize = 4096;

/// A server that may not listen yet.
pub(super) struct Server {
    /// Of one that was started for this run.
    pub own: Option<Own>,
    pub client: Client,
    pub redactor: Redactor,
    pub hearing: Hearing,
    /// Read what it prints; end with this.
    _readers: JoinSet<()>,
}

pub(super) struct Own {
    pub control: Control,
    pub guard: Guard,
}

/// What a server says on its own account.
#[derive(Clone)]
pub(super) struct Hearing {
    listens: watch::Receiver<bool>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

impl Server {
    /// One of those that run already, where the operator named some, or else one for this run alone.
    pub(super) async fn open(run: &Run<'_>) -> Result<Self, HandlerError> {
        let Some(servers) = &run.agent.servers else {
            return Self::start(run).await;
        };
        let found = servers.find(run).await?;
        Ok(Self {
            own: None,
            client: found.client,
            redactor: run.agent.environment.redactor().and(found.secrets),
            hearing: Hearing {
                listens: watch::channel(true).1,
                last_lines: Arc::default(),
            },
            _readers: JoinSet::new(),
        })
    }

    async fn start(run: &Run<'_>) -> Result<Self, HandlerError> {
        let password = password()?;
        let not_started = |why: String| failure::retry("OPENCODE_NOT_STARTED", why);
        let port = free_port().map_err(|error| not_started(format!("no free port: {error}")))?;
        let base = format!("http://127.0.0.1:{port}");
        let client = Client::new(base, &password, &run.task.directory);
        let client = client.map_err(|error| not_started(error.to_string()))?;
        let port = port.to_string();
        let words = ["serve", "--hostname", "127.0.0.1", "--port", &port];
        let started =
            program::start(run, words.map(OsString::from).to_vec(), Some(&password)).await?;
        let secrets = run.config.secrets.iter().cloned().chain([password]);
        let redactor = run.agent.environment.redactor().and(secrets);
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
            own: Some(Own { control, guard }),
            client,
            redactor,
            hearing,
            _readers: readers,
        }
    }
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
