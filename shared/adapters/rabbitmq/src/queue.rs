use std::sync::Arc;
use std::time::Duration;

use application::ports::{JobQueue, QueueError, Receipt, Visit, Wakeups};
use async_trait::async_trait;
use domain::QueueKey;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use tokio::time::timeout;

use crate::ask::depth;
use crate::declare::Declared;
use crate::error::answered;
use crate::lanes::Lanes;
use crate::link::Link;
use crate::message;
use crate::names::Names;
use crate::publish::{PUBLISH_LANES, Publisher};
use crate::visits::{VISIT_LANES, Visits};

/// Who makes a tenant is not to wait for a broker that is away.
const MAKE_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct RabbitConfig {
    /// `amqp[s]://[user:password@]host[:port]/virtual-host`
    pub url: String,
    /// What the names of all queues begin with, so that installations can share a virtual host.
    pub prefix: String,
    /// Quorum queues instead of classic ones: for a cluster that must keep messages when it loses a node, at three
    /// times the memory and twenty times the latency. Queues that are there already stay as they are.
    pub quorum: bool,
    /// Whether wake-ups survive a restart of the broker, each queue at a folder and synced writes of its own. Otherwise
    /// the marker is lost with them, and the engine sends them again. Quorum queues keep theirs in any case.
    pub persistent: bool,
    /// A queue that nobody has published to or visited for so long is deleted by the broker, with what is in it; the
    /// reconciler sends such wake-ups again. Longer than jobs run: a tenant whose slots are all taken is not visited.
    pub idle_queue_expires: Duration,
    /// How long a visit may stay open. It covers a claim's transaction, not a job's run.
    pub visit_held_max: Duration,
}

impl RabbitConfig {
    pub const PERSISTENT: bool = true;
    pub const IDLE_QUEUE_EXPIRES: Duration = Duration::from_hours(7 * 24);
    pub const VISIT_HELD_MAX: Duration = Duration::from_mins(1);
}

/// The job queue of one process: a connection to publish on and one to visit with, so that a broker that holds
/// publishers back (memory or disk alarm) still hands messages out.
pub struct RabbitQueue {
    publisher: Publisher,
    visits: Visits,
    names: Names,
}

impl RabbitQueue {
    /// Does not wait for the broker to be there: [`check`](JobQueue::check) tells. Fails on a URL that cannot be used.
    /// Needs a Tokio runtime.
    pub fn open(config: &RabbitConfig) -> Result<Self, QueueError> {
        let uri: AMQPUri = config.url.parse().map_err(|error| {
            QueueError(format!(
                "the AMQP URL cannot be used ({error}); expected amqp[s]://[user:password@]host[:port]/virtual-host"
            ))
        })?;
        let names = Names::new(&config.prefix);
        let publishing = Arc::new(Link::new(uri.clone(), "orchestrator publish"));
        let visiting = Arc::new(Link::new(uri, "orchestrator visit"));
        Ok(Self {
            publisher: Publisher::new(
                Lanes::new(Arc::clone(&publishing), true, PUBLISH_LANES),
                Declared::new(
                    publishing,
                    names.clone(),
                    config.quorum,
                    config.idle_queue_expires,
                ),
                names.clone(),
                config.persistent,
            ),
            visits: Visits::new(
                Lanes::new(visiting, false, VISIT_LANES),
                names.clone(),
                config.visit_held_max,
            ),
            names,
        })
    }
}

#[async_trait]
impl JobQueue for RabbitQueue {
    async fn publish(&self, wakeups: Vec<Wakeups>) -> Result<Vec<Wakeups>, QueueError> {
        self.publisher.publish(wakeups).await
    }

    async fn make(&self, queue: QueueKey) -> Result<(), QueueError> {
        let making = timeout(MAKE_WITHIN, self.publisher.make(queue));
        making.await.unwrap_or_else(|_| {
            let seconds = MAKE_WITHIN.as_secs();
            Err(QueueError(format!(
                "RabbitMQ did not make a queue within {seconds} s"
            )))
        })
    }

    fn knows(&self, queue: QueueKey) -> bool {
        self.publisher.knows(queue)
    }

    async fn visit(&self, queue: QueueKey, n: u32) -> Result<Visit, QueueError> {
        self.visits.visit(queue, n).await
    }

    /// A message may stand for more wake-ups than the visit asked for: those are sent again before it is acked.
    async fn ack(&self, receipt: Receipt) -> Result<(), QueueError> {
        let Some(visit) = self.visits.close(&receipt)? else {
            return Ok(());
        };
        let unsent = match visit.surplus.n {
            0 => Vec::new(),
            _ => self.publisher.publish(vec![visit.surplus]).await?,
        };
        if unsent.is_empty() {
            self.visits.ack(visit).await
        } else {
            self.visits.give_back(visit).await
        }
    }

    async fn give_back(&self, receipt: Receipt) -> Result<(), QueueError> {
        match self.visits.close(&receipt)? {
            Some(visit) => self.visits.give_back(visit).await,
            None => Ok(()),
        }
    }

    async fn depth(&self, queue: QueueKey) -> Result<u32, QueueError> {
        let depth = depth(self.visits.lanes(), self.names.queue(queue)).await?;
        Ok(depth.unwrap_or(0))
    }

    fn wakeups_a_message(&self) -> u32 {
        message::COUNT_MAX
    }

    /// The marker is a message that lives as long as wake-ups do, in a queue that nobody visits.
    async fn has_marker(&self) -> Result<bool, QueueError> {
        let depth = depth(self.visits.lanes(), self.names.marker()).await?;
        Ok(depth.is_some_and(|depth| depth > 0))
    }

    async fn set_marker(&self) -> Result<(), QueueError> {
        let opened = self.visits.lanes().link().channel().await?;
        let declaring = opened.channel.queue_declare(
            self.names.marker().into(),
            QueueDeclareOptions::durable(),
            FieldTable::default(),
        );
        if answered("set the marker", declaring).await?.message_count() > 0 {
            return Ok(());
        }
        self.publisher.publish_one(self.names.marker().into()).await
    }

    async fn check(&self) -> Result<(), QueueError> {
        self.publisher.check().await?;
        self.visits.lanes().link().channel().await.map(drop)
    }
}
