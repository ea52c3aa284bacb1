//! The one connection that listens, for wake-ups of the pickers and for the event bus.
//!
//! A task owns it. When it breaks, everybody is told that something may have been missed, once the new one listens to
//! all that the old one did; so nothing said in between goes unnoticed.

use std::collections::HashMap;
use std::time::Duration;

use application::ports::{CoordinationError, Signal, SignalStream};
use futures::{StreamExt, stream};
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Client, Msg};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::ANSWER_WITHIN;

/// Signals kept for a subscriber that does not keep up; beyond them it is told that it missed some. A slot is made for
/// each ahead of time, so this is memory for every channel.
const SIGNALS_KEPT: usize = 256;

/// How often the connection is asked whether it is still there: a peer that vanished without a word is found out.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Between two attempts to connect.
const ATTEMPT_EVERY: Duration = Duration::from_millis(200);

/// Channels named in one command after a reconnect.
const CHANNELS_PER_COMMAND: usize = 500;

pub(crate) struct Subscriber {
    commands: mpsc::UnboundedSender<Command>,
    wakeups: watch::Receiver<u64>,
    connected: watch::Receiver<bool>,
    task: AbortHandle,
}

enum Command {
    /// Answered once Redis has confirmed it, or at once while there is no connection: then `Missed` comes later.
    Join(String, oneshot::Sender<broadcast::Receiver<Signal>>),
    /// One receiver of this channel is gone.
    Left(String),
}

impl Subscriber {
    /// Listens to `wake_channel` and to whatever is subscribed to, until it is dropped.
    pub(crate) fn start(client: Client, wake_channel: String) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (wake, wakeups) = watch::channel(0);
        let (online, connected) = watch::channel(false);
        let listener = Listener {
            client,
            wake_channel,
            channels: HashMap::new(),
            inbox,
            wake,
            online,
        };
        Self {
            commands,
            wakeups,
            connected,
            task: tokio::spawn(listener.run()).abort_handle(),
        }
    }

    pub(crate) fn wakeups(&self) -> watch::Receiver<u64> {
        self.wakeups.clone()
    }

    pub(crate) async fn is_connected_soon(&self) -> bool {
        let mut connected = self.connected.clone();
        let is_connected = connected.wait_for(|connected| *connected);
        matches!(timeout(ANSWER_WITHIN, is_connected).await, Ok(Ok(_)))
    }

    pub(crate) async fn subscribe(
        &self,
        channel: String,
    ) -> Result<SignalStream, CoordinationError> {
        // At a start the connection is just being made. In an outage there is no point in waiting for its end.
        self.is_connected_soon().await;
        let ended = || CoordinationError("the listener to Redis has ended".to_owned());
        // Made before the answer can come: dropped after it, also where the caller goes away meanwhile.
        let leave = Leave {
            channel: channel.clone(),
            commands: self.commands.clone(),
        };
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(Command::Join(channel, answer))
            .map_err(|_| ended())?;
        let subscription = Subscription {
            receiver: answered.await.map_err(|_| ended())?,
            _leave: leave,
        };
        Ok(stream::unfold(subscription, Subscription::next).boxed())
    }
}

impl Drop for Subscriber {
    /// Ends all streams.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The receiver is dropped first, so that it is not counted when the channel is looked at.
struct Subscription {
    receiver: broadcast::Receiver<Signal>,
    _leave: Leave,
}

impl Subscription {
    async fn next(mut self) -> Option<(Signal, Self)> {
        match self.receiver.recv().await {
            Ok(signal) => Some((signal, self)),
            Err(RecvError::Lagged(_)) => Some((Signal::Missed, self)),
            Err(RecvError::Closed) => None,
        }
    }
}

struct Leave {
    channel: String,
    commands: mpsc::UnboundedSender<Command>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        // An error means that the listener has ended, and all its subscriptions with it.
        let _ = self.commands.send(Command::Left(self.channel.clone()));
    }
}

struct Listener {
    client: Client,
    wake_channel: String,
    /// Everything somebody listens to, connected or not.
    channels: HashMap<String, broadcast::Sender<Signal>>,
    inbox: mpsc::UnboundedReceiver<Command>,
    wake: watch::Sender<u64>,
    online: watch::Sender<bool>,
}

/// The connection has to be made anew.
struct Broken(String);

impl From<redis::RedisError> for Broken {
    fn from(error: redis::RedisError) -> Self {
        Self(error.to_string())
    }
}

impl Listener {
    async fn run(mut self) {
        loop {
            let (mut sink, stream) = self.connect().await;
            let end = match self.resume(&mut sink).await {
                Ok(()) => self.listen(&mut sink, stream).await,
                Err(broken) => Err(broken),
            };
            self.online.send_replace(false);
            let Err(Broken(why)) = end else {
                return;
            };
            tracing::warn!(why, "the connection that listens to Redis broke");
            sleep(ATTEMPT_EVERY).await;
        }
    }

    /// Tries until it succeeds; subscriptions are taken in meanwhile.
    async fn connect(&mut self) -> (PubSubSink, PubSubStream) {
        let client = self.client.clone();
        let attempts = async move {
            loop {
                match timeout(ANSWER_WITHIN, client.get_async_pubsub()).await {
                    Ok(Ok(connection)) => return connection.split(),
                    Ok(Err(error)) => tracing::debug!(%error, "cannot listen to Redis"),
                    Err(_) => tracing::debug!("cannot listen to Redis: no answer"),
                }
                sleep(ATTEMPT_EVERY).await;
            }
        };
        tokio::pin!(attempts);
        loop {
            tokio::select! {
                connection = &mut attempts => return connection,
                Some(command) = self.inbox.recv() => self.handle_offline(command),
            }
        }
    }

    fn handle_offline(&mut self, command: Command) {
        match command {
            Command::Join(channel, answer) => {
                // An error means that whoever asked has gone.
                let _ = answer.send(self.sender(channel).subscribe());
            }
            Command::Left(channel) => {
                self.forget_if_unheard(&channel);
            }
        }
    }

    /// Listens to all that is wanted, then says that something may have been missed.
    async fn resume(&mut self, sink: &mut PubSubSink) -> Result<(), Broken> {
        let mut channels: Vec<&str> = vec![&self.wake_channel];
        channels.extend(self.channels.keys().map(String::as_str));
        for chunk in channels.chunks(CHANNELS_PER_COMMAND) {
            answered(sink.subscribe(chunk)).await?;
        }
        self.online.send_replace(true);
        self.wake.send_modify(|count| *count += 1);
        for sender in self.channels.values() {
            let _ = sender.send(Signal::Missed);
        }
        Ok(())
    }

    /// Until the connection breaks.
    async fn listen(
        &mut self,
        sink: &mut PubSubSink,
        mut stream: PubSubStream,
    ) -> Result<(), Broken> {
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) => self.hear(&message),
                    None => return Err(Broken("it was closed".to_owned())),
                },
                command = self.inbox.recv() => match command {
                    Some(command) => self.handle_online(command, sink).await?,
                    None => return Ok(()),
                },
                _ = pings.tick() => answered(sink.ping::<redis::Value>()).await.map(drop)?,
            }
        }
    }

    async fn handle_online(
        &mut self,
        command: Command,
        sink: &mut PubSubSink,
    ) -> Result<(), Broken> {
        match command {
            Command::Join(channel, answer) => {
                let is_new = !self.channels.contains_key(&channel);
                let receiver = self.sender(channel.clone()).subscribe();
                let outcome = if is_new {
                    answered(sink.subscribe(&channel)).await
                } else {
                    Ok(())
                };
                let _ = answer.send(receiver);
                outcome
            }
            Command::Left(channel) => {
                if self.forget_if_unheard(&channel) {
                    answered(sink.unsubscribe(&channel)).await?;
                }
                Ok(())
            }
        }
    }

    fn hear(&self, message: &Msg) {
        let channel = message.get_channel_name();
        if channel == self.wake_channel {
            self.wake.send_modify(|count| *count += 1);
            return;
        }
        let Some(sender) = self.channels.get(channel) else {
            return;
        };
        match serde_json::from_slice::<Vec<Signal>>(message.get_payload_bytes()) {
            Ok(signals) => {
                for signal in signals {
                    // An error means that the last subscriber is just leaving.
                    let _ = sender.send(signal);
                }
            }
            // From a newer version of this program, perhaps: what it says cannot be known, so all may have changed.
            Err(error) => {
                tracing::warn!(channel, %error, "a message on the event bus is not understood");
                let _ = sender.send(Signal::Missed);
            }
        }
    }

    fn sender(&mut self, channel: String) -> &broadcast::Sender<Signal> {
        self.channels
            .entry(channel)
            .or_insert_with(|| broadcast::Sender::new(SIGNALS_KEPT))
    }

    /// True when nobody listens any more.
    fn forget_if_unheard(&mut self, channel: &str) -> bool {
        let unheard = self
            .channels
            .get(channel)
            .is_some_and(|sender| sender.receiver_count() == 0);
        if unheard {
            self.channels.remove(channel);
        }
        unheard
    }
}

async fn answered<T>(command: impl Future<Output = redis::RedisResult<T>>) -> Result<T, Broken> {
    match timeout(ANSWER_WITHIN, command).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Broken("no answer".to_owned())),
    }
}
