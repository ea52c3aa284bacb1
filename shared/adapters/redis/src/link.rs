//! The connection that commands go over.
//!
//! Kept by hand rather than by the library's connection manager, which stays broken for good when a connection attempt
//! ends in an answer (too many clients, a server still loading) instead of an I/O error.

use std::time::Duration;

use application::ports::CoordinationError;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError, RedisResult,
    ScriptInvocation, Value, from_redis_value,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::ANSWER_WITHIN;

/// After a failed attempt everybody is refused for so long without a new one, so that an outage is not made worse by
/// all who wait for its end.
const ATTEMPT_EVERY: Duration = Duration::from_millis(200);

pub(crate) struct Link {
    client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that one user's late error does not close the successor of the connection it had.
    generation: u64,
    failed: Option<(Instant, CoordinationError)>,
}

/// What to do when the connection breaks under a call, so that nobody knows whether it was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnBreak {
    /// Once, on a new connection: the call may be executed twice.
    Repeat,
    GiveUp,
}

pub(crate) enum Call<'a> {
    Script(&'a ScriptInvocation<'a>),
    Pipeline(&'a Pipeline),
}

impl Call<'_> {
    async fn send(&self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        match self {
            Self::Script(script) => script.invoke_async(connection).await,
            Self::Pipeline(pipeline) => pipeline.query_async(connection).await,
        }
    }
}

impl Link {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            state: Mutex::default(),
        }
    }

    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        call: Call<'_>,
        on_break: OnBreak,
    ) -> Result<T, CoordinationError> {
        let mut on_break = on_break;
        loop {
            let (mut connection, generation) = self.connection().await?;
            let answer = call.send(&mut connection).await;
            match answer {
                Ok(value) => {
                    return from_redis_value(value).map_err(|error| in_words(&error.into()));
                }
                Err(error) if is_broken(&error) => {
                    self.forget(generation).await;
                    if on_break == OnBreak::GiveUp {
                        return Err(in_words(&error));
                    }
                    on_break = OnBreak::GiveUp;
                }
                Err(error) => return Err(in_words(&error)),
            }
        }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), CoordinationError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.generation));
        }
        if let Some((at, error)) = &state.failed
            && at.elapsed() < ATTEMPT_EVERY
        {
            return Err(error.clone());
        }
        match self.connect().await {
            Ok(connection) => {
                state.generation += 1;
                state.failed = None;
                state.connection = Some(connection.clone());
                Ok((connection, state.generation))
            }
            Err(error) => {
                let error = in_words(&error);
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        // Whatever the server says to newcomers (loading, not allowed in) is said now.
        connection.req_packed_command(&redis::cmd("PING")).await?;
        Ok(connection)
    }

    async fn forget(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.connection = None;
        }
    }
}

fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

fn in_words(error: &RedisError) -> CoordinationError {
    CoordinationError(format!("Redis: {error}"))
}
