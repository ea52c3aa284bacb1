//! One connection to the broker, made anew when it is needed and broken.
//!
//! Not the library's automatic recovery: that would declare every queue of every tenant again at each reconnect, one
//! after the other, and keep channels alive whose delivery tags mean nothing any more. Here a broken connection takes
//! its channels along, and whoever had one gets an error.

use std::sync::Arc;
use std::time::Duration;

use application::ports::QueueError;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::error::{ANSWER_WITHIN, answered, in_words, no_answer};

/// After a failed attempt everybody is refused for so long without a new one, so that an outage is not made worse by
/// all who wait for its end.
const ATTEMPT_EVERY: Duration = Duration::from_millis(200);

/// A peer that vanished without a word is given up after two of these.
const HEARTBEAT_SECONDS: u16 = 10;

/// Bytes. Our messages are far smaller, and the library keeps room for 64 frames for each connection: with the broker's
/// 128 KiB that is 16 MiB for an idle worker's two.
const FRAME_MAX: u32 = 8 * 1024;

pub(crate) struct Link {
    uri: AMQPUri,
    /// Shown in the broker's list of connections.
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    generation: u64,
    failed: Option<(Instant, QueueError)>,
}

/// A channel and the number of the connection it lives on.
pub(crate) struct Opened {
    pub(crate) channel: Channel,
    pub(crate) generation: u64,
}

impl Link {
    pub(crate) fn new(mut uri: AMQPUri, name: &'static str) -> Self {
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        Self {
            uri,
            name,
            state: Mutex::default(),
        }
    }

    pub(crate) async fn channel(&self) -> Result<Opened, QueueError> {
        let (connection, generation) = self.connection().await?;
        let error = match timeout(ANSWER_WITHIN, connection.create_channel()).await {
            Ok(Ok(channel)) => {
                return Ok(Opened {
                    channel,
                    generation,
                });
            }
            Ok(Err(error)) => {
                if matches!(error.kind(), ErrorKind::ChannelsLimitReached) {
                    return Err(in_words(&error));
                }
                in_words(&error)
            }
            Err(_) => no_answer("open a channel"),
        };
        self.forget(generation).await;
        Err(error)
    }

    async fn connection(&self) -> Result<(Arc<Connection>, u64), QueueError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection
            && connection.status().connected()
        {
            return Ok((Arc::clone(connection), state.generation));
        }
        state.connection = None;
        if let Some((at, error)) = &state.failed
            && at.elapsed() < ATTEMPT_EVERY
        {
            return Err(error.clone());
        }
        match self.connect().await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                state.generation += 1;
                state.failed = None;
                state.connection = Some(Arc::clone(&connection));
                Ok((connection, state.generation))
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<Connection, QueueError> {
        let properties = ConnectionProperties::default().with_connection_name(self.name.into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        answered("connect", connecting).await
    }

    async fn forget(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.connection = None;
        }
    }
}
